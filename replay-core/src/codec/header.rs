//! A record's header: tagged fields that the record's digest covers, and a checksum.
//!
//! ```text
//! 'R' version(1)  { tag:u8  length:varint  bytes }*  checksum(8)
//! ```
//! Tags from 128 on may be skipped by a reader that does not know them; an unknown tag below 128 means a newer format.
//! The digest is SHA-256 over everything before the checksum; the checksum is the digest's first 8 bytes.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::wire::{Reader, damaged, put_bytes, put_varint};
use crate::{
    Digest, Error, ErrorKind, HistoryId, Result, RunnerId, SagaId,
    clock::from_micros,
    outline::{Outline, StepRanges},
    snapshot::{Content, Phase, SagaStatus, SnapshotMeta},
};

const MAGIC: u8 = b'R';
pub(crate) const VERSION: u8 = 1;
const CHECKSUM: usize = 8;

mod tag {
    pub(super) const SAGA_ID: u8 = 1;
    pub(super) const FINGERPRINT: u8 = 2;
    pub(super) const SEQUENCE: u8 = 3;
    pub(super) const STATE: u8 = 4;
    pub(super) const STEP: u8 = 5;
    pub(super) const NEXT: u8 = 6;
    pub(super) const COMPLETED: u8 = 7;
    pub(super) const LABELS: u8 = 8;
    pub(super) const FAILURE: u8 = 9;
    pub(super) const EXTERNAL_REFS: u8 = 10;
    pub(super) const CREATED_AT: u8 = 11;
    pub(super) const RETENTION_UNTIL: u8 = 12;
    pub(super) const ORIGIN: u8 = 13;
    pub(super) const ACTOR: u8 = 14;
    pub(super) const RUNNER: u8 = 15;
    pub(super) const PREV_DIGEST: u8 = 16;
    pub(super) const CONTENT_DIGEST: u8 = 17;
    pub(super) const CONTENT_LEN: u8 = 18;
    pub(super) const COMPENSATED: u8 = 19;
    pub(super) const POLICY: u8 = 20;
    pub(super) const INPUT: u8 = 21;
    pub(super) const HISTORY: u8 = 22;
    pub(super) const LAST: u8 = HISTORY;
    pub(super) const ANCILLARY: u8 = 128;
}

pub(crate) fn encode(meta: &SnapshotMeta, content: Content) -> (Bytes, Digest) {
    let mut out = Encoder(Vec::with_capacity(320));
    out.0.extend([MAGIC, VERSION]);
    out.bytes(tag::SAGA_ID, meta.saga_id.as_str().as_bytes());
    out.bytes(tag::FINGERPRINT, meta.fingerprint().as_bytes());
    out.varint(tag::SEQUENCE, meta.sequence);
    out.bytes(tag::STATE, &[meta.phase.code(), meta.status.code()]);
    if let Some(step) = meta.step {
        out.varint(tag::STEP, u64::from(step));
    }
    out.ranges(tag::NEXT, &meta.next);
    out.ranges(tag::COMPLETED, &meta.completed);
    out.ranges(tag::COMPENSATED, &meta.compensated);
    if let Some(policy) = &meta.policy {
        out.json(tag::POLICY, &**policy);
    }
    if !meta.labels.is_empty() {
        out.json(tag::LABELS, &*meta.labels);
    }
    if let Some(failure) = &meta.failure {
        out.json(tag::FAILURE, &**failure);
    }
    if !meta.external_refs.is_empty() {
        out.json(tag::EXTERNAL_REFS, &*meta.external_refs);
    }
    out.bytes(tag::CREATED_AT, &meta.created_at.timestamp_micros().to_be_bytes());
    if let Some(until) = meta.retention_until {
        out.bytes(tag::RETENTION_UNTIL, &until.timestamp_micros().to_be_bytes());
    }
    if let Some(origin) = &meta.origin {
        out.json(tag::ORIGIN, &**origin);
    }
    if let Some(actor) = &meta.actor {
        out.bytes(tag::ACTOR, actor.as_bytes());
    }
    if let Some(runner) = &meta.runner {
        out.bytes(tag::RUNNER, runner.as_bytes());
    }
    if let Some(input) = &meta.input {
        out.bytes(tag::INPUT, input.as_bytes());
    }
    if let Some(history) = &meta.history {
        out.bytes(tag::HISTORY, history.as_bytes());
    }
    out.bytes(tag::PREV_DIGEST, meta.prev_digest.as_bytes());
    out.bytes(tag::CONTENT_DIGEST, content.digest.as_bytes());
    out.varint(tag::CONTENT_LEN, content.len);
    let digest = Digest::of(&out.0);
    out.0.extend_from_slice(&digest.as_bytes()[..CHECKSUM]);
    (out.0.into(), digest)
}

struct Encoder(Vec<u8>);

impl Encoder {
    fn bytes(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        put_bytes(&mut self.0, bytes);
    }

    fn varint(&mut self, tag: u8, value: u64) {
        self.sized(tag, |out| put_varint(out, value));
    }

    fn ranges(&mut self, tag: u8, ranges: &StepRanges) {
        if ranges.is_empty() {
            return;
        }
        self.sized(tag, |out| {
            for range in ranges.ranges() {
                put_varint(out, u64::from(range.start));
                put_varint(out, u64::from(range.end - range.start));
            }
        });
    }

    fn json(&mut self, tag: u8, value: &impl Serialize) {
        self.sized(tag, |out| {
            // Maps with text keys and derived structs cannot fail to become JSON.
            let _ = serde_json::to_writer(out, value);
        });
    }

    /// Writes the field first and its length in front of it after, moving it only if it is longer than 127 bytes.
    fn sized(&mut self, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.0.push(tag);
        let start = self.0.len();
        self.0.push(0);
        write(&mut self.0);
        let len = self.0.len() - start - 1;
        match u8::try_from(len) {
            Ok(len) if len < 0x80 => self.0[start] = len,
            _ => {
                let mut prefix = Vec::with_capacity(10);
                put_varint(&mut prefix, len as u64);
                self.0.splice(start..=start, prefix);
            }
        }
    }
}

pub(crate) fn decode(outline: Arc<Outline>, header: &Bytes) -> Result<(SnapshotMeta, Content, Digest)> {
    let Some(body_len) = header.len().checked_sub(CHECKSUM) else { return Err(damaged("ends too early")) };
    if header[0] != MAGIC {
        return Err(damaged("does not begin like one"));
    }
    let digest = Digest::of(&header[..body_len]);
    if digest.as_bytes()[..CHECKSUM] != header[body_len..] {
        return Err(damaged("fails its checksum"));
    }
    if header[1] != VERSION {
        return Err(Error::new(ErrorKind::NewerVersion, "decode record")
            .message(format!("record format {} is not known to this version, which reads up to {VERSION}", header[1]))
            .hint("read it with the version that wrote it, or a newer one"));
    }
    let mut fields = Fields::default();
    let mut reader = Reader::new(header.slice(2..body_len));
    while !reader.is_empty() {
        let tag = reader.u8()?;
        let value = reader.bytes()?;
        fields.put(tag, value)?;
    }
    fields.finish(outline).map(|(meta, content)| (meta, content, digest))
}

#[derive(Default)]
struct Fields([Option<Bytes>; tag::LAST as usize + 1]);

impl Fields {
    fn put(&mut self, tag: u8, value: Bytes) -> Result<()> {
        match self.0.get_mut(usize::from(tag)) {
            Some(slot @ None) if tag != 0 => *slot = Some(value),
            Some(_) => return Err(damaged("has a field twice")),
            None if tag >= tag::ANCILLARY => {}
            None => {
                return Err(Error::new(ErrorKind::NewerVersion, "decode record")
                    .message(format!("field {tag} is not known to this version"))
                    .hint("read it with the version that wrote it, or a newer one"));
            }
        }
        Ok(())
    }

    fn take(&mut self, tag: u8) -> Option<Bytes> {
        self.0[usize::from(tag)].take()
    }

    fn need(&mut self, tag: u8) -> Result<Bytes> {
        self.take(tag).ok_or_else(|| damaged("lacks a field"))
    }

    fn digest(&mut self, tag: u8) -> Result<Digest> {
        Ok(Digest::from_bytes(fixed(&self.need(tag)?)?))
    }

    fn json<T: DeserializeOwned>(&mut self, tag: u8) -> Result<Option<T>> {
        let parse = |bytes: Bytes| serde_json::from_slice(&bytes).map_err(|e| damaged("has a malformed field").caused_by(e));
        self.take(tag).map(parse).transpose()
    }

    fn finish(mut self, outline: Arc<Outline>) -> Result<(SnapshotMeta, Content)> {
        if self.digest(tag::FINGERPRINT)? != outline.fingerprint() {
            return Err(damaged("was made for another definition than the one it was read with"));
        }
        let steps = u32::try_from(outline.steps().len()).unwrap_or(u32::MAX);
        let saga_id = SagaId::new(text(&self.need(tag::SAGA_ID)?)?).map_err(|_| damaged("has no valid saga id"))?;
        let sequence = Reader::new(self.need(tag::SEQUENCE)?).varint()?;
        let [phase, status] = fixed(&self.need(tag::STATE)?)?;
        let created_at = from_micros(i64::from_be_bytes(fixed(&self.need(tag::CREATED_AT)?)?));
        let content = Content { digest: self.digest(tag::CONTENT_DIGEST)?, len: Reader::new(self.need(tag::CONTENT_LEN)?).varint()? };
        let mut meta = SnapshotMeta::new(saga_id, outline, sequence, created_at);
        meta.phase = Phase::from_code(phase).ok_or_else(|| damaged("has an unknown phase"))?;
        meta.status = SagaStatus::from_code(status).ok_or_else(|| damaged("has an unknown status"))?;
        meta.prev_digest = self.digest(tag::PREV_DIGEST)?;
        meta.step = self.take(tag::STEP).map(|b| Reader::new(b).u32()).transpose()?;
        if meta.step.is_some_and(|step| step >= steps) {
            return Err(damaged("names a step that its definition lacks"));
        }
        meta.next = self.take(tag::NEXT).map(|b| ranges(b, steps)).transpose()?.unwrap_or_default();
        meta.completed = self.take(tag::COMPLETED).map(|b| ranges(b, steps)).transpose()?.unwrap_or_default();
        meta.compensated = self.take(tag::COMPENSATED).map(|b| ranges(b, steps)).transpose()?.unwrap_or_default();
        meta.policy = self.json(tag::POLICY)?.map(Arc::new);
        meta.labels = self.json(tag::LABELS)?.map_or_else(Arc::default, Arc::new);
        meta.failure = self.json(tag::FAILURE)?.map(Arc::new);
        meta.external_refs = self.json(tag::EXTERNAL_REFS)?.map_or_else(Arc::default, Arc::new);
        meta.origin = self.json(tag::ORIGIN)?.map(Arc::new);
        if let Some(until) = self.take(tag::RETENTION_UNTIL) {
            meta.retention_until = Some(from_micros(i64::from_be_bytes(fixed(&until)?)));
        }
        meta.actor = self.take(tag::ACTOR).map(|b| text(&b).map(Arc::from)).transpose()?;
        meta.input = self.take(tag::INPUT).map(|b| fixed(&b).map(Digest::from_bytes)).transpose()?;
        let uuid = |b: Bytes| fixed(&b).map(Uuid::from_bytes);
        meta.runner = self.take(tag::RUNNER).map(uuid).transpose()?.map(RunnerId::from_uuid);
        meta.history = self.take(tag::HISTORY).map(uuid).transpose()?.map(HistoryId::from_uuid);
        Ok((meta, content))
    }
}

fn fixed<const N: usize>(bytes: &Bytes) -> Result<[u8; N]> {
    bytes[..].try_into().map_err(|_| damaged("has a field of the wrong size"))
}

fn text(bytes: &Bytes) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| damaged("has text that is not UTF-8"))
}

fn ranges(bytes: Bytes, steps: u32) -> Result<StepRanges> {
    let wrong = || damaged("names steps that its definition lacks");
    let mut reader = Reader::new(bytes);
    let mut ranges = StepRanges::default();
    let mut left = steps;
    while !reader.is_empty() {
        let start = reader.u32()?;
        let len = reader.u32()?;
        left = left.checked_sub(len).ok_or_else(wrong)?;
        let end = start.checked_add(len).ok_or_else(wrong)?;
        if start >= end || end > steps {
            return Err(wrong());
        }
        ranges.push_range(start..end);
    }
    Ok(ranges)
}
