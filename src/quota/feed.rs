//! The live feed: one task a node follows it in Postgres, and readers follow that task.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ledger::FeedItem;
use crate::ledger::FeedRow;
use crate::telemetry::names;

use super::Quota;
use super::error::QuotaError;

/// How much longer the feed keeps what webhooks were not told of, in which nodes that tell them may be away: as long as the log
/// of deliveries is kept.
const UNTOLD_KEEP: Duration = Duration::from_hours(7 * 24);
/// Takings away of old rows in one look, of 1,000 rows each.
pub(super) const DROPS_MAX: usize = 100;
/// Readers of one node at a time.
const READERS_MAX: usize = 256;
/// Items that a node keeps for its readers, beside the last row.
const KEPT_ITEMS_MAX: usize = 20_000;
/// Rows read from Postgres at once.
const PAGE_ROWS: u32 = 16;
/// Pages that a node reads in one round; a reader that wants more reads them itself.
const PAGES_MAX: usize = 16;

/// A place in the feed: everything up to item `number` of row `row` was read. The order is that of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedPlace {
    /// The row.
    pub row: u64,
    /// The last item read of it; 0 before the first.
    pub number: u64,
}

/// What a node knows of the feed.
pub(super) struct Feed {
    newest: watch::Sender<u64>,
    /// The newest rows, without gaps; empty while nobody reads.
    kept: Mutex<VecDeque<Arc<FeedRow>>>,
    readers: AtomicUsize,
    closed: CancellationToken,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            newest: watch::Sender::new(0),
            kept: Mutex::default(),
            readers: AtomicUsize::new(0),
            closed: CancellationToken::new(),
        }
    }
}

impl Feed {
    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<FeedRow>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The row after a place, when it is kept.
    fn kept_after(&self, row: u64) -> Option<Arc<FeedRow>> {
        let kept = self.kept();
        let ahead = (row + 1).checked_sub(kept.front()?.place)?;
        kept.get(usize::try_from(ahead).ok()?).cloned()
    }

    /// Keeps rows that follow on those that are kept, and lets the oldest go.
    fn keep(&self, rows: Vec<FeedRow>) {
        let mut kept = self.kept();
        for row in rows {
            if kept.back().is_some_and(|last| last.place + 1 != row.place) {
                kept.clear();
            }
            kept.push_back(Arc::new(row));
        }
        let mut items: usize = kept.iter().map(|row| row.items.len()).sum();
        while items > KEPT_ITEMS_MAX && kept.len() > 1 {
            items -= kept.pop_front().map_or(0, |row| row.items.len());
        }
    }
}

/// Follows the feed from a place on.
pub struct FeedReader {
    quota: Arc<Quota>,
    newest: watch::Receiver<u64>,
    /// The last row read.
    row: u64,
    /// Rows that were read from Postgres and are yet to be handed out.
    ahead: VecDeque<Arc<FeedRow>>,
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        let before = self.quota.feed.readers.fetch_sub(1, Ordering::Relaxed);
        tell_readers(before.saturating_sub(1));
    }
}

impl FeedReader {
    /// The next row; waits for it. `None` when the node stops. May be dropped while it waits, and called again.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn next(&mut self) -> Result<Option<Arc<FeedRow>>, QuotaError> {
        loop {
            if let Some(row) = self.at_hand().await? {
                self.row = row.place;
                return Ok(Some(row));
            }
            let closed = self.quota.feed.closed.clone();
            match closed.run_until_cancelled(self.newest.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }

    async fn at_hand(&mut self) -> Result<Option<Arc<FeedRow>>, QuotaError> {
        if *self.newest.borrow_and_update() <= self.row {
            return Ok(None);
        }
        if let Some(row) = self.ahead.pop_front() {
            return Ok(Some(row));
        }
        if let Some(row) = self.quota.feed.kept_after(self.row) {
            return Ok(Some(row));
        }
        let rows = self.quota.ledger.read_feed(self.row, PAGE_ROWS).await;
        self.ahead = rows.map_err(QuotaError::of_ledger)?.into_iter().map(Arc::new).collect();
        Ok(self.ahead.pop_front())
    }
}

impl Quota {
    /// Gives places to what was committed, tells the node's readers, and keeps the newest rows for them. Somebody has to
    /// call this several times a second.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn follow_feed(&self) -> Result<(), QuotaError> {
        let newest = self.ledger.place_feed().await.map_err(QuotaError::of_ledger)?;
        let known = *self.feed.newest.borrow();
        if self.feed.readers.load(Ordering::Relaxed) == 0 {
            self.feed.kept().clear();
        } else {
            self.keep_feed(known, newest).await?;
        }
        self.feed.newest.send_if_modified(|known| {
            let is_newer = newest > *known;
            *known = newest.max(*known);
            is_newer
        });
        metrics::gauge!(names::FEED_PLACE).set(f64_of(newest));
        Ok(())
    }

    async fn keep_feed(&self, known: u64, newest: u64) -> Result<(), QuotaError> {
        let last = self.feed.kept().back().map(|row| row.place);
        let mut after = last.unwrap_or(known);
        for _ in 0..PAGES_MAX {
            if after >= newest {
                break;
            }
            let rows =
                self.ledger.read_feed(after, PAGE_ROWS).await.map_err(QuotaError::of_ledger)?;
            let Some(last) = rows.last() else { break };
            after = last.place;
            self.feed.keep(rows);
        }
        Ok(())
    }

    /// A reader of what comes after the place, or of what comes from now on. `None` when the node has as many as it takes.
    ///
    /// # Errors
    ///
    /// [`QuotaError::FeedGone`] when what comes after the place is no longer there, or never was, and
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn read_feed(
        self: &Arc<Self>,
        after: Option<FeedPlace>,
    ) -> Result<Option<FeedReader>, QuotaError> {
        let newest = self.ledger.place_feed().await.map_err(QuotaError::of_ledger)?;
        let row = match after {
            None => newest,
            Some(place) => self.resume(place, newest).await?,
        };
        let before = self.feed.readers.fetch_add(1, Ordering::Relaxed);
        let (newest, ahead) = (self.feed.newest.subscribe(), VecDeque::new());
        let reader = FeedReader { quota: self.clone(), newest, row, ahead };
        tell_readers(before + 1);
        Ok((before < READERS_MAX).then_some(reader))
    }

    /// The last row that was read whole.
    async fn resume(&self, place: FeedPlace, newest: u64) -> Result<u64, QuotaError> {
        let row = place.row.saturating_sub(1);
        let first = self.ledger.first_feed_place().await.map_err(QuotaError::of_ledger)?;
        let is_there = row <= newest && first.unwrap_or(newest + 1) <= row + 1;
        is_there.then_some(row).ok_or(QuotaError::FeedGone)
    }

    /// Takes away what is older than the feed is kept; what no webhook was told of yet, though one is to be, seven days later.
    ///
    /// # Errors
    ///
    /// [`QuotaError::Unavailable`] when Postgres is away.
    pub async fn drop_old_feed(&self) -> Result<(), QuotaError> {
        let keep = self.options.feed_keep;
        let keep_untold = keep.saturating_add(UNTOLD_KEEP);
        for _ in 0..DROPS_MAX {
            let dropped = self.ledger.drop_old_feed(keep.as_secs(), keep_untold.as_secs()).await;
            let dropped = dropped.map_err(QuotaError::of_ledger)?;
            if dropped.untold > 0 {
                let rows = dropped.untold;
                tracing::warn!(rows, "rows of the feed are gone before webhooks were told of them");
                metrics::counter!(names::FEED_UNTOLD_TOTAL).increment(rows);
            }
            if dropped.rows == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Ends all readers of this node, which go on at another. For the stop of the service.
    pub fn close_feed(&self) {
        self.feed.closed.cancel();
    }
}

fn tell_readers(count: usize) {
    metrics::gauge!(names::FEED_READERS).set(f64_of(count as u64));
}

/// A count as metrics have it: exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "places are counted up from 1")]
const fn f64_of(count: u64) -> f64 {
    count as f64
}

/// Whether an item is about a subject at or below `prefix`; `None` takes all.
#[must_use]
pub fn is_within(item: &FeedItem, prefix: Option<&str>) -> bool {
    let Some(prefix) = prefix else { return true };
    let rest = item.subject.as_deref().and_then(|subject| subject.strip_prefix(prefix));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use crate::domain::SignalKind;

    use super::*;

    fn row(place: u64, items: usize) -> FeedRow {
        let item = FeedItem {
            number: 1,
            id: Uuid::nil(),
            kind: SignalKind::ALL[0],
            subject: None,
            occurred_at: DateTime::UNIX_EPOCH,
            data: RawValue::from_string("{}".into()).unwrap(),
        };
        FeedRow { place, items: vec![item; items] }
    }

    fn kept(feed: &Feed) -> Vec<u64> {
        feed.kept().iter().map(|row| row.place).collect()
    }

    fn place_after(feed: &Feed, row: u64) -> Option<u64> {
        feed.kept_after(row).map(|row| row.place)
    }

    #[test]
    fn rows_that_follow_on_each_other_are_kept_and_found_by_their_place() {
        let feed = Feed::default();

        feed.keep(vec![row(7, 1), row(8, 1)]);
        feed.keep(vec![row(9, 1)]);

        assert_eq!(kept(&feed), [7, 8, 9]);
        assert_eq!([5, 6, 8, 9].map(|it| place_after(&feed, it)), [None, Some(7), Some(9), None]);
    }

    /// Guards readers against a row that is left out: rows behind a gap are told from Postgres.
    #[test]
    fn a_gap_drops_what_was_before_it() {
        let feed = Feed::default();

        feed.keep(vec![row(7, 1), row(8, 1), row(10, 1), row(11, 1)]);

        assert_eq!(kept(&feed), [10, 11]);
    }

    /// Guards the memory of a node: so many items are kept, and the last row however long it is.
    #[test]
    fn the_oldest_rows_go_when_there_are_too_many_items() {
        let feed = Feed::default();

        feed.keep(vec![row(1, KEPT_ITEMS_MAX - 10), row(2, 5), row(3, 5)]);
        let full = kept(&feed);
        feed.keep(vec![row(4, 1)]);
        let one_more = kept(&feed);
        feed.keep(vec![row(5, KEPT_ITEMS_MAX - 1), row(6, 1)]);
        let two_left = kept(&feed);
        feed.keep(vec![row(7, KEPT_ITEMS_MAX + 1)]);

        assert_eq!((full, one_more, two_left), (vec![1, 2, 3], vec![2, 3, 4], vec![5, 6]));
        assert_eq!(kept(&feed), [7]);
    }
}
