//! Reading one saga's records.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use replay_core::{
    Error, ErrorKind, Outline, Result, SagaId, SnapshotRecord,
    storage::{At, SnapshotQuery},
};

use crate::{
    client::ETag,
    item::{Item, Parts},
    key::Kind,
    row,
    store::Shared,
    walk::{Found, Range, Walk, items, removed},
    wire::damaged,
};

pub(crate) async fn load(shared: &Arc<Shared>, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
    const OPERATION: &str = "load";
    let mut last: Option<ETag> = None;
    loop {
        let known = shared.read_head(OPERATION, Kind::Saga, saga.as_str()).await?;
        let Some((etag, head)) = known.as_ref().and_then(|known| Some((&known.etag, known.alive()?))) else { return Ok(None) };
        let walk = Walk::new(shared.clone(), head.clone(), OPERATION);
        let found = match &at {
            At::Latest => walk.sequence(head.newest.as_ref().map_or(0, |newest| newest.seq)).await,
            At::Sequence(sequence) => walk.sequence(*sequence).await,
            At::Time(instant) => walk.time(instant.timestamp_micros()).await,
            At::BeforeStep(step) => match walk.before_step(saga, step).await {
                Ok(record) => return Ok(record),
                Err(error) => Err(error),
            },
            other => return Err(Error::unsupported(OPERATION, format!("the position {other:?} is not known to this version"))),
        };
        match found {
            Ok(None) => return Ok(None),
            Ok(Some(found)) => return walk.record(saga, &found, true).await.map(Some),
            Err(error) if error.is(ErrorKind::NotFound) => removed(&mut last, etag, saga.as_str())?,
            Err(error) => return Err(error),
        }
    }
}

impl Walk {
    async fn before_step(&self, saga: &SagaId, step: &str) -> Result<Option<SnapshotRecord>> {
        let Some(indices) = self.indices(step).await? else { return Ok(None) };
        let may = |next: Option<(u32, u32)>| {
            next.is_some_and(|(min, max)| match &indices {
                Indices::Known(indices) => indices.iter().any(|index| (min..=max).contains(index)),
                Indices::Any => true,
            })
        };
        let mut before = u64::MAX;
        // The range of a record's steps may hold others too, so each candidate is looked at.
        while let Some(found) = self
            .newest(
                |stats| stats.first < before && may(stats.next),
                |item| item.seq < before && may(item.next) && self.may_precede(item, step),
            )
            .await?
        {
            let record = self.record(saga, &found, true).await?;
            if record.next_steps().contains(step) {
                return Ok(Some(record));
            }
            before = found.item.seq;
        }
        Ok(None)
    }

    /// Whether the step runs next, as far as the definition is at hand.
    fn may_precede(&self, item: &Item, step: &str) -> bool {
        let Some(outline) = item.part.and_then(|part| self.shared.outlines.get(&part)) else { return true };
        // What cannot be read is reported when it is read as a record.
        SnapshotRecord::from_header(outline, item.header.clone()).map_or(true, |record| record.next_steps().contains(step))
    }

    /// Which index a step has in the definitions that the saga ever followed; none if it is in none of them.
    async fn indices(&self, step: &str) -> Result<Option<Indices>> {
        let mut indices = Vec::new();
        for digest in &self.head.outlines {
            match self.shared.outline(self.operation, digest, &self.head.parts).await {
                Ok(outline) => indices.extend(outline.index_of(step)),
                // Only bundles of older items have it.
                Err(error) if error.is(ErrorKind::Integrity) => return Ok(Some(Indices::Any)),
                Err(error) => return Err(error),
            }
        }
        Ok(if indices.is_empty() { None } else { Some(Indices::Known(indices)) })
    }

    async fn record(&self, saga: &SagaId, found: &Found, with_payload: bool) -> Result<SnapshotRecord> {
        let outline = outline_of(&self.shared, self.operation, &found.item, found.source.parts()).await?;
        row::record(saga, &found.item, outline, with_payload)
    }
}

enum Indices {
    Known(Vec<u32>),
    Any,
}

async fn outline_of(shared: &Shared, operation: &'static str, item: &Item, parts: &Parts) -> Result<Arc<Outline>> {
    let digest = item.part.ok_or_else(|| damaged("names no definition"))?;
    shared.outline(operation, &digest, parts).await
}

/// One saga's records, a bundle at a time.
pub(crate) fn list(shared: Arc<Shared>, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
    let limit = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let range = Range {
        kind: Kind::Saga,
        name: query.saga_id.as_str().into(),
        order: query.order,
        first: query.first,
        last: if limit == 0 { 0 } else { query.last },
        from: query.created.from.map(|from| from.timestamp_micros()),
        until: query.created.until.map(|until| until.timestamp_micros()),
    };
    let (created, payloads) = (query.created, query.payloads);
    let found = items(shared.clone(), "list", range);
    let records = found.and_then(move |found| {
        let (shared, saga) = (shared.clone(), query.saga_id.clone());
        async move {
            let outline = outline_of(&shared, "list", &found.item, found.source.parts()).await?;
            row::record(&saga, &found.item, outline, payloads)
        }
    });
    records.try_filter(move |record| std::future::ready(created.contains(record.created_at))).take(limit).boxed()
}
