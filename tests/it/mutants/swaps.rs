//! Neighbouring statements that may be swapped.

use super::tokens;
use super::tokens::Kind;
use super::tokens::Token;

/// Functions that change nothing.
const PURE: [&str; 9] =
    ["find", "floor", "format", "match", "max", "min", "sub", "tonumber", "unpack_all"];

/// A statement that stands on a line of its own.
struct Statement<'a> {
    index: usize,
    indent: usize,
    tokens: Vec<Token<'a>>,
}

/// Pairs of lines that can change places, by their indices: neighbours, each a whole statement, of which one may need the
/// other. Two that cannot know of each other are left out: swapping them changes nothing.
pub fn of_text(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut pairs = Vec::new();
    let mut before: Option<Statement<'_>> = None;
    let mut depth = 0;
    for (index, tokens) in tokens::of_text(text) {
        let was_inside = depth > 0;
        depth += brackets(&tokens);
        let indent = lines[index].len() - lines[index].trim_start().len();
        let is_whole = !was_inside && depth == 0 && is_statement(&tokens);
        let statement = is_whole.then_some(Statement { index, indent, tokens });
        if let (Some(one), Some(other)) = (&before, &statement)
            && one.indent == other.indent
            && !(is_blind_to(one, other) && is_blind_to(other, one))
        {
            pairs.push((one.index, other.index));
        }
        before = statement;
    }
    pairs
}

fn brackets(tokens: &[Token<'_>]) -> i32 {
    let depth = |token: &Token<'_>| match token.text {
        "(" | "{" | "[" => 1,
        ")" | "}" | "]" => -1,
        _ => 0,
    };
    tokens.iter().map(depth).sum()
}

/// Whether a line opens no block that it does not close, and neither begins nor ends in the middle of a statement.
fn is_statement(tokens: &[Token<'_>]) -> bool {
    let blocks = |token: &Token<'_>| match token.text {
        "function" | "do" | "then" => 1,
        "end" => -1,
        _ => 0,
    };
    let first = tokens[0];
    let begins = first.kind == Kind::Word
        && !["and", "else", "elseif", "end", "or", "return", "until"].contains(&first.text);
    let last = tokens[tokens.len() - 1];
    let ends = !["=", "and", "or", "..", "+", "-", ","].contains(&last.text);
    begins && ends && tokens.iter().map(blocks).sum::<i32>() == 0
}

/// Whether a statement gives values to names alone, which the other does not mention, and calls nothing that could matter.
fn is_blind_to(one: &Statement<'_>, other: &Statement<'_>) -> bool {
    let Some(equals) = one.tokens.iter().position(|token| token.text == "=") else { return false };
    let (names, values) = one.tokens.split_at(equals);
    let is_plain = names.iter().all(|token| token.kind == Kind::Word || token.text == ",");
    let calls = values.windows(2).filter(|pair| pair[0].kind == Kind::Word && pair[1].text == "(");
    let is_pure = calls.map(|pair| pair[0].text).all(|name| PURE.contains(&name));
    let is_mentioned = |name: &Token<'_>| other.tokens.iter().any(|it| it.text == name.text);
    let mut names = names.iter().filter(|token| token.kind == Kind::Word && token.text != "local");
    is_plain && is_pure && !names.any(is_mentioned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_swapped_unless_neither_can_matter_to_the_other() {
        assert_eq!(of_text("local a = 1\nlocal b = a\n"), [(0, 1)]);
        assert_eq!(of_text("f()\n-- why\n\nlocal b = a\n"), [(0, 3)]);
        assert_eq!(of_text("local a = sub(c, 1)\nlocal b = c[2]\n"), []);
        assert_eq!(of_text("local a = g(c)\nlocal b = c[2]\n"), [(0, 1)]);
        assert_eq!(of_text("a[1] = 2\nlocal b = a[1]\n"), [(0, 1)]);
    }

    #[test]
    fn what_is_no_whole_statement_is_not_swapped() {
        assert_eq!(of_text("if a then\n  f()\nend\n"), []);
        assert_eq!(of_text("local t = {\n  a = b,\n  b = a,\n}\n"), []);
        assert_eq!(of_text("f()\nreturn g()\n"), []);
        assert_eq!(of_text("if a then f() end\nif b then return end\n"), [(0, 1)]);
    }
}
