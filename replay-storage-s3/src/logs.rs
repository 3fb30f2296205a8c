//! Append-only streams: kept like the histories of sagas, with the position plus one as sequence.

use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use replay_core::{
    Digest, Error, ErrorKind, Result, Retry,
    storage::{LogEntry, Order, StreamInfo, check_key},
};

use crate::{
    catalog,
    client::Outcome,
    head::{Head, Newest},
    heads::{Known, unsure},
    item::Item,
    key::Kind,
    prune,
    store::Shared,
    walk::{Range, items},
    wire::damaged,
};

const APPEND: &str = "append log";

/// Who is overtaken so often gives up for now.
const ROUNDS: u32 = 64;

pub(crate) async fn append(shared: &Arc<Shared>, name: &str, expected_len: u64, entries: Vec<Bytes>) -> Result<u64> {
    check_key(APPEND, name)?;
    let mut known = shared.remembered(Kind::Log, name);
    // A new stream needs no look at what is there: the condition of the write looks.
    let mut is_fresh = known.is_none() && (expected_len > 0 || entries.is_empty());
    if is_fresh {
        known = shared.read_head(APPEND, Kind::Log, name).await?;
    }
    // Whether a write without answer may have stored the entries.
    let mut is_unsure = false;
    let told = |error, is_unsure| if is_unsure { unsure(error) } else { error };
    for _ in 0..ROUNDS {
        let len = len(known.as_ref());
        if len != expected_len && is_fresh {
            let refused = refusal(shared, name, (len, expected_len), &entries, is_unsure).await;
            return refused.map_err(|error| told(error, is_unsure))?.map_or(Ok(len), Err);
        }
        if len == expected_len && entries.is_empty() && is_fresh {
            return Ok(len);
        }
        if len == expected_len && !entries.is_empty() {
            match store(shared, known.as_ref(), name, &entries).await.map_err(|error| told(error, is_unsure))? {
                Outcome::Done(_) => return Ok(len + entries.len() as u64),
                Outcome::Lost => {}
                Outcome::Unclear => is_unsure = true,
            }
        }
        known = shared.read_head(APPEND, Kind::Log, name).await.map_err(|error| told(error, is_unsure))?;
        is_fresh = true;
    }
    let overtaken = Error::new(ErrorKind::Unavailable, APPEND)
        .message("others were always first")
        .hint("how many write to this stream? repeat the call")
        .with("stream", name);
    Err(told(overtaken, is_unsure))
}

/// Why entries cannot be appended where they are expected to; none if they are the end of the stream already.
async fn refusal(
    shared: &Arc<Shared>,
    name: &str,
    (len, expected): (u64, u64),
    entries: &[Bytes],
    is_unsure: bool,
) -> Result<Option<Error>> {
    let end = expected.checked_add(entries.len() as u64);
    let is_end = end == Some(len);
    // If an answer was lost, others may have appended since.
    let may_be_stored = !entries.is_empty() && (is_end || (is_unsure && end.is_some_and(|end| end < len)));
    if may_be_stored && has(shared, name, expected, entries).await? {
        return Ok((!is_end).then(|| {
            Error::new(ErrorKind::Unavailable, APPEND)
                .message("an answer was lost, and others have appended since")
                .hint("read the stream and decide anew")
                .with("stream", name)
                .retry(Retry::Ambiguous)
        }));
    }
    Ok(Some(Error::new(ErrorKind::Conflict, APPEND).with("stream", name).with("len", len).with("expected", expected)))
}

fn len(known: Option<&Known>) -> u64 {
    known.and_then(Known::alive).and_then(|head| head.newest.as_ref()).map_or(0, |newest| newest.seq)
}

/// Writes what the head is to say, unless somebody else was first.
async fn store(shared: &Arc<Shared>, base: Option<&Known>, name: &str, entries: &[Bytes]) -> Result<Outcome<Known>> {
    let now = shared.now().timestamp_micros();
    let mut head = match base.and_then(Known::alive) {
        Some(head) => (**head).clone(),
        None => Head::new(Kind::Log, name, now),
    };
    if let Some(gone) = base.filter(|base| base.alive().is_none()) {
        prune::remove_life(shared, APPEND, &gone.head.life).await?;
    }
    let len = head.newest.as_ref().map_or(0, |newest| newest.seq);
    let item = |(seq, body): (u64, &Bytes)| Item {
        seq,
        at: now,
        retain: None,
        next: None,
        part: None,
        encoding: 0,
        header: Bytes::new(),
        body: body.clone(),
    };
    let new: Vec<Item> = (len + 1..).zip(entries).map(item).collect();
    head.newest = Some(Newest { seq: len + new.len() as u64, digest: Digest::ZERO, part: None, header: Bytes::new() });
    let objects = head.push(new, |_| None);
    shared.write_bundles(APPEND, &head.life, objects).await?;
    shared.write_head(APPEND, base, head).await
}

/// Whether a stream has `entries` from `from` on.
async fn has(shared: &Arc<Shared>, name: &str, from: u64, entries: &[Bytes]) -> Result<bool> {
    let mut stored = read(shared.clone(), name.to_owned(), from, entries.len() as u64);
    for entry in entries {
        if stored.try_next().await?.is_none_or(|stored| stored.bytes != entry) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Entries of a stream, a bundle at a time.
pub(crate) fn read(shared: Arc<Shared>, name: String, from: u64, limit: u64) -> BoxStream<'static, Result<LogEntry>> {
    const OPERATION: &str = "read log";
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let Some(first) = from.checked_add(1).filter(|_| limit > 0) else { return stream::empty().boxed() };
    let range = Range { kind: Kind::Log, name: name.into(), order: Order::Ascending, first, last: u64::MAX, from: None, until: None };
    let mut expected = first;
    let entries = items(shared, OPERATION, range).map(move |found| {
        let item = found?.item;
        if item.seq != expected {
            return Err(damaged("lacks an entry of a log").with("position", expected - 1));
        }
        expected += 1;
        let appended_at = DateTime::from_timestamp_micros(item.at).unwrap_or_default();
        Ok(LogEntry { index: item.seq - 1, appended_at, bytes: item.body })
    });
    entries.take(limit).boxed()
}

/// The streams whose name begins with `prefix`, by name.
pub(crate) fn streams(shared: Arc<Shared>, prefix: String) -> BoxStream<'static, Result<StreamInfo>> {
    let begin = async move {
        let rows = catalog::rows(&shared, "list streams", Kind::Log, &shared.keys.heads_like(Kind::Log, &prefix)).await?;
        let mut streams: Vec<StreamInfo> = rows
            .iter()
            .filter(|row| row.name.starts_with(&prefix))
            .filter_map(|row| Some(StreamInfo { name: row.name.to_string(), len: row.live.as_ref()?.seq }))
            .collect();
        streams.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok::<_, Error>(stream::iter(streams.into_iter().map(Ok)))
    };
    stream::once(begin).try_flatten().boxed()
}

pub(crate) async fn delete(shared: &Arc<Shared>, name: &str) -> Result<bool> {
    const OPERATION: &str = "delete log";
    check_key(OPERATION, name)?;
    let mut life = None;
    loop {
        let Some(known) = shared.read_head(OPERATION, Kind::Log, name).await?.filter(|known| known.alive().is_some()) else {
            return Ok(false);
        };
        // What was there is gone, and somebody has begun anew.
        if *life.get_or_insert(known.head.life) != known.head.life {
            return Ok(true);
        }
        if prune::bury(shared, OPERATION, &known).await? {
            return Ok(true);
        }
    }
}
