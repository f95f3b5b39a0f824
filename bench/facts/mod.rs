//! `headroom-bench facts`: what facts cost. How fast the flusher keeps rollups, and how long analysts wait for answers
//! while the log grows.

mod ask;
mod fill;
mod keep;
mod rollups;

use headroom::embedded::PostgresServer;
use headroom::ledger::Ledger;
use headroom::ledger::LedgerOptions;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::NoTls;

use crate::Failure;
use crate::Plan;
use crate::page::machine;

/// A statement over 50 million rows takes its time.
const STATEMENT_TIMEOUT_MS: u64 = 3_600_000;

/// A database of its own with the schema.
struct Database {
    ledger: Ledger,
    client: Client,
    _connections: JoinSet<()>,
}

/// Measures, and answers the section of docs/BENCHMARKS.md.
pub(crate) async fn run(
    postgres: &PostgresServer,
    plan: Plan,
    millions: &[u64],
) -> Result<String, Failure> {
    let kept =
        keep::keep(postgres, plan.drain_rounds, plan.drain_events * 10, plan.subjects).await?;
    let mut columns = Vec::new();
    for &millions in millions {
        let database = database(postgres, &format!("facts_{millions}")).await?;
        fill::fill(&database, millions * 1_000_000, plan.subjects).await?;
        columns.push((millions, ask::ask(&database).await?));
        drop(database);
        drop_database(postgres, &format!("facts_{millions}")).await?;
    }
    Ok(format!(
        "{}. {} subjects.\n\n{}\n{}",
        machine(),
        plan.subjects,
        rates(&kept),
        waits_of(&columns)
    ))
}

/// Measures the answers over the rollups of a log of so many million rows, and answers the section of docs/BENCHMARKS.md.
pub(crate) async fn run_rollups(
    postgres: &PostgresServer,
    plan: Plan,
    millions: u64,
) -> Result<String, Failure> {
    let name = format!("rollups_{millions}");
    let database = database(postgres, &name).await?;
    let rows = rollups::fill(&database, millions * 1_000_000, plan.subjects).await?;
    let waits = ask::ask_rollups(&database.ledger).await?;
    drop(database);
    drop_database(postgres, &name).await?;
    let text = waits_of(&[(millions, waits)]);
    Ok(format!(
        "{}. {} subjects; {rows} rows by the day, subject, metric and model.\n\n{text}",
        machine(),
        plan.subjects
    ))
}

fn rates(kept: &keep::Kept) -> String {
    let (flushed, logged) = (kept.flushed(), kept.logged());
    let ratio = flushed / logged;
    format!(
        "| writing the same rows | rows/s |\n|---|--:|\n\
         | flush: log, counters, rollups and cursor, with all folds | {flushed:.0} |\n\
         | bare insert: the log alone | {logged:.0} |\n\
         | ratio | {ratio:.2} |\n"
    )
}

fn waits_of(columns: &[(u64, Vec<ask::Wait>)]) -> String {
    let Some((_, first)) = columns.first() else { return String::new() };
    let heads: Vec<String> =
        columns.iter().map(|(millions, _)| format!(" {millions} million |")).collect();
    let mut text = format!(
        "| milliseconds until the answer, rows in the log |{}\n|---|{}\n",
        heads.concat(),
        "--:|".repeat(columns.len())
    );
    for (place, wait) in first.iter().enumerate() {
        let cells: Vec<String> =
            columns.iter().map(|(_, waits)| format!(" {:.1} |", waits[place].median_ms)).collect();
        text.push_str(&["| ", wait.question, " |", &cells.concat(), "\n"].concat());
    }
    text
}

async fn database(postgres: &PostgresServer, name: &str) -> Result<Database, Failure> {
    let mut connections = JoinSet::new();
    let owner = connect(&postgres.url("headroom"), &mut connections).await?;
    owner.batch_execute(&format!("CREATE DATABASE {name}")).await?;
    let url = postgres.url(name);
    Ledger::migrate(&url, 1).await?;
    let client = connect(&url, &mut connections).await?;
    let options = LedgerOptions {
        url,
        pool_max: 2,
        connect_timeout_ms: 10_000,
        statement_timeout_ms: STATEMENT_TIMEOUT_MS,
    };
    Ok(Database { ledger: Ledger::connect(&options)?, client, _connections: connections })
}

async fn drop_database(postgres: &PostgresServer, name: &str) -> Result<(), Failure> {
    let mut connections = JoinSet::new();
    let owner = connect(&postgres.url("headroom"), &mut connections).await?;
    owner.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await?;
    Ok(())
}

async fn connect(url: &str, connections: &mut JoinSet<()>) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    connections.spawn(async {
        // It ends with the client.
        let _ = connection.await;
    });
    Ok(client)
}
