//! Comparing two runs step by step.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use serde::Serialize;

use super::{
    change::added,
    diff::{StatePoint, contexts},
};
use crate::{
    Digest, Error, ErrorKind, Result, SagaId, SnapshotRecord,
    json::JsonPatch,
    saga::Disposition,
    storage::{At, SnapshotQuery, SnapshotStorage},
};

/// Whether a step was done or taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The step's action.
    Forward,
    /// The step's compensation.
    Compensation,
}

/// What became of a step in one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepOutcome {
    /// `executed`, `failed` or `compensated`; `skipped` if it was completed before the oldest snapshot that is there, as in a
    /// saga that a replay made.
    pub disposition: Disposition,
    /// The first snapshot that says so.
    pub sequence: u64,
    /// The digest of the context right after the step; none if it was skipped, or if several steps ended before that snapshot and
    /// this was not the last.
    pub context_digest: Option<Digest>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How two runs compare at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// The same became of it, and the contexts are the same as far as they were captured.
    Same,
    /// Something else became of it, or the contexts differ.
    Differs,
    /// Only the first run got there.
    OnlyA,
    /// Only the second run got there.
    OnlyB,
}

/// One step in both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StepComparison {
    /// The step.
    pub step_name: Arc<str>,
    /// Whether it is about the step's action or its compensation.
    pub direction: Direction,
    /// How the runs compare.
    pub agreement: Agreement,
    /// What became of it in the first run.
    pub a: Option<StepOutcome>,
    /// What became of it in the second run.
    pub b: Option<StepOutcome>,
}

/// The first step at which two runs differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FirstDifference {
    /// The step.
    pub step_name: Arc<str>,
    /// Whether it is about the step's action or its compensation.
    pub direction: Direction,
    /// Its index in [`RunDiff::steps`].
    pub index: usize,
    /// What leads from the first run's context after the step to the second run's; none if only one got there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<JsonPatch>,
}

/// How two runs compare.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunDiff {
    /// The newest state of the first run.
    pub a: StatePoint,
    /// The newest state of the second run.
    pub b: StatePoint,
    /// What leads from the oldest context of the first run to that of the second. If one run is a replay of the other, what the
    /// replay changed: from the context that it was forked from to its own oldest one, or the reverse.
    pub start: JsonPatch,
    /// The first step at which they differ; none if they are the same all along.
    pub first: Option<FirstDifference>,
    /// Every step that either run got to, in the order in which the runs got there.
    pub steps: Vec<StepComparison>,
    /// What leads from the newest context of the first run to that of the second.
    pub end: JsonPatch,
}

pub(super) async fn compare<S: SnapshotStorage + ?Sized>(store: &S, a: &SagaId, b: &SagaId) -> Result<RunDiff> {
    let mut left = Run::open(store, a).await?;
    let mut right = Run::open(store, b).await?;
    let start_a = forked_from(store, &right.last, a).await?.unwrap_or_else(|| left.last.clone());
    let start_b = forked_from(store, &left.last, b).await?.unwrap_or_else(|| right.last.clone());
    let start = contexts(start_a, start_b)?;
    let mut table = Table::default();
    table.enter(Side::A, left.first_events());
    table.enter(Side::B, right.first_events());
    loop {
        let (from_a, from_b) = (left.next().await?, right.next().await?);
        if from_a.is_none() && from_b.is_none() {
            break;
        }
        table.enter(Side::A, from_a.unwrap_or_default());
        table.enter(Side::B, from_b.unwrap_or_default());
    }
    let steps = table.steps();
    let first = match steps.iter().position(|step| step.agreement != Agreement::Same) {
        None => None,
        Some(index) => Some(first_difference(store, (a, b), index, &steps[index]).await?),
    };
    let (newest_a, newest_b) = (StatePoint::of(&left.last), StatePoint::of(&right.last));
    let end = if left.last.content_digest() == right.last.content_digest() {
        JsonPatch::default()
    } else {
        contexts(with_context(store, left.last).await?, with_context(store, right.last).await?)?
    };
    Ok(RunDiff { a: newest_a, b: newest_b, start, first, steps, end })
}

/// The same record with its context, which the listing left out.
async fn with_context<S: SnapshotStorage + ?Sized>(store: &S, record: SnapshotRecord) -> Result<SnapshotRecord> {
    if record.has_payload() {
        return Ok(record);
    }
    let found = store.load(&record.saga_id, At::Sequence(record.sequence)).await?;
    found.filter(|found| *found == record).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "compare runs")
            .message("the newest snapshot was removed while the runs were read")
            .hint("compare them again")
            .with("snapshot", record.id())
    })
}

/// The record that `fork` was forked from, if that is one of `saga` and still there.
async fn forked_from<S: SnapshotStorage + ?Sized>(store: &S, fork: &SnapshotRecord, saga: &SagaId) -> Result<Option<SnapshotRecord>> {
    match &fork.origin {
        Some(origin) if origin.saga_id == *saga => store.load(saga, At::Sequence(origin.sequence)).await,
        _ => Ok(None),
    }
}

async fn first_difference<S: SnapshotStorage + ?Sized>(
    store: &S,
    (a, b): (&SagaId, &SagaId),
    index: usize,
    step: &StepComparison,
) -> Result<FirstDifference> {
    let mut context = None;
    if let (Some(in_a), Some(in_b)) = (&step.a, &step.b)
        && let Some(from) = store.load(a, At::Sequence(in_a.sequence)).await?
        && let Some(to) = store.load(b, At::Sequence(in_b.sequence)).await?
    {
        context = Some(contexts(from, to)?);
    }
    Ok(FirstDifference { step_name: step.step_name.clone(), direction: step.direction, index, context })
}

/// Something that became of a step.
struct Event {
    step: Arc<str>,
    direction: Direction,
    outcome: StepOutcome,
}

/// One run, read record by record. Only the newest record read is kept, and of all but the oldest no context is read.
struct Run {
    records: BoxStream<'static, Result<SnapshotRecord>>,
    last: SnapshotRecord,
}

impl Run {
    async fn open<S: SnapshotStorage + ?Sized>(store: &S, saga: &SagaId) -> Result<Self> {
        let oldest = store.list(SnapshotQuery::new(saga.clone()).with_limit(1)).try_next().await?;
        let Some(last) = oldest else {
            return Err(Error::new(ErrorKind::NotFound, "compare runs").message("there is no such saga").with("saga", saga));
        };
        let rest = SnapshotQuery::new(saga.clone()).with_sequences(last.sequence.saturating_add(1), u64::MAX).with_payloads(false);
        let records = store.list(rest).fuse().boxed();
        Ok(Self { records, last })
    }

    /// What the oldest record says.
    fn first_events(&self) -> Vec<Event> {
        let mut events = events(None, &self.last);
        for event in &mut events {
            if event.outcome.disposition == Disposition::Executed {
                event.outcome.disposition = Disposition::Skipped;
                event.outcome.context_digest = None;
            }
        }
        events
    }

    async fn next(&mut self) -> Result<Option<Vec<Event>>> {
        let Some(record) = self.records.try_next().await? else { return Ok(None) };
        let before = std::mem::replace(&mut self.last, record);
        Ok(Some(events(Some(&before), &self.last)))
    }
}

fn events(before: Option<&SnapshotRecord>, now: &SnapshotRecord) -> Vec<Event> {
    let completed = added(before.map(|r| (&*r.outline, &r.completed)), (&now.outline, &now.completed));
    let compensated = added(before.map(|r| (&*r.outline, &r.compensated)), (&now.outline, &now.compensated));
    let event = |step: Arc<str>, direction, disposition, error| {
        let outcome = StepOutcome { disposition, sequence: now.sequence, context_digest: None, error };
        Event { step, direction, outcome }
    };
    let mut events: Vec<Event> = completed.into_iter().map(|step| event(step, Direction::Forward, Disposition::Executed, None)).collect();
    // The failed step changes no context, so the one that was captured is still that of the step before it.
    if let Some(last) = events.last_mut() {
        last.outcome.context_digest = Some(now.content_digest());
    }
    let new_failure = now.failure.as_deref().filter(|failure| before.and_then(|r| r.failure.as_deref()) != Some(*failure));
    if let Some(failure) = new_failure {
        let own = failure.compensation.is_none();
        let direction = if own { Direction::Forward } else { Direction::Compensation };
        let failure = failure.compensation.as_deref().unwrap_or(failure);
        if let Some(step) = &failure.step {
            events.push(event(step.clone(), direction, Disposition::Failed, Some(failure.to_string())));
        }
    }
    let undone = compensated.len();
    events.extend(compensated.into_iter().map(|step| event(step, Direction::Compensation, Disposition::Compensated, None)));
    if undone > 0
        && let Some(last) = events.last_mut()
    {
        last.outcome.context_digest = Some(now.content_digest());
    }
    events
}

#[derive(Clone, Copy)]
enum Side {
    A,
    B,
}

/// The steps of both runs, in the order in which they came up.
#[derive(Default)]
struct Table {
    index: HashMap<(Arc<str>, Direction), usize>,
    rows: Vec<StepComparison>,
}

impl Table {
    fn enter(&mut self, side: Side, events: Vec<Event>) {
        for Event { step, direction, outcome } in events {
            let at = *self.index.entry((step.clone(), direction)).or_insert_with(|| {
                self.rows.push(StepComparison { step_name: step, direction, agreement: Agreement::Same, a: None, b: None });
                self.rows.len() - 1
            });
            match side {
                Side::A => self.rows[at].a = Some(outcome),
                Side::B => self.rows[at].b = Some(outcome),
            }
        }
    }

    fn steps(mut self) -> Vec<StepComparison> {
        for row in &mut self.rows {
            row.agreement = match (&row.a, &row.b) {
                (Some(a), Some(b)) if agree(a, b) => Agreement::Same,
                (Some(_), None) => Agreement::OnlyA,
                (None, Some(_)) => Agreement::OnlyB,
                _ => Agreement::Differs,
            };
        }
        self.rows
    }
}

/// A step that was skipped as completed is as good as one that was executed.
fn agree(a: &StepOutcome, b: &StepOutcome) -> bool {
    let plain = |disposition| if disposition == Disposition::Skipped { Disposition::Executed } else { disposition };
    let contexts = match (a.context_digest, b.context_digest) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    plain(a.disposition) == plain(b.disposition) && contexts && a.error == b.error
}
