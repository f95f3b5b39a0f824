//! Acts on counters: they come through the outbox, and into the audit log with the events that they are.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::value::to_raw_value;
use tokio_postgres::types::Json;

use crate::domain::Event;
use crate::domain::EventKind;
use crate::domain::event::Delta;
use crate::ledger::convert::instant_ms;
use crate::ledger::error::LedgerError;
use crate::ledger::tx::Tx;

use super::Action;

/// The counters that a row tells of; how many more there are stands beside them. Keeps a row below 64 kB.
const COUNTERS_MAX: usize = 256;
/// The longest name of an actor, in bytes.
const ACTOR_BYTES_MAX: usize = 200;
/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 500;
/// The longest request id, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 200;
/// Who did what an event of an older version does not say.
const UNKNOWN: &str = "unknown";

const INSERT_ACTS: &str = "-- insert_acts
INSERT INTO audit_log (occurred_at, actor, action, target, reason, before, after, request_id)
SELECT
    act.occurred_at, act.actor, act.action, act.target, act.reason, act.before, act.after,
    act.request_id
FROM unnest(
    $1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::jsonb[],
    $8::text[]
) WITH ORDINALITY AS act (
    occurred_at, actor, action, target, reason, before, after, request_id, place
)
ORDER BY act.place";

/// Records the acts of admins among events that are new in the log, in their order: one row an event. What such an event
/// says is cut to the table's bounds, since nothing may keep it from being counted.
pub(in crate::ledger) async fn insert_acts(tx: &Tx, fresh: &[&Event]) -> Result<(), LedgerError> {
    let mut rows = Rows::default();
    for event in fresh {
        if let Some(action) = default_action(event.kind) {
            rows.push(event, action)?;
        }
    }
    if rows.actors.is_empty() {
        return Ok(());
    }
    tx.execute(
        INSERT_ACTS,
        &[
            &rows.occurred_ats,
            &rows.actors,
            &rows.actions,
            &rows.targets,
            &rows.reasons,
            &rows.befores,
            &rows.afters,
            &rows.request_ids,
        ],
    )
    .await?;
    Ok(())
}

/// What an event of the kind is when it does not say so itself; `None` when it is no act of an admin.
const fn default_action(kind: EventKind) -> Option<Action> {
    match kind {
        EventKind::Reset => Some(Action::UsageReset),
        EventKind::Set => Some(Action::UsageSet),
        EventKind::Consume
        | EventKind::Reserve
        | EventKind::Commit
        | EventKind::Release
        | EventKind::Expire
        | EventKind::Extend
        | EventKind::Refund
        | EventKind::Transfer
        | EventKind::Rollover => None,
    }
}

/// What an act's event carries as its metadata.
#[derive(Default, Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    action: Option<Cow<'a, str>>,
    #[serde(borrow)]
    actor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

impl<'a> Told<'a> {
    fn by(event: &'a Event) -> Self {
        let told = event.metadata.as_deref().map(serde_json::from_str);
        told.and_then(Result::ok).unwrap_or_default()
    }

    fn action(&self, default: Action) -> Action {
        let known = [Action::UsageReset, Action::UsageSet, Action::UsageDecrement];
        let named = |action: &Action| self.action.as_deref() == Some(action.as_str());
        known.into_iter().find(named).unwrap_or(default)
    }
}

/// Acts, a column each.
#[derive(Default)]
struct Rows<'a> {
    occurred_ats: Vec<DateTime<Utc>>,
    actors: Vec<String>,
    actions: Vec<&'static str>,
    targets: Vec<&'a str>,
    reasons: Vec<Option<String>>,
    befores: Vec<Option<Json<Box<RawValue>>>>,
    afters: Vec<Option<Json<Box<RawValue>>>>,
    request_ids: Vec<Option<String>>,
}

impl<'a> Rows<'a> {
    fn push(&mut self, event: &'a Event, default: Action) -> Result<(), LedgerError> {
        let told = Told::by(event);
        let actor = told.actor.as_deref().filter(|name| !name.is_empty()).unwrap_or(UNKNOWN);
        let own_id = || event.event_id.to_string();
        let request_id = event.request_id.clone().unwrap_or_else(own_id);
        self.occurred_ats.push(instant_ms(event.occurred_at_ms)?);
        self.actors.push(cut(actor, ACTOR_BYTES_MAX));
        self.actions.push(told.action(default).as_str());
        self.targets.push(&event.subject);
        self.reasons.push(told.reason.as_deref().map(|reason| cut(reason, REASON_BYTES_MAX)));
        self.befores.push(counts(event, |delta| delta.after.map(|after| after - delta.units))?);
        self.afters.push(counts(event, |delta| delta.after)?);
        let is_named = !request_id.is_empty();
        self.request_ids.push(is_named.then(|| cut(&request_id, REQUEST_ID_BYTES_MAX)));
        Ok(())
    }
}

/// Counts by counter: `{"messages-month from 2026-11-01T00:00:00Z": 37}`; `None` when there are none.
fn counts(
    event: &Event,
    count: impl Fn(&Delta) -> Option<i64>,
) -> Result<Option<Json<Box<RawValue>>>, LedgerError> {
    let lines = &event.deltas.lines;
    let mut by_counter: BTreeMap<String, i64> = BTreeMap::new();
    for delta in lines.iter().take(COUNTERS_MAX) {
        if let Some(count) = count(delta) {
            // A metric's plain minute and its slice may begin together.
            *by_counter.entry(name(delta)).or_default() += count;
        }
    }
    if let Some(more @ 1..) = lines.len().checked_sub(COUNTERS_MAX) {
        by_counter.insert("further counters".to_owned(), i64::try_from(more).unwrap_or(i64::MAX));
    }
    if by_counter.is_empty() {
        return Ok(None);
    }
    let raw = to_raw_value(&by_counter);
    raw.map(|raw| Some(Json(raw))).map_err(|error| LedgerError::Internal(error.into()))
}

fn name(delta: &Delta) -> String {
    let start_at = delta.window.start_at().to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("{}-{} from {start_at}", delta.metric, delta.period.as_str())
}

/// The longest beginning of the text that has so many bytes at most.
fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_letters() {
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("äöü", 6), "äöü");
        assert_eq!(cut("", 3), "");
    }
}
