//! Histories put into a store in bulk, without running a saga.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use replay::{Outline, Phase, SagaId, SagaStatus, SnapshotMeta, SnapshotRecord, StepRanges, Store};

use crate::Outcome;

/// So many records are appended at a time.
const BATCH: usize = 1000;

/// When the first record of every history was created; record `n` came `n` ms later.
pub(crate) fn instant(sequence: usize) -> Outcome<DateTime<Utc>> {
    let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse()?;
    Ok(start + TimeDelta::milliseconds(i64::try_from(sequence)?))
}

/// Appends the records before each of the first `records` steps of a saga; what comes after that is to be resumed. Past the last step
/// of the outline it stays at that step.
pub(crate) async fn long_saga(store: &Store, id: &SagaId, outline: &Arc<Outline>, context: &Bytes, records: usize) -> Outcome {
    in_batches(store, id, outline, context, (records, BATCH)).await
}

/// The same by appends of so many records each.
pub(crate) async fn in_batches(
    store: &Store,
    id: &SagaId,
    outline: &Arc<Outline>,
    context: &Bytes,
    (records, each): (usize, usize),
) -> Outcome {
    let last = u32::try_from(outline.steps().len())?.saturating_sub(1);
    let mut prev = None;
    let mut completed = StepRanges::default();
    let mut batch = Vec::with_capacity(each);
    for sequence in 1..=records {
        let step = u32::try_from(sequence)?.saturating_sub(1).min(last);
        let mut meta = SnapshotMeta::new(id.clone(), outline.clone(), sequence as u64, instant(sequence)?);
        meta.phase = Phase::BeforeStep;
        meta.status = SagaStatus::Executing;
        meta.step = Some(step);
        meta.next = StepRanges::one(step);
        if completed.len() < step as usize {
            completed.push(step - 1);
        }
        meta.completed = completed.clone();
        meta.prev_digest = prev.unwrap_or(meta.prev_digest);
        let record = SnapshotRecord::seal(meta, context.clone());
        prev = Some(record.digest());
        batch.push(record);
        if batch.len() == each || sequence == records {
            store.snapshots().append(std::mem::take(&mut batch)).await?;
        }
    }
    Ok(())
}

/// Appends one record each for so many sagas, which have just begun.
pub(crate) async fn heads(store: &Store, outline: &Arc<Outline>, context: &Bytes, sagas: usize) -> Outcome {
    let all: Vec<usize> = (1..=sagas).collect();
    for chunk in all.chunks(BATCH) {
        let record = |number: usize| -> Outcome<SnapshotRecord> {
            let id = SagaId::new(format!("saga-{number:08}"))?;
            let mut meta = SnapshotMeta::new(id, outline.clone(), 1, instant(number)?);
            meta.status = SagaStatus::Executing;
            meta.next = StepRanges::one(0);
            meta.step = Some(0);
            Ok(SnapshotRecord::seal(meta, context.clone()))
        };
        store.snapshots().append(chunk.iter().map(|number| record(*number)).collect::<Outcome<_>>()?).await?;
    }
    Ok(())
}
