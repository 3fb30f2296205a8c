//! Finding the snapshot that a replay starts from.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;

use super::{Checkpoint, CheckpointInfo, plan::unknown_step};
use crate::{
    Error, ErrorKind, Result, SagaId, SnapshotMeta, SnapshotRecord,
    storage::{At, Order, SnapshotQuery, SnapshotStorage},
};

/// How many checkpoints an error lists.
const SHOWN: usize = 12;
/// How many snapshots are looked at for that, so that a refusal costs little however long the history is.
const LOOKED_AT: u64 = 512;

/// The checkpoint that is asked for. `newest` is the saga's newest record.
///
/// # Errors
/// - `Invalid`, with a suggestion, for a step that the saga never had.
/// - `NotFound`, with the checkpoints that there are, if no snapshot is at the position.
/// - `Refused`, with the same list, if the snapshot there is no checkpoint, or no more since it is expired.
pub(super) async fn find(
    store: &dyn SnapshotStorage,
    saga: &SagaId,
    newest: &SnapshotMeta,
    wanted: &Checkpoint,
    now: DateTime<Utc>,
) -> Result<SnapshotRecord> {
    let at = match wanted {
        Checkpoint::Step(name) => At::BeforeStep(name.clone()),
        Checkpoint::Sequence(sequence) => At::Sequence(*sequence),
        Checkpoint::Time(instant) => At::Time(*instant),
    };
    let found = store.load(saga, at).await?;
    let problem = match &found {
        Some(record) if record.is_checkpoint() && !record.is_expired(now) => return found.ok_or_else(|| unknown(saga)),
        Some(record) if record.is_checkpoint() => {
            // Retention may have changed along the history, so an older checkpoint of the step may outlive a newer one.
            if let Checkpoint::Step(name) = wanted
                && let Some(older) = older(store, saga, name, record.sequence, now).await?
            {
                return Ok(older);
            }
            Error::new(ErrorKind::Refused, "replay saga")
                .message(format!("the checkpoint at {wanted} is expired"))
                .with("sequence", record.sequence)
        }
        Some(record) => Error::new(ErrorKind::Refused, "replay saga")
            .message(format!("the snapshot at {wanted} is no checkpoint: the saga was {} and no step came next", record.status))
            .with("sequence", record.sequence),
        None => match wanted {
            Checkpoint::Step(name) if newest.outline.index_of(name).is_none() => {
                return Err(unknown_step(&newest.outline, name).with("saga", saga));
            }
            Checkpoint::Sequence(sequence) if *sequence <= newest.sequence && *sequence > 0 => {
                not_found(format!("the snapshot at {wanted} was pruned"))
            }
            _ => not_found(format!("there is no checkpoint at {wanted}")),
        },
    };
    let (hint, shown) = known(store, saga, now).await?;
    Err(problem.hint(hint).with("saga", saga).with("checkpoints", shown))
}

fn not_found(message: String) -> Error {
    Error::new(ErrorKind::NotFound, "replay saga").message(message)
}

/// What is wrong if there is no such saga.
pub(super) const NO_SUCH_SAGA: &str = "there is no such saga";

/// There is no such saga.
pub(super) fn unknown(saga: &SagaId) -> Error {
    not_found(NO_SUCH_SAGA.to_owned()).hint("list the sagas to find its id").with("saga", saga)
}

async fn older(store: &dyn SnapshotStorage, saga: &SagaId, step: &str, before: u64, now: DateTime<Utc>) -> Result<Option<SnapshotRecord>> {
    let query =
        SnapshotQuery::new(saga.clone()).with_order(Order::Descending).with_sequences(1, before.saturating_sub(1)).with_payloads(false);
    let mut records = store.list(query);
    while let Some(record) = records.try_next().await? {
        if record.next_steps().contains(step) && !record.is_expired(now) {
            return store.load(saga, At::Sequence(record.sequence)).await;
        }
    }
    Ok(None)
}

/// The newest checkpoints there are, as a hint and as a fact.
async fn known(store: &dyn SnapshotStorage, saga: &SagaId, now: DateTime<Utc>) -> Result<(String, String)> {
    let query = SnapshotQuery::new(saga.clone()).with_order(Order::Descending).with_limit(LOOKED_AT).with_payloads(false);
    let mut records = store.list(query);
    let mut shown = Vec::new();
    while let Some(record) = records.try_next().await? {
        if !record.is_checkpoint() {
            continue;
        }
        if shown.len() == SHOWN {
            shown.push("…".to_owned());
            break;
        }
        let next = record.next_steps().iter().take(3).collect::<Vec<_>>().join("+");
        let expired = if record.is_expired(now) { ", expired" } else { "" };
        shown.push(format!("{next} (sequence {}{expired})", record.sequence));
    }
    let list = shown.join("; ");
    let hint = if shown.is_empty() { "the saga has no checkpoint".to_owned() } else { format!("checkpoints, newest first: {list}") };
    Ok((hint, list))
}

/// Every checkpoint of a saga, the oldest first.
pub(super) async fn all(store: &dyn SnapshotStorage, saga: &SagaId, now: DateTime<Utc>) -> Result<Vec<CheckpointInfo>> {
    let mut records = store.list(SnapshotQuery::new(saga.clone()).with_payloads(false));
    let mut found = Vec::new();
    let mut exists = false;
    while let Some(record) = records.try_next().await? {
        exists = true;
        if record.is_checkpoint() {
            found.push(CheckpointInfo::of(&record, now));
        }
    }
    if exists { Ok(found) } else { Err(unknown(saga)) }
}
