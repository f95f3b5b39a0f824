//! The query of a page of the log.

use std::borrow::Cow;

use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::EventKind;
use crate::domain::Metric;
use crate::http::error::ApiError;
use crate::quota::DENIED;
use crate::quota::LogFilter;
use crate::quota::LogPlace;

const LIMIT_MAX: u32 = 1_000;
const LIMIT_DEFAULT: u32 = 100;
const MODEL_BYTES_MAX: usize = 128;
/// What rows there are beside those of events: grants, which are made in Postgres, and refusals.
const OTHER_KINDS: [&str; 2] = ["grant", DENIED];

/// Which rows are asked for: those that fit all that is given.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogsQuery {
    /// Not before.
    #[param(example = "2026-11-01T00:00:00Z")]
    from: Option<DateTime<Utc>>,
    /// Before.
    #[param(example = "2026-12-01T00:00:00Z")]
    to: Option<DateTime<Utc>>,
    /// The chat model.
    #[param(example = "claude-sonnet-4", max_length = 128)]
    model: Option<String>,
    /// A metric that was charged, or whose limit refused.
    #[param(example = "premium_messages", max_length = 64)]
    metric: Option<String>,
    /// The kind of event, such as `consume` or `reset`, or `denied` for refusals.
    #[param(example = "denied")]
    kind: Option<String>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// The most rows of a page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

impl LogsQuery {
    /// The filter, checked, on all that lies within a subject.
    pub(super) fn filter<'a>(&'a self, within: Option<&'a str>) -> Result<LogFilter<'a>, ApiError> {
        let (from, to) = (self.from, self.to);
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            return Err(ApiError::invalid("to", "must be after from"));
        }
        Ok(LogFilter {
            within,
            from,
            to,
            model: self.model()?,
            metric: self.metric()?,
            kind: self.kind()?,
            after: self.cursor.as_deref().map(place_of).transpose()?,
        })
    }

    pub(super) fn limit(&self) -> Result<u32, ApiError> {
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT);
        let is_within = (1..=LIMIT_MAX).contains(&limit);
        is_within.then_some(limit).ok_or_else(|| ApiError::invalid("limit", "must be 1 to 1000"))
    }

    /// The query of the next page.
    pub(super) fn with_cursor(&self, cursor: &str) -> String {
        let instant = |at: &DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let pairs = [
            ("from", self.from.as_ref().map(instant).map(Cow::from)),
            ("to", self.to.as_ref().map(instant).map(Cow::from)),
            ("model", self.model.as_deref().map(Cow::from)),
            ("metric", self.metric.as_deref().map(Cow::from)),
            ("kind", self.kind.as_deref().map(Cow::from)),
            ("limit", self.limit.map(|limit| limit.to_string().into())),
            ("cursor", Some(Cow::from(cursor))),
        ];
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs.into_iter().filter_map(|(name, value)| Some((name, value?))));
        query.finish()
    }

    fn model(&self) -> Result<Option<&str>, ApiError> {
        let is_model = |name: &str| {
            (1..=MODEL_BYTES_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        match self.model.as_deref() {
            Some(name) if !is_model(name) => {
                Err(ApiError::invalid("model", "must be 1 to 128 visible ascii characters"))
            }
            model => Ok(model),
        }
    }

    fn metric(&self) -> Result<Option<&str>, ApiError> {
        let Some(name) = self.metric.as_deref() else { return Ok(None) };
        Metric::new(name).map_err(|error| ApiError::invalid("metric", error))?;
        Ok(Some(name))
    }

    fn kind(&self) -> Result<Option<&str>, ApiError> {
        match self.kind.as_deref() {
            Some(kind) if !kinds().any(|known| known == kind) => {
                let kinds: Vec<&str> = kinds().collect();
                Err(ApiError::invalid("kind", format_args!("must be one of {}", kinds.join(", "))))
            }
            kind => Ok(kind),
        }
    }
}

/// The kinds of rows.
fn kinds() -> impl Iterator<Item = &'static str> {
    EventKind::ALL.into_iter().map(EventKind::as_str).chain(OTHER_KINDS)
}

/// A place as a cursor.
pub(super) fn cursor_of(place: LogPlace) -> String {
    format!("{}.{}", place.occurred_at.timestamp_micros(), place.id.simple())
}

fn place_of(cursor: &str) -> Result<LogPlace, ApiError> {
    let place = cursor.split_once('.').and_then(|(at_us, id)| {
        let occurred_at = DateTime::from_timestamp_micros(at_us.parse().ok()?)?;
        Some(LogPlace { occurred_at, id: Uuid::try_parse(id).ok()? })
    });
    let known =
        place.filter(|place| (1970..10_000).contains(&chrono::Datelike::year(&place.occurred_at)));
    known.ok_or_else(|| ApiError::invalid("cursor", "must be the next_cursor of another answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_its_place_and_nothing_else_is_one() {
        let occurred_at = DateTime::from_timestamp_millis(1_795_305_600_123).unwrap();
        let place = LogPlace { occurred_at, id: Uuid::from_u128(7) };
        assert_eq!(place_of(&cursor_of(place)).unwrap(), place);
        for wrong in [
            "",
            ".",
            "7",
            "7.x",
            "x.00000000000000000000000000000007",
            "9223372036854775807.00000000000000000000000000000007",
        ] {
            assert!(place_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_next_page_keeps_the_filter() {
        let query = LogsQuery {
            from: DateTime::from_timestamp_millis(1_795_305_600_000),
            model: Some("a+b/c".to_owned()),
            limit: Some(2),
            ..LogsQuery::default()
        };
        assert_eq!(
            query.with_cursor("7.x"),
            "from=2026-11-22T00%3A00%3A00Z&model=a%2Bb%2Fc&limit=2&cursor=7.x"
        );
    }

    #[test]
    fn what_no_row_can_have_is_refused_with_the_rule() {
        let query = |field: &str, value: &str| {
            let value = Some(value.to_owned());
            match field {
                "model" => LogsQuery { model: value, ..LogsQuery::default() },
                "metric" => LogsQuery { metric: value, ..LogsQuery::default() },
                _ => LogsQuery { kind: value, ..LogsQuery::default() },
            }
        };
        for (field, value) in [("model", "a b"), ("model", ""), ("metric", "A"), ("kind", "gift")] {
            let error = query(field, value).filter(None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field} must be")), "{error}");
        }
        assert!(query("kind", "denied").filter(None).is_ok());
        assert!(LogsQuery { limit: Some(1_001), ..LogsQuery::default() }.limit().is_err());
    }
}
