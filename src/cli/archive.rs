//! `headroom archive`: months of the log into Parquet files.

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use chrono::NaiveDate;
use clap::Args;
use serde_json::json;
use uuid::Uuid;

use crate::app::ledger_options;
use crate::archive::Fingerprint;
use crate::archive::Place;
use crate::archive::Writer;
use crate::archive::read;
use crate::clock::Clock;
use crate::config::Config;
use crate::ledger::Ledger;
use crate::ledger::LedgerOptions;

use super::output::Failure;
use super::output::print_table;
use super::progress::Progress;

/// Rows read at once, which make a group of the file.
const ROWS_MAX: u32 = 50_000;
/// A month may take long to count and to add up.
const STATEMENT_TIMEOUT_MS: u64 = 3_600_000;

/// Which months go where.
#[derive(Debug, Args)]
pub(super) struct ArchiveArguments {
    /// The first month that stays, such as 2026-08; at most the present one
    #[arg(long, value_name = "MONTH")]
    before: String,
    /// A folder, or `s3://bucket/prefix` with the variables `AWS_…` for credentials, region and endpoint
    #[arg(long, value_name = "PLACE")]
    to: String,
}

/// A month that was archived and dropped.
struct Archived {
    month: NaiveDate,
    location: String,
    rows: u64,
    sha256: String,
}

pub(super) async fn archive(
    config: &Config,
    arguments: &ArchiveArguments,
) -> Result<ExitCode, Failure> {
    let before = first_day(&arguments.before)?;
    let now = Clock::with_offset_ms(config.clock.offset_ms).now().date_naive();
    if before > now {
        return Err("--before must not be after the present month".into());
    }
    let ledger = Ledger::connect(&LedgerOptions {
        url: config.postgres.migration_url().expose().to_owned(),
        statement_timeout_ms: STATEMENT_TIMEOUT_MS,
        ..ledger_options(config)
    })?;
    let place = Place::open(&arguments.to)?;
    let mut archived = Vec::new();
    let months = ledger.log_months(before).await?;
    let progress = Progress::bar("archive", months.len() as u64);
    for month in months {
        archived.extend(archive_month(&ledger, &place, month, &progress).await?);
        progress.step();
    }
    drop(progress);
    print(&archived)
}

/// Writes a month, reads it back, and only then drops it. Killed anywhere before the drop it leaves the log as it was, and
/// the next run writes the file again. A file of a month that was dropped is never written again: events that came later get
/// one of their own. None when there are no events, or when the month left the log meanwhile: a run that was killed may have
/// asked for that a moment ago, and what was read since is not the month.
async fn archive_month(
    ledger: &Ledger,
    place: &Place,
    month: NaiveDate,
    progress: &Progress,
) -> Result<Option<Archived>, Failure> {
    let part = ledger.archived_parts(month).await? + 1;
    let file = file_of(month, part);
    let scratch = Scratch::new(&file);
    let written = write(ledger, month, scratch.path(), progress).await?;
    let is_same = ledger.archived_parts(month).await? + 1 == part;
    if written.rows() == 0 || !is_same || !ledger.has_log_month(month).await? {
        return Ok(None);
    }
    progress.say(format!("{file}: verifying"));
    place.put(&file, scratch.path()).await?;
    place.get(&file, scratch.path()).await?;
    let mut found = Fingerprint::default();
    read(scratch.path(), |row| found.add(row))?;
    let location = place.location(&file);
    if (found.rows(), found.sha256()) != (written.rows(), written.sha256()) {
        return Err(
            format!("{location} does not hold what was written; nothing was dropped").into()
        );
    }
    let sha256 = written.sha256();
    if !ledger.drop_archived_month(month, written.rows(), &location, &sha256).await? {
        return Err(
            format!("events of {month} came meanwhile; nothing was dropped, run again").into()
        );
    }
    let (rows, sha256) = (written.rows(), hexadecimal(&sha256));
    Ok(Some(Archived { month, location, rows, sha256 }))
}

/// The name of a month's first file, or of a later one with the events that came since.
fn file_of(month: NaiveDate, part: u64) -> String {
    let month = month.format("%Y_%m");
    if part == 1 {
        format!("message_logs_{month}.parquet")
    } else {
        format!("message_logs_{month}_{part}.parquet")
    }
}

async fn write(
    ledger: &Ledger,
    month: NaiveDate,
    path: &Path,
    progress: &Progress,
) -> Result<Fingerprint, Failure> {
    let mut writer = Writer::create(path)?;
    let mut fingerprint = Fingerprint::default();
    let mut after = Uuid::nil();
    loop {
        let rows = ledger.logged_in_month(month, after, ROWS_MAX).await?;
        let Some(last) = rows.last() else { break };
        after = last.event_id;
        for row in &rows {
            fingerprint.add(row);
        }
        writer.write(&rows)?;
        progress.say(format!("{}: {} events", month.format("%Y-%m"), fingerprint.rows()));
    }
    writer.finish()?;
    Ok(fingerprint)
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A file of this run, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(file: &str) -> Self {
        Self(std::env::temp_dir().join(format!("headroom-{}-{file}", std::process::id())))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind costs disk space and nothing else.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn first_day(month: &str) -> Result<NaiveDate, Failure> {
    let is_month = month.len() == 7;
    let day = is_month.then(|| format!("{month}-01").parse().ok()).flatten();
    day.ok_or_else(|| "--before must be a month such as 2026-08".into())
}

fn print(archived: &[Archived]) -> Result<ExitCode, Failure> {
    let value: Vec<_> = archived
        .iter()
        .map(|it| {
            json!({ "month": it.month, "location": it.location, "events": it.rows, "sha256": it.sha256 })
        })
        .collect();
    let rows: Vec<Vec<String>> = archived
        .iter()
        .map(|it| vec![it.month.to_string(), it.rows.to_string(), it.location.clone()])
        .collect();
    print_table(&value, &["month", "events", "archived to"], &rows)
}
