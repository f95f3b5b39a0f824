//! Connections and transactions whose every statement is bounded in time.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deadpool_postgres::Object;
use deadpool_postgres::Pool;
use tokio_postgres::Row;
use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::types::ToSql;

use super::error::LedgerError;

/// The values of a statement's parameters.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Why a connection that is in use is open.
const OPEN: &str = "a connection is closed only when it is dropped";

/// A connection of the pool, outside any transaction.
///
/// It goes back to the pool when it is dropped, unless an answer is overdue: the next statement on it would wait for that
/// answer too, and a network that swallowed it will not bring it back.
pub(super) struct Connection {
    /// `None` once it is closed.
    object: Option<Object>,
    answer_within: Duration,
    is_overdue: AtomicBool,
}

impl Connection {
    pub(super) async fn take(pool: &Pool, answer_within: Duration) -> Result<Self, LedgerError> {
        let object = pool.get().await.map_err(LedgerError::of_pool)?;
        Ok(Self { object: Some(object), answer_within, is_overdue: AtomicBool::new(false) })
    }

    /// The rows that a statement answers.
    pub(super) async fn rows(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, LedgerError> {
        self.bounded(async {
            let statement = self.object().prepare_cached(sql).await?;
            self.object().query(&statement, params).await
        })
        .await
    }

    /// The one row that a statement answers.
    pub(super) async fn row(&self, sql: &str, params: Params<'_>) -> Result<Row, LedgerError> {
        let mut rows = self.rows(sql, params).await?;
        rows.pop().ok_or_else(|| LedgerError::Internal("a statement answered no row".into()))
    }

    /// How many rows a statement changed.
    pub(super) async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, LedgerError> {
        self.bounded(async {
            let statement = self.object().prepare_cached(sql).await?;
            self.object().execute(&statement, params).await
        })
        .await
    }

    /// Runs statements without parameters or answers.
    pub(super) async fn run(&self, sql: &str) -> Result<(), LedgerError> {
        self.bounded(self.object().batch_execute(sql)).await
    }

    /// Lends the connection to the migration runner.
    pub(super) fn client_mut(&mut self) -> &mut tokio_postgres::Client {
        self.object.as_mut().expect(OPEN)
    }

    /// Postgres ends a statement that runs too long, but a server that hangs or a network that swallows packets
    /// would be waited for without end.
    async fn bounded<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, LedgerError> {
        match tokio::time::timeout(self.answer_within, answer).await {
            Ok(answer) => answer.map_err(LedgerError::of_statement),
            Err(elapsed) => {
                self.is_overdue.store(true, Ordering::Relaxed);
                Err(LedgerError::Unavailable(elapsed.into()))
            }
        }
    }

    fn object(&self) -> &Object {
        self.object.as_ref().expect(OPEN)
    }

    /// Ends the connection instead of giving it back.
    fn close(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.is_overdue.load(Ordering::Relaxed) {
            self.close();
        }
    }
}

/// A transaction that owns its connection.
///
/// Unless it is committed or rolled back its connection is closed, which rolls back: a future that is dropped
/// half-way leaves neither a write nor a lock.
pub(super) struct Tx {
    connection: Option<Connection>,
}

impl Tx {
    /// Begins with `sql`, a `BEGIN` of some sort.
    pub(super) async fn begin(connection: Connection, sql: &str) -> Result<Self, LedgerError> {
        let tx = Self { connection: Some(connection) };
        tx.run(sql).await?;
        Ok(tx)
    }

    pub(super) async fn rows(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, LedgerError> {
        self.connection().rows(sql, params).await
    }

    pub(super) async fn row(&self, sql: &str, params: Params<'_>) -> Result<Row, LedgerError> {
        self.connection().row(sql, params).await
    }

    pub(super) async fn execute(&self, sql: &str, params: Params<'_>) -> Result<u64, LedgerError> {
        self.connection().execute(sql, params).await
    }

    pub(super) async fn run(&self, sql: &str) -> Result<(), LedgerError> {
        self.connection().run(sql).await
    }

    /// Commits when `outcome` is a success and rolls back otherwise.
    pub(super) async fn end<T>(self, outcome: Result<T, LedgerError>) -> Result<T, LedgerError> {
        match outcome {
            Ok(value) => self.commit().await.map(|()| value),
            Err(error) => {
                self.roll_back().await;
                Err(error)
            }
        }
    }

    pub(super) async fn commit(mut self) -> Result<(), LedgerError> {
        self.run("-- commit\nCOMMIT").await?;
        self.connection = None;
        Ok(())
    }

    /// Gives the connection back to the pool, or closes it when even that fails.
    pub(super) async fn roll_back(mut self) {
        if self.run("-- roll_back\nROLLBACK").await.is_ok() {
            self.connection = None;
        }
    }

    fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("only commit and roll_back take it, and they consume self")
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close();
        }
    }
}

/// The value of a column.
pub(super) fn column<T: FromSqlOwned>(row: &Row, name: &str) -> Result<T, LedgerError> {
    row.try_get(name).map_err(LedgerError::of_statement)
}
