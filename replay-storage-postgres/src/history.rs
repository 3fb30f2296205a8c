//! Reading one saga's history.

use std::sync::Arc;

use futures::stream::BoxStream;
use replay_core::{
    Error, Result, SagaId, SnapshotRecord,
    storage::{At, Order, SnapshotQuery},
};
use sqlx::postgres::PgRow;

use crate::{
    paging::{Page, pages},
    row::{RecordRow, column, missing_head, step_key},
    sql::{Args, instant, instant_from},
    store::Shared,
};

/// A page of a listing ends with this many records, or with this many bytes.
const PAGE_ROWS: u64 = 1024;
const PAGE_BYTES: i64 = 2 << 20;

const OPERATION: &str = "load";

/// The record of `saga` at a position.
pub(crate) async fn load(shared: &Shared, saga: &SagaId, at: &At) -> Result<Option<SnapshotRecord>> {
    let args = || shared.args().with(saga.as_str());
    let sql = &shared.sql;
    let rows = match at {
        At::Latest => {
            let rows = shared.read(OPERATION, &sql.latest, args).await?;
            match rows.first() {
                Some(row) if column::<Option<i64>>(row, 0, OPERATION)?.is_none() => return Err(missing_head(saga.as_str())),
                _ => rows,
            }
        }
        At::Sequence(sequence) => match i64::try_from(*sequence) {
            Ok(sequence) => shared.read(OPERATION, &sql.by_sequence, || args().with(sequence)).await?,
            Err(_) => return Ok(None),
        },
        At::Time(time) => shared.read(OPERATION, &sql.by_time, || args().with(instant(*time))).await?,
        At::BeforeStep(step) => return before_step(shared, saga, step).await,
        _ => return Err(Error::unsupported(OPERATION, format!("the position {at:?} is not known to this version"))),
    };
    match rows.first() {
        Some(row) => shared.record(saga.as_str(), RecordRow::read(row, 0)?).await.map(Some),
        None => Ok(None),
    }
}

/// Few records have several next steps, and few steps share a hash, so this seldom asks twice.
async fn before_step(shared: &Shared, saga: &SagaId, step: &str) -> Result<Option<SnapshotRecord>> {
    let mut below = i64::MAX;
    loop {
        let args = || shared.args().with(saga.as_str()).with(below).with(step_key(step));
        let rows = shared.read(OPERATION, &shared.sql.before_step, args).await?;
        let found: Vec<RecordRow> = rows.iter().map(|row| RecordRow::read(row, 0)).collect::<Result<_>>()?;
        // The other one that was found counts only once this is ruled out.
        let Some(row) = found.into_iter().max_by_key(|row| row.sequence) else { return Ok(None) };
        below = row.sequence;
        let record = shared.record(saga.as_str(), row).await?;
        if record.next_steps().contains(step) {
            return Ok(Some(record));
        }
    }
}

/// Where a listing stands: the bounds of what is still to come, both inside, and how many records.
#[derive(Clone, Copy)]
struct Place {
    first: i64,
    last: i64,
    left: u64,
}

/// No record is beyond the largest number that the table can hold.
fn bound(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// One saga's records, a page at a time.
pub(crate) fn list(shared: Arc<Shared>, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
    let start = i64::try_from(query.first)
        .ok()
        .map(|first| Place { first, last: bound(query.last), left: query.limit.unwrap_or(u64::MAX) })
        .filter(|place| place.left > 0 && place.first <= place.last);
    let query = Arc::new(query);
    pages(start, move |place| {
        let (shared, query) = (shared.clone(), query.clone());
        async move { page(&shared, &query, place).await }
    })
}

async fn page(shared: &Shared, query: &SnapshotQuery, place: Place) -> Result<Page<SnapshotRecord, Place>> {
    let rows = read_page(shared, query, place).await?;
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        let row = if query.payloads { RecordRow::read(row, 0)? } else { RecordRow::read_header(row, 0)? };
        records.push(shared.record(query.saga_id.as_str(), row).await?);
    }
    // A page may end early because of its bytes, so only an empty one is the end.
    let next = records.last().and_then(|record| {
        let mut next = Place { left: place.left.saturating_sub(records.len() as u64), ..place };
        match query.order {
            Order::Ascending => next.first = bound(record.sequence).checked_add(1)?,
            Order::Descending => next.last = bound(record.sequence) - 1,
        }
        (next.left > 0 && next.first <= next.last).then_some(next)
    });
    Ok((records, next))
}

async fn read_page(shared: &Shared, query: &SnapshotQuery, place: Place) -> Result<Vec<PgRow>> {
    let sql = match (query.order, query.payloads) {
        (Order::Ascending, true) => &shared.sql.list_ascending,
        (Order::Descending, true) => &shared.sql.list_descending,
        (Order::Ascending, false) => &shared.sql.headers_ascending,
        (Order::Descending, false) => &shared.sql.headers_descending,
    };
    let limit = bound(place.left.min(PAGE_ROWS));
    let basic = || -> Args {
        shared
            .args()
            .with(query.saga_id.as_str())
            .with(place.first)
            .with(place.last)
            .with(instant_from(query.created.from.unwrap_or(chrono::DateTime::<chrono::Utc>::MIN_UTC)))
            .with(instant_from(query.created.until.unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC)))
            .with(limit)
    };
    shared.read("list", sql, || if query.payloads { basic().with(PAGE_BYTES) } else { basic() }).await
}
