//! The history of one value.

use std::sync::Arc;

use futures::TryStreamExt;
use serde_json::Value;

use super::query::{KeyChange, KeyHistoryPage, KeyHistoryQuery, cursor_sequence};
use crate::{
    Digest, Result, SnapshotRecord,
    json::Pointer,
    storage::{At, SnapshotQuery, SnapshotStorage},
};

/// The value as of a record. A record with the same context is not parsed again.
struct Seen {
    content: Digest,
    value: Option<Value>,
}

impl Seen {
    fn of(record: &SnapshotRecord, pointer: &Pointer) -> Result<Self> {
        let context = record.clone().decode()?.context()?;
        Ok(Self { content: record.content_digest(), value: pointer.get(&context).cloned() })
    }
}

pub(super) async fn page<S: SnapshotStorage + ?Sized>(store: &S, query: KeyHistoryQuery) -> Result<KeyHistoryPage> {
    let after = cursor_sequence(query.cursor.as_deref())?;
    let mut page = KeyHistoryPage { changes: Vec::new(), next_cursor: None };
    if query.limit == 0 || after == u64::MAX {
        return Ok(page);
    }
    let mut last: Option<Seen> = match after {
        0 => None,
        after => store.load(&query.saga_id, At::Sequence(after)).await?.map(|record| Seen::of(&record, &query.pointer)).transpose()?,
    };
    let mut records = store.list(SnapshotQuery::new(query.saga_id.clone()).with_sequences(after + 1, u64::MAX));
    while let Some(record) = records.try_next().await? {
        if last.as_ref().is_some_and(|seen| seen.content == record.content_digest()) {
            continue;
        }
        let seen = Seen::of(&record, &query.pointer)?;
        let from = last.replace(seen).and_then(|seen| seen.value);
        let to = last.as_ref().and_then(|seen| seen.value.clone());
        if from == to {
            continue;
        }
        page.changes.push(KeyChange {
            sequence: record.sequence,
            created_at: record.created_at,
            phase: record.phase,
            step_name: record.step_name().map(Arc::from),
            from,
            to,
        });
        if page.changes.len() as u64 == query.limit {
            page.next_cursor = Some(record.sequence.to_string());
            break;
        }
    }
    Ok(page)
}
