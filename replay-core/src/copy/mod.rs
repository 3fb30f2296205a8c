//! Copying sagas from one store to another, with what belongs to them: histories, what they refer to, and replay logs.
//!
//! A copy may end at any point and be made again: what is there with the same digest counts as there, and nothing that differs is ever
//! overwritten. Every record's context is checked against its digest, and every record against the one before it, on the way.
//!
//! ```
//! # use replay_core::{Result, Store, copy::{CopyOptions, copy}};
//! # async fn run(old: Store, new: Store) -> Result<()> {
//! let report = copy(&old, &new, &CopyOptions::default().with_verify(true), &|_| {}).await?;
//! assert_eq!(report.refused, 0, "{:?}", report.refusals);
//! # Ok(())
//! # }
//! ```

mod history;
mod options;
mod parts;

use std::pin::pin;

use async_trait::async_trait;
use futures::{FutureExt, TryStreamExt, future::BoxFuture};

pub(crate) use self::history::{Wanted, copy_history, covers, header, newest, place};
pub use self::options::{CopyEvent, CopyOptions, CopyRefusal, CopyReport, MAX_REFUSALS, SagaCopy, SagaOutcome};
use self::parts::{Seen, copy_log};
use crate::{
    Error, ErrorKind, Result, SnapshotRecord, Store,
    storage::{SagaSummary, SnapshotStorage},
};

/// Copies the sagas of `from` that the options ask for to `to`, several at once; `progress` is told what happens.
///
/// Of each saga are copied: the blobs that its snapshots refer to, its history, and the log of its replays. Leases and other cells are
/// left behind: they belong to runners of the old store. A saga that goes on while it is copied is copied up to some point; copying
/// again takes the rest. It must not go on in both stores, for then the histories differ and neither is ever overwritten.
///
/// Pruning on either side does not keep copies from going on: a copy keeps what its original pruned, what the copy pruned is not copied
/// again, and where records were pruned that were never copied, the copy has a hole.
///
/// A saga whose history differs, or is damaged, is refused and told; the others are copied all the same. Memory use does not depend on
/// how many sagas there are or how long they are.
///
/// # Errors
/// A store's own, such as `Unavailable`: the copy ends then, and may be made again. That sagas were refused is in the report.
/// # Cancel safety
/// A dropped future leaves a part of the copy behind, which a later copy completes.
pub async fn copy(from: &Store, to: &Store, options: &CopyOptions, progress: &(dyn Fn(CopyEvent<'_>) + Sync)) -> Result<CopyReport> {
    let seen = Seen::default();
    let job = Job { from, to, options, progress, seen: &seen };
    let heads = from.snapshots().sagas(options.query.clone());
    // A head is listed when there is room for another saga, so the listing is never ahead.
    let mut copies = pin!(heads.map_ok(|head| job.saga(head)).try_buffer_unordered(options.concurrency.max(1)));
    let mut report = CopyReport::default();
    while let Some(saga) = copies.try_next().await? {
        progress(CopyEvent::Saga(&saga));
        report.add(saga);
    }
    Ok(report)
}

/// Whether an error says something of one saga, and nothing of the others.
pub(crate) fn is_about_one_saga(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Integrity | ErrorKind::NewerVersion | ErrorKind::LimitExceeded)
}

/// What copying each saga needs.
#[derive(Clone, Copy)]
struct Job<'a> {
    from: &'a Store,
    to: &'a Store,
    options: &'a CopyOptions,
    progress: &'a (dyn Fn(CopyEvent<'_>) + Sync),
    seen: &'a Seen,
}

impl<'a> Job<'a> {
    fn saga(self, head: SagaSummary) -> BoxFuture<'a, Result<SagaCopy>> {
        self.copy(head).boxed()
    }

    async fn copy(self, head: SagaSummary) -> Result<SagaCopy> {
        let mut copy = SagaCopy::of(&head.saga_id);
        match self.parts(&head, &mut copy).await {
            Ok(()) => {}
            Err(error) if is_about_one_saga(&error) => {
                copy.outcome = SagaOutcome::Refused(CopyRefusal::of(&head.saga_id, &error));
            }
            Err(error) => return Err(error.with("saga", &head.saga_id)),
        }
        Ok(copy)
    }

    async fn parts(self, head: &SagaSummary, copy: &mut SagaCopy) -> Result<()> {
        let dry_run = self.options.dry_run;
        let (from, to): (&dyn SnapshotStorage, &dyn SnapshotStorage) = (&**self.from.snapshots(), &**self.to.snapshots());
        let mut refs = Refs { job: self, blobs: 0 };
        let counts = copy_history(from, to, head, dry_run, &mut refs).await?;
        (copy.records, copy.bytes, copy.present, copy.blobs) = (counts.records, counts.bytes, counts.present, refs.blobs);
        let history = newest(from, &head.saga_id).await?.and_then(|newest| newest.history);
        copy.log_entries = copy_log(self.from, self.to, &head.saga_id, history, dry_run).await?;
        if copy.records > 0 || copy.log_entries > 0 {
            copy.outcome = SagaOutcome::Copied;
        }
        if self.options.verify && !dry_run {
            copy.verified = covers(to, from, &head.saga_id, Wanted::Unpruned).await?.records;
        }
        Ok(())
    }
}

/// What is done with the records of a history before they are appended.
#[async_trait]
pub(crate) trait Before: Send {
    async fn append(&mut self, records: &[SnapshotRecord]) -> Result<()>;
}

/// Nothing.
#[async_trait]
impl Before for () {
    async fn append(&mut self, _: &[SnapshotRecord]) -> Result<()> {
        Ok(())
    }
}

/// Brings what the records refer to.
struct Refs<'a> {
    job: Job<'a>,
    blobs: u64,
}

#[async_trait]
impl Before for Refs<'_> {
    async fn append(&mut self, records: &[SnapshotRecord]) -> Result<()> {
        let Job { from, to, options, progress, seen } = self.job;
        for record in records {
            self.blobs += seen.copy_refs(from, to, record, options.dry_run).await?;
        }
        if let Some(first) = records.first() {
            progress(CopyEvent::Records { saga: &first.saga_id, records: records.len() as u64 });
        }
        Ok(())
    }
}

/// A refusal that says where two histories part.
fn differs(head: &SagaSummary, sequence: u64) -> Error {
    Error::new(ErrorKind::Conflict, "copy saga")
        .message(format!("the other store has another history of this saga: snapshot {sequence} differs"))
        .hint("delete the saga in one of the stores, or copy into another namespace; nothing was overwritten")
        .with("saga", &head.saga_id)
        .with("sequence", sequence)
}
