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
mod processes;
#[path = "../bench/program.rs"]
mod program;
#[expect(dead_code, reason = "the tests use more of it")]
mod proxy;
mod redises;
mod report;
mod run;
mod usage;
#[path = "../bench/wire.rs"]
mod wire;

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

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
    #[arg(long, default_value_t = 10)]
    runs: u64,
    /// The seed of the first run, above 0
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    first_seed: u64,
    /// Seconds of load and faults in each run
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// How Redis is set up; all three after each other when absent
    #[arg(long)]
    topology: Option<Topology>,
    /// Write the sums to docs/RELIABILITY.md
    #[arg(long)]
    record: bool,
    /// The folder that gets the history and the logs of a run in which a promise broke
    #[arg(long, default_value = "target/torture")]
    keep: PathBuf,
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

/// Whether every promise was kept.
fn torture(arguments: &Arguments) -> Result<bool, Failure> {
    let all = [Topology::Single, Topology::Sentinel, Topology::Cluster];
    let mut is_kept = true;
    for topology in all.into_iter().filter(|it| arguments.topology.is_none_or(|one| one == *it)) {
        is_kept &= runs_of(topology, arguments)?;
    }
    Ok(is_kept)
}

fn runs_of(topology: Topology, arguments: &Arguments) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut sums = Sums::default();
    for seed in (arguments.first_seed..).take(usize::try_from(arguments.runs)?) {
        let plan = Plan::of(seed, topology, Duration::from_secs(arguments.seconds));
        let outcome = runtime.block_on(one(&plan, &arguments.keep))?;
        say(&format!("{}\n", report::line(&plan, &outcome)))?;
        for breach in &outcome.verdict.named {
            say(&format!("  {breach}\n"))?;
        }
        sums.add(&outcome);
    }
    let text = sums.text(topology);
    say(&text)?;
    if arguments.record {
        page::record(FILE, topology.name(), &text)?;
    }
    Ok(sums.broken == 0)
}

fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// One run, in a folder of its own. What is needed to understand a breach is kept.
async fn one(plan: &Plan, keep: &Path) -> Result<Outcome, Failure> {
    let name = format!("headroom-torture-{}-{}", std::process::id(), plan.seed);
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir)?;
    let kept = keep.join(format!("{}-{}", plan.topology.name(), plan.seed));
    let within = plan.length + BESIDE_LOAD;
    let ended = tokio::time::timeout(within, run::run(plan, &dir, &kept)).await;
    let outcome = ended.unwrap_or_else(|_| Err("the run does not come to an end".into()));
    if !outcome.as_ref().is_ok_and(|it| it.verdict.is_kept()) {
        keep_logs(&dir, &kept)?;
    }
    // What is left behind costs disk space and nothing else.
    let _ = std::fs::remove_dir_all(&dir);
    outcome
        .map_err(|failure| format!("{} seed {}: {failure}", plan.topology.name(), plan.seed).into())
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
