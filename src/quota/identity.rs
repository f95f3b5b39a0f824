//! What makes a repeated request known: its event's id, its key's hash and its payload's fingerprint.

use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use sha2::Digest;
use sha2::Sha256;
use uuid::Builder;
use uuid::Uuid;

use crate::counters::Idempotency;
use crate::domain::Calendar;
use crate::domain::Period;
use crate::domain::Subject;

use super::actor::Actor;
use super::order::Ask;
use super::order::Order;

/// What is known of an operation before its first attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) event_id: Uuid,
    pub(super) idempotency: Option<Idempotency>,
}

/// The identity of a consume at an instant of Redis' time.
///
/// With an idempotency key the event's id follows from the subject, the key and the month, so that Postgres knows a
/// repetition even after Redis lost its record (I7). Without one it is the request's own id, or a new one.
pub(super) fn of_consume(order: &Order, at: DateTime<Utc>) -> Identity {
    let Some(key) = &order.idempotency_key else {
        let event_id = order.context.made_id.unwrap_or_else(Uuid::now_v7);
        return Identity { event_id, idempotency: None };
    };
    keyed("consume", &order.subject, key, fingerprint(order), at)
}

/// The identity of a reserve, as that of a consume; how long to hold is a part of what is asked.
pub(super) fn of_reserve(order: &Order, time: Duration, at: DateTime<Utc>) -> Identity {
    let Some(key) = &order.idempotency_key else {
        let event_id = order.context.made_id.unwrap_or_else(Uuid::now_v7);
        return Identity { event_id, idempotency: None };
    };
    let asked = digest(&[&fingerprint(order), &time.as_secs().to_be_bytes()]);
    keyed("reserve", &order.subject, key, first_eight(asked), at)
}

/// The identity of what ends or moves a hold, with a key. `payload` is a text that differs where what is asked does.
pub(super) fn of_end(
    action: &str,
    subject: &Subject,
    key: &str,
    payload: &str,
    at: DateTime<Utc>,
) -> Identity {
    keyed(action, subject, key, first_eight(digest(&[payload.as_bytes()])), at)
}

/// The identity of an admin's act on a subject's counters at an instant of Redis' time. `payload` is a text that differs
/// where what is asked does.
pub(super) fn of_act(
    action: &str,
    subject: &Subject,
    payload: &str,
    actor: &Actor,
    at: DateTime<Utc>,
) -> Identity {
    let Some(key) = &actor.idempotency_key else {
        let event_id = actor.context.made_id.unwrap_or_else(Uuid::now_v7);
        return Identity { event_id, idempotency: None };
    };
    keyed(action, subject, key, first_eight(digest(&[payload.as_bytes()])), at)
}

/// The ids that [`of_act`] gives the act in other months that are less than `ttl` away: in those before, under which it may have
/// been done, and in the one after, in which a node whose clock is ahead may be already.
pub(super) fn of_act_in_other_months(
    action: &str,
    subject: &Subject,
    actor: &Actor,
    at: DateTime<Utc>,
    ttl: Duration,
) -> Vec<Uuid> {
    let Some(key) = &actor.idempotency_key else { return Vec::new() };
    let (_, rest) = hash_of_key(action, subject, key);
    let month_of = |at| Period::Month.window_at(at, &Calendar::UTC);
    let (own, mut month, mut ids) = (month_of(at), month_of(at + ttl), Vec::new());
    while month.end_at() > at - ttl {
        if month != own {
            ids.push(id_in_month(rest, month.start_at()));
        }
        month = month_of(month.start_at() - TimeDelta::seconds(1));
    }
    ids
}

/// The event in which windows of a level begin with what those before them left: the same whoever makes it.
pub(super) fn of_roll(level: &Subject, windows: impl Iterator<Item = (String, i64)>) -> Uuid {
    let (mut parts, mut latest_s) = (vec![b"roll".to_vec(), level.as_str().into()], 0);
    for (limit, start_s) in windows {
        parts.extend([limit.into_bytes(), start_s.to_be_bytes().to_vec()]);
        latest_s = latest_s.max(start_s);
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    id_at(halves(digest(&parts)).1, latest_s.cast_unsigned() * 1_000)
}

/// The event that settles another: the same for every attempt, and in the same month of the log.
pub(super) fn of_settling(what: &str, event: Uuid) -> Uuid {
    let (bits, _) = halves(digest(&[what.as_bytes(), event.as_bytes()]));
    let (seconds, nanos) = event.get_timestamp().map_or((0, 0), |at| at.to_unix());
    id_at(bits, seconds * 1_000 + u64::from(nanos) / 1_000_000)
}

/// What makes a second refund of an event known, within the life of a record: another key means that it is not the same.
pub(super) fn of_refund(event: Uuid, key: Option<&str>) -> Idempotency {
    let (key_hash, _) = halves(digest(&[b"refund", event.as_bytes()]));
    let fingerprint = first_eight(digest(&[key.unwrap_or_default().as_bytes()]));
    Idempotency { key_hash, fingerprint }
}

/// What makes a second attempt at taking a gift's units known, in an epoch: what was taken in one that ended is in the log or lost.
pub(super) fn of_transfer(id: Uuid, epoch: u64) -> Idempotency {
    let (key_hash, _) = halves(digest(&[b"transfer", id.as_bytes(), &epoch.to_be_bytes()]));
    Idempotency { key_hash, fingerprint: [0; 8] }
}

/// An operation with a key: its event's id follows from subject, key and month.
fn keyed(
    operation: &str,
    subject: &Subject,
    key: &str,
    fingerprint: [u8; 8],
    at: DateTime<Utc>,
) -> Identity {
    let (key_hash, rest) = hash_of_key(operation, subject, key);
    let idempotency = Idempotency { key_hash, fingerprint };
    Identity { event_id: id_in_month(rest, at), idempotency: Some(idempotency) }
}

fn hash_of_key(operation: &str, subject: &Subject, key: &str) -> ([u8; 16], [u8; 16]) {
    halves(digest(&[operation.as_bytes(), subject.as_str().as_bytes(), key.as_bytes()]))
}

/// A `UUIDv7` (RFC 9562 §5.7) whose time is the first instant of the month and whose other bits are given.
fn id_in_month(bits: [u8; 16], at: DateTime<Utc>) -> Uuid {
    id_at(bits, Period::Month.window_at(at, &Calendar::UTC).start_s.cast_unsigned() * 1_000)
}

/// A `UUIDv7` of that time, in Unix milliseconds, whose other bits are given.
fn id_at(bits: [u8; 16], at_ms: u64) -> Uuid {
    let mut random = [0; 10];
    random.copy_from_slice(&bits[..10]);
    Builder::from_unix_timestamp_millis(at_ms, &random).into_uuid()
}

/// A hash of what is asked, so that a key used for something else is noticed.
fn fingerprint(order: &Order) -> [u8; 8] {
    let (kind, name) = match &order.ask {
        Ask::Model(model) => (b"model".as_slice(), model.as_bytes()),
        Ask::Metric(metric) => (b"metric".as_slice(), metric.as_str().as_bytes()),
        Ask::Feature(feature) => (b"feature".as_slice(), feature.as_bytes()),
    };
    let amount = order.amount.get().to_be_bytes();
    let metadata = order.metadata.as_deref().unwrap_or("").as_bytes();
    first_eight(digest(&[kind, name, &amount, metadata]))
}

fn first_eight(digest: [u8; 32]) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&digest[..8]);
    eight
}

/// SHA-256 of the parts, each behind its length, so that no two lists of parts give the same text.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn halves(digest: [u8; 32]) -> ([u8; 16], [u8; 16]) {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    first.copy_from_slice(&digest[..16]);
    second.copy_from_slice(&digest[16..]);
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Amount;
    use crate::quota::order::RequestContext;

    fn order(key: &str, amount: u64) -> Order {
        Order {
            subject: Subject::parse("user:u_1").unwrap(),
            ask: Ask::Model("m".to_owned()),
            amount: Amount::new(amount).unwrap(),
            metadata: None,
            idempotency_key: Some(key.to_owned()),
            context: RequestContext::default(),
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_same_key_gives_the_same_event_all_month_and_another_the_next() {
        let first = of_consume(&order("k", 1), at("2026-11-01T00:00:00Z"));
        let later = of_consume(&order("k", 1), at("2026-11-30T23:59:59Z"));
        let next = of_consume(&order("k", 1), at("2026-12-01T00:00:00Z"));
        assert_eq!(first, later);
        assert_ne!(first.event_id, next.event_id);
        assert_eq!(first.event_id.get_version_num(), 7);
        let instant = first.event_id.get_timestamp().unwrap().to_unix();
        let month = at("2026-11-01T00:00:00Z").timestamp().cast_unsigned();
        assert_eq!(instant, (month, 0), "by which the log's partition is chosen");
    }

    #[test]
    fn an_act_has_ids_in_the_months_that_are_near() {
        let (subject, day) = (Subject::parse("user:u_1").unwrap(), Duration::from_hours(24));
        let context = RequestContext::default();
        let key = Some("k".to_owned());
        let actor = Actor { name: "a".to_owned(), reason: None, idempotency_key: key, context };
        let near =
            |text, ttl| of_act_in_other_months("grant.create", &subject, &actor, at(text), ttl);
        let of = |text| of_act("grant.create", &subject, "", &actor, at(text)).event_id;

        assert_eq!(near("2026-12-01T23:59:59Z", day), [of("2026-11-30T23:59:59Z")]);
        assert_eq!(near("2026-12-02T00:00:00Z", day), Vec::<Uuid>::new());
        assert_eq!(near("2026-11-30T00:00:01Z", day), [of("2026-12-01T00:00:00Z")]);
        let months = ["2027-03-05T00:00:00Z", "2027-01-05T00:00:00Z"].map(of);
        assert_eq!(near("2027-02-28T00:00:00Z", 30 * day), months);
        let nameless = Actor { idempotency_key: None, ..actor.clone() };
        assert!(
            of_act_in_other_months("x", &subject, &nameless, at("2026-12-01T00:00:00Z"), day)
                .is_empty()
        );
    }

    #[test]
    fn another_payload_has_the_same_key_and_another_fingerprint() {
        let now = at("2026-11-01T00:00:00Z");
        let (one, two) = (of_consume(&order("k", 1), now), of_consume(&order("k", 2), now));
        let (one, two) = (one.idempotency.unwrap(), two.idempotency.unwrap());
        assert_eq!(one.key_hash, two.key_hash);
        assert_ne!(one.fingerprint, two.fingerprint);
    }

    /// Guards the partition of the log that an event goes to which no caller has named.
    #[test]
    fn what_follows_from_others_has_their_time() {
        let level = Subject::parse("user:u_1").unwrap();
        let windows = [("a-day", 86_400), ("b-day", 172_800), ("c-day", 3_600)];
        let windows = windows.map(|(limit, start_s)| (limit.to_owned(), start_s)).into_iter();
        let event = Builder::from_unix_timestamp_millis(1_795_305_600_789, &[7; 10]).into_uuid();
        let time_of = |id: Uuid| id.get_timestamp().unwrap().to_unix();

        let (roll, settling) = (of_roll(&level, windows), of_settling("expire", event));

        assert_eq!(time_of(roll), (172_800, 0), "the latest window's start");
        assert_eq!(time_of(settling), (1_795_305_600, 789_000_000));
        assert_ne!(settling, of_settling("release", event));
    }
}
