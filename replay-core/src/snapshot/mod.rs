//! Snapshots: what is known of a saga at one point of its history.

mod payload;
mod record;
mod words;

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

pub use payload::{Encoding, Payload};
pub(crate) use record::Content;
pub use record::{Remnant, SnapshotRecord};
pub use words::{Failure, FailureKind, Origin, Phase, SagaStatus};

use crate::{
    Digest, HistoryId, Result, RunnerId, SagaId, SnapshotId, codec,
    outline::{Outline, StepList, StepRanges},
    saga::SnapshotPolicy,
};

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
    /// The steps that were compensated, in order.
    pub compensated: StepRanges,
    /// What of the saga is captured; none = the definition's own.
    pub policy: Option<Arc<SnapshotPolicy>>,
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
    /// The digest of the context's JSON text that the saga was started with; only where its first snapshot may not tell.
    pub input: Option<Digest>,
    /// Which history it belongs to, the same in all its snapshots; none in snapshots that the engine did not make.
    pub history: Option<HistoryId>,
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
            compensated: StepRanges::default(),
            policy: None,
            labels: Arc::default(),
            failure: None,
            external_refs: Arc::default(),
            created_at: crate::clock::truncate_to_micros(created_at),
            retention_until: None,
            origin: None,
            actor: None,
            runner: None,
            input: None,
            history: None,
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

    /// The names of the steps that were compensated, in order.
    pub fn compensated_steps(&self) -> StepList<'_> {
        StepList::new(&self.outline, &self.compensated)
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

/// The state of a saga at one point of its history, with its context.
#[derive(Debug, Clone)]
pub struct Snapshot {
    meta: Arc<SnapshotMeta>,
    context: Bytes,
    digest: Digest,
}

impl Snapshot {
    pub(crate) fn new(meta: Arc<SnapshotMeta>, context: Bytes, digest: Digest) -> Self {
        Self { meta, context, digest }
    }

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
    pub fn context_as<C: DeserializeOwned + Send>(&self) -> Result<C> {
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
        let mut out = serializer.serialize_struct("Snapshot", 22)?;
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
        out.serialize_field("compensated_steps", &meta.compensated_steps())?;
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
