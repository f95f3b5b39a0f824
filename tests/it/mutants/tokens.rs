//! Lua, as far as mutants need to know it: words, numbers, texts in single quotes and signs, without comments.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Word,
    Number,
    Text,
    Sign,
}

/// A token of a line, and the byte at which it begins.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    pub at: usize,
}

const LONG_SIGNS: [&str; 6] = ["...", "..", "==", "~=", "<=", ">="];

/// The lines of a text that hold code, by their index, with their tokens.
pub fn of_text(text: &str) -> Vec<(usize, Vec<Token<'_>>)> {
    let mut is_comment = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        is_comment |= line.starts_with("--[[");
        if is_comment {
            is_comment = !line.starts_with("]]");
            continue;
        }
        let tokens = of_line(line);
        if !tokens.is_empty() {
            lines.push((index, tokens));
        }
    }
    lines
}

/// The tokens of a line.
pub fn of_line(line: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < line.len() && !line[at..].starts_with("--") {
        let (kind, length) = first(&line[at..]);
        let text = &line[at..at + length];
        if !text.trim().is_empty() {
            tokens.push(Token { kind, text, at });
        }
        at += length;
    }
    tokens
}

fn first(rest: &str) -> (Kind, usize) {
    let letter = rest.chars().next().unwrap_or_default();
    let is_of_word = |it: char| it.is_ascii_alphanumeric() || it == '_';
    if letter == '\'' {
        return (Kind::Text, quoted_length(rest));
    }
    if is_of_word(letter) {
        let kind = if letter.is_ascii_digit() { Kind::Number } else { Kind::Word };
        return (kind, rest.find(|it| !is_of_word(it)).unwrap_or(rest.len()));
    }
    let long = LONG_SIGNS.iter().find(|sign| rest.starts_with(**sign));
    (Kind::Sign, long.map_or(letter.len_utf8(), |sign| sign.len()))
}

fn quoted_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        if byte == b'\'' && !is_escaped {
            return at + 1;
        }
        is_escaped = byte == b'\\' && !is_escaped;
    }
    rest.len()
}
