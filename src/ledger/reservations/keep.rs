//! Keeping the tables with the log: in the transaction of a flush, from the events that are new in it.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::domain::Event;
use crate::domain::EventKind;
use crate::ledger::error::LedgerError;
use crate::ledger::lines;
use crate::ledger::tx::Tx;

use super::ReservationState;
use super::rows::Ends;
use super::rows::Holds;
use super::rows::Reserves;
use super::rows::held;
use super::rows::until;

// A row whose reserve is not known was left by its end, and stays ended.
const WRITE_RESERVES: &str = "-- write_reserves
INSERT INTO reservations AS stored (
    shard, id, subject, model, amount, plan, until, reserved_at, request_id, metadata, lines, state,
    ended_at, committed
)
SELECT $1, life.*
FROM unnest(
    $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::timestamptz[],
    $8::timestamptz[], $9::text[], $10::jsonb[], $11::jsonb[], $12::text[], $13::timestamptz[],
    $14::bigint[]
) AS life
ON CONFLICT (id) DO UPDATE SET
    subject = excluded.subject,
    model = excluded.model,
    amount = excluded.amount,
    plan = excluded.plan,
    until = excluded.until,
    reserved_at = excluded.reserved_at,
    request_id = excluded.request_id,
    metadata = excluded.metadata,
    lines = excluded.lines
WHERE stored.reserved_at IS NULL";

// What was held last stays when nothing was left to move, because all of its windows had ended.
const MOVE_RESERVATIONS: &str = "-- move_reservations
UPDATE reservations SET
    until = moved.until,
    lines = CASE moved.lines WHEN '[]' THEN reservations.lines ELSE moved.lines END
FROM unnest($1::uuid[], $2::timestamptz[], $3::jsonb[]) AS moved (id, until, lines)
WHERE reservations.id = moved.id AND reservations.state = 'open'";

// The first end counts; a late commit comes after it.
const END_RESERVATIONS: &str = "-- end_reservations
INSERT INTO reservations AS stored (
    shard, id, subject, model, amount, plan, until, lines, state, ended_at, committed
)
SELECT
    $1, gone.id, gone.subject, gone.model, gone.amount, gone.plan, gone.ended_at, '[]', gone.state,
    gone.ended_at, gone.committed
FROM unnest(
    $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::timestamptz[],
    $9::bigint[]
) AS gone (id, subject, model, amount, plan, state, ended_at, committed)
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state,
    ended_at = excluded.ended_at,
    committed = excluded.committed
WHERE stored.state = 'open' OR (excluded.state = 'late' AND stored.state = 'expired')";

const DROP_HOLDS: &str = "-- drop_holds
DELETE FROM reservation_holds AS hold
USING unnest($1::text[], $2::uuid[]) AS gone (level, reservation_id)
WHERE hold.level = gone.level COLLATE \"C\" AND hold.reservation_id = gone.reservation_id";

const ADD_HOLDS: &str = "-- add_holds
INSERT INTO reservation_holds (
    level, reservation_id, place, metric, period, window_start, window_end, grant_id, until, units
)
SELECT hold.*
FROM unnest(
    $1::text[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[],
    $7::timestamptz[], $8::bigint[], $9::timestamptz[], $10::bigint[]
) AS hold (
    level, reservation_id, place, metric, period, window_start, window_end, grant_id, until, units
)
JOIN reservations ON reservations.id = hold.reservation_id AND reservations.state = 'open'
ON CONFLICT DO NOTHING";

/// What some events do to one reservation together.
#[derive(Default)]
struct Life<'a> {
    reserve: Option<&'a Event>,
    /// The last one before its end.
    extend: Option<&'a Event>,
    /// How it ended: a late commit when there is one.
    end: Option<(ReservationState, &'a Event)>,
}

impl<'a> Life<'a> {
    /// The event that says what is held now, and until when.
    fn holder(&self) -> Option<&'a Event> {
        self.extend.or(self.reserve)
    }

    fn end_with(&mut self, state: ReservationState, event: &'a Event) {
        if self.end.is_none() || state == ReservationState::Late {
            self.end = Some((state, event));
        }
    }

    fn add(&mut self, event: &'a Event) {
        match event.kind {
            EventKind::Reserve => self.reserve = Some(event),
            EventKind::Extend if self.end.is_none() => self.extend = Some(event),
            EventKind::Commit if event.deltas.late => {
                self.end_with(ReservationState::Late, event);
            }
            EventKind::Commit => self.end_with(ReservationState::Committed, event),
            EventKind::Release => self.end_with(ReservationState::Released, event),
            EventKind::Expire => self.end_with(ReservationState::Expired, event),
            EventKind::Extend
            | EventKind::Consume
            | EventKind::Reset
            | EventKind::Set
            | EventKind::Refund
            | EventKind::Transfer
            | EventKind::Rollover => {}
        }
    }
}

/// The lives that the events tell of, in the order of their ids, so that two transactions never wait for each other's rows.
type Lives<'a> = BTreeMap<Uuid, Life<'a>>;

/// Keeps the reservations that events of one shard begin, move or end. The events are new in the log and in the order of
/// their seq.
pub(in crate::ledger) async fn keep(
    tx: &Tx,
    shard: u16,
    fresh: &[&Event],
) -> Result<(), LedgerError> {
    let lives = lives(fresh);
    if lives.is_empty() {
        return Ok(());
    }
    let shard = i64::from(shard);
    write_reserves(tx, shard, &lives).await?;
    move_reservations(tx, &lives).await?;
    end_reservations(tx, shard, &lives).await?;
    drop_holds(tx, &lives).await?;
    add_holds(tx, &lives).await
}

fn lives<'a>(fresh: &[&'a Event]) -> Lives<'a> {
    let mut lives = Lives::new();
    for event in fresh {
        let id = match event.kind {
            EventKind::Reserve => Some(event.event_id),
            EventKind::Commit | EventKind::Release | EventKind::Expire | EventKind::Extend => {
                event.of
            }
            _ => None,
        };
        if let Some(id) = id {
            lives.entry(id).or_default().add(event);
        }
    }
    lives
}

async fn write_reserves(tx: &Tx, shard: i64, lives: &Lives<'_>) -> Result<(), LedgerError> {
    let mut rows = Reserves::default();
    for (id, life) in lives {
        if let Some(reserve) = life.reserve {
            rows.push(*id, reserve, life.holder().unwrap_or(reserve), life.end)?;
        }
    }
    if rows.ids.is_empty() {
        return Ok(());
    }
    tx.execute(
        WRITE_RESERVES,
        &[
            &shard,
            &rows.ids,
            &rows.subjects,
            &rows.models,
            &rows.amounts,
            &rows.plans,
            &rows.untils,
            &rows.reserved_ats,
            &rows.request_ids,
            &rows.metadata,
            &rows.lines,
            &rows.states,
            &rows.ended_ats,
            &rows.committed,
        ],
    )
    .await?;
    Ok(())
}

/// Moves those whose reserve came with an earlier batch.
async fn move_reservations(tx: &Tx, lives: &Lives<'_>) -> Result<(), LedgerError> {
    let (mut ids, mut untils, mut holds) = (Vec::new(), Vec::new(), Vec::new());
    for (id, life) in lives {
        if let (None, Some(extend)) = (life.reserve, life.extend) {
            ids.push(*id);
            untils.push(until(extend)?);
            holds.push(lines::stored(held(extend))?);
        }
    }
    if !ids.is_empty() {
        tx.execute(MOVE_RESERVATIONS, &[&ids, &untils, &holds]).await?;
    }
    Ok(())
}

/// Ends those whose reserve came with an earlier batch, or may be known by its end alone.
async fn end_reservations(tx: &Tx, shard: i64, lives: &Lives<'_>) -> Result<(), LedgerError> {
    let mut rows = Ends::default();
    for (id, life) in lives {
        if let Some((state, event)) = life.end
            && (life.reserve.is_none() || state == ReservationState::Late)
        {
            rows.push(*id, state, event)?;
        }
    }
    if rows.ids.is_empty() {
        return Ok(());
    }
    tx.execute(
        END_RESERVATIONS,
        &[
            &shard,
            &rows.ids,
            &rows.subjects,
            &rows.models,
            &rows.amounts,
            &rows.plans,
            &rows.states,
            &rows.ended_ats,
            &rows.committed,
        ],
    )
    .await?;
    Ok(())
}

/// Drops what those hold that ended or moved. One that began with this batch holds nothing yet.
async fn drop_holds(tx: &Tx, lives: &Lives<'_>) -> Result<(), LedgerError> {
    let (mut levels, mut ids) = (Vec::new(), Vec::new());
    for (id, life) in lives.iter().filter(|(_, life)| life.reserve.is_none()) {
        let event = life.end.map(|(_, event)| event).or(life.extend);
        for level in event.into_iter().flat_map(Event::levels) {
            levels.push(level);
            ids.push(*id);
        }
    }
    if !ids.is_empty() {
        tx.execute(DROP_HOLDS, &[&levels, &ids]).await?;
    }
    Ok(())
}

/// Adds what those hold that began or moved, and are open.
async fn add_holds(tx: &Tx, lives: &Lives<'_>) -> Result<(), LedgerError> {
    let mut rows = Holds::default();
    for (id, life) in lives.iter().filter(|(_, life)| life.end.is_none()) {
        if let Some(event) = life.holder() {
            rows.push(*id, event)?;
        }
    }
    if rows.ids.is_empty() {
        return Ok(());
    }
    tx.execute(
        ADD_HOLDS,
        &[
            &rows.levels,
            &rows.ids,
            &rows.places,
            &rows.metrics,
            &rows.periods,
            &rows.window_starts,
            &rows.window_ends,
            &rows.grants,
            &rows.untils,
            &rows.units,
        ],
    )
    .await?;
    Ok(())
}
