//! What a command prints: answers on the standard output, everything else on the standard error.

use std::error::Error;
use std::io::IsTerminal;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

/// Why a command failed: printed with its causes.
pub(super) type Failure = Box<dyn Error + Send + Sync>;

/// Prints a text that ends its own lines.
pub(super) fn print_text(text: &str) -> Result<ExitCode, Failure> {
    let mut output = std::io::stdout().lock();
    output.write_all(text.as_bytes())?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Prints one line.
pub(super) fn print_line(line: &str) -> Result<ExitCode, Failure> {
    print_text(&format!("{line}\n"))
}

/// Prints rows in columns on a terminal, and `value` as JSON everywhere else.
pub(super) fn print_table(
    value: &impl Serialize,
    header: &[&str],
    rows: &[Vec<String>],
) -> Result<ExitCode, Failure> {
    if !std::io::stdout().is_terminal() {
        return print_line(&serde_json::to_string_pretty(value)?);
    }
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            let cells =
                rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([header[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    print_text(&text)
}

/// Prints why the command failed, with every cause.
pub(super) fn complain(failure: &Failure) {
    let causes = std::iter::successors(failure.source(), |cause| (*cause).source());
    let text = causes.map(ToString::to_string).fold(failure.to_string(), |text, cause| {
        // Some libraries repeat their cause in their own text.
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    });
    // Nothing is left to do when the standard error is closed.
    let _ = writeln!(std::io::stderr(), "error: {text}");
}
