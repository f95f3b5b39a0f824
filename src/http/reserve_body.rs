//! The body of a reserve.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::ApiError;
use super::order_body;
use super::order_body::Text;
use super::order_body::Wanted;
use crate::domain::Amount;
use crate::domain::Subject;
use crate::quota::HoldTime;

const AMOUNT_RULE: &str =
    "must be a whole number between 1 and 2147483648: a reservation of nothing holds nothing";
const TTL_RULE: &str = "must be a whole number between 1 and 86400";

/// What is to be held, and for how long. Exactly one of `model` and `metric` is given.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reserve)]
pub struct ReserveBody<'a> {
    /// Who is charged: 1–4 segments `scope:id` joined by `/`. Absent for a caller who has not signed in.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, example = "user:u_1", max_length = 647)]
    subject: Option<Text<'a>>,
    /// A chat model; the catalogue says which metrics it charges.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, example = "claude-sonnet-4", max_length = 128)]
    model: Option<Text<'a>>,
    /// One metric.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, example = "tokens", max_length = 64)]
    metric: Option<Text<'a>>,
    /// How often; the catalogue's weights multiply it.
    #[schema(default = 1, minimum = 1, maximum = 2_147_483_648_u64)]
    amount: Option<u64>,
    /// How long the units are held, in seconds, unless the reservation is settled or extended before.
    #[schema(default = 300, minimum = 1, maximum = 86_400)]
    ttl_s: Option<u64>,
    /// The caller's own data for the message log, at most 2,048 bytes of JSON.
    #[serde(borrow)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<&'a RawValue>,
}

/// Reads a body: what is to be held, and for how long.
///
/// # Errors
///
/// As [`order_body::parse`].
pub fn parse(bytes: &[u8]) -> Result<(Wanted, Duration), ApiError> {
    let body: ReserveBody<'_> = serde_json::from_slice(bytes)
        .map_err(|error| order_body::explain(bytes, &error, broken_rule))?;
    let subject = body.subject.as_ref().map_or(Subject::ANYONE, |text| &text.0);
    let wanted = Wanted {
        subject: Subject::parse(subject).map_err(ApiError::subject)?,
        ask: order_body::ask(body.model, body.metric, None)?,
        amount: body.amount.map_or(Ok(Amount::ONE), amount)?,
        metadata: body.metadata.map(order_body::metadata).transpose()?,
    };
    Ok((wanted, body.ttl_s.map_or(Ok(HoldTime::DEFAULT), time)?))
}

fn amount(count: u64) -> Result<Amount, ApiError> {
    let amount = Amount::new(count).ok().filter(|amount| *amount != Amount::ZERO);
    amount.ok_or_else(|| ApiError::invalid("amount", AMOUNT_RULE))
}

fn time(seconds: u64) -> Result<Duration, ApiError> {
    let is_within = (1..=HoldTime::MAX.as_secs()).contains(&seconds);
    let time = is_within.then(|| Duration::from_secs(seconds));
    time.ok_or_else(|| ApiError::invalid("ttl_s", TTL_RULE))
}

fn broken_rule(name: &str, value: &RawValue) -> Option<&'static str> {
    let is_count = value.get() == "null" || value.get().parse::<u64>().is_ok();
    match name {
        "amount" => (!is_count).then_some(AMOUNT_RULE),
        "ttl_s" => (!is_count).then_some(TTL_RULE),
        "subject" | "model" | "metric" | "metadata" | "occurred_at" => {
            order_body::broken_rule(name, value)
        }
        "feature" => Some("can only be checked; a reservation holds units of a model or a metric"),
        _ => Some(
            "is not a field; the fields are subject, model, metric, amount, ttl_s and metadata",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Ask;

    #[test]
    fn a_reserve_is_an_order_with_a_time() {
        let (wanted, time) = parse(br#"{"model":"m"}"#).unwrap();
        assert_eq!((wanted.ask, wanted.amount), (Ask::Model("m".to_owned()), Amount::ONE));
        assert_eq!(time, Duration::from_mins(5));
        let (_, time) = parse(br#"{"metric":"tokens","amount":9,"ttl_s":86400}"#).unwrap();
        assert_eq!(time, Duration::from_hours(24));
    }

    #[test]
    fn what_breaks_a_rule_is_named_with_its_bound() {
        for (fields, expected) in [
            (r#""amount":0"#, "amount must be a whole number between 1 and 2147483648"),
            (r#""amount":-1"#, "amount must be a whole number between 1 and 2147483648"),
            (r#""amount":2147483649"#, "amount must be a whole number between 1 and 2147483648"),
            (r#""ttl_s":0"#, "ttl_s must be a whole number between 1 and 86400"),
            (r#""ttl_s":86401"#, "ttl_s must be a whole number between 1 and 86400"),
            (r#""ttl_s":"5m""#, "ttl_s must be a whole number between 1 and 86400"),
            (r#""feature":"export""#, "feature can only be checked"),
            (r#""metadata":[]"#, "metadata must be an object"),
            (
                r#""ttl":5"#,
                "ttl is not a field; the fields are subject, model, metric, amount, ttl_s",
            ),
        ] {
            let error = parse(format!(r#"{{"model":"m",{fields}}}"#).as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{fields}: {error}");
        }
        assert!(parse(b"{}").unwrap_err().to_string().contains("model or metric is needed"));
    }
}
