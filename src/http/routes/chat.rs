//! `GET` and `DELETE /api/usage`: the JSON that chat interfaces know, over the same use-cases.

use std::sync::Arc;

use axum::extract::Query;
use axum::extract::State;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use chrono::DateTime;
use chrono::SecondsFormat;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::LimitState;
use crate::domain::Period;
use crate::domain::Subject;
use crate::http::auth::Admin;
use crate::http::auth::Caller;
use crate::http::auth::Identity;
use crate::http::auth::Read;
use crate::http::error::ApiError;
use crate::http::problem::Problem;
use crate::http::reply::reply;
use crate::http::request_id::RequestScope;
use crate::http::state::Api;
use crate::quota::ResetScope;
use crate::quota::Usage;

const MESSAGES: &str = "messages";
const PREMIUM_MESSAGES: &str = "premium_messages";

/// Whose usage is meant.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChatQuery {
    /// The user, with an API key. A token names its own.
    #[serde(rename = "userId")]
    #[param(example = "user_123")]
    user_id: Option<String>,
}

/// A user's usage in the current month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "userId": "user_123",
    "totalMessages": 45,
    "premiumMessages": 12,
    "lastReset": "2024-01-15T00:00:00.000Z",
    "canSendMessage": true,
    "canSendPremiumMessage": true
}))]
pub struct ChatUsage {
    user_id: String,
    total_messages: u64,
    premium_messages: u64,
    /// The beginning of the month, or the last reset by an admin when that was later.
    last_reset: String,
    can_send_message: bool,
    can_send_premium_message: bool,
}

/// Read a user's usage.
///
/// The user is the `sub` of a token, or `userId` with an API key.
#[utoipa::path(
    get,
    operation_id = "read_chat_usage",
    path = "/api/usage",
    tag = "chat",
    params(ChatQuery),
    responses(
        (status = 200, description = "the usage", body = ChatUsage),
        (status = 401, description = "no valid credential", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "the request is not valid or not allowed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "a store is away or the service is full", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller<Read>,
    query: Result<Query<ChatQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let subject = user(&caller, query)?;
    let usage = api.quota.usage(&subject).await?;
    Ok(reply(&ChatUsage::of(&usage)))
}

/// Reset a user's usage.
///
/// For admins. Answers the usage afterwards.
#[utoipa::path(
    delete,
    operation_id = "reset_chat_usage",
    path = "/api/usage",
    tag = "chat",
    params(ChatQuery),
    responses(
        (status = 200, description = "the usage after the reset", body = ChatUsage),
        (status = 401, description = "no valid credential", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "the credential is not an admin's", body = Problem, content_type = "application/problem+json"),
        (status = "4XX", description = "the request is not valid or not allowed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "a store is away or the service is full", body = Problem, content_type = "application/problem+json"),
    ),
    security(("bearer" = []), ("api_key" = [])),
)]
pub(crate) async fn reset(
    State(api): State<Arc<Api>>,
    caller: Caller<Admin>,
    scope: RequestScope,
    query: Result<Query<ChatQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let subject = user(&caller, query)?;
    let actor = caller.actor(&scope);
    let report = api.quota.reset(&subject, ResetScope::default(), &actor).await?;
    Ok(reply(&ChatUsage::of(&report.usage)))
}

impl ChatUsage {
    fn of(usage: &Usage) -> Self {
        let used = |metric: &str| monthly(usage, metric).map_or(0, |state| state.used.get());
        let can_send_message = usage.has_room(MESSAGES);
        Self {
            user_id: usage.subject.id().to_owned(),
            total_messages: used(MESSAGES),
            premium_messages: used(PREMIUM_MESSAGES),
            last_reset: last_reset_at(usage).to_rfc3339_opts(SecondsFormat::Millis, true),
            can_send_message,
            // A premium message is a message too.
            can_send_premium_message: can_send_message && usage.has_room(PREMIUM_MESSAGES),
        }
    }
}

/// The user that the request is about, within the caller's reach.
fn user<P>(
    caller: &Caller<P>,
    query: Result<Query<ChatQuery>, QueryRejection>,
) -> Result<Subject, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::query(&error))?;
    let named = query.user_id.map(|id| Subject::user(&id)).transpose();
    let named = named.map_err(|error| ApiError::invalid("userId", error))?;
    let own = match &caller.identity {
        Identity::EndUser(user) => Some(user.clone()),
        Identity::Key(_) => None,
    };
    let subject = named.or(own);
    caller.reach(subject.ok_or_else(|| ApiError::invalid("userId", "is needed with an API key"))?)
}

/// The monthly limit of a metric, or else its first.
fn monthly<'a>(usage: &'a Usage, metric: &str) -> Option<&'a LimitState> {
    let of_metric = || usage.limits.iter().filter(|state| state.metric.as_str() == metric);
    of_metric().find(|state| state.period == Period::Month).or_else(|| of_metric().next())
}

fn last_reset_at(usage: &Usage) -> DateTime<Utc> {
    let decided_at = DateTime::from_timestamp_millis(usage.decided_at_ms);
    let month = Period::Month.window_at(decided_at.unwrap_or_default(), &usage.calendar);
    let window = monthly(usage, MESSAGES).map_or(month, |state| state.window);
    usage.last_reset_at.map_or(window.start_at(), |reset_at| reset_at.max(window.start_at()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Calendar;
    use crate::http::samples;

    fn usage(messages: u64, premium: u64) -> Usage {
        let limit = |metric, max, used| {
            let state = samples::limit("user:user_123", metric, Period::Month, Some(max), used);
            LimitState { violated: used >= max, ..state }
        };
        let limits = vec![limit(MESSAGES, 100, messages), limit(PREMIUM_MESSAGES, 20, premium)];
        samples::usage("user:user_123", limits)
    }

    #[test]
    fn the_json_is_exactly_that_of_the_chat_interface() {
        assert_eq!(
            serde_json::to_string(&ChatUsage::of(&usage(45, 12))).unwrap(),
            "{\"userId\":\"user_123\",\"totalMessages\":45,\"premiumMessages\":12,\
             \"lastReset\":\"2025-11-01T00:00:00.000Z\",\"canSendMessage\":true,\
             \"canSendPremiumMessage\":true}"
        );
    }

    #[test]
    fn the_last_reset_is_the_later_of_the_month_and_the_admin() {
        let with = |at: &str| {
            let usage = Usage { last_reset_at: Some(at.parse().unwrap()), ..usage(0, 0) };
            ChatUsage::of(&usage).last_reset
        };
        assert_eq!(with("2025-11-15T10:00:00.5Z"), "2025-11-15T10:00:00.500Z");
        assert_eq!(with("2025-10-15T10:00:00Z"), "2025-11-01T00:00:00.000Z");
    }

    #[test]
    fn months_without_a_limit_are_those_of_the_subject() {
        let calendar = Calendar::parse("America/New_York", 20).unwrap();
        let usage = Usage { calendar, ..samples::usage("user:user_123", Vec::new()) };
        assert_eq!(ChatUsage::of(&usage).last_reset, "2025-11-20T05:00:00.000Z");
    }

    #[test]
    fn whoever_is_blocked_can_send_nothing() {
        let chat = ChatUsage::of(&Usage { is_blocked: true, ..usage(0, 0) });
        assert_eq!((chat.can_send_message, chat.can_send_premium_message), (false, false));
    }

    #[test]
    fn a_spent_limit_stops_its_messages_only() {
        let can = |usage: &Usage| {
            let chat = ChatUsage::of(usage);
            (chat.can_send_message, chat.can_send_premium_message)
        };
        assert_eq!(can(&usage(20, 20)), (true, false));
        assert_eq!(can(&usage(100, 12)), (false, false));
        let mut without_premium = usage(50, 0);
        without_premium.limits.truncate(1);
        assert_eq!(can(&without_premium), (true, true));
    }
}
