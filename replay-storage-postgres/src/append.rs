//! What an append asks for, and what becomes of a part that did not fit at once.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use replay_core::{
    Digest, Error, ErrorKind, Result, SagaId, SnapshotRecord,
    storage::{check_next, unstored},
};

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

impl Stored {
    /// The records of `unit` that are not stored yet; none if all are.
    ///
    /// # Errors
    /// `Conflict` if it can never be stored.
    pub(crate) fn rest(&self, unit: &Unit) -> Result<Vec<SnapshotRecord>> {
        let records: Vec<&SnapshotRecord> = unit.records.iter().collect();
        let header = |sequence| self.headers.get(&sequence).map(|header| &header[..]);
        Ok(unstored(&records, self.head, header)?.into_iter().cloned().collect())
    }
}

#[cfg(test)]
mod tests;
