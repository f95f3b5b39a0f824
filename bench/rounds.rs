//! The cases, each once in every round.

use std::path::Path;

use headroom::embedded::PostgresServer;

use crate::Failure;
use crate::Plan;
use crate::child::Child;
use crate::child::cpu_us;
use crate::load::Load;
use crate::load::Outcome;
use crate::load::Until;
use crate::load::Who;
use crate::stand::Flusher;
use crate::stand::Stand;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Bare,
    /// With a worker thread a core, as axum's examples run.
    BareOnAllCores,
    Consume(Flusher),
    /// On two levels that have six limits each.
    Levels,
    /// A reserve, and the commit of what it holds.
    HoldAndCommit,
    ConsumeWithKey(Flusher),
    /// At half the rate that the round's [`Case::ConsumeWithKey`] reached.
    HalfRate,
    Refused,
}

impl Case {
    /// What `--brief` leaves.
    pub(crate) const BRIEF: &[Self] = &[Self::Bare, Self::ConsumeWithKey(Flusher::Elsewhere)];
    pub(crate) const ALL: &[Self] = &[
        Self::Bare,
        Self::BareOnAllCores,
        Self::Consume(Flusher::Elsewhere),
        Self::Levels,
        Self::HoldAndCommit,
        Self::ConsumeWithKey(Flusher::Elsewhere),
        Self::HalfRate,
        Self::Refused,
        Self::Consume(Flusher::Inside),
        Self::ConsumeWithKey(Flusher::Inside),
    ];

    /// The cases whose names hold one of the texts.
    pub(crate) fn named(texts: &[String]) -> &'static [Self] {
        let is_named = |case: &&Self| texts.iter().any(|text| case.name().contains(text.as_str()));
        // Asked once, for as long as the process runs.
        Self::ALL.iter().filter(is_named).copied().collect::<Vec<_>>().leak()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare handler",
            Self::BareOnAllCores => "bare handler with a worker thread a core",
            Self::Consume(Flusher::Inside) => "accepted, flusher in the same process",
            Self::Consume(_) => "accepted, flusher in another process",
            Self::Levels => {
                "accepted on two levels with six limits each, flusher in another process"
            }
            Self::HoldAndCommit => "a reserve and its commit, flusher in another process",
            Self::ConsumeWithKey(Flusher::Inside) => {
                "accepted with a new idempotency key, flusher in the same process"
            }
            Self::ConsumeWithKey(_) => {
                "accepted with a new idempotency key, flusher in another process"
            }
            Self::HalfRate => "the same at half that rate",
            Self::Refused => "refused",
        }
    }
}

/// A case in a round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU time a request, in microseconds: the service and Redis.
    pub(crate) cpu_us: f64,
    /// Redis' part of it.
    pub(crate) redis_us: f64,
    /// Accepted events that were not in Postgres when the load ended.
    pub(crate) lag: f64,
}

/// The cases of a round, in the order of the plan's.
pub(crate) type Round = Vec<Measured>;

struct Bench {
    plan: Plan,
    bare: Child,
    bare_on_all_cores: Child,
    apart: Stand,
    whole: Stand,
    round: usize,
    /// The rate that [`Case::HalfRate`] takes half of.
    peak: f64,
}

/// Starts everything, and measures.
pub(crate) async fn run(
    dir: &Path,
    postgres: &PostgresServer,
    plan: Plan,
) -> Result<Vec<Round>, Failure> {
    let log = dir.join("bare.log");
    let bare = Child::bare(&log, plan.workers).await?;
    let cores = std::thread::available_parallelism()?.get();
    let bare_on_all_cores = Child::bare(&log, cores).await?;
    let mut apart = Stand::start(dir, postgres, "apart", Flusher::Elsewhere, plan).await?;
    let mut whole = Stand::start(dir, postgres, "whole", Flusher::Inside, plan).await?;
    eprintln!("loading {} subjects", plan.subjects);
    apart.warm_up(plan.subjects).await?;
    whole.warm_up(plan.subjects).await?;
    if plan.cases.contains(&Case::Levels) {
        apart.warm_up_members(plan.subjects).await?;
    }
    let mut bench = Bench { plan, bare, bare_on_all_cores, apart, whole, round: 0, peak: 0.0 };
    let mut rounds = Vec::new();
    for round in 1..=plan.rounds {
        bench.round = round;
        rounds.push(bench.round().await?);
    }
    bench.bare.kill().await?;
    bench.bare_on_all_cores.kill().await?;
    Ok(rounds)
}

impl Bench {
    async fn round(&mut self) -> Result<Round, Failure> {
        let mut measured = Vec::new();
        for &case in self.plan.cases {
            let it = self.case(case).await?;
            eprintln!(
                "round {} {:<66} {:>7.0}/s cpu {:>5.1} (redis {:>4.1}) p50 {:>6.0} p99 {:>6.0} lag {}",
                self.round,
                case.name(),
                it.rate,
                it.cpu_us,
                it.redis_us,
                it.p50_us,
                it.p99_us,
                it.lag
            );
            if case == Case::ConsumeWithKey(Flusher::Elsewhere) {
                self.peak = it.rate;
            }
            measured.push(it);
        }
        Ok(measured)
    }

    async fn case(&mut self, case: Case) -> Result<Measured, Failure> {
        let load = self.load(case);
        let stand = match case {
            Case::Bare => return bare(&self.bare, &load).await,
            Case::BareOnAllCores => return bare(&self.bare_on_all_cores, &load).await,
            Case::Consume(Flusher::Inside) | Case::ConsumeWithKey(Flusher::Inside) => {
                &mut self.whole
            }
            _ => &mut self.apart,
        };
        let events = match case {
            Case::Refused => 0,
            Case::HoldAndCommit => 2,
            _ => 1,
        };
        let it = measure(stand, load, events).await?;
        stand.wait_flushed().await?;
        Ok(it)
    }

    fn load(&self, case: Case) -> Load {
        let length = Until::Elapsed(self.plan.length);
        let plain = |stand: &Stand, until| stand.load(self.plan.subjects, until);
        // No key comes twice, in no round.
        let key = |name: &str| Some(format!("{name}-{}", self.round));
        let apart = &self.apart;
        match case {
            Case::Bare | Case::BareOnAllCores => {
                Load { idempotency: key("bare"), ..plain(apart, length) }
            }
            Case::Consume(Flusher::Inside) => plain(&self.whole, length),
            Case::Consume(_) => plain(apart, length),
            Case::ConsumeWithKey(Flusher::Inside) => {
                Load { idempotency: key("whole"), ..plain(&self.whole, length) }
            }
            Case::ConsumeWithKey(_) => Load { idempotency: key("peak"), ..plain(apart, length) },
            Case::HalfRate => {
                let until = Until::Paced(self.plan.length, self.peak / 2.0);
                Load { idempotency: key("half"), ..plain(apart, until) }
            }
            Case::Levels => Load { who: Who::Member, ..plain(apart, length) },
            Case::HoldAndCommit => Load { holds: true, ..plain(apart, length) },
            Case::Refused => Load { who: Who::Anonymous, status: 429, ..plain(apart, length) },
        }
    }
}

async fn bare(child: &Child, load: &Load) -> Result<Measured, Failure> {
    let load = Load { address: child.address, ..load.clone() };
    let pids = [child.pid()];
    let before = cpu_us(&pids)?;
    let outcome = load.run().await?;
    Ok(measured(outcome, cpu_us(&pids)? - before, 0.0))
}

/// Runs a load whose requests make so many events each.
pub(crate) async fn measure(
    stand: &mut Stand,
    load: Load,
    events: u64,
) -> Result<Measured, Failure> {
    let (pids, redis) = (stand.pids(), [stand.redis.pid()]);
    let (before, redis_before) = (cpu_us(&pids)?, cpu_us(&redis)?);
    let outcome = load.run().await?;
    let (spent, redis_spent) = (cpu_us(&pids)? - before, cpu_us(&redis)? - redis_before);
    stand.accepted += outcome.count() * events;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let lag = stand.lag().await? as f64;
    Ok(Measured { lag, ..measured(outcome, spent, redis_spent) })
}

#[expect(clippy::cast_precision_loss, reason = "a run has far less than 2^53 requests")]
fn measured(mut outcome: Outcome, spent_us: f64, redis_us: f64) -> Measured {
    let (p50, p99) = outcome.percentiles();
    let count = outcome.count() as f64;
    Measured {
        rate: count / outcome.elapsed.as_secs_f64(),
        p50_us: p50.into(),
        p99_us: p99.into(),
        cpu_us: spent_us / count,
        redis_us: redis_us / count,
        lag: 0.0,
    }
}
