//! The body of a batch.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::ApiError;
use super::idempotency;
use super::order_body;
use super::order_body::Text;
use super::order_body::Wanted;
use super::problem_code::ProblemCode;
use crate::domain::Amount;
use crate::domain::Subject;

const ITEMS_MAX: usize = 100;
const ITEMS_RULE: &str = "must be a list of 1 to 100 orders";

/// Orders, each to be decided by itself.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Batch)]
pub struct BatchBody<'a> {
    /// The orders. Their results come in the same order.
    #[serde(borrow)]
    #[schema(value_type = Vec<BatchItem>, min_items = 1, max_items = 100)]
    items: Vec<&'a RawValue>,
}

/// One order of a batch. Exactly one of `model`, `metric` and, for a check, `feature` is given.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchItem)]
pub struct BatchItem<'a> {
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
    /// What `Idempotency-Key` is to a consume of its own, by the same rules: both know the same keys. A check has no use for it.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, example = "8e03978e-40d5-43e8-bc93-6894a57f9324", min_length = 1, max_length = 512)]
    idempotency_key: Option<Text<'a>>,
}

/// An item that keeps every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What is asked for.
    pub wanted: Wanted,
    /// The caller's key for this item, unquoted: 1–255 visible ASCII characters.
    pub idempotency_key: Option<String>,
}

/// Reads all items of a batch whose items must keep `rule` too.
///
/// # Errors
///
/// [`ApiError::InvalidRequest`] naming the first item that breaks a rule, its field and the rule: `items[3].amount must
/// be …`.
pub fn parse(
    bytes: &[u8],
    rule: fn(&Wanted) -> Result<(), ApiError>,
) -> Result<Vec<Item>, ApiError> {
    let body: BatchBody<'_> = serde_json::from_slice(bytes)
        .map_err(|error| order_body::explain(bytes, &error, broken_rule))?;
    if !(1..=ITEMS_MAX).contains(&body.items.len()) {
        return Err(ApiError::invalid("items", ITEMS_RULE));
    }
    let read = |(at, raw): (usize, &&RawValue)| {
        let item = item(raw.get().as_bytes());
        let ruled = item.and_then(|item| rule(&item.wanted).map(|()| item));
        ruled.map_err(|error| error.of_item(at))
    };
    body.items.iter().enumerate().map(read).collect()
}

fn item(bytes: &[u8]) -> Result<Item, ApiError> {
    let item: BatchItem<'_> = serde_json::from_slice(bytes)
        .map_err(|error| order_body::explain(bytes, &error, broken_rule_of_item))?;
    let subject = item.subject.as_ref().map_or(Subject::ANYONE, |text| &text.0);
    let wanted = Wanted {
        subject: Subject::parse(subject).map_err(ApiError::subject)?,
        ask: order_body::ask(item.model, item.metric, item.feature)?,
        amount: item.amount.map_or(Ok(Amount::ONE), order_body::amount)?,
        metadata: item.metadata.map(order_body::metadata).transpose()?,
    };
    let key = item.idempotency_key.map(|text| idempotency::key_of(&text.0)).transpose();
    let idempotency_key = key.map_err(|rule| ApiError::invalid("idempotency_key", rule))?;
    Ok(Item { wanted, idempotency_key })
}

/// Refuses a batch in which a key stands for two payloads of one subject. Items with the same key and payload are one
/// charge: whichever is decided later repeats the other's answer.
///
/// # Errors
///
/// A 422 that names the later item.
pub fn one_payload_a_key(items: &[Item]) -> Result<(), ApiError> {
    let mut known: HashMap<(&str, &str), &Wanted> = HashMap::new();
    let charging = items.iter().enumerate().filter(|(_, it)| it.wanted.amount != Amount::ZERO);
    for (at, Item { wanted, idempotency_key }) in charging {
        let Some(key) = idempotency_key else { continue };
        let first = known.entry((wanted.subject.as_str(), key)).or_insert(wanted);
        if *first != wanted {
            let detail = format!("items[{at}].idempotency_key stands for another payload before");
            let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
            return Err(ApiError::unfit(status, ProblemCode::IdempotencyMismatch, detail));
        }
    }
    Ok(())
}

fn broken_rule(name: &str, value: &RawValue) -> Option<&'static str> {
    let is_list = value.get().starts_with('[');
    match name {
        "items" => (!is_list).then_some(ITEMS_RULE),
        _ => Some("is not a field; a batch has items"),
    }
}

fn broken_rule_of_item(name: &str, value: &RawValue) -> Option<&'static str> {
    match name {
        "idempotency_key" => order_body::broken_text(value),
        "subject" | "model" | "metric" | "feature" | "amount" | "metadata" | "occurred_at" => {
            order_body::broken_rule(name, value)
        }
        _ => Some(
            "is not a field; the fields are subject, model, metric, feature, amount, metadata and idempotency_key",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Ask;

    fn batch(items: &[&str]) -> String {
        format!(r#"{{"items":[{}]}}"#, items.join(","))
    }

    fn refused(body: &str) -> String {
        parse(body.as_bytes(), order_body::chargeable).unwrap_err().to_string()
    }

    #[test]
    fn an_item_is_an_order_with_a_key_of_its_own() {
        let body = batch(&[r#"{"model":"m","idempotency_key":"\"k\""}"#, r#"{"metric":"tokens"}"#]);
        let items = parse(body.as_bytes(), order_body::chargeable).unwrap();
        assert_eq!(items[0].wanted.ask, Ask::Model("m".to_owned()));
        assert_eq!(items[0].idempotency_key.as_deref(), Some("k"), "quoted or not");
        assert_eq!((items[1].wanted.amount, &items[1].idempotency_key), (Amount::ONE, &None));
    }

    #[test]
    fn a_batch_has_one_to_a_hundred_items() {
        let of = |count: usize| batch(&vec![r#"{"model":"m"}"#; count]);
        assert_eq!(parse(of(100).as_bytes(), |_| Ok(())).unwrap().len(), 100);
        for body in [of(0), of(101), r#"{"items":{}}"#.to_owned(), r#"{"items":7}"#.to_owned()] {
            assert_eq!(refused(&body), "items must be a list of 1 to 100 orders");
        }
    }

    #[test]
    fn a_broken_rule_names_the_item_and_its_field() {
        for (item, expected) in [
            (r#"{"model":"m","amount":-1}"#, "items[1].amount must be a whole number"),
            (r#"{"model":7}"#, "items[1].model must be a text"),
            (r#"{"model":"m","subject":"user:{x}"}"#, "items[1].subject an id must be"),
            (r#"{"model":"m","color":1}"#, "items[1].color is not a field; the fields are subject"),
            (r#"{"model":"m","idempotency_key":7}"#, "items[1].idempotency_key must be a text"),
            (r#"{"model":"m","idempotency_key":""}"#, "items[1].idempotency_key must be 1 to 255"),
            (
                r#"{"model":"m","idempotency_key":"\"k"}"#,
                "items[1].idempotency_key is not a quoted",
            ),
            (r#"{"feature":"export"}"#, "items[1].feature can only be checked"),
            (r#"{"model":"m","model":"n"}"#, "items[1] is not valid: duplicate field"),
            ("[]", "items[1] must be an object"),
            ("7", "items[1] must be an object"),
        ] {
            let detail = refused(&batch(&[r#"{"model":"m"}"#, item]));
            assert!(detail.starts_with(expected), "{item}: {detail}");
        }
    }

    #[test]
    fn a_body_that_is_no_batch_is_told_as_a_whole() {
        for (body, expected) in [
            ("{}", "the body is not valid: missing field `items`"),
            ("[]", "the body must be an object"),
            (r#"{"items":[{]}"#, "the body is not json"),
            (r#"{"items":[],"all":true}"#, "all is not a field; a batch has items"),
        ] {
            let detail = refused(body);
            assert!(detail.starts_with(expected), "{body}: {detail}");
        }
    }

    #[test]
    fn a_key_stands_for_one_payload_of_a_subject() {
        let of = |items: &[&str]| {
            let items = parse(batch(items).as_bytes(), order_body::chargeable).unwrap();
            one_payload_a_key(&items).map_err(|error| error.to_string())
        };
        let one = r#"{"subject":"user:u_1","model":"m","idempotency_key":"k"}"#;
        let more = r#"{"subject":"user:u_1","model":"m","amount":2,"idempotency_key":"k"}"#;
        let look = r#"{"subject":"user:u_1","model":"m","amount":0,"idempotency_key":"k"}"#;
        let other = r#"{"subject":"user:u_2","model":"m","amount":2,"idempotency_key":"k"}"#;
        assert_eq!(of(&[one, other, one, look]), Ok(()));
        let detail = of(&[one, other, more]).unwrap_err();
        assert_eq!(detail, "items[2].idempotency_key stands for another payload before");
    }
}
