//! Numbers in place of the names that scripts give them.
//!
//! To Lua a named number is a variable: each function that uses it takes a reference to it when it is made, which is at
//! each call of a script, and looks it up at each use. A number that stands in the text costs neither.

use std::collections::HashMap;

/// The text with the value of each constant in its place, and without comments. A constant is a name in capitals that a
/// line of the form `local NAMES = NUMBERS` gives a number.
pub(super) fn constants(text: &str) -> String {
    let mut values = HashMap::new();
    let mut inlined = String::with_capacity(text.len());
    let mut is_comment = false;
    for line in text.lines() {
        is_comment |= line.starts_with("--[[");
        if is_comment {
            is_comment = !line.starts_with("]]");
            continue;
        }
        if let Some(known) = declared(line) {
            values.extend(known);
            continue;
        }
        let code = replaced(line, &values);
        if !code.trim().is_empty() {
            inlined.push_str(&code);
            inlined.push('\n');
        }
    }
    inlined
}

/// The constants that a line declares; `None` when it does something else.
fn declared(line: &str) -> Option<Vec<(&str, &str)>> {
    let (names, numbers) = line.strip_prefix("local ")?.split_once(" = ")?;
    let numbers = numbers.split(" --").next().unwrap_or(numbers);
    let (names, numbers) = (names.split(", "), numbers.trim_end().split(", "));
    let is_constant = |(name, number): &(&str, &str)| is_name(name) && is_number(number);
    let (count, declared) = (names.clone().count(), names.zip(numbers.clone()));
    let declared: Vec<_> = declared.take_while(is_constant).collect();
    (declared.len() == count && numbers.count() == count).then_some(declared)
}

fn is_name(name: &str) -> bool {
    name.starts_with(|it: char| it.is_ascii_uppercase())
        && name.bytes().all(|it| matches!(it, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

/// A line with the values of constants, outside of texts in single quotes, and without its comment.
fn replaced(line: &str, values: &HashMap<&str, &str>) -> String {
    let mut code = String::with_capacity(line.len());
    let mut rest = line;
    while !rest.is_empty() && !rest.starts_with("--") {
        let (token, after) = rest.split_at(token_length(rest));
        code.push_str(values.get(token).copied().unwrap_or(token));
        rest = after;
    }
    code
}

/// How long the word, the quoted text or the other character is with which a line begins.
fn token_length(line: &str) -> usize {
    let first = line.chars().next().unwrap_or_default();
    if first == '\'' {
        return quoted_length(line);
    }
    let is_of_word = |it: char| it.is_ascii_alphanumeric() || it == '_';
    if is_of_word(first) {
        return line.find(|it| !is_of_word(it)).unwrap_or(line.len());
    }
    first.len_utf8()
}

fn quoted_length(line: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in line.bytes().enumerate().skip(1) {
        if byte == b'\'' && !is_escaped {
            return at + 1;
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_its_number_where_it_is_used() {
        let text = "local OK, FULL = 0, 12 -- what is answered\nlocal map = {}\n  if code ~= OK then return FULL end";
        assert_eq!(constants(text), "local map = {}\n  if code ~= 0 then return 12 end\n");
    }

    #[test]
    fn a_name_in_a_text_or_in_a_longer_name_stays() {
        let text = "local SET = 3\ncall('SET', 'it\\'s SET', SET, SETS, x.SET_AT) -- SET";
        assert_eq!(constants(text), "call('SET', 'it\\'s SET', 3, SETS, x.SET_AT) \n");
    }

    #[test]
    fn comments_of_many_lines_are_left_out() {
        assert_eq!(constants("--[[\ncall OK\n]]\n-- more\nlocal a = 1"), "local a = 1\n");
    }

    #[test]
    fn what_is_no_number_stays_a_variable() {
        let text = "local LONGEST = { n = 60 }\nlocal A, B = 1\nlocal seq, now = 1, 2\n";
        assert_eq!(constants(text), text);
    }
}
