use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;

use crate::Result;

/// Keeps append-only streams of small entries: the replay log, recordings, the audit trail.
///
/// A stream is named by 1 to 1,024 bytes of UTF-8, any character included, and exists from its first entry on. Entries are any bytes,
/// also none.
#[async_trait]
pub trait LogStorage: fmt::Debug + Send + Sync + 'static {
    /// Appends all `entries` or none, only if the stream has `expected_len` entries, and gives its new length.
    ///
    /// If the stream has exactly these entries from `expected_len` to its end, they count as appended, so that an ambiguous
    /// append may be repeated. An empty list changes nothing, and does not make a stream.
    ///
    /// # Errors
    /// `Conflict` with the fact `len` (the stream's length) if it is another; `Invalid` for a bad stream name.
    async fn append_log(&self, stream: &str, expected_len: u64, entries: Vec<Bytes>) -> Result<u64>;

    /// The entries from index `from` (the first is 0), at most `limit`, ascending, read as the stream is polled.
    fn read_log(&self, stream: &str, from: u64, limit: u64) -> BoxStream<'static, Result<LogEntry>>;

    /// The streams whose name begins with `prefix`, by name (bytewise).
    fn streams(&self, prefix: &str) -> BoxStream<'static, Result<StreamInfo>>;

    /// Removes a whole stream; says whether there was one.
    async fn delete_log(&self, stream: &str) -> Result<bool>;
}

/// One entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its position, from 0.
    pub index: u64,
    /// When the store took it, by the store's clock.
    pub appended_at: DateTime<Utc>,
    /// What was appended.
    pub bytes: Bytes,
}

/// A stream's name and length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// The name.
    pub name: String,
    /// How many entries it has.
    pub len: u64,
}
