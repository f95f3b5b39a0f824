//! The end of a case: both stores against the reference.

use headroom::quota::Quota;

use super::lines::is_short;
use super::reference::Reference;
use super::world::World;
use crate::support::flush_all;

/// Longer than any hold, in milliseconds.
const HOLDS_END_MS: i64 = 2 * 86_400_000;

impl World {
    /// Flushes, compares Postgres with the reference, lets every hold end, and compares again what that changed.
    pub async fn compare(&self, prefix: &str, reference: &Reference, grants: &[u64]) {
        flush_all(self.quota(0)).await;
        self.compare_events(prefix, reference).await;
        self.compare_lives(prefix, reference, grants).await;
        let mut reference = reference.clone();
        reference.now_ms += HOLDS_END_MS;
        self.set_time(reference.now_ms).await;
        reference.sweep();
        sweep(self.quota(0)).await;
        self.compare_lives(prefix, &reference, grants).await;
    }

    async fn compare_events(&self, prefix: &str, reference: &Reference) {
        let mut counters = reference.counters.clone();
        counters.retain(|counter, _| !is_short(counter.2));
        assert_eq!(self.counters(prefix).await, counters, "what postgres counts");
        let (events, acts) = self.logged(prefix).await;
        let mut expected = reference.acts.clone();
        expected.sort_unstable();
        assert_eq!(usize::try_from(events).unwrap(), reference.events, "events in the log");
        assert_eq!(acts, expected, "acts in the audit log");
    }

    async fn compare_lives(&self, prefix: &str, reference: &Reference, grants: &[u64]) {
        let used: Vec<u64> = reference.grants.iter().map(|grant| grant.used).collect();
        assert_eq!(self.used_of(grants).await, used, "what is used of grants");
        assert_eq!(self.transfers(prefix).await, sorted_transfers(reference), "gifts");
        assert_eq!(self.holds(prefix).await, sorted_holds(reference), "reservations");
    }

    /// Reads both stores, and checks every invariant.
    pub async fn check(&self) {
        let report = self.app.verify().await;
        assert!(report.is_clean(), "{}", serde_json::to_string_pretty(&report).unwrap());
    }

    async fn used_of(&self, grants: &[u64]) -> Vec<u64> {
        let used = "SELECT used FROM unnest($1::bigint[]) WITH ORDINALITY AS wanted (id, place)
            JOIN grants USING (id) ORDER BY place";
        let ids: Vec<i64> = grants.iter().map(|id| i64::try_from(*id).unwrap()).collect();
        let rows = self.app.postgres().await.query(used, &[&ids]).await.unwrap();
        rows.iter().map(|row| u64::try_from(row.get::<_, i64>(0)).unwrap()).collect()
    }

    async fn holds(&self, prefix: &str) -> Vec<(String, i64, i64, String, i64)> {
        let holds = "SELECT subject, amount, extract(epoch FROM until)::bigint, state,
                coalesce(committed, 0)
            FROM reservations WHERE subject ~ $1";
        let pattern = format!("^[a-z]+:{prefix}");
        let rows = self.app.postgres().await.query(holds, &[&pattern]).await.unwrap();
        let hold = |row: &tokio_postgres::Row| {
            let path = row.get::<_, String>(0).replacen(prefix, "", 1);
            (path, row.get(1), row.get(2), row.get(3), row.get(4))
        };
        let mut holds: Vec<_> = rows.iter().map(hold).collect();
        holds.sort();
        holds
    }

    async fn transfers(&self, prefix: &str) -> Vec<(String, String, i64, String)> {
        let transfers = "SELECT from_subject, to_subject, amount, state FROM transfers
            WHERE from_subject ~ $1";
        let pattern = format!("^[a-z]+:{prefix}");
        let rows = self.app.postgres().await.query(transfers, &[&pattern]).await.unwrap();
        let path = |path: String| path.replacen(prefix, "", 1);
        let transfer = |row: &tokio_postgres::Row| {
            (path(row.get(0)), path(row.get(1)), row.get(2), row.get(3))
        };
        let mut transfers: Vec<_> = rows.iter().map(transfer).collect();
        transfers.sort();
        transfers
    }
}

/// Flushes, and writes down every hold that has lapsed.
pub async fn sweep(quota: &Quota) {
    flush_all(quota).await;
    while quota.expire_due().await.unwrap() > 0 {
        flush_all(quota).await;
    }
}

fn sorted_holds(reference: &Reference) -> Vec<(String, i64, i64, String, i64)> {
    let hold = |it: &super::holds::Hold| {
        let (amount, committed) = (it.amount.cast_signed(), it.committed.cast_signed());
        (it.path.to_owned(), amount, it.until_s, it.state.to_owned(), committed)
    };
    let mut holds: Vec<_> = reference.holds.iter().map(hold).collect();
    holds.sort();
    holds
}

fn sorted_transfers(reference: &Reference) -> Vec<(String, String, i64, String)> {
    let transfers = reference.transfers.iter().map(|(from, to, amount, state)| {
        ((*from).to_owned(), (*to).to_owned(), amount.cast_signed(), (*state).to_owned())
    });
    let mut transfers: Vec<_> = transfers.collect();
    transfers.sort();
    transfers
}
