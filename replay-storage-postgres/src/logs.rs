//! Append-only streams.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use replay_core::{
    Error, ErrorKind, Result,
    storage::{LogEntry, StreamInfo, check_key},
};
use sqlx::postgres::PgRow;

use crate::{
    error::{Access, ambiguous, damaged},
    paging::{Page, pages},
    prune,
    row::{self, column},
    sql::instant,
    store::Shared,
    text::after_prefix,
};

const PAGE_ROWS: u64 = 256;
const PAGE_BYTES: i64 = 1 << 20;

/// No stream is that long, and what is added to it does not overflow.
const FAR: i64 = i64::MAX >> 1;

fn number(row: &PgRow, at: usize, operation: &'static str) -> Result<u64> {
    u64::try_from(column::<i64>(row, at, operation)?).map_err(|_| damaged(operation, "a stream has a negative length or position"))
}

pub(crate) async fn append(shared: &Shared, name: &str, expected_len: u64, entries: &[Bytes]) -> Result<u64> {
    const OPERATION: &str = "append log";
    check_key(OPERATION, name)?;
    let bytes: Vec<&[u8]> = entries.iter().map(|entry| &entry[..]).collect();
    let now = instant(shared.now());
    let expected = i64::try_from(expected_len).ok();
    let mut is_unknown = false;
    if let (Some(expected), false) = (expected, entries.is_empty()) {
        let begin = || shared.args().with(name.as_bytes()).with(now).with(&bytes[..]);
        let answer = if expected == 0 {
            shared.write_and_look(OPERATION, &shared.sql.begin_log, begin).await?
        } else {
            shared.write_and_look(OPERATION, &shared.sql.append_log, || begin().with(expected)).await?
        };
        if let Some(row) = answer.rows.first() {
            return number(row, 0, OPERATION);
        }
        is_unknown = answer.is_unknown;
    }
    // It has another length, perhaps since an earlier attempt has done it.
    let args = || shared.args().with(name.as_bytes()).with(expected.map_or(FAR, |len| len.min(FAR))).with(&bytes[..]);
    let rows = ambiguous(shared.read(OPERATION, &shared.sql.log_state, args).await, is_unknown)?;
    let (len, is_done) = match rows.first() {
        Some(row) => (number(row, 0, OPERATION)?, column::<bool>(row, 1, OPERATION)?),
        None => (0, false),
    };
    if is_done || (entries.is_empty() && len == expected_len) {
        return Ok(len);
    }
    Err(Error::new(ErrorKind::Conflict, OPERATION).with("stream", name).with("len", len).with("expected", expected_len))
}

/// Entries of a stream, a page at a time.
pub(crate) fn read(shared: Arc<Shared>, name: String, from: u64, limit: u64) -> BoxStream<'static, Result<LogEntry>> {
    let name: Arc<str> = name.into();
    let start = (limit > 0).then_some((from, limit));
    pages(start, move |place| {
        let (shared, name) = (shared.clone(), name.clone());
        async move { read_page(&shared, &name, place).await }
    })
}

async fn read_page(shared: &Shared, name: &str, (from, left): (u64, u64)) -> Result<Page<LogEntry, (u64, u64)>> {
    const OPERATION: &str = "read log";
    let Ok(first) = i64::try_from(from) else { return Ok((Vec::new(), None)) };
    let wanted = left.min(PAGE_ROWS);
    let args = || shared.args().with(name.as_bytes()).with(first).with(i64::try_from(wanted).unwrap_or(i64::MAX)).with(PAGE_BYTES);
    let rows = shared.read(OPERATION, &shared.sql.read_log, args).await?;
    let mut entries = Vec::with_capacity(rows.len());
    for (index, row) in (from..).zip(&rows) {
        let entry =
            LogEntry { index: number(row, 0, OPERATION)?, appended_at: column(row, 1, OPERATION)?, bytes: row::bytes(row, 2, OPERATION)? };
        if entry.index != index {
            return Err(damaged(OPERATION, "an entry is missing").with("stream", name).with("before", entry.index));
        }
        entries.push(entry);
    }
    // A page may end early because of its bytes, so only an empty one is the end.
    let count = entries.len() as u64;
    let next = (count > 0 && count < left).then(|| (from + count, left - count));
    Ok((entries, next))
}

/// The streams whose name begins with `prefix`, a page at a time.
pub(crate) fn streams(shared: Arc<Shared>, prefix: String) -> BoxStream<'static, Result<StreamInfo>> {
    let end = after_prefix(&prefix);
    pages(Some(String::new()), move |after: String| {
        let (shared, prefix, end) = (shared.clone(), prefix.clone(), end.clone());
        async move { streams_page(&shared, &prefix, end.as_deref(), &after).await }
    })
}

async fn streams_page(shared: &Shared, prefix: &str, end: Option<&str>, after: &str) -> Result<Page<StreamInfo, String>> {
    const OPERATION: &str = "list streams";
    let limit = i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX);
    let args = || shared.args().with(after.as_bytes()).with(prefix.as_bytes()).with(end.map(str::as_bytes)).with(limit);
    let rows = shared.read(OPERATION, &shared.sql.streams, args).await?;
    let mut streams = Vec::with_capacity(rows.len());
    for row in &rows {
        let name = std::str::from_utf8(column(row, 0, OPERATION)?).map_err(|_| damaged(OPERATION, "a name is not UTF-8"))?;
        streams.push(StreamInfo { name: name.to_owned(), len: number(row, 1, OPERATION)? });
    }
    let is_full = streams.len() as u64 == PAGE_ROWS;
    let next = if is_full { streams.last().map(|stream| stream.name.clone()) } else { None };
    Ok((streams, next))
}

pub(crate) async fn delete(shared: &Shared, name: &str) -> Result<bool> {
    const OPERATION: &str = "delete log";
    check_key(OPERATION, name)?;
    let rows = shared.write(OPERATION, Access::Once, &shared.sql.delete_log, || shared.args().with(name.as_bytes())).await?;
    if !rows.is_empty() {
        // It is gone whatever becomes of this; what is left over is swept by the next one.
        let _ = prune::sweep(shared).await;
    }
    Ok(!rows.is_empty())
}
