//! Append-only streams: a list each, and a sorted set of their names in each shard.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use replay_core::{
    Error, ErrorKind, Result,
    storage::{LogEntry, StreamInfo, check_key},
};

use crate::{
    error::{Effect, damaged},
    head::{instant, ordered},
    index::{Direction, Merge},
    keys::{Kind, Shard},
    page::pages,
    script::{APPEND_LOG, DELETE_LOG},
    store::Shared,
    value,
};

/// The first page of a read; the next ones are of about this many bytes.
const FIRST_PAGE: u64 = 64;
const PAGE_BYTES: u64 = 1 << 20;
const MOST_ROWS: u64 = 4096;
const NAMES: u64 = 128;

fn keys_of(shared: &Shared, name: &str) -> [Vec<u8>; 2] {
    let shard = Shard::of(name.as_bytes());
    [shared.keys().key(Kind::Log, shard, name.as_bytes()), shared.keys().of_shard(Kind::LogNames, shard)]
}

pub(crate) async fn append(shared: &Shared, name: &str, expected_len: u64, entries: &[Bytes]) -> Result<u64> {
    const OPERATION: &str = "append log";
    check_key(OPERATION, name)?;
    let bytes: usize = entries.iter().map(|entry| entry.len() + 8).sum();
    let mut cmd = APPEND_LOG.call(&keys_of(shared, name), bytes + name.len() + 32);
    cmd.arg(expected_len).arg(name);
    let now = ordered(shared.now());
    for entry in entries {
        cmd.arg([&now[..], entry].concat());
    }
    let answer = value::int(OPERATION, &shared.link().call(OPERATION, Effect::Repeatable, &cmd).await?)?;
    u64::try_from(answer).map_err(|_| {
        let error = Error::new(ErrorKind::Conflict, OPERATION).with("stream", name);
        error.with("len", -1 - answer).with("expected", expected_len)
    })
}

/// Entries of a stream, a page at a time.
pub(crate) fn read(shared: Arc<Shared>, name: String, from: u64, limit: u64) -> BoxStream<'static, Result<LogEntry>> {
    pages((from, limit, FIRST_PAGE), move |(from, left, page)| {
        let (shared, name) = (shared.clone(), name.clone());
        async move {
            let wanted = left.min(page);
            let (Ok(first), true) = (i64::try_from(from), wanted > 0) else { return Ok(None) };
            let entries = read_page(&shared, &name, first, wanted).await?;
            let count = entries.len() as u64;
            if count == 0 {
                return Ok(None);
            }
            let bytes: u64 = entries.iter().map(|entry| entry.bytes.len() as u64 + 8).sum();
            let page = (PAGE_BYTES / (bytes / count).max(1)).clamp(1, MOST_ROWS);
            let left = if count < wanted { 0 } else { left - count };
            Ok(Some((entries, (from.saturating_add(count), left, page))))
        }
    })
}

async fn read_page(shared: &Shared, name: &str, first: i64, wanted: u64) -> Result<Vec<LogEntry>> {
    const OPERATION: &str = "read log";
    let [key, _] = keys_of(shared, name);
    let mut cmd = redis::cmd("LRANGE");
    let last = first.saturating_add(i64::try_from(wanted).unwrap_or(i64::MAX)).saturating_sub(1);
    cmd.arg(key).arg(first).arg(last);
    let values = value::strings(OPERATION, shared.link().call(OPERATION, Effect::Read, &cmd).await?)?;
    let entries = (0..).zip(values).map(|(at, value): (u64, _)| {
        let bytes = Bytes::from(value);
        let (time, _) = bytes.split_first_chunk::<8>().ok_or_else(|| damaged(OPERATION, "an entry is cut short").with("stream", name))?;
        Ok(LogEntry { index: first.cast_unsigned() + at, appended_at: instant(*time), bytes: bytes.slice(8..) })
    });
    entries.collect()
}

/// The streams whose name begins with `prefix`, a page at a time.
pub(crate) fn streams(shared: Arc<Shared>, prefix: &str) -> BoxStream<'static, Result<StreamInfo>> {
    const OPERATION: &str = "list streams";
    let mut merge = Merge::new(OPERATION, Direction::Up, NAMES);
    for shard in Shard::all() {
        merge.add(shard, shared.keys().of_shard(Kind::LogNames, shard), &[Vec::new()], prefix.as_bytes(), None);
    }
    pages(merge, move |mut merge| {
        let shared = shared.clone();
        async move {
            let names = merge.take(&shared, usize::try_from(NAMES).unwrap_or(usize::MAX)).await?;
            if names.is_empty() {
                return Ok(None);
            }
            let lens = names.iter().map(|(shard, name)| {
                let mut cmd = redis::cmd("LLEN");
                cmd.arg(shared.keys().key(Kind::Log, *shard, name));
                cmd
            });
            let lens = shared.link().calls(OPERATION, Effect::Read, &lens.collect::<Vec<_>>()).await?;
            let mut streams = Vec::with_capacity(names.len());
            for ((_, name), len) in names.into_iter().zip(lens) {
                let len = u64::try_from(value::int(OPERATION, &len)?).unwrap_or(0);
                if len > 0 {
                    streams.push(StreamInfo { name: value::text(OPERATION, name)?, len });
                }
            }
            Ok(Some((streams, merge)))
        }
    })
}

pub(crate) async fn delete(shared: &Shared, name: &str) -> Result<bool> {
    const OPERATION: &str = "delete log";
    check_key(OPERATION, name)?;
    let mut cmd = DELETE_LOG.call(&keys_of(shared, name), name.len());
    cmd.arg(name);
    Ok(value::int(OPERATION, &shared.link().call(OPERATION, Effect::Once, &cmd).await?)? > 0)
}
