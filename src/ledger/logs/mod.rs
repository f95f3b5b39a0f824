//! Pages of what happened: the events of `message_logs` and the refusals of `denials`, newest first.

mod source;

use chrono::DateTime;
use chrono::Utc;
use uuid::Uuid;

use super::Ledger;
use super::error::LedgerError;

use self::source::Reach;
use self::source::Source;

/// The kind of the rows that are refusals.
pub const DENIED: &str = "denied";
/// The most rows in one page.
const ROWS_MAX: u32 = 1_000;

/// Which rows are asked for: those that fit all that is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogFilter<'a> {
    /// A subject: rows of it and of all below it.
    pub within: Option<&'a str>,
    /// Not before.
    pub from: Option<DateTime<Utc>>,
    /// Before.
    pub to: Option<DateTime<Utc>>,
    /// The chat model.
    pub model: Option<&'a str>,
    /// A metric that was charged, or whose limit refused.
    pub metric: Option<&'a str>,
    /// A kind of event, or [`DENIED`]; all when `None`.
    pub kind: Option<&'a str>,
    /// Only rows after this place, in the order of pages.
    pub after: Option<LogPlace>,
}

/// Where a page ends: the order is that of time, and of ids within a millisecond; later ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// The row's id.
    pub id: Uuid,
}

/// What happened: an event or a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// The event's id, or the refusal's.
    pub id: Uuid,
    /// When Redis decided.
    pub occurred_at: DateTime<Utc>,
    /// The whole path.
    pub subject: String,
    /// The kind of event, or [`DENIED`].
    pub kind: String,
    /// The chat model that was asked for.
    pub model: Option<String>,
    /// The plan whose limits were in force.
    pub plan: String,
    /// Units charged by metric, as JSON text; `{}` for a refusal.
    pub charges: String,
    /// Why it was refused.
    pub code: Option<String>,
    /// The limit that left no room.
    pub limit: Option<String>,
    /// How much a refused request asked for.
    pub amount: Option<u64>,
    /// The request's id, when it is not the event's own.
    pub request_id: Option<String>,
    /// The W3C trace id.
    pub trace_id: Option<String>,
    /// The caller's own data, as JSON text.
    pub metadata: Option<String>,
}

impl LogRow {
    const fn place(&self) -> LogPlace {
        LogPlace { occurred_at: self.occurred_at, id: self.id }
    }
}

/// Some rows, and where the next page begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// Newest first.
    pub rows: Vec<LogRow>,
    /// Where to go on; none after the last row.
    pub next: Option<LogPlace>,
}

/// The rows of one source, complete as far as they reach.
struct Part {
    rows: Vec<LogRow>,
    /// Later places than this one are complete; all are when `None`.
    reaches: Option<LogPlace>,
}

impl Ledger {
    /// The rows that fit the filter, the newest first; at most `limit` and at most 1,000. Asks the analysts' store.
    ///
    /// A page looks at no more than 100,000 rows of a table, so one with a filter that little fits may hold fewer rows than
    /// asked for, or none, and still say where to go on.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Unavailable`] and the like.
    pub async fn log_page(
        &self,
        filter: &LogFilter<'_>,
        limit: u32,
    ) -> Result<LogPage, LedgerError> {
        let limit = limit.clamp(1, ROWS_MAX) as usize;
        let connection = self.analyst().await?;
        let mut parts = Vec::new();
        for source in sources(filter) {
            parts.push(source.read(&connection, filter, limit).await?);
        }
        Ok(merge(parts, limit))
    }
}

/// What has to be read: a subject and what lies below it apart, since an index gives each in order but not both.
fn sources(filter: &LogFilter<'_>) -> Vec<Source> {
    let reaches = if filter.within.is_some() {
        &[Reach::Itself, Reach::Below][..]
    } else {
        &[Reach::Everybody][..]
    };
    let (events, denials) = match filter.kind {
        None => (true, true),
        Some(kind) => (kind != DENIED, kind == DENIED),
    };
    let tables = [(events, true), (denials, false)].into_iter().filter(|(is_read, _)| *is_read);
    let of_table =
        |(_, is_event)| reaches.iter().map(move |reach| Source { is_event, reach: *reach });
    tables.flat_map(of_table).collect()
}

/// The newest rows of all parts, down to where every part is complete.
fn merge(parts: Vec<Part>, limit: usize) -> LogPage {
    let reaches = parts.iter().filter_map(|part| part.reaches).max();
    let mut rows: Vec<LogRow> = parts.into_iter().flat_map(|part| part.rows).collect();
    rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.place()));
    rows.retain(|row| reaches.is_none_or(|reaches| row.place() >= reaches));
    let is_cut = rows.len() > limit;
    rows.truncate(limit);
    let next = if is_cut { rows.last().map(LogRow::place) } else { reaches };
    LogPage { rows, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at_ms: i64) -> LogRow {
        LogRow {
            id: Uuid::nil(),
            occurred_at: DateTime::from_timestamp_millis(at_ms).unwrap(),
            subject: "user:u_1".to_owned(),
            kind: DENIED.to_owned(),
            model: None,
            plan: String::new(),
            charges: "{}".to_owned(),
            code: None,
            limit: None,
            amount: None,
            request_id: None,
            trace_id: None,
            metadata: None,
        }
    }

    fn part(ats_ms: &[i64], reaches_ms: Option<i64>) -> Part {
        let reaches = reaches_ms.map(|at_ms| row(at_ms).place());
        Part { rows: ats_ms.iter().map(|at_ms| row(*at_ms)).collect(), reaches }
    }

    fn ats(page: &LogPage) -> Vec<i64> {
        page.rows.iter().map(|row| row.occurred_at.timestamp_millis()).collect()
    }

    #[test]
    fn a_page_ends_where_its_least_complete_part_does() {
        let page = merge(vec![part(&[9, 7, 5], Some(5)), part(&[8, 3], None)], 10);
        assert_eq!((ats(&page), page.next), (vec![9, 8, 7, 5], Some(row(5).place())));
        let page = merge(vec![part(&[], Some(6)), part(&[8, 3], None)], 10);
        assert_eq!((ats(&page), page.next), (vec![8], Some(row(6).place())));
    }

    #[test]
    fn a_full_page_goes_on_after_its_last_row_and_the_last_page_does_not() {
        let page = merge(vec![part(&[9, 7], None), part(&[8], None)], 2);
        assert_eq!((ats(&page), page.next), (vec![9, 8], Some(row(8).place())));
        let page = merge(vec![part(&[9, 7], None), part(&[8], None)], 3);
        assert_eq!((ats(&page), page.next), (vec![9, 8, 7], None));
    }
}
