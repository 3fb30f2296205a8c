//! What belongs to a saga beside its history.

use std::collections::HashSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

use crate::{
    Digest, Error, ErrorKind, HistoryId, Result, Retry, SagaId, SnapshotRecord, Store, replay,
    storage::{BlobStorage, LogStorage},
};

/// Beyond so many digests the memory of what was copied is emptied; it only saves questions.
const REMEMBERED: usize = 4096;
/// How many entries of a log, and how many bytes of them, are appended at once.
const BATCH_ENTRIES: usize = 200;
const BATCH_BYTES: usize = 1 << 20;
const REPEATS: u32 = 5;

/// The blobs that are known to be in the other store.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashSet<Digest>>);

impl Seen {
    /// Copies the blobs that `record` refers to, and gives how many that were.
    pub(super) async fn copy_refs(&self, from: &Store, to: &Store, record: &SnapshotRecord, dry_run: bool) -> Result<u64> {
        let mut count = 0;
        for digest in record.external_refs.values().filter_map(|value| value.parse::<Digest>().ok()) {
            if self.0.lock().contains(&digest) {
                continue;
            }
            // A reference of this form may also be to something outside of any store.
            let bytes = match from.blobs() {
                Ok(blobs) => blobs.get_blob(&digest).await?,
                Err(_) => None,
            };
            if let Some(bytes) = bytes {
                count += u64::from(put(&**to.blobs()?, digest, bytes, dry_run).await?);
            }
            let mut seen = self.0.lock();
            if seen.len() >= REMEMBERED {
                seen.clear();
            }
            seen.insert(digest);
        }
        Ok(count)
    }
}

/// Says whether it was not there.
async fn put(blobs: &dyn BlobStorage, digest: Digest, bytes: Bytes, dry_run: bool) -> Result<bool> {
    if blobs.get_blob(&digest).await?.is_some() {
        return Ok(false);
    }
    if !dry_run {
        blobs.put_blob(bytes).await?;
    }
    Ok(true)
}

/// Copies what `to` does not have yet of the log of the replays of a history of `saga`, and gives how many entries that were.
///
/// # Errors
/// `Conflict` if the logs differ, `Unsupported` if there is one and `to` keeps none, else a store's own.
pub(super) async fn copy_log(from: &Store, to: &Store, saga: &SagaId, history: Option<HistoryId>, dry_run: bool) -> Result<u64> {
    let Ok(from) = from.logs() else { return Ok(0) };
    let stream = replay::log_stream(saga, history);
    let mut entries = from.read_log(&stream, 0, u64::MAX).fuse();
    let mut first = entries.try_next().await?;
    if first.is_none() {
        return Ok(0);
    }
    let to = to.logs()?;
    let mut there = to.read_log(&stream, 0, u64::MAX);
    let mut len = 0;
    while let Some(theirs) = there.try_next().await? {
        let Some(ours) = first.take() else {
            // They went on.
            return Ok(0);
        };
        if ours.bytes != theirs.bytes {
            return Err(Error::new(ErrorKind::Conflict, "copy replay log")
                .message(format!("the other store has another log of the replays of this saga: entry {len} differs"))
                .hint("delete the saga's log in one of the stores; nothing was overwritten")
                .with("stream", &stream)
                .with("entry", len));
        }
        len += 1;
        first = entries.try_next().await?;
    }
    let mut count = 0;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    loop {
        let next = match first.take() {
            Some(entry) => Some(entry),
            None => entries.try_next().await?,
        };
        let is_last = next.is_none();
        if let Some(entry) = next {
            bytes += entry.bytes.len();
            batch.push(entry.bytes);
        }
        if batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES || is_last && !batch.is_empty() {
            count += batch.len() as u64;
            if !dry_run {
                append(&**to, &stream, len, &batch).await?;
            }
            len += batch.len() as u64;
            batch.clear();
            bytes = 0;
        }
        if is_last {
            return Ok(count);
        }
    }
}

async fn append(logs: &dyn LogStorage, stream: &str, len: u64, batch: &[Bytes]) -> Result<()> {
    let mut repeat = 0;
    loop {
        match logs.append_log(stream, len, batch.to_vec()).await {
            Ok(_) => return Ok(()),
            Err(error) if error.retry_advice() == Retry::Ambiguous && repeat < REPEATS => repeat += 1,
            Err(error) => return Err(error),
        }
    }
}
