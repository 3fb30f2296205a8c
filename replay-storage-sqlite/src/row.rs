//! Rows as records and back.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use parking_lot::RwLock;
use replay_core::{Digest, Encoding, Error, Frame, Outline, Payload, Result, SnapshotId, SnapshotMeta, SnapshotRecord};
use rusqlite::{
    Connection, OptionalExtension, Row,
    types::{ToSql, ToSqlOutput, ValueRef},
};

use crate::{
    error::{damaged, during},
    frames::{self, FrameRow},
};

/// The columns of `records AS r` that [`RecordRow::read`] takes, in their order.
/// They need the table `frames AS f` [joined](frames::JOIN).
pub(crate) const RECORD: &str = "r.sequence, r.definition_no, r.encoding, r.header, r.context, r.frame_no, f.digest, f.encoding, f.context";

/// The columns of `records AS r` that [`RecordRow::read_header`] takes, in their order.
pub(crate) const HEADER: &str = "r.sequence, r.definition_no, r.encoding, r.header";

/// Beyond this many outlines the memory is emptied: it only saves reads.
const REMEMBERED: usize = 1024;

/// UTF-8 that is stored as text without being copied or looked at again.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// A context as it is bound: text where it is text, so that SQL can look into it.
pub(crate) struct Context<'a>(pub(crate) &'a Payload);

impl ToSql for Context<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let Payload { encoding, bytes } = self.0;
        let is_text = *encoding == Encoding::Json && std::str::from_utf8(bytes).is_ok();
        Ok(ToSqlOutput::Borrowed(if is_text { ValueRef::Text(bytes) } else { ValueRef::Blob(bytes) }))
    }
}

/// The frame of the record that was read last, by its number.
pub(crate) type LastFrame = Option<(i64, Arc<Frame>)>;

/// A record's stored parts, before they are put together.
pub(crate) struct RecordRow {
    pub(crate) sequence: i64,
    pub(crate) definition_no: i64,
    encoding: i64,
    header: Bytes,
    /// None where it was not asked for.
    context: Option<Bytes>,
    /// The frame's number, and the frame if it is there and was asked for.
    frame: Option<(i64, Option<FrameRow>)>,
}

impl RecordRow {
    /// Reads the columns [`RECORD`], the first of which is column `at`.
    pub(crate) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Self::read_after(row, at, None)
    }

    /// As [`read`](Self::read), without the parts of the frame if that is the one which is `known`.
    pub(crate) fn read_after(row: &Row<'_>, at: usize, known: Option<i64>) -> rusqlite::Result<Self> {
        let frame = match row.get(at + 5)? {
            Some(number) if known == Some(number) => Some((number, None)),
            Some(number) => Some((number, frames::read(row, at + 6)?)),
            None => None,
        };
        Ok(Self { context: Some(bytes(row, at + 4)?), frame, ..Self::read_header(row, at)? })
    }

    /// Reads the columns [`HEADER`], the first of which is column `at`: a record without its payload.
    pub(crate) fn read_header(row: &Row<'_>, at: usize) -> rusqlite::Result<Self> {
        Ok(Self {
            sequence: row.get(at)?,
            definition_no: row.get(at + 1)?,
            encoding: row.get(at + 2)?,
            header: bytes(row, at + 3)?,
            context: None,
            frame: None,
        })
    }

    /// Puts the record together and checks that it is the one that its row says.
    pub(crate) fn into_record(self, saga: &str, outline: Arc<Outline>) -> Result<SnapshotRecord> {
        self.into_record_after(saga, outline, &mut None)
    }

    /// As [`into_record`](Self::into_record), sharing the frame of the record before it in a listing, so that its text is read once.
    pub(crate) fn into_record_after(self, saga: &str, outline: Arc<Outline>, last: &mut LastFrame) -> Result<SnapshotRecord> {
        let name = |error: Error| error.with("snapshot", format_args!("{saga}@{}", self.sequence));
        let record = match self.context {
            None => SnapshotRecord::from_header(outline, self.header),
            Some(bytes) => {
                let encoding = u8::try_from(self.encoding).map_err(|_| name(damaged("read", "a row has an impossible encoding")))?;
                let payload = Payload { encoding: Encoding::from_code(encoding).map_err(name)?, bytes };
                SnapshotRecord::from_parts(outline, self.header, payload)
            }
        };
        let mut record = record.map_err(name)?;
        if let Some((number, row)) = self.frame {
            if last.as_ref().is_none_or(|(known, _)| *known != number) {
                let frame = row.map(FrameRow::into_frame).transpose().map_err(name)?;
                *last = frame.map(|frame| (number, Arc::new(frame)));
            }
            if let Some((_, frame)) = last {
                record = record.with_frame(frame.clone());
            }
        }
        if record.saga_id.as_str() != saga || i64::try_from(record.sequence) != Ok(self.sequence) {
            let found = SnapshotId { saga_id: record.saga_id.clone(), sequence: record.sequence };
            return Err(name(damaged("read", format!("the row holds another record, {found}"))));
        }
        Ok(record)
    }
}

/// The bytes of a text or a blob.
pub(crate) fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Bytes> {
    let value = row.get_ref(column)?;
    let bytes = value.as_bytes().map_err(|_| rusqlite::Error::InvalidColumnType(column, String::new(), value.data_type()))?;
    Ok(Bytes::copy_from_slice(bytes))
}

/// Outlines by number, each read once by a process.
#[derive(Debug, Default)]
pub(crate) struct Outlines(RwLock<HashMap<i64, Arc<Outline>>>);

impl Outlines {
    /// The outline with this number. `connection` must not be inside a transaction that writes, for that may be undone.
    pub(crate) fn get(&self, connection: &Connection, number: i64) -> Result<Arc<Outline>> {
        if let Some(outline) = self.0.read().get(&number) {
            return Ok(outline.clone());
        }
        let outline = outline(connection, number)?;
        let mut known = self.0.write();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(number, outline.clone());
        Ok(outline)
    }
}

/// Reads an outline.
pub(crate) fn outline(connection: &Connection, number: i64) -> Result<Arc<Outline>> {
    let found = connection
        .prepare_cached("SELECT outline FROM definitions WHERE definition_no = ?1")
        .and_then(|mut select| select.query_row([number], |row| bytes(row, 0)).optional())
        .map_err(during("read"))?;
    let bytes = found.ok_or_else(|| damaged("read", "a record refers to a definition that is missing"))?;
    Outline::from_bytes(bytes).map(Arc::new)
}

/// What `next_key` is for a record with several next steps.
pub(crate) const SEVERAL: i64 = -1;

/// What a record can be found by when its next step is known.
pub(crate) fn next_key(meta: &SnapshotMeta) -> Option<i64> {
    let next = meta.next_steps();
    let mut names = next.iter();
    match (names.next(), meta.next.len()) {
        (None, _) => None,
        (Some(name), 1) => Some(step_key(name)),
        _ => Some(SEVERAL),
    }
}

/// A step's name as a small number; two names may share one (FNV-1a, 31 bits).
pub(crate) fn step_key(name: &str) -> i64 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    i64::from(hash >> 1)
}

/// A digest of what the tables `sagas` and `saga_labels` hold of a saga's newest record, but its status.
pub(crate) fn facets(meta: &SnapshotMeta) -> i64 {
    let origin = meta.origin.as_ref().map_or(&b""[..], |origin| origin.saga_id.as_str().as_bytes());
    let labels = meta.labels.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]);
    let digest = Digest::of_parts([meta.saga_name().as_bytes(), origin].into_iter().chain(labels));
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    i64::from_be_bytes(first)
}
