use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use replay_core::{
    Clock, Error, ErrorKind, Result,
    storage::{LogEntry, LogStorage, StreamInfo, check_key},
};

use super::{Reference, begins_like};
use crate::Mutant;

#[async_trait]
impl LogStorage for Reference {
    async fn append_log(&self, stream: &str, expected_len: u64, entries: Vec<Bytes>) -> Result<u64> {
        check_key("append to log", stream)?;
        let mut world = self.world();
        let stored: Vec<Bytes> = world.logs.get(stream).into_iter().flatten().map(|(_, bytes)| bytes.clone()).collect();
        let len = stored.len() as u64;
        if expected_len != len && !self.has(Mutant::LogIgnoresLength) {
            let tail = usize::try_from(expected_len).ok().and_then(|at| stored.get(at..)).unwrap_or_default();
            let repeats = match self.bug {
                Some(Mutant::LogRefusesRepeats) => false,
                Some(Mutant::LogComparesCountOnly) => tail.len() == entries.len(),
                Some(Mutant::LogAcceptsOverlap) => tail.starts_with(&entries),
                _ => tail == entries,
            };
            if tail.is_empty() || entries.is_empty() || !repeats {
                return Err(Error::new(ErrorKind::Conflict, "append to log").with("stream", stream).with("len", len));
            }
            return Ok(len);
        }
        if entries.is_empty() && !self.has(Mutant::LogMakesEmptyStreams) {
            return Ok(len);
        }
        let now = self.clock.now();
        let log = world.logs.entry(stream.to_owned()).or_default();
        log.extend(entries.into_iter().map(|bytes| (now, bytes)));
        Ok(log.len() as u64)
    }

    fn read_log(&self, stream: &str, from: u64, limit: u64) -> BoxStream<'static, Result<LogEntry>> {
        let from = if self.has(Mutant::LogReadsFromOne) { from.saturating_sub(1) } else { from };
        let world = self.world();
        let entries = (0..).zip(world.logs.get(stream).into_iter().flatten()).filter(|(index, _)| *index >= from);
        let time = |taken| if self.has(Mutant::LogShowsTimeOfReading) { self.clock.now() } else { taken };
        let entries = entries.map(|(index, (at, bytes))| Ok(LogEntry { index, appended_at: time(*at), bytes: bytes.clone() }));
        let entries: Vec<_> = entries.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect();
        stream::iter(entries).boxed()
    }

    fn streams(&self, prefix: &str) -> BoxStream<'static, Result<StreamInfo>> {
        let is_pattern = self.has(Mutant::LogPrefixIsPattern);
        let world = self.world();
        let streams = world.logs.iter().filter(|(name, _)| if is_pattern { begins_like(name, prefix) } else { name.starts_with(prefix) });
        let streams: Vec<_> = streams.map(|(name, log)| Ok(StreamInfo { name: name.clone(), len: log.len() as u64 })).collect();
        stream::iter(streams).boxed()
    }

    async fn delete_log(&self, stream: &str) -> Result<bool> {
        check_key("delete log", stream)?;
        let mut world = self.world();
        if self.has(Mutant::LogDeletesByPrefix) {
            let before = world.logs.len();
            world.logs.retain(|name, _| !name.starts_with(stream));
            return Ok(world.logs.len() < before);
        }
        Ok(world.logs.remove(stream).is_some())
    }
}
