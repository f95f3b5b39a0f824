//! The body of a consume or a check.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::ApiError;
use crate::domain::Amount;
use crate::domain::Metric;
use crate::domain::Subject;
use crate::quota::Ask;

const MODEL_BYTES_MAX: usize = 128;
const FEATURE_BYTES_MAX: usize = 64;
const METADATA_BYTES_MAX: usize = 2_048;
const AMOUNT_RULE: &str = "must be a whole number between 0 and 2147483648";

/// What is asked for. Exactly one of `model`, `metric` and, for a check, `feature` is given.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Order)]
pub struct OrderBody<'a> {
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
    #[schema(value_type = Option<String>, example = "messages", max_length = 64)]
    metric: Option<Text<'a>>,
    /// A feature, in a check only: whether the subject has it. An amount has no meaning beside it.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, example = "export", max_length = 64)]
    feature: Option<Text<'a>>,
    /// How often; the catalogue's weights multiply it. 0 looks without charging.
    #[schema(default = 1, minimum = 0, maximum = 2_147_483_648_u64)]
    amount: Option<u64>,
    /// The caller's own data for the message log, at most 2,048 bytes of JSON.
    #[serde(borrow)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<&'a RawValue>,
}

/// A text that is borrowed from the body unless it holds escapes. `Option<Cow<str>>` would always be copied.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// A body that keeps every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Who is charged.
    pub subject: Subject,
    /// What is charged.
    pub ask: Ask,
    /// How often.
    pub amount: Amount,
    /// JSON text of at most 2,048 bytes.
    pub metadata: Option<String>,
}

/// Reads a body.
///
/// # Errors
///
/// [`ApiError::InvalidRequest`] naming the field and the rule that it breaks, or the line and column at which the
/// body stops being JSON.
pub fn parse(bytes: &[u8]) -> Result<Wanted, ApiError> {
    let body: OrderBody<'_> =
        serde_json::from_slice(bytes).map_err(|error| explain(bytes, &error, broken_rule))?;
    let subject = body.subject.as_ref().map_or(Subject::ANYONE, |text| &text.0);
    Ok(Wanted {
        subject: Subject::parse(subject).map_err(ApiError::subject)?,
        ask: ask(body.model, body.metric, body.feature)?,
        amount: body.amount.map_or(Ok(Amount::ONE), amount)?,
        metadata: body.metadata.map(metadata).transpose()?,
    })
}

/// Refuses what can only be checked.
///
/// # Errors
///
/// [`ApiError::InvalidRequest`] for a feature.
pub fn chargeable(wanted: &Wanted) -> Result<(), ApiError> {
    let rule = "can only be checked; a consume charges a model or a metric";
    let is_feature = matches!(wanted.ask, Ask::Feature(_));
    if is_feature { Err(ApiError::invalid("feature", rule)) } else { Ok(()) }
}

pub(super) fn ask(
    model: Option<Text<'_>>,
    metric: Option<Text<'_>>,
    feature: Option<Text<'_>>,
) -> Result<Ask, ApiError> {
    match (model, metric, feature) {
        (Some(model), None, None) => name("model", model, MODEL_BYTES_MAX).map(Ask::Model),
        (None, Some(metric), None) => Metric::new(&metric.0)
            .map(Ask::Metric)
            .map_err(|error| ApiError::invalid("metric", error)),
        (None, None, Some(feature)) => {
            name("feature", feature, FEATURE_BYTES_MAX).map(Ask::Feature)
        }
        (None, None, None) => Err(ApiError::invalid("model", "or metric is needed")),
        (Some(_), Some(_), _) => Err(ApiError::invalid("model", "and metric exclude each other")),
        (_, _, Some(_)) => {
            Err(ApiError::invalid("feature", "excludes model and metric: it is looked at alone"))
        }
    }
}

/// A model or a metric that is named outside of a body.
pub(super) fn named(model: Option<String>, metric: Option<String>) -> Result<Ask, ApiError> {
    let text = |name: String| Text(Cow::Owned(name));
    ask(model.map(text), metric.map(text), None)
}

/// A name that the catalogue may know.
fn name(field: &'static str, text: Text<'_>, bytes_max: usize) -> Result<String, ApiError> {
    let is_name = (1..=bytes_max).contains(&text.0.len())
        && text.0.bytes().all(|byte| byte.is_ascii_graphic());
    let rule = format_args!("must be 1 to {bytes_max} visible ascii characters");
    if is_name { Ok(text.0.into_owned()) } else { Err(ApiError::invalid(field, rule)) }
}

pub(super) fn amount(count: u64) -> Result<Amount, ApiError> {
    Amount::new(count).map_err(|error| ApiError::invalid("amount", error))
}

/// Metadata is written anew, because Postgres refuses some texts that are JSON: NUL, half a surrogate pair, numbers
/// out of its range. A refused row would hold up the flusher.
pub(super) fn metadata(raw: &RawValue) -> Result<String, ApiError> {
    if raw.get().len() > METADATA_BYTES_MAX {
        return Err(too_long());
    }
    let rule = "holds a text, number or nesting that cannot be stored";
    let value = serde_json::from_str(raw.get()).map_err(|_| ApiError::invalid("metadata", rule))?;
    storable(&value)
}

/// Metadata that was read already, as it is stored.
///
/// # Errors
///
/// [`ApiError::InvalidRequest`] naming the rule that it breaks.
pub fn storable(metadata: &Value) -> Result<String, ApiError> {
    if !metadata.is_object() {
        return Err(ApiError::invalid("metadata", "must be an object"));
    }
    if holds_nul(metadata) {
        return Err(ApiError::invalid("metadata", "must not hold the character \\u0000"));
    }
    let text = metadata.to_string();
    if text.len() > METADATA_BYTES_MAX { Err(too_long()) } else { Ok(text) }
}

fn too_long() -> ApiError {
    ApiError::invalid("metadata", "must be at most 2048 bytes of json")
}

/// The parser bounds the nesting at 128.
fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains('\0') || holds_nul(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Says which field is wrong. Serde knows the place of a wrong type but not the field's name, so a refused body is
/// read a second time, field by field.
#[cold]
pub(super) fn explain(
    bytes: &[u8],
    error: &serde_json::Error,
    broken_rule: fn(&str, &RawValue) -> Option<&'static str>,
) -> ApiError {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = match serde_json::from_slice(bytes) {
        Ok(fields) => fields,
        Err(error) if error.is_data() => return ApiError::invalid("the body", "must be an object"),
        Err(error) => return ApiError::invalid("the body", format_args!("is not json: {error}")),
    };
    let rules = fields.iter().filter_map(|(name, value)| Some((name, broken_rule(name, value)?)));
    match rules.into_iter().next() {
        Some((name, rule)) => ApiError::invalid(shown(name), rule),
        None => ApiError::invalid("the body", format_args!("is not valid: {error}")),
    }
}

pub(super) fn broken_rule(name: &str, value: &RawValue) -> Option<&'static str> {
    let text = value.get();
    let is_null = text == "null";
    match name {
        "subject" | "model" | "metric" | "feature" => broken_text(value),
        "amount" => {
            let is_count = is_null || text.parse::<u64>().is_ok();
            (!is_count).then_some(AMOUNT_RULE)
        }
        "metadata" => None,
        "occurred_at" => Some("is not accepted: the time is that of the decision"),
        _ => Some(
            "is not a field; the fields are subject, model, metric, feature, amount and metadata",
        ),
    }
}

pub(super) fn broken_text(value: &RawValue) -> Option<&'static str> {
    let is_text = serde_json::from_str::<Option<String>>(value.get()).is_ok();
    (!is_text).then_some("must be a text")
}

/// An unknown field's name as it may stand in an answer: short and without control characters.
fn shown(name: &str) -> String {
    name.chars().take(64).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn the_smallest_body_asks_for_one_unit_for_anyone() {
        let wanted = parse(br#"{"model":"gemini-2.0-flash"}"#).unwrap();
        assert_eq!(wanted.subject.as_str(), Subject::ANYONE);
        assert_eq!(wanted.ask, Ask::Model("gemini-2.0-flash".to_owned()));
        assert_eq!((wanted.amount, wanted.metadata), (Amount::ONE, None));
    }

    #[test]
    fn a_feature_is_asked_for_alone() {
        let wanted = parse(br#"{"subject":"user:u_1","feature":"export"}"#).unwrap();
        assert_eq!(wanted.ask, Ask::Feature("export".to_owned()));
    }

    #[test]
    fn a_full_body_is_read() {
        let body = r#"{"subject":"org:acme\/user:u_1","metric":"tokens","amount":2147483648,"metadata":{"b":[1.50,null],"a":"é"}}"#;
        let wanted = parse(body.as_bytes()).unwrap();
        assert_eq!(wanted.subject.as_str(), "org:acme/user:u_1");
        assert_eq!(wanted.amount, Amount::MAX);
        assert_eq!(wanted.metadata.as_deref(), Some(r#"{"a":"é","b":[1.5,null]}"#));
    }

    #[test]
    fn every_wrong_amount_names_the_field_and_the_bound() {
        for wrong in
            ["-1", "0.5", "1.0", "2147483649", "9007199254740992", "1e400", "99999999999999999999"]
        {
            let detail = refused(&format!(r#"{{"metric":"messages","amount":{wrong}}}"#));
            assert!(
                detail.starts_with("amount must be") && detail.contains("between 0 and 2147483648"),
                "{wrong}: {detail}"
            );
        }
        assert!(refused(r#"{"metric":"messages","amount":"1"}"#).starts_with("amount must be"));
        assert_eq!(parse(br#"{"metric":"messages","amount":0}"#).unwrap().amount, Amount::ZERO);
    }

    #[test]
    fn fields_that_are_unknown_or_of_a_wrong_type_are_named() {
        for (body, expected) in [
            (r#"{"model":"m","occurred_at":"2026-01-01"}"#, "occurred_at is not accepted"),
            (r#"{"model":"m","user":"u_1"}"#, "user is not a field"),
            (r#"{"model":7}"#, "model must be a text"),
            (r#"{"model":"m","subject":["user:u_1"]}"#, "subject must be a text"),
            (r#"{"model":"m","subject":"user:\ud800"}"#, "subject must be a text"),
            (r#"{"model":"m","model":"n"}"#, "duplicate field `model`"),
            (r#"{"model":"m","metric":"messages"}"#, "model and metric exclude each other"),
            (r#"{"model":"m","feature":"f"}"#, "feature excludes model and metric"),
            (r#"{"feature":"f","metric":"messages"}"#, "feature excludes model and metric"),
            (r#"{"feature":"a b"}"#, "feature must be 1 to 64"),
            (r#"{"feature":true}"#, "feature must be a text"),
            ("{}", "model or metric is needed"),
            (r#"{"model":""}"#, "model must be 1 to 128"),
            (r#"{"metric":"Messages"}"#, "metric must be 1 to 64"),
            ("[]", "the body must be an object"),
        ] {
            let detail = refused(body);
            assert!(detail.contains(expected), "{body}: {detail}");
        }
    }

    #[test]
    fn a_body_that_is_not_json_is_told_where() {
        for (body, place) in [
            ("", "line 1 column 0"),
            ("{\n  \"model\": nope}", "line 2 column 13"),
            (r#"{"model":"m"} x"#, "line 1 column 15"),
        ] {
            let detail = refused(body);
            assert!(detail.contains("not json") && detail.contains(place), "{body}: {detail}");
        }
    }

    #[test]
    fn hostile_subjects_name_the_field_and_the_rule() {
        let long = "x".repeat(10_240);
        for subject in ["user:a\\u0000b", "user:{x}", "user:", "nobody", "", long.as_str()] {
            let detail = refused(&format!(r#"{{"model":"m","subject":"{subject}"}}"#));
            assert!(detail.starts_with("subject ") && detail.len() < 200, "{detail}");
        }
    }

    #[test]
    fn metadata_that_postgres_cannot_hold_is_refused() {
        let with = |metadata: &str| refused(&format!(r#"{{"model":"m","metadata":{metadata}}}"#));
        assert!(with(r#"{"a":["x\u0000y"]}"#).contains("\\u0000"));
        assert!(with(r#"{"a\u0000":1}"#).contains("\\u0000"));
        for unstorable in [r#"{"a":"\ud800"}"#.to_owned(), r#"{"a":1e999}"#.to_owned(), nested(200)]
        {
            assert!(with(&unstorable).contains("cannot be stored"), "{unstorable}");
        }
        assert!(with(&format!(r#"{{"a":"{}"}}"#, "x".repeat(2_048))).contains("2048 bytes"));
        assert!(with("[1]").contains("must be an object"));
    }

    fn nested(depth: usize) -> String {
        format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    }
}
