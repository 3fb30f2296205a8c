//! What is asked about the past, and what the answers are.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::{
    Error, Failure, Phase, Result, SagaId, SagaStatus,
    json::{JsonPatch, Pointer},
    storage::TimeRange,
};

/// Which changes of a saga's state to list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateChangesQuery {
    /// The saga.
    pub saga_id: SagaId,
    /// When they happened; by default at any time.
    pub range: TimeRange,
    /// At most how many; by default 100. 0 gives none.
    pub limit: u64,
    /// Where the previous page ended; none for the first page.
    pub cursor: Option<String>,
    /// Whether each change tells how the context differs from the one before; by default not, so that no context is parsed.
    pub with_patches: bool,
}

impl StateChangesQuery {
    /// The first 100 changes of `saga_id`.
    pub fn new(saga_id: SagaId) -> Self {
        Self { saga_id, range: TimeRange::default(), limit: 100, cursor: None, with_patches: false }
    }

    /// Sets when they happened.
    #[must_use]
    pub fn with_range(mut self, range: TimeRange) -> Self {
        self.range = range;
        self
    }

    /// Sets at most how many.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// Goes on where a page ended.
    #[must_use]
    pub fn with_cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    /// Sets whether each change tells how the context differs from the one before.
    #[must_use]
    pub fn with_patches(mut self, with_patches: bool) -> Self {
        self.with_patches = with_patches;
        self
    }
}

/// One change of a saga's state: a snapshot, and what in it differs from the one before.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StateChange {
    /// The snapshot's sequence.
    pub sequence: u64,
    /// When it was captured.
    pub created_at: DateTime<Utc>,
    /// At which point.
    pub phase: Phase,
    /// Where the saga then stood.
    pub status: SagaStatus,
    /// Where it stood before; none if the snapshot before is gone, or there is none.
    pub previous_status: Option<SagaStatus>,
    /// The step that the snapshot is about.
    pub step_name: Option<Arc<str>>,
    /// The steps that were completed since the snapshot before.
    pub completed: Vec<Arc<str>>,
    /// The steps that were compensated since.
    pub compensated: Vec<Arc<str>>,
    /// The steps that run next.
    pub next_steps: Vec<Arc<str>>,
    /// Why the saga left its way forward, if that happened just then.
    pub error: Option<Arc<Failure>>,
    /// On whose behalf the saga runs.
    pub actor: Option<Arc<str>>,
    /// Whether the context differs from the one before; true if that one is gone, or there is none.
    pub context_changed: bool,
    /// What leads from the context before to this one, if it was asked for and the snapshot before is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<JsonPatch>,
}

/// A page of changes, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ChangePage {
    /// The changes.
    pub changes: Vec<StateChange>,
    /// The cursor for the next page; none if there was no further change.
    pub next_cursor: Option<String>,
}

/// What is found at a place of a context.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "found", rename_all = "snake_case")]
pub enum Lookup {
    /// There was no snapshot yet, or none is left.
    NoSnapshot,
    /// The context had nothing at this place.
    Missing {
        /// The snapshot that was looked at.
        sequence: u64,
    },
    /// The context had a value there, which may be null.
    #[serde(rename = "value")]
    Found {
        /// The snapshot that was looked at.
        sequence: u64,
        /// The value.
        value: Value,
    },
}

impl Lookup {
    /// The value, if there was one; a null is one.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Found { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The value; null if there was none.
    pub fn into_value(self) -> Value {
        match self {
            Self::Found { value, .. } => value,
            _ => Value::Null,
        }
    }
}

/// Which changes of one value of a context to list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyHistoryQuery {
    /// The saga.
    pub saga_id: SagaId,
    /// The place of the value.
    pub pointer: Pointer,
    /// At most how many changes; by default 100. 0 gives none.
    pub limit: u64,
    /// Where the previous page ended; none for the first page.
    pub cursor: Option<String>,
}

impl KeyHistoryQuery {
    /// The first 100 changes of the value at `pointer`.
    pub fn new(saga_id: SagaId, pointer: Pointer) -> Self {
        Self { saga_id, pointer, limit: 100, cursor: None }
    }

    /// Sets at most how many changes.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// Goes on where a page ended.
    #[must_use]
    pub fn with_cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }
}

/// One change of one value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeyChange {
    /// The first snapshot with the new value.
    pub sequence: u64,
    /// When it was captured.
    pub created_at: DateTime<Utc>,
    /// At which point.
    pub phase: Phase,
    /// The step that the snapshot is about.
    pub step_name: Option<Arc<str>>,
    /// The value before; none if there was nothing at the place. In JSON the member is then missing, and null means null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// The new value; none if there is nothing at the place any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// A page of changes of one value, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KeyHistoryPage {
    /// The changes. The value that the oldest snapshot has is the first of them, if it has one.
    pub changes: Vec<KeyChange>,
    /// The cursor for the next page; none if the whole history was read.
    pub next_cursor: Option<String>,
}

/// The sequence at which a page ended; 0 for no cursor.
pub(super) fn cursor_sequence(cursor: Option<&str>) -> Result<u64> {
    let Some(text) = cursor else { return Ok(0) };
    text.parse()
        .map_err(|_| Error::invalid("read changes", format!("`{text}` is not a cursor")).hint("use the cursor that the previous page gave"))
}
