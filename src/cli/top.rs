//! `headroom top`: the shards, who is near a limit, and what happens, again and again.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::app::Core;
use crate::config::Config;
use crate::domain::Metric;
use crate::domain::analytics::NearLimit;
use crate::ledger::LogFilter;
use crate::ledger::LogRow;
use crate::quota::ShardView;

use super::core::on_core;
use super::core::parse_metric;
use super::output::Failure;
use super::output::Table;
use super::output::print_line;
use super::output::print_text;

/// Subjects shown that are near a limit, and rows of the log.
const ROWS: u32 = 10;
/// From this share of a limit on a subject is near it.
const NEAR_PERCENT: u8 = 80;
/// A screen of its own; the cursor is hidden.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// What `headroom top` shows, and how often.
#[derive(Debug, Args)]
pub(super) struct TopArguments {
    /// Whose limits and refusals are shown; the catalogue's first metric when absent
    #[arg(long)]
    metric: Option<String>,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    /// Stop after so many looks; in a pipe each is a line of JSON
    #[arg(long, value_name = "LOOKS")]
    count: Option<u64>,
}

/// What one look found.
#[derive(Serialize)]
struct Look {
    at: DateTime<Utc>,
    metric: Metric,
    /// Of all shards, since the look before; `None` at the first.
    accepted_per_s: Option<f64>,
    refused_per_s: Option<f64>,
    shards: Vec<ShardView>,
    near: Vec<NearLimit>,
    latest: Vec<serde_json::Value>,
    /// Refusals of the metric today and yesterday.
    #[serde(skip)]
    refused: i64,
}

/// The screen of a terminal, which is as it was before when this is dropped.
struct Screen;

impl Screen {
    fn enter() -> Result<Self, Failure> {
        print_text(ENTER)?;
        Ok(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing is left to do when the terminal is gone.
        let _ = print_text(LEAVE);
    }
}

pub(super) async fn top(config: &Config, arguments: &TopArguments) -> Result<ExitCode, Failure> {
    let metric = arguments.metric.as_deref().map(|name| parse_metric("--metric", name));
    let metric = metric.transpose()?;
    on_core(config, async |core| {
        let is_terminal = std::io::stdout().is_terminal();
        let _screen = is_terminal.then(Screen::enter).transpose()?;
        let mut before: Option<Look> = None;
        for _ in 0..arguments.count.unwrap_or(u64::MAX) {
            if before.is_some() && has_ended(arguments.every).await {
                break;
            }
            let look = look(core, metric.as_ref(), before.as_ref()).await?;
            show(&look, is_terminal)?;
            before = Some(look);
        }
        Ok(ExitCode::SUCCESS)
    })
    .await
}

/// Waits until the next look is due; answers whether somebody pressed Ctrl-C instead.
async fn has_ended(every_s: u64) -> bool {
    tokio::time::timeout(Duration::from_secs(every_s), tokio::signal::ctrl_c()).await.is_ok()
}

async fn look(
    core: &Core,
    metric: Option<&Metric>,
    before: Option<&Look>,
) -> Result<Look, Failure> {
    let quota = &core.quota;
    let first = quota.catalogue().catalogue.metrics.first().cloned();
    let metric = metric.cloned().or(first).ok_or("the catalogue has no metric")?;
    let at = quota.clock().now();
    let shards = quota.shards().await?;
    let refused = quota.denial_rate(quota.trailing_days(2), metric.as_str()).await?.denied;
    let near = quota.near_limit(&metric, NEAR_PERCENT, ROWS as usize).await?;
    let page = quota.logs(&LogFilter::default(), ROWS).await?;
    let latest = page.rows.iter().map(row_json).collect();
    let per_s = |now: i64, then: i64, before: &Look| {
        let elapsed_s = (at - before.at).as_seconds_f64().max(f64::EPSILON);
        f64::from(i32::try_from((now - then).max(0)).unwrap_or(i32::MAX)) / elapsed_s
    };
    let accepted_per_s = before.map(|it| per_s(accepted(&shards), accepted(&it.shards), it));
    let refused_per_s = before.map(|it| per_s(refused, it.refused, it));
    Ok(Look { at, metric, accepted_per_s, refused_per_s, shards, near, latest, refused })
}

fn accepted(shards: &[ShardView]) -> i64 {
    shards.iter().filter_map(|it| i64::try_from(it.seq).ok()).sum()
}

fn row_json(row: &LogRow) -> serde_json::Value {
    let charges: serde_json::Value = serde_json::from_str(&row.charges).unwrap_or_default();
    let LogRow { occurred_at, subject, kind, model, code, .. } = row;
    json!({
        "occurred_at": occurred_at, "subject": subject, "kind": kind, "model": model,
        "charges": charges, "code": code,
    })
}

fn show(look: &Look, is_terminal: bool) -> Result<ExitCode, Failure> {
    if !is_terminal {
        return print_line(&serde_json::to_string(look)?);
    }
    let mut screen = HOME.to_owned();
    for line in text(look).lines() {
        writeln!(screen, "{line}{CLEAR_LINE}")?;
    }
    print_text(&(screen + CLEAR_BELOW))
}

fn text(look: &Look) -> String {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
    let waiting: u64 = look.shards.iter().map(|it| it.waiting).sum();
    let head = format!(
        "headroom  {}  {}: accepted {}/s  refused {}/s  waiting for postgres {waiting}\n",
        look.at.format("%Y-%m-%d %H:%M:%S UTC"),
        look.metric,
        rate(look.accepted_per_s),
        rate(look.refused_per_s),
    );
    let tables = [shards(&look.shards), near(&look.near), latest(&look.latest)];
    let tables = tables.map(|table| table.text());
    [head].into_iter().chain(tables).collect::<Vec<_>>().join("\n")
}

fn shards(shards: &[ShardView]) -> Table<'static> {
    let row = |it: &ShardView| {
        let epoch = it.epoch.map_or_else(|| "unknown to redis".to_owned(), |it| it.to_string());
        let state = if it.is_fenced { "recovering" } else { "" };
        let [shard, seq, waiting] = [it.shard.into(), it.seq, it.waiting].map(|it| it.to_string());
        vec![shard, epoch, seq, waiting, format!("{:.1}", it.waiting_s), state.to_owned()]
    };
    let header = &["shard", "epoch", "accepted", "waiting", "oldest s", ""];
    Table { header, rows: shards.iter().map(row).collect() }
}

fn near(near: &[NearLimit]) -> Table<'static> {
    let row = |it: &NearLimit| {
        let share = format!("{}.{} %", it.used_permille / 10, it.used_permille % 10);
        let resets_at = it.resets_at.format("%Y-%m-%d %H:%M").to_string();
        vec![
            it.subject.clone(),
            it.limit.clone(),
            format!("{}/{}", it.used, it.max),
            share,
            resets_at,
        ]
    };
    let header = &["near its limit", "limit", "used", "share", "resets at"];
    Table { header, rows: near.iter().map(row).collect() }
}

fn latest(latest: &[serde_json::Value]) -> Table<'static> {
    let cell = |row: &serde_json::Value, name: &str| match &row[name] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let row = |it: &serde_json::Value| {
        let why = if it["code"].is_null() { "charges" } else { "code" };
        ["occurred_at", "subject", "kind", "model", why].map(|name| cell(it, name)).to_vec()
    };
    let header = &["when", "who", "what", "model", "charged, or why not"];
    Table { header, rows: latest.iter().map(row).collect() }
}
