//! `make torture`: a seeded nemesis over real processes, and a checker of the promises.
//!
//! Everything is started here and ends with this process: Redis with a replica, Postgres, `headroom serve` nodes, and
//! networks between them that fail on command. Clients write down what they asked and what they were told. When the faults
//! are over and everything has healed, the checker proves from that history and both stores that no promise was broken.

mod archive;
mod catalogue;
mod check;
mod client;
mod dice;
mod evidence;
mod excess;
mod fleet;
mod history;
mod nemesis;
#[path = "../bench/page.rs"]
mod page;
mod plan;
mod pooler;
mod processes;
#[path = "../bench/program.rs"]
mod program;
#[expect(dead_code, reason = "the tests use more of it")]
mod proxy;
mod redises;
mod report;
mod request;
mod run;
mod usage;
#[path = "../bench/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures_util::StreamExt;
use futures_util::stream;

use self::archive::Archive;
use self::plan::Plan;
use self::plan::Topology;
use self::report::Sums;
use self::run::Outcome;

/// Where results are recorded.
const FILE: &str = "docs/RELIABILITY.md";
/// What a run may take beyond its load: starts, healing and the checks.
const BESIDE_LOAD: Duration = Duration::from_mins(6);

/// Any failure ends the run.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Breaks what can break, and checks what was promised.
#[derive(Debug, Parser)]
#[command(name = "headroom-torture")]
struct Arguments {
    /// Runs, each with the next seed
    #[arg(long, default_value_t = 30)]
    runs: u64,
    /// The seed of the first run, above 0
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    first_seed: u64,
    /// Seconds of load and faults in each run
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// How Redis is set up; each run as the next of all three when absent
    #[arg(long)]
    topology: Option<Topology>,
    /// Runs at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    jobs: u16,
    /// Write the sums to docs/RELIABILITY.md, after each run those so far
    #[arg(long)]
    record: bool,
    /// The folder that gets the history and the logs of a run in which a promise broke
    #[arg(long, default_value = "target/torture")]
    keep: PathBuf,
}

impl Arguments {
    fn plans(&self) -> Result<Vec<Plan>, Failure> {
        let length = Duration::from_secs(self.seconds);
        let seeds = (self.first_seed..).take(usize::try_from(self.runs)?);
        let topologies = Topology::ALL.into_iter().cycle();
        let topologies = topologies.map(|next| self.topology.unwrap_or(next));
        Ok(seeds.zip(topologies).map(|(seed, it)| Plan::of(seed, it, length)).collect())
    }
}

fn main() -> ExitCode {
    match torture(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("headroom-torture: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Whether every promise was kept, and every run came to its end.
fn torture(arguments: &Arguments) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let name = format!("headroom-torture-{}-template", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir)?;
    let kept = runtime.block_on(async {
        let template = Archive::template(&dir, run::SHARDS).await?;
        campaign(arguments, &template).await
    });
    // What is left behind costs disk space and nothing else.
    let _ = std::fs::remove_dir_all(&dir);
    kept
}

async fn campaign(arguments: &Arguments, template: &Path) -> Result<bool, Failure> {
    let plans = arguments.plans()?;
    let machine = page::machine();
    let mut sums: BTreeMap<&str, Sums> = BTreeMap::new();
    let runs =
        plans.iter().map(|plan| async move { (plan, one(plan, template, &arguments.keep).await) });
    let mut runs = stream::iter(runs).buffer_unordered(usize::from(arguments.jobs));
    while let Some((plan, ended)) = runs.next().await {
        let sums = sums.entry(plan.topology.name()).or_default();
        tell(plan, &ended)?;
        match &ended {
            Ok(outcome) => sums.add(outcome),
            Err(_) => sums.unended += 1,
        }
        if arguments.record {
            page::record(FILE, plan.topology.name(), &sums.text(plan.topology, &machine))?;
        }
    }
    for topology in Topology::ALL {
        if let Some(sums) = sums.get(topology.name()) {
            say(&sums.text(topology, &machine))?;
        }
    }
    Ok(sums.values().all(Sums::is_kept))
}

/// Says what came of a run.
fn tell(plan: &Plan, ended: &Result<Outcome, Failure>) -> Result<(), Failure> {
    match ended {
        Ok(outcome) => {
            let breaches = outcome.verdict.named.iter().map(|breach| format!("  {breach}\n"));
            let breaches: String = breaches.collect();
            say(&format!("{}\n{breaches}", report::line(plan, outcome)))
        }
        Err(failure) => {
            say(&format!("{} seed {}: no end: {failure}\n", plan.topology.name(), plan.seed))
        }
    }
}

fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// One run, in a folder of its own. What is needed to understand a breach is kept.
async fn one(plan: &Plan, template: &Path, keep: &Path) -> Result<Outcome, Failure> {
    let name = format!("headroom-torture-{}-{}", std::process::id(), plan.seed);
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir)?;
    let kept = keep.join(format!("{}-{}", plan.topology.name(), plan.seed));
    let within = plan.length + BESIDE_LOAD;
    let ended = tokio::time::timeout(within, run::run(plan, &dir, template, &kept)).await;
    let outcome = ended.unwrap_or_else(|_| Err("the run does not come to an end".into()));
    if !outcome.as_ref().is_ok_and(|it| it.verdict.is_kept()) {
        keep_logs(&dir, &kept)?;
    }
    // What is left behind costs disk space and nothing else.
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

/// Keeps the logs of the nodes, the stores and the nemesis.
fn keep_logs(dir: &Path, kept: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(kept)?;
    let folders = (0..6).map(|number| format!("redis-{number}"));
    for folder in folders.chain(["", "sentinel", "postgres"].map(str::to_owned)) {
        let Ok(entries) = std::fs::read_dir(dir.join(&folder)) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "log")
                && let Some(name) = path.file_name().and_then(|name| name.to_str())
            {
                std::fs::copy(&path, kept.join([&folder, name].concat()))?;
            }
        }
    }
    Ok(())
}
