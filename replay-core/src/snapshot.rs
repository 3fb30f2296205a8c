//! Snapshots: what is known of a saga at one point of its history, and the record that a store keeps of it.

use std::{collections::BTreeMap, fmt, ops::Deref, str::FromStr, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    Digest, Error, ErrorKind, ReplayId, Result, RunnerId, SagaId, SnapshotId, codec,
    outline::{Outline, StepList, StepRanges},
};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value, in order of definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it, as in JSON and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The stored code.
            pub fn code(self) -> u8 {
                self as u8
            }

            /// The value with this stored code.
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.get(usize::from(code)).copied()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(word: &str) -> Result<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == word).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|v| v.as_str()).collect();
                    Error::invalid("parse", format!("`{word}` is not one of {}", all.join(", ")))
                })
            }
        }
    };
}

words! {
    /// Where a saga stands. Codes are stored: add at the end only.
    SagaStatus {
        /// Created, no step has started.
        Pending = "pending",
        /// Steps are running.
        Executing = "executing",
        /// Every step is completed.
        Completed = "completed",
        /// A step failed or the saga was cancelled; completed steps are being compensated.
        Compensating = "compensating",
        /// Every completed step that has a compensation was compensated.
        RolledBack = "rolled_back",
        /// Failed, and nothing was compensated, because no completed step had a compensation.
        Failed = "failed",
        /// Waits for an operator: failed after a pivot, or a compensation exhausted its retries.
        Parked = "parked",
    }
}

impl SagaStatus {
    /// Whether the saga has ended: nothing will be appended to it any more but manual snapshots.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack | Self::Failed)
    }
}

words! {
    /// At which point of a run a snapshot was captured. Codes are stored: add at the end only.
    Phase {
        /// Before the steps in `next_steps` run.
        BeforeStep = "before_step",
        /// After a step was completed.
        AfterStep = "after_step",
        /// After a step failed for good.
        Failure = "failure",
        /// After a step was compensated.
        Compensation = "compensation",
        /// The saga ended, or was parked.
        Completion = "completion",
        /// Somebody took the saga over after a crash, or a replay began.
        Resume = "resume",
        /// Asked for by a person or by a step.
        Manual = "manual",
    }
}

words! {
    /// What kind of failure ended a step.
    FailureKind {
        /// The step returned an error.
        Error = "error",
        /// The step took longer than its timeout.
        Timeout = "timeout",
        /// The step panicked.
        Panic = "panic",
        /// The saga was cancelled.
        Cancelled = "cancelled",
        /// The failure was forced by a replay; the step was not executed.
        Forced = "forced",
        /// Branches of a wave set one place of the context to different values.
        ContextConflict = "context_conflict",
        /// A snapshot could not be captured.
        Capture = "capture",
    }
}

/// Why a saga left its way forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The step that failed; none if the saga was cancelled between steps.
    pub step: Option<Arc<str>>,
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// The step's own words, at most 4 KiB.
    pub message: String,
    /// How often the step was tried, from 1; 0 if it was not executed.
    pub attempts: u32,
    /// Whether it was the step's compensation that failed, not its action.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_compensation: bool,
}

impl Failure {
    /// A failure of `step`.
    pub fn new(step: Option<Arc<str>>, kind: FailureKind, message: impl Into<String>, attempts: u32) -> Self {
        let mut message = message.into();
        if message.len() > 4096 {
            let end = (0..=4096).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
        }
        Self { step, kind, message, attempts, in_compensation: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = &self.step {
            write!(f, "{}{step}: ", if self.in_compensation { "compensation of " } else { "" })?;
        }
        match self.kind {
            FailureKind::Error => f.write_str(&self.message),
            kind => write!(f, "{kind}: {}", self.message),
        }
    }
}

/// Where a saga that a replay made comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Origin {
    /// The saga that was replayed.
    pub saga_id: SagaId,
    /// The snapshot that it was forked from.
    pub sequence: u64,
    /// The replay that made it.
    pub replay_id: ReplayId,
    /// The first saga of the lineage.
    pub root: SagaId,
    /// Whose idempotency keys the steps use: the base of each step's key, by saga id. Steps that are not listed use
    /// [`key_base`](Origin::key_base).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub step_key_bases: BTreeMap<Arc<str>, SagaId>,
    /// The base of the idempotency keys of all other steps.
    pub key_base: SagaId,
    /// The step that the replay makes fail without executing it, so that compensation is exercised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_failure: Option<Arc<str>>,
}

impl Origin {
    /// The origin of a saga that `replay_id` forked from `saga_id` at `sequence`.
    pub fn new(saga_id: SagaId, sequence: u64, replay_id: ReplayId, root: SagaId, key_base: SagaId) -> Self {
        Self { saga_id, sequence, replay_id, root, step_key_bases: BTreeMap::new(), key_base, force_failure: None }
    }
}

/// Searchable words of a saga, such as `customer = c-17`.
pub type Labels = BTreeMap<String, String>;

/// Everything that a snapshot says but its context.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SnapshotMeta {
    /// The saga.
    pub saga_id: SagaId,
    /// The shape of the saga's definition.
    pub outline: Arc<Outline>,
    /// The position in the saga's history, from 1 without gaps.
    pub sequence: u64,
    /// At which point it was captured.
    pub phase: Phase,
    /// Where the saga stands.
    pub status: SagaStatus,
    /// The step that it is about; in an ended saga that failed, the step that failed.
    pub step: Option<u32>,
    /// The steps that run next when resumed from here; empty in terminal and compensating states.
    pub next: StepRanges,
    /// The steps whose effect stands, in order of completion; a compensated step is no longer among them.
    pub completed: StepRanges,
    /// Searchable words.
    pub labels: Arc<Labels>,
    /// Why the saga left its way forward.
    pub failure: Option<Arc<Failure>>,
    /// Names of things outside the context: the blob of a large field, the digest of the definition's source.
    pub external_refs: Arc<BTreeMap<String, String>>,
    /// When it was captured, in whole microseconds; never decreases along `sequence`.
    pub created_at: DateTime<Utc>,
    /// Until when it must be kept; none = for ever.
    pub retention_until: Option<DateTime<Utc>>,
    /// Where the saga comes from, if a replay made it.
    pub origin: Option<Arc<Origin>>,
    /// On whose behalf the saga runs.
    pub actor: Option<Arc<str>>,
    /// Who wrote it.
    pub runner: Option<RunnerId>,
    /// The digest of the previous snapshot; of the snapshot that it was forked from, or zero, for the first.
    pub prev_digest: Digest,
}

impl SnapshotMeta {
    /// A snapshot of `saga_id` at `sequence`, with everything else empty: pending, before its first step.
    pub fn new(saga_id: SagaId, outline: Arc<Outline>, sequence: u64, created_at: DateTime<Utc>) -> Self {
        Self {
            saga_id,
            outline,
            sequence,
            phase: Phase::BeforeStep,
            status: SagaStatus::Pending,
            step: None,
            next: StepRanges::default(),
            completed: StepRanges::default(),
            labels: Arc::default(),
            failure: None,
            external_refs: Arc::default(),
            created_at: crate::clock::truncate_to_micros(created_at),
            retention_until: None,
            origin: None,
            actor: None,
            runner: None,
            prev_digest: Digest::ZERO,
        }
    }

    /// The snapshot's id.
    pub fn id(&self) -> SnapshotId {
        SnapshotId { saga_id: self.saga_id.clone(), sequence: self.sequence }
    }

    /// The name of the saga's definition.
    pub fn saga_name(&self) -> &str {
        self.outline.name()
    }

    /// The version of the saga's definition.
    pub fn saga_version(&self) -> &str {
        self.outline.version()
    }

    /// The fingerprint of the saga's definition.
    pub fn fingerprint(&self) -> Digest {
        self.outline.fingerprint()
    }

    /// The name of the step that it is about.
    pub fn step_name(&self) -> Option<&str> {
        self.step.and_then(|index| self.outline.step(index)).map(|step| &*step.name)
    }

    /// The names of the steps that run next when resumed from here.
    pub fn next_steps(&self) -> StepList<'_> {
        StepList::new(&self.outline, &self.next)
    }

    /// The names of the steps whose effect stands, in order of completion.
    pub fn completed_steps(&self) -> StepList<'_> {
        StepList::new(&self.outline, &self.completed)
    }

    /// Whether it is a position that a replay may start from.
    pub fn is_checkpoint(&self) -> bool {
        !self.next.is_empty()
    }

    /// Whether it need no longer be kept at the instant `now`.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.retention_until.is_some_and(|until| until <= now)
    }
}

/// A snapshot's context as stored: an encoding and bytes. The digests are over the JSON text, so a payload may be
/// encoded anew without touching the chain.
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

/// How a payload's bytes are encoded. Codes are stored; 1 to 15 are kept for compression, deltas and encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// The JSON text as it is.
    Json,
}

impl Encoding {
    /// The stored code.
    pub fn code(self) -> u8 {
        match self {
            Self::Json => 0,
        }
    }

    /// The encoding with this code.
    ///
    /// # Errors
    /// `NewerVersion` for a code that this version does not know.
    pub fn from_code(code: u8) -> Result<Self> {
        match code {
            0 => Ok(Self::Json),
            _ => Err(Error::new(ErrorKind::NewerVersion, "decode record")
                .message(format!("payload encoding {code} is not known to this version"))
                .hint("read it with the version that wrote it, or a newer one")),
        }
    }
}

/// A snapshot as a store keeps it: the sealed header, the encoded context, and the outline that the header refers to.
///
/// A store that just keeps bytes uses [`to_bytes`](SnapshotRecord::to_bytes) and
/// [`from_bytes`](SnapshotRecord::from_bytes). One that keeps outlines once and payloads in a column of their own stores
/// [`header`](SnapshotRecord::header), [`payload`](SnapshotRecord::payload) and [`outline`](SnapshotMeta::outline)
/// apart, and puts them together with [`from_parts`](SnapshotRecord::from_parts).
#[derive(Debug, Clone)]
pub struct SnapshotRecord {
    meta: Arc<SnapshotMeta>,
    header: Bytes,
    payload: Payload,
    content: Content,
    digest: Digest,
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
        Self { meta: Arc::new(meta), header, payload: Payload::json(json), content, digest }
    }

    /// Puts a record together from its stored parts; the context is checked when it is [decoded](SnapshotRecord::decode).
    ///
    /// # Errors
    /// `Integrity` if the header is damaged or was made for another outline; `NewerVersion` if it is of a later format.
    pub fn from_parts(outline: Arc<Outline>, header: Bytes, payload: Payload) -> Result<Self> {
        let (meta, content, digest) = codec::header::decode(outline, &header)?;
        Ok(Self { meta: Arc::new(meta), header, payload, content, digest })
    }

    /// The whole record, outline included, as one self-describing sequence of bytes.
    pub fn to_bytes(&self) -> Bytes {
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
    pub fn payload(&self) -> &Payload {
        &self.payload
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

    /// How many bytes the record takes: header and payload, without what a store adds.
    pub fn stored_len(&self) -> u64 {
        (self.header.len() + self.payload.bytes.len()) as u64
    }

    /// Checks the context against its digest and gives the snapshot.
    ///
    /// # Errors
    /// `Integrity`, naming the record, if the context is not what was sealed.
    pub fn decode(self) -> Result<Snapshot> {
        let Payload { encoding: Encoding::Json, bytes } = self.payload;
        if Content::of(&bytes) != self.content {
            return Err(Error::new(ErrorKind::Integrity, "decode snapshot")
                .message("the stored context is not what was captured")
                .hint("restore the record from a backup, or replay from another checkpoint")
                .with("snapshot", self.meta.id()));
        }
        Ok(Snapshot { meta: self.meta, context: bytes, digest: self.digest })
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

/// The state of a saga at one point of its history, with its context.
#[derive(Debug, Clone)]
pub struct Snapshot {
    meta: Arc<SnapshotMeta>,
    context: Bytes,
    digest: Digest,
}

impl Snapshot {
    /// The context as the exact JSON text that was captured.
    pub fn context_text(&self) -> &Bytes {
        &self.context
    }

    /// The context as a JSON value.
    ///
    /// # Errors
    /// `Integrity` if the stored text is not JSON, `LimitExceeded` if it nests too deeply to be parsed.
    pub fn context(&self) -> Result<serde_json::Value> {
        self.context_as()
    }

    /// The context as `C`.
    ///
    /// # Errors
    /// `Invalid`, naming the place, if it does not fit.
    pub fn context_as<C: DeserializeOwned>(&self) -> Result<C> {
        codec::context::decode(&self.context).map_err(|e| e.with("snapshot", self.id()))
    }

    /// The record's digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the snapshot says but its context.
    pub fn meta(&self) -> &Arc<SnapshotMeta> {
        &self.meta
    }
}

impl Deref for Snapshot {
    type Target = SnapshotMeta;

    fn deref(&self) -> &SnapshotMeta {
        &self.meta
    }
}

impl Serialize for Snapshot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error as _, SerializeStruct};
        let text = std::str::from_utf8(&self.context).map_err(S::Error::custom)?;
        let context: &RawValue = serde_json::from_str(text).map_err(S::Error::custom)?;
        let meta = &*self.meta;
        let mut out = serializer.serialize_struct("Snapshot", 21)?;
        out.serialize_field("saga_id", &meta.saga_id)?;
        out.serialize_field("sequence", &meta.sequence)?;
        out.serialize_field("saga_name", meta.saga_name())?;
        out.serialize_field("saga_version", meta.saga_version())?;
        out.serialize_field("fingerprint", &meta.fingerprint())?;
        out.serialize_field("phase", &meta.phase)?;
        out.serialize_field("status", &meta.status)?;
        out.serialize_field("step_name", &meta.step_name())?;
        out.serialize_field("step_index", &meta.step)?;
        out.serialize_field("next_steps", &meta.next_steps())?;
        out.serialize_field("completed_steps", &meta.completed_steps())?;
        out.serialize_field("context", context)?;
        out.serialize_field("labels", &*meta.labels)?;
        out.serialize_field("error", &meta.failure.as_deref())?;
        out.serialize_field("external_refs", &*meta.external_refs)?;
        out.serialize_field("created_at", &meta.created_at)?;
        out.serialize_field("retention_until", &meta.retention_until)?;
        out.serialize_field("origin", &meta.origin.as_deref())?;
        out.serialize_field("actor", &meta.actor)?;
        out.serialize_field("digest", &self.digest)?;
        out.serialize_field("prev_digest", &meta.prev_digest)?;
        out.end()
    }
}
