//! Makes chained records as the engine would, for tests and benches of stores.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use replay_core::{Clock, Digest, ManualClock, Outline, OutlineStep, Phase, SagaId, SagaStatus, SnapshotMeta, SnapshotRecord, StepRanges};

/// The instant of the first record of every [`Chain`], unless it is told otherwise: 2026-01-01T00:00:00Z.
pub fn start() -> DateTime<Utc> {
    ManualClock::default().now()
}

/// The definition that a [`Chain`] follows, unless it is told otherwise: saga `order`, version `1`, with the steps `reserve`, `charge`
/// and `ship`.
pub fn outline() -> Arc<Outline> {
    static OUTLINE: LazyLock<Arc<Outline>> = LazyLock::new(|| outline_of("order", "1", &["reserve", "charge", "ship"]));
    OUTLINE.clone()
}

/// A definition whose steps run one after the other.
///
/// # Panics
/// If it is not a legal one.
pub fn outline_of(name: &str, version: &str, steps: &[&str]) -> Arc<Outline> {
    let needs = |index: u32| index.checked_sub(1).into_iter().collect();
    let steps = (0..).zip(steps).map(|(index, name)| OutlineStep::new(*name, needs(index))).collect();
    Arc::new(Outline::new(name, version, steps).expect("a legal definition"))
}

/// A saga id.
///
/// # Panics
/// If `text` is not a legal one.
pub fn saga(text: &str) -> SagaId {
    SagaId::new(text).expect("a legal saga id")
}

/// The history of one saga, made record by record: sequences without gaps, digests chained, a millisecond apart.
#[derive(Debug, Clone)]
pub struct Chain {
    saga_id: SagaId,
    outline: Arc<Outline>,
    sequence: u64,
    at: DateTime<Utc>,
    digest: Digest,
}

impl Chain {
    /// The history of the saga `id`, which follows [`outline`] and begins at [`start`].
    ///
    /// # Panics
    /// If `id` is not a legal saga id.
    pub fn new(id: &str) -> Self {
        Self { saga_id: saga(id), outline: outline(), sequence: 0, at: start(), digest: Digest::ZERO }
    }

    /// Follows another definition from here on.
    #[must_use]
    pub fn with_outline(mut self, outline: Arc<Outline>) -> Self {
        self.outline = outline;
        self
    }

    /// Goes on at the instant `at`.
    #[must_use]
    pub fn starting_at(mut self, at: DateTime<Utc>) -> Self {
        self.at = at;
        self
    }

    /// Goes on after `newest`, or begins anew without one.
    pub fn go_on_after(&mut self, newest: Option<&SnapshotRecord>) {
        (self.sequence, self.digest, self.at) = match newest {
            Some(record) => (record.sequence, record.digest(), record.created_at + TimeDelta::milliseconds(1)),
            None => (0, Digest::ZERO, start()),
        };
    }

    /// The saga.
    pub fn saga_id(&self) -> &SagaId {
        &self.saga_id
    }

    /// The sequence of the record that was made last; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The next record: executing, before the step whose turn it is, with its sequence as context.
    pub fn next_record(&mut self) -> SnapshotRecord {
        self.with(|_| {})
    }

    /// The next `count` records.
    pub fn take(&mut self, count: usize) -> Vec<SnapshotRecord> {
        (0..count).map(|_| self.next_record()).collect()
    }

    /// The next record, with something changed.
    pub fn with(&mut self, change: impl FnOnce(&mut SnapshotMeta)) -> SnapshotRecord {
        let context = format!(r#"{{"n":{}}}"#, self.sequence + 1);
        self.record(change, context)
    }

    /// The next record, about an ended saga.
    pub fn end(&mut self, status: SagaStatus) -> SnapshotRecord {
        self.with(|meta| {
            (meta.phase, meta.status, meta.next) = (Phase::Completion, status, StepRanges::default());
        })
    }

    /// The next record with this context.
    pub fn with_context(&mut self, context: impl Into<Bytes>) -> SnapshotRecord {
        self.record(|_| {}, context)
    }

    /// The next record, with something changed and with this context.
    pub fn record(&mut self, change: impl FnOnce(&mut SnapshotMeta), context: impl Into<Bytes>) -> SnapshotRecord {
        self.sequence += 1;
        let mut meta = SnapshotMeta::new(self.saga_id.clone(), self.outline.clone(), self.sequence, self.at);
        let steps = u32::try_from(self.outline.steps().len()).unwrap_or(u32::MAX).max(1);
        let step = u32::try_from((self.sequence - 1) % u64::from(steps)).unwrap_or_default();
        meta.status = SagaStatus::Executing;
        meta.step = Some(step);
        meta.next = StepRanges::one(step);
        meta.completed = (0..step).collect();
        meta.prev_digest = self.digest;
        change(&mut meta);
        // A change of the instant holds for those that follow.
        self.at = meta.created_at + TimeDelta::milliseconds(1);
        let record = SnapshotRecord::seal(meta, context.into());
        self.digest = record.digest();
        record
    }
}

/// A history of `count` records of the saga `id`.
pub fn history(id: &str, count: usize) -> Vec<SnapshotRecord> {
    Chain::new(id).take(count)
}

/// The instant `millis` milliseconds after [`start`].
pub fn after(millis: i64) -> DateTime<Utc> {
    start() + TimeDelta::milliseconds(millis)
}
