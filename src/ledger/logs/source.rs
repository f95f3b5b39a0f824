//! One table, of one subject, of all below it or of everybody: what an index gives in order.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::convert::unsigned;
use super::super::error::LedgerError;
use super::super::tx::Connection;
use super::super::tx::column;
use super::LogFilter;
use super::LogPlace;
use super::LogRow;
use super::Part;

/// The most rows of a table that one page looks at.
const LOOKED_AT_MAX: usize = 100_000;

const EVENTS: &str = "SELECT
    event_id AS id, occurred_at, subject, kind, model, plan, charges::text AS charges, charges AS charged,
    NULL::text AS code, NULL::text AS limit_name, NULL::bigint AS amount,
    request_id, trace_id, metadata::text AS metadata
FROM message_logs";

const DENIALS: &str = "SELECT
    denial_id AS id, denied_at AS occurred_at, subject, 'denied' AS kind, model, plan,
    '{}' AS charges, coalesce(metric, '') AS charged, code, limit_name, amount,
    request_id, trace_id, NULL::text AS metadata
FROM denials";

/// Whose rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Of the subject itself.
    Itself,
    /// Of all below the subject.
    Below,
    /// Of all subjects.
    Everybody,
}

/// One table, as far as one reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// Whether it is the log of events; that of refusals otherwise.
    pub(super) is_event: bool,
    pub(super) reach: Reach,
}

/// A statement as it grows: a statement for each shape of the filter, since one that fits all has no index that fits.
struct Statement<'a> {
    params: Vec<&'a (dyn ToSql + Sync)>,
    /// What an index gives in order.
    found: String,
    /// What is looked at row by row.
    picked: String,
}

impl<'a> Statement<'a> {
    /// Adds a condition in which `?` stands for the value.
    fn and(&mut self, condition: &str, value: &'a (dyn ToSql + Sync), is_indexed: bool) {
        self.params.push(value);
        let condition = condition.replace('?', &format!("${}", self.params.len()));
        let list = if is_indexed { &mut self.found } else { &mut self.picked };
        let word = if list.is_empty() { "WHERE" } else { "AND" };
        for text in [" ", word, " ", &condition] {
            list.push_str(text);
        }
    }
}

impl Source {
    /// At most `limit` rows and one, which tells that there are more.
    pub(super) async fn read(
        self,
        connection: &Connection,
        filter: &LogFilter<'_>,
        limit: usize,
    ) -> Result<Part, LedgerError> {
        let (at, id) = self.columns();
        let place = filter.after.map(|place| (place.occurred_at, place.id));
        let statement = self.statement(filter, place.as_ref());
        let (table, found, picked) = (self.table(), &statement.found, &statement.picked);
        let order = format!("ORDER BY {at} DESC, {id} DESC");
        let looked_at = format!("{table}{found} {order} LIMIT {LOOKED_AT_MAX}");
        let sql = format!(
            "-- log_page\nSELECT * FROM ({looked_at}) AS looked_at{picked} \
             ORDER BY occurred_at DESC, id DESC LIMIT {}",
            limit + 1
        );
        let rows = connection.rows(&sql, &statement.params).await?;
        let rows: Vec<LogRow> = rows.iter().map(read).collect::<Result<_, _>>()?;
        let reaches = match rows.get(limit) {
            Some(row) => Some(row.place()),
            None if picked.is_empty() => None,
            None => self.last_looked_at(connection, filter, &order).await?,
        };
        Ok(Part { rows, reaches })
    }

    /// The last place that a page looks at, when there are more.
    async fn last_looked_at(
        self,
        connection: &Connection,
        filter: &LogFilter<'_>,
        order: &str,
    ) -> Result<Option<LogPlace>, LedgerError> {
        let place = filter.after.map(|place| (place.occurred_at, place.id));
        let unpicked = LogFilter { model: None, metric: None, kind: None, ..*filter };
        let statement = self.statement(&unpicked, place.as_ref());
        let (table, found, params) = (self.table(), &statement.found, &statement.params);
        let sql =
            format!("-- log_page_end\n{table}{found} {order} LIMIT 1 OFFSET {}", LOOKED_AT_MAX - 1);
        let rows = connection.rows(&sql, params).await?;
        rows.first().map(|row| read(row).map(|row| row.place())).transpose()
    }

    fn statement<'a>(
        self,
        filter: &'a LogFilter<'_>,
        after: Option<&'a (chrono::DateTime<chrono::Utc>, uuid::Uuid)>,
    ) -> Statement<'a> {
        let (at, id) = self.columns();
        let mut statement =
            Statement { params: Vec::new(), found: String::new(), picked: String::new() };
        self.add_reach(&mut statement, filter);
        if let Some(from) = &filter.from {
            statement.and(&format!("{at} >= ?"), from, true);
            self.add_months(&mut statement, from, ">= message_log_bound(date_trunc('month', ?::timestamptz - interval '1 day', 'UTC'))");
        }
        if let Some(to) = &filter.to {
            statement.and(&format!("{at} < ?"), to, true);
            self.add_months(
                &mut statement,
                to,
                "< message_log_bound(?::timestamptz + interval '1 day')",
            );
        }
        if let Some((occurred_at, after_id)) = after {
            statement.params.push(occurred_at);
            let place = statement.params.len();
            let condition = format!("({at}, {id}) < (${place}, ?)");
            statement.and(&condition, after_id, true);
        }
        if let Some(model) = &filter.model {
            statement.and("model = ?", model, false);
        }
        if let Some(metric) = &filter.metric {
            let condition = if self.is_event { "jsonb_exists(charged, ?)" } else { "charged = ?" };
            statement.and(condition, metric, false);
        }
        if let Some(kind) = filter.kind.as_ref().filter(|_| self.is_event) {
            statement.and("kind = ?", kind, false);
        }
        statement
    }

    fn add_reach<'a>(self, statement: &mut Statement<'a>, filter: &'a LogFilter<'_>) {
        let Some(subject) = &filter.within else { return };
        match self.reach {
            Reach::Itself => statement.and("subject = ?", subject, true),
            Reach::Below => {
                statement.and("subject > ?::text || '/'", subject, true);
                statement.and("subject < ?::text || '0'", subject, true);
            }
            Reach::Everybody => {}
        }
    }

    /// The months in which such an event can be: its id is of the day of the request, or of the month's first under an
    /// idempotency key.
    fn add_months<'a>(
        self,
        statement: &mut Statement<'a>,
        at: &'a (dyn ToSql + Sync),
        condition: &str,
    ) {
        if self.is_event {
            statement.and(&format!("event_id {condition}"), at, true);
        }
    }

    const fn table(self) -> &'static str {
        if self.is_event { EVENTS } else { DENIALS }
    }

    const fn columns(self) -> (&'static str, &'static str) {
        if self.is_event { ("occurred_at", "event_id") } else { ("denied_at", "denial_id") }
    }
}

fn read(row: &Row) -> Result<LogRow, LedgerError> {
    Ok(LogRow {
        id: column(row, "id")?,
        occurred_at: column(row, "occurred_at")?,
        subject: column(row, "subject")?,
        kind: column(row, "kind")?,
        model: column(row, "model")?,
        plan: column(row, "plan")?,
        charges: column(row, "charges")?,
        code: column(row, "code")?,
        limit: column(row, "limit_name")?,
        amount: column::<Option<i64>>(row, "amount")?.map(unsigned).transpose()?,
        request_id: column(row, "request_id")?,
        trace_id: column(row, "trace_id")?,
        metadata: column(row, "metadata")?,
    })
}
