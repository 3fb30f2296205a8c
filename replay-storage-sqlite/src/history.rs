//! Reading one saga's history.

use std::sync::{Arc, LazyLock};

use futures::{StreamExt, stream, stream::BoxStream};
use replay_core::{
    Result, SagaId, SnapshotRecord,
    storage::{At, Order, SnapshotQuery},
};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::{
    error::during,
    frames::JOIN,
    head::{NEWEST, missing_newest},
    row::{HEADER, LastFrame, RECORD, RecordRow, SEVERAL, step_key},
    store::Shared,
};

/// A page of a listing ends with this many records, or with this many bytes.
const PAGE_ROWS: usize = 128;
const PAGE_BYTES: u64 = 1 << 20;

/// The record of `saga` at a position.
pub(crate) fn load(shared: &Shared, connection: &Connection, saga: &SagaId, at: &At) -> Result<Option<SnapshotRecord>> {
    let found = match at {
        At::Latest => return latest(shared, connection, saga),
        At::Sequence(sequence) => match i64::try_from(*sequence) {
            Ok(sequence) => by_sequence(shared, connection, saga, sequence),
            Err(_) => Ok(None),
        },
        At::Time(instant) => by_time(shared, connection, saga, instant.timestamp_micros()),
        At::BeforeStep(step) => return before_step(shared, connection, saga, step),
        _ => return Err(replay_core::Error::unsupported("load", format!("the position {at:?} is not known to this version"))),
    };
    found.map_err(during("load"))?.map(|row| shared.record(connection, saga.as_str(), row)).transpose()
}

fn latest(shared: &Shared, connection: &Connection, saga: &SagaId) -> Result<Option<SnapshotRecord>> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT {RECORD} FROM sagas AS s
             LEFT JOIN records AS r ON r.saga_no = s.saga_no AND r.sequence = {NEWEST} AND r.sequence >= s.sequence
             {JOIN} WHERE s.namespace = :namespace AND s.saga_id = :saga_id"
        )
    });
    let read = |row: &Row<'_>| match row.get_ref(0)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => RecordRow::read(row, 0).map(Some),
    };
    let row = connection
        .prepare_cached(&SQL)
        .and_then(|mut select| {
            select.query_row(named_params! { ":namespace": shared.namespace(), ":saga_id": saga.as_str() }, read).optional()
        })
        .map_err(during("load"))?;
    match row {
        None => Ok(None),
        Some(None) => Err(missing_newest(saga.as_str())),
        Some(Some(row)) => shared.record(connection, saga.as_str(), row).map(Some),
    }
}

fn by_sequence(shared: &Shared, connection: &Connection, saga: &SagaId, sequence: i64) -> rusqlite::Result<Option<RecordRow>> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT {RECORD}
             FROM sagas AS s CROSS JOIN records AS r INDEXED BY records_by_saga ON r.saga_no = s.saga_no {JOIN}
             WHERE s.namespace = :namespace AND s.saga_id = :saga_id AND r.sequence = :sequence"
        )
    });
    let mut select = connection.prepare_cached(&SQL)?;
    let values = named_params! { ":namespace": shared.namespace(), ":saga_id": saga.as_str(), ":sequence": sequence };
    select.query_row(values, |row| RecordRow::read(row, 0)).optional()
}

/// `created_at` never decreases along the sequence. The index by time has every 16th record, so the one that is wanted is among
/// the few before the first of those that is too late, and these are looked through in the index by sequence, from behind.
fn by_time(shared: &Shared, connection: &Connection, saga: &SagaId, micros: i64) -> rusqlite::Result<Option<RecordRow>> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT {RECORD}
             FROM sagas AS s CROSS JOIN records AS r INDEXED BY records_by_saga ON r.saga_no = s.saga_no {JOIN}
             WHERE s.namespace = :namespace AND s.saga_id = :saga_id AND r.created_at <= :micros AND r.sequence < coalesce(
                (SELECT later.sequence FROM records AS later INDEXED BY records_by_time
                 WHERE later.saga_no = s.saga_no AND later.created_at > :micros AND later.sequence % 16 = 1
                 ORDER BY later.created_at, later.sequence LIMIT 1), 9223372036854775807)
            ORDER BY r.sequence DESC LIMIT 1"
        )
    });
    let mut select = connection.prepare_cached(&SQL)?;
    let values = named_params! { ":namespace": shared.namespace(), ":saga_id": saga.as_str(), ":micros": micros };
    select.query_row(values, |row| RecordRow::read(row, 0)).optional()
}

fn before_step(shared: &Shared, connection: &Connection, saga: &SagaId, step: &str) -> Result<Option<SnapshotRecord>> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT {RECORD}
             FROM sagas AS s CROSS JOIN records AS r INDEXED BY records_by_saga ON r.saga_no = s.saga_no {JOIN}
             WHERE s.namespace = :namespace AND s.saga_id = :saga_id AND r.next_key IN (:key, :several)
            ORDER BY r.sequence DESC"
        )
    });
    let failed = during("load");
    let mut select = connection.prepare_cached(&SQL).map_err(failed)?;
    let mut rows = select
        .query(named_params! {
            ":namespace": shared.namespace(),
            ":saga_id": saga.as_str(),
            ":key": step_key(step),
            ":several": SEVERAL,
        })
        .map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let record = shared.record(connection, saga.as_str(), RecordRow::read(row, 0).map_err(failed)?)?;
        if record.next_steps().contains(step) {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// Where a listing stands.
struct Listing {
    shared: Arc<Shared>,
    query: SnapshotQuery,
    /// The bounds of what is still to come, both inside.
    first: i64,
    last: i64,
    left: u64,
}

/// No record is beyond the largest number that the file can hold.
fn bound(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// One saga's records, a page at a time.
pub(crate) fn list(shared: Arc<Shared>, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
    let first = i64::try_from(query.first).ok();
    let listing = Listing {
        left: if first.is_some() { query.limit.unwrap_or(u64::MAX) } else { 0 },
        first: first.unwrap_or(i64::MAX),
        last: bound(query.last),
        query,
        shared,
    };
    let pages = stream::try_unfold(listing, |mut listing| async move {
        if listing.left == 0 || listing.first > listing.last {
            return Ok(None);
        }
        let (records, is_end) = listing.page().await?;
        listing.left = if is_end { 0 } else { listing.left.saturating_sub(records.len() as u64) };
        if let Some(record) = records.last() {
            match listing.query.order {
                Order::Ascending => listing.first = bound(record.sequence).saturating_add(1),
                Order::Descending => listing.last = bound(record.sequence).saturating_sub(1),
            }
        }
        Ok(Some((stream::iter(records.into_iter().map(Ok)), listing)))
    });
    flatten(pages.boxed())
}

/// Pages as their items, one after the other; an error ends it.
pub(crate) fn flatten<T: Send + 'static>(
    pages: BoxStream<'static, Result<impl stream::Stream<Item = Result<T>> + Send + 'static>>,
) -> BoxStream<'static, Result<T>> {
    use futures::TryStreamExt;
    pages.try_flatten().boxed()
}

impl Listing {
    /// The next records, and whether there are no more.
    async fn page(&self) -> Result<(Vec<SnapshotRecord>, bool)> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(PAGE_ROWS);
        let (query, first, last) = (self.query.clone(), self.first, self.last);
        let shared = self.shared.clone();
        self.shared.readers().read("list", move |connection| page(&shared, connection, &query, (first, last), wanted)).await
    }
}

fn page(
    shared: &Shared,
    connection: &Connection,
    query: &SnapshotQuery,
    (first, last): (i64, i64),
    wanted: usize,
) -> Result<(Vec<SnapshotRecord>, bool)> {
    let failed = during("list");
    let order = match query.order {
        Order::Ascending => "ASC",
        Order::Descending => "DESC",
    };
    // The context stands last in a row, so one that is not asked for is not read.
    let (columns, join) = if query.payloads { (RECORD, JOIN) } else { (HEADER, "") };
    let sql = format!(
        "SELECT {columns} FROM sagas AS s CROSS JOIN records AS r INDEXED BY records_by_saga ON r.saga_no = s.saga_no {join}
         WHERE s.namespace = :namespace AND s.saga_id = :saga_id AND r.sequence BETWEEN :first AND :last
           AND r.created_at >= :from AND r.created_at < :until
         ORDER BY r.sequence {order}"
    );
    let mut select = connection.prepare_cached(&sql).map_err(failed)?;
    let mut rows = select
        .query(named_params! {
            ":namespace": shared.namespace(),
            ":saga_id": query.saga_id.as_str(),
            ":first": first,
            ":last": last,
            ":from": query.created.from.map_or(i64::MIN, ceil_micros),
            ":until": query.created.until.map_or(i64::MAX, ceil_micros),
        })
        .map_err(failed)?;
    let (mut records, mut bytes, mut frame): (Vec<SnapshotRecord>, _, LastFrame) = (Vec::new(), 0, None);
    while records.len() < wanted && bytes < PAGE_BYTES {
        let Some(row) = rows.next().map_err(failed)? else { return Ok((records, true)) };
        let row = if query.payloads {
            RecordRow::read_after(row, 0, frame.as_ref().map(|(number, _)| *number))
        } else {
            RecordRow::read_header(row, 0)
        };
        let record = shared.record_after(connection, query.saga_id.as_str(), row.map_err(failed)?, &mut frame)?;
        bytes += record.held_len(records.last());
        records.push(record);
    }
    Ok((records, false))
}

/// The first whole microsecond that is not before `instant`; stored instants are whole.
pub(crate) fn ceil_micros(instant: chrono::DateTime<chrono::Utc>) -> i64 {
    let micros = instant.timestamp_micros();
    if instant.timestamp_subsec_nanos().is_multiple_of(1000) { micros } else { micros.saturating_add(1) }
}
