//! Rows of the tables, a column each, and what an event says for them.

use chrono::DateTime;
use chrono::Utc;
use serde_json::value::RawValue;
use tokio_postgres::types::Json;
use uuid::Uuid;

use crate::domain::Event;
use crate::domain::EventKind;
use crate::domain::Tally;
use crate::domain::event::Delta;
use crate::ledger::convert::instant_ms;
use crate::ledger::convert::instant_s;
use crate::ledger::convert::json;
use crate::ledger::convert::signed;
use crate::ledger::error::LedgerError;
use crate::ledger::lines;
use crate::ledger::usage_counters::is_kept;

use super::ReservationState;

/// What the event holds; an extend also gives back what was held until the time before.
pub(super) fn held(event: &Event) -> impl Iterator<Item = &Delta> {
    let is_held = |line: &&Delta| matches!(line.tally, Tally::Held { .. }) && line.units > 0;
    event.deltas.lines.iter().filter(is_held)
}

/// Until when the event holds; one that does not say so holds nothing.
pub(super) fn until(event: &Event) -> Result<DateTime<Utc>, LedgerError> {
    event.until_s.map_or_else(|| instant_ms(event.occurred_at_ms), instant_s)
}

/// The amount that an event commits.
fn committed(event: &Event) -> Result<Option<i64>, LedgerError> {
    (event.kind == EventKind::Commit).then(|| signed(event.amount)).transpose()
}

/// Reservations that begin, a column each.
#[derive(Default)]
pub(super) struct Reserves<'a> {
    pub(super) ids: Vec<Uuid>,
    pub(super) subjects: Vec<&'a str>,
    pub(super) models: Vec<Option<&'a str>>,
    pub(super) amounts: Vec<i64>,
    pub(super) plans: Vec<&'a str>,
    pub(super) untils: Vec<DateTime<Utc>>,
    pub(super) reserved_ats: Vec<DateTime<Utc>>,
    pub(super) request_ids: Vec<Option<&'a str>>,
    pub(super) metadata: Vec<Option<Json<&'a RawValue>>>,
    pub(super) lines: Vec<Json<Box<RawValue>>>,
    pub(super) states: Vec<&'static str>,
    pub(super) ended_ats: Vec<Option<DateTime<Utc>>>,
    pub(super) committed: Vec<Option<i64>>,
}

impl<'a> Reserves<'a> {
    /// Adds the reservation that `event` began, that holds what `holder` says, and that ended so if it did.
    pub(super) fn push(
        &mut self,
        id: Uuid,
        event: &'a Event,
        holder: &Event,
        end: Option<(ReservationState, &Event)>,
    ) -> Result<(), LedgerError> {
        let state = end.map_or(ReservationState::Open, |(state, _)| state);
        let shown = if held(holder).next().is_some() { holder } else { event };
        let end = end.map(|(_, event)| event);
        self.ids.push(id);
        self.subjects.push(&event.subject);
        self.models.push(event.model.as_deref());
        self.amounts.push(signed(event.amount)?);
        self.plans.push(&event.deltas.plan);
        self.untils.push(until(holder)?);
        self.reserved_ats.push(instant_ms(event.occurred_at_ms)?);
        self.request_ids.push(event.request_id.as_deref());
        self.metadata.push(event.metadata.as_deref().map(json).transpose()?);
        self.lines.push(lines::stored(held(shown))?);
        self.states.push(state.as_str());
        self.ended_ats.push(end.map(|end| instant_ms(end.occurred_at_ms)).transpose()?);
        self.committed.push(end.map_or(Ok(None), committed)?);
        Ok(())
    }
}

/// Reservations that end, a column each.
#[derive(Default)]
pub(super) struct Ends<'a> {
    pub(super) ids: Vec<Uuid>,
    pub(super) subjects: Vec<&'a str>,
    pub(super) models: Vec<Option<&'a str>>,
    pub(super) amounts: Vec<i64>,
    pub(super) plans: Vec<&'a str>,
    pub(super) states: Vec<&'static str>,
    pub(super) ended_ats: Vec<DateTime<Utc>>,
    pub(super) committed: Vec<Option<i64>>,
}

impl<'a> Ends<'a> {
    pub(super) fn push(
        &mut self,
        id: Uuid,
        state: ReservationState,
        event: &'a Event,
    ) -> Result<(), LedgerError> {
        self.ids.push(id);
        self.subjects.push(&event.subject);
        self.models.push(event.model.as_deref());
        self.amounts.push(signed(event.amount)?);
        self.plans.push(&event.deltas.plan);
        self.states.push(state.as_str());
        self.ended_ats.push(instant_ms(event.occurred_at_ms)?);
        self.committed.push(committed(event)?);
        Ok(())
    }
}

/// What reservations hold of counters that Postgres has, a column each.
#[derive(Default)]
pub(super) struct Holds<'a> {
    pub(super) levels: Vec<&'a str>,
    pub(super) ids: Vec<Uuid>,
    pub(super) places: Vec<i64>,
    pub(super) metrics: Vec<&'a str>,
    pub(super) periods: Vec<&'static str>,
    pub(super) window_starts: Vec<DateTime<Utc>>,
    pub(super) window_ends: Vec<DateTime<Utc>>,
    pub(super) grants: Vec<Option<i64>>,
    pub(super) untils: Vec<DateTime<Utc>>,
    pub(super) units: Vec<i64>,
}

impl<'a> Holds<'a> {
    pub(super) fn push(&mut self, id: Uuid, event: &'a Event) -> Result<(), LedgerError> {
        for (place, line) in (0..).zip(held(event)) {
            let Tally::Held { until_s } = line.tally else { continue };
            if !is_kept(line.period) {
                continue;
            }
            self.levels.push(event.level(line.depth));
            self.ids.push(id);
            self.places.push(place);
            self.metrics.push(line.metric.as_str());
            self.periods.push(line.period.as_str());
            self.window_starts.push(instant_s(line.window.start_s)?);
            self.window_ends.push(instant_s(line.window.end_s)?);
            self.grants.push(line.grant.map(signed).transpose()?);
            self.untils.push(instant_s(until_s)?);
            self.units.push(line.units);
        }
        Ok(())
    }
}
