//! Decisions as answers.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use chrono::DateTime;
use serde::Serialize;
use uuid::Uuid;

use super::idempotency::IDEMPOTENT_REPLAYED;
use super::limit_body::LimitBody;
use super::limit_texts::LimitTexts;
use super::problem::JSON;
use super::problem::NO_STORE;
use super::problem::PROBLEM_JSON;
use super::problem::Problem;
use super::problem::json_text;
use super::problem_code::ProblemCode;
use super::rate_limit_headers;
use super::text::Text;
use crate::domain::Decision;

/// The answer to a consume or a check.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Decision)]
pub struct DecisionBody<'a> {
    /// Whether the request may go on.
    pub allowed: bool,
    /// The id of the event that was charged; `null` when nothing was.
    #[schema(required)]
    pub event_id: Option<Uuid>,
    /// Every limit that the request was measured against, after the decision.
    pub limits: Vec<LimitBody<'a>>,
    /// Whether the answer was given without the counters, because Redis was away.
    pub degraded: bool,
    /// The id of the request that was decided: the earlier one's for a replay.
    pub request_id: &'a str,
    /// The plan that the limits come from.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub plan: &'a str,
    /// Where the subject can get more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_url: Option<&'a str>,
    /// After a refusal, the cheapest listed plan under which the request would have passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "starter")]
    pub recommended_plan: Option<&'a str>,
}

/// A usual limit takes less than this in an answer.
const LIMIT_BYTES: usize = 360;

/// How a decision is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Style<'a> {
    /// The path that was asked.
    pub path: &'a str,
    /// Answers a refusal with 200 and without a problem (`?on_deny=200`).
    pub deny_with_200: bool,
    /// Adds the `X-RateLimit-*` headers.
    pub legacy_headers: bool,
}

/// Writes a decision as a response: 200 when allowed, else 429 with a problem that holds the same fields.
#[must_use]
pub fn response(decision: &Decision, style: Style<'_>) -> Response {
    let (status, text) = status_and_body(decision, style);
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(12);
    let is_problem = status != StatusCode::OK;
    headers.insert(header::CONTENT_TYPE, if is_problem { PROBLEM_JSON } else { JSON });
    insert_headers(headers, decision, style);
    response
}

/// The status and the body of the same response, for an answer that holds many.
#[must_use]
pub fn status_and_body(decision: &Decision, style: Style<'_>) -> (StatusCode, Vec<u8>) {
    let texts = decision.memo.get_or_make(|| LimitTexts::of(&decision.limits));
    if decision.allowed || style.deny_with_200 {
        return (StatusCode::OK, body(decision, &texts));
    }
    let problem = refused(decision, &texts.names, style.path);
    (StatusCode::TOO_MANY_REQUESTS, json_text(&problem))
}

/// A [`DecisionBody`], or a [`ReservationBody`](super::hold::ReservationBody): the same bytes as serde writes, which takes many times as long.
fn body(decision: &Decision, texts: &LimitTexts) -> Vec<u8> {
    let mut out = Text::with_capacity(256 + LIMIT_BYTES * decision.limits.len());
    out.raw(r#"{"allowed":"#).flag(decision.allowed);
    out.raw(r#","event_id":"#).id(decision.event_id).raw(r#","limits":["#);
    for (at, (state, text)) in decision.limits.iter().zip(&texts.limits).enumerate() {
        out.raw(if at > 0 { "," } else { "" });
        text.write(state, &mut out);
    }
    out.raw(r#"],"degraded":"#).flag(decision.degraded);
    out.raw(r#","request_id":"#).string(&decision.request_id);
    if !decision.plan.is_empty() {
        out.raw(r#","plan":"#).string(&decision.plan);
    }
    out.field(r#","upgrade_url":"#, decision.upgrade_url.as_deref(), Text::string);
    out.field(r#","recommended_plan":"#, decision.recommended_plan.as_deref(), Text::string);
    if let Some(hold) = &decision.hold {
        out.raw(r#","reservation_id":"#).string(&hold.id);
        out.raw(r#","expires_at":"#).second(DateTime::from_timestamp(hold.until_s, 0));
        out.raw(r#","amount":"#).number(hold.amount.get());
    }
    out.raw("}");
    out.finish()
}

/// The headers of a decision, whatever the body is.
pub fn insert_headers(headers: &mut HeaderMap, decision: &Decision, style: Style<'_>) {
    let texts = decision.memo.get_or_make(|| LimitTexts::of(&decision.limits));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    rate_limit_headers::insert(headers, &decision.limits, &texts, decision.decided_at_ms);
    if style.legacy_headers {
        rate_limit_headers::insert_legacy(headers, &decision.limits);
    }
    if decision.replayed {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    if let (false, Some(seconds)) = (decision.allowed, decision.retry_after_s()) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// Why a decision refuses.
#[must_use]
pub const fn refusal_code(decision: &Decision) -> ProblemCode {
    match decision.free_at_s {
        Some(_) => ProblemCode::ReservedByOthers,
        None => ProblemCode::LimitExceeded,
    }
}

fn refused<'a>(decision: &'a Decision, names: &'a [String], path: &'a str) -> Problem<'a> {
    let pairs = decision.limits.iter().zip(names);
    let violated: Vec<_> =
        pairs.filter(|(state, _)| state.violated).map(|(_, name)| name.as_str()).collect();
    let code = refusal_code(decision);
    let why = match code {
        ProblemCode::ReservedByOthers => " while others hold what they do",
        _ => "",
    };
    let detail = format!("no room for the request in {}{why}", violated.join(", "));
    Problem {
        instance: Some(path),
        violated_policies: Some(violated),
        request_id: &decision.request_id,
        upgrade_url: decision.upgrade_url.as_deref(),
        recommended_plan: decision.recommended_plan.as_deref(),
        allowed: Some(false),
        event_id: Some(()),
        limits: Some(LimitBody::list(&decision.limits, names)),
        degraded: Some(decision.degraded),
        plan: Some(decision.plan.as_str()).filter(|plan| !plan.is_empty()),
        ..Problem::new(code, StatusCode::TOO_MANY_REQUESTS, detail)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::LimitState;
    use crate::domain::Memo;
    use crate::domain::Mode;
    use crate::domain::Period;
    use crate::domain::Units;
    use crate::domain::decision::Hold;
    use crate::http::hold::ReservationBody;
    use crate::http::samples;

    const STYLE: Style<'_> =
        Style { path: "/v1/consume", deny_with_200: false, legacy_headers: false };

    fn accepted<'a>(decision: &'a Decision, names: &'a [String]) -> DecisionBody<'a> {
        DecisionBody {
            allowed: decision.allowed,
            event_id: decision.event_id,
            limits: LimitBody::list(&decision.limits, names),
            degraded: decision.degraded,
            request_id: &decision.request_id,
            plan: &decision.plan,
            upgrade_url: decision.upgrade_url.as_deref(),
            recommended_plan: decision.recommended_plan.as_deref(),
        }
    }

    fn spent() -> Decision {
        let limits = vec![
            LimitState {
                violated: true,
                ..samples::limit("user:u_1", "messages", Period::Month, Some(100), 100)
            },
            samples::limit("user:u_1", "tokens", Period::Day, None, 7),
        ];
        Decision {
            upgrade_url: Some("https://chat.example/upgrade".to_owned()),
            ..samples::decision(limits)
        }
    }

    #[test]
    fn an_accepted_decision_tells_limited_from_unlimited() {
        let limits = vec![
            samples::limit("user:u_1", "messages", Period::Month, Some(100), 85),
            samples::limit("user:u_1", "storage_bytes", Period::Lifetime, None, 7),
        ];
        let decision = Decision { event_id: Some(Uuid::nil()), ..samples::decision(limits) };
        let names = rate_limit_headers::distinct_names(&decision.limits);
        insta::assert_json_snapshot!(accepted(&decision, &names), @r#"
        {
          "allowed": true,
          "event_id": "00000000-0000-0000-0000-000000000000",
          "limits": [
            {
              "name": "messages-month",
              "subject": "user:u_1",
              "metric": "messages",
              "period": "month",
              "limit": 100,
              "used": 85,
              "reserved": 0,
              "remaining": 15,
              "granted_remaining": 0,
              "window_start": "2025-11-01T00:00:00Z",
              "resets_at": "2025-12-01T00:00:00Z",
              "mode": "hard",
              "warning": "warning"
            },
            {
              "name": "storage_bytes-lifetime",
              "subject": "user:u_1",
              "metric": "storage_bytes",
              "period": "lifetime",
              "unlimited": true,
              "used": 7,
              "reserved": 0,
              "granted_remaining": 0,
              "window_start": null,
              "resets_at": null,
              "mode": "hard",
              "warning": "none"
            }
          ],
          "degraded": false,
          "request_id": "req-1",
          "plan": "chat"
        }
        "#);
    }

    #[test]
    fn an_accepted_decision_is_written_as_serde_would() {
        let limits = |subject| {
            vec![
                samples::limit(subject, "messages", Period::Month, Some(100), 85),
                samples::limit(subject, "tokens", Period::Day, None, Units::MAX.get()),
                samples::limit(subject, "storage_bytes", Period::Lifetime, Some(5), 0),
                LimitState {
                    mode: Mode::Shadow,
                    sliding: true,
                    would_deny: true,
                    reserved: Units::new(2).unwrap(),
                    carried: Units::new(1).unwrap(),
                    granted: Units::new(3).unwrap(),
                    ..samples::limit(subject, "messages", Period::Hour, Some(5), 7)
                },
            ]
        };
        let full = Decision {
            event_id: Some(Uuid::from_u128(7)),
            request_id: "a\"b\\c".to_owned(),
            upgrade_url: Some("https://chat.example/upgrade?a=\u{1}é".to_owned()),
            recommended_plan: Some("starter".to_owned()),
            ..samples::decision(limits("org:acme/user:u_1"))
        };
        let bare = Decision { plan: String::new(), degraded: true, ..samples::decision(vec![]) };
        for decision in [full, bare] {
            let texts = LimitTexts::of(&decision.limits);
            let by_serde = serde_json::to_vec(&accepted(&decision, &texts.names)).unwrap();
            assert_eq!(body(&decision, &texts), by_serde);
        }
    }

    #[test]
    fn an_accepted_reserve_is_written_as_serde_would() {
        let (id, amount) = ("rsv_WyIw-_9".to_owned(), Units::new(4_096).unwrap());
        let hold = Hold { id, amount, until_s: 1_763_800_120 };
        let limits = vec![samples::limit("user:u_1", "tokens", Period::Day, Some(9), 7)];
        let decision = Decision { hold: Some(hold.clone()), ..samples::decision(limits) };
        let texts = LimitTexts::of(&decision.limits);
        let reservation = ReservationBody::of(accepted(&decision, &texts.names), &hold);
        let by_serde = serde_json::to_vec(&reservation).unwrap();
        assert_eq!(body(&decision, &texts), by_serde);
    }

    #[test]
    fn decisions_on_the_same_limits_share_no_more_than_their_texts() {
        let memo = Arc::<Memo>::default();
        let of = |subject, used| {
            let limits = vec![
                samples::limit(subject, "messages", Period::Month, Some(100), used),
                samples::limit("org:acme", "messages", Period::Month, None, used + 1),
            ];
            Decision { memo: memo.clone(), ..samples::decision(limits) }
        };
        for decision in [of("org:acme/user:u_1", 85), of("org:acme/user:longer", 112)] {
            let texts = decision.memo.get_or_make(|| LimitTexts::of(&decision.limits));
            let own_names = rate_limit_headers::distinct_names(&decision.limits);
            let by_serde = serde_json::to_vec(&accepted(&decision, &own_names)).unwrap();
            assert_eq!(body(&decision, &texts), by_serde);
        }
    }

    #[test]
    fn a_refused_decision_is_a_problem_with_the_same_fields() {
        let decision = spent();
        let names = rate_limit_headers::distinct_names(&decision.limits);
        insta::assert_json_snapshot!(refused(&decision, &names, "/v1/consume"), @r#"
        {
          "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
          "title": "Request cannot be satisfied as assigned quota has been exceeded",
          "status": 429,
          "detail": "no room for the request in messages-month",
          "instance": "/v1/consume",
          "code": "limit_exceeded",
          "violated-policies": [
            "messages-month"
          ],
          "request_id": "req-1",
          "upgrade_url": "https://chat.example/upgrade",
          "allowed": false,
          "event_id": null,
          "limits": [
            {
              "name": "messages-month",
              "subject": "user:u_1",
              "metric": "messages",
              "period": "month",
              "limit": 100,
              "used": 100,
              "reserved": 0,
              "remaining": 0,
              "granted_remaining": 0,
              "window_start": "2025-11-01T00:00:00Z",
              "resets_at": "2025-12-01T00:00:00Z",
              "mode": "hard",
              "warning": "critical"
            },
            {
              "name": "tokens-day",
              "subject": "user:u_1",
              "metric": "tokens",
              "period": "day",
              "unlimited": true,
              "used": 7,
              "reserved": 0,
              "granted_remaining": 0,
              "window_start": "2025-11-22T00:00:00Z",
              "resets_at": "2025-11-23T00:00:00Z",
              "mode": "hard",
              "warning": "none"
            }
          ],
          "degraded": false,
          "plan": "chat"
        }
        "#);
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let refusal = response(&spent(), STYLE);
        assert_eq!(refusal.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refusal.headers()[header::RETRY_AFTER], "747200");
        assert_eq!(refusal.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(refusal.headers()[header::CACHE_CONTROL], "no-store");
    }

    #[test]
    fn a_caller_may_ask_for_200_and_still_gets_the_headers() {
        let refusal = response(&spent(), Style { deny_with_200: true, ..STYLE });
        assert_eq!(refusal.status(), StatusCode::OK);
        assert_eq!(refusal.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(refusal.headers()["ratelimit"], "\"messages-month\";r=0;t=747200");
    }

    #[test]
    fn only_a_replay_says_so() {
        let replay = Decision { replayed: true, ..samples::decision(vec![]) };
        assert_eq!(response(&replay, STYLE).headers()["idempotent-replayed"], "true");
        let first = samples::decision(vec![]);
        assert!(!response(&first, STYLE).headers().contains_key("idempotent-replayed"));
    }
}
