//! What must hold for every stored history, whoever wrote it and whatever went wrong meanwhile.

use futures::TryStreamExt;
use replay_core::{Digest, Outline, Phase, SagaId, SagaStatus, SnapshotRecord, StepRanges, Store, storage::SnapshotQuery};

/// A saga's records, the oldest first.
///
/// # Errors
/// The store's own, in words.
pub async fn load(store: &Store, saga: &SagaId) -> Result<Vec<SnapshotRecord>, String> {
    store.snapshots().list(SnapshotQuery::new(saga.clone())).try_collect().await.map_err(|error| format!("{saga}: {error}"))
}

/// Checks a saga's records, the oldest first: no gap, one chain, growing times, one owner at a time, and next steps that fit what is
/// completed. `pruned` says whether some may be missing: the oldest ones, and those between the newest checkpoint and the newest record.
///
/// # Errors
/// What does not hold, and where.
pub fn check(records: &[SnapshotRecord], pruned: bool) -> Result<(), String> {
    let Some(first) = records.first() else { return Ok(()) };
    if !pruned && (first.sequence != 1 || (first.origin.is_none() && first.prev_digest != Digest::ZERO)) {
        return Err(format!("the history begins at {}", first.id()));
    }
    for record in records {
        check_record(record).map_err(|what| format!("{}: {what}", record.id()))?;
    }
    let adjacent = |pair: &&[SnapshotRecord]| !pruned || pair[1].sequence == pair[0].sequence + 1;
    for pair in records.windows(2).filter(adjacent) {
        check_pair(&pair[0], &pair[1]).map_err(|what| format!("{}: {what}", pair[1].id()))?;
    }
    Ok(())
}

fn check_record(record: &SnapshotRecord) -> Result<(), String> {
    record.clone().decode().map_err(|error| error.to_string())?;
    let forward = match record.status {
        SagaStatus::Pending | SagaStatus::Executing => true,
        SagaStatus::Parked => record.failure.as_ref().is_some_and(|failure| failure.compensation.is_none()),
        _ => false,
    };
    let expected = if forward { ready(&record.outline, &record.completed) } else { StepRanges::default() };
    if record.next != expected {
        return Err(format!("{} with {:?} completed is followed by {:?}, not {expected:?}", record.status, record.completed, record.next));
    }
    if let Some(both) = record.completed.iter().find(|step| record.compensated.contains(*step)) {
        return Err(format!("step {both} is both completed and compensated"));
    }
    let early = |step: u32| record.outline.step(step).is_none_or(|step| !step.needs.iter().all(|need| record.completed.contains(*need)));
    if forward && let Some(step) = record.completed.iter().find(|step| early(*step)) {
        return Err(format!("step {step} is completed, but not all that it needs"));
    }
    let all = record.completed.len() == record.outline.steps().len();
    if record.status == SagaStatus::Completed && !all {
        return Err("it is completed without all of its steps".to_owned());
    }
    Ok(())
}

/// The steps that may run once `completed` are, in their order.
pub fn ready(outline: &Outline, completed: &StepRanges) -> StepRanges {
    let open = |at: &u32| !completed.contains(*at);
    let met = |at: &u32| outline.step(*at).is_some_and(|step| step.needs.iter().all(|need| completed.contains(*need)));
    (0..).take(outline.steps().len()).filter(|at| open(at) && met(at)).collect()
}

fn check_pair(before: &SnapshotRecord, after: &SnapshotRecord) -> Result<(), String> {
    if after.sequence != before.sequence + 1 {
        return Err(format!("it follows {}", before.sequence));
    }
    if after.prev_digest != before.digest() {
        return Err("it is not chained to the record before it".to_owned());
    }
    if after.created_at <= before.created_at {
        return Err(format!("it was created at {}, the one before it at {}", after.created_at, before.created_at));
    }
    if after.runner != before.runner && after.phase != Phase::Resume {
        return Err(format!("its runner is another, but its phase is {}", after.phase));
    }
    if before.status.is_terminal() && (after.phase != Phase::Manual || after.status != before.status) {
        return Err(format!("it follows the end ({})", before.status));
    }
    let lost = before.completed.iter().find(|step| !after.completed.contains(*step) && !after.compensated.contains(*step));
    if let Some(step) = lost {
        return Err(format!("step {step} was completed and is no more"));
    }
    let undone = before.compensated.iter().find(|step| !after.compensated.contains(*step));
    if let Some(step) = undone {
        return Err(format!("step {step} was compensated and is no more"));
    }
    if after.compensated != before.compensated
        && before.outline.steps().iter().zip(0..).any(|(s, at)| s.pivot && before.completed.contains(at))
    {
        return Err("something was compensated after a pivot".to_owned());
    }
    Ok(())
}
