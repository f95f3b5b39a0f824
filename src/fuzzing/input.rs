//! Values out of bytes.

/// Reads values off the front of bytes; when they are used up, zeros and empty texts.
#[derive(Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of the bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// At most so many bytes.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// A number: a byte says how many of the next eight bytes it has, so that small ones are likely.
    pub fn number(&mut self) -> u64 {
        let count = usize::from(self.byte() % 9);
        self.bytes(count).iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// A part of the bytes, as long as a leading number says.
    pub fn part(&mut self) -> &'a [u8] {
        let count = usize::try_from(self.number()).unwrap_or(usize::MAX);
        self.bytes(count)
    }

    /// A text as long as a leading number says; empty when it is not UTF-8.
    pub fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.part()).unwrap_or_default()
    }

    /// All that is left, as a text; empty when it is not UTF-8.
    pub fn rest(&mut self) -> &'a str {
        std::str::from_utf8(std::mem::take(&mut self.0)).unwrap_or_default()
    }
}
