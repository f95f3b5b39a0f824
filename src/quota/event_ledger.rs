//! What the loops that move, load, end and recover events need of the ledger.
//!
//! In the service it is [`Ledger`]. A simulation has one in memory, which it lets fail as it likes (docs/adr/0026).

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use crate::domain::Event;
use crate::domain::Metric;
use crate::domain::Period;
use crate::ledger::Base;
use crate::ledger::Batch;
use crate::ledger::Cursor;
use crate::ledger::DeadLetter;
use crate::ledger::FlushGuards;
use crate::ledger::Flushed;
use crate::ledger::Incident;
use crate::ledger::Ledger;
use crate::ledger::LedgerError;
use crate::ledger::LoggedEvent;
use crate::ledger::OwnCall;
use crate::ledger::Previous;
use crate::ledger::RecoveryTx;
use crate::ledger::ReservationRow;
use crate::ledger::SubjectRow;

/// What a call of the ledger answers, some time.
type Answer<T> = Result<T, LedgerError>;

/// A ledger of events: each method does what that of [`Ledger`] with the same name says, and fails as it does.
pub trait EventLedger: Send + Sync + 'static {
    /// A recovery in progress.
    type Recovery: EventRecovery;

    /// [`Ledger::cursor`].
    fn cursor(&self, shard: u16) -> impl Future<Output = Answer<Cursor>> + Send;

    /// [`Ledger::cursors_past`].
    fn cursors_past(&self, places: &[(u16, u64, u64)])
    -> impl Future<Output = Answer<bool>> + Send;

    /// [`Ledger::forgotten`].
    fn forgotten(
        &self,
        cursor: &Cursor,
        names: &[String],
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// [`Ledger::flush`].
    fn flush(
        &self,
        batch: &Batch,
        guards: FlushGuards,
    ) -> impl Future<Output = Answer<Flushed>> + Send;

    /// [`Ledger::can_take`].
    fn can_take(&self, events: &[Event]) -> impl Future<Output = Answer<()>> + Send;

    /// [`Ledger::has_event`].
    fn has_event(
        &self,
        cursor: &Cursor,
        event_id: Uuid,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// [`Ledger::event`].
    fn event(&self, event_id: Uuid) -> impl Future<Output = Answer<Option<LoggedEvent>>> + Send;

    /// [`Ledger::base`].
    fn base(
        &self,
        shard: u16,
        subjects: &[&str],
        ended_after: DateTime<Utc>,
    ) -> impl Future<Output = Answer<Base>> + Send;

    /// [`Ledger::subject`].
    fn subject(&self, path: &str) -> impl Future<Output = Answer<Option<SubjectRow>>> + Send;

    /// [`Ledger::previous_counters`].
    fn previous_counters(
        &self,
        path: &str,
        windows: &[(Metric, Period, i64)],
        at: DateTime<Utc>,
    ) -> impl Future<Output = Answer<Previous>> + Send;

    /// [`Ledger::reservation`].
    fn reservation(&self, id: Uuid) -> impl Future<Output = Answer<Option<ReservationRow>>> + Send;

    /// [`Ledger::is_no_longer_kept`].
    fn is_no_longer_kept(&self, id: Uuid) -> impl Future<Output = Answer<bool>> + Send;

    /// [`Ledger::due_reservations`].
    fn due_reservations(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> impl Future<Output = Answer<Vec<ReservationRow>>> + Send;

    /// [`Ledger::begin_recovery`].
    fn begin_recovery(&self, shard: u16) -> impl Future<Output = Answer<Self::Recovery>> + Send;

    /// [`Ledger::is_logged`].
    fn is_logged(&self, event_id: Uuid) -> impl Future<Output = Answer<bool>> + Send;

    /// [`Ledger::raise_loss`].
    fn raise_loss(
        &self,
        shard: u16,
        epoch: u64,
        seq: u64,
        calls: &[OwnCall],
    ) -> impl Future<Output = Answer<()>> + Send;
}

/// The transaction of a recovery: each method does what that of [`RecoveryTx`] with the same name says.
pub trait EventRecovery: Send + Sync + Sized {
    /// [`RecoveryTx::cursor`].
    fn cursor(&self) -> &Cursor;

    /// [`RecoveryTx::found_epoch`].
    fn found_epoch(&mut self, epoch: u64);

    /// [`RecoveryTx::salvage`].
    fn salvage(&mut self, events: &[Event]) -> impl Future<Output = Answer<u64>> + Send;

    /// [`RecoveryTx::salvage_dead`].
    fn salvage_dead(&mut self, letters: &[DeadLetter]) -> impl Future<Output = Answer<()>> + Send;

    /// [`RecoveryTx::finish`].
    fn finish(self, incident: Incident, fence: Uuid) -> impl Future<Output = Answer<u64>> + Send;

    /// [`RecoveryTx::open_first`].
    fn open_first(self, fence: Uuid) -> impl Future<Output = Answer<u64>> + Send;

    /// [`RecoveryTx::abandon`].
    fn abandon(self) -> impl Future<Output = ()> + Send;
}

impl EventLedger for Ledger {
    type Recovery = RecoveryTx;

    async fn cursor(&self, shard: u16) -> Answer<Cursor> {
        self.cursor(shard).await
    }

    async fn cursors_past(&self, places: &[(u16, u64, u64)]) -> Answer<bool> {
        self.cursors_past(places).await
    }

    async fn forgotten(&self, cursor: &Cursor, names: &[String]) -> Answer<bool> {
        self.forgotten(cursor.shard, cursor.epoch, cursor.seq, names).await
    }

    async fn flush(&self, batch: &Batch, guards: FlushGuards) -> Answer<Flushed> {
        self.flush(batch, guards).await
    }

    async fn can_take(&self, events: &[Event]) -> Answer<()> {
        self.can_take(events).await
    }

    async fn has_event(&self, cursor: &Cursor, event_id: Uuid) -> Answer<bool> {
        self.has_event(cursor, event_id).await
    }

    async fn event(&self, event_id: Uuid) -> Answer<Option<LoggedEvent>> {
        self.event(event_id).await
    }

    async fn base(
        &self,
        shard: u16,
        subjects: &[&str],
        ended_after: DateTime<Utc>,
    ) -> Answer<Base> {
        self.base(shard, subjects, ended_after).await
    }

    async fn subject(&self, path: &str) -> Answer<Option<SubjectRow>> {
        self.subject(path).await
    }

    async fn previous_counters(
        &self,
        path: &str,
        windows: &[(Metric, Period, i64)],
        at: DateTime<Utc>,
    ) -> Answer<Previous> {
        self.previous_counters(path, windows, at).await
    }

    async fn reservation(&self, id: Uuid) -> Answer<Option<ReservationRow>> {
        self.reservation(id).await
    }

    async fn is_no_longer_kept(&self, id: Uuid) -> Answer<bool> {
        self.is_no_longer_kept(id).await
    }

    async fn due_reservations(
        &self,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Answer<Vec<ReservationRow>> {
        self.due_reservations(now, limit).await
    }

    async fn begin_recovery(&self, shard: u16) -> Answer<RecoveryTx> {
        self.begin_recovery(shard).await
    }

    async fn is_logged(&self, event_id: Uuid) -> Answer<bool> {
        self.is_logged(event_id).await
    }

    async fn raise_loss(&self, shard: u16, epoch: u64, seq: u64, calls: &[OwnCall]) -> Answer<()> {
        self.raise_loss(shard, epoch, seq, calls).await
    }
}

impl EventRecovery for RecoveryTx {
    fn cursor(&self) -> &Cursor {
        self.cursor()
    }

    fn found_epoch(&mut self, epoch: u64) {
        self.found_epoch(epoch);
    }

    async fn salvage(&mut self, events: &[Event]) -> Answer<u64> {
        self.salvage(events).await
    }

    async fn salvage_dead(&mut self, letters: &[DeadLetter]) -> Answer<()> {
        RecoveryTx::salvage_dead(self, letters).await
    }

    async fn finish(self, incident: Incident, fence: Uuid) -> Answer<u64> {
        self.finish(incident, fence).await
    }

    async fn open_first(self, fence: Uuid) -> Answer<u64> {
        self.open_first(fence).await
    }

    async fn abandon(self) {
        self.abandon().await;
    }
}
