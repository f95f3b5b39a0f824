//! What tests told a Redis: every call of a script, and every command beside them that changes something.

use std::collections::HashMap;
use std::fmt::Write;

/// Commands of tests and of the service that change something. What only looks is not told again.
const CHANGES: [&str; 13] = [
    "DEL", "EXPIRE", "FLUSHALL", "FLUSHDB", "HDEL", "HSET", "HSETNX", "RESTORE", "SET", "UNLINK",
    "XADD", "XDEL", "XTRIM",
];
/// Bytes of a recording; what came after them is left out.
const BYTES_MAX: usize = 1_200_000;

/// A command, and when it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Seconds and microseconds of Unix time, with a point between.
    pub at: String,
    /// The command; a call of a script is `EVALSHA` with the script's name in place of its hash.
    pub words: Vec<Vec<u8>>,
}

/// The steps of one Redis under one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub name: String,
    pub steps: Vec<Step>,
}

impl Recording {
    /// How long its words are.
    pub fn bytes(&self) -> usize {
        self.steps.iter().flat_map(|step| &step.words).map(Vec::len).sum()
    }
}

/// What `MONITOR` wrote. `None` when a script is not among the named ones, by hash: another test's mutant, or one without a guard.
pub fn of_monitor(name: &str, told: &[u8], names: &HashMap<String, String>) -> Option<Recording> {
    let mut steps: Vec<(&str, Step)> = Vec::new();
    for line in std::str::from_utf8(told).unwrap().lines() {
        let Some((at, client, command)) = parts_of(line) else { continue };
        let mut words = words_of(command);
        let kind = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
        let is_script = kind == "EVAL" || kind == "EVALSHA";
        if is_script {
            let known = String::from_utf8(words[1].clone()).ok()?;
            let hash = if kind == "EVAL" { hash_of(&known) } else { known };
            words[0] = b"EVALSHA".to_vec();
            words[1] = names.get(&hash)?.clone().into_bytes();
        }
        let step = Step { at: at.to_owned(), words };
        if kind == "EVAL" {
            remove_first_attempt(&mut steps, client, &step);
        }
        if is_script || CHANGES.contains(&kind.as_str()) {
            steps.push((client, step));
        }
    }
    let steps = first_of(steps.into_iter().map(|(_, step)| step));
    Some(Recording { name: name.to_owned(), steps })
}

/// As many steps as there may be.
fn first_of(steps: impl Iterator<Item = Step>) -> Vec<Step> {
    let mut bytes = 0;
    let fits = |step: &Step| {
        bytes += step.words.iter().map(Vec::len).sum::<usize>();
        bytes <= BYTES_MAX
    };
    steps.take_while(fits).collect()
}

/// When, by whom, and what. `None` for what a script did, and for a line that the end of the server cut off.
fn parts_of(line: &str) -> Option<(&str, &str, &str)> {
    let (at, rest) = line.strip_prefix('+')?.split_once(" [0 ")?;
    let (client, command) = rest.split_once("] ")?;
    (client != "lua" && command.ends_with('"')).then_some((at, client, command))
}

/// The hash under which Redis knows a script.
pub fn hash_of(text: &str) -> String {
    redis::Script::new(text).get_hash().to_owned()
}

/// A server that does not know the script did nothing.
fn remove_first_attempt(steps: &mut Vec<(&str, Step)>, client: &str, again: &Step) {
    let is_first = |(of, step): &(&str, Step)| *of == client && step.words == again.words;
    if let Some(first) = steps.iter().rposition(is_first) {
        steps.remove(first);
    }
}

/// Recordings as a text: a line with the name, and a line a step.
pub fn to_text(recordings: &[Recording]) -> String {
    let mut text = String::new();
    for recording in recordings {
        writeln!(text, "# {}", recording.name).unwrap();
        for step in &recording.steps {
            write!(text, "{}", step.at).unwrap();
            for word in &step.words {
                write!(text, " \"{}\"", word.escape_ascii()).unwrap();
            }
            text.push('\n');
        }
    }
    text
}

/// Recordings of a text that [`to_text`] made.
pub fn of_text(text: &str) -> Vec<Recording> {
    let mut recordings: Vec<Recording> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            recordings.push(Recording { name: name.to_owned(), steps: Vec::new() });
            continue;
        }
        let (at, command) = line.split_once(' ').unwrap();
        let step = Step { at: at.to_owned(), words: words_of(command) };
        recordings.last_mut().unwrap().steps.push(step);
    }
    recordings
}

/// Words in double quotes, with the escapes of Redis and of Rust.
fn words_of(text: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match (&mut word, byte) {
            (None, b'"') => word = Some(Vec::new()),
            (None, _) => {}
            (Some(_), b'"') => words.extend(word.take()),
            (Some(word), b'\\') => word.push(unescaped(&mut bytes)),
            (Some(word), byte) => word.push(byte),
        }
    }
    words
}

fn unescaped(bytes: &mut impl Iterator<Item = u8>) -> u8 {
    match bytes.next().unwrap() {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 7,
        b'b' => 8,
        b'x' => {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(words: &[&[u8]]) -> Step {
        let words = words.iter().map(|word| word.to_vec()).collect();
        Step { at: "1.000002".to_owned(), words }
    }

    #[test]
    fn a_text_of_recordings_is_read_as_it_was_written() {
        let every: Vec<u8> = (0..=255).collect();
        let steps = vec![step(&[b"DEL", b"", b"a b"]), step(&[b"SET", &every])];
        let recordings = vec![Recording { name: "one".to_owned(), steps }];
        assert_eq!(of_text(&to_text(&recordings)), recordings);
    }

    #[test]
    fn a_script_that_was_not_known_is_called_once_and_what_scripts_and_lookers_do_is_left_out() {
        let names = HashMap::from([(hash_of("return 1"), "one".to_owned())]);
        let told = format!(
            "+1.000002 [0 127.0.0.1:5] \"EVALSHA\" \"{}\" \"0\" \"\\xff\\\"\"\r\n\
             +1.000002 [0 127.0.0.1:6] \"get\" \"a\"\r\n\
             +1.000002 [0 127.0.0.1:5] \"EVAL\" \"return 1\" \"0\" \"\\xff\\\"\"\r\n\
             +1.000002 [0 lua] \"set\" \"a\" \"b\"\r\n\
             +1.000002 [0 127.0.0.1:6] \"del\" \"a\"\r\n",
            hash_of("return 1")
        );
        let recording = of_monitor("a", told.as_bytes(), &names).unwrap();
        let expected = vec![step(&[b"EVALSHA", b"one", b"0", b"\xff\""]), step(&[b"del", b"a"])];
        assert_eq!(recording.steps, expected);
        assert_eq!(of_monitor("a", told.as_bytes(), &HashMap::new()), None);
    }
}
