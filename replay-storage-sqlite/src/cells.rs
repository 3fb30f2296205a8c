//! Versioned cells.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream, stream::BoxStream};
use replay_core::{
    Error, ErrorKind, Result,
    storage::{Cell, If},
};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::{error::during, history::flatten, row, store::Shared, writer::Session};

const MAX_KEY_BYTES: usize = 1024;
const MAX_VALUE_BYTES: usize = 64 << 10;
const PAGE_ROWS: usize = 128;

/// An expired cell is kept so long before other writes remove it, in case the clock was wrong and is set back.
const GRACE: Duration = Duration::from_hours(24);

/// So many of these are removed by one write.
const SWEPT: u32 = 4;

fn check_key(operation: &'static str, key: &str) -> Result<()> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Ok(());
    }
    Err(Error::invalid(operation, "a cell's key has 1 to 1,024 bytes").with("len", key.len()))
}

fn micros(instant: DateTime<Utc>) -> i64 {
    instant.timestamp_micros()
}

/// The columns `version, expires_at, value` as a cell.
fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Cell> {
    Ok(Cell {
        version: row.get(at)?,
        expires_at: row.get::<_, Option<i64>>(at + 1)?.and_then(DateTime::from_timestamp_micros),
        value: row::bytes(row, at + 2)?,
    })
}

fn stored(connection: &Connection, namespace: &str, key: &str) -> rusqlite::Result<Option<Cell>> {
    connection
        .prepare_cached("SELECT version, expires_at, value FROM cells WHERE namespace = ?1 AND key = ?2")?
        .query_row([namespace, key], |row| read(row, 0))
        .optional()
}

fn is_alive(cell: &Cell, now: DateTime<Utc>) -> bool {
    cell.expires_at.is_none_or(|at| now < at)
}

pub(crate) fn get(shared: &Shared, connection: &Connection, key: &str) -> Result<Option<Cell>> {
    check_key("get cell", key)?;
    let cell = stored(connection, shared.namespace(), key).map_err(during("get cell"))?;
    Ok(cell.filter(|cell| is_alive(cell, shared.now())))
}

pub(crate) async fn put(shared: &Arc<Shared>, key: &str, value: Bytes, condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64> {
    check_key("put cell", key)?;
    if value.len() > MAX_VALUE_BYTES {
        return Err(Error::new(ErrorKind::LimitExceeded, "put cell")
            .message("a cell's value has at most 64 KiB")
            .hint("keep large values in blobs")
            .with("len", value.len()));
    }
    let key = key.to_owned();
    shared.write("put cell", move |shared, session| put_in(shared, session, &key, &value, condition, expires_at)).await?
}

fn put_in(
    shared: &Shared,
    session: &mut Session,
    key: &str,
    value: &[u8],
    condition: If,
    expires_at: Option<DateTime<Utc>>,
) -> Result<Result<u64>> {
    let failed = during("put cell");
    let (connection, namespace, now) = (session.connection(), shared.namespace(), shared.now());
    let stored = stored(connection, namespace, key).map_err(failed)?;
    let alive = stored.as_ref().filter(|cell| is_alive(cell, now));
    let holds = match condition {
        If::Any => true,
        If::Absent => alive.is_none(),
        If::Version(version) => alive.is_some_and(|cell| cell.version == version),
    };
    if !holds {
        return Ok(Err(conflict("put cell", key, alive)));
    }
    let previous = match &stored {
        Some(cell) => cell.version,
        None => mark(connection, namespace).map_err(failed)?,
    };
    let version = previous.saturating_add(1).max(u64::try_from(micros(now)).unwrap_or(0));
    connection
        .prepare_cached(
            "INSERT INTO cells (namespace, key, version, expires_at, value) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (namespace, key) DO UPDATE
             SET version = excluded.version, expires_at = excluded.expires_at, value = excluded.value",
        )
        .and_then(|mut upsert| upsert.execute((namespace, key, version, expires_at.map(micros), value)))
        .map_err(failed)?;
    sweep(connection, namespace, now).map_err(failed)?;
    Ok(Ok(version))
}

fn conflict(operation: &'static str, key: &str, cell: Option<&Cell>) -> Error {
    let error = Error::new(ErrorKind::Conflict, operation).with("key", key);
    match cell {
        Some(cell) => error.with("version", cell.version),
        None => error.with("version", "absent"),
    }
}

/// The highest version that a removed cell had, or 0.
fn mark(connection: &Connection, namespace: &str) -> rusqlite::Result<u64> {
    let mark = connection
        .prepare_cached("SELECT version FROM cell_marks WHERE namespace = ?1")?
        .query_row([namespace], |row| row.get(0))
        .optional()?;
    Ok(mark.unwrap_or(0))
}

fn raise_mark(connection: &Connection, namespace: &str, version: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO cell_marks (namespace, version) VALUES (?1, ?2)
             ON CONFLICT (namespace) DO UPDATE SET version = max(version, excluded.version)",
        )?
        .execute((namespace, version))
        .map(drop)
}

fn remove(connection: &Connection, namespace: &str, key: &str, version: u64) -> rusqlite::Result<()> {
    raise_mark(connection, namespace, version)?;
    connection.prepare_cached("DELETE FROM cells WHERE namespace = ?1 AND key = ?2")?.execute([namespace, key]).map(drop)
}

/// Removes a few cells that expired long ago, so that they do not pile up.
fn sweep(connection: &Connection, namespace: &str, now: DateTime<Utc>) -> rusqlite::Result<()> {
    let Some(before) = now.checked_sub_signed(chrono::TimeDelta::from_std(GRACE).unwrap_or_default()) else { return Ok(()) };
    let expired: Vec<(String, u64)> = connection
        .prepare_cached("SELECT key, version FROM cells WHERE namespace = ?1 AND expires_at <= ?2 LIMIT ?3")?
        .query_map((namespace, micros(before), SWEPT), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    expired.iter().try_for_each(|(key, version)| remove(connection, namespace, key, *version))
}

pub(crate) async fn delete(shared: &Arc<Shared>, key: &str, condition: If) -> Result<bool> {
    check_key("delete cell", key)?;
    if condition == If::Absent {
        return Err(Error::invalid("delete cell", "a cell that is absent cannot be deleted"));
    }
    let key = key.to_owned();
    shared.write("delete cell", move |shared, session| delete_in(shared, session, &key, condition)).await?
}

fn delete_in(shared: &Shared, session: &mut Session, key: &str, condition: If) -> Result<Result<bool>> {
    let failed = during("delete cell");
    let (connection, namespace) = (session.connection(), shared.namespace());
    let stored = stored(connection, namespace, key).map_err(failed)?;
    let Some(cell) = stored.filter(|cell| is_alive(cell, shared.now())) else { return Ok(Ok(false)) };
    if let If::Version(version) = condition
        && version != cell.version
    {
        return Ok(Err(conflict("delete cell", key, Some(&cell))));
    }
    remove(connection, namespace, key, cell.version).map_err(failed)?;
    Ok(Ok(true))
}

/// The cells whose key begins with `prefix`, a page at a time.
pub(crate) fn scan(shared: Arc<Shared>, prefix: String) -> BoxStream<'static, Result<(String, Cell)>> {
    let pages = stream::try_unfold(Some(None), move |after: Option<Option<String>>| {
        let (shared, prefix) = (shared.clone(), prefix.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let cells = page(&shared, prefix, after).await?;
            let next = if cells.len() < PAGE_ROWS { None } else { cells.last().map(|(key, _)| Some(key.clone())) };
            let now = shared.now();
            let alive: Vec<_> = cells.into_iter().filter(|(_, cell)| is_alive(cell, now)).map(Ok).collect();
            Ok(Some((stream::iter(alive), next)))
        }
    });
    flatten(pages.boxed())
}

async fn page(shared: &Arc<Shared>, prefix: String, after: Option<String>) -> Result<Vec<(String, Cell)>> {
    // What begins with the prefix comes right after it in byte order, and together; no pattern is needed.
    const SQL: &str = "SELECT key, version, expires_at, value FROM cells
        WHERE namespace = :namespace AND key >= :prefix AND (:after IS NULL OR key > :after) ORDER BY key LIMIT :limit";
    let namespace = shared.namespace().to_owned();
    shared
        .readers()
        .read("scan cells", move |connection| {
            let failed = during("scan cells");
            let mut select = connection.prepare_cached(SQL).map_err(failed)?;
            let from = after.as_deref().unwrap_or(&prefix);
            let rows = select
                .query_map(named_params! { ":namespace": namespace, ":prefix": from, ":after": after, ":limit": PAGE_ROWS }, |row| {
                    Ok((row.get::<_, String>(0)?, read(row, 1)?))
                })
                .map_err(failed)?;
            let mut cells = Vec::new();
            for row in rows {
                let (key, cell) = row.map_err(failed)?;
                if !key.starts_with(&prefix) {
                    break;
                }
                cells.push((key, cell));
            }
            Ok(cells)
        })
        .await
}
