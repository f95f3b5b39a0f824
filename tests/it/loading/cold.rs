//! Cold subjects while the outbox holds a million events of others.

use std::time::Duration;
use std::time::Instant;

use headroom::counters::keys;

use crate::support::Options;
use crate::support::TestApp;
use crate::support::orders;
use crate::support::orders::accept;
use crate::support::orders::burst;
use crate::support::orders::consume;
use crate::support::orders::shard_of;

const SHARD: u16 = 0;
const BACKLOG: u64 = 1_000_000;
const COLD_OF_A_KIND: usize = 25;
/// Entries that one call appends.
const ENTRIES: u64 = 100;

/// Appends `ARGV[2]` copies of the entry `ARGV[1]`, whose events are of subjects called `user:fill_nnnnnnn`: each event
/// gets a subject and an id of its own and its place in `pend`, as if each subject had consumed once. The subjects' own
/// states are left out: nothing looks at them.
const FILL: &str = "
local got = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1][2]
local part = {}
for i = 1, #got, 2 do part[got[i]] = got[i + 1] end
local links = cmsgpack.unpack(part.h)
for i = 3, #links do links[i] = 0 end
local packed = cmsgpack.pack(links)
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
local seq, pending = tonumber(meta[2]), {}
local function another(_, name)
  seq = seq + 1
  local number = string.format('%07.0f', seq)
  pending[#pending + 1] = KEYS[4] .. number
  pending[#pending + 1] = seq
  return number .. '-of-fill-' .. name .. number
end
for _ = 1, tonumber(ARGV[2]) do
  pending = {}
  local pattern = '(................)(.user:fill_)%d%d%d%d%d%d%d'
  local events = string.gsub(part.e, pattern, another)
  local id = string.format('%s-%.0f', meta[1], seq)
  redis.call('XADD', KEYS[2], id, 'h', packed, 's', part.s, 'e', events)
  redis.call('HSET', KEYS[3], unpack(pending))
end
redis.call('HSET', KEYS[1], 'seq', string.format('%.0f', seq))
return string.format('%.0f', seq)";

/// Names of the shard.
fn names(kind: &str, count: usize) -> Vec<String> {
    let all = (0..).map(|number| format!("user:{kind}_{number:07}"));
    all.filter(|name| shard_of(name) == SHARD).take(count).collect()
}

/// An entry of many subjects' events, made by the service: its id.
async fn pattern(app: &TestApp) -> String {
    let fillers = names("fill", 64);
    for _ in 0..2 {
        let calls = fillers.iter().map(|name| consume(app.quota(), name));
        let decisions = futures_util::future::join_all(calls).await;
        assert!(decisions.into_iter().all(|decision| decision.unwrap().allowed));
    }
    let entries = app.counters().read_entries(SHARD, None, 1_000).await.unwrap();
    let largest = entries.iter().max_by_key(|entry| entry.events.as_ref().unwrap().len()).unwrap();
    assert!(largest.events.as_ref().unwrap().len() > 32, "requests travel in groups");
    format!("{}-{}", largest.epoch, largest.last_seq)
}

/// Fills the outbox up to the place.
async fn fill(app: &TestApp, pattern: &str, up_to: u64) {
    let mut redis = app.redis().await;
    let prefix = keys::subject(SHARD, "user:fill_");
    let script = redis::Script::new(FILL);
    loop {
        let mut call = script.key(keys::meta(SHARD));
        call.key(keys::outbox(SHARD)).key(keys::pending(SHARD)).key(&prefix);
        let seq: String = call.arg(pattern).arg(ENTRIES).invoke_async(&mut redis).await.unwrap();
        if seq.parse::<u64>().unwrap() >= up_to {
            return;
        }
    }
}

/// How long each subject waits for its first message, in order; what it has used is `used` by then.
async fn waits(app: &TestApp, subjects: &[String], used: u64) -> Vec<Duration> {
    let caller = app.caller();
    let mut waits = Vec::new();
    for subject in subjects {
        let asked_at = Instant::now();
        let answer = caller.consume(subject, "any").await;
        waits.push(asked_at.elapsed());
        assert!(answer.is_allowed(), "{answer:?}");
        assert_eq!(answer.used("messages-month"), used, "{subject}");
    }
    waits
}

fn median(mut waits: Vec<Duration>) -> Duration {
    waits.sort_unstable();
    waits[waits.len() / 2]
}

/// Guards the links between a subject's events: a load reads the subject's own pending events and no others, however many
/// there are. Subjects that Postgres knows, that have events pending, and that are new are all served at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_subject_is_served_within_100_ms_while_a_million_events_are_pending() {
    let catalogue = Some(orders::messages_a_month(100));
    let app = TestApp::start_with(Options { catalogue, ..Options::default() }.patient()).await;
    let [known, pending, new] = ["known", "pending", "new"].map(|kind| names(kind, COLD_OF_A_KIND));
    for subject in &known {
        assert_eq!(burst(&[app.quota()], subject, 3).await, 3);
    }
    app.flush().await;
    let pattern = pattern(&app).await;
    fill(&app, &pattern, BACKLOG / 2).await;
    for subject in &pending {
        accept(app.quota(), subject, 2).await;
    }
    fill(&app, &pattern, BACKLOG + 1_000).await;
    let evicted = known.iter().chain(&pending).map(|subject| keys::subject(SHARD, subject));
    let evicted: Vec<String> = evicted.collect();
    redis::cmd("DEL").arg(&evicted).exec_async(&mut app.redis().await).await.unwrap();

    let medians = [
        median(waits(&app, &known, 4).await),
        median(waits(&app, &pending, 3).await),
        median(waits(&app, &new, 1).await),
    ];

    let cursor = app.ledger().cursor(SHARD).await.unwrap();
    let page = app.counters().read_outbox(SHARD, cursor.epoch, cursor.seq, 100).await.unwrap();
    assert!(page.seq - cursor.seq >= BACKLOG, "{} pending", page.seq - cursor.seq);
    assert!(page.entries.iter().all(|entry| entry.events.is_ok()), "the backlog can be flushed");
    assert!(medians.iter().all(|it| *it < Duration::from_millis(100)), "{medians:?}");
    println!("medians of known, pending and new subjects: {medians:?}");
}
