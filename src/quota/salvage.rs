//! Salvaging: logging what the outbox of a fenced shard still holds.

use crate::counters::Entry;
use crate::domain::Event;
use crate::ledger::DeadLetter;
use crate::ledger::LedgerError;
use crate::telemetry::Chain;

use super::Quota;
use super::error::QuotaError;
use super::event_ledger::EventLedger;
use super::event_ledger::EventRecovery;

/// Outbox entries read at once.
const PAGE_ENTRIES: usize = 500;
/// Events logged at once; one entry more may be added.
const CHUNK_EVENTS: usize = 2_000;

/// What a salvage found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Salvaged {
    /// Events after the cursor that the log did not have.
    pub(super) after_cursor: u64,
    /// Events at places that Postgres had passed already, which the log did not have either: they were accepted after
    /// Redis had forgotten the events that had these places before.
    pub(super) on_older_state: u64,
    /// Upper bound of the units of those, and so of what was accepted beyond the limits.
    pub(super) units_on_older_state: u64,
    /// The last place of the cursor's epoch that the outbox holds; 0 when it holds none.
    pub(super) last_seq: u64,
    /// Entries and events that cannot be stored.
    pub(super) dead: u64,
}

impl Salvaged {
    /// Events that the log did not have.
    pub(super) const fn events(&self) -> u64 {
        self.after_cursor + self.on_older_state
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.events() == 0 && self.dead == 0
    }

    fn add(&mut self, fresh: u64, chunk: &Chunk) {
        if chunk.is_after_cursor {
            self.after_cursor += fresh;
        } else if fresh > 0 {
            self.on_older_state += fresh;
            self.units_on_older_state += chunk.events.iter().map(units_of).sum::<u64>();
        }
    }
}

fn units_of(event: &Event) -> u64 {
    event.deltas.lines.iter().filter_map(|line| u64::try_from(line.units).ok()).sum()
}

/// Events that are logged at once.
#[derive(Default)]
struct Chunk {
    epoch: u64,
    is_after_cursor: bool,
    events: Vec<Event>,
}

impl<L: EventLedger> Quota<L> {
    /// Logs every event of the outbox that the log does not have, whatever its epoch.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when a store is away; the recovery is then lost.
    pub(super) async fn salvage_outbox(
        &self,
        tx: &mut L::Recovery,
    ) -> Result<Salvaged, QuotaError> {
        let shard = tx.cursor().shard;
        let mut salvaged = Salvaged::default();
        let mut chunk = Chunk::default();
        let mut after = None;
        loop {
            let entries = self.counters.read_entries(shard, after, PAGE_ENTRIES).await;
            let entries = entries.map_err(QuotaError::of_counters)?;
            let Some(last) = entries.last() else { break };
            after = Some((last.epoch, last.last_seq));
            for entry in entries {
                let taken = take(tx, entry, &mut chunk, &mut salvaged).await;
                taken.map_err(QuotaError::of_ledger)?;
            }
        }
        log(tx, &mut chunk, &mut salvaged).await.map_err(QuotaError::of_ledger)?;
        Ok(salvaged)
    }
}

/// Adds an entry to the chunk, which is logged before when it is full or of another kind.
async fn take(
    tx: &mut impl EventRecovery,
    entry: Entry,
    chunk: &mut Chunk,
    salvaged: &mut Salvaged,
) -> Result<(), LedgerError> {
    let cursor = tx.cursor();
    let is_after_cursor = entry.epoch == cursor.epoch && entry.last_seq > cursor.seq;
    // What Postgres had passed is looked at entry by entry: the bound of its units is then as close as it can be.
    let goes_on = is_after_cursor && chunk.is_after_cursor && chunk.events.len() < CHUNK_EVENTS;
    if !goes_on {
        log(tx, chunk, salvaged).await?;
        (chunk.epoch, chunk.is_after_cursor) = (entry.epoch, is_after_cursor);
    }
    if entry.epoch == tx.cursor().epoch {
        salvaged.last_seq = salvaged.last_seq.max(entry.last_seq);
    }
    match entry.events {
        Ok(events) => {
            chunk.events.extend(events);
            Ok(())
        }
        Err(undecodable) => {
            let letter = DeadLetter {
                seq_first: entry.last_seq,
                seq_last: entry.last_seq,
                raw: undecodable.raw,
                reason: undecodable.reason,
            };
            salvaged.dead += 1;
            tx.found_epoch(entry.epoch);
            tx.salvage_dead(&[letter]).await
        }
    }
}

/// Logs the chunk and empties it. When Postgres cannot take its events together, one by one.
async fn log(
    tx: &mut impl EventRecovery,
    chunk: &mut Chunk,
    salvaged: &mut Salvaged,
) -> Result<(), LedgerError> {
    if chunk.events.is_empty() {
        return Ok(());
    }
    tx.found_epoch(chunk.epoch);
    match tx.salvage(&chunk.events).await {
        Ok(fresh) => salvaged.add(fresh, chunk),
        Err(LedgerError::BadData(_)) => log_one_by_one(tx, chunk, salvaged).await?,
        Err(error) => return Err(error),
    }
    chunk.events.clear();
    Ok(())
}

async fn log_one_by_one(
    tx: &mut impl EventRecovery,
    chunk: &Chunk,
    salvaged: &mut Salvaged,
) -> Result<(), LedgerError> {
    for event in &chunk.events {
        let one = Chunk { events: vec![event.clone()], ..*chunk };
        match tx.salvage(&one.events).await {
            Ok(fresh) => salvaged.add(fresh, &one),
            Err(LedgerError::BadData(cause)) => {
                salvaged.dead += 1;
                let letter = DeadLetter::of_event(event, &Chain(&*cause).to_string());
                tx.salvage_dead(&[letter]).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::domain::Metric;
    use crate::domain::Period;
    use crate::domain::Tally;
    use crate::domain::Window;
    use crate::domain::event::Delta;
    use crate::quota::samples;

    use super::*;

    fn event(units: &[i64]) -> Event {
        let line = |units: &i64| Delta {
            depth: 1,
            metric: Metric::new("messages").unwrap(),
            period: Period::Lifetime,
            window: Window::LIFETIME,
            grant: None,
            tally: Tally::Used,
            units: *units,
            after: None,
            limit: None,
        };
        samples::event(1, units.iter().map(line).collect())
    }

    /// Guards the bound of what was accepted beyond a limit: all units that were added at places passed before, and no others.
    #[test]
    fn units_count_where_the_cursor_had_passed() {
        let mut salvaged = Salvaged::default();
        let chunk = |is_after_cursor| Chunk {
            epoch: 1,
            is_after_cursor,
            events: vec![event(&[3, -5]), event(&[4, 2])],
        };

        salvaged.add(2, &chunk(true));
        let after = (salvaged.after_cursor, salvaged.on_older_state, salvaged.units_on_older_state);
        salvaged.add(0, &chunk(false));
        salvaged.add(2, &chunk(false));
        salvaged.add(1, &chunk(false));

        assert_eq!(after, (2, 0, 0));
        assert_eq!((salvaged.on_older_state, salvaged.units_on_older_state), (3, 18));
        assert_eq!(salvaged.events(), 5);
    }

    #[test]
    fn nothing_was_salvaged_without_events_and_dead_letters() {
        assert!(Salvaged::default().is_empty());
        assert!(!Salvaged { after_cursor: 1, ..Salvaged::default() }.is_empty());
        assert!(!Salvaged { on_older_state: 1, ..Salvaged::default() }.is_empty());
        assert!(!Salvaged { dead: 1, ..Salvaged::default() }.is_empty());
    }
}
