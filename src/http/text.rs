//! Text of answers and headers, built piece by piece.
//!
//! The answer is the largest part of what the service computes for a decision. Serde looks at every byte of every field's
//! name for something to escape, and dates and numbers go through `fmt`: four times the instructions of what is here.

use chrono::DateTime;
use chrono::Datelike;
use chrono::Timelike;
use chrono::Utc;
use uuid::Uuid;

/// Text that grows.
#[derive(Debug)]
pub(super) struct Text(Vec<u8>);

impl Text {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    /// The text as it is.
    pub(super) fn raw(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.0.extend_from_slice(text.as_ref());
        self
    }

    /// A number.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        serde_json::to_writer(&mut self.0, &number).expect(IN_MEMORY);
        self
    }

    /// A JSON string. Nearly none has anything to escape, and to see that takes a few instructions for many bytes.
    pub(super) fn string(&mut self, text: &str) -> &mut Self {
        let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
        if text.bytes().fold(false, |found, byte| found | is_special(byte)) {
            serde_json::to_writer(&mut self.0, text).expect(IN_MEMORY);
            return self;
        }
        self.raw("\"").raw(text).raw("\"")
    }

    /// A name as it is and then the value, when there is one.
    pub(super) fn field<T>(
        &mut self,
        name: &str,
        value: Option<T>,
        write: impl FnOnce(&mut Self, T) -> &mut Self,
    ) {
        if let Some(value) = value {
            write(self.raw(name), value);
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        self.raw(if flag { "true" } else { "false" })
    }

    /// A UUID as a JSON string, or `null`.
    pub(super) fn id(&mut self, id: Option<Uuid>) -> &mut Self {
        let Some(id) = id else { return self.raw("null") };
        self.raw("\"").raw(id.hyphenated().encode_lower(&mut Uuid::encode_buffer())).raw("\"")
    }

    /// A whole second of the years 0 to 9999 as a JSON string, `"2026-12-01T00:00:00Z"`, or `null`.
    pub(super) fn second(&mut self, at: Option<DateTime<Utc>>) -> &mut Self {
        let Some(at) = at else { return self.raw("null") };
        let year = at.year().unsigned_abs();
        self.raw("\"").two(year / 100).two(year).raw("-").two(at.month()).raw("-").two(at.day());
        self.raw("T").two(at.hour()).raw(":").two(at.minute()).raw(":").two(at.second()).raw("Z\"")
    }

    /// The last two digits of a number.
    fn two(&mut self, number: u32) -> &mut Self {
        const DIGITS: [u8; 10] = *b"0123456789";
        self.0.extend([number / 10, number].map(|place| DIGITS[place as usize % 10]));
        self
    }
}

const IN_MEMORY: &str = "numbers and texts are json, and writing to memory cannot fail";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Text) -> &mut Text) -> String {
        let mut text = Text::with_capacity(0);
        write(&mut text);
        String::from_utf8(text.finish()).unwrap()
    }

    proptest! {
        #[test]
        fn every_piece_is_what_serde_writes(
            text: String,
            number: u64,
            bits: u128,
            second in -62_167_219_200_i64..253_402_300_800,
        ) {
            let (id, at) = (Uuid::from_u128(bits), DateTime::from_timestamp(second, 0));
            let json = |value: serde_json::Value| value.to_string();
            prop_assert_eq!(written(|it| it.string(&text)), json(text.clone().into()));
            prop_assert_eq!(written(|it| it.number(number)), json(number.into()));
            prop_assert_eq!(written(|it| it.id(Some(id))), json(serde_json::json!(id)));
            prop_assert_eq!(written(|it| it.second(at)), json(serde_json::json!(at)));
        }
    }

    #[test]
    fn nothing_is_null() {
        assert_eq!(written(|it| it.id(None).raw(",").second(None)), "null,null");
        assert_eq!(written(|it| it.flag(true).raw(",").flag(false)), "true,false");
    }
}
