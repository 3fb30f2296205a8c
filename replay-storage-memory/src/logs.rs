use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use parking_lot::{Mutex, RwLock};
use replay_core::{
    Error, ErrorKind, Result,
    storage::{LogEntry, LogStorage, StreamInfo, check_key},
};

use crate::{
    Memory,
    pages::{PAGE, pages},
    store::World,
};

type Entries = Mutex<Vec<(DateTime<Utc>, Bytes)>>;

/// Streams by name. Each has a lock of its own, so appends to different streams do not wait for each other.
#[derive(Default)]
pub(crate) struct Logs(RwLock<BTreeMap<Arc<str>, Entries>>);

impl Logs {
    fn append(&self, stream: &str, expected: u64, entries: Vec<Bytes>, now: DateTime<Utc>) -> Result<u64> {
        // The map stays locked while an entry is added: a stream that is deleted meanwhile would take it along.
        if let Some(log) = self.0.read().get(stream) {
            return extend(&mut log.lock(), stream, expected, entries, now);
        }
        if entries.is_empty() {
            return extend(&mut Vec::new(), stream, expected, entries, now);
        }
        let mut streams = self.0.write();
        if let Some(log) = streams.get(stream) {
            return extend(&mut log.lock(), stream, expected, entries, now);
        }
        let mut log = Vec::new();
        let len = extend(&mut log, stream, expected, entries, now)?;
        streams.insert(stream.into(), Mutex::new(log));
        Ok(len)
    }

    fn page(&self, stream: &str, from: u64, limit: u64) -> Option<Vec<LogEntry>> {
        let streams = self.0.read();
        let log = streams.get(stream)?.lock();
        let rest = log.get(usize::try_from(from).ok()?..)?;
        let limit = usize::try_from(limit).unwrap_or(PAGE).min(PAGE);
        let page: Vec<LogEntry> = (from..)
            .zip(rest)
            .take(limit)
            .map(|(index, (appended_at, bytes))| LogEntry { index, appended_at: *appended_at, bytes: bytes.clone() })
            .collect();
        (!page.is_empty()).then_some(page)
    }

    fn streams(&self, prefix: &str, after: &mut Option<Arc<str>>) -> Option<Vec<StreamInfo>> {
        let streams = self.0.read();
        let from = after.as_deref().map_or(Bound::Included(prefix), Bound::Excluded);
        let page: Vec<_> =
            streams.range::<str, _>((from, Bound::Unbounded)).take(PAGE).take_while(|(name, _)| name.starts_with(prefix)).collect();
        *after = Some(page.last()?.0.clone());
        Some(page.into_iter().map(|(name, log)| StreamInfo { name: name.to_string(), len: log.lock().len() as u64 }).collect())
    }
}

/// Adds `entries` if the log has `expected` entries, or has these already behind them; gives its length.
fn extend(log: &mut Vec<(DateTime<Utc>, Bytes)>, stream: &str, expected: u64, entries: Vec<Bytes>, now: DateTime<Utc>) -> Result<u64> {
    let len = log.len() as u64;
    if expected != len {
        let stored = usize::try_from(expected).ok().and_then(|at| log.get(at..)).unwrap_or_default();
        if !stored.is_empty() && stored.iter().map(|(_, bytes)| bytes).eq(&entries) {
            return Ok(len);
        }
        return Err(Error::new(ErrorKind::Conflict, "append to log")
            .with("stream", stream)
            .with("expected_len", expected)
            .with("len", len));
    }
    log.extend(entries.into_iter().map(|bytes| (now, bytes)));
    Ok(log.len() as u64)
}

#[async_trait]
impl LogStorage for Memory {
    async fn append_log(&self, stream: &str, expected_len: u64, entries: Vec<Bytes>) -> Result<u64> {
        check_key("append to log", stream)?;
        self.world().logs.append(stream, expected_len, entries, self.world().clock.now())
    }

    fn read_log(&self, stream: &str, mut from: u64, mut limit: u64) -> BoxStream<'static, Result<LogEntry>> {
        let (world, stream): (Arc<World>, Arc<str>) = (self.world().clone(), stream.into());
        pages(move || {
            let page = world.logs.page(&stream, from, limit)?;
            from += page.len() as u64;
            limit -= page.len() as u64;
            Some(page)
        })
    }

    fn streams(&self, prefix: &str) -> BoxStream<'static, Result<StreamInfo>> {
        let (world, prefix): (Arc<World>, Arc<str>) = (self.world().clone(), prefix.into());
        let mut after = None;
        pages(move || world.logs.streams(&prefix, &mut after))
    }

    async fn delete_log(&self, stream: &str) -> Result<bool> {
        check_key("delete log", stream)?;
        Ok(self.world().logs.0.write().remove(stream).is_some())
    }
}
