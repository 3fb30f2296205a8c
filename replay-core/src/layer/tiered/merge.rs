//! Two listings as one, page by page. The hot store's page is read whole before that of the cold one: what is moved in between is then in
//! the latter, and what is in both is given once.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use super::is_hot;
use crate::{
    Result, SnapshotRecord,
    copy::{newest, place},
    storage::{Order, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};

/// How many items a page has, and how many bytes of records.
const PAGE: u64 = 256;
const PAGE_BYTES: u64 = 4 << 20;
/// How many heads of the cold store are looked up in the hot one at once.
const LOOKS: usize = 16;

type Side = Arc<dyn SnapshotStorage>;

fn pages<Q: Send + 'static, T: Send + 'static, F>(query: Q, next: impl Fn(Q) -> F + Send + 'static) -> BoxStream<'static, Result<T>>
where
    F: Future<Output = Result<Option<(Vec<T>, Option<Q>)>>> + Send + 'static,
{
    let pages = stream::try_unfold((Some(query), next), |(query, next)| async move {
        let Some(query) = query else { return Ok(None) };
        let Some((page, rest)) = next(query).await? else { return Ok(None) };
        Ok::<_, crate::Error>(Some((stream::iter(page).map(Ok), (rest, next))))
    });
    pages.try_flatten().boxed()
}

pub(super) fn history(hot: Side, cold: Side, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
    pages(query, move |query| history_page(hot.clone(), cold.clone(), query))
}

/// One page, and what is asked for behind it.
async fn history_page(hot: Side, cold: Side, mut query: SnapshotQuery) -> Result<Option<(Vec<SnapshotRecord>, Option<SnapshotQuery>)>> {
    if query.limit == Some(0) || query.first > query.last {
        return Ok(None);
    }
    let size = query.limit.unwrap_or(PAGE).min(PAGE);
    let (mut page, hot_goes_on) = read(&hot, query.clone().with_limit(size), size).await?;
    let mut beside = query.clone().with_limit(size);
    if let Some(end) = page.last().filter(|_| hot_goes_on).map(|last| last.sequence) {
        match query.order {
            Order::Ascending => beside.last = end,
            Order::Descending => beside.first = end,
        }
    }
    let (moved, cold_goes_on) = read(&cold, beside, size).await?;
    let end = moved.last().filter(|_| cold_goes_on).map(|last| last.sequence);
    page.extend(moved);
    // Of two records at one sequence the cold one comes last, and counts: they differ only where a start was withdrawn too late.
    page.sort_by_key(|record| record.sequence);
    page.reverse();
    page.dedup_by_key(|record| record.sequence);
    if query.order == Order::Ascending {
        page.reverse();
    }
    if let Some(end) = end {
        page.retain(|record| if query.order == Order::Ascending { record.sequence <= end } else { record.sequence >= end });
    }
    page.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let Some(last) = page.last().map(|last| last.sequence) else { return Ok(None) };
    query.limit = query.limit.map(|left| left - page.len() as u64);
    let rest = match query.order {
        Order::Ascending => last.checked_add(1).map(|first| query.first = first),
        Order::Descending => last.checked_sub(1).map(|last| query.last = last),
    };
    let goes_on = hot_goes_on || cold_goes_on || page.len() as u64 == size;
    Ok(Some((page, rest.filter(|()| goes_on).map(|()| query))))
}

/// What a store has of a page, and whether it may have more.
async fn read(side: &Side, query: SnapshotQuery, size: u64) -> Result<(Vec<SnapshotRecord>, bool)> {
    let mut records = side.list(query);
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(record) = records.try_next().await? {
        bytes += record.held_len(page.last());
        page.push(record);
        if bytes >= PAGE_BYTES || page.len() as u64 == size {
            return Ok((page, true));
        }
    }
    Ok((page, false))
}

pub(super) fn heads(hot: Side, cold: Side, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
    pages(query, move |query| heads_page(hot.clone(), cold.clone(), query))
}

async fn heads_page(hot: Side, cold: Side, mut query: SagaQuery) -> Result<Option<(Vec<SagaSummary>, Option<SagaQuery>)>> {
    if query.limit == Some(0) {
        return Ok(None);
    }
    let size = query.limit.unwrap_or(PAGE).min(PAGE);
    let read = async |side: &Side| side.sagas(query.clone().with_limit(size)).try_collect::<Vec<SagaSummary>>().await;
    let here = read(&hot).await?;
    let there = read(&cold).await?;
    // Behind the end of a full page the other side may know of sagas that this one was not asked about.
    let end =
        [&here, &there].into_iter().filter(|page| page.len() as u64 == size).filter_map(|page| page.last()).map(SagaSummary::cursor).max();
    let within = |head: &SagaSummary| end.as_ref().is_none_or(|end| head.cursor() >= *end);
    let mut page: Vec<SagaSummary> = here.into_iter().filter(within).collect();
    let looked: Vec<Option<SagaSummary>> = stream::iter(there.into_iter().filter(within))
        .map(|head| shown(hot.clone(), cold.clone(), head))
        .buffered(LOOKS)
        .try_collect()
        .await?;
    page.extend(looked.into_iter().flatten());
    page.sort_by(|a, b| b.cursor().cmp(&a.cursor()).then(b.sequence.cmp(&a.sequence)));
    page.dedup_by(|a, b| a.saga_id == b.saga_id);
    let goes_on = end.is_some() || page.len() as u64 > size;
    page.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    query.limit = query.limit.map(|left| left - page.len() as u64);
    // Heads that are left out of the page may be the last ones of it.
    query.after = if page.len() as u64 == size { page.last().map(SagaSummary::cursor) } else { end };
    Ok(Some((page, goes_on.then_some(query))))
}

/// A head of the cold store, unless the saga goes on in the hot one: then that head says where it stands, or does not match.
async fn shown(hot: Side, cold: Side, head: SagaSummary) -> Result<Option<SagaSummary>> {
    let Some(here) = newest(&*hot, &head.saga_id).await?.as_ref().map(place) else { return Ok(Some(head)) };
    if here.0 != head.sequence {
        return Ok((here.0 < head.sequence).then_some(head));
    }
    let there = newest(&*cold, &head.saga_id).await?.as_ref().map(place);
    Ok((!is_hot(Some(here), there)).then_some(head))
}
