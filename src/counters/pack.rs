//! `MessagePack`, as Redis' Lua packs and unpacks it.
//!
//! Lua strings have no encoding, so texts and raw bytes both travel as `MessagePack` strings.

use rmp::Marker;
use rmp::decode;
use rmp::encode;

use super::error::CountersError;

/// Builds a `MessagePack` value. Writing to memory cannot fail.
#[derive(Debug, Default)]
pub(super) struct Packer(Vec<u8>);

const IN_MEMORY: &str = "writing to memory cannot fail";

impl Packer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn array(&mut self, length: usize) -> &mut Self {
        let length = u32::try_from(length).expect("arrays are bounded far below 2^32");
        encode::write_array_len(&mut self.0, length).expect(IN_MEMORY);
        self
    }

    pub(super) fn int(&mut self, value: i64) -> &mut Self {
        encode::write_sint(&mut self.0, value).expect(IN_MEMORY);
        self
    }

    /// A count that a Lua number holds exactly.
    pub(super) fn count(&mut self, value: u64) -> &mut Self {
        encode::write_uint(&mut self.0, value).expect(IN_MEMORY);
        self
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        let length = u32::try_from(value.len()).expect("texts are bounded far below 2^32");
        encode::write_str_len(&mut self.0, length).expect(IN_MEMORY);
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.bytes(value.as_bytes())
    }

    /// `false`.
    pub(super) fn no(&mut self) -> &mut Self {
        encode::write_bool(&mut self.0, false).expect(IN_MEMORY);
        self
    }

    pub(super) fn maybe(&mut self, value: Option<&[u8]>) -> &mut Self {
        if let Some(value) = value {
            return self.bytes(value);
        }
        encode::write_nil(&mut self.0).expect(IN_MEMORY);
        self
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads `MessagePack` values one after the other.
#[derive(Clone, Debug)]
pub(super) struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array(&mut self) -> Result<usize, CountersError> {
        let length = decode::read_array_len(&mut self.0).map_err(|_| malformed())?;
        // An item is a byte at least, which bounds what a broken length can make us reserve.
        if length as usize > self.0.len() {
            return Err(malformed());
        }
        Ok(length as usize)
    }

    pub(super) fn int(&mut self) -> Result<i64, CountersError> {
        decode::read_int(&mut self.0).map_err(|_| malformed())
    }

    pub(super) fn count(&mut self) -> Result<u64, CountersError> {
        decode::read_int(&mut self.0).map_err(|_| malformed())
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], CountersError> {
        let length = decode::read_str_len(&mut self.0).map_err(|_| malformed())? as usize;
        if length > self.0.len() {
            return Err(malformed());
        }
        let (value, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(value)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, CountersError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| malformed())
    }

    pub(super) fn maybe(&mut self) -> Result<Option<&'a [u8]>, CountersError> {
        if self.0.first().map(|byte| Marker::from_u8(*byte)) == Some(Marker::Null) {
            self.0 = &self.0[1..];
            return Ok(None);
        }
        self.bytes().map(Some)
    }

    pub(super) fn maybe_text(&mut self) -> Result<Option<String>, CountersError> {
        let Some(bytes) = self.maybe()? else { return Ok(None) };
        let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
        Ok(Some(text.to_owned()))
    }
}

fn malformed() -> CountersError {
    CountersError::malformed("a packed value")
}
