use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Digest, Failure, Labels, Origin, RunnerId, SagaId, SagaStatus, SnapshotId, SnapshotMeta};

/// A position in a saga's history.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum At {
    /// The newest record.
    Latest,
    /// The record with this sequence.
    Sequence(u64),
    /// The newest record whose `next_steps` has the step of this name.
    BeforeStep(Arc<str>),
    /// The newest record not after this instant.
    Time(DateTime<Utc>),
}

impl At {
    /// The newest record whose `next_steps` has the step named `step`.
    pub fn before_step(step: impl Into<Arc<str>>) -> Self {
        Self::BeforeStep(step.into())
    }
}

/// In which direction a history is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// The oldest first.
    #[default]
    Ascending,
    /// The newest first.
    Descending,
}

/// An interval of time; a missing end is open. Ends finer than a microsecond count as they are: none is rounded down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The first instant that is in it.
    pub from: Option<DateTime<Utc>>,
    /// The first instant that is no longer in it.
    pub until: Option<DateTime<Utc>>,
}

impl TimeRange {
    /// Whether `instant` is in it.
    pub fn contains(&self, instant: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= instant) && self.until.is_none_or(|until| instant < until)
    }
}

/// Which records of one saga to list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotQuery {
    /// The saga.
    pub saga_id: SagaId,
    /// The direction; by default the oldest first.
    pub order: Order,
    /// The smallest sequence; by default 1.
    pub first: u64,
    /// The largest sequence; by default `u64::MAX`.
    pub last: u64,
    /// When they were created; by default at any time.
    pub created: TimeRange,
    /// At most how many; by default no limit. 0 gives none.
    pub limit: Option<u64>,
    /// Whether the records come with their payloads; by default they do.
    pub payloads: bool,
}

impl SnapshotQuery {
    /// The whole history of `saga_id`, the oldest first.
    pub fn new(saga_id: SagaId) -> Self {
        Self { saga_id, order: Order::Ascending, first: 1, last: u64::MAX, created: TimeRange::default(), limit: None, payloads: true }
    }

    /// Sets the direction.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sets the smallest and the largest sequence.
    #[must_use]
    pub fn with_sequences(mut self, first: u64, last: u64) -> Self {
        (self.first, self.last) = (first, last);
        self
    }

    /// Sets when they were created.
    #[must_use]
    pub fn with_created(mut self, created: TimeRange) -> Self {
        self.created = created;
        self
    }

    /// Sets at most how many.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets whether the records come with their payloads. Who only looks at headers reads much less without: the context of a record
    /// is then absent, and [decoding](crate::SnapshotRecord::decode) it is an error.
    #[must_use]
    pub fn with_payloads(mut self, payloads: bool) -> Self {
        self.payloads = payloads;
        self
    }
}

/// Which sagas to list; everything that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SagaQuery {
    /// One of these statuses; empty = any.
    pub statuses: Vec<SagaStatus>,
    /// The name of the definition.
    pub name: Option<String>,
    /// What the id begins with.
    pub id_prefix: Option<String>,
    /// The step that the newest snapshot is about.
    pub step: Option<String>,
    /// Labels that it has, with these values.
    pub labels: BTreeMap<String, String>,
    /// When its newest snapshot was created.
    pub updated: TimeRange,
    /// The saga that it was replayed from.
    pub origin: Option<SagaId>,
    /// Only what comes after this position in the listing.
    pub after: Option<SagaCursor>,
    /// At most how many; none = no limit. 0 gives none.
    pub limit: Option<u64>,
}

impl SagaQuery {
    /// Whether `saga` matches everything but the cursor and the limit.
    pub fn matches(&self, saga: &SagaSummary) -> bool {
        (self.statuses.is_empty() || self.statuses.contains(&saga.status))
            && self.name.as_ref().is_none_or(|name| *name == *saga.saga_name)
            && self.id_prefix.as_ref().is_none_or(|prefix| saga.saga_id.as_str().starts_with(prefix.as_str()))
            && self.step.as_ref().is_none_or(|step| saga.step_name.as_deref() == Some(step))
            && self.labels.iter().all(|(key, value)| saga.labels.get(key) == Some(value))
            && self.updated.contains(saga.updated_at)
            && self.origin.as_ref().is_none_or(|origin| saga.origin.as_ref().is_some_and(|o| o.saga_id == *origin))
    }

    /// Adds a status.
    #[must_use]
    pub fn with_status(mut self, status: SagaStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// Sets the name of the definition.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets what the id begins with.
    #[must_use]
    pub fn with_id_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.id_prefix = Some(prefix.into());
        self
    }

    /// Sets the step that the newest snapshot is about.
    #[must_use]
    pub fn with_step(mut self, step: impl Into<String>) -> Self {
        self.step = Some(step.into());
        self
    }

    /// Adds a label that it must have.
    #[must_use]
    pub fn with_label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Sets when its newest snapshot was created.
    #[must_use]
    pub fn with_updated(mut self, updated: TimeRange) -> Self {
        self.updated = updated;
        self
    }

    /// Sets the saga that it was replayed from.
    #[must_use]
    pub fn with_origin(mut self, origin: SagaId) -> Self {
        self.origin = Some(origin);
        self
    }

    /// Goes on after a position.
    #[must_use]
    pub fn with_after(mut self, after: SagaCursor) -> Self {
        self.after = Some(after);
        self
    }

    /// Sets at most how many.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }
}

/// A position in a listing of sagas: everything after it started earlier, or at the same instant with a smaller id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SagaCursor {
    /// When the saga at this position started.
    pub started_at: DateTime<Utc>,
    /// Its id.
    pub saga_id: SagaId,
}

/// The head of a saga: what its newest snapshot says, and when it started.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SagaSummary {
    /// The saga.
    pub saga_id: SagaId,
    /// The name of its definition.
    pub saga_name: Arc<str>,
    /// The version of its definition.
    pub saga_version: Arc<str>,
    /// The fingerprint of its definition.
    pub fingerprint: Digest,
    /// Where it stands.
    pub status: SagaStatus,
    /// The sequence of its newest snapshot.
    pub sequence: u64,
    /// The step that its newest snapshot is about.
    pub step_name: Option<Arc<str>>,
    /// When its first snapshot was created; stays when that one is pruned.
    pub started_at: DateTime<Utc>,
    /// When its newest snapshot was created.
    pub updated_at: DateTime<Utc>,
    /// Searchable words.
    pub labels: Arc<Labels>,
    /// Why it left its way forward.
    pub error: Option<Arc<Failure>>,
    /// Where it comes from, if a replay made it.
    pub origin: Option<Arc<Origin>>,
    /// Who wrote the newest snapshot.
    pub runner: Option<RunnerId>,
}

impl SagaSummary {
    /// The head of the saga whose newest snapshot is `newest` and whose first one was created at `started_at`.
    pub fn of(newest: &SnapshotMeta, started_at: DateTime<Utc>) -> Self {
        Self {
            saga_id: newest.saga_id.clone(),
            saga_name: newest.outline.name().clone(),
            saga_version: newest.outline.version().clone(),
            fingerprint: newest.fingerprint(),
            status: newest.status,
            sequence: newest.sequence,
            step_name: newest.step.and_then(|index| newest.outline.step(index)).map(|step| step.name.clone()),
            started_at,
            updated_at: newest.created_at,
            labels: newest.labels.clone(),
            error: newest.failure.clone(),
            origin: newest.origin.clone(),
            runner: newest.runner,
        }
    }

    /// Its position in a listing.
    pub fn cursor(&self) -> SagaCursor {
        SagaCursor { started_at: self.started_at, saga_id: self.saga_id.clone() }
    }
}

/// What to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruneRequest {
    /// What is to go.
    pub scope: PruneScope,
    /// At most how many records are removed in this call; by default 1,000. `Saga` ignores it, for a saga goes as a whole.
    pub limit: u64,
    /// Whether to count only.
    pub dry_run: bool,
}

/// Which records a [`PruneRequest`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PruneScope {
    /// Records whose `retention_until` is not after this instant.
    Expired {
        /// Usually the current instant.
        now: DateTime<Utc>,
    },
    /// Records beyond the newest `keep` of a saga, or of each saga.
    KeepNewest {
        /// The saga; none = each.
        saga_id: Option<SagaId>,
        /// How many to keep; 0 counts as 1.
        keep: u64,
    },
    /// One record.
    Record(SnapshotId),
    /// A whole saga, its head included.
    Saga(SagaId),
}

impl PruneRequest {
    /// Removes what `scope` says, up to 1,000 records.
    pub fn new(scope: PruneScope) -> Self {
        Self { scope, limit: 1000, dry_run: false }
    }

    /// Sets at most how many records are removed in this call.
    #[must_use]
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// Sets whether to count only.
    #[must_use]
    pub fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }
}

/// What a prune removed, or would remove.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// How many records.
    pub records: u64,
    /// How many bytes of headers and encoded contexts, as the store keeps them: at most the sum of the
    /// [`stored_len`](crate::SnapshotRecord::stored_len) that they came with. Frames are not counted.
    pub bytes: u64,
    /// How many sagas are gone as a whole.
    pub sagas: u64,
    /// Whether the limit ended the call before everything that may go was removed; call again. Exact: never true without need.
    pub more: bool,
}
