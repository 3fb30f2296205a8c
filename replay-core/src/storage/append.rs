//! What an append stores.

use std::borrow::Borrow;

use crate::{Digest, Error, ErrorKind, Result, SnapshotRecord};

/// Checks that `record` may be stored after a saga's newest record, given by its sequence and digest; none if the saga has none.
///
/// This is the rule of [`SnapshotStorage::append`](super::SnapshotStorage::append) for a record that is not stored yet; every store
/// shares it: the newest record must be the record's [`predecessor`](SnapshotRecord::predecessor), and its sequence the next one, or, for
/// a [`Remnant`](crate::Remnant), any later one. A mark before which there is no hole changes nothing. The first record of a saga may
/// name any predecessor, for that of a fork is in another saga.
///
/// # Errors
/// `Conflict` with the facts `saga`, `sequence` and `expected`; `Invalid` for a record that was read without its payload.
pub fn check_next(record: &SnapshotRecord, newest: Option<(u64, Digest)>) -> Result<()> {
    record.payload()?;
    let expected = newest.map_or(1, |(sequence, _)| sequence.saturating_add(1));
    let is_next = record.sequence == expected;
    if record.predecessor() == newest && (is_next || record.is_remnant() && record.sequence > expected) {
        return Ok(());
    }
    let conflict = Error::new(ErrorKind::Conflict, "append")
        .with("saga", &record.saga_id)
        .with("sequence", record.sequence)
        .with("expected", expected);
    Err(if is_next { conflict.message("it does not follow the saga's newest record") } else { conflict })
}

/// The part of an append that is not stored yet, in its order; empty if all of it is.
///
/// `records` are of one saga, `newest` is that saga's newest record as for [`check_next`], and `stored` gives the
/// [`header`](SnapshotRecord::header) of a record that is stored with a sequence; it is asked for sequences up to the newest one only.
/// This is what makes an append repeatable, and every store shares it: a record that is stored byte for byte is left out, and each
/// other one has to follow the one before it.
///
/// # Errors
/// As [`check_next`], also for another record at a sequence that is taken.
pub fn unstored<'a, 'h, R: Borrow<SnapshotRecord>>(
    records: &[&'a R],
    newest: Option<(u64, Digest)>,
    stored: impl Fn(u64) -> Option<&'h [u8]>,
) -> Result<Vec<&'a R>> {
    let mut new: Vec<&'a R> = Vec::new();
    for &item in records {
        let record = item.borrow();
        let last = new.last().map(|&last| last.borrow()).map(|last| (last.sequence, last.digest())).or(newest);
        let Some((last, _)) = last.filter(|(last, _)| record.sequence <= *last) else {
            check_next(record, last)?;
            new.push(item);
            continue;
        };
        let is_stored = match new.iter().map(|&other| other.borrow()).find(|other| other.sequence == record.sequence) {
            Some(other) => other.digest() == record.digest(),
            // A header covers its record's digest, so equal headers are equal digests.
            None => stored(record.sequence).is_some_and(|header| header == &record.header()[..]),
        };
        if !is_stored {
            return Err(Error::new(ErrorKind::Conflict, "append")
                .with("saga", &record.saga_id)
                .with("sequence", record.sequence)
                .with("expected", last.saturating_add(1)));
        }
    }
    Ok(new)
}
