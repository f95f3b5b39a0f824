//! Every key, spelled once.
//!
//! The hash tag `{n}` comes first, so that no text of a user can move a key to another slot, and every key of a shard
//! lives in one.

use crc::CRC_16_XMODEM;
use crc::Crc;

/// `hr:{n}:meta` — a hash: epoch, seq, floor, instance, version, now, profiles, sweep, and during a recovery fence, fault,
/// `fault_epoch`, `fault_seq`.
#[must_use]
pub fn meta(shard: u16) -> String {
    format!("hr:{{{shard}}}:meta")
}

/// `hr:{n}:out` — the outbox, a stream whose ids are `epoch-seq`.
#[must_use]
pub fn outbox(shard: u16) -> String {
    format!("hr:{{{shard}}}:out")
}

/// `hr:{n}:pend` — a hash: the key of a level to the seq of its last event, which may be trimmed already.
#[must_use]
pub fn pending(shard: u16) -> String {
    format!("hr:{{{shard}}}:pend")
}

/// `hr:{n}:s:<subject>` — a string, the whole state of one level of a subject.
#[must_use]
pub fn subject(shard: u16, level: &str) -> String {
    // On the path of every request: joined, since formatting costs more than the rest.
    ["hr:{", &shard.to_string(), "}:s:", level].concat()
}

/// `hr:{n}:f:<subject>` — a string, the profile of one level of a subject.
#[must_use]
pub fn profile(shard: u16, level: &str) -> String {
    format!("hr:{{{shard}}}:f:{level}")
}

/// `hr:{n}:r:<16 bytes>` — a reservation's record. The bytes are its id.
#[must_use]
pub fn reservation(shard: u16, id: [u8; 16]) -> Vec<u8> {
    let mut key = ["hr:{", &shard.to_string(), "}:r:"].concat().into_bytes();
    key.extend_from_slice(&id);
    key
}

/// The pattern of all subject keys of a shard, for `SCAN`.
#[must_use]
pub fn subject_pattern(shard: u16) -> String {
    format!("hr:{{{shard}}}:s:*")
}

/// The level whose state `key` holds.
#[must_use]
pub fn level_of(key: &str) -> Option<&str> {
    key.split_once("}:s:").map(|(_, level)| level)
}

/// `hr:{n}:i:<subject>:<16 bytes>` — an idempotency record. The bytes are a hash of the caller's key, so that its text
/// builds no key.
#[must_use]
pub fn idempotency(shard: u16, subject: &str, key_hash: [u8; 16]) -> Vec<u8> {
    let mut key = ["hr:{", &shard.to_string(), "}:i:", subject, ":"].concat().into_bytes();
    key.extend_from_slice(&key_hash);
    key
}

/// The slot of a cluster in which all keys of the shard live, by their hash tag.
#[must_use]
pub fn slot(shard: u16) -> u16 {
    const CRC16: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);
    CRC16.checksum(shard.to_string().as_bytes()) % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spelled_byte_for_byte() {
        assert_eq!(meta(0), "hr:{0}:meta");
        assert_eq!(outbox(7), "hr:{7}:out");
        assert_eq!(pending(7), "hr:{7}:pend");
        assert_eq!(reservation(7, *b"0123456789abcdef"), b"hr:{7}:r:0123456789abcdef");
        assert_eq!(subject(3, "org:acme/user:u_1"), "hr:{3}:s:org:acme/user:u_1");
        assert_eq!(profile(3, "org:acme/user:u_1"), "hr:{3}:f:org:acme/user:u_1");
        assert_eq!(subject_pattern(3), "hr:{3}:s:*");
        assert_eq!(
            idempotency(1, "user:u", *b"0123456789abcdef"),
            b"hr:{1}:i:user:u:0123456789abcdef"
        );
        assert_eq!(level_of(&subject(3, "user:u_1")), Some("user:u_1"));
    }
}
