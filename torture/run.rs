//! One run: everything is started, load and nemesis go on at once, everything heals, and the checker judges.

use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use futures_util::future::try_join_all;
use headroom::counters::keys;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_postgres::Client as Database;

use crate::Failure;
use crate::archive::Archive;
use crate::catalogue;
use crate::check;
use crate::check::Verdict;
use crate::client::Client;
use crate::client::Crowd;
use crate::evidence::Evidence;
use crate::fleet::Node;
use crate::history;
use crate::history::Invocation;
use crate::nemesis::Journal;
use crate::nemesis::Memory;
use crate::nemesis::Nodes;
use crate::nemesis::Stores;
use crate::nemesis::Tally;
use crate::plan::Plan;
use crate::pooler::Pooler;
use crate::proxy::Proxy;
use crate::proxy::Trigger;
use crate::redises::Redises;
use crate::usage;

pub(crate) const SHARDS: u16 = 2;
const KEY: &str = "the-admin-key-of-the-torture";
const CLIENTS_PER_NODE: usize = 16;
const DRAIN_WITHIN: Duration = Duration::from_mins(2);
const VERIFY_WITHIN: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(50);

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) faults: Tally,
}

/// The parts of a run.
struct Stage {
    dir: PathBuf,
    redises: Redises,
    archive: Archive,
    pooler: Option<Pooler>,
    nodes: Vec<Node>,
    environment: Vec<(&'static str, String)>,
}

/// Runs the plan in a folder, on a copy of that Postgres, and keeps the history in `kept` when a promise broke.
pub(crate) async fn run(
    plan: &Plan,
    dir: &Path,
    template: &Path,
    kept: &Path,
) -> Result<Outcome, Failure> {
    let mut stage = Stage::start(plan, dir, template).await?;
    let (history, faults) = stage.suffer(plan).await?;
    let judged = stage.judge(&history, kept).await;
    if !judged.as_ref().is_ok_and(Verdict::is_kept) {
        history::write(&kept.join("history.jsonl"), &history)?;
    }
    stage.stop().await?;
    Ok(Outcome { verdict: judged?, faults })
}

impl Stage {
    async fn start(plan: &Plan, dir: &Path, template: &Path) -> Result<Self, Failure> {
        let (archive, redises) =
            tokio::try_join!(Archive::start(dir, Some(template)), Redises::start(dir, plan))?;
        let pooler = match plan.pooled {
            0 => None,
            _ => Pooler::start(dir, archive.server.port()).await?,
        };
        let catalogue = dir.join("catalogue.toml");
        std::fs::write(&catalogue, catalogue::TEXT)?;
        let environment = vec![
            ("HEADROOM_QUOTA_SHARDS", SHARDS.to_string()),
            ("HEADROOM_AUTH_ADMIN_KEY", KEY.to_owned()),
            ("HEADROOM_QUOTA_CATALOGUE", catalogue.to_string_lossy().into_owned()),
            ("HEADROOM_POSTGRES_STATEMENT_TIMEOUT_MS", "3000".to_owned()),
            ("HEADROOM_LOG_LEVEL", "warn".to_owned()),
        ];
        let mut stage =
            Self { dir: dir.to_owned(), redises, archive, pooler, nodes: Vec::new(), environment };
        for number in 0..plan.nodes {
            let node = stage.node(plan, number).await?;
            stage.nodes.push(node);
        }
        try_join_all(stage.nodes.iter_mut().map(|node| async move {
            node.start().await?;
            node.ready().await
        }))
        .await?;
        Ok(stage)
    }

    /// A node that is not started yet, behind networks to both stores.
    async fn node(&self, plan: &Plan, number: usize) -> Result<Node, Failure> {
        let is_last = number + 1 == plan.nodes;
        let role = match plan.has_own_flusher {
            false => "all",
            true if is_last => "background",
            true => "api",
        };
        let direct = self.archive.server.port();
        let pooler = self.pooler.as_ref().filter(|_| number + plan.pooled >= plan.nodes);
        let postgres = pooler.map_or(direct, Pooler::port);
        let postgres = Proxy::start_for(Trigger::Commit, postgres).await?;
        let url = self.archive.url();
        let url = url.replace(&format!(":{direct}/"), &format!(":{}/", postgres.port()));
        let own = [("HEADROOM_ROLE", role.to_owned()), ("DATABASE_URL", url)];
        let settings = [&self.environment[..], &own, &self.redises.settings(number)].concat();
        let log = self.dir.join(format!("node-{number}.log"));
        Node::new(self.redises.ways(number), postgres, settings, log)
    }

    /// Load and faults until the plan is over, and then until everything has healed.
    async fn suffer(&mut self, plan: &Plan) -> Result<(Vec<Invocation>, Tally), Failure> {
        let answering = if plan.has_own_flusher { plan.nodes - 1 } else { plan.nodes };
        let crowd = Arc::new(Crowd {
            seed: plan.seed,
            nodes: self.nodes[..answering].iter().map(|node| node.address).collect(),
            key: KEY,
            subjects: catalogue::subjects(),
            has_gifts: plan.has_gifts,
            is_over: AtomicBool::new(false),
            history: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for number in 0..answering * CLIENTS_PER_NODE {
            clients.spawn(Client::new(crowd.clone(), number).run());
        }
        let addresses = self.nodes.iter().map(|node| node.address).collect();
        let is_elected = self.redises.elects();
        let memory = Memory::new(addresses, KEY, SHARDS, is_elected);
        let journal = Journal::new(&self.dir);
        let stores = Stores {
            redises: &mut self.redises,
            archive: &mut self.archive,
            memory: &memory,
            journal: &journal,
            shards: SHARDS,
        };
        let nodes = Nodes {
            all: &mut self.nodes,
            pooler: &mut self.pooler,
            memory: &memory,
            journal: &journal,
            is_elected,
        };
        let (mut faults, of_nodes, ()) =
            tokio::try_join!(stores.follow(&plan.stores), nodes.follow(&plan.network), async {
                sleep(plan.length).await;
                Ok(())
            })?;
        faults.extend(of_nodes);
        crowd.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = clients.join_next().await {
            ended?;
        }
        let history =
            std::mem::take(&mut *crowd.history.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((history, faults))
    }

    /// Waits until everything is in Postgres, collects the evidence, and judges.
    async fn judge(&mut self, history: &[Invocation], kept: &Path) -> Result<Verdict, Failure> {
        self.heal().await?;
        let database = self.archive.connect().await?;
        self.drain(&database).await?;
        let mut evidence = Evidence {
            shards: SHARDS,
            split_ms: self.redises.split_ms(),
            history: history.to_vec(),
            limits: catalogue::limits(),
            ..Evidence::default()
        };
        let unreadable = self.ask_usage(&mut evidence).await;
        self.drain(&database).await?;
        evidence.read(&database).await?;
        let mut verdict = check::judge(&evidence);
        verdict.wrong += unreadable.len() as u64;
        verdict.named.extend(unreadable);
        let ahead_ms = self.ahead_ms().await?;
        if let Err(failure) = self.verify(ahead_ms).await {
            verdict.wrong += 1;
            verdict.named.push(format!("headroom verify: {failure}"));
        }
        if !verdict.is_kept() {
            history::write(&kept.join("logged.jsonl"), &evidence.logged)?;
        }
        Ok(verdict)
    }

    /// Starts what is down, and makes each node tell what it knows of epochs that ended.
    async fn heal(&mut self) -> Result<(), Failure> {
        self.redises.settle().await?;
        for node in &mut self.nodes {
            node.start().await?;
            node.ready().await?;
        }
        for node in &self.nodes {
            usage::await_telling(node.address, KEY, SHARDS).await?;
        }
        Ok(())
    }

    /// What a node answers of each subject, and of which it gives no answer.
    async fn ask_usage(&self, evidence: &mut Evidence) -> Vec<String> {
        let mut unreadable = Vec::new();
        for subject in catalogue::subjects() {
            match usage::read(self.nodes[0].address, KEY, &subject).await {
                Ok(counters) => evidence.redis.extend(counters),
                Err(failure) => unreadable.push(failure.to_string()),
            }
        }
        unreadable
    }

    async fn drain(&mut self, database: &Database) -> Result<(), Failure> {
        let began_at = Instant::now();
        loop {
            let Some(left) = left_to_drain(&mut self.redises, database).await? else {
                return Ok(());
            };
            if began_at.elapsed() > DRAIN_WITHIN {
                return Err(format!("the outbox does not drain: {left}").into());
            }
            sleep(POLL).await;
        }
    }

    /// How far the last instants that the shards went by lie ahead of the time.
    async fn ahead_ms(&mut self) -> Result<i64, Failure> {
        let mut ahead_ms = 0;
        for shard in 0..SHARDS {
            let primary = self.redises.primary(shard).await?;
            let now_ms: Option<i64> = primary.ask(&["HGET", &keys::meta(shard), "now"]).await?;
            let (seconds, micros): (i64, i64) = primary.ask(&["TIME"]).await?;
            ahead_ms = ahead_ms.max(now_ms.unwrap_or(0) - seconds * 1_000 - micros / 1_000);
        }
        Ok(ahead_ms)
    }

    /// `headroom verify`, by the clock that is furthest ahead.
    async fn verify(&self, ahead_ms: i64) -> Result<(), Failure> {
        let offset_ms = self.nodes.iter().map(|node| node.offset_ms).max().unwrap_or(0);
        let offset_ms = offset_ms.max(ahead_ms);
        let mut command = Command::new(crate::program::headroom()?);
        command
            .arg("verify")
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .envs(self.redises.direct_settings())
            .env("DATABASE_URL", self.archive.url())
            .env("HEADROOM_CLOCK_OFFSET_MS", offset_ms.to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(VERIFY_WITHIN, command.output()).await??;
        if output.status.success() {
            return Ok(());
        }
        let texts = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        Err(texts.concat().into())
    }

    /// Ends the nodes; the stores end when this is dropped.
    async fn stop(mut self) -> Result<(), Failure> {
        for node in &mut self.nodes {
            node.kill().await?;
        }
        Ok(())
    }
}

/// What Postgres does not have yet of a shard's events, or which gifts are not finished; none when it has all.
async fn left_to_drain(
    redises: &mut Redises,
    database: &Database,
) -> Result<Option<String>, Failure> {
    let sql = "SELECT string_agg(transfers::text, ', ') FROM transfers WHERE state = 'pending'";
    let pending: Option<String> = database.query_one(sql, &[]).await?.try_get(0)?;
    if let Some(pending) = pending {
        return Ok(Some(format!("gifts {pending}")));
    }
    let sql = "SELECT epoch, seq FROM outbox_cursors ORDER BY shard";
    let cursors = database.query(sql, &[]).await?;
    for (shard, cursor) in (0..SHARDS).zip(cursors) {
        let primary = redises.primary(shard).await?;
        let words = ["HMGET", &keys::meta(shard), "epoch", "seq"];
        let at: (Option<i64>, Option<i64>) = primary.ask(&words).await?;
        let cursor = (Some(cursor.try_get(0)?), Some(cursor.try_get(1)?));
        if at != cursor {
            return Ok(Some(format!("shard {shard} is at {at:?}, its cursor at {cursor:?}")));
        }
    }
    Ok(None)
}
