//! `make bench`: what a decision costs beside a bare handler, and whether the flusher keeps up.
//!
//! Everything is started here and ends with this process: a Redis with an append-only file, a durable Postgres, the
//! release binary `headroom`, and this binary again as the bare handler. The load generator is our own (`load`): it
//! shares the cores with what it measures, so it has to be cheap, and every request needs its own idempotency key.

mod bare;
mod child;
mod conditions;
mod drain;
mod facts;
mod load;
mod memory;
mod page;
mod program;
mod report;
mod rounds;
mod stand;
mod traffic;
mod wire;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::Subcommand;

/// Where results are recorded.
const FILE: &str = "docs/BENCHMARKS.md";

/// Any failure ends the run.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures the service in turn with a bare handler.
#[derive(Debug, Parser)]
#[command(name = "headroom-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Seconds that each case is loaded for in each round
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds; each runs every case once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// One short round with few subjects: a check that the benchmark works, not a measurement
    #[arg(long, global = true)]
    quick: bool,
    /// Write the results to docs/BENCHMARKS.md
    #[arg(long, global = true)]
    record: bool,
    /// Only the bare handler and accepted requests with idempotency keys, for tuning
    #[arg(long)]
    brief: bool,
    /// Only the cases whose names hold one of these texts, in the usual order; a comma parts them
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Threads that run requests, in the bare handler and in the service
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Shards, each of which has one group of requests under way
    #[arg(long, default_value_t = 1)]
    shards: u16,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// How much of Redis' memory subjects, pending events and idempotency records take
    Memory,
    /// What a consume costs without a flusher, with a file synced before each answer, with few and with many subjects, and
    /// how long answers take while Postgres is killed
    Conditions,
    /// How fast the flusher keeps rollups, and how long analysts wait for answers
    Facts {
        /// Rows in the log, in millions, one run after the other
        #[arg(long, value_delimiter = ',', default_value = "1,10,50")]
        millions: Vec<u64>,
    },
    /// How long analysts wait for answers over the rollups of a log that is itself left out, so that it can be large
    Rollups {
        /// Rows that the log would have, in millions
        #[arg(long, default_value_t = 100)]
        millions: u64,
    },
    /// The bare handler
    #[command(hide = true)]
    Bare {
        /// Where to listen
        address: std::net::SocketAddr,
        /// Threads
        workers: usize,
    },
}

/// How long and how much is measured.
#[derive(Clone, Copy, Debug)]
struct Plan {
    length: Duration,
    rounds: usize,
    subjects: u64,
    /// Subjects that are in memory at once, for `memory`.
    active: u64,
    /// Subjects of the largest Redis, for `conditions`.
    many: u64,
    cases: &'static [rounds::Case],
    drain_rounds: usize,
    drain_events: u64,
    workers: usize,
    shards: u16,
}

impl Plan {
    fn of(arguments: &Arguments) -> Self {
        let full = Self {
            length: Duration::from_secs(arguments.seconds),
            rounds: arguments.rounds,
            subjects: 100_000,
            active: 1_000_000,
            many: 5_000_000,
            cases: rounds::Case::ALL,
            drain_rounds: 3,
            drain_events: 120_000,
            workers: arguments.workers,
            shards: arguments.shards,
        };
        let cases = rounds::Case::BRIEF;
        let full = if arguments.brief { Self { cases, drain_rounds: 0, ..full } } else { full };
        let full = match rounds::Case::named(&arguments.only) {
            [] => full,
            cases => Self { cases, drain_rounds: 0, ..full },
        };
        if !arguments.quick {
            return full;
        }
        let drain_rounds = full.drain_rounds.min(1);
        Self {
            length: Duration::from_secs(1),
            rounds: 1,
            subjects: 5_000,
            active: 20_000,
            many: 50_000,
            drain_rounds,
            drain_events: 20_000,
            ..full
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("headroom-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(Command::Bare { address, workers }) = arguments.command {
        return bare::serve(address, workers);
    }
    let plan = Plan::of(arguments);
    let subject = match &arguments.command {
        None | Some(Command::Bare { .. }) => Subject::Decisions,
        Some(Command::Memory) => Subject::Memory,
        Some(Command::Conditions) => Subject::Conditions,
        Some(Command::Facts { millions }) => Subject::Facts(millions),
        Some(Command::Rollups { millions }) => Subject::Rollups(*millions),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime.block_on(measure(plan, subject))?;
    std::io::stdout().write_all(text.as_bytes())?;
    if arguments.record {
        page::record(FILE, subject.section(), &text)?;
    }
    Ok(())
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
enum Subject<'a> {
    Decisions,
    Memory,
    Conditions,
    /// With so many million rows.
    Facts(&'a [u64]),
    /// Of so many million rows.
    Rollups(u64),
}

impl Subject<'_> {
    /// Its section of docs/BENCHMARKS.md.
    const fn section(self) -> &'static str {
        match self {
            Self::Decisions => "results",
            Self::Memory => "memory",
            Self::Conditions => "conditions",
            Self::Facts(_) => "facts",
            Self::Rollups(_) => "rollups",
        }
    }
}

async fn measure(plan: Plan, subject: Subject<'_>) -> Result<String, Failure> {
    let dir = std::env::temp_dir().join(format!("headroom-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let measured = measure_in(&dir, plan, subject).await;
    // What is left behind costs disk space and nothing else.
    let _ = std::fs::remove_dir_all(&dir);
    measured
}

async fn measure_in(dir: &Path, plan: Plan, subject: Subject<'_>) -> Result<String, Failure> {
    let mut postgres = stand::postgres(dir).await?;
    let text = match subject {
        Subject::Memory => memory::text(&memory::run(dir, &postgres, plan).await?),
        Subject::Conditions => conditions::run(dir, &mut postgres, plan).await?,
        Subject::Facts(millions) => facts::run(&postgres, plan, millions).await?,
        Subject::Rollups(millions) => facts::run_rollups(&postgres, plan, millions).await?,
        Subject::Decisions => {
            let rounds = rounds::run(dir, &postgres, plan).await?;
            report::text(plan, &rounds, &drain::run(dir, &postgres, plan).await?)
        }
    };
    // A Postgres that is slow to stop ends with this process, and is no reason to lose the results.
    if let Err(error) = postgres.stop().await {
        eprintln!("postgres: {error}");
    }
    Ok(text)
}
