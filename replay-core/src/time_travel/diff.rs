//! What leads from one state of a saga to another.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::change::added;
use crate::{
    Error, ErrorKind, Failure, Phase, Result, SagaId, SagaStatus, SnapshotRecord,
    json::{JsonPatch, diff},
    storage::{At, SnapshotStorage},
};

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StatePoint {
    /// The saga.
    pub saga_id: SagaId,
    /// The snapshot's sequence.
    pub sequence: u64,
    /// When it was captured.
    pub created_at: DateTime<Utc>,
    /// At which point.
    pub phase: Phase,
    /// Where the saga then stood.
    pub status: SagaStatus,
    /// The step that the snapshot is about.
    pub step_name: Option<Arc<str>>,
    /// Why the saga had left its way forward.
    pub error: Option<Arc<Failure>>,
}

impl StatePoint {
    pub(super) fn of(record: &SnapshotRecord) -> Self {
        Self {
            saga_id: record.saga_id.clone(),
            sequence: record.sequence,
            created_at: record.created_at,
            phase: record.phase,
            status: record.status,
            step_name: record.step_name().map(Arc::from),
            error: record.failure.clone(),
        }
    }
}

/// What leads from one state of a saga to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StateDiff {
    /// Where it begins.
    pub from: StatePoint,
    /// Where it ends.
    pub to: StatePoint,
    /// Steps that are completed at the end but not at the beginning, in order.
    pub completed: Vec<Arc<str>>,
    /// Steps that are completed at the beginning but no longer at the end, such as compensated ones.
    pub no_longer_completed: Vec<Arc<str>>,
    /// Steps that are compensated at the end but not at the beginning.
    pub compensated: Vec<Arc<str>>,
    /// What leads from one context to the other.
    pub context: JsonPatch,
}

impl StateDiff {
    /// Whether status, steps and context are the same.
    pub fn is_empty(&self) -> bool {
        self.from.status == self.to.status
            && self.completed.is_empty()
            && self.no_longer_completed.is_empty()
            && self.compensated.is_empty()
            && self.context.is_empty()
    }
}

pub(super) async fn between<S: SnapshotStorage + ?Sized>(store: &S, saga: &SagaId, from: At, to: At) -> Result<StateDiff> {
    let from = load(store, saga, from).await?;
    let to = load(store, saga, to).await?;
    Ok(StateDiff {
        from: StatePoint::of(&from),
        to: StatePoint::of(&to),
        completed: added(Some((&from.outline, &from.completed)), (&to.outline, &to.completed)),
        no_longer_completed: added(Some((&to.outline, &to.completed)), (&from.outline, &from.completed)),
        compensated: added(Some((&from.outline, &from.compensated)), (&to.outline, &to.compensated)),
        context: contexts(from, to)?,
    })
}

/// What leads from the context of one record to that of another. Equal contexts are not parsed.
pub(super) fn contexts(from: SnapshotRecord, to: SnapshotRecord) -> Result<JsonPatch> {
    if from.content_digest() == to.content_digest() {
        return Ok(JsonPatch::default());
    }
    Ok(diff(&from.decode()?.context()?, &to.decode()?.context()?))
}

async fn load<S: SnapshotStorage + ?Sized>(store: &S, saga: &SagaId, at: At) -> Result<SnapshotRecord> {
    let position = match &at {
        At::Latest => "the newest snapshot".to_owned(),
        At::Sequence(sequence) => format!("sequence {sequence}"),
        At::BeforeStep(step) => format!("a snapshot before step `{step}`"),
        At::Time(instant) => format!("the instant {}", instant.to_rfc3339()),
    };
    store.load(saga, at).await?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "compare states")
            .message(format!("the saga has no snapshot at {position}"))
            .hint("list its changes to see which snapshots there are")
            .with("saga", saga)
    })
}
