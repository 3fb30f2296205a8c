//! Bytes with a mark, a version and, where it pays, compression.

use bytes::Bytes;
use replay_core::{Error, ErrorKind, Result};

use crate::wire::{Reader, Writer, damaged, newer};

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const LEVEL: i32 = 3;

/// Nothing is larger when it is unpacked: a bundle holds a few hundred items, or one large one.
const LARGEST: u64 = 2 << 30;

/// The object for `body`; what does not shrink is kept as it is.
pub(crate) fn seal(magic: [u8; 3], version: u8, body: &[u8]) -> Bytes {
    let smaller = zstd::bulk::compress(body, LEVEL).ok().filter(|packed| packed.len() < body.len());
    let (how, stored) = smaller.as_ref().map_or((PLAIN, body), |packed| (ZSTD, &packed[..]));
    let mut out = Writer::with_capacity(stored.len() + 16);
    out.raw(&magic);
    out.u8(version);
    out.u8(how);
    out.len(body.len());
    out.raw(stored);
    out.into_bytes()
}

/// The body of an object of the kind `what`, up to that version.
///
/// # Errors
/// `Integrity` for another kind or what cannot be unpacked, `NewerVersion` if a later version wrote it.
pub(crate) fn open(magic: [u8; 3], (what, known): (&'static str, u8), object: &Bytes) -> Result<Bytes> {
    let mut from = Reader::new(object.clone());
    if from.take(magic.len())? != magic[..] {
        return Err(damaged("is of another kind than its key says"));
    }
    let version = from.u8()?;
    if version != known {
        return Err(newer(what, version));
    }
    let how = from.u8()?;
    let len = from.varint()?;
    if len > LARGEST {
        return Err(Error::new(ErrorKind::LimitExceeded, "read object").with("bytes", len).with("limit", LARGEST));
    }
    let len = usize::try_from(len).map_err(|_| damaged("has an absurd length"))?;
    let stored = from.rest();
    let body = match how {
        PLAIN => stored,
        ZSTD => zstd::bulk::decompress(&stored, len).map_err(|e| damaged("cannot be unpacked").caused_by(e))?.into(),
        _ => return Err(newer("compression", how)),
    };
    if body.len() == len { Ok(body) } else { Err(damaged("has another length than it says")) }
}
