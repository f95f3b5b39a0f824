//! Mutants of the scripts: a line dropped, two neighbours swapped, a number off by one, an operator turned.

use std::collections::HashMap;

use super::swaps;
use super::tokens;
use super::tokens::Kind;
use super::tokens::Token;

/// A script with one small mistake.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The path of the file with the mistake.
    pub file: String,
    /// File, and what became of which line; each mutant has another.
    pub name: String,
    /// Lines by their index, and what stands there instead.
    changes: Vec<(usize, String)>,
}

impl Mutant {
    /// The text of the file with the mistake in it.
    pub fn text(&self) -> String {
        let original = std::fs::read_to_string(&self.file).unwrap();
        let mut lines: Vec<&str> = original.lines().collect();
        for (index, text) in &self.changes {
            lines[*index] = text;
        }
        lines.join("\n") + "\n"
    }
}

/// The scripts' files, in order.
pub fn files() -> Vec<String> {
    let folders = ["lua", "lua/lib"].into_iter();
    let entries = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let scripts = paths.filter(|path| path.extension().is_some_and(|it| it == "lua"));
    let mut files: Vec<_> = scripts.map(|path| path.display().to_string()).collect();
    files.sort();
    files
}

/// Every mutant of every script, in the order of files and lines.
pub fn mutants() -> Vec<Mutant> {
    files().iter().flat_map(|file| of(file, &std::fs::read_to_string(file).unwrap())).collect()
}

/// The mutants of a file.
pub fn of(file: &str, text: &str) -> Vec<Mutant> {
    let lines: Vec<&str> = text.lines().collect();
    let mut made = Vec::new();
    for (index, found) in tokens::of_text(text) {
        let line = lines[index];
        made.push((format!("drop `{}`", line.trim()), vec![(index, String::new())]));
        for turned in found.iter().flat_map(|token| turned(line, token)) {
            let name = format!("`{}` to `{}`", line.trim(), turned.trim());
            made.push((name, vec![(index, turned)]));
        }
    }
    for (index, next) in swaps::of_text(text) {
        let (one, other) = (lines[index], lines[next]);
        let name = format!("swap `{}` and `{}`", one.trim(), other.trim());
        made.push((name, vec![(index, other.to_owned()), (next, one.to_owned())]));
    }
    made.sort_by_key(|(_, changes)| changes[0].0);
    named(file, made)
}

/// The same mistake in lines that read alike is told apart by a number.
fn named(file: &str, made: Vec<(String, Vec<(usize, String)>)>) -> Vec<Mutant> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mutant = |(what, changes): (String, Vec<_>)| {
        let count = seen.entry(what.clone()).or_default();
        *count += 1;
        let number = if *count > 1 { format!(" #{count}") } else { String::new() };
        Mutant { file: file.to_owned(), name: format!("{file}: {what}{number}"), changes }
    };
    made.into_iter().map(mutant).collect()
}

/// A line with a token turned into what a slip of the hand would write.
fn turned(line: &str, token: &Token<'_>) -> Vec<String> {
    let (before, after) = (&line[..token.at], &line[token.at + token.text.len()..]);
    slips(token).into_iter().map(|slip| format!("{before}{slip}{after}")).collect()
}

fn slips(token: &Token<'_>) -> Vec<String> {
    if token.kind == Kind::Number {
        let number: i64 = token.text.parse().unwrap();
        return vec![(number + 1).to_string(), (number - 1).to_string()];
    }
    let slip = match token.text {
        "<" => "<=",
        "<=" => "<",
        ">" => ">=",
        ">=" => ">",
        "==" => "~=",
        "~=" => "==",
        "+" => "-",
        "-" => "+",
        "and" => "or",
        "or" => "and",
        "not" => "",
        "true" => "false",
        "false" => "true",
        _ => return Vec::new(),
    };
    vec![slip.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        of("a", text).into_iter().map(|mutant| mutant.name.replacen("a: ", "", 1)).collect()
    }

    #[test]
    fn each_line_is_dropped_and_each_slip_is_made_once() {
        assert_eq!(
            names("-- 1 < 2\nif a < 2 and not b then c = '1 < 2' end -- 7\n"),
            [
                "drop `if a < 2 and not b then c = '1 < 2' end -- 7`",
                "`if a < 2 and not b then c = '1 < 2' end -- 7` to `if a <= 2 and not b then c = '1 < 2' end -- 7`",
                "`if a < 2 and not b then c = '1 < 2' end -- 7` to `if a < 3 and not b then c = '1 < 2' end -- 7`",
                "`if a < 2 and not b then c = '1 < 2' end -- 7` to `if a < 1 and not b then c = '1 < 2' end -- 7`",
                "`if a < 2 and not b then c = '1 < 2' end -- 7` to `if a < 2 or not b then c = '1 < 2' end -- 7`",
                "`if a < 2 and not b then c = '1 < 2' end -- 7` to `if a < 2 and  b then c = '1 < 2' end -- 7`",
            ]
        );
    }

    #[test]
    fn lines_that_read_alike_have_mutants_with_different_names() {
        assert_eq!(
            names("f()\ng()\nf()\n"),
            [
                "drop `f()`",
                "swap `f()` and `g()`",
                "drop `g()`",
                "swap `g()` and `f()`",
                "drop `f()` #2",
            ]
        );
    }

    #[test]
    fn every_script_has_mutants_and_each_differs_from_it() {
        for file in files() {
            let text = std::fs::read_to_string(&file).unwrap();
            let made = of(&file, &text);
            assert!(made.len() > 20, "{file}: {}", made.len());
            assert!(made.iter().all(|mutant| mutant.text() != text), "{file}");
        }
    }
}
