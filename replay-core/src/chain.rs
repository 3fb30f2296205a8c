//! Checking that a saga's history is what was captured: every digest, and every link from one snapshot to the next.

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use crate::{
    Digest, Error, ErrorKind, Result, SagaId, SnapshotRecord,
    storage::{At, SnapshotQuery, SnapshotStorage},
};

/// What checking one saga's history found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChainReport {
    /// The saga.
    pub saga_id: SagaId,
    /// How many snapshots were checked.
    pub snapshots: u64,
    /// The sequence that the history begins with: 1, or what pruning left as the oldest; 0 if there is none.
    pub first_sequence: u64,
    /// The digest of the last snapshot that was found sound. Kept elsewhere, it tells later whether the end was cut off.
    pub last_digest: Option<Digest>,
    /// Where the first snapshot leads to.
    pub origin: OriginLink,
    /// What does not hold, if something does not.
    pub broken: Option<BrokenLink>,
}

impl ChainReport {
    /// Whether every digest and every link holds.
    pub fn is_valid(&self) -> bool {
        self.broken.is_none()
    }
}

/// Where the first snapshot of a history leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OriginLink {
    /// Nowhere: the saga was started, or there is no snapshot.
    None,
    /// To the snapshot that it was forked from.
    Holds,
    /// To one that is no longer there, or whose saga's id is now another saga's.
    NotHere,
    /// To one that was pruned from this history.
    Pruned,
}

/// What does not hold in a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BrokenLink {
    /// The snapshot at which it was noticed; 0 if it could not be read at all.
    pub sequence: u64,
    /// What is wrong.
    pub message: String,
}

/// Checks the whole history of `saga`, reading it once and keeping nothing.
///
/// A beginning that was removed cannot be told from one that was pruned; an end that was cut off is found by comparing
/// [`last_digest`](ChainReport::last_digest) with one that was kept elsewhere.
///
/// # Errors
/// The store's own. That something is wrong with the history is in the report.
pub async fn verify_chain(snapshots: &dyn SnapshotStorage, saga: &SagaId) -> Result<ChainReport> {
    let mut report =
        ChainReport { saga_id: saga.clone(), snapshots: 0, first_sequence: 0, last_digest: None, origin: OriginLink::None, broken: None };
    let mut records = snapshots.list(SnapshotQuery::new(saga.clone()));
    let mut last: Option<(u64, Digest)> = None;
    loop {
        let record = match records.try_next().await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(report),
            Err(error) => return broken(report, last.map_or(0, |(sequence, _)| sequence + 1), error),
        };
        let (sequence, digest) = (record.sequence, record.digest());
        match last {
            None => {
                report.first_sequence = sequence;
                report.origin = origin(snapshots, &record).await?;
            }
            Some((before, _)) if sequence != before + 1 => {
                let message = format!("it follows {before}, so snapshots are missing in between");
                report.broken = Some(BrokenLink { sequence, message });
                return Ok(report);
            }
            Some((_, before)) if record.prev_digest != before => {
                let message = "it was not made after the snapshot before it".to_owned();
                report.broken = Some(BrokenLink { sequence, message });
                return Ok(report);
            }
            Some(_) => {}
        }
        if let Err(error) = record.decode() {
            return broken(report, sequence, error);
        }
        report.snapshots += 1;
        report.last_digest = Some(digest);
        last = Some((sequence, digest));
    }
}

fn broken(mut report: ChainReport, sequence: u64, error: Error) -> Result<ChainReport> {
    if !error.is(ErrorKind::Integrity) {
        return Err(error);
    }
    let message = error.detail().map_or_else(|| error.to_string(), str::to_owned);
    report.broken = Some(BrokenLink { sequence, message });
    Ok(report)
}

async fn origin(snapshots: &dyn SnapshotStorage, first: &SnapshotRecord) -> Result<OriginLink> {
    if first.sequence != 1 {
        return Ok(OriginLink::Pruned);
    }
    let Some(origin) = &first.origin else { return Ok(OriginLink::None) };
    let found = snapshots.load(&origin.saga_id, At::Sequence(origin.sequence)).await?;
    let holds = found.is_some_and(|found| found.digest() == first.prev_digest);
    Ok(if holds { OriginLink::Holds } else { OriginLink::NotHere })
}
