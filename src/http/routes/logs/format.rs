//! The same page as JSON, as CSV (RFC 4180) and as JSON lines.

use std::fmt::Write;

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use chrono::SecondsFormat;

use super::body::LogBody;
use super::body::LogsBody;
use super::body::request_id;
use crate::http::error::ApiError;
use crate::http::problem::NO_STORE;
use crate::http::reply::reply;
use crate::quota::LogRow;

const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const CSV_HEADER: &str = "id,occurred_at,kind,subject,model,plan,charges,code,limit,amount,request_id,trace_id,metadata\r\n";

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
    Lines,
}

impl Format {
    /// The first of them that `Accept` names; JSON when it names none.
    pub(super) fn asked(headers: &HeaderMap) -> Self {
        let accepted =
            headers.get_all(header::ACCEPT).into_iter().filter_map(|it| it.to_str().ok());
        let named = |range: &str| match range.split(';').next().unwrap_or_default().trim() {
            "text/csv" => Some(Self::Csv),
            "application/x-ndjson" => Some(Self::Lines),
            "application/json" => Some(Self::Json),
            _ => None,
        };
        accepted.flat_map(|it| it.split(',')).find_map(named).unwrap_or(Self::Json)
    }

    pub(super) fn response(
        self,
        rows: &[LogRow],
        next_cursor: Option<String>,
    ) -> Result<Response, ApiError> {
        let (media_type, text) = match self {
            Self::Json => {
                let logs = rows.iter().map(LogBody::of).collect::<Result<_, _>>()?;
                return Ok(reply(&LogsBody { logs, next_cursor }));
            }
            Self::Csv => (CSV, csv(rows)),
            Self::Lines => (LINES, lines(rows)?),
        };
        let headers = [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, NO_STORE)];
        Ok((headers, text).into_response())
    }
}

fn lines(rows: &[LogRow]) -> Result<String, ApiError> {
    let mut text = String::new();
    for row in rows {
        let line = serde_json::to_string(&LogBody::of(row)?);
        text += &line.map_err(|error| ApiError::Internal(error.into()))?;
        text.push('\n');
    }
    Ok(text)
}

fn csv(rows: &[LogRow]) -> String {
    let mut text = CSV_HEADER.to_owned();
    for row in rows {
        let optional = |field: &Option<String>| field.clone().unwrap_or_default();
        let fields = [
            row.id.to_string(),
            row.occurred_at.to_rfc3339_opts(SecondsFormat::Millis, true),
            row.kind.clone(),
            row.subject.clone(),
            optional(&row.model),
            row.plan.clone(),
            row.charges.clone(),
            optional(&row.code),
            optional(&row.limit),
            row.amount.map(|amount| amount.to_string()).unwrap_or_default(),
            request_id(row),
            optional(&row.trace_id),
            optional(&row.metadata),
        ];
        let quoted: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
        let _infallible = write!(text, "{}\r\n", quoted.join(","));
    }
    text
}

/// A field in quotes where it needs them.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_type_that_is_accepted_is_answered() {
        let asked = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            Format::asked(&headers)
        };
        assert_eq!(asked("text/html, text/csv;q=0.9"), Format::Csv);
        assert_eq!(asked("application/x-ndjson"), Format::Lines);
        assert_eq!(asked("*/*"), Format::Json);
        assert_eq!(Format::asked(&HeaderMap::new()), Format::Json);
    }

    #[test]
    fn what_would_break_a_line_is_quoted() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("{\"a\": 1}"), "\"{\"\"a\"\": 1}\"");
    }
}
