//! `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).

use axum::http::HeaderMap;
use axum::http::HeaderName;
use axum::http::HeaderValue;

use super::limit_texts::LimitTexts;
use super::text::Text;
use crate::domain::LimitState;
use crate::domain::Period;

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// A usual limit takes less than this in a header.
const LIMIT_BYTES: usize = 64;
const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The limits' names, each once: a name that two levels share gets its level's scope in front
/// (`org.messages-month`), and its depth too when the scopes are the same (`org2.messages-month`).
#[must_use]
pub fn distinct_names(limits: &[LimitState]) -> Vec<String> {
    let names: Vec<String> = limits.iter().map(LimitState::name).collect();
    if all_differ(&names) {
        return names;
    }
    let is_shared = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
    let scoped = |with_depth: bool| -> Vec<String> {
        let pairs = limits.iter().zip(&names);
        pairs
            .map(|(state, name)| match (is_shared(name), with_depth) {
                (false, _) => name.clone(),
                (true, false) => format!("{}.{name}", scope(&state.subject)),
                (true, true) => {
                    format!("{}{}.{name}", scope(&state.subject), depth(&state.subject))
                }
            })
            .collect()
    };
    let by_scope = scoped(false);
    if all_differ(&by_scope) { by_scope } else { scoped(true) }
}

/// The value of `RateLimit-Policy` for limits with those names: all but the unlimited ones, which leave nothing to say.
///
/// `q` is the limit and `w` the length of the window in seconds, of a sliding limit the trailing minute or hour. A lifetime
/// limit has no `w`.
#[must_use]
pub fn policy(limits: &[LimitState], names: &[String]) -> Option<HeaderValue> {
    let mut text = Text::with_capacity(LIMIT_BYTES * limits.len());
    for (state, name) in limits.iter().zip(names) {
        let Some(max) = state.max else { continue };
        let separator = separator(&text);
        text.raw(separator).raw("\"").raw(name).raw("\";q=").number(max.get());
        if state.period != Period::Lifetime {
            text.raw(";w=").number(state.counted_s().unsigned_abs());
        }
    }
    value(text)
}

/// Adds both headers. In `RateLimit`, `r` is what remains and `t` the seconds until the window ends; of a sliding limit the
/// end of the current slice, when units may come back. A lifetime limit has no `t`.
pub fn insert(headers: &mut HeaderMap, limits: &[LimitState], texts: &LimitTexts, now_ms: i64) {
    let Some(policy) = &texts.policy else { return };
    headers.insert(RATE_LIMIT_POLICY, policy.clone());
    let mut text = Text::with_capacity(LIMIT_BYTES * limits.len());
    for (state, name) in limits.iter().zip(&texts.names) {
        let Some(remaining) = state.remaining() else { continue };
        let separator = separator(&text);
        text.raw(separator).raw("\"").raw(name).raw("\";r=").number(remaining.get());
        if state.period != Period::Lifetime {
            text.raw(";t=").number(seconds_left(state, now_ms));
        }
    }
    if let Some(text) = value(text) {
        headers.insert(RATE_LIMIT, text);
    }
}

/// Adds the older `X-RateLimit-*` headers for the limit with the least remaining. `X-RateLimit-Reset` is in Unix
/// seconds, which is what most services that send it mean.
pub fn insert_legacy(headers: &mut HeaderMap, limits: &[LimitState]) {
    let limited = limits.iter().filter(|state| state.max.is_some());
    let Some(tightest) = limited.min_by_key(|state| state.remaining()) else { return };
    let (Some(max), Some(remaining)) = (tightest.max, tightest.remaining()) else { return };
    headers.insert(LEGACY_LIMIT, HeaderValue::from(max.get()));
    headers.insert(LEGACY_REMAINING, HeaderValue::from(remaining.get()));
    if tightest.period != Period::Lifetime {
        headers.insert(LEGACY_RESET, HeaderValue::from(tightest.window.end_s));
    }
}

fn seconds_left(state: &LimitState, now_ms: i64) -> u64 {
    u64::try_from(state.window.end_s - now_ms.div_euclid(1_000)).unwrap_or(0)
}

/// What stands between two limits.
const fn separator(text: &Text) -> &'static str {
    if text.is_empty() { "" } else { ", " }
}

fn value(text: Text) -> Option<HeaderValue> {
    if text.is_empty() { None } else { HeaderValue::try_from(text.finish()).ok() }
}

fn all_differ(names: &[String]) -> bool {
    names.iter().enumerate().all(|(at, name)| !names[..at].contains(name))
}

/// The scope of the last segment: `user` of `org:acme/user:u_1`.
fn scope(subject: &str) -> &str {
    let last = subject.rsplit('/').next().unwrap_or(subject);
    last.split_once(':').map_or(last, |(scope, _)| scope)
}

fn depth(subject: &str) -> usize {
    subject.split('/').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::samples::limit;

    const NOW_MS: i64 = 1_763_800_000_500;

    fn lines(limits: &[LimitState]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        insert(&mut headers, limits, &LimitTexts::of(limits), NOW_MS);
        insert_legacy(&mut headers, limits);
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn all_limits_are_named_with_their_real_windows() {
        let limits = [
            limit("user:u_1", "messages", Period::Month, Some(100), 45),
            limit("user:u_1", "premium_messages", Period::Month, Some(20), 12),
            limit("user:u_1", "tokens", Period::Day, None, 7),
        ];
        assert_eq!(
            lines(&limits),
            [
                "ratelimit-policy: \"messages-month\";q=100;w=2592000, \
                 \"premium_messages-month\";q=20;w=2592000",
                "ratelimit: \"messages-month\";r=55;t=747200, \
                 \"premium_messages-month\";r=8;t=747200",
                "x-ratelimit-limit: 20",
                "x-ratelimit-remaining: 8",
                "x-ratelimit-reset: 1764547200",
            ]
        );
    }

    #[test]
    fn a_lifetime_limit_has_no_window_and_an_unlimited_one_no_line() {
        let lifetime = [limit("user:u_1", "storage_bytes", Period::Lifetime, Some(5), 9)];
        assert_eq!(
            lines(&lifetime),
            [
                "ratelimit-policy: \"storage_bytes-lifetime\";q=5",
                "ratelimit: \"storage_bytes-lifetime\";r=0",
                "x-ratelimit-limit: 5",
                "x-ratelimit-remaining: 0",
            ]
        );
        assert_eq!(lines(&[limit("user:u_1", "messages", Period::Month, None, 9)]), [""; 0]);
    }

    #[test]
    fn a_sliding_limit_has_the_trailing_period_and_the_end_of_its_slice() {
        let minute = limit("user:u_1", "messages", Period::Minute, Some(5), 1);
        let slice = Period::Minute.slices(minute.window.start_at()).unwrap().current;
        let sliding = [LimitState { window: slice, sliding: true, ..minute }];
        let now_ms = slice.start_s * 1_000;
        let mut headers = HeaderMap::new();
        insert(&mut headers, &sliding, &LimitTexts::of(&sliding), now_ms);
        assert_eq!(headers["ratelimit-policy"], "\"messages-minute\";q=5;w=60");
        assert_eq!(headers["ratelimit"], "\"messages-minute\";r=4;t=10");
    }

    #[test]
    fn names_that_levels_share_are_told_apart() {
        let of = |subjects: [&str; 2]| {
            distinct_names(
                &subjects.map(|subject| limit(subject, "messages", Period::Month, Some(1), 0)),
            )
        };
        assert_eq!(
            of(["org:acme", "org:acme/user:u_1"]),
            ["org.messages-month", "user.messages-month"]
        );
        assert_eq!(of(["org:a", "org:a/org:b"]), ["org1.messages-month", "org2.messages-month"]);
    }
}
