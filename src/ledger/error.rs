//! Why the ledger gave no answer.

use deadpool_postgres::PoolError;
use tokio_postgres::error::SqlState;

/// What lies behind a [`LedgerError`].
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the ledger gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Postgres cannot be reached, is stopping, has no room or did not answer in time. A commit may have happened
    /// nevertheless: read the cursor again before trying again.
    #[error("postgres is unavailable")]
    Unavailable(#[source] Cause),
    /// A deadlock, a serialization failure, a lock that was not given in time, or a partition made at this moment.
    /// Nothing was written; the same call may be made again.
    #[error("postgres asks for the transaction to be tried again")]
    Conflict(#[source] Cause),
    /// The shard's cursor is not where the batch begins: somebody else flushed or recovered. Nothing was written.
    #[error("the cursor of the shard has moved")]
    CursorMoved,
    /// Something in the data cannot be stored. Nothing was written, and the same data will fail again.
    #[error("postgres cannot take the data")]
    BadData(#[source] Cause),
    /// The schema could not be brought up to date, or was never made.
    #[error("the schema of the ledger is not ready, `headroom migrate` makes it")]
    Migration(#[source] Cause),
    /// The connection string cannot be read. The cause names no part of it.
    #[error("the connection string of the ledger is wrong")]
    BadUrl(#[source] Cause),
    /// A bug, or rights that are missing.
    #[error("the ledger failed")]
    Internal(#[source] Cause),
}

impl LedgerError {
    /// The error of a statement.
    pub(super) fn of_statement(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(answer) => Class::of(answer).wrap(error.into()),
            None if is_transport(&error) => Self::Unavailable(error.into()),
            None => Self::Internal(error.into()),
        }
    }

    /// The error of taking a connection from the pool: whatever it is, there is no connection.
    pub(super) fn of_pool(error: PoolError) -> Self {
        match error {
            PoolError::NoRuntimeSpecified => Self::Internal(error.into()),
            _ => Self::Unavailable(error.into()),
        }
    }
}

fn is_transport(error: &tokio_postgres::Error) -> bool {
    let cause = std::error::Error::source(error);
    error.is_closed() || cause.is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// A table, column or function that a migration makes.
fn is_missing_from_schema(code: &SqlState) -> bool {
    [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::UNDEFINED_FUNCTION]
        .contains(code)
}

#[derive(Clone, Copy)]
enum Class {
    Unavailable,
    Conflict,
    BadData,
    Migration,
    Internal,
}

impl Class {
    /// The class of an answer by its SQLSTATE (Appendix A of the Postgres manual).
    fn of(answer: &tokio_postgres::error::DbError) -> Self {
        let code = answer.code();
        if [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(code)
            || *code == SqlState::LOCK_NOT_AVAILABLE
        {
            return Self::Conflict;
        }
        // A row on its way to the default partition while its own month is attached is refused by the partition's
        // bound, which is a check without a name. The next try finds the month.
        if *code == SqlState::CHECK_VIOLATION && answer.constraint().is_none() {
            return Self::Conflict;
        }
        if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
            return Self::Unavailable; // Connected to a standby: a failover is going on.
        }
        match code.code().get(..2) {
            // Connection, credentials, database, resources, cancelled or shutting down, system errors.
            Some("08" | "28" | "3D" | "53" | "57" | "58") => Self::Unavailable,
            // Data, constraints, limits of the program such as the size of an index row.
            Some("22" | "23" | "54") => Self::BadData,
            _ if is_missing_from_schema(code) => Self::Migration,
            _ => Self::Internal,
        }
    }

    fn wrap(self, cause: Cause) -> LedgerError {
        match self {
            Self::Unavailable => LedgerError::Unavailable(cause),
            Self::Conflict => LedgerError::Conflict(cause),
            Self::BadData => LedgerError::BadData(cause),
            Self::Migration => LedgerError::Migration(cause),
            Self::Internal => LedgerError::Internal(cause),
        }
    }
}
