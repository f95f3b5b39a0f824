//! How full the outbox is, and how far Postgres is behind: for the metrics.

use crate::counters::OutboxPage;
use crate::telemetry::names;

use super::Quota;
use super::event_ledger::EventLedger;

/// Sets the gauges of a shard by a page that was read after the cursor's place `after_seq`.
pub(super) fn note(shard: u16, page: &OutboxPage, after_seq: u64, now_ms: i64) {
    let held = page.seq.saturating_sub(page.floor);
    let waiting = page.seq.saturating_sub(after_seq);
    let shard = shard.to_string();
    metrics::gauge!(names::OUTBOX_EVENTS, "shard" => shard.clone()).set(count(held));
    metrics::gauge!(names::FLUSH_LAG_EVENTS, "shard" => shard.clone()).set(count(waiting));
    metrics::gauge!(names::OUTBOX_AGE_SECONDS, "shard" => shard).set(age_s(page, now_ms));
}

fn count(events: u64) -> f64 {
    f64::from(u32::try_from(events).unwrap_or(u32::MAX))
}

/// How long the first entry of the page has waited, in seconds; 0 without one. An entry that cannot be decoded does not say
/// when it was written.
pub(super) fn age_s(page: &OutboxPage, now_ms: i64) -> f64 {
    let written = page.entries.iter().map(|entry| entry.written_at_ms);
    let first_at_ms = written.into_iter().find(|at_ms| *at_ms > 0).unwrap_or(now_ms);
    let age_ms = u32::try_from((now_ms - first_at_ms).max(0)).unwrap_or(u32::MAX);
    f64::from(age_ms) / 1_000.0
}

impl<L: EventLedger> Quota<L> {
    /// Keeps the gauges of a shard true while Postgres is away, by the cursor as it was last seen. What cannot be read now
    /// stays as it was.
    pub(super) async fn watch_outbox(&self, shard: u16, (epoch, seq): (u64, u64)) {
        if let Ok(page) = self.counters.read_outbox(shard, epoch, seq, 1).await
            && page.epoch == Some(epoch)
        {
            note(shard, &page, seq, self.counters.redis_now_ms());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Entry;
    use crate::quota::samples;

    #[test]
    fn the_age_is_that_of_the_first_entry_that_tells_its_time() {
        let entry = |written_at_ms| Entry {
            epoch: 1,
            last_seq: 1,
            written_at_ms,
            events: Ok(Vec::new()),
            bytes: 0,
        };
        let age = |entries: Vec<Entry>| age_s(&samples::page(1, 0, 1, entries), 10_000);
        assert_eq!(age(Vec::new()).to_bits(), 0.0_f64.to_bits());
        assert_eq!(age(vec![entry(0), entry(7_500), entry(9_000)]).to_bits(), 2.5_f64.to_bits());
        assert_eq!(age(vec![entry(11_000)]).to_bits(), 0.0_f64.to_bits(), "never below zero");
    }

    #[test]
    fn a_shard_s_gauges_say_what_is_held_and_what_waits() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let page = samples::page(1, 2, 9, Vec::new());

        metrics::with_local_recorder(&recorder, || note(3, &page, 5, 10_000));

        let text = recorder.handle().render();
        for (name, value) in [
            (names::OUTBOX_EVENTS, "7"),
            (names::FLUSH_LAG_EVENTS, "4"),
            (names::OUTBOX_AGE_SECONDS, "0"),
        ] {
            let line = format!("{name}{{shard=\"3\"}} {value}");
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        }
    }
}
