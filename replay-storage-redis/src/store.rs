//! The store handle and its four traits.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use parking_lot::Mutex;
use replay_core::{
    Clock, Digest, Namespace, Outline, Result, SagaId, SnapshotRecord, Store,
    storage::{
        At, BlobStorage, Capabilities, Cell, CellStorage, If, LogEntry, LogStorage, PruneReport, PruneRequest, SagaQuery, SagaSummary,
        SnapshotQuery, SnapshotStorage, StoreUrl, StreamInfo,
    },
};

use crate::{
    append, blobs,
    builder::RedisBuilder,
    cells,
    error::{Effect, damaged},
    history,
    keys::{Keys, Kind, Shard},
    link::Link,
    logs, prune,
    row::{Outlines, Row},
    sagas, value,
};

/// Redis takes no string larger than 512 MiB; a little of it is ours.
pub(crate) const MAX_RECORD_BYTES: u64 = (512 << 20) - 1024;

/// A store on a Redis server or cluster, for one namespace. Clones are cheap and share the connection.
#[derive(Clone)]
pub struct Redis(Arc<Shared>);

/// What the clones of a store share.
pub(crate) struct Shared {
    name: String,
    namespace: Namespace,
    clock: Arc<dyn Clock>,
    keys: Keys,
    link: Link,
    default_ttl: Option<Duration>,
    outlines: Outlines,
    /// Where a prune of many sagas that reached its limit goes on.
    pub(crate) resume: Mutex<Option<prune::Place>>,
    tokens: cells::Tokens,
}

impl Shared {
    pub(crate) fn new(
        name: String,
        namespace: Namespace,
        clock: Arc<dyn Clock>,
        keys: Keys,
        link: Link,
        default_ttl: Option<Duration>,
    ) -> Self {
        let (outlines, resume) = (Outlines::default(), Mutex::default());
        Self { name, namespace, clock, keys, link, default_ttl, outlines, resume, tokens: cells::Tokens::default() }
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) fn default_ttl(&self) -> Option<Duration> {
        self.default_ttl
    }

    pub(crate) fn tokens(&self) -> &cells::Tokens {
        &self.tokens
    }

    /// Puts a value of `saga` together; `sequence` is 0 where it is not known beforehand.
    pub(crate) async fn record(&self, saga: &SagaId, sequence: u64, value: Vec<u8>, payload: bool) -> Result<SnapshotRecord> {
        let row = Row::read(value).map_err(|error| error.with("saga", saga).with("sequence", sequence))?;
        let outline = self.outline(Shard::of(saga.as_str().as_bytes()), row.definition).await?;
        row.into_record(saga, sequence, outline, payload)
    }

    async fn outline(&self, shard: Shard, definition: [u8; 16]) -> Result<Arc<Outline>> {
        if let Some(outline) = self.outlines.get(definition) {
            return Ok(outline);
        }
        let mut cmd = redis::cmd("HGET");
        cmd.arg(self.keys.of_shard(Kind::Definitions, shard)).arg(&definition[..]);
        let bytes = value::string("read", self.link.call("read", Effect::Read, &cmd).await?)?;
        let bytes = bytes.ok_or_else(|| damaged("read", "a record refers to a definition that is missing"))?;
        self.outlines.take(definition, bytes.into())
    }
}

impl Redis {
    /// Begins to open the store at `url`, such as `redis://127.0.0.1:6379`; the page of the crate has all forms and options.
    ///
    /// # Errors
    /// `Invalid` for another scheme, a URL that cannot be understood, or an option that does not exist or has a bad value.
    pub fn builder(url: &str) -> Result<RedisBuilder> {
        RedisBuilder::from_url(StoreUrl::parse(url)?)
    }

    /// Opens what a URL names.
    ///
    /// # Errors
    /// Those of [`builder`](Self::builder) and [`RedisBuilder::open`].
    pub async fn open_url(url: StoreUrl) -> Result<Self> {
        RedisBuilder::from_url(url)?.open().await
    }

    /// The store as an engine takes it, with all four traits.
    pub fn into_store(self) -> Store {
        Store::from_backend(self.0.namespace.clone(), self)
    }

    pub(crate) fn from_shared(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis({})", self.0.name)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("at", &self.0.name)
            .field("namespace", &self.0.namespace)
            .field("link", &self.0.link)
            .field("default_ttl", &self.0.default_ttl)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SnapshotStorage for Redis {
    fn capabilities(&self) -> Capabilities {
        let capabilities = Capabilities::default().with_durable(true).with_shared(true).with_native_expiry(true);
        capabilities.with_max_record_bytes(MAX_RECORD_BYTES)
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let records: Vec<_> = records.into_iter().map(SnapshotRecord::standing_alone).collect::<Result<_>>()?;
        append::append(&self.0, &records).await
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        history::load(&self.0, saga, at).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        history::list(self.0.clone(), query)
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        sagas::sagas(self.0.clone(), query)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        prune::prune(&self.0, request).await
    }
}

#[async_trait]
impl LogStorage for Redis {
    async fn append_log(&self, stream: &str, expected_len: u64, entries: Vec<Bytes>) -> Result<u64> {
        logs::append(&self.0, stream, expected_len, &entries).await
    }

    fn read_log(&self, stream: &str, from: u64, limit: u64) -> BoxStream<'static, Result<LogEntry>> {
        logs::read(self.0.clone(), stream.to_owned(), from, limit)
    }

    fn streams(&self, prefix: &str) -> BoxStream<'static, Result<StreamInfo>> {
        logs::streams(self.0.clone(), prefix)
    }

    async fn delete_log(&self, stream: &str) -> Result<bool> {
        logs::delete(&self.0, stream).await
    }
}

#[async_trait]
impl CellStorage for Redis {
    async fn get_cell(&self, key: &str) -> Result<Option<Cell>> {
        cells::get(&self.0, key).await
    }

    async fn put_cell(&self, key: &str, value: Bytes, condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64> {
        cells::put(&self.0, key, &value, condition, expires_at).await
    }

    async fn delete_cell(&self, key: &str, condition: If) -> Result<bool> {
        cells::delete(&self.0, key, condition).await
    }

    fn scan_cells(&self, prefix: &str) -> BoxStream<'static, Result<(String, Cell)>> {
        cells::scan(self.0.clone(), prefix)
    }
}

#[async_trait]
impl BlobStorage for Redis {
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest> {
        blobs::put(&self.0, &bytes).await
    }

    async fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>> {
        blobs::get(&self.0, digest).await
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        blobs::delete(&self.0, digest).await
    }
}
