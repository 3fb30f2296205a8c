//! Compare-and-append: one conditional write replaces the head, which holds the new records and everything that a saga is found by.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, stream};
use replay_core::{Digest, Error, ErrorKind, Result, SagaId, SnapshotRecord, storage::check_next};

use crate::{
    client::{ETag, Outcome},
    head::{Head, INLINE_BYTES, Newest},
    heads::{Known, unsure},
    item::Item,
    key::Kind,
    prune, row,
    store::Shared,
    walk::{Walk, removed},
};

const OPERATION: &str = "append";

/// So many sagas of one call are appended to at once.
const AT_ONCE: usize = 16;

/// Who is overtaken so often gives up for now.
const ROUNDS: u32 = 64;

/// Outlines that no item in the head refers to stay in it up to this number, for the search by step.
const OLD_OUTLINES: usize = 4;

pub(crate) async fn append(shared: &Arc<Shared>, records: Vec<SnapshotRecord>) -> Result<()> {
    let mut groups: Vec<Vec<SnapshotRecord>> = Vec::new();
    let mut group_of: HashMap<SagaId, usize> = HashMap::new();
    for record in records {
        let group = *group_of.entry(record.saga_id.clone()).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) => group.push(record),
            None => groups.push(vec![record]),
        }
    }
    if let [group] = &groups[..] {
        return append_to_saga(shared, group).await;
    }
    let outcomes = stream::iter(groups).map(|group| async move { append_to_saga(shared, &group).await }).buffered(AT_ONCE);
    outcomes.fold(Ok(()), |verdict: Result<()>, outcome| async { verdict.and(outcome) }).await
}

/// What is to be done about records, judged by a head.
enum Plan<'a> {
    /// All of them are stored.
    Stored,
    Refused(Error),
    Append(Vec<&'a SnapshotRecord>),
}

/// Appends records of one saga, all or none.
async fn append_to_saga(shared: &Arc<Shared>, records: &[SnapshotRecord]) -> Result<()> {
    let Some(first) = records.first() else { return Ok(()) };
    let saga = &first.saga_id;
    // What is known of the saga, and whether it was read by this call.
    let mut known = shared.remembered(Kind::Saga, saga.as_str());
    // A saga's first record needs no look at what is there: the condition of the write looks.
    let mut is_fresh = known.is_none() && first.sequence > 1;
    if is_fresh {
        known = shared.read_head(OPERATION, Kind::Saga, saga.as_str()).await?;
    }
    // Whether a write without answer may have stored the records.
    let mut is_unsure = false;
    let told = |error, is_unsure| if is_unsure { unsure(error) } else { error };
    let mut last: Option<ETag> = None;
    for _ in 0..ROUNDS {
        let alive = known.as_ref().and_then(Known::alive);
        match (plan(shared, alive, records).await, &known) {
            (Ok(Plan::Stored), _) if is_fresh => return Ok(()),
            (Ok(Plan::Refused(conflict)), _) if is_fresh => return Err(conflict),
            (Ok(Plan::Append(new)), known) => match store(shared, known.as_ref(), &new).await {
                Ok(Outcome::Done(_)) => return Ok(()),
                Ok(Outcome::Lost) => {}
                Ok(Outcome::Unclear) => is_unsure = true,
                Err(error) => return Err(told(error, is_unsure)),
            },
            // What this handle remembers may be old.
            (Ok(Plan::Stored | Plan::Refused(_)), _) => {}
            // A bundle was removed since the head was read.
            (Err(error), Some(known)) if error.is(ErrorKind::NotFound) => {
                removed(&mut last, &known.etag, saga.as_str()).map_err(|error| told(error, is_unsure))?;
            }
            (Err(error), _) => return Err(told(error, is_unsure)),
        }
        known = shared.read_head(OPERATION, Kind::Saga, saga.as_str()).await.map_err(|error| told(error, is_unsure))?;
        is_fresh = true;
    }
    let overtaken = Error::new(ErrorKind::Unavailable, OPERATION)
        .message("others were always first")
        .hint("how many write to this saga? repeat the call")
        .with("saga", saga);
    Err(told(overtaken, is_unsure))
}

/// A `NotFound` error: a bundle was removed after the head was read.
async fn plan<'a>(shared: &Arc<Shared>, head: Option<&Arc<Head>>, records: &'a [SnapshotRecord]) -> Result<Plan<'a>> {
    let newest = head.and_then(|head| head.newest.as_ref()).map(|newest| (newest.seq, newest.digest));
    let mut new: Vec<&SnapshotRecord> = Vec::new();
    for record in records {
        let last = new.last().map(|record| (record.sequence, record.digest())).or(newest);
        if last.is_none_or(|(last, _)| record.sequence > last) {
            match check_next(record, last) {
                Ok(()) => new.push(record),
                Err(conflict) => return Ok(Plan::Refused(conflict)),
            }
            continue;
        }
        let is_stored = match (new.iter().find(|other| other.sequence == record.sequence), head) {
            (Some(other), _) => other.digest() == record.digest(),
            (None, Some(head)) => is_stored(shared, head, record).await?,
            (None, None) => false,
        };
        if !is_stored {
            let expected = last.map_or(1, |(last, _)| last + 1);
            return Ok(Plan::Refused(conflict(record, expected)));
        }
    }
    Ok(if new.is_empty() { Plan::Stored } else { Plan::Append(new) })
}

fn conflict(record: &SnapshotRecord, expected: u64) -> Error {
    Error::new(ErrorKind::Conflict, OPERATION).with("saga", &record.saga_id).with("sequence", record.sequence).with("expected", expected)
}

/// Whether a history has this very record. A header covers its record's digest, so equal headers are equal digests.
async fn is_stored(shared: &Arc<Shared>, head: &Arc<Head>, record: &SnapshotRecord) -> Result<bool> {
    // The engine repeats the newest append, so that one is looked at first.
    if let Some(newest) = head.newest.as_ref().filter(|newest| newest.seq == record.sequence) {
        return Ok(newest.header == record.header());
    }
    let found = Walk::new(shared.clone(), head.clone(), OPERATION).sequence(record.sequence).await?;
    Ok(found.is_some_and(|found| found.item.header == record.header()))
}

/// Writes what the head is to say, after what it is to refer to, unless somebody else was first.
async fn store(shared: &Arc<Shared>, base: Option<&Known>, new: &[&SnapshotRecord]) -> Result<Outcome<Known>> {
    let (Some(first), Some(last)) = (new.first(), new.last()) else { return Ok(Outcome::Lost) };
    let items = new.iter().map(|record| row::item(record)).collect::<Result<Vec<Item>>>()?;
    let mut head = match base.and_then(Known::alive) {
        Some(head) => (**head).clone(),
        None => Head::new(Kind::Saga, first.saga_id.as_str(), first.begins_at().timestamp_micros()),
    };
    for record in new {
        let outline = &record.outline;
        shared.keep_outline(outline.clone());
        let digest = outline.fingerprint();
        let is_known = head.outlines.contains(&digest);
        if !is_known {
            head.outlines.push(digest);
        }
        if head.parts.contains_key(&digest) {
            continue;
        }
        if outline.as_bytes().len() <= INLINE_BYTES {
            head.parts.insert(digest, outline.as_bytes().clone());
        } else if is_known {
            shared.note_stored(digest);
        } else if !shared.is_stored(&digest) {
            head.parts.insert(digest, outline.as_bytes().clone());
        }
    }
    let newest =
        Newest { seq: last.sequence, digest: last.digest(), part: Some(last.outline.fingerprint()), header: last.header().clone() };
    head.newest = Some(newest);
    let needed = if head.overflows(&items) { fetch_outlines(shared, &head, &items).await? } else { HashMap::new() };
    if let Some(gone) = base.filter(|base| base.alive().is_none()) {
        prune::remove_life(shared, OPERATION, &gone.head.life).await?;
    }
    let objects = head.push(items, |digest| needed.get(digest).cloned());
    if objects.is_empty() {
        store_outlines(shared, &mut head).await?;
    } else {
        // What still stands in the head although it is large waits for an append that writes nothing else.
        shared.write_bundles(OPERATION, &head.life, objects).await?;
    }
    drop_outlines(&mut head);
    shared.write_head(OPERATION, base, head).await
}

/// The outlines that a bundle of what is in the head and of `new` would need.
async fn fetch_outlines(shared: &Arc<Shared>, head: &Head, new: &[Item]) -> Result<HashMap<Digest, bytes::Bytes>> {
    let mut needed = HashMap::new();
    for digest in head.tail.iter().chain(new).filter_map(|item| item.part) {
        if let std::collections::hash_map::Entry::Vacant(place) = needed.entry(digest) {
            place.insert(shared.outline(OPERATION, &digest, &head.parts).await?.as_bytes().clone());
        }
    }
    Ok(needed)
}

/// Moves large outlines out of the head, into objects of their own that sagas share.
async fn store_outlines(shared: &Arc<Shared>, head: &mut Head) -> Result<()> {
    let large: Vec<Digest> = head.parts.iter().filter(|(_, bytes)| bytes.len() > INLINE_BYTES).map(|(digest, _)| *digest).collect();
    for digest in large {
        let Some(bytes) = head.parts.remove(&digest) else { continue };
        if !shared.is_stored(&digest) {
            shared.client.put(OPERATION, &shared.keys.part(&digest), bytes).await?;
            shared.note_stored(digest);
        }
    }
    Ok(())
}

/// Leaves out small outlines that only older items refer to, if there are many; their bundles have them.
fn drop_outlines(head: &mut Head) {
    let mut used: Vec<Digest> = head.tail.iter().filter_map(|item| item.part).collect();
    used.extend(head.newest.as_ref().and_then(|newest| newest.part));
    let mut old: Vec<Digest> = head.outlines.iter().filter(|digest| !used.contains(digest)).copied().collect();
    old.truncate(old.len().saturating_sub(OLD_OUTLINES));
    head.parts.retain(|digest, bytes| bytes.len() > INLINE_BYTES || !old.contains(digest));
}
