//! Processes that are killed under load: a node, a flusher, Postgres.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join;
use futures_util::future::join_all;
use reqwest::StatusCode;
use uuid::Uuid;

use super::MODEL;
use super::counted;
use super::logged;
use super::messages_a_month;
use crate::support::Options;
use crate::support::TestApp;
use crate::support::caller::Caller;
use crate::support::poll;
use crate::support::process::Node;

/// What a subject may use; the load asks for more.
const MAX: u32 = 150;
const SUBJECTS: usize = 4;
const ROUNDS: usize = 4;
/// Callers at once, and what each asks for in a round.
const CALLERS: usize = 8;
const CALLS: usize = 60;
/// Answers after which a round's kills begin.
const ANSWERS_BEFORE_KILL: usize = 60;
const WITHIN: Duration = Duration::from_mins(1);

/// What the callers know.
#[derive(Default)]
struct Seen {
    accepted: Mutex<Vec<Uuid>>,
    /// Calls without an answer, or whose answer was that a store is away: charged or not.
    unknown: AtomicUsize,
    answers: AtomicUsize,
}

impl Seen {
    /// A round of one caller, which ends when the node is gone.
    async fn call(&self, caller: Caller, number: usize) {
        for call in 0..CALLS {
            let subject = format!("user:u_{}", (number + call) % SUBJECTS);
            let Ok(answer) = caller.try_consume(&subject, MODEL).await else {
                self.unknown.fetch_add(1, Ordering::Relaxed);
                return;
            };
            match answer.status {
                StatusCode::OK => self.accepted.lock().unwrap().push(answer.event_id()),
                StatusCode::TOO_MANY_REQUESTS => {}
                StatusCode::SERVICE_UNAVAILABLE => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                }
                _ => panic!("{answer:?}"),
            }
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn load(&self, caller: &Caller) {
        join_all((0..CALLERS).map(|number| self.call(caller.clone(), number))).await;
    }

    /// Waits for the middle of the round.
    async fn middle(&self, before: usize) {
        let is_there =
            || async { self.answers.load(Ordering::Relaxed) >= before + ANSWERS_BEFORE_KILL };
        poll::eventually("the middle of the round", WITHIN, is_there).await;
    }
}

/// Everything that was accepted is in Postgres once, nothing twice, and no limit is passed.
async fn assert_exactly_once(app: TestApp, seen: Seen) {
    let accepted = seen.accepted.into_inner().unwrap();
    let ids: BTreeSet<Uuid> = accepted.iter().copied().collect();
    assert_eq!(ids.len(), accepted.len(), "an event an answer");
    app.flush().await;
    let (found, rows) = logged(&app).await;
    assert_eq!(found.len(), rows);
    assert!(ids.is_subset(&found), "lost: {:?}", ids.difference(&found).collect::<Vec<_>>());
    let unknown = seen.unknown.into_inner();
    assert!(rows - ids.len() <= unknown, "{} more than {unknown}", rows - ids.len());
    let mut sum = 0;
    for subject in 0..SUBJECTS {
        let used = counted(&app, &format!("user:u_{subject}")).await;
        assert!(used <= i64::from(MAX), "user:u_{subject} used {used}");
        sum += used;
    }
    assert_eq!(sum, i64::try_from(rows).unwrap());
    app.finish().await;
}

async fn start(own_postgres: bool) -> (TestApp, Seen) {
    let catalogue = Some(messages_a_month(MAX));
    let options = Options { catalogue, own_postgres, ..Options::default() };
    let options = options
        .with("HEADROOM_FLUSHER_BATCH_EVENTS_MAX", 20)
        .with("HEADROOM_FLUSHER_TRIM_LAG_S", 0);
    (TestApp::start_with(options).await, Seen::default())
}

async fn node(app: &TestApp, role: &str) -> Node {
    let catalogue = app.stores.folder().join("catalogue.toml").display().to_string();
    let settings = [
        ("HEADROOM_ROLE", role),
        ("HEADROOM_QUOTA_CATALOGUE", catalogue.as_str()),
        ("HEADROOM_FLUSHER_BATCH_EVENTS_MAX", "20"),
        ("HEADROOM_FLUSHER_IDLE_POLL_MS", "1"),
        ("HEADROOM_FLUSHER_TRIM_LAG_S", "0"),
        ("HEADROOM_LOG_LEVEL", "off"),
    ];
    Node::start(app, &settings).await
}

/// Guards promises 1 and 2: a node may be killed at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_killed_under_load_lose_and_double_nothing() {
    let (app, seen) = start(false).await;

    for _ in 0..ROUNDS {
        let node = node(&app, "all").await;
        let (caller, before) = (node.caller(), seen.answers.load(Ordering::Relaxed));
        let killing = async {
            seen.middle(before).await;
            node.kill().await;
        };
        join(seen.load(&caller), killing).await;
    }

    assert_exactly_once(app, seen).await;
}

/// Guards promise 2: a flusher may be killed at any moment, and another goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushers_that_are_killed_under_load_lose_and_double_nothing() {
    let (app, seen) = start(false).await;
    let caller = app.caller();

    for _ in 0..ROUNDS {
        let flusher = node(&app, "background").await;
        let before = seen.answers.load(Ordering::Relaxed);
        let killing = async {
            seen.middle(before).await;
            flusher.kill().await;
        };
        join(seen.load(&caller), killing).await;
    }

    assert_eq!(seen.unknown.load(Ordering::Relaxed), 0, "callers do not notice");
    assert_exactly_once(app, seen).await;
}

/// Guards promises 2 and 5: Postgres may be killed at any moment; what it confirmed is not written again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_killed_under_load_loses_and_doubles_nothing() {
    let (mut app, seen) = start(true).await;
    let caller = app.caller();
    for subject in 0..SUBJECTS {
        // Loaded once, a subject does not need Postgres.
        caller.get(&format!("/v1/subjects/user:u_{subject}/usage")).await;
    }
    let flusher = node(&app, "background").await;

    for _ in 0..ROUNDS {
        let before = seen.answers.load(Ordering::Relaxed);
        let killing = async {
            seen.middle(before).await;
            let postgres = app.stores.postgres.as_mut().unwrap();
            postgres.kill().await.unwrap();
            postgres.restart().await.unwrap();
        };
        join(seen.load(&caller), killing).await;
    }

    assert_eq!(seen.unknown.load(Ordering::Relaxed), 0, "callers do not notice");
    flusher.kill().await;
    assert_exactly_once(app, seen).await;
}
