//! Callers who consume without a pause, and what they were told.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use futures_util::future::join;
use futures_util::future::join_all;
use reqwest::StatusCode;
use uuid::Uuid;

use super::WITHIN;
use crate::support::TestApp;
use crate::support::caller::Caller;
use crate::support::orders::shard_of;
use crate::support::poll::eventually;

/// Users who consume all the time, over all shards.
const SUBJECTS: usize = 6;

/// What the callers were told.
#[derive(Default)]
pub struct Load {
    accepted: [Mutex<Vec<Uuid>>; 2],
    /// Answers that a store is away: charged or not.
    unknown: AtomicUsize,
    is_over: AtomicBool,
}

impl Load {
    /// Callers of all nodes, from the beginning of `work` to its end.
    pub async fn during(callers: &[Caller], work: impl AsyncFnOnce(&Self)) -> Self {
        let load = Self::default();
        let calls = (0..SUBJECTS).map(|number| load.call(&callers[number % callers.len()], number));
        let work = async {
            load.progress().await;
            work(&load).await;
            load.progress().await;
            load.is_over.store(true, Ordering::Relaxed);
        };
        join(join_all(calls), work).await;
        load
    }

    async fn call(&self, caller: &Caller, number: usize) {
        let subject = format!("user:u_{number}");
        while !self.is_over.load(Ordering::Relaxed) {
            let answer = caller.consume(&subject, "any").await;
            match answer.status {
                StatusCode::OK => self.of(shard_of(&subject)).push(answer.event_id()),
                StatusCode::SERVICE_UNAVAILABLE => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                }
                _ => panic!("{answer:?}"),
            }
        }
    }

    fn of(&self, shard: u16) -> std::sync::MutexGuard<'_, Vec<Uuid>> {
        self.accepted[usize::from(shard)].lock().unwrap()
    }

    /// Waits until more was accepted in every shard.
    pub async fn progress(&self) {
        let before = [0, 1].map(|shard| self.of(shard).len());
        let is_there =
            || async { (0..2).all(|shard| self.of(shard).len() > before[usize::from(shard)] + 20) };
        eventually("answers of all shards", WITHIN, is_there).await;
    }

    /// Everything that was accepted is in Postgres once, but for what incidents own up to, and counted once. Nothing is there
    /// that nobody asked for, besides so many others. Answers how much was lost.
    pub async fn assert_exactly_once(&self, app: &TestApp, others: usize) -> usize {
        app.flush().await;
        let rows = app.postgres().await.query("SELECT event_id FROM message_logs", &[]).await;
        let rows: Vec<Uuid> = rows.unwrap().iter().map(|row| row.get(0)).collect();
        let found: BTreeSet<Uuid> = rows.iter().copied().collect();
        let accepted: Vec<Uuid> = [0, 1].iter().flat_map(|shard| self.of(*shard).clone()).collect();
        let ids: BTreeSet<Uuid> = accepted.iter().copied().collect();
        assert_eq!((ids.len(), found.len()), (accepted.len(), rows.len()), "an event an answer");
        let lost = ids.difference(&found).count();
        // Each node tells what it alone knows when its own flusher looks at the shard.
        let is_owned_up = || async { lost as u64 <= owned_up(app).await };
        eventually("an incident that has room for what was lost", WITHIN, is_owned_up).await;
        let unasked = found.difference(&ids).count() - others;
        let unknown = self.unknown.load(Ordering::Relaxed);
        assert!(unasked <= unknown, "{unasked} more than {unknown}");
        let sql = "SELECT coalesce(sum(used), 0)::bigint FROM usage_counters";
        let counted: i64 = app.postgres().await.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(counted, i64::try_from(rows.len()).unwrap());
        lost
    }
}

/// What incidents say was lost at most.
async fn owned_up(app: &TestApp) -> u64 {
    app.ledger().incidents(1_000).await.unwrap().iter().map(|it| it.lost_at_most).sum()
}
