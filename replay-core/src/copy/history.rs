//! Copying one saga's history.

use futures::{StreamExt, TryStreamExt};

use super::{Before, differs};
use crate::{
    Clock, Digest, Error, ErrorKind, Remnant, Result, Retry, SagaId, SnapshotRecord, SystemClock,
    storage::{SagaSummary, SnapshotQuery, SnapshotStorage},
};

/// How much is appended at once: enough that a round trip does not count, and little enough to be held for several sagas.
const BATCH_RECORDS: usize = 200;
const BATCH_BYTES: u64 = 4 << 20;
/// How often an append is repeated whose outcome is unknown.
const REPEATS: u32 = 5;

/// What copying a history did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// Up to which sequence the history was there already.
    pub(crate) present: u64,
}

/// Copies what `to` does not have yet of the history of the saga `head`, checked on the way. `before` sees each batch first.
///
/// # Errors
/// `Conflict` with the fact `sequence` if the histories differ, `Integrity` if the one in `from` is damaged, else a store's own.
pub(crate) async fn copy_history(
    from: &dyn SnapshotStorage,
    to: &dyn SnapshotStorage,
    head: &SagaSummary,
    dry_run: bool,
    before: &mut dyn Before,
) -> Result<Counts> {
    let last = meeting(from, to, head).await?;
    let mut counts = Counts { present: last.map_or(0, |(sequence, _)| sequence), ..Counts::default() };
    let mut source = Source { last, head };
    let query = SnapshotQuery::new(head.saga_id.clone()).with_sequences(counts.present.saturating_add(1), u64::MAX);
    let mut records = from.list(query);
    let mut batch = Vec::new();
    let (mut bytes, mut held) = (0, 0);
    loop {
        let record = records.try_next().await?.map(|record| source.check(record)).transpose()?;
        let is_last = record.is_none();
        if let Some(record) = record {
            bytes += record.stored_len();
            held += record.held_len(batch.last());
            batch.push(record);
        }
        if batch.len() >= BATCH_RECORDS || held >= BATCH_BYTES || is_last && !batch.is_empty() {
            counts.records += batch.len() as u64;
            counts.bytes += bytes;
            before.append(&batch).await?;
            if !dry_run {
                append(to, head, &batch).await?;
            }
            batch.clear();
            (bytes, held) = (0, 0);
        }
        if is_last {
            return Ok(counts);
        }
    }
}

/// A history as it is read, with the sequence and digest of the record before.
struct Source<'a> {
    last: Option<(u64, Digest)>,
    head: &'a SagaSummary,
}

impl Source<'_> {
    /// Checks a record's context, and that it follows the record before it; where records were pruned in between, it is marked.
    fn check(&mut self, record: SnapshotRecord) -> Result<SnapshotRecord> {
        let sequence = record.sequence;
        record.clone().decode().map_err(|error| error.with("sequence", sequence))?;
        let after = self.last.replace((sequence, record.digest()));
        match after {
            None if sequence == 1 => Ok(record),
            Some((before, digest)) if sequence == before + 1 => {
                if digest == record.prev_digest {
                    return Ok(record);
                }
                Err(Error::new(ErrorKind::Integrity, "copy saga")
                    .message(format!("snapshot {sequence} was not made after the snapshot before it"))
                    .hint("restore the saga from a backup; verify-chain shows what is left")
                    .with("saga", &record.saga_id)
                    .with("sequence", sequence))
            }
            _ => Ok(record.as_remnant(Remnant { after, started_at: self.head.started_at })),
        }
    }
}

/// The sequence and digest of the record of `to` from which on `from` has to be copied; none if `to` has nothing of the saga.
async fn meeting(from: &dyn SnapshotStorage, to: &dyn SnapshotStorage, head: &SagaSummary) -> Result<Option<(u64, Digest)>> {
    let saga = &head.saga_id;
    let Some(there) = newest(to, saga).await? else { return Ok(None) };
    let place = (there.sequence, there.digest());
    if let Some(here) = header(from, saga, place.0).await? {
        if here.digest() == place.1 {
            return Ok(Some(place));
        }
        return Err(differs(head, first_difference(from, to, head).await?.unwrap_or(place.0)));
    }
    let Some(here) = newest(from, saga).await? else { return Ok(Some(place)) };
    let meets = if here.sequence < place.0 {
        // It went on there. That is the same history if what is the newest here is there too.
        header(to, saga, here.sequence).await?.is_some_and(|there| there.digest() == here.digest())
    } else {
        // Pruned here, but the record behind it may name it.
        header(from, saga, place.0 + 1).await?.is_some_and(|next| next.prev_digest == place.1)
    };
    if meets {
        return Ok(Some(place));
    }
    if let Some(sequence) = first_difference(from, to, head).await? {
        return Err(differs(head, sequence));
    }
    if is_same_history(from, &there, &here).await? {
        return Ok(Some(place));
    }
    Err(Error::new(ErrorKind::Conflict, "copy saga")
        .message(format!("the histories do not meet: the other store has it up to {}, and what would tell was pruned", place.0))
        .hint("delete the saga in the other store to copy what is left of it here")
        .with("saga", saga)
        .with("sequence", place.0.min(here.sequence).saturating_add(1)))
}

/// Whether the newest records `there` and `here` are of one history, as far as can be told where what links them was pruned: by the
/// history's id, and because what follows was not made before.
async fn is_same_history(from: &dyn SnapshotStorage, there: &SnapshotRecord, here: &SnapshotRecord) -> Result<bool> {
    if there.history.is_none() || there.history != here.history {
        return Ok(false);
    }
    let rest = SnapshotQuery::new(there.saga_id.clone()).with_sequences(there.sequence.saturating_add(1), u64::MAX);
    let next = from.list(rest.with_limit(1).with_payloads(false)).try_next().await?;
    Ok(next.is_none_or(|next| next.created_at >= there.created_at))
}

/// The newest record without its context.
pub(crate) async fn newest(store: &dyn SnapshotStorage, saga: &SagaId) -> Result<Option<SnapshotRecord>> {
    let query = SnapshotQuery::new(saga.clone()).with_order(crate::storage::Order::Descending).with_limit(1).with_payloads(false);
    store.list(query).try_next().await
}

/// Where a record stands: its sequence and digest.
pub(crate) fn place(record: &SnapshotRecord) -> (u64, Digest) {
    (record.sequence, record.digest())
}

/// The record with this sequence, without its context.
pub(crate) async fn header(store: &dyn SnapshotStorage, saga: &SagaId, sequence: u64) -> Result<Option<SnapshotRecord>> {
    let query = SnapshotQuery::new(saga.clone()).with_sequences(sequence, sequence).with_limit(1).with_payloads(false);
    store.list(query).try_next().await
}

/// The first sequence that both stores have and whose records differ.
async fn first_difference(from: &dyn SnapshotStorage, to: &dyn SnapshotStorage, head: &SagaSummary) -> Result<Option<u64>> {
    let query = SnapshotQuery::new(head.saga_id.clone()).with_payloads(false);
    let (mut here, mut there) = (from.list(query.clone()), to.list(query));
    let (mut a, mut b) = (here.try_next().await?, there.try_next().await?);
    while let (Some(one), Some(other)) = (&a, &b) {
        if one.sequence == other.sequence && one.digest() != other.digest() {
            return Ok(Some(one.sequence));
        }
        let (left, right) = (one.sequence, other.sequence);
        if left <= right {
            a = here.try_next().await?;
        }
        if right <= left {
            b = there.try_next().await?;
        }
    }
    Ok(None)
}

async fn append(to: &dyn SnapshotStorage, head: &SagaSummary, batch: &[SnapshotRecord]) -> Result<()> {
    let mut repeat = 0;
    loop {
        match to.append(batch.to_vec()).await {
            Ok(()) => return Ok(()),
            Err(error) if error.retry_advice() == Retry::Ambiguous && repeat < REPEATS => repeat += 1,
            Err(error) if error.is(ErrorKind::Conflict) => {
                let sequence = error.fact("sequence").and_then(|sequence| sequence.parse().ok());
                return Err(differs(head, sequence.unwrap_or(batch[0].sequence)).caused_by(error));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Which records of a history were found in its copy.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Covered {
    pub(crate) records: u64,
    /// The sequence up to which all of them were.
    pub(crate) last: u64,
}

/// Which records of its original a copy must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Each.
    Every,
    /// Each that cannot have been pruned from the copy by its age or by its number.
    Unpruned,
}

/// How far a copy was read.
#[derive(Default)]
struct Passed {
    records: u64,
    /// Whether the copy begins with a checkpoint. It may be one that was kept though those behind it were pruned.
    begins_with_checkpoint: bool,
}

impl Passed {
    fn note(&mut self, record: &SnapshotRecord) {
        if self.records == 0 {
            self.begins_with_checkpoint = record.is_checkpoint();
        }
        self.records += 1;
    }

    /// Whether a record at this place, which the copy lacks, may have been pruned from it.
    fn may_be_pruned(&self, record: &SnapshotRecord) -> bool {
        self.records == 0 || self.records == 1 && self.begins_with_checkpoint || record.is_expired(SystemClock.now())
    }
}

/// Checks that `copy` has the records that `original` has of `saga` and that are `wanted`, whole and equal.
///
/// # Errors
/// `Integrity` with the fact `sequence` for the first one that is not so.
pub(crate) async fn covers(copy: &dyn SnapshotStorage, original: &dyn SnapshotStorage, saga: &SagaId, wanted: Wanted) -> Result<Covered> {
    let wrong = |sequence: u64, message: String| {
        Error::new(ErrorKind::Integrity, "verify copy").message(message).with("saga", saga).with("sequence", sequence)
    };
    // Read first, so that a saga that goes on in the meantime is not asked for what was not copied.
    let Some(end) = newest(original, saga).await?.map(|newest| newest.sequence) else { return Ok(Covered::default()) };
    let Some(end) = newest(copy, saga).await?.map(|newest| newest.sequence.min(end)) else {
        return Err(wrong(end, "nothing of the saga was copied".to_owned()));
    };
    let query = SnapshotQuery::new(saga.clone()).with_sequences(1, end);
    let (mut originals, mut copies) = (original.list(query.clone().with_payloads(false)), copy.list(query).fuse());
    let mut covered = Covered { records: 0, last: end };
    let mut passed = Passed::default();
    let mut candidate = copies.try_next().await?;
    while let Some(record) = originals.try_next().await? {
        let sequence = record.sequence;
        while let Some(behind) = candidate.take_if(|candidate| candidate.sequence < sequence) {
            passed.note(&behind);
            candidate = copies.try_next().await?;
        }
        match candidate.take_if(|candidate| candidate.sequence == sequence) {
            Some(found) if found.digest() == record.digest() => {
                passed.note(&found);
                found.decode().map(drop).map_err(|error| error.with("sequence", sequence))?;
                covered.records += 1;
                candidate = copies.try_next().await?;
            }
            None if wanted == Wanted::Unpruned && passed.may_be_pruned(&record) => {}
            _ => return Err(wrong(sequence, format!("snapshot {sequence} is not in the copy"))),
        }
    }
    Ok(covered)
}
