"""Weaves the mutants that cargo-mutants lists into the sources, so that one build has all of them.

Which one acts is said when the tests start (`tests/rust_mutants/switch.rs`). A mutant is a dict as `cargo mutants
--list --json` prints it, with its number under "number". What cannot be woven is said, and left out.
"""

import tree_sitter_rust
from tree_sitter import Language, Parser

RUST = Language(tree_sitter_rust.language())
# What an operator stands in, as tree-sitter calls it.
OPERATIONS = {"binary_expression", "compound_assignment_expr"}


class Source:
    """A file, its syntax tree, and the mutants that are woven into it.

    Functions are evaluated while compiling no more, but for those whose names are in `kept`: no switch can be asked
    then.
    """

    def __init__(self, text, kept=()):
        self.kept = kept
        self.text = text.encode()
        self.tree = Parser(RUST).parse(self.text)
        self.lines = [0]
        for line in self.text.split(b"\n"):
            self.lines.append(self.lines[-1] + len(line) + 1)
        # By the bytes of a node: what is made of it.
        self.edits = {}

    def byte_at(self, place):
        """The offset of a line and a column in characters, both from 1."""
        start = self.lines[place["line"] - 1]
        line = self.text[start : self.lines[place["line"]]].decode()
        return start + len(line[: place["column"] - 1].encode())

    def enclosing(self, start, end, kinds):
        """The smallest node of those kinds around the bytes."""
        found, node = None, self.tree.root_node
        while node:
            if node.type in kinds:
                found = node
            node = next((c for c in node.children if c.start_byte <= start and end <= c.end_byte), None)
        return found

    def add(self, mutant):
        """Weaves a mutant in; False when there is no way to."""
        start, end = (self.byte_at(mutant["span"][it]) for it in ("start", "end"))
        way = {
            "FnValue": self.add_value,
            "BinaryOperator": self.add_operator,
            "UnaryOperator": self.add_unary,
            "MatchArm": self.add_arm,
            "MatchArmGuard": self.add_guard,
        }.get(mutant["genre"])
        return bool(way and way(mutant, start, end))

    def edit(self, node, kind):
        key = (node.start_byte, node.end_byte)
        return self.edits.setdefault(key, {"kind": kind, "node": node, "mutants": []})["mutants"]

    def add_value(self, mutant, start, end):
        function = self.enclosing(start, end, {"function_item"})
        body = function and function.child_by_field_name("body")
        # What is returned as `impl Trait` has one type.
        if not body or self.is_const(body) or "impl " in mutant["function"]["return_type"]:
            return False
        self.edit(body, "value").append(mutant)
        return True

    def add_operator(self, mutant, start, end):
        node = self.enclosing(start, end, OPERATIONS)
        operator = node and (node.child_by_field_name("operator") or node.children[1])
        if not operator or (operator.start_byte, operator.end_byte) != (start, end) or self.is_const(node):
            return False
        self.edit(node, "operator").append(mutant)
        return True

    def add_unary(self, mutant, start, end):
        node = self.enclosing(start, end, {"unary_expression"})
        if not node or node.start_byte != start or self.is_const(node):
            return False
        self.edit(node, "unary").append(mutant)
        return True

    def add_arm(self, mutant, start, end):
        arm = self.enclosing(start, end, {"match_arm"})
        if not arm:
            return False
        self.edit(arm.child_by_field_name("pattern"), "arm").append(mutant)
        return True

    def add_guard(self, mutant, start, end):
        arm = self.enclosing(start, end, {"match_arm"})
        if not arm or b"let " in self.text[start:end]:
            return False
        self.edit(arm.child_by_field_name("pattern"), "arm").append(mutant)
        return True

    def is_const(self, node):
        """Whether a node is evaluated while compiling."""
        while node:
            if node.type in {"const_item", "static_item", "array_type"}:
                return True
            if node.type == "function_item" and self.is_kept(node):
                return True
            node = node.parent
        return False

    def is_kept(self, function):
        name = function.child_by_field_name("name")
        return self.text[name.start_byte : name.end_byte].decode() in self.kept

    def woven(self):
        """The whole text with all that was added."""
        return self.render(self.tree.root_node).decode()

    def render(self, node, but_own=False):
        """The text of a node with the edits in it and, unless they are the caller's, on it."""
        edit = self.edits.get((node.start_byte, node.end_byte))
        if edit and not but_own and edit["node"].type == node.type:
            return WAYS[edit["kind"]](self, edit["node"], edit["mutants"])
        if node.type == "function_modifiers" and not self.is_kept(node.parent):
            return self.text[node.start_byte : node.end_byte].replace(b"const", b"")
        parts, at = [], node.start_byte
        for child in node.children:
            parts += [self.text[at : child.start_byte], self.render(child)]
            at = child.end_byte
        return b"".join(parts) + self.text[at : node.end_byte]


def asked(mutants):
    numbers = ", ".join(str(it["number"]) for it in mutants)
    return f"crate::switch::at(&[{numbers}])".encode()


def mark(mutant):
    return f"/*M{mutant['number']}*/".encode()


def value(source, body, mutants):
    inner = source.render(body, but_own=True)
    arms = b"".join(b"\n%d => return %s %s," % (it["number"], it["replacement"].encode(), mark(it)) for it in mutants)
    return b"{ match " + asked(mutants) + b" {" + arms + b"\n_ => {} }\n" + inner[1:]


def operator(source, node, mutants):
    left, sign, right = node.children[0], node.children[1], node.children[2]
    sides = source.render(left), source.render(right)
    made = [(b"%d" % it["number"], it["replacement"].encode(), mark(it)) for it in mutants]
    made.append((b"_", source.text[sign.start_byte : sign.end_byte], b""))
    arms = [b"%s => %s %s %s %s," % (number, sides[0], note, text, sides[1]) for number, text, note in made]
    return b"(match " + asked(mutants) + b" {\n" + b"\n".join(arms) + b"\n})"


def unary(source, node, mutants):
    inner = source.render(node.children[1])
    sign = source.text[node.start_byte : node.children[1].start_byte]
    return b"(match %s { %d => %s %s, _ => %s%s })" % (
        asked(mutants),
        mutants[0]["number"],
        inner,
        mark(mutants[0]),
        sign,
        inner,
    )


def arm(source, pattern, mutants):
    """A pattern with its guard, if it has one: both are one node."""
    guard = pattern.child_by_field_name("condition")
    if guard:
        shape = source.text[pattern.start_byte : guard.start_byte].decode().rstrip().removesuffix("if").encode()
        given = source.render(guard)
    else:
        shape, given = source.render(pattern, but_own=True), b"true"
    arms = b""
    for it in mutants:
        made = b"false" if it["genre"] == "MatchArm" else it["replacement"].encode()
        arms += b" %d => %s %s," % (it["number"], made, mark(it))
    return shape + b" if (match " + asked(mutants) + b" {" + arms + b" _ => " + given + b" })"


WAYS = {"value": value, "operator": operator, "unary": unary, "arm": arm}
