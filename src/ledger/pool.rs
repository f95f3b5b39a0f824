//! Connections and their limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Hook;
use deadpool_postgres::HookError;
use deadpool_postgres::Manager;
use deadpool_postgres::ManagerConfig;
use deadpool_postgres::Pool;
use deadpool_postgres::RecyclingMethod;
use deadpool_postgres::Runtime;
use tokio_postgres::NoTls;

use super::error::LedgerError;

/// How long a statement waits for a lock at most. A conflict answers early and is tried again by the caller.
const LOCK_TIMEOUT_MS: u64 = 2_000;
/// How long a transaction may do nothing: a recovery reads Redis between its statements.
const IDLE_IN_TRANSACTION_TIMEOUT_MS: u64 = 60_000;
/// What an answer may take beyond the statement's own time-out, which Postgres enforces.
const ANSWER_SLACK_MS: u64 = 1_000;

/// How long to wait for the answer to a statement that reads whole tables.
pub(super) const SNAPSHOT_WITHIN: Duration = Duration::from_secs(601);

/// Where the ledger is and how patient to be.
#[derive(Clone)]
pub struct LedgerOptions {
    /// The connection string, `postgres://user:secret@host/database`. Never shown.
    pub url: String,
    /// The most connections at once; at least 1.
    pub pool_max: usize,
    /// How long to wait for a connection.
    pub connect_timeout_ms: u64,
    /// How long one statement may run.
    pub statement_timeout_ms: u64,
}

impl fmt::Debug for LedgerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerOptions")
            .field("pool_max", &self.pool_max)
            .field("connect_timeout_ms", &self.connect_timeout_ms)
            .field("statement_timeout_ms", &self.statement_timeout_ms)
            .finish_non_exhaustive()
    }
}

/// How long to wait for the answer to one statement.
pub(super) fn answer_within(options: &LedgerOptions) -> Duration {
    Duration::from_millis(options.statement_timeout_ms.saturating_add(ANSWER_SLACK_MS))
}

/// The pool, without a connection yet.
pub(super) fn open(options: &LedgerOptions) -> Result<Pool, LedgerError> {
    let connect_timeout = Duration::from_millis(options.connect_timeout_ms);
    let manager = Manager::from_config(
        connection(options)?,
        NoTls,
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    Pool::builder(manager)
        .max_size(options.pool_max.max(1))
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(connect_timeout))
        .create_timeout(Some(connect_timeout))
        .recycle_timeout(Some(connect_timeout))
        .post_create(limited(options))
        .build()
        .map_err(|error| LedgerError::Internal(error.into()))
}

/// Sets the limits that Postgres is to enforce, as the first statement of a connection: PgBouncer refuses or drops what stands
/// in the startup packet, and a session of its pool begins without what others set.
fn limited(options: &LedgerOptions) -> Hook {
    let statement_timeout_ms = options.statement_timeout_ms;
    let lock_timeout_ms = LOCK_TIMEOUT_MS.min(statement_timeout_ms);
    let within = Duration::from_millis(options.connect_timeout_ms);
    let sql: Arc<str> = format!(
        "-- limit_session
SET statement_timeout = {statement_timeout_ms};
SET lock_timeout = {lock_timeout_ms};
SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_TIMEOUT_MS};
SET default_transaction_isolation = 'read committed';
SET search_path = public"
    )
    .into();
    Hook::async_fn(move |client, _| {
        let sql = sql.clone();
        Box::pin(async move {
            let set = tokio::time::timeout(within, client.batch_execute(&sql)).await;
            let set = set.map_err(|_| HookError::message("a new connection does not answer"))?;
            set.map_err(HookError::Backend)
        })
    })
}

/// The connection string, with what it leaves open.
fn connection(options: &LedgerOptions) -> Result<tokio_postgres::Config, LedgerError> {
    let mut config: tokio_postgres::Config =
        options.url.parse().map_err(|_| LedgerError::BadUrl("it cannot be parsed".into()))?;
    if config.get_application_name().is_none() {
        config.application_name("headroom");
    }
    config.connect_timeout(Duration::from_millis(options.connect_timeout_ms));
    config.tcp_user_timeout(answer_within(options));
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_startup_packet_asks_for_nothing_that_pgbouncer_refuses() {
        let options = LedgerOptions {
            url: "postgres://headroom@127.0.0.1/headroom".to_owned(),
            pool_max: 1,
            connect_timeout_ms: 1_000,
            statement_timeout_ms: 1_000,
        };
        assert_eq!(connection(&options).unwrap().get_options(), None);
    }
}
