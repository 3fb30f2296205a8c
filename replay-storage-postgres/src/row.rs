//! Rows as records and back.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::RwLock;
use replay_core::{Encoding, Error, Outline, Payload, Result, SnapshotId, SnapshotMeta, SnapshotRecord};
use sqlx::{Decode, Postgres, Row, Type, postgres::PgRow};

use crate::error::{damaged, unreadable};

/// Beyond this many entries a memory is emptied: it only saves reads.
const REMEMBERED: usize = 1024;

/// A column's value.
pub(crate) fn column<'r, T>(row: &'r PgRow, at: usize, operation: &'static str) -> Result<T>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(at).map_err(unreadable(operation))
}

/// The bytes of a column.
pub(crate) fn bytes(row: &PgRow, at: usize, operation: &'static str) -> Result<Bytes> {
    column::<&[u8]>(row, at, operation).map(Bytes::copy_from_slice)
}

/// Where a payload goes: its context as text where it is text that a column can hold, so that SQL can look into it; else as it is.
pub(crate) fn split(payload: &Payload) -> (Option<&str>, Option<&[u8]>) {
    let text = match payload.encoding {
        Encoding::Json if !payload.bytes.contains(&0) => std::str::from_utf8(&payload.bytes).ok(),
        _ => None,
    };
    if text.is_some() { (text, None) } else { (None, Some(&payload.bytes)) }
}

/// A record's stored parts, before they are put together.
pub(crate) struct RecordRow {
    pub(crate) sequence: i64,
    pub(crate) definition_no: i32,
    encoding: i16,
    header: Bytes,
    /// None where it was not asked for.
    payload: Option<Bytes>,
}

impl RecordRow {
    /// Reads the columns `sequence, definition_no, encoding, header, context, payload`, the first of which is column `at`.
    pub(crate) fn read(row: &PgRow, at: usize) -> Result<Self> {
        let context = column::<Option<&str>>(row, at + 4, "read")?.map(str::as_bytes);
        let payload = match context {
            Some(context) => Some(context),
            None => column::<Option<&[u8]>>(row, at + 5, "read")?,
        };
        let payload = payload.ok_or_else(|| damaged("read", "a record has no payload"))?;
        Ok(Self { payload: Some(Bytes::copy_from_slice(payload)), ..Self::read_header(row, at)? })
    }

    /// Reads the columns `sequence, definition_no, encoding, header`: a record without its payload.
    pub(crate) fn read_header(row: &PgRow, at: usize) -> Result<Self> {
        Ok(Self {
            sequence: column(row, at, "read")?,
            definition_no: column(row, at + 1, "read")?,
            encoding: column(row, at + 2, "read")?,
            header: bytes(row, at + 3, "read")?,
            payload: None,
        })
    }

    /// Puts the record together and checks that it is the one that its row says.
    pub(crate) fn into_record(self, saga: &str, outline: Arc<Outline>) -> Result<SnapshotRecord> {
        let name = |error: Error| error.with("snapshot", format_args!("{saga}@{}", self.sequence));
        let record = match self.payload {
            Some(bytes) => {
                let encoding = u8::try_from(self.encoding).map_err(|_| name(damaged("read", "a row has an impossible encoding")))?;
                let payload = Payload { encoding: Encoding::from_code(encoding).map_err(name)?, bytes };
                SnapshotRecord::from_parts(outline, self.header, payload)
            }
            None => SnapshotRecord::from_header(outline, self.header),
        };
        let record = record.map_err(name)?;
        if record.saga_id.as_str() != saga || i64::try_from(record.sequence) != Ok(self.sequence) {
            let found = SnapshotId { saga_id: record.saga_id.clone(), sequence: record.sequence };
            return Err(name(damaged("read", format!("the row holds another record, {found}"))));
        }
        Ok(record)
    }
}

/// A head whose record is not there.
pub(crate) fn missing_head(saga: &str) -> Error {
    damaged("read", "the newest record of a saga is missing").with("saga", saga)
}

/// What is looked up again and again, each by its key; emptied when it is full.
#[derive(Debug)]
pub(crate) struct Memory<K, V>(RwLock<HashMap<K, V>>);

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Eq + std::hash::Hash, V: Clone> Memory<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.0.read().get(key).cloned()
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        let mut known = self.0.write();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, value);
    }
}

/// What `next_key` is for a record that is no checkpoint.
const NONE: i32 = 0;

/// What `next_key` is for a record with several next steps.
const SEVERAL: i32 = -1;

/// What a record can be found by when its next step is known.
pub(crate) fn next_key(meta: &SnapshotMeta) -> i32 {
    let next = meta.next_steps();
    let mut names = next.iter();
    match (names.next(), meta.next.len()) {
        (None, _) => NONE,
        (Some(name), 1) => step_key(name),
        _ => SEVERAL,
    }
}

/// A step's name as a small positive number; two names may share one (FNV-1a, 31 bits).
pub(crate) fn step_key(name: &str) -> i32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i32::try_from(hash >> 1).unwrap_or(i32::MAX).max(1)
}
