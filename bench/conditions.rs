//! What a consume with a new idempotency key costs under other conditions, in turn: without a flusher beside it, with an
//! append-only file that is synced before each answer, with few and with many subjects; and how long answers take while
//! Postgres is killed and started again.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use headroom::counters::keys;
use headroom::embedded::PostgresServer;

use crate::Failure;
use crate::Plan;
use crate::load::CONNECTIONS;
use crate::load::Load;
use crate::load::Until;
use crate::page;
use crate::report::median;
use crate::rounds::Measured;
use crate::rounds::measure;
use crate::stand::Flusher;
use crate::stand::Stand;

/// Subjects that one call of the copying script makes.
const COPIES_A_CALL: u64 = 10_000;
/// How long Postgres is away, and how long the load goes on before and after.
const AWAY: Duration = Duration::from_secs(2);
const AROUND: Duration = Duration::from_secs(8);
/// No answer may take longer while Postgres is away or comes back.
const SLOW_US: u32 = 250_000;

/// Copies the state of one subject, which has no name in it, to as many others.
const COPY: &str = "local state = redis.call('GET', KEYS[1] .. '0')
for i = ARGV[1], ARGV[2] do
  redis.call('SET', KEYS[1] .. string.format('%d', i), state, 'EX', 604800)
end";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Usual,
    WithoutFlusher,
    SyncedAlways,
    FewSubjects,
    ManySubjects,
}

impl Condition {
    const ALL: [Self; 5] = [
        Self::Usual,
        Self::WithoutFlusher,
        Self::SyncedAlways,
        Self::FewSubjects,
        Self::ManySubjects,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::WithoutFlusher => "alone",
            Self::SyncedAlways => "synced",
            Self::FewSubjects => "few",
            Self::ManySubjects => "many",
        }
    }

    const fn flusher(self) -> Flusher {
        match self {
            Self::Usual | Self::SyncedAlways => Flusher::Elsewhere,
            Self::WithoutFlusher | Self::FewSubjects | Self::ManySubjects => Flusher::None,
        }
    }

    const fn subjects(self, plan: Plan) -> u64 {
        match self {
            Self::FewSubjects => 1_000,
            Self::ManySubjects => plan.many,
            Self::Usual | Self::WithoutFlusher | Self::SyncedAlways => plan.subjects,
        }
    }

    fn text(self, plan: Plan) -> String {
        match self {
            Self::Usual => "a flusher in another process, file synced every second".to_owned(),
            Self::WithoutFlusher => "no flusher".to_owned(),
            Self::SyncedAlways => "a flusher, file synced before each answer".to_owned(),
            Self::FewSubjects | Self::ManySubjects => {
                format!("no flusher, {} subjects", self.subjects(plan))
            }
        }
    }
}

/// Answers while Postgres was killed and started again.
#[derive(Debug)]
struct Outage {
    requests: u64,
    slowest_us: u32,
    slow: usize,
}

/// Measures all, and makes the report.
pub(crate) async fn run(
    dir: &Path,
    postgres: &mut PostgresServer,
    plan: Plan,
) -> Result<String, Failure> {
    let mut stands = Vec::new();
    for condition in Condition::ALL {
        eprintln!("loading {} subjects", condition.subjects(plan));
        stands.push(prepared(dir, postgres, condition, plan).await?);
    }
    let mut rounds = Vec::new();
    for round in 1..=plan.rounds {
        let mut measured = Vec::new();
        for (condition, stand) in Condition::ALL.into_iter().zip(&mut stands) {
            let length = Until::Elapsed(plan.length);
            let load = stand.load(condition.subjects(plan), length);
            let key = Some(format!("{}-{round}", condition.name()));
            let it = measure(stand, Load { idempotency: key, ..load }, 1).await?;
            eprintln!("round {round} {}: {it:?}", condition.name());
            if condition.flusher() == Flusher::Elsewhere {
                stand.wait_flushed().await?;
            }
            measured.push(it);
        }
        rounds.push(measured);
    }
    let rate = median(rounds.iter().map(|round| round[0].rate)) / 2.0;
    let outage = outage(&stands[0], postgres, plan, rate).await?;
    Ok(text(plan, &rounds, rate, &outage))
}

async fn prepared(
    dir: &Path,
    postgres: &PostgresServer,
    condition: Condition,
    plan: Plan,
) -> Result<Stand, Failure> {
    let mut stand =
        Stand::start(dir, postgres, condition.name(), condition.flusher(), plan).await?;
    let mut redis = redis::Client::open(stand.redis.url())?.get_connection()?;
    if condition == Condition::ManySubjects {
        stand.accepted += stand.load(1, Until::Count(1)).run().await?.count();
        copy(&mut redis, plan.many)?;
    } else {
        let subjects = condition.subjects(plan);
        stand.accepted += stand.load(subjects, Until::Count(subjects)).run().await?.count();
    }
    if condition == Condition::SyncedAlways {
        redis::cmd("CONFIG").arg("SET").arg("appendfsync").arg("always").exec(&mut redis)?;
    }
    if condition.flusher() == Flusher::Elsewhere {
        stand.wait_flushed().await?;
    }
    Ok(stand)
}

/// Makes so many subjects of the first: to load each from Postgres would take an hour.
fn copy(redis: &mut redis::Connection, subjects: u64) -> Result<(), Failure> {
    let first = keys::subject(0, "user:u_0");
    let prefix = first.strip_suffix('0').ok_or("a key that does not end with its subject")?;
    for from in (1..subjects).step_by(usize::try_from(COPIES_A_CALL)?) {
        let to = (from + COPIES_A_CALL).min(subjects) - 1;
        redis::cmd("EVAL").arg(COPY).arg(1).arg(prefix).arg(from).arg(to).exec(redis)?;
    }
    Ok(())
}

/// Half of the usual rate while Postgres is killed, stays away and is started again.
async fn outage(
    stand: &Stand,
    postgres: &mut PostgresServer,
    plan: Plan,
    rate: f64,
) -> Result<Outage, Failure> {
    let until = Until::Paced(AROUND + AWAY + AROUND, rate);
    let load = Load { idempotency: Some("outage".to_owned()), ..stand.load(plan.subjects, until) };
    let away = async {
        tokio::time::sleep(AROUND).await;
        postgres.kill().await?;
        tokio::time::sleep(AWAY).await;
        postgres.restart().await
    };
    let (outcome, restarted) = tokio::join!(load.run(), away);
    let (outcome, ()) = (outcome?, restarted?);
    Ok(Outage {
        requests: outcome.count(),
        slowest_us: outcome.latencies.iter().copied().max().unwrap_or_default(),
        slow: outcome.latencies.iter().filter(|us| **us > SLOW_US).count(),
    })
}

fn text(plan: Plan, rounds: &[Vec<Measured>], rate: f64, outage: &Outage) -> String {
    let mut text = format!(
        "{}. {CONNECTIONS} connections, {} subjects where nothing else is said, {} rounds of {} s each.\n\n",
        page::machine(),
        plan.subjects,
        plan.rounds,
        plan.length.as_secs()
    );
    text += "| each request with a new idempotency key | req/s | p50 ms | p99 ms | CPU µs/request | of it Redis |\n";
    text += "|---|--:|--:|--:|--:|--:|\n";
    for (place, condition) in Condition::ALL.into_iter().enumerate() {
        let of = |value: fn(&Measured) -> f64| median(rounds.iter().map(|it| value(&it[place])));
        let _infallible = writeln!(
            text,
            "| {} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} |",
            condition.text(plan),
            of(|it| it.rate),
            of(|it| it.p50_us) / 1_000.0,
            of(|it| it.p99_us) / 1_000.0,
            of(|it| it.cpu_us),
            of(|it| it.redis_us)
        );
    }
    let ratio = |of: usize, to: usize, value: fn(&Measured) -> f64| {
        median(rounds.iter().map(|it| value(&it[of]) / value(&it[to])))
    };
    let _infallible = writeln!(
        text,
        "\nWith the flusher beside it {:.2} of the rate without; synced before each answer {:.2} of the rate of every \
         second. Redis' time a request with {} subjects is {:.2} × that with 1000.\n\n\
         Postgres killed, away for {} s and started again, at {rate:.0} requests a second: {} requests, all answered 200, \
         the slowest after {:.0} ms, {} after more than {} ms.",
        ratio(0, 1, |it| it.rate),
        ratio(2, 0, |it| it.rate),
        plan.many,
        ratio(4, 3, |it| it.redis_us),
        AWAY.as_secs(),
        outage.requests,
        f64::from(outage.slowest_us) / 1_000.0,
        outage.slow,
        SLOW_US / 1_000
    );
    text
}
