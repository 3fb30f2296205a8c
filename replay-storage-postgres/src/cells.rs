//! Versioned cells.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use replay_core::{
    Error, ErrorKind, Result,
    storage::{Cell, If, check_cell, check_key},
};
use sqlx::postgres::PgRow;

use crate::{
    error::{Access, damaged},
    paging::{Page, pages},
    row::{self, column},
    sql::{instant, instant_from},
    store::Shared,
    text::after_prefix,
};

const PAGE_ROWS: i64 = 128;

/// A cell that was deleted or has expired is kept so long before other writes remove it, so that its versions go on, and in case the
/// clock was wrong.
const GRACE: Duration = Duration::from_hours(24);

/// So many of these are removed at once, by one write in so many.
const SWEPT: i64 = 256;
const SWEEP_EVERY: u64 = 64;

/// The columns `version, expires_at, value`, the first of which is column `at`, as a cell.
fn read(row: &PgRow, at: usize, operation: &'static str) -> Result<Cell> {
    Ok(Cell {
        version: version(row, at, operation)?,
        expires_at: column(row, at + 1, operation)?,
        value: row::bytes(row, at + 2, operation)?,
    })
}

fn version(row: &PgRow, at: usize, operation: &'static str) -> Result<u64> {
    u64::try_from(column::<i64>(row, at, operation)?).map_err(|_| damaged(operation, "a cell has a negative version"))
}

pub(crate) async fn get(shared: &Shared, key: &str) -> Result<Option<Cell>> {
    const OPERATION: &str = "get cell";
    check_key(OPERATION, key)?;
    let now = instant(shared.now());
    let rows = shared.read(OPERATION, &shared.sql.get_cell, || shared.args().with(key.as_bytes()).with(now)).await?;
    rows.first().map(|row| read(row, 0, OPERATION)).transpose()
}

pub(crate) async fn put(shared: &Shared, key: &str, value: &Bytes, condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64> {
    const OPERATION: &str = "put cell";
    check_cell(OPERATION, key, value)?;
    let now = shared.now();
    let first = now.timestamp_micros().max(0);
    let expires_at = expires_at.map(instant);
    let basic = || shared.args().with(key.as_bytes()).with(first).with(expires_at).with(&value[..]);
    let rows = match condition {
        If::Any => shared.write(OPERATION, Access::Once, &shared.sql.put_cell, basic).await?,
        If::Absent => shared.write(OPERATION, Access::Once, &shared.sql.claim_cell, || basic().with(instant(now))).await?,
        // No cell has a version that a column cannot hold.
        If::Version(version) => match i64::try_from(version) {
            Ok(version) => {
                let args = || basic().with(instant(now)).with(version);
                shared.write(OPERATION, Access::Once, &shared.sql.replace_cell, args).await?
            }
            Err(_) => Vec::new(),
        },
    };
    let Some(row) = rows.first() else { return Err(conflict(shared, OPERATION, key, now).await?) };
    let version = version(row, 0, OPERATION)?;
    if shared.is_time_to_sweep(SWEEP_EVERY) {
        sweep(shared, now).await;
    }
    Ok(version)
}

async fn conflict(shared: &Shared, operation: &'static str, key: &str, now: DateTime<Utc>) -> Result<Error> {
    let error = Error::new(ErrorKind::Conflict, operation).with("key", key);
    let args = || shared.args().with(key.as_bytes()).with(instant(now));
    let rows = shared.read(operation, &shared.sql.cell_version, args).await?;
    Ok(match rows.first() {
        Some(row) => error.with("version", version(row, 0, operation)?),
        None => error.with("version", "absent"),
    })
}

/// Removes cells that expired long ago, so that they do not pile up. The next time will do as well if it fails.
async fn sweep(shared: &Shared, now: DateTime<Utc>) {
    let Some(before) = now.checked_sub_signed(chrono::TimeDelta::from_std(GRACE).unwrap_or_default()) else { return };
    let args = || crate::sql::Args::new().with(instant(before)).with(shared.namespace_no()).with(SWEPT);
    let _ = shared.write("put cell", Access::Repeatable, &shared.sql.sweep_cells, args).await;
}

pub(crate) async fn delete(shared: &Shared, key: &str, condition: If) -> Result<bool> {
    const OPERATION: &str = "delete cell";
    check_key(OPERATION, key)?;
    let version = match condition {
        If::Absent => return Err(Error::invalid(OPERATION, "a cell that is absent cannot be deleted")),
        If::Any => None,
        // No cell has a version that a column cannot hold.
        If::Version(version) => Some(i64::try_from(version).unwrap_or(-1)),
    };
    let now = shared.now();
    let args = || shared.args().with(key.as_bytes()).with(instant(now)).with(version);
    let rows = shared.write(OPERATION, Access::Once, &shared.sql.delete_cell, args).await?;
    if !rows.is_empty() {
        return Ok(true);
    }
    if version.is_none() {
        return Ok(false);
    }
    let conflict = conflict(shared, OPERATION, key, now).await?;
    if conflict.fact("version") == Some("absent") { Ok(false) } else { Err(conflict) }
}

/// The cells whose key begins with `prefix`, a page at a time.
pub(crate) fn scan(shared: Arc<Shared>, prefix: String) -> BoxStream<'static, Result<(String, Cell)>> {
    let end = after_prefix(&prefix);
    pages(Some(Vec::new()), move |after: Vec<u8>| {
        let (shared, prefix, end) = (shared.clone(), prefix.clone(), end.clone());
        async move { page(&shared, &prefix, end.as_deref(), &after).await }
    })
}

async fn page(shared: &Shared, prefix: &str, end: Option<&str>, after: &[u8]) -> Result<Page<(String, Cell), Vec<u8>>> {
    const OPERATION: &str = "scan cells";
    let now = instant_from(shared.now());
    let args = || shared.args().with(after).with(prefix.as_bytes()).with(end.map(str::as_bytes)).with(now).with(PAGE_ROWS);
    let rows = shared.read(OPERATION, &shared.sql.scan_cells, args).await?;
    let mut cells = Vec::with_capacity(rows.len());
    for row in &rows {
        let key = std::str::from_utf8(column(row, 0, OPERATION)?).map_err(|_| damaged(OPERATION, "a key is not UTF-8"))?;
        cells.push((key.to_owned(), read(row, 1, OPERATION)?));
    }
    let is_full = i64::try_from(cells.len()) == Ok(PAGE_ROWS);
    let next = if is_full { cells.last().map(|(key, _)| key.clone().into_bytes()) } else { None };
    Ok((cells, next))
}
