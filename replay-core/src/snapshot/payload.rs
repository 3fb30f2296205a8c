//! The context as a store keeps it.

use std::fmt;

use bytes::Bytes;

use crate::{Error, ErrorKind, Result};

/// A snapshot's context as stored: an encoding and bytes. The digests are over the JSON text, so a payload may be
/// encoded anew without touching the chain.
///
/// A payload of [`Encoding::Delta`] can be read only with the [`Frame`](crate::Frame) that it is a change of, which the record
/// [carries](crate::SnapshotRecord::frame).
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// How the bytes are encoded.
    pub encoding: Encoding,
    /// The encoded bytes.
    pub bytes: Bytes,
}

impl Payload {
    /// JSON text as it is.
    pub fn json(text: Bytes) -> Self {
        Self { encoding: Encoding::Json, bytes: text }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({:?}, {} bytes)", self.encoding, self.bytes.len())
    }
}

/// How a payload's bytes are encoded. Codes are stored; those up to 15 are kept for compression, deltas and encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// The JSON text as it is.
    Json,
    /// The JSON text, compressed by itself with zstd.
    Zstd,
    /// A change of a frame's text: no bytes at all = that text itself; first byte 0 = another text in one place of it, after the
    /// lengths of what precedes and of what follows (LEB128); else zstd with the frame's text as its prefix.
    Delta,
}

impl Encoding {
    /// The stored code.
    pub fn code(self) -> u8 {
        match self {
            Self::Json => 0,
            Self::Zstd => 1,
            Self::Delta => 2,
        }
    }

    /// The encoding with this code.
    ///
    /// # Errors
    /// `NewerVersion` for a code that this version does not know.
    pub fn from_code(code: u8) -> Result<Self> {
        match code {
            0 => Ok(Self::Json),
            1 => Ok(Self::Zstd),
            2 => Ok(Self::Delta),
            _ => Err(Error::new(ErrorKind::NewerVersion, "decode record")
                .message(format!("payload encoding {code} is not known to this version"))
                .hint("read it with the version that wrote it, or a newer one")),
        }
    }
}
