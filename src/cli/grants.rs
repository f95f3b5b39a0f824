//! `headroom grant`, `grants`, `grant-revoke` and `transfer`: units beside what a plan allows.

use std::process::ExitCode;

use chrono::DateTime;
use chrono::Utc;
use clap::Args;

use crate::app::Core;
use crate::config::Config;
use crate::domain::Amount;
use crate::domain::GrantSource;
use crate::domain::Subject;
use crate::domain::Units;
use crate::http::routes::grants::GrantBody;
use crate::http::routes::transfers::TransferBody;
use crate::quota::GrantOrder;
use crate::quota::GrantRow;
use crate::quota::TransferOrder;

use super::core::actor;
use super::core::flush;
use super::core::on_core;
use super::core::parse_metric;
use super::core::parse_period;
use super::core::parse_subject;
use super::output::Failure;
use super::output::Table;
use super::output::print_tables;

/// The longest note, in bytes.
const NOTE_BYTES_MAX: usize = 500;

/// What `headroom grant` gives.
#[derive(Debug, Args)]
pub(super) struct GrantArguments {
    /// A path such as `user:u_1` or `org:acme/user:u_1`
    subject: String,
    /// What it is of
    metric: String,
    /// How many units, 1 to 2147483648
    amount: u64,
    /// When it ends, RFC 3339; never when absent
    #[arg(long, value_name = "TIME")]
    expires: Option<DateTime<Utc>>,
    /// Where it comes from: admin, promotion or purchase
    #[arg(long, default_value = "admin")]
    source: String,
    /// What is to be said of it, at most 500 bytes
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Raise the limit of this period until `--expires` instead
    #[arg(long)]
    period: Option<String>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Which grant `headroom grant-revoke` takes back.
#[derive(Debug, Args)]
pub(super) struct RevokeArguments {
    /// A path such as `user:u_1` or `org:acme/user:u_1`
    subject: String,
    /// The grant's number
    id: u32,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// What `headroom transfer` moves.
#[derive(Debug, Args)]
pub(super) struct TransferArguments {
    /// Who gives, out of grants of its own
    from: String,
    /// Who receives
    to: String,
    /// What is given
    metric: String,
    /// How many units, 1 to 2147483648
    amount: u64,
    /// What the giver says, at most 500 bytes
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

pub(super) async fn grant(
    config: &Config,
    arguments: &GrantArguments,
) -> Result<ExitCode, Failure> {
    let subject = parse_subject(&arguments.subject)?;
    let actor = actor(arguments.reason.as_ref())?;
    let order = order(arguments)?;
    on_core(config, async |core| {
        if order.expires_at.is_some_and(|at| at <= core.quota.clock().now()) {
            return Err("--expires must be in the future".into());
        }
        let row = core.quota.give_grant(&subject, &order, &actor).await?;
        print_one(core, &row)
    })
    .await
}

fn order(arguments: &GrantArguments) -> Result<GrantOrder, Failure> {
    let GrantArguments { metric, amount, expires, source, note, period, .. } = arguments;
    let period = parse_period(period.as_ref())?;
    if period.is_some() && expires.is_none() {
        return Err("--period needs --expires: the limit is higher until then".into());
    }
    let source = GrantSource::named(source).filter(|source| *source != GrantSource::Gift);
    Ok(GrantOrder {
        metric: parse_metric("METRIC", metric)?,
        amount: parse_amount(*amount)?,
        period,
        expires_at: *expires,
        source: source.ok_or("--source must be admin, promotion or purchase")?,
        note: parse_note(note.as_ref())?,
    })
}

pub(super) async fn grants(config: &Config, subject: &str) -> Result<ExitCode, Failure> {
    let subject = parse_subject(subject)?;
    on_core(config, async |core| {
        // What is used of a grant is as far as the log goes.
        flush(core, &subject).await?;
        let rows = core.quota.grants(&subject).await?;
        let bodies: Vec<_> = rows.iter().map(|row| GrantBody::of(row, &core.quota)).collect();
        print_tables(&bodies, &[table(core, &rows)])
    })
    .await
}

pub(super) async fn revoke(
    config: &Config,
    arguments: &RevokeArguments,
) -> Result<ExitCode, Failure> {
    let subject = parse_subject(&arguments.subject)?;
    let actor = actor(arguments.reason.as_ref())?;
    on_core(config, async |core| {
        let row = core.quota.revoke_grant(&subject, arguments.id.into(), &actor).await?;
        print_one(core, &row)
    })
    .await
}

pub(super) async fn transfer(
    config: &Config,
    arguments: &TransferArguments,
) -> Result<ExitCode, Failure> {
    let side = |what: &str, text: &str| {
        let parsed = Subject::parse(text);
        parsed.map_err(|error| Failure::from(format!("{what}: {error}, such as user:u_1")))
    };
    let order = TransferOrder {
        from: side("FROM", &arguments.from)?,
        to: side("TO", &arguments.to)?,
        metric: parse_metric("METRIC", &arguments.metric)?,
        amount: parse_amount(arguments.amount)?,
        note: parse_note(arguments.note.as_ref())?,
    };
    if order.from == order.to {
        return Err("TO must be another subject than FROM".into());
    }
    let actor = actor(None)?;
    on_core(config, async |core| {
        let row = core.quota.transfer(&order, &actor).await?;
        flush(core, &order.from).await?;
        let cells = [row.id.to_string(), row.from.clone(), row.to.clone(), row.amount.to_string()];
        let table =
            Table { header: &["transfer", "from", "to", "units"], rows: vec![cells.into()] };
        print_tables(&TransferBody::of(&row), &[table])
    })
    .await
}

fn print_one(core: &Core, row: &GrantRow) -> Result<ExitCode, Failure> {
    let table = table(core, std::slice::from_ref(row));
    print_tables(&GrantBody::of(row, &core.quota), &[table])
}

fn table<'a>(core: &Core, rows: &[GrantRow]) -> Table<'a> {
    let cells = |row: &GrantRow| {
        let (state, remaining) = core.quota.standing(row);
        let expires_at = row.grant.expires_s.and_then(|at_s| DateTime::from_timestamp(at_s, 0));
        vec![
            row.grant.id.to_string(),
            row.grant.metric.to_string(),
            row.grant.amount.to_string(),
            remaining.to_string(),
            row.source.as_str().to_owned(),
            state.as_str().to_owned(),
            expires_at.map_or_else(|| "never".to_owned(), |at| at.to_rfc3339()),
        ]
    };
    let header = &["id", "metric", "amount", "remaining", "source", "state", "expires at"];
    Table { header, rows: rows.iter().map(cells).collect() }
}

fn parse_amount(count: u64) -> Result<Units, Failure> {
    let amount = Amount::new(count).ok().filter(|amount| *amount != Amount::ZERO);
    Ok(amount.map(Units::from).ok_or("AMOUNT must be between 1 and 2147483648")?)
}

fn parse_note(note: Option<&String>) -> Result<Option<String>, Failure> {
    let fits = |text: &&String| text.len() <= NOTE_BYTES_MAX && !text.chars().any(char::is_control);
    if !note.as_ref().is_none_or(fits) {
        let rule = "--note must be at most 500 bytes without control characters";
        return Err(rule.into());
    }
    Ok(note.filter(|text| !text.is_empty()).cloned())
}
