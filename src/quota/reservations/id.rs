//! The ids of reservations, which tell by themselves who holds what, so that a commit can be honoured when nobody
//! remembers the hold.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Hmac;
use hmac::KeyInit as _;
use hmac::Mac as _;
use sha2::Sha256;
use uuid::Uuid;

use crate::domain::Amount;
use crate::domain::Metric;
use crate::domain::Subject;
use crate::quota::order::Ask;

/// What an id begins with.
const PREFIX: &str = "rsv_";
/// The longest id that is looked at, in bytes.
const BYTES_MAX: usize = 2_048;
/// Bytes of the tag: half of HMAC-SHA-256's (RFC 2104 section 5).
const TAG_BYTES: usize = 16;

/// A reservation as its id tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationId {
    /// The id of the event that made it.
    pub event_id: Uuid,
    /// Who holds.
    pub subject: Subject,
    /// What is held: a model or a metric.
    pub ask: Ask,
    /// How often.
    pub amount: Amount,
    /// When it was made, in Unix seconds.
    pub at_s: i64,
    /// Until when it held at first, in Unix seconds.
    pub until_s: i64,
}

/// The key that signs the ids; every node has the same.
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// The fields as they stand in an id.
type Fields<'a> = (Uuid, std::borrow::Cow<'a, str>, bool, std::borrow::Cow<'a, str>, u64, i64, i64);

impl SigningKey {
    /// The key with those bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(payload);
        mac
    }
}

impl ReservationId {
    /// The id's text.
    ///
    /// # Panics
    ///
    /// Never: every field has a form in JSON.
    #[must_use]
    pub fn to_text(&self, key: &SigningKey) -> String {
        let (is_model, name) = match &self.ask {
            Ask::Model(model) => (true, model.as_str()),
            Ask::Metric(metric) => (false, metric.as_str()),
            Ask::Feature(feature) => (false, feature.as_str()),
        };
        let subject = self.subject.as_str().into();
        let fields: Fields<'_> = (
            self.event_id,
            subject,
            is_model,
            name.into(),
            self.amount.get().into(),
            self.at_s,
            self.until_s,
        );
        let mut bytes = serde_json::to_vec(&fields).expect("every field has a form in JSON");
        let tag = key.mac(&bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag[..TAG_BYTES]);
        [PREFIX, &URL_SAFE_NO_PAD.encode(bytes)].concat()
    }

    /// Reads an id that this service gave out; `None` is any other text.
    #[must_use]
    pub fn parse(text: &str, key: &SigningKey) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX).filter(|_| text.len() <= BYTES_MAX)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let (payload, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_BYTES)?)?;
        key.mac(payload).verify_truncated_left(tag).ok()?;
        let (event_id, subject, is_model, name, amount, at_s, until_s): Fields<'_> =
            serde_json::from_slice(payload).ok()?;
        let ask = if is_model {
            Ask::Model(name.into_owned())
        } else {
            Ask::Metric(Metric::new(&name).ok()?)
        };
        let (subject, amount) = (Subject::parse(&subject).ok()?, Amount::new(amount).ok()?);
        Some(Self { event_id, subject, ask, amount, at_s, until_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SigningKey = SigningKey::new([7; 32]);

    fn id() -> ReservationId {
        ReservationId {
            event_id: Uuid::from_u128(7),
            subject: Subject::parse("org:acme/user:u_1").unwrap(),
            ask: Ask::Model("claude-sonnet-4".to_owned()),
            amount: Amount::new(4_096).unwrap(),
            at_s: 1_795_305_600,
            until_s: 1_795_305_900,
        }
    }

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let metric = ReservationId { ask: Ask::Metric(Metric::new("tokens").unwrap()), ..id() };
        for id in [id(), metric] {
            let text = id.to_text(&KEY);
            assert!(text.starts_with("rsv_") && text.bytes().all(|it| it.is_ascii_graphic()));
            assert_eq!(ReservationId::parse(&text, &KEY), Some(id));
        }
    }

    #[test]
    fn what_was_changed_or_signed_by_others_is_no_id() {
        let text = id().to_text(&KEY);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(ReservationId::parse(&changed, &KEY), None, "{at}");
        }
        assert_eq!(ReservationId::parse(&text, &SigningKey::new([8; 32])), None);
        for text in ["", "rsv_", "rsv_AAAA", &"rsv_A".repeat(1_000)] {
            assert_eq!(ReservationId::parse(text, &KEY), None);
        }
    }
}
