//! The store handle and its four traits.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use replay_core::{
    Clock, Digest, Encoder, Error, ErrorKind, Namespace, Result, SagaId, SnapshotRecord, Store,
    storage::{
        At, BlobStorage, Capabilities, Cell, CellStorage, If, LogEntry, LogStorage, PruneReport, PruneRequest, SagaQuery, SagaSummary,
        SnapshotQuery, SnapshotStorage, StoreUrl, StreamInfo,
    },
};
use rusqlite::Connection;

use crate::{
    append::{self, Incoming},
    blobs,
    builder::SqliteBuilder,
    cells, frames, history, logs, prune,
    readers::Readers,
    row::{LastFrame, Outlines, RecordRow},
    sagas,
    writer::{Session, Writer},
};

/// SQLite takes no row larger than this.
const MAX_ROW_BYTES: u64 = 1_000_000_000;

/// A store in one SQLite file, for one namespace. Clones are cheap and share the connections.
#[derive(Clone)]
pub struct Sqlite(Arc<Shared>);

/// What the clones of a store share.
pub(crate) struct Shared {
    path: PathBuf,
    namespace: Namespace,
    clock: Arc<dyn Clock>,
    // Closed before the writer, since the last one that closes tidies the log away and must be able to write.
    readers: Arc<Readers>,
    /// None if the file is only read.
    writer: Option<Arc<Writer>>,
    outlines: Outlines,
    frames: frames::Recent,
    encoder: Encoder,
}

impl Shared {
    pub(crate) fn new(
        path: PathBuf,
        namespace: Namespace,
        clock: Arc<dyn Clock>,
        writer: Option<Arc<Writer>>,
        readers: Arc<Readers>,
        encoder: Encoder,
    ) -> Self {
        Self { path, namespace, clock, writer, readers, outlines: Outlines::default(), frames: frames::Recent::default(), encoder }
    }

    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_str()
    }

    pub(crate) fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Does `work` in a transaction; see [`Writer::write`].
    pub(crate) async fn write<T, F>(self: &Arc<Self>, operation: &'static str, mut work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Self, &mut Session) -> Result<T> + Send + 'static,
    {
        let Some(writer) = &self.writer else {
            return Err(Error::new(ErrorKind::PermissionDenied, operation)
                .message("the store was opened for reading only")
                .hint("open it without `read_only`"));
        };
        let shared = self.clone();
        writer.write(move |session| work(&shared, session)).await
    }

    /// Puts a row of `saga` together.
    pub(crate) fn record(&self, connection: &Connection, saga: &str, row: RecordRow) -> Result<SnapshotRecord> {
        self.record_after(connection, saga, row, &mut None).map(|record| self.frames.share(record))
    }

    /// Puts a row of `saga` together that comes after another in a listing.
    pub(crate) fn record_after(&self, connection: &Connection, saga: &str, row: RecordRow, last: &mut LastFrame) -> Result<SnapshotRecord> {
        let outline = self.outlines.get(connection, row.definition_no)?;
        row.into_record_after(saga, outline, last)
    }

    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }
}

impl Sqlite {
    /// Begins to open the file at `path`, relative to the current folder.
    pub fn builder(path: impl AsRef<Path>) -> SqliteBuilder {
        SqliteBuilder::new(path.as_ref().to_owned())
    }

    /// Opens what a URL names: `sqlite:path?durability=full|normal&namespace=x&busy_timeout_ms=5000&read_only=false&create=true`.
    ///
    /// `%XX` in the path is decoded, so that it may have a `?`. A relative path is relative to the current folder.
    ///
    /// # Errors
    /// `Invalid` for another scheme or an option that does not exist or has a bad value, and those of [`SqliteBuilder::open`].
    pub async fn open_url(url: StoreUrl) -> Result<Self> {
        SqliteBuilder::from_url(url)?.open().await
    }

    /// The store as an engine takes it, with all four traits.
    pub fn into_store(self) -> Store {
        Store::from_backend(self.0.namespace.clone(), self)
    }

    pub(crate) fn from_shared(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    async fn read<T, F>(&self, operation: &'static str, mut work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Shared, &Connection) -> Result<T> + Send + 'static,
    {
        let shared = self.0.clone();
        self.0.readers.read(operation, move |connection| work(&shared, connection)).await
    }
}

impl fmt::Display for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite({})", self.0.path.display())
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("path", &self.0.path)
            .field("namespace", &self.0.namespace)
            .field("writer", &self.0.writer)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SnapshotStorage for Sqlite {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_durable(true).with_shared(true).with_sql(true).with_max_record_bytes(MAX_ROW_BYTES)
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let records = Incoming::all(self.0.encoder(), records)?;
        self.0.write("append", move |shared, session| append::append(session, shared.namespace(), &records)).await?
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        let saga = saga.clone();
        self.read("load", move |shared, connection| history::load(shared, connection, &saga, &at)).await
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
impl LogStorage for Sqlite {
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
impl CellStorage for Sqlite {
    async fn get_cell(&self, key: &str) -> Result<Option<Cell>> {
        let key = key.to_owned();
        self.read("get cell", move |shared, connection| cells::get(shared, connection, &key)).await
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
impl BlobStorage for Sqlite {
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest> {
        blobs::put(&self.0, bytes).await
    }

    async fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let digest = *digest;
        self.read("get blob", move |shared, connection| blobs::get(shared, connection, &digest)).await
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        blobs::delete(&self.0, *digest).await
    }
}
