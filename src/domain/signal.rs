//! What is told of beside events: refusals, limits that are near, abuse, recoveries.

use serde_json::Value;
use serde_json::json;
use uuid::Uuid;

use super::denial::Denial;
use super::event::EventKind;

/// What something that happened is called in the live feed and in webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// Units were used.
    Consumed,
    /// A consume was refused.
    Denied,
    /// A counter came near to its limit.
    Warning,
    /// A counter reached its limit.
    Reached,
    /// Units were held.
    Reserved,
    /// Held units became free again, or a hold was given more time.
    Released,
    /// Units were given back.
    Refunded,
    /// A counter was given a value.
    Set,
    /// An admin cleared counters.
    Reset,
    /// Bonus units were given away.
    Transferred,
    /// Unused units were carried into a new window.
    RolledOver,
    /// A rule found a pattern of abuse.
    Abuse,
    /// A rule found unusual usage.
    Spike,
    /// A shard was recovered after Redis lost something.
    ShardRecovered,
}

impl SignalKind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Consumed,
        Self::Denied,
        Self::Warning,
        Self::Reached,
        Self::Reserved,
        Self::Released,
        Self::Refunded,
        Self::Set,
        Self::Reset,
        Self::Transferred,
        Self::RolledOver,
        Self::Abuse,
        Self::Spike,
        Self::ShardRecovered,
    ];

    /// The `type` of its `CloudEvent`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consumed => "quota-consumed",
            Self::Denied => "quota-denied",
            Self::Warning => "quota-warning",
            Self::Reached => "quota-reached",
            Self::Reserved => "quota-reserved",
            Self::Released => "quota-released",
            Self::Refunded => "quota-refunded",
            Self::Set => "quota-set",
            Self::Reset => "quota-reset",
            Self::Transferred => "quota-transferred",
            Self::RolledOver => "quota-rolled-over",
            Self::Abuse => "abuse-detected",
            Self::Spike => "spike-detected",
            Self::ShardRecovered => "shard-recovered",
        }
    }

    /// The kind with that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What an event is told of as.
    #[must_use]
    pub const fn of_event(kind: EventKind) -> Self {
        match kind {
            EventKind::Consume | EventKind::Commit => Self::Consumed,
            EventKind::Reset => Self::Reset,
            EventKind::Set => Self::Set,
            EventKind::Reserve => Self::Reserved,
            EventKind::Release | EventKind::Expire | EventKind::Extend => Self::Released,
            EventKind::Refund => Self::Refunded,
            EventKind::Transfer => Self::Transferred,
            EventKind::Rollover => Self::RolledOver,
        }
    }
}

/// Something that is told of beside the events.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// Its id, a `UUIDv7`.
    pub id: Uuid,
    /// What it is called.
    pub kind: SignalKind,
    /// Whom it is about, as a path; `None` is about no subject.
    pub subject: Option<String>,
    /// When it happened, in Unix milliseconds; `None` is when it is written.
    pub occurred_at_ms: Option<i64>,
    /// What else is known: a JSON object.
    pub data: Value,
}

impl Signal {
    /// A signal of when it is written.
    #[must_use]
    pub const fn new(id: Uuid, kind: SignalKind, subject: Option<String>, data: Value) -> Self {
        Self { id, kind, subject, occurred_at_ms: None, data }
    }

    /// What is told of a refusal.
    #[must_use]
    pub fn of_denial(denial: &Denial) -> Self {
        let limit = denial.limit.as_ref();
        Self {
            id: denial.denial_id,
            kind: SignalKind::Denied,
            subject: Some(denial.subject.clone()),
            occurred_at_ms: Some(denial.denied_at_ms),
            data: json!({
                "code": denial.code.as_str(),
                "limit": limit.map(|limit| &limit.name),
                "level": limit.map(|limit| &limit.level),
                "metric": denial.metric,
                "model": denial.model,
                "amount": denial.amount,
                "plan": denial.plan,
                "request_id": denial.request_id,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_is_found_by_it() {
        for kind in SignalKind::ALL {
            assert_eq!(SignalKind::named(kind.as_str()), Some(kind));
        }
        assert_eq!(SignalKind::named("quota"), None);
    }
}
