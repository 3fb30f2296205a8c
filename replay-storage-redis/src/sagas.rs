//! Listing the heads of sagas.

use std::{collections::BTreeMap, sync::Arc};

use chrono::Timelike;
use futures::stream::BoxStream;
use replay_core::{
    Result, SagaId, SagaStatus,
    storage::{SagaCursor, SagaQuery, SagaSummary},
};

use crate::{
    error::{Effect, damaged, unexpected},
    head::{self, Head, ordered},
    index::{Direction, Merge},
    keys::{Kind, Shard},
    page::pages,
    script::HEADS,
    store::Shared,
    value,
};

const OPERATION: &str = "list sagas";

/// So many heads are read at a time.
const PAGE: u64 = 256;

/// The sagas that match, a page at a time.
pub(crate) fn sagas(shared: Arc<Shared>, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
    let left = query.limit.unwrap_or(u64::MAX);
    let merge = merge(&shared, &query);
    pages((merge, query, left), move |(mut merge, query, left)| {
        let shared = shared.clone();
        async move {
            if left == 0 {
                return Ok(None);
            }
            // A filter may let few through, so that more are looked at than are wanted.
            let wanted = if is_narrow(&query) { PAGE } else { left.min(PAGE) };
            let members = merge.take(&shared, usize::try_from(wanted).unwrap_or(usize::MAX)).await?;
            if members.is_empty() {
                return Ok(None);
            }
            let mut page = read(&shared, &query, members).await?;
            page.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let left = left - page.len() as u64;
            Ok(Some((page, (merge, query, left))))
        }
    })
}

/// Whether a query asks for more than the index knows.
fn is_narrow(query: &SagaQuery) -> bool {
    let SagaQuery { name, id_prefix, step, labels, updated, .. } = query;
    name.is_some() || id_prefix.is_some() || step.is_some() || !labels.is_empty() || updated.from.is_some() || updated.until.is_some()
}

/// The part of the index that the query's sagas are in.
fn merge(shared: &Shared, query: &SagaQuery) -> Merge {
    let mut statuses: Vec<SagaStatus> = query.statuses.clone();
    statuses.sort_unstable();
    statuses.dedup();
    let families: Vec<Vec<u8>> = match &query.origin {
        Some(origin) => vec![head::origin_entry(origin)],
        None if statuses.is_empty() => vec![b"a".to_vec()],
        None => statuses.iter().map(|status| vec![b's', status.code()]).collect(),
    };
    // Enough of each shard that most listings need no second look.
    let page = if is_narrow(query) { PAGE } else { query.limit.map_or(PAGE, |limit| (limit / 16).saturating_add(4).min(limit).min(PAGE)) };
    let mut merge = Merge::new(OPERATION, Direction::Down, page);
    let after = query.after.as_ref().map(position);
    for shard in Shard::all() {
        merge.add(shard, shared.keys().of_shard(Kind::Index, shard), &families, b"", after.as_deref());
    }
    merge
}

/// What the sagas after a cursor come before, in the order of bytes.
fn position(cursor: &SagaCursor) -> Vec<u8> {
    let start = ordered(cursor.started_at);
    // A cursor between two microseconds has everything of the earlier one after it.
    if cursor.started_at.nanosecond().is_multiple_of(1000) {
        head::place(start, &cursor.saga_id)
    } else {
        [&start[..], &[0xff; 9]].concat()
    }
}

/// The id in a member of the index, after the start.
pub(crate) fn id_of(member: &[u8]) -> Option<(&[u8; 8], SagaId)> {
    let (started_at, id) = member.split_first_chunk::<8>()?;
    Some((started_at, SagaId::new(std::str::from_utf8(id).ok()?).ok()?))
}

async fn read(shared: &Shared, query: &SagaQuery, members: Vec<(Shard, Vec<u8>)>) -> Result<Vec<SagaSummary>> {
    let mut wanted = Vec::with_capacity(members.len());
    for (shard, member) in members {
        let Some((started_at, id)) = id_of(&member) else { return Err(damaged(OPERATION, "the index of sagas is damaged")) };
        if query.id_prefix.as_ref().is_none_or(|prefix| id.as_str().starts_with(prefix.as_str())) {
            wanted.push((shard, *started_at, id));
        }
    }
    let mut heads = heads(shared, wanted.iter().map(|(shard, _, id)| (*shard, id))).await?;
    let mut page = Vec::with_capacity(wanted.len());
    for (at, (_, started_at, id)) in wanted.into_iter().enumerate() {
        // A saga that went by itself leaves its place in the index until the next prune, and its id may be in use anew.
        let Some((head, newest)) = heads.remove(&at).filter(|(head, _)| ordered(head.started_at()) == started_at) else { continue };
        let record = shared.record(&id, head.sequence(), newest, false).await?;
        let saga = SagaSummary::of(record.meta(), head.started_at());
        // A saga may have changed since it was found.
        if query.matches(&saga) {
            page.push(saga);
        }
    }
    Ok(page)
}

/// The heads of sagas with their newest records without payload, by their place in the list; those that are gone are left out.
pub(crate) async fn heads<'a>(
    shared: &Shared,
    sagas: impl Iterator<Item = (Shard, &'a SagaId)>,
) -> Result<BTreeMap<usize, (Head, Vec<u8>)>> {
    let mut by_shard: BTreeMap<Shard, (Vec<usize>, Vec<Vec<u8>>)> = BTreeMap::new();
    for (at, (shard, id)) in sagas.enumerate() {
        let (places, keys) = by_shard.entry(shard).or_default();
        places.push(at);
        keys.push(shared.keys().key(Kind::Saga, shard, id.as_str().as_bytes()));
    }
    let cmds: Vec<_> = by_shard.values().map(|(_, keys)| HEADS.call(keys, 0)).collect();
    let answers = shared.link().calls(OPERATION, Effect::Read, &cmds).await?;
    let mut heads = BTreeMap::new();
    for ((places, _), answer) in by_shard.into_values().zip(answers) {
        let found = value::list(OPERATION, answer)?.unwrap_or_default();
        for (place, pair) in places.into_iter().zip(found) {
            let [head, newest] = value::array(OPERATION, pair)?;
            let Some(head) = value::string(OPERATION, head)? else { continue };
            let head = Head::from_bytes(&head).ok_or_else(|| unexpected(OPERATION))?;
            let newest = value::string(OPERATION, newest)?;
            heads.insert(place, (head, newest.ok_or_else(|| damaged(OPERATION, "the newest record of a saga is missing"))?));
        }
    }
    Ok(heads)
}
