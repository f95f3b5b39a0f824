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

/// Prints lines on a terminal, and `value` as JSON everywhere else.
pub(super) fn print_lines(value: &impl Serialize, lines: &[String]) -> Result<ExitCode, Failure> {
    print_value_or(value, || lines.join("\n") + "\n")
}

/// Rows in columns under a header.
pub(super) struct Table<'a> {
    /// What stands over the columns, and how many there are.
    pub(super) header: &'a [&'a str],
    /// The cells, a row each.
    pub(super) rows: Vec<Vec<String>>,
}

/// Prints rows in columns on a terminal, and `value` as JSON everywhere else.
pub(super) fn print_table(
    value: &impl Serialize,
    header: &[&str],
    rows: &[Vec<String>],
) -> Result<ExitCode, Failure> {
    print_tables(value, &[Table { header, rows: rows.to_vec() }])
}

/// Prints tables on a terminal, without those that have no rows but the first, and `value` as JSON everywhere else.
pub(super) fn print_tables(
    value: &impl Serialize,
    tables: &[Table<'_>],
) -> Result<ExitCode, Failure> {
    print_value_or(value, || {
        let shown = tables.iter().enumerate().filter(|(at, it)| *at == 0 || !it.rows.is_empty());
        shown.map(|(_, table)| table.text()).collect::<Vec<_>>().join("\n")
    })
}

fn print_value_or(
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<ExitCode, Failure> {
    if std::io::stdout().is_terminal() { print_text(&text()) } else { print_json(value) }
}

/// Prints `value` as JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<ExitCode, Failure> {
    print_line(&serde_json::to_string_pretty(value)?)
}

impl Table<'_> {
    /// The header, then a line each row.
    pub(super) fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widths = cells.map(|cell| cell.chars().count());
            widths.chain([self.header[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let line = |cells: Vec<&str>| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        let rows = self.rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
        line(self.header.to_vec()) + &rows.collect::<String>()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let rows = vec![row(["messages-month", "7"]), row(["é", ""])];
        let table = Table { header: &["limit", "used"], rows };
        assert_eq!(table.text(), "limit           used\nmessages-month  7\né\n");
    }
}
