//! Moving a batch of the outbox into Postgres: log, counters, rollups, reservations, grants, audit log and cursor in one
//! transaction.

use std::collections::BTreeSet;

use crate::domain::event::Event;

use super::Ledger;
use super::audit_log;
use super::crossings;
use super::cursors;
use super::cursors::Cursor;
use super::cursors::Move;
use super::dead_letters;
use super::dead_letters::DeadLetter;
use super::error::LedgerError;
use super::feed;
use super::grants;
use super::load::LevelProfile;
use super::message_logs;
use super::message_logs::Logged;
use super::reservations;
use super::rollups;
use super::transfers;
use super::tx::Tx;
use super::usage_counters;

/// What a flusher read after the cursor of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The shard.
    pub shard: u16,
    /// The epoch the entries are of.
    pub epoch: u64,
    /// Where the cursor must be: the seq before the batch's first.
    pub from_seq: u64,
    /// Where the cursor goes: the batch's last seq.
    pub to_seq: u64,
    /// The events, in the order of their seq.
    pub events: Vec<Event>,
    /// The entries that cannot be events.
    pub dead: Vec<DeadLetter>,
    /// Subjects whose counters in Redis must be loaded anew, for reasons of the caller's.
    pub forget: Vec<String>,
}

/// What keeps an event from being counted twice. Tests take one away to show that it is needed.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushGuards {
    /// Count only what the log took.
    pub dedupe: bool,
    /// Go on only from where the cursor is.
    pub compare_and_set: bool,
}

impl Default for FlushGuards {
    fn default() -> Self {
        Self { dedupe: true, compare_and_set: true }
    }
}

/// What a flush did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Events that are new in the log.
    pub inserted: u64,
    /// The seqs of the events that the log had already. Redis has counted these twice until their subjects are
    /// forgotten there.
    pub duplicates: Vec<u64>,
    /// Everything that Redis has yet to forget in this shard, distinct. Tell [`Ledger::forgotten`] when it has.
    pub forget: Vec<String>,
    /// What is configured since for levels that have a grant again which was used up: nodes do not know of it before they are
    /// told.
    pub profiles: Vec<LevelProfile>,
}

/// What events did that were written.
pub(super) struct Written<'a> {
    /// Which of them are new in the log.
    pub(super) logged: Logged<'a>,
    /// As [`Flushed::profiles`].
    profiles: Vec<LevelProfile>,
}

impl Ledger {
    /// Writes a batch to the log and the counters and moves the cursor, all or nothing.
    ///
    /// # Errors
    ///
    /// [`LedgerError::CursorMoved`] when somebody else was first, [`LedgerError::BadData`] when an event cannot be
    /// stored (halve the batch to find it), [`LedgerError::Conflict`] and [`LedgerError::Unavailable`] when it is worth
    /// trying again from the cursor as it is then.
    pub async fn flush(&self, batch: &Batch, guards: FlushGuards) -> Result<Flushed, LedgerError> {
        let tx = self.begin().await?;
        let outcome = write(&tx, batch, guards).await;
        tx.end(outcome).await
    }
}

impl Ledger {
    /// Logs events of the first shard and epoch and does nothing else, for the benchmark to compare a flush with.
    ///
    /// # Errors
    ///
    /// As [`Ledger::flush`].
    #[doc(hidden)]
    pub async fn log_alone(&self, events: &[Event]) -> Result<(), LedgerError> {
        let tx = self.begin().await?;
        let outcome = message_logs::insert(&tx, 0, 1, events).await.map(|_| ());
        tx.end(outcome).await
    }

    /// Whether Postgres can store these events. Nothing is kept.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when it cannot.
    pub async fn can_take(&self, events: &[Event]) -> Result<(), LedgerError> {
        let tx = self.begin().await?;
        let outcome = write_events(&tx, 0, 0, events, FlushGuards::default()).await.map(|_| ());
        tx.roll_back().await;
        outcome
    }
}

async fn write(tx: &Tx, batch: &Batch, guards: FlushGuards) -> Result<Flushed, LedgerError> {
    let cursor = cursors::lock(tx, batch.shard).await?;
    if guards.compare_and_set && (cursor.epoch, cursor.seq) != (batch.epoch, batch.from_seq) {
        return Err(LedgerError::CursorMoved);
    }
    let Written { logged, profiles } =
        write_events(tx, batch.shard, batch.epoch, &batch.events, guards).await?;
    dead_letters::insert(tx, batch.shard, batch.epoch, &batch.dead).await?;
    let forget = still_to_forget(&cursor, batch, &logged.duplicates);
    let to = Move {
        shard: batch.shard,
        epoch: batch.epoch,
        from_seq: batch.from_seq,
        to_seq: batch.to_seq,
        forget: (forget.len() != cursor.forget.len()).then_some(forget.as_slice()),
        compare: guards.compare_and_set,
    };
    cursors::advance(tx, &to).await?;
    let inserted = logged.fresh.len() as u64;
    let duplicates = logged.duplicates.iter().map(|event| event.seq).collect();
    Ok(Flushed { inserted, duplicates, forget, profiles })
}

/// Logs events of one shard and epoch; those that are new in the log change the counters, and the acts of admins among
/// them come into the audit log.
pub(super) async fn write_events<'a>(
    tx: &Tx,
    shard: u16,
    epoch: u64,
    events: &'a [Event],
    guards: FlushGuards,
) -> Result<Written<'a>, LedgerError> {
    let all: Vec<&Event> = events.iter().collect();
    let (logged, foreseen) =
        futures_util::try_join!(message_logs::insert(tx, shard, epoch, events), foresee(&all))?;
    let sums = match (guards.dedupe, logged.duplicates.is_empty()) {
        (_, true) => foreseen?,
        (true, false) => Sums::of(&logged.fresh, &logged.fresh)?,
        (false, false) => Sums::of(&all, &logged.fresh)?,
    };
    let (crossed, ()) = futures_util::try_join!(
        usage_counters::add(tx, &sums.counters),
        rollups::add(tx, shard, &sums.rollups)
    )?;
    reservations::keep(tx, shard, &logged.fresh).await?;
    // In this order, as who completes a transfer: its row, then the versions of profiles, then grants.
    transfers::reopen(tx, &logged.fresh).await?;
    let profiles = grants::add_used(tx, &logged.fresh).await?;
    feed::add(tx, &logged.fresh, &crossings::signals(&crossed)).await?;
    audit_log::insert_acts(tx, &logged.fresh).await?;
    Ok(Written { logged, profiles })
}

/// What events add to counters and rollups.
struct Sums<'a> {
    counters: usage_counters::Sums<'a>,
    rollups: rollups::Tally<'a>,
}

impl<'a> Sums<'a> {
    fn of(counted: &[&'a Event], fresh: &[&'a Event]) -> Result<Self, LedgerError> {
        Ok(Self { counters: usage_counters::sums(counted)?, rollups: rollups::Tally::of(fresh)? })
    }
}

/// The sums of events that are all new in the log, as they nearly always are, made while Postgres logs them. An error is for
/// whoever uses the sums.
async fn foresee<'a>(all: &[&'a Event]) -> Result<Result<Sums<'a>, LedgerError>, LedgerError> {
    // Lets the statement go out first.
    tokio::task::yield_now().await;
    Ok(Sums::of(all, all))
}

/// The cursor's list with the batch's and every level of the events that were counted before. It is kept with the
/// cursor, so that a crash before Redis has forgotten them does not lose it; distinct, so that it cannot outgrow the
/// number of subjects.
fn still_to_forget(cursor: &Cursor, batch: &Batch, duplicates: &[&Event]) -> Vec<String> {
    let levels = duplicates.iter().flat_map(|event| event.levels());
    let named = cursor.forget.iter().chain(&batch.forget).map(String::as_str);
    let distinct: BTreeSet<&str> = named.chain(levels).collect();
    distinct.into_iter().map(str::to_owned).collect()
}
