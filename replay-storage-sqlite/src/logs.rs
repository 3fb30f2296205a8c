//! Append-only streams.

use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use futures::{StreamExt, stream, stream::BoxStream};
use replay_core::{
    Error, ErrorKind, Result,
    storage::{LogEntry, StreamInfo},
};
use rusqlite::{Connection, OptionalExtension, named_params};

use crate::{
    error::{damaged, during},
    history::flatten,
    prune::{self, Garbage},
    row,
    store::Shared,
};

const MAX_NAME_BYTES: usize = 1024;
const PAGE_ROWS: u64 = 256;
const PAGE_BYTES: usize = 1 << 20;

fn check_name(operation: &'static str, name: &str) -> Result<()> {
    if (1..=MAX_NAME_BYTES).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::invalid(operation, "a stream's name has 1 to 1,024 bytes").with("len", name.len()))
}

fn find(connection: &Connection, namespace: &str, name: &str) -> rusqlite::Result<Option<(i64, u64)>> {
    connection
        .prepare_cached("SELECT log_no, len FROM logs WHERE namespace = ?1 AND name = ?2")?
        .query_row([namespace, name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

pub(crate) async fn append(shared: &Arc<Shared>, name: &str, expected_len: u64, entries: Vec<Bytes>) -> Result<u64> {
    check_name("append log", name)?;
    let name = name.to_owned();
    shared
        .write("append log", move |shared, session| {
            let now = shared.now().timestamp_micros();
            append_in(session.connection(), shared.namespace(), &name, expected_len, (now, &entries)).map_err(during("append log"))
        })
        .await?
}

fn append_in(
    connection: &Connection,
    namespace: &str,
    name: &str,
    expected_len: u64,
    (now, entries): (i64, &[Bytes]),
) -> rusqlite::Result<Result<u64>> {
    let found = find(connection, namespace, name)?;
    let len = found.map_or(0, |(_, len)| len);
    if len != expected_len {
        let is_repeat = match found {
            Some((number, len)) => ends_with(connection, number, len, expected_len, entries)?,
            None => false,
        };
        return Ok(if is_repeat {
            Ok(len)
        } else {
            Err(Error::new(ErrorKind::Conflict, "append log").with("stream", name).with("len", len).with("expected", expected_len))
        });
    }
    if entries.is_empty() {
        return Ok(Ok(len));
    }
    let new_len = len + entries.len() as u64;
    let number = match found {
        Some((number, _)) => {
            connection.prepare_cached("UPDATE logs SET len = ?1 WHERE log_no = ?2")?.execute((new_len, number))?;
            number
        }
        None => {
            connection.prepare_cached("INSERT INTO logs (namespace, name, len) VALUES (?1, ?2, ?3)")?.insert((namespace, name, new_len))?
        }
    };
    let mut insert = connection.prepare_cached("INSERT INTO log_entries (log_no, position, appended_at, bytes) VALUES (?1, ?2, ?3, ?4)")?;
    for (position, entry) in (len..).zip(entries) {
        insert.execute((number, position, now, &entry[..]))?;
    }
    Ok(Ok(new_len))
}

/// Whether a stream has exactly `entries` from `from` to its end.
fn ends_with(connection: &Connection, number: i64, len: u64, from: u64, entries: &[Bytes]) -> rusqlite::Result<bool> {
    if from.checked_add(entries.len() as u64) != Some(len) || entries.is_empty() {
        return Ok(false);
    }
    let mut select = connection.prepare_cached("SELECT bytes FROM log_entries WHERE log_no = ?1 AND position >= ?2 ORDER BY position")?;
    let mut rows = select.query((number, from))?;
    for entry in entries {
        let Some(row) = rows.next()? else { return Ok(false) };
        if row.get_ref(0)?.as_bytes_or_null().ok().flatten() != Some(&entry[..]) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Entries of a stream, a page at a time.
pub(crate) fn read(shared: Arc<Shared>, name: String, from: u64, limit: u64) -> BoxStream<'static, Result<LogEntry>> {
    let pages = stream::try_unfold((from, limit), move |(from, left)| {
        let (shared, name) = (shared.clone(), name.clone());
        async move {
            let Ok(first) = i64::try_from(from) else { return Ok(None) };
            if left == 0 {
                return Ok(None);
            }
            let (entries, is_end) = read_page(&shared, name, first, left.min(PAGE_ROWS)).await?;
            let count = entries.len() as u64;
            let left = if is_end { 0 } else { left - count };
            Ok(Some((stream::iter(entries.into_iter().map(Ok)), (from + count, left))))
        }
    });
    flatten(pages.boxed())
}

async fn read_page(shared: &Arc<Shared>, name: String, from: i64, wanted: u64) -> Result<(Vec<LogEntry>, bool)> {
    const SQL: &str = "SELECT e.position, e.appended_at, e.bytes FROM logs AS l CROSS JOIN log_entries AS e ON e.log_no = l.log_no
        WHERE l.namespace = :namespace AND l.name = :name AND e.position >= :first ORDER BY e.position LIMIT :wanted";
    let namespace = shared.namespace().to_owned();
    shared
        .readers()
        .read("read log", move |connection| {
            let failed = during("read log");
            let mut select = connection.prepare_cached(SQL).map_err(failed)?;
            let mut rows = select
                .query(named_params! { ":namespace": namespace, ":name": name, ":first": from, ":wanted": wanted })
                .map_err(failed)?;
            let (mut entries, mut bytes) = (Vec::new(), 0);
            while bytes < PAGE_BYTES {
                let Some(row) = rows.next().map_err(failed)? else {
                    let is_end = (entries.len() as u64) < wanted;
                    return Ok((entries, is_end));
                };
                let entry = entry(row).map_err(failed)?;
                if i64::try_from(entry.index).ok() != i64::try_from(entries.len()).ok().and_then(|len| from.checked_add(len)) {
                    return Err(damaged("read log", "an entry is missing").with("stream", &name).with("before", entry.index));
                }
                bytes += entry.bytes.len();
                entries.push(entry);
            }
            Ok((entries, false))
        })
        .await
}

fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<LogEntry> {
    Ok(LogEntry {
        index: row.get(0)?,
        appended_at: DateTime::from_timestamp_micros(row.get(1)?).unwrap_or_default(),
        bytes: row::bytes(row, 2)?,
    })
}

/// The streams whose name begins with `prefix`, a page at a time.
pub(crate) fn streams(shared: Arc<Shared>, prefix: String) -> BoxStream<'static, Result<StreamInfo>> {
    let pages = stream::try_unfold(Some(None), move |after: Option<Option<String>>| {
        let (shared, prefix) = (shared.clone(), prefix.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let streams = streams_page(&shared, prefix, after).await?;
            let is_end = (streams.len() as u64) < PAGE_ROWS;
            let next = if is_end { None } else { streams.last().map(|stream| Some(stream.name.clone())) };
            Ok(Some((stream::iter(streams.into_iter().map(Ok)), next)))
        }
    });
    flatten(pages.boxed())
}

async fn streams_page(shared: &Arc<Shared>, prefix: String, after: Option<String>) -> Result<Vec<StreamInfo>> {
    const SQL: &str = "SELECT name, len FROM logs
        WHERE namespace = :namespace AND name >= :prefix AND (:after IS NULL OR name > :after) ORDER BY name LIMIT :limit";
    let namespace = shared.namespace().to_owned();
    shared
        .readers()
        .read("list streams", move |connection| {
            let failed = during("list streams");
            let mut select = connection.prepare_cached(SQL).map_err(failed)?;
            let from = after.as_deref().unwrap_or(&prefix);
            let rows = select
                .query_map(named_params! { ":namespace": namespace, ":prefix": from, ":after": after, ":limit": PAGE_ROWS }, |row| {
                    Ok(StreamInfo { name: row.get(0)?, len: row.get(1)? })
                })
                .map_err(failed)?;
            let mut streams = Vec::new();
            for row in rows {
                let stream = row.map_err(failed)?;
                if !stream.name.starts_with(&prefix) {
                    break;
                }
                streams.push(stream);
            }
            Ok(streams)
        })
        .await
}

pub(crate) async fn delete(shared: &Arc<Shared>, name: &str) -> Result<bool> {
    check_name("delete log", name)?;
    let name = name.to_owned();
    let was_there = shared
        .write("delete log", move |shared, session| {
            let connection = session.connection();
            let work = || -> rusqlite::Result<bool> {
                let Some((number, _)) = find(connection, shared.namespace(), &name)? else { return Ok(false) };
                connection.prepare_cached("DELETE FROM logs WHERE log_no = ?1")?.execute([number])?;
                prune::discard(connection, Garbage::Log, number)?;
                Ok(true)
            };
            work().map_err(during("delete log"))
        })
        .await?;
    if was_there {
        prune::sweep(shared).await?;
    }
    Ok(was_there)
}
