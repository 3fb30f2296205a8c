//! The record that a store keeps of a snapshot.

use std::{ops::Deref, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::{Encoding, Payload, Snapshot, SnapshotMeta};
use crate::{Digest, Error, ErrorKind, Frame, Outline, Result, codec};

/// A snapshot as a store keeps it: the sealed header, the encoded context, and the outline that the header refers to.
///
/// A store that just keeps bytes uses [`to_bytes`](SnapshotRecord::to_bytes) and
/// [`from_bytes`](SnapshotRecord::from_bytes). One that keeps outlines once and payloads in a column of their own stores
/// [`header`](SnapshotRecord::header), [`payload`](SnapshotRecord::payload) and [`outline`](SnapshotMeta::outline)
/// apart, and puts them together with [`from_parts`](SnapshotRecord::from_parts).
///
/// Where the payload is stored as a [change](Encoding::Delta) of a [`Frame`], the store gives the frame with the record
/// ([`with_frame`](SnapshotRecord::with_frame)), and keeps it as long as any record needs it. A store without frames appends what
/// [`standing_alone`](SnapshotRecord::standing_alone) gives.
///
/// A record that was listed [without payloads](crate::storage::SnapshotQuery::with_payloads) says everything but its context, which
/// is then an error to ask for, and such a record cannot be appended or written out.
#[derive(Debug, Clone)]
pub struct SnapshotRecord {
    meta: Arc<SnapshotMeta>,
    header: Bytes,
    /// None if it was read without.
    payload: Option<Payload>,
    frame: Option<Arc<Frame>>,
    content: Content,
    /// Whether the payload is the very text that was sealed, so that it need not be looked at again.
    is_sealed: bool,
    digest: Digest,
    remnant: Option<Remnant>,
}

/// Where a record belongs in a history of which earlier records were pruned, so that what is left can be appended to another store.
///
/// It stands for the chain only where there is a hole: a record right behind the one that the mark names must also name it itself, by
/// `prev_digest`.
///
/// Kept in memory only: it is no part of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remnant {
    /// The sequence and digest of the record that precedes it in what is left of the history; none if it is the first that is left.
    pub after: Option<(u64, Digest)>,
    /// When the saga started: [`SagaSummary::started_at`](crate::storage::SagaSummary::started_at) of the store that it comes from.
    pub started_at: DateTime<Utc>,
}

/// What a header says of the context's JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) digest: Digest,
    pub(crate) len: u64,
}

impl Content {
    pub(crate) fn of(json: &[u8]) -> Self {
        Self { digest: Digest::of(json), len: json.len() as u64 }
    }
}

impl SnapshotRecord {
    /// Seals a snapshot: encodes its header, binds the context `json` (exact JSON text, not parsed) by digest, and
    /// computes the record's own digest.
    pub fn seal(meta: SnapshotMeta, json: Bytes) -> Self {
        let content = Content::of(&json);
        let (header, digest) = codec::header::encode(&meta, content);
        Self {
            meta: Arc::new(meta),
            header,
            payload: Some(Payload::json(json)),
            frame: None,
            content,
            is_sealed: true,
            digest,
            remnant: None,
        }
    }

    /// Puts a record together from its stored parts; the context is checked when it is [decoded](SnapshotRecord::decode).
    ///
    /// # Errors
    /// `Integrity` if the header is damaged or was made for another outline; `NewerVersion` if it is of a later format.
    pub fn from_parts(outline: Arc<Outline>, header: Bytes, payload: Payload) -> Result<Self> {
        Ok(Self { payload: Some(payload), ..Self::from_header(outline, header)? })
    }

    /// A record without its payload, from its stored header: for a listing that leaves payloads out.
    ///
    /// # Errors
    /// As for [`from_parts`](SnapshotRecord::from_parts).
    pub fn from_header(outline: Arc<Outline>, header: Bytes) -> Result<Self> {
        let (meta, content, digest) = codec::header::decode(outline, &header)?;
        Ok(Self { meta: Arc::new(meta), header, payload: None, frame: None, content, is_sealed: false, digest, remnant: None })
    }

    /// The same record without its payload.
    #[must_use]
    pub fn without_payload(mut self) -> Self {
        self.payload = None;
        self.frame = None;
        self
    }

    /// The same record, to be appended where pruning has left a hole before it: see [`Remnant`].
    #[must_use]
    pub fn as_remnant(mut self, remnant: Remnant) -> Self {
        self.remnant = Some(remnant);
        self
    }

    /// Whether it may be appended where pruning has left a hole before it.
    pub fn is_remnant(&self) -> bool {
        self.remnant.is_some()
    }

    /// The sequence and digest of the record that must be a saga's newest for this one to be appended; none if the saga must not exist.
    pub fn predecessor(&self) -> Option<(u64, Digest)> {
        let named = Some((self.meta.sequence.saturating_sub(1), self.meta.prev_digest));
        match self.remnant {
            // A mark before which there is no hole does not stand for the chain.
            Some(Remnant { after: Some((sequence, _)), .. }) if sequence.checked_add(1) == Some(self.meta.sequence) => named,
            Some(remnant) => remnant.after,
            None if self.meta.sequence <= 1 => None,
            None => named,
        }
    }

    /// When a saga started whose first stored record this is.
    pub fn begins_at(&self) -> DateTime<Utc> {
        self.remnant.map_or(self.meta.created_at, |remnant| remnant.started_at)
    }

    /// The same record with the frame that its payload is a change of.
    #[must_use]
    pub fn with_frame(mut self, frame: Arc<Frame>) -> Self {
        self.frame = Some(frame);
        self
    }

    /// The frame that the payload is a change of, if it is [one](Encoding::Delta).
    pub fn frame(&self) -> Option<&Arc<Frame>> {
        self.frame.as_ref()
    }

    /// The same record with a payload that can be read without a frame: what a store appends that keeps none.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode), if the payload is a change of a frame.
    pub fn standing_alone(mut self) -> Result<Self> {
        if self.payload()?.encoding == Encoding::Delta {
            self.payload = Some(Payload::json(self.context_text()?));
        }
        self.frame = None;
        Ok(self)
    }

    /// The whole record, outline included, as one self-describing sequence of bytes.
    ///
    /// # Errors
    /// `Invalid` if it was read without its payload.
    pub fn to_bytes(&self) -> Result<Bytes> {
        codec::envelope::encode(self)
    }

    /// Reads what [`to_bytes`](SnapshotRecord::to_bytes) wrote.
    ///
    /// # Errors
    /// `Integrity` for damaged bytes, `NewerVersion` for a later format, `LimitExceeded` for absurd lengths.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self> {
        codec::envelope::decode(bytes)
    }

    /// The sealed header: what the digest covers, with a checksum.
    pub fn header(&self) -> &Bytes {
        &self.header
    }

    /// The encoded context.
    ///
    /// # Errors
    /// `Invalid` if the record was read without it.
    pub fn payload(&self) -> Result<&Payload> {
        self.payload.as_ref().ok_or_else(|| self.lacks_payload())
    }

    /// Whether it has its payload: false only for a record that was read without.
    pub fn has_payload(&self) -> bool {
        self.payload.is_some()
    }

    fn lacks_payload(&self) -> Error {
        Error::invalid("read context", "the record was read without its context")
            .hint("load the record by its sequence, or list it with payloads")
            .with("snapshot", self.meta.id())
    }

    /// SHA-256 over the header, which holds the digest of the context and that of the previous record.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// SHA-256 over the context's JSON text.
    pub fn content_digest(&self) -> Digest {
        self.content.digest
    }

    /// What the snapshot says but its context.
    pub fn meta(&self) -> &Arc<SnapshotMeta> {
        &self.meta
    }

    /// How many bytes the context's JSON text has, as the header says.
    pub fn content_len(&self) -> u64 {
        self.content.len
    }

    /// How many bytes the record takes: header and payload, without what a store adds; of one that was read without its payload, the
    /// header alone.
    pub fn stored_len(&self) -> u64 {
        (self.header.len() + self.payload.as_ref().map_or(0, |payload| payload.bytes.len())) as u64
    }

    /// How many bytes it holds in memory at most: what is [stored](Self::stored_len) of it, and its frame with the frame's text, unless
    /// `before` holds the very same one. For whoever limits how much is held at once.
    pub fn held_len(&self, before: Option<&Self>) -> u64 {
        let known = before.and_then(|before| before.frame.as_ref());
        let frame = self.frame.as_ref().filter(|frame| known.is_none_or(|known| !Arc::ptr_eq(known, frame)));
        self.stored_len() + frame.map_or(0, |frame| frame.held_len())
    }

    /// The context's JSON text, checked against its digest.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode).
    pub fn context_text(&self) -> Result<Bytes> {
        let name = |error: Error| {
            error.hint("restore the record from a backup, or replay from another checkpoint").with("snapshot", self.meta.id())
        };
        let text = codec::frame::text(self.payload()?, self.frame.as_deref(), self.content.len).map_err(name)?;
        if self.is_sealed || Content::of(&text) == self.content {
            return Ok(text);
        }
        let is_frame = self.frame.as_ref().is_some_and(|frame| !frame.is_sound());
        let message = if is_frame {
            "the frame that the context is a change of is not what was stored"
        } else {
            "the stored context is not what was captured"
        };
        Err(name(Error::new(ErrorKind::Integrity, "decode snapshot").message(message)))
    }

    /// Checks the context against its digest and gives the snapshot.
    ///
    /// # Errors
    /// `Integrity`, naming the record, if the context is not what was sealed, or is a change of a frame that is missing or another;
    /// `LimitExceeded` if it claims to be far larger than it could; `Invalid` if the record was read without it.
    pub fn decode(self) -> Result<Snapshot> {
        let text = self.context_text()?;
        Ok(Snapshot::new(self.meta, text, self.digest))
    }
}

impl PartialEq for SnapshotRecord {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for SnapshotRecord {}

impl Deref for SnapshotRecord {
    type Target = SnapshotMeta;

    fn deref(&self) -> &SnapshotMeta {
        &self.meta
    }
}
