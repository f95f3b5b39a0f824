//! Salvaging what a shard's outbox still holds and beginning a new epoch.

use std::borrow::Cow;

use uuid::Uuid;

use crate::domain::event::Event;

use super::Ledger;
use super::cursors;
use super::cursors::Cursor;
use super::dead_letters;
use super::dead_letters::DeadLetter;
use super::error::LedgerError;
use super::feed;
use super::flush::FlushGuards;
use super::flush::write_events;
use super::incidents;
use super::incidents::Incident;
use super::incidents::Outcome;
use super::message_logs;
use super::tx::Tx;

/// A recovery in progress: one transaction that holds the shard's cursor, so that nobody flushes meanwhile.
///
/// Nothing is kept until [`RecoveryTx::finish`]; dropped before, it leaves everything as it was. It waits a minute at
/// most between two calls.
pub struct RecoveryTx {
    tx: Tx,
    cursor: Cursor,
    /// The epoch that salvaged entries are of.
    found_epoch: u64,
    salvaged: u64,
}

impl Ledger {
    /// Begins the recovery of a shard that is fenced in Redis.
    ///
    /// Look at [`RecoveryTx::cursor`] first: whoever held it before may have finished the same recovery.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Conflict`] when a flush or another recovery holds the cursor for too long.
    pub async fn begin_recovery(&self, shard: u16) -> Result<RecoveryTx, LedgerError> {
        let tx = self.begin().await?;
        match cursors::lock(&tx, shard).await {
            Ok(cursor) => {
                let found_epoch = cursor.epoch;
                Ok(RecoveryTx { tx, cursor, found_epoch, salvaged: 0 })
            }
            Err(error) => tx.end(Err(error)).await,
        }
    }
}

impl RecoveryTx {
    /// The shard's cursor, which nobody else can move now.
    #[must_use]
    pub const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Says which epoch the entries to salvage are of, when Redis holds another than the cursor's.
    pub const fn found_epoch(&mut self, epoch: u64) {
        self.found_epoch = epoch;
    }

    /// Logs and counts those of `events` that the log does not have and that did not leave it on purpose, and answers how
    /// many. May be called for as many pages as there are.
    ///
    /// # Errors
    ///
    /// [`LedgerError::BadData`] when an event cannot be stored. The page is undone and the recovery can go on: halve
    /// the page to find it. After any other error the recovery is lost.
    pub async fn salvage(&mut self, events: &[Event]) -> Result<u64, LedgerError> {
        self.tx.run("-- salvage\nSAVEPOINT page").await?;
        let inserted = match self.write(events).await {
            Err(error @ LedgerError::BadData(_)) => {
                self.tx.run("-- salvage\nROLLBACK TO SAVEPOINT page").await?;
                return Err(error);
            }
            outcome => outcome?,
        };
        self.tx.run("-- salvage\nRELEASE SAVEPOINT page").await?;
        self.salvaged += inserted;
        Ok(inserted)
    }

    /// Keeps entries that cannot be events.
    ///
    /// # Errors
    ///
    /// As of any statement; the recovery is then lost.
    pub async fn salvage_dead(&mut self, letters: &[DeadLetter]) -> Result<(), LedgerError> {
        dead_letters::insert(&self.tx, self.cursor.shard, self.found_epoch, letters).await
    }

    /// Writes the incident, begins an epoch above both Postgres' and Redis' with nothing flushed and nothing to
    /// forget, stores the fence's token and commits. Answers the new epoch.
    ///
    /// # Errors
    ///
    /// As of any statement. [`LedgerError::Unavailable`] may hide a commit that happened: the cursor's fence tells.
    pub async fn finish(self, incident: Incident, fence: Uuid) -> Result<u64, LedgerError> {
        let new_epoch = self.cursor.epoch.max(incident.redis_epoch.unwrap_or(0)).saturating_add(1);
        let outcome = self.write_outcome(&incident, new_epoch, fence).await;
        self.tx.end(outcome.map(|()| new_epoch)).await
    }

    /// Opens a shard that was never opened: its first epoch begins, and there is no incident to record. Answers the epoch.
    ///
    /// # Errors
    ///
    /// As [`RecoveryTx::finish`].
    pub async fn open_first(self, fence: Uuid) -> Result<u64, LedgerError> {
        let epoch = self.cursor.epoch;
        let outcome = match super::convert::signed(epoch) {
            Ok(epoch) => cursors::begin_epoch(&self.tx, self.cursor.shard, epoch, fence).await,
            Err(error) => Err(error),
        };
        self.tx.end(outcome.map(|()| epoch)).await
    }

    /// Leaves everything as it was.
    pub async fn abandon(self) {
        self.tx.roll_back().await;
    }

    async fn write(&self, events: &[Event]) -> Result<u64, LedgerError> {
        let (shard, epoch) = (self.cursor.shard, self.found_epoch);
        let Cursor { epoch: cursor_epoch, seq: cursor_seq, .. } = self.cursor;
        let is_passed = |it: &Event| (epoch, it.seq) <= (cursor_epoch, cursor_seq);
        let taken_out = message_logs::taken_out(&self.tx, events, is_passed).await?;
        let mut events = Cow::Borrowed(events);
        if !taken_out.is_empty() {
            events.to_mut().retain(|event| !taken_out.contains(&event.event_id));
        }
        // Nodes follow the profiles that this may have changed: no epoch is there to announce them in.
        let written = write_events(&self.tx, shard, epoch, &events, FlushGuards::default()).await?;
        Ok(written.logged.fresh.len() as u64)
    }

    async fn write_outcome(
        &self,
        incident: &Incident,
        new_epoch: u64,
        fence: Uuid,
    ) -> Result<(), LedgerError> {
        let outcome = Outcome {
            shard: self.cursor.shard,
            old_epoch: self.cursor.epoch,
            new_epoch: super::convert::signed(new_epoch)?,
            salvaged: self.salvaged,
        };
        incidents::insert(&self.tx, &outcome, incident).await?;
        feed::add(&self.tx, &[], &[incidents::signal(&outcome, incident)]).await?;
        cursors::begin_epoch(&self.tx, outcome.shard, outcome.new_epoch, fence).await
    }
}
