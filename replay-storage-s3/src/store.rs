//! The store handle.

use std::{collections::HashSet, fmt, sync::Arc};

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
use tokio::sync::OnceCell;

use crate::{
    append, blobs,
    builder::S3Builder,
    bundle::Bundle,
    cache::Cache,
    catalog::Catalog,
    cells::{self, KnownCell},
    client::Client,
    head::token,
    heads::Known,
    history,
    key::{Keys, hex},
    lifecycle, logs, prune, sagas,
};

/// What a handle remembers, in bytes.
const HEADS_BYTES: usize = 16 << 20;
const BUNDLES_BYTES: usize = 16 << 20;
const OUTLINES_BYTES: usize = 8 << 20;
const CELLS_BYTES: usize = 4 << 20;

/// A larger bundle is not remembered.
pub(crate) const LARGEST_CACHED: usize = 2 << 20;

/// What the calls of one handle share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) keys: Keys,
    pub(crate) namespace: Namespace,
    clock: Arc<dyn Clock>,
    /// `bucket/prefix`, for people.
    place: String,
    pub(crate) heads: Cache<String, Known>,
    pub(crate) catalog: Catalog,
    pub(crate) bundles: Cache<String, Arc<Bundle>>,
    pub(crate) outlines: Cache<Digest, Arc<Outline>>,
    pub(crate) cells: Cache<String, KnownCell>,
    /// The outlines that are known to be objects of their own.
    stored: Mutex<HashSet<Digest>>,
    deletes_on_condition: OnceCell<bool>,
}

impl Shared {
    pub(crate) fn new(client: Client, prefix: &str, namespace: Namespace, clock: Arc<dyn Clock>) -> Self {
        Self {
            keys: Keys::new(prefix, &namespace),
            place: format!("{}/{}", client.bucket(), prefix.trim_end_matches('/')).trim_end_matches('/').to_owned(),
            client,
            namespace,
            clock,
            heads: Cache::new(HEADS_BYTES),
            catalog: Catalog::new(),
            bundles: Cache::new(BUNDLES_BYTES),
            outlines: Cache::new(OUTLINES_BYTES),
            cells: Cache::new(CELLS_BYTES),
            stored: Mutex::default(),
            deletes_on_condition: OnceCell::new(),
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Whether this outline is known to be an object of its own.
    pub(crate) fn is_stored(&self, outline: &Digest) -> bool {
        self.stored.lock().contains(outline)
    }

    pub(crate) fn note_stored(&self, outline: Digest) {
        self.stored.lock().insert(outline);
    }

    /// Whether the server removes an object only if it is still the one that is meant. Tried once, when it is first needed.
    pub(crate) async fn deletes_on_condition(&self, operation: &'static str) -> Result<bool> {
        let probe = || async {
            let key = format!("{}probe-{}", self.keys.root(), hex(&token()));
            self.client.honours_delete_condition(operation, &key).await
        };
        self.deletes_on_condition.get_or_try_init(probe).await.copied()
    }
}

/// A store in an S3 bucket, for one namespace. Clones are cheap and share what the handle remembers.
#[derive(Clone)]
pub struct S3(Arc<Shared>);

impl S3 {
    /// Begins to open the store in `bucket`, with the region and the credentials of the environment.
    pub fn builder(bucket: impl Into<String>) -> S3Builder {
        S3Builder::new(bucket.into())
    }

    /// Opens the store at `s3://KEY:SECRET@bucket/prefix?region=…`; the options are in the table of the crate page.
    ///
    /// Key and secret may be left out: then the environment, profiles and roles are asked. In them, as in the prefix, `%XX` is decoded.
    ///
    /// # Errors
    /// `Invalid` for another scheme or an option that does not exist or has a bad value, and those of [`S3Builder::open`].
    pub async fn open_url(url: StoreUrl) -> Result<Self> {
        S3Builder::from_url(url)?.open().await
    }

    /// The lifecycle configuration for the bucket of the store at `url`, as JSON for `aws s3api put-bucket-lifecycle-configuration`.
    ///
    /// It ends uploads that were never finished after 7 days and, in a versioned bucket, removes replaced versions after 30. It never
    /// removes what the store still needs: retention is the work of `prune`. Nothing is asked of the server.
    ///
    /// # Errors
    /// `Invalid` for a URL that [`open_url`](S3::open_url) would refuse.
    pub fn lifecycle(url: StoreUrl) -> Result<String> {
        S3Builder::from_url(url).map(|builder| lifecycle::configuration(&builder.key_prefix()))
    }

    /// The store as an engine takes it, with all four traits.
    pub fn into_store(self) -> Store {
        Store::from_backend(self.0.namespace.clone(), self)
    }

    pub(crate) fn from_shared(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3({})", self.0.place)
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("client", &self.0.client).field("namespace", &self.0.namespace).finish_non_exhaustive()
    }
}

#[async_trait]
impl SnapshotStorage for S3 {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_durable(true).with_shared(true)
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let records = records.into_iter().map(SnapshotRecord::standing_alone).collect::<Result<_>>()?;
        append::append(&self.0, records).await
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
impl LogStorage for S3 {
    async fn append_log(&self, stream: &str, expected_len: u64, entries: Vec<Bytes>) -> Result<u64> {
        logs::append(&self.0, stream, expected_len, entries).await
    }

    fn read_log(&self, stream: &str, from: u64, limit: u64) -> BoxStream<'static, Result<LogEntry>> {
        logs::read(self.0.clone(), stream.to_owned(), from, limit)
    }

    fn streams(&self, prefix: &str) -> BoxStream<'static, Result<StreamInfo>> {
        logs::streams(self.0.clone(), prefix.to_owned())
    }

    async fn delete_log(&self, stream: &str) -> Result<bool> {
        logs::delete(&self.0, stream).await
    }
}

#[async_trait]
impl CellStorage for S3 {
    async fn get_cell(&self, key: &str) -> Result<Option<Cell>> {
        cells::get(&self.0, key).await
    }

    async fn put_cell(&self, key: &str, value: Bytes, condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64> {
        cells::put(&self.0, key, value, condition, expires_at).await
    }

    async fn delete_cell(&self, key: &str, condition: If) -> Result<bool> {
        cells::delete(&self.0, key, condition).await
    }

    fn scan_cells(&self, prefix: &str) -> BoxStream<'static, Result<(String, Cell)>> {
        cells::scan(self.0.clone(), prefix.to_owned())
    }
}

#[async_trait]
impl BlobStorage for S3 {
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest> {
        blobs::put(&self.0, bytes).await
    }

    async fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>> {
        blobs::get(&self.0, digest).await
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        blobs::delete(&self.0, digest).await
    }
}
