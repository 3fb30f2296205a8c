//! Variable-length integers and length-prefixed fields over bytes that may be hostile.

use bytes::{Buf, Bytes};
use replay_core::{Digest, Error, ErrorKind, Result};

/// Writes what [`Reader`] reads.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(len: usize) -> Self {
        Self(Vec::with_capacity(len))
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// A number of either sign; the closer to 0, the shorter.
    pub(crate) fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.varint(bytes.len() as u64);
        self.raw(bytes);
    }

    pub(crate) fn len(&mut self, len: usize) {
        self.varint(len as u64);
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0.into()
    }
}

/// Reads from bytes without copying; every length is checked against what is left.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn rest(self) -> Bytes {
        self.0
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        if self.0.is_empty() { Err(damaged("ends too early")) } else { Ok(self.0.get_u8()) }
    }

    pub(crate) fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged("has a number that is too large"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| damaged("has a number that is too large"))
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<Bytes> {
        if len > self.0.len() { Err(damaged("ends too early")) } else { Ok(self.0.split_to(len)) }
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes> {
        let len = usize::try_from(self.varint()?).map_err(|_| damaged("has an absurd length"))?;
        self.take(len)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes[..].try_into().map_err(|_| damaged("has a field of the wrong size"))
    }

    pub(crate) fn digest(&mut self) -> Result<Digest> {
        self.fixed().map(Digest::from_bytes)
    }

    pub(crate) fn text(&mut self) -> Result<String> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| damaged("has text that is not UTF-8"))
    }

    /// How many things follow; each takes at least a byte, so a hostile count allocates nothing.
    pub(crate) fn count(&mut self) -> Result<usize> {
        let count = usize::try_from(self.varint()?).map_err(|_| damaged("has an absurd length"))?;
        if count > self.0.len() { Err(damaged("ends too early")) } else { Ok(count) }
    }

    pub(crate) fn end(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged("has bytes after its end")) }
    }
}

/// An object that is not what was written.
pub(crate) fn damaged(how: &'static str) -> Error {
    Error::new(ErrorKind::Integrity, "read object")
        .message(format!("an object of the store {how}"))
        .hint("was it changed by something else? restore it from a backup or an earlier version of the object")
}

/// An object that a later version wrote.
pub(crate) fn newer(what: &'static str, version: u8) -> Error {
    Error::new(ErrorKind::NewerVersion, "read object")
        .message(format!("{what} format {version} is not known to this version"))
        .hint("read it with the version that wrote it, or a newer one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_signs_are_read_back() {
        let signed = [0, 1, -1, 63, -64, 64, i64::MAX, i64::MIN, 1_767_225_600_000_000];
        let unsigned = [0, 1, 127, 128, u64::from(u32::MAX), u64::MAX];
        let mut writer = Writer::default();
        for value in signed {
            writer.signed(value);
        }
        for value in unsigned {
            writer.varint(value);
        }
        let mut reader = Reader::new(writer.into_bytes());
        for value in signed {
            assert_eq!(reader.signed().unwrap(), value);
        }
        for value in unsigned {
            assert_eq!(reader.varint().unwrap(), value);
        }
        reader.end().unwrap();
    }

    #[test]
    fn lengths_and_counts_beyond_the_end_are_refused() {
        let mut writer = Writer::default();
        writer.varint(u64::MAX);
        let bytes = writer.into_bytes();
        assert!(Reader::new(bytes.clone()).bytes().is_err());
        assert!(Reader::new(bytes).count().is_err());
        assert!(Reader::new(vec![0xff; 11].into()).varint().is_err());
    }
}
