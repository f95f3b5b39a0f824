//! House rules that a compiler does not check. Needs no server: `cargo test --test tidy`.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as the tests do")]

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Which sibling modules each top-level module of `src/` may import. The others (`main.rs`, `lib.rs`, `app`, `cli`)
/// wire everything together. Adding an edge here is an architecture change: say why in `docs/adr/`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("archive", &["domain"]),
    ("clock", &[]),
    ("domain", &[]),
    ("config", &["domain"]),
    ("telemetry", &["config"]),
    ("fuzzing", &["counters", "domain", "http", "quota"]),
    ("embedded", &["config", "telemetry"]),
    ("counters", &["clock", "config", "domain", "telemetry"]),
    ("ledger", &["clock", "config", "domain", "telemetry"]),
    ("quota", &["clock", "config", "domain", "counters", "ledger", "telemetry"]),
    ("background", &["clock", "config", "domain", "quota", "telemetry"]),
    ("http", &["clock", "config", "domain", "quota", "telemetry"]),
];

/// What only the wiring may name.
const WIRING: &[&str] = &["app", "cli"];

const FILE_LINES_MAX: usize = 500;

/// The one file of the tests that may wait by the clock: it polls, with a bound.
const POLLING_HELPER: &str = "tests/it/support/poll.rs";

#[test]
fn modules_import_only_what_the_table_allows() {
    let files = files_under("src", "rs");
    refuse(&files, |path, line| {
        let owner = top_module(path);
        let (_, allowed) = MAY_IMPORT.iter().find(|(name, _)| *name == owner)?;
        let (_, rest) = line.split_once("crate::")?;
        if rest.starts_with('{') {
            return Some("one `use crate::module::…` a line".to_owned());
        }
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let target = rest.split(|letter| !is_word(letter)).next().unwrap_or("");
        let is_module = MAY_IMPORT.iter().any(|(name, _)| *name == target);
        let is_foreign = (is_module || WIRING.contains(&target)) && target != owner;
        (is_foreign && !allowed.contains(&target))
            .then(|| format!("{owner} must not import {target}"))
    });
}

#[test]
fn only_counters_names_the_redis_crates() {
    let files = files_outside("src/counters");
    refuse(&files, |path, line| {
        // Where `redis` is a sibling file, the word is that module.
        let own_module = path.with_file_name("redis.rs").exists();
        let named = names_crate(line, "redis") && !own_module && !is_file(path, "src/lib.rs");
        named.then(|| "only src/counters talks to Redis".to_owned())
    });
}

#[test]
fn only_the_ledger_names_the_postgres_crates() {
    let files = files_outside("src/ledger");
    refuse(&files, |_, line| {
        let crates = ["tokio_postgres", "deadpool_postgres", "refinery"];
        let named = crates.iter().any(|name| names_crate(line, name));
        named.then(|| "only src/ledger talks to Postgres".to_owned())
    });
}

#[test]
fn sql_is_written_in_the_ledger_alone() {
    let files = files_outside("src/ledger");
    refuse(&files, |_, line| {
        let is_sql = |text: &str| starts_like_sql(text) || opens_named_statement(text);
        let found = line.split('"').skip(1).any(is_sql) || starts_like_sql(line.trim());
        found.then(|| "SQL belongs in src/ledger".to_owned())
    });
}

#[test]
fn keys_are_spelled_in_one_file() {
    let mut files = files_outside("src/counters/keys.rs");
    files.extend(files_under("lua", "lua"));
    refuse(&files, |_, line| {
        line.contains("hr:{").then(|| "keys are spelled in src/counters/keys.rs".to_owned())
    });
}

#[test]
fn only_the_configuration_reads_the_environment() {
    let files = files_outside("src/config");
    refuse(&files, |_, line| {
        line.contains("env::var").then(|| "only src/config reads the environment".to_owned())
    });
}

#[test]
fn tasks_are_spawned_by_the_supervisor_alone() {
    let files = files_outside("src/background/supervisor.rs");
    refuse(&files, |_, line| {
        let spawns = ["tokio::spawn", "task::spawn", "JoinSet", "Handle::current().spawn"];
        let found = spawns.iter().any(|name| line.contains(name));
        found.then(|| "use background::Supervisor".to_owned())
    });
}

#[test]
fn nothing_is_left_undone() {
    let mut files = rust_files();
    files.retain(|path| !is_file(path, "tests/tidy.rs"));
    refuse(&files, |_, line| {
        let undone = ["todo!", "unimplemented!", "#[ignore", "#[should_panic", "dbg!("];
        let found = undone.iter().find(|name| line.contains(*name))?;
        Some(format!("{found} must not stay"))
    });
}

#[test]
fn tests_wait_for_events_and_not_for_time() {
    let mut files = files_under("tests", "rs");
    files.retain(|path| !is_file(path, "tests/tidy.rs") && !is_file(path, POLLING_HELPER));
    refuse(&files, |_, line| {
        let waits = ["sleep(", "sleep_until(", "sleep;"];
        let found = waits.iter().any(|name| has_word(line, name));
        found.then(|| format!("move the clock or await an event; {POLLING_HELPER} polls"))
    });
}

#[test]
fn files_stay_readable() {
    let mut files = rust_files();
    files.extend(files_under("lua", "lua"));
    let long = files.into_iter().filter(|path| read(path).lines().count() > FILE_LINES_MAX);
    let offences: Vec<_> = long.map(|path| path.display().to_string()).collect();
    assert_none(&offences, "over 500 lines, split by responsibility");
}

#[test]
fn every_lua_script_opens_with_its_contract() {
    let mut files = files_under("lua", "lua");
    files.retain(|path| !path.starts_with("lua/lib"));
    let mut offences = Vec::new();
    for path in files {
        let text = read(&path);
        let parts = text.strip_prefix("--[[\n").and_then(|text| text.split_once("\n]]\n"));
        let (header, body) = parts.unwrap_or(("", &text));
        let fields = ["KEYS: ", "ARGV: ", "Returns ", "Errors ", "Cost ", "Retry "];
        let absent = fields.iter().filter(|field| !header.lines().any(|it| it.starts_with(*field)));
        offences.extend(absent.map(|field| format!("{}: no `{field}`", path.display())));
        for name in ["KEYS", "ARGV"] {
            if highest(body, name) > declared(header, name) {
                offences.push(format!("{}: uses an undeclared {name}", path.display()));
            }
        }
    }
    assert_none(&offences, "scripts open with their contract");
}

#[test]
fn every_migration_says_what_it_locks() {
    let mut numbers = Vec::new();
    let mut offences = Vec::new();
    for path in files_under("migrations", "sql") {
        let text = read(&path);
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with("--")).collect();
        let fields = ["Purpose", "Phase", "Locks", "Size", "Undo"];
        let absent = fields.iter().filter(|field| migration_field(&header, field).is_empty());
        offences.extend(absent.map(|field| format!("{}: no `-- {field}`", path.display())));
        if !["expand", "backfill", "contract"].contains(&migration_field(&header, "Phase")) {
            offences.push(format!("{}: Phase is expand, backfill or contract", path.display()));
        }
        if !text.contains("SET LOCAL lock_timeout") {
            offences.push(format!("{}: no lock_timeout", path.display()));
        }
        numbers.push(number_before(&path, "V", "__"));
    }
    assert_none(&offences, "migrations say what they do to a running service");
    assert_distinct(numbers, "migrations");
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let mut numbers = Vec::new();
    let mut offences = Vec::new();
    for path in files_under("docs/adr", "md") {
        let text = read(&path);
        let number = number_before(&path, "", "-");
        let has_title = text.starts_with(&format!("# {number:04}: "));
        let sections = ["## Context", "## Decision", "## Consequences"];
        let is_whole = sections.iter().all(|name| text.lines().any(|line| line == *name));
        if !has_title || !is_whole {
            offences.push(path.display().to_string());
        }
        numbers.push(number);
    }
    assert_none(&offences, "a decision has its number, Context, Decision and Consequences");
    assert_counts_up(numbers, "decisions");
}

/// Fails with every line of code for which `offence` has something to say. Comments are not code.
#[track_caller]
fn refuse(files: &[PathBuf], offence: impl Fn(&Path, &str) -> Option<String>) {
    let mut offences = Vec::new();
    for path in files {
        let text = read(path);
        let lines = (1..).zip(text.lines());
        for (number, line) in lines.filter(|(_, line)| !is_comment(line)) {
            let found = offence(path, line);
            offences.extend(found.map(|text| format!("{}:{number}: {text}", path.display())));
        }
    }
    assert!(!files.is_empty(), "no file to look at");
    assert_none(&offences, "house rules");
}

#[track_caller]
fn assert_none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n{}\n", offences.join("\n"));
}

/// Fails when a number is missing or comes twice. Gaps are allowed: branches take numbers of their own.
#[track_caller]
fn assert_distinct(mut numbers: Vec<usize>, what: &str) {
    numbers.sort_unstable();
    let is_distinct = numbers.windows(2).all(|pair| pair[0] != pair[1]);
    assert!(!numbers.is_empty() && numbers[0] == 1 && is_distinct, "{what}: {numbers:?}");
}

/// Fails unless the numbers are 1, 2, 3 and so on.
#[track_caller]
fn assert_counts_up(mut numbers: Vec<usize>, what: &str) {
    numbers.sort_unstable();
    let wanted: Vec<usize> = (1..=numbers.len()).collect();
    assert!(!numbers.is_empty(), "there are no {what}");
    assert_eq!(numbers, wanted, "{what} are numbered from 1 without gaps");
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("//") || line.starts_with("--")
}

fn is_file(path: &Path, name: &str) -> bool {
    path == Path::new(name)
}

/// Whether the line uses `name` as the first part of a path: not `super::name::`, not `other_name::`.
fn names_crate(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    has_word(line, &path) && !line.contains(&format!("::{path}"))
}

/// Whether the line holds `text` where no longer word ends in it.
fn has_word(line: &str, text: &str) -> bool {
    let starts_word = |(at, _): (usize, &str)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|letter| !letter.is_alphanumeric() && letter != '_')
    };
    line.match_indices(text).any(starts_word)
}

fn starts_like_sql(text: &str) -> bool {
    let starts =
        ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "CREATE TABLE ", "ALTER TABLE "];
    starts.iter().any(|start| text.starts_with(start))
}

/// `-- name`, alone on the first line of a string.
fn opens_named_statement(text: &str) -> bool {
    let name = text.strip_prefix("-- ").map(|rest| rest.split("\\n").next().unwrap_or(""));
    name.is_some_and(|name| name.chars().all(|letter| letter.is_alphanumeric() || letter == '_'))
}

/// The largest number by which the script's body takes something from `KEYS` or `ARGV`.
fn highest(body: &str, name: &str) -> usize {
    let opening = format!("{name}[");
    let uses = body.split(&opening).skip(1);
    uses.filter_map(|rest| rest.split(']').next()?.parse().ok()).max().unwrap_or(0)
}

/// The leading count of `KEYS: 3 + levels`.
fn declared(header: &str, name: &str) -> usize {
    let prefix = format!("{name}: ");
    let count = header.lines().find_map(|line| line.strip_prefix(&prefix));
    count.and_then(|count| count.split(' ').next()?.parse().ok()).unwrap_or(0)
}

fn migration_field<'a>(header: &[&'a str], field: &str) -> &'a str {
    let prefix = format!("-- {field} ");
    header.iter().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("").trim()
}

/// The number between the two in a file's name; 0, which no sequence has, when there is none.
fn number_before(path: &Path, start: &str, end: &str) -> usize {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let number = name.strip_prefix(start).and_then(|name| name.split_once(end));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}

fn rust_files() -> Vec<PathBuf> {
    ["src", "tests", "bench", "torture", "fuzz/fuzz_targets"]
        .iter()
        .flat_map(|folder| files_under(folder, "rs"))
        .collect()
}

/// The Rust files of `src/` that are not `place` nor in it.
fn files_outside(place: &str) -> Vec<PathBuf> {
    let mut files = files_under("src", "rs");
    files.retain(|path| !path.starts_with(place));
    files
}

fn files_under(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut pending = vec![PathBuf::from(folder)];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|it| it == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// `src/counters/keys.rs` and `src/counters.rs` both belong to `counters`.
fn top_module(path: &Path) -> String {
    let inner = path.strip_prefix("src").unwrap();
    let first = inner.iter().next().unwrap();
    first.to_string_lossy().trim_end_matches(".rs").to_owned()
}
