//! Variable-length integers and length-prefixed fields over bytes that may be hostile.

use bytes::{Buf, Bytes};

use crate::{Error, ErrorKind, Result};

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from `bytes` without copying; every length is checked against what is left.
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
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

    pub(crate) fn u32(&mut self) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| damaged("has a number that is too large"))
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<Bytes> {
        if len > self.0.len() { Err(damaged("ends too early")) } else { Ok(self.0.split_to(len)) }
    }

    pub(crate) fn rest(self) -> Bytes {
        self.0
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes> {
        let len = usize::try_from(self.varint()?).map_err(|_| damaged("has an absurd length"))?;
        self.take(len)
    }
}

pub(crate) fn damaged(how: &'static str) -> Error {
    Error::new(ErrorKind::Integrity, "decode record").message(format!("the record {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_back_and_an_overlong_one_is_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(Reader::new(out.into()).varint().unwrap(), value);
        }
        assert!(Reader::new(vec![0xff; 11].into()).varint().is_err());
        assert!(Reader::new(Bytes::new()).varint().is_err());
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        assert!(Reader::new(out.into()).bytes().is_err());
    }
}
