//! The texts that contexts are changes of: put with the first record that needs one, removed with the last.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use replay_core::{Base, Digest, Encoder, Encoding, Frame, Payload, Result, SnapshotRecord};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::{
    error::{damaged, during},
    row::{self, Context},
    writer::Session,
};

/// What joins a frame `f` to a record `r`.
pub(crate) const JOIN: &str = "LEFT JOIN frames AS f ON f.frame_no = r.frame_no";

/// A frame that is known to be in the file, or in the open transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    digest: Digest,
    since: u64,
    number: i64,
}

/// The number of a saga's frame, which is put if it is not there: whoever encoded the record cannot know.
pub(crate) fn ensure(session: &mut Session, saga_no: i64, base: &Base) -> Result<i64> {
    let (digest, since) = (base.frame.digest(), base.since);
    if let Some(known) = session.frame(saga_no).filter(|known| (known.digest, known.since) == (digest, since)) {
        return Ok(known.number);
    }
    let number = put(session.connection(), saga_no, base).map_err(during("append"))?;
    session.learn_frame(saga_no, Known { digest, since, number });
    Ok(number)
}

fn put(connection: &Connection, saga_no: i64, base: &Base) -> rusqlite::Result<i64> {
    let digest = base.frame.digest();
    let there = connection
        .prepare_cached("SELECT frame_no FROM frames WHERE saga_no = ?1 AND since = ?2 AND digest = ?3")?
        .query_row((saga_no, base.since, digest.as_bytes()), |row| row.get(0))
        .optional()?;
    if let Some(number) = there {
        return Ok(number);
    }
    let payload = base.frame.payload();
    connection
        .prepare_cached(
            "INSERT INTO frames (saga_no, since, digest, encoding, context) VALUES (:saga_no, :since, :digest, :encoding, :context)",
        )?
        .insert(named_params! {
            ":saga_no": saga_no,
            ":since": base.since,
            ":digest": digest.as_bytes(),
            ":encoding": payload.encoding.code(),
            ":context": Context(payload),
        })
}

/// Removes a frame of which no record is a change any more.
pub(crate) fn release(session: &mut Session, saga_no: i64, frame_no: i64) -> rusqlite::Result<()> {
    // Only records from `since` on, and not many of them, are changes of it.
    let removed = session
        .connection()
        .prepare_cached(
            "DELETE FROM frames WHERE frame_no = ?1 AND NOT EXISTS (SELECT 1 FROM records AS r INDEXED BY records_by_saga
                 WHERE r.saga_no = ?2 AND r.sequence BETWEEN frames.since AND frames.since + ?3 AND r.frame_no = ?1)",
        )?
        .execute((frame_no, saga_no, Encoder::SPAN))?;
    if removed > 0 {
        session.forget_frames();
    }
    Ok(())
}

/// A frame's digest, encoding and context, the first of which is column `at`; none if they are null.
pub(crate) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<FrameRow>> {
    let Some(digest) = row.get::<_, Option<[u8; 32]>>(at)? else { return Ok(None) };
    Ok(Some(FrameRow { digest: Digest::from_bytes(digest), encoding: row.get(at + 1)?, context: row::bytes(row, at + 2)? }))
}

/// A frame's stored parts.
pub(crate) struct FrameRow {
    digest: Digest,
    encoding: i64,
    context: Bytes,
}

impl FrameRow {
    pub(crate) fn into_frame(self) -> Result<Frame> {
        let encoding = u8::try_from(self.encoding).map_err(|_| damaged("read", "a frame has an impossible encoding"))?;
        Frame::new(self.digest, Payload { encoding: Encoding::from_code(encoding)?, bytes: self.context })
    }
}

/// So many frames of records that were read last are kept, with the texts that were made of them,
const KEPT: usize = 32;

/// unless one takes more bytes in the file.
const LARGE: usize = 16 << 10;

/// The frames of the records that were read last: states of one saga are often asked for one after the other.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<VecDeque<Arc<Frame>>>);

impl Recent {
    /// The record, with the frame that is kept if that was made of the same bytes.
    pub(crate) fn share(&self, record: SnapshotRecord) -> SnapshotRecord {
        let Some(frame) = record.frame().filter(|frame| frame.payload().bytes.len() <= LARGE) else { return record };
        let mut recent = self.0.lock();
        let known = recent.iter().find(|known| known.digest() == frame.digest() && known.payload() == frame.payload());
        if let Some(known) = known.cloned() {
            return record.with_frame(known);
        }
        if recent.len() >= KEPT {
            recent.pop_front();
        }
        recent.push_back(frame.clone());
        drop(recent);
        record
    }
}
