//! How long analysts wait for an answer.

use std::time::Instant;

use chrono::Datelike;
use chrono::Days;
use chrono::NaiveDate;
use headroom::clock::Clock;
use headroom::ledger::Ledger;
use headroom::ledger::LedgerError;
use headroom::ledger::LogFilter;

use super::Database;
use crate::Failure;
use crate::report::median;

const ROUNDS: usize = 7;
const METRIC: &str = "messages";
const METRICS: &[&str] = &[METRIC, "premium_messages"];

/// What a summary of 30 days takes without rollups.
const PLAIN: &str = "SELECT (occurred_at AT TIME ZONE 'UTC')::date, sum((charges ->> 'messages')::bigint),
    sum((charges ->> 'premium_messages')::bigint), count(DISTINCT split_part(subject, '/', 1))
FROM message_logs WHERE occurred_at >= date_trunc('day', now(), 'UTC') - interval '29 days' GROUP BY 1";

/// How long a question took.
pub(super) struct Wait {
    pub(super) question: &'static str,
    pub(super) median_ms: f64,
}

/// Asks everything that the API answers, several times each.
pub(super) async fn ask(database: &Database) -> Result<Vec<Wait>, Failure> {
    let mut waits = ask_rollups(&database.ledger).await?;
    waits.extend(ask_log(database).await?);
    Ok(waits)
}

/// Asks everything that rollups answer.
pub(super) async fn ask_rollups(ledger: &Ledger) -> Result<Vec<Wait>, Failure> {
    let to = Clock::system().now().date_naive();
    let back = |days| to.checked_sub_days(Days::new(days)).unwrap_or(to);
    let month = to.with_day(1).unwrap_or(to);
    Ok(vec![
        wait("summary of 7 days", || summary(ledger, back(6), to)).await?,
        wait("summary of 30 days", || summary(ledger, back(29), to)).await?,
        wait("top 10 subjects of a month", || ledger.top_subjects(month, METRIC, 10)).await?,
        wait("distribution over subjects in a month", || ledger.distribution(month, METRIC))
            .await?,
        wait("models' shares of 30 days", || ledger.model_totals(back(29), to, METRIC)).await?,
        wait("refusals and rate of 30 days", || rate(ledger, back(29), to)).await?,
        wait("month over month", || months(ledger, month)).await?,
        wait("a subject's 28 days, for a forecast", || {
            ledger.subject_usage(back(28), to, "user:u_0", METRIC)
        })
        .await?,
    ])
}

/// Asks for pages of the log, and adds up all of it.
async fn ask_log(database: &Database) -> Result<Vec<Wait>, Failure> {
    let ledger = &database.ledger;
    let subject = LogFilter { within: Some("user:u_0"), ..LogFilter::default() };
    let everybody = LogFilter::default();
    let nothing = LogFilter { kind: Some("reset"), ..LogFilter::default() };
    let mut waits = vec![
        wait("a page of 100 of everybody's log", || ledger.log_page(&everybody, 100)).await?,
        wait("a page of 100 of one subject's log", || ledger.log_page(&subject, 100)).await?,
        wait("a page that finds nothing in 100,000 rows", || ledger.log_page(&nothing, 100))
            .await?,
    ];
    let started_at = Instant::now();
    database.client.batch_execute(PLAIN).await?;
    let median_ms = started_at.elapsed().as_secs_f64() * 1_000.0;
    waits.push(Wait {
        question: "for comparison: 30 days by plain SQL over the log, once",
        median_ms,
    });
    Ok(waits)
}

async fn wait<T, F: Future<Output = Result<T, LedgerError>>>(
    question: &'static str,
    ask: impl Fn() -> F,
) -> Result<Wait, Failure> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let started_at = Instant::now();
        ask().await?;
        times.push(started_at.elapsed().as_secs_f64() * 1_000.0);
    }
    let median_ms = median(times.into_iter());
    eprintln!("{question}: {median_ms:.1} ms");
    Ok(Wait { question, median_ms })
}

async fn summary(ledger: &Ledger, from: NaiveDate, to: NaiveDate) -> Result<(), LedgerError> {
    ledger.day_totals(from, to, METRICS).await?;
    ledger.active_subjects(from, to, METRIC).await?;
    Ok(())
}

async fn rate(ledger: &Ledger, from: NaiveDate, to: NaiveDate) -> Result<(), LedgerError> {
    ledger.hour_totals(from, to, METRIC).await?;
    ledger.denial_totals(from, to, METRIC).await?;
    Ok(())
}

async fn months(ledger: &Ledger, month: NaiveDate) -> Result<(), LedgerError> {
    let before = month.checked_sub_months(chrono::Months::new(1)).unwrap_or(month);
    ledger.month_totals(&[before, month], METRIC).await?;
    Ok(())
}
