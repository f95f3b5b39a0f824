//! Results in a page of the documentation, and the conditions under which they came about.

use std::process::Command;

use headroom::clock::Clock;

use crate::Failure;

/// The day, the machine and the versions of what runs on it.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let date = Clock::system().now().format("%Y-%m-%d");
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned());
        text.unwrap_or_else(|_| format!("{program} of an unknown version"))
    };
    let redis = version("redis-server");
    let redis = redis.split(" sha").next().unwrap_or_default();
    let postgres = version("psql");
    let postgres = postgres.replace("psql (PostgreSQL)", "Postgres");
    format!("{date}; {cores} cores; {redis}; {postgres}; {}", version("rustc"))
}

/// Puts results between the marks of their section of a page; the rest of the file is written by hand.
pub(crate) fn record(file: &str, section: &str, results: &str) -> Result<(), Failure> {
    let page = std::fs::read_to_string(file)?;
    let [begin, end] = ["begin", "end"].map(|mark| format!("<!-- {section}: {mark} -->\n"));
    let (before, rest) = page.split_once(&begin).ok_or("no mark where the section begins")?;
    let (_, after) = rest.split_once(&end).ok_or("no mark where the section ends")?;
    std::fs::write(file, format!("{before}{begin}\n{results}\n{end}{after}"))?;
    Ok(())
}
