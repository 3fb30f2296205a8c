//! Records as items of a history, and back.

use std::sync::Arc;

use replay_core::{Encoding, Outline, Payload, Result, SagaId, SnapshotRecord};

use crate::{item::Item, wire::damaged};

/// A record as it is stored.
///
/// # Errors
/// `Invalid` for a record without its payload.
pub(crate) fn item(record: &SnapshotRecord) -> Result<Item> {
    let payload = record.payload()?;
    let steps = record.next.ranges();
    let first = steps.iter().map(|range| range.start).min();
    let last = steps.iter().map(|range| range.end.saturating_sub(1)).max();
    Ok(Item {
        seq: record.sequence,
        at: record.created_at.timestamp_micros(),
        retain: record.retention_until.map(|until| until.timestamp_micros()),
        next: first.zip(last),
        part: Some(record.outline.fingerprint()),
        encoding: payload.encoding.code(),
        header: record.header().clone(),
        body: payload.bytes.clone(),
    })
}

/// A stored item as the record of `saga`.
///
/// # Errors
/// `Integrity` if it is damaged or another saga's; `NewerVersion` if a later version wrote it.
pub(crate) fn record(saga: &SagaId, item: &Item, outline: Arc<Outline>, with_payload: bool) -> Result<SnapshotRecord> {
    let record = if with_payload {
        let payload = Payload { encoding: Encoding::from_code(item.encoding)?, bytes: item.body.clone() };
        SnapshotRecord::from_parts(outline, item.header.clone(), payload)?
    } else {
        SnapshotRecord::from_header(outline, item.header.clone())?
    };
    if record.saga_id != *saga || record.sequence != item.seq {
        return Err(damaged("holds another record than it says").with("saga", saga).with("sequence", item.seq));
    }
    Ok(record)
}
