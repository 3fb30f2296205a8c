//! What an append asks for, and what becomes of a part that did not fit at once.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use replay_core::{Digest, Error, ErrorKind, Result, SagaId, SnapshotRecord, storage::check_next};

use crate::{store::MAX_RECORD_BYTES, writer::Writer};

const OPERATION: &str = "append";

/// Records of one saga, all or none of which are stored.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// Never empty, and in the order that the caller gave.
    pub(crate) records: Vec<SnapshotRecord>,
}

impl Unit {
    pub(crate) fn saga(&self) -> &SagaId {
        &self.first().saga_id
    }

    pub(crate) fn first(&self) -> &SnapshotRecord {
        &self.records[0]
    }

    pub(crate) fn last(&self) -> &SnapshotRecord {
        &self.records[self.records.len() - 1]
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.records.iter().map(SnapshotRecord::stored_len).sum()
    }

    /// Whether each record follows the one before it, so that moving the head from before the first to the last is all there is to do.
    pub(crate) fn is_chain(&self) -> bool {
        let follows = |pair: &[SnapshotRecord]| check_next(&pair[1], Some((pair[0].sequence, pair[0].digest()))).is_ok();
        let first = self.first();
        i64::try_from(self.last().sequence).is_ok()
            && check_next(first, first.predecessor()).is_ok()
            && self.records.windows(2).all(follows)
    }
}

/// Appends records of any sagas. The error is that of the first saga that has one; the others are stored all the same.
pub(crate) async fn append(writer: &Arc<Writer>, records: Vec<SnapshotRecord>) -> Result<()> {
    for record in &records {
        record.payload()?;
        if record.stored_len() > MAX_RECORD_BYTES {
            return Err(Error::new(ErrorKind::LimitExceeded, OPERATION)
                .message("a record has at most 256 MiB")
                .hint("keep large parts of the context in blobs")
                .with("snapshot", record.id())
                .with("bytes", record.stored_len()));
        }
    }
    let units = split(records);
    if units.is_empty() {
        return Ok(());
    }
    writer.write(units).await
}

/// The records of each saga, sagas in the order of their first record.
fn split(mut records: Vec<SnapshotRecord>) -> Vec<Unit> {
    if records.iter().all(|record| record.saga_id == records[0].saga_id) {
        return if records.is_empty() { Vec::new() } else { vec![Unit { records: std::mem::take(&mut records) }] };
    }
    let mut units: Vec<Unit> = Vec::new();
    let mut unit_of: HashMap<SagaId, usize> = HashMap::new();
    for record in records {
        let unit = *unit_of.entry(record.saga_id.clone()).or_insert(units.len());
        match units.get_mut(unit) {
            Some(unit) => unit.records.push(record),
            None => units.push(Unit { records: vec![record] }),
        }
    }
    units
}

/// A saga as it is stored: its head, and the headers of the sequences that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// The newest record's sequence and digest; none if there is no such saga.
    pub(crate) head: Option<(u64, Digest)>,
    pub(crate) headers: HashMap<u64, Bytes>,
}

/// What of a unit is still to be done.
#[derive(Debug)]
pub(crate) enum Rest {
    /// All of it is stored.
    Nothing,
    /// These records, the first of which follows the head.
    Records(Vec<SnapshotRecord>),
    /// It can never be stored.
    Conflict(Error),
}

/// What is left of `unit`, given what is stored.
pub(crate) fn rest(unit: &Unit, stored: &Stored) -> Rest {
    let mut new: Vec<SnapshotRecord> = Vec::new();
    for record in &unit.records {
        let last = new.last().map(|record| (record.sequence, record.digest())).or(stored.head);
        if last.is_none_or(|(last, _)| record.sequence > last) {
            match check_next(record, last) {
                Ok(()) => new.push(record.clone()),
                Err(conflict) => return Rest::Conflict(conflict),
            }
            continue;
        }
        let is_stored = match new.iter().find(|other| other.sequence == record.sequence) {
            Some(other) => other.digest() == record.digest(),
            // A header covers its record's digest, so equal headers are equal digests.
            None => stored.headers.get(&record.sequence).is_some_and(|header| header == record.header()),
        };
        if !is_stored {
            return Rest::Conflict(
                Error::new(ErrorKind::Conflict, OPERATION)
                    .with("saga", &record.saga_id)
                    .with("sequence", record.sequence)
                    .with("expected", last.map_or(1, |(last, _)| last.saturating_add(1))),
            );
        }
    }
    if new.is_empty() { Rest::Nothing } else { Rest::Records(new) }
}

#[cfg(test)]
mod tests;
