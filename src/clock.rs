//! The time as this process sees it.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

/// The system clock plus an offset that all clones share.
///
/// The offset is 0 in production. Tests move time with it instead of sleeping, and pass
/// the same offset to the scripts, because Redis decides in which window a request falls.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Milliseconds added to the system clock.
    offset_ms: Arc<AtomicI64>,
    /// Where the clock stands still, in Unix milliseconds; 0 while it goes.
    stopped_at_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system clock as it is.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// The system clock moved by `offset_ms` milliseconds, which may be negative.
    #[must_use]
    pub fn with_offset_ms(offset_ms: i64) -> Self {
        Self { offset_ms: Arc::new(AtomicI64::new(offset_ms)), ..Self::default() }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z, the offset included.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        let stopped = self.stopped_at().map(|at| at.timestamp_millis());
        stopped.unwrap_or_else(|| system_now().timestamp_millis().saturating_add(self.offset_ms()))
    }

    /// The same instant as [`Clock::now_ms`], in full precision.
    ///
    /// An offset that leaves the calendar's range counts as 0.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        if let Some(at) = self.stopped_at() {
            return at;
        }
        let now = system_now();
        TimeDelta::try_milliseconds(self.offset_ms())
            .and_then(|offset| now.checked_add_signed(offset))
            .unwrap_or(now)
    }

    /// Milliseconds added to the system clock; 0 in production.
    #[must_use]
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    /// Moves this clock and all its clones by `ms` milliseconds. For tests.
    pub fn advance(&self, ms: i64) {
        self.offset_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Makes this clock and all its clones stand still at an instant after 1970, in Unix milliseconds. The offset stays
    /// as it is. For tests.
    pub fn stop_at(&self, at_ms: i64) {
        self.stopped_at_ms.store(at_ms, Ordering::Relaxed);
    }

    /// Waits so long. While the clock stands still nothing takes time: others have their turn, no more.
    pub async fn pause(&self, duration: Duration) {
        if self.stopped_at().is_some() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(duration).await;
        }
    }

    fn stopped_at(&self) -> Option<DateTime<Utc>> {
        let at_ms = self.stopped_at_ms.load(Ordering::Relaxed);
        if at_ms > 0 { DateTime::from_timestamp_millis(at_ms) } else { None }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
fn system_now() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn clones_move_together() {
        let clock = Clock::system();
        let clone = clock.clone();
        let before_ms = clone.now_ms();

        clock.advance(HOUR_MS);

        assert_eq!(clone.offset_ms(), HOUR_MS);
        assert!(clone.now_ms() >= before_ms + HOUR_MS);
    }

    #[test]
    fn both_readings_include_the_offset() {
        let clock = Clock::with_offset_ms(-HOUR_MS);

        let first_ms = clock.now_ms();
        let second_ms = clock.now().timestamp_millis();

        assert!(first_ms <= system_now().timestamp_millis() - HOUR_MS);
        assert!((0..60_000).contains(&(second_ms - first_ms)));
    }

    #[test]
    fn a_clock_that_was_stopped_stands_still() {
        let clock = Clock::with_offset_ms(HOUR_MS);
        let clone = clock.clone();

        clock.stop_at(1_795_305_600_001);

        let at = DateTime::from_timestamp_millis(1_795_305_600_001).unwrap();
        assert_eq!((clone.now_ms(), clone.now()), (1_795_305_600_001, at));
        assert_eq!(clone.offset_ms(), HOUR_MS);
    }

    #[test]
    fn an_absurd_offset_does_not_panic() {
        let clock = Clock::with_offset_ms(i64::MAX);

        assert_eq!(clock.now_ms(), i64::MAX);
        assert!(clock.now() <= system_now());
    }
}
