//! The results as Markdown.

use std::fmt::Write;

use crate::Plan;
use crate::drain::Drain;
use crate::load::CONNECTIONS;
use crate::page;
use crate::rounds::Case;
use crate::rounds::Measured;
use crate::rounds::Round;
use crate::stand::Flusher;

/// The whole report.
pub(crate) fn text(plan: Plan, rounds: &[Round], drains: &[Drain]) -> String {
    let mut text = String::new();
    let _infallible = writeln!(text, "{}\n", conditions(plan));
    text += "| case | req/s | p50 ms | p99 ms | CPU µs/request | of it Redis | CPU ÷ bare | events behind at the end |\n";
    text += "|---|--:|--:|--:|--:|--:|--:|--:|\n";
    for (place, case) in plan.cases.iter().enumerate() {
        text += &line(*case, place, rounds);
    }
    text += &levels(plan, rounds);
    text += &holds(plan, rounds);
    if !drains.is_empty() {
        text += &drained(drains);
    }
    text
}

/// What ten limits and a level more cost, within each round; empty when that was not measured.
fn levels(plan: Plan, rounds: &[Round]) -> String {
    let place = |wanted| plan.cases.iter().position(|case| *case == wanted);
    let two = place(Case::Consume(Flusher::Elsewhere));
    let (Some(two), Some(twelve)) = (two, place(Case::Levels)) else { return String::new() };
    let of = |value: fn(&Measured) -> f64| {
        median(rounds.iter().map(|round| value(&round[twelve]) / value(&round[two])))
    };
    let (cpu, redis) = (of(|it| it.cpu_us), of(|it| it.redis_us));
    format!(
        "\nTwo levels with six limits each take {cpu:.2} × the CPU of one level with two; Redis \
         alone {redis:.2} ×.\n"
    )
}

/// What a reserve and its commit cost together, within each round; empty when that was not measured.
fn holds(plan: Plan, rounds: &[Round]) -> String {
    let place = |wanted| plan.cases.iter().position(|case| *case == wanted);
    let one = place(Case::Consume(Flusher::Elsewhere));
    let (Some(one), Some(both)) = (one, place(Case::HoldAndCommit)) else { return String::new() };
    let ratios = rounds.iter().map(|round| round[both].cpu_us / round[one].cpu_us);
    format!("\nA reserve and its commit take {:.2} × the CPU of one consume.\n", median(ratios))
}

fn line(case: Case, place: usize, rounds: &[Round]) -> String {
    let of = |value: fn(&Measured) -> f64| median(rounds.iter().map(|round| value(&round[place])));
    let ratio = median(rounds.iter().map(|round| round[place].cpu_us / round[0].cpu_us));
    let (rate, cpu, redis, lag) =
        (of(|it| it.rate), of(|it| it.cpu_us), of(|it| it.redis_us), of(|it| it.lag));
    let (p50, p99) = (of(|it| it.p50_us) / 1_000.0, of(|it| it.p99_us) / 1_000.0);
    format!(
        "| {} | {rate:.0} | {p50:.2} | {p99:.2} | {cpu:.1} | {redis:.1} | {ratio:.2} | {lag:.0} |\n",
        case.name()
    )
}

fn drained(drains: &[Drain]) -> String {
    let flushed = median(drains.iter().map(|it| it.flushed));
    let copied = median(drains.iter().map(|it| it.copied));
    let ratio = median(drains.iter().map(|it| it.flushed / it.copied));
    format!(
        "\n| a full outbox | rows/s |\n|---|--:|\n\
         | flusher: log, counters and cursor | {flushed:.0} |\n\
         | `COPY` of the same rows into a table with the same indexes, no counters | {copied:.0} |\n\
         | ratio | {ratio:.2} |\n"
    )
}

fn conditions(plan: Plan) -> String {
    format!(
        "{}. {CONNECTIONS} connections, {} subjects, {} rounds of {} s a case, {} worker thread(s), {} shard(s).",
        page::machine(),
        plan.subjects,
        plan.rounds,
        plan.length.as_secs(),
        plan.workers,
        plan.shards
    )
}

/// The middle value; of two middle ones the mean. NaN when there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.get(half) {
        None => f64::NAN,
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(values[half - 1], *upper),
    }
}
