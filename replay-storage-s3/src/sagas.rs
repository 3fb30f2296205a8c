//! Listing the heads of sagas: the rows are put in order at once, and read as the listing is polled.

use std::sync::Arc;

use chrono::DateTime;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use replay_core::{
    Error, ErrorKind, Result, SnapshotRecord,
    storage::{SagaQuery, SagaSummary},
};

use crate::{
    catalog::{self, Live, Row},
    item::Parts,
    key::Kind,
    store::Shared,
};

const OPERATION: &str = "list sagas";

pub(crate) fn sagas(shared: Arc<Shared>, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
    let left = query.limit.unwrap_or(u64::MAX);
    let begin = async move {
        let rows = if left == 0 { Vec::new() } else { ordered(&shared, &query).await? };
        Ok::<_, Error>(stream::try_unfold((rows.into_iter(), left), move |(mut rows, left)| {
            let (shared, query) = (shared.clone(), query.clone());
            async move {
                if left == 0 {
                    return Ok(None);
                }
                for row in rows.by_ref() {
                    if let Some(saga) = summary(&shared, &row).await?
                        && query.matches(&saga)
                    {
                        return Ok(Some((saga, (rows, left - 1))));
                    }
                }
                Ok(None)
            }
        }))
    };
    stream::once(begin).try_flatten().boxed()
}

/// The rows of the sagas that may match, in the order of the listing.
async fn ordered(shared: &Arc<Shared>, query: &SagaQuery) -> Result<Vec<Arc<Row>>> {
    let id_prefix = query.id_prefix.as_deref().unwrap_or_default();
    let mut rows = catalog::rows(shared, OPERATION, Kind::Saga, &shared.keys.heads_like(Kind::Saga, id_prefix)).await?;
    // What starts after the cursor's instant, be it by less than a microsecond, does not come after it.
    let is_after = |started_at: i64, name: &str| {
        query.after.as_ref().is_none_or(|after| {
            let started_at = DateTime::from_timestamp_micros(started_at).unwrap_or_default();
            (started_at, name) < (after.started_at, after.saga_id.as_str())
        })
    };
    rows.retain(|row| row.name.starts_with(id_prefix) && row.live.as_ref().is_some_and(|live| is_after(live.started_at, &row.name)));
    rows.sort_unstable_by(|a, b| key(b).cmp(&key(a)));
    Ok(rows)
}

fn key(row: &Row) -> (i64, &str) {
    (row.live.as_ref().map_or(0, |live| live.started_at), &row.name)
}

/// What a row says; none if the saga is gone.
async fn summary(shared: &Arc<Shared>, row: &Arc<Row>) -> Result<Option<SagaSummary>> {
    let Some(live) = &row.live else { return Ok(None) };
    match read(shared, live, &Parts::new()).await {
        Ok(saga) => Ok(Some(saga)),
        // The definition that the row refers to was forgotten; the head has it.
        Err(error) if error.is(ErrorKind::Integrity) => {
            let known = shared.read_head(OPERATION, Kind::Saga, &row.name).await?;
            let Some(head) = known.as_ref().and_then(|known| known.alive()) else { return Ok(None) };
            let Some(newest) = &head.newest else { return Ok(None) };
            let live = Live { header: newest.header.clone(), part: newest.part, ..live.clone() };
            read(shared, &live, &head.parts).await.map(Some)
        }
        Err(error) => Err(error),
    }
}

async fn read(shared: &Arc<Shared>, live: &Live, parts: &Parts) -> Result<SagaSummary> {
    let part = live.part.ok_or_else(|| crate::wire::damaged("names no definition"))?;
    let outline = shared.outline(OPERATION, &part, parts).await?;
    let newest = SnapshotRecord::from_header(outline, live.header.clone())?;
    Ok(SagaSummary::of(newest.meta(), DateTime::from_timestamp_micros(live.started_at).unwrap_or_default()))
}

/// The rows of all sagas, also of those that are gone, the oldest start first.
pub(crate) async fn oldest_first(shared: &Arc<Shared>, operation: &'static str) -> Result<Vec<Arc<Row>>> {
    let mut rows = catalog::rows(shared, operation, Kind::Saga, &shared.keys.heads(Kind::Saga)).await?;
    rows.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    Ok(rows)
}
