//! The results of a batch as an answer.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use serde::Serialize;
use utoipa::openapi::Ref;
use utoipa::openapi::RefOr;
use utoipa::openapi::Schema;
use utoipa::openapi::schema::AnyOfBuilder;

use super::decision;
use super::decision::DecisionBody;
use super::decision::Style;
use super::error::ApiError;
use super::problem::JSON;
use super::problem::NO_STORE;
use super::problem::Problem;
use super::problem::json_text;
use super::text::Text;
use crate::domain::Decision;

/// The answer to a batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BatchResults)]
pub struct BatchResults<'a> {
    /// A result for each item, in the order of the items.
    #[schema(min_items = 1, max_items = 100)]
    pub results: Vec<BatchResult<'a>>,
}

/// What an item would have been answered by itself.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BatchResult)]
pub struct BatchResult<'a> {
    /// The status that it would have been answered with.
    #[schema(minimum = 200, maximum = 599)]
    pub status: u16,
    /// Whether the answer repeats an earlier one, as `Idempotent-Replayed` says elsewhere.
    pub replayed: bool,
    /// Seconds after which the item may succeed, as `Retry-After` says elsewhere; absent when it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// A decision, or why there is none.
    #[schema(schema_with = decision_or_problem)]
    pub body: ResultBody<'a>,
}

/// The body of a result.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ResultBody<'a> {
    /// The item was decided in its favour.
    Decision(DecisionBody<'a>),
    /// It was refused, or got no decision.
    Problem(Problem<'a>),
}

/// A refusal's problem holds what a decision does, so that it is one of each.
fn decision_or_problem() -> RefOr<Schema> {
    let kinds = ["Decision", "Problem"].map(Ref::from_schema_name);
    let any = kinds.into_iter().fold(AnyOfBuilder::new(), AnyOfBuilder::item);
    RefOr::T(any.build().into())
}

/// A usual result takes less than this.
const RESULT_BYTES: usize = 1_024;

/// Writes the outcomes of a batch's items as a response: 200, whatever they are.
#[must_use]
pub fn response(
    outcomes: &[Result<Decision, ApiError>],
    request_id: &str,
    style: Style<'_>,
) -> Response {
    let mut response = Response::new(Body::from(body(outcomes, request_id, style)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// A [`BatchResults`]: the same bytes as serde writes, which takes many times as long.
fn body(outcomes: &[Result<Decision, ApiError>], request_id: &str, style: Style<'_>) -> Vec<u8> {
    let mut out = Text::with_capacity(RESULT_BYTES * outcomes.len());
    out.raw(r#"{"results":["#);
    for (at, outcome) in outcomes.iter().enumerate() {
        out.raw(if at > 0 { "," } else { "" });
        match outcome {
            Ok(decision) => write_decision(decision, style, &mut out),
            Err(error) => write_error(error, request_id, style.path, &mut out),
        }
    }
    out.raw("]}");
    out.finish()
}

fn write_decision(decision: &Decision, style: Style<'_>, out: &mut Text) {
    let (status, body) = decision::status_and_body(decision, style);
    let retry_after_s = if decision.allowed { None } else { decision.retry_after_s() };
    write_head(status, decision.replayed, retry_after_s, out);
    out.raw(body).raw("}");
}

fn write_error(error: &ApiError, request_id: &str, path: &str, out: &mut Text) {
    write_head(error.status_and_code().0, false, error.retry_after_s(), out);
    out.raw(json_text(&Problem::of(error, request_id, path))).raw("}");
}

fn write_head(status: StatusCode, replayed: bool, retry_after_s: Option<u64>, out: &mut Text) {
    out.raw(r#"{"status":"#).number(status.as_u16().into());
    out.raw(r#","replayed":"#).flag(replayed);
    out.field(r#","retry_after_s":"#, retry_after_s, Text::number);
    out.raw(r#","body":"#);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::LimitState;
    use crate::domain::Period;
    use crate::http::limit_body::LimitBody;
    use crate::http::rate_limit_headers::distinct_names;
    use crate::http::samples;
    use crate::quota::Store;

    const STYLE: Style<'_> =
        Style { path: "/v1/consume:batch", deny_with_200: false, legacy_headers: false };

    fn spent() -> LimitState {
        LimitState {
            violated: true,
            ..samples::limit("user:u_1", "messages", Period::Month, Some(100), 100)
        }
    }

    fn passed() -> LimitState {
        samples::limit("user:u_1", "messages", Period::Month, Some(100), 99)
    }

    #[test]
    fn a_result_is_written_as_serde_would() {
        let decision = Decision { replayed: true, ..samples::decision(vec![passed()]) };
        let names = distinct_names(&decision.limits);
        let body_of_it = DecisionBody {
            allowed: true,
            event_id: None,
            limits: LimitBody::list(&decision.limits, &names),
            degraded: false,
            request_id: "req-1",
            plan: "chat",
            upgrade_url: None,
            recommended_plan: None,
        };
        let away =
            || ApiError::StoreUnavailable { store: Store::Redis, retry_after_s: 2, source: None };
        let (error, body_of_error) = (away(), away());
        let results = vec![
            BatchResult {
                status: 200,
                replayed: true,
                retry_after_s: None,
                body: ResultBody::Decision(body_of_it),
            },
            BatchResult {
                status: 503,
                replayed: false,
                retry_after_s: Some(2),
                body: ResultBody::Problem(Problem::of(&body_of_error, "req-2", STYLE.path)),
            },
        ];
        let by_serde = serde_json::to_vec(&BatchResults { results }).unwrap();

        let outcomes = [Ok(decision.clone()), Err(error)];
        assert_eq!(body(&outcomes, "req-2", STYLE), by_serde);
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let told = |style| {
            let text = body(&[Ok(samples::decision(vec![spent()]))], "req-2", style);
            let body: serde_json::Value = serde_json::from_slice(&text).unwrap();
            body["results"][0].clone()
        };
        let refusal = told(STYLE);
        assert_eq!((&refusal["status"], &refusal["retry_after_s"]), (&429.into(), &747_200.into()));
        assert_eq!(refusal["body"]["code"], "limit_exceeded");
        let quiet = told(Style { deny_with_200: true, ..STYLE });
        assert_eq!((&quiet["status"], &quiet["body"]["allowed"]), (&200.into(), &false.into()));
    }
}
