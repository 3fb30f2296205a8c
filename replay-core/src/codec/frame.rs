//! The text that deltas are changes of.

use std::{fmt, sync::OnceLock};

use bytes::Bytes;

use super::{limits, splice, wire::damaged, zstd};
use crate::{Digest, Encoding, Error, ErrorKind, Payload, Result};

/// A keyframe's JSON text, which a store keeps apart from the records that are [stored as changes](Encoding::Delta) of it.
///
/// It is named by the digest of its text. Its text is read at most once, however many records share the frame.
pub struct Frame {
    digest: Digest,
    payload: Payload,
    text: OnceLock<Bytes>,
}

impl Frame {
    /// A frame from its stored parts; the text must have this digest, which the records that are made of it prove.
    ///
    /// # Errors
    /// `Integrity` if it is said to be a delta itself.
    pub fn new(digest: Digest, payload: Payload) -> Result<Self> {
        if payload.encoding == Encoding::Delta {
            return Err(damaged("has a frame that is a delta itself"));
        }
        Ok(Self { digest, payload, text: OnceLock::new() })
    }

    /// The digest of its text.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its text as stored: [`Json`](Encoding::Json) or [`Zstd`](Encoding::Zstd).
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Its JSON text.
    ///
    /// # Errors
    /// `Integrity` if the stored bytes are damaged, `LimitExceeded` if they claim to hold far more than they could.
    pub fn text(&self) -> Result<&Bytes> {
        if let Some(text) = self.text.get() {
            return Ok(text);
        }
        let bytes = &self.payload.bytes;
        let len = self.text_len()?;
        if len > limits::MAX_FRAME_LEN as u64 {
            return Err(Error::new(ErrorKind::LimitExceeded, "decode record")
                .message("a frame has at most 8 MiB of text")
                .with("frame", self.digest)
                .with("bytes", len));
        }
        let text = match self.payload.encoding {
            Encoding::Zstd => zstd::decompress(bytes, &[], len)?,
            _ => bytes.clone(),
        };
        Ok(self.text.get_or_init(|| text))
    }

    fn text_len(&self) -> Result<u64> {
        match self.payload.encoding {
            Encoding::Zstd => zstd::declared_len(&self.payload.bytes),
            _ => Ok(self.payload.bytes.len() as u64),
        }
    }

    /// How many bytes it holds once its text was read.
    pub(crate) fn held_len(&self) -> u64 {
        let stored = self.payload.bytes.len() as u64;
        match self.payload.encoding {
            Encoding::Zstd => stored + self.text_len().map_or(0, |len| len.min(limits::MAX_FRAME_LEN as u64)),
            // The text is what is stored.
            _ => stored,
        }
    }

    /// Whether its text is the one that it is named by.
    pub(crate) fn is_sound(&self) -> bool {
        self.text().is_ok_and(|text| Digest::of(text) == self.digest)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("digest", &self.digest).field("payload", &self.payload).finish_non_exhaustive()
    }
}

/// The JSON text of `payload`, which has `len` bytes.
pub(crate) fn text(payload: &Payload, frame: Option<&Frame>, len: u64) -> Result<Bytes> {
    match (payload.encoding, frame) {
        (Encoding::Json, _) => Ok(payload.bytes.clone()),
        (Encoding::Zstd, _) => zstd::decompress(&payload.bytes, &[], len),
        (Encoding::Delta, None) => Err(damaged("is a change of a frame that is missing")),
        (Encoding::Delta, Some(frame)) if payload.bytes.is_empty() => frame.text().cloned(),
        (Encoding::Delta, Some(frame)) if splice::is_splice(&payload.bytes) => splice::decode(&payload.bytes, frame.text()?, len),
        (Encoding::Delta, Some(frame)) => zstd::decompress(&payload.bytes, frame.text()?, len),
    }
}
