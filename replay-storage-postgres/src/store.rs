//! The store handle and its four traits.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use replay_core::{
    Clock, Digest, Namespace, Outline, Result, SagaId, SnapshotRecord, Store,
    storage::{
        At, BlobStorage, Capabilities, Cell, CellStorage, If, LogEntry, LogStorage, PruneReport, PruneRequest, SagaQuery, SagaSummary,
        SnapshotQuery, SnapshotStorage, StoreUrl, StreamInfo,
    },
};
use sqlx::postgres::PgRow;

use crate::{
    append, blobs,
    builder::PostgresBuilder,
    cells,
    error::{Access, damaged},
    history, logs,
    pool::{Answer, Pool},
    prune,
    row::{Memory, RecordRow, column},
    sagas,
    sql::{Args, Statements},
    writer::Writer,
};

/// The server takes up to 1 GB in a row; a statement that carries it must fit into as much.
pub(crate) const MAX_RECORD_BYTES: u64 = 256 << 20;

/// A store in a PostgreSQL database, for one namespace. Clones are cheap and share the connections.
#[derive(Clone)]
pub struct Postgres {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

/// What the clones of a store share.
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    pub(crate) sql: Statements,
    /// The number of the namespace; 0 as long as nobody has made it.
    namespace_no: AtomicI32,
    namespace: Namespace,
    clock: Arc<dyn Clock>,
    /// The server and the database, without a secret.
    place: String,
    outlines: Memory<i32, Arc<Outline>>,
    definitions: Memory<Digest, i32>,
    /// How many cells were written.
    written: AtomicU64,
}

impl Shared {
    pub(crate) fn new(pool: Arc<Pool>, sql: Statements, namespace: Namespace, clock: Arc<dyn Clock>, place: String) -> Self {
        let namespace_no = AtomicI32::new(0);
        Self {
            pool,
            sql,
            namespace_no,
            namespace,
            clock,
            place,
            outlines: Memory::default(),
            definitions: Memory::default(),
            written: AtomicU64::new(0),
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The parameters of a statement whose first is the namespace.
    pub(crate) fn args(&self) -> Args {
        Args::new().with(self.namespace_no())
    }

    /// Counts a write; says so once in `every`.
    pub(crate) fn is_time_to_sweep(&self, every: u64) -> bool {
        self.written.fetch_add(1, Ordering::Relaxed).wrapping_add(1).is_multiple_of(every)
    }

    pub(crate) fn namespace_no(&self) -> i32 {
        self.namespace_no.load(Ordering::Relaxed)
    }

    /// Looks for the namespace, and makes it if `makes`.
    pub(crate) async fn find_namespace(&self, operation: &'static str, makes: bool) -> Result<()> {
        let args = || Args::new().with(self.namespace.as_str());
        while self.namespace_no() == 0 {
            let mut rows = self.pool.run(operation, Access::Read, &self.sql.namespace, args).await?.rows;
            if rows.is_empty() && makes {
                // None comes back if somebody else was faster; then it is found.
                rows = self.pool.run(operation, Access::Repeatable, &self.sql.add_namespace, args).await?.rows;
            }
            match rows.first() {
                Some(row) => self.namespace_no.store(column(row, 0, operation)?, Ordering::Relaxed),
                None if makes => {}
                None => break,
            }
        }
        Ok(())
    }

    /// Runs a statement that changes something.
    pub(crate) async fn write(
        &self,
        operation: &'static str,
        access: Access,
        sql: &Arc<str>,
        args: impl Fn() -> Args,
    ) -> Result<Vec<PgRow>> {
        self.find_namespace(operation, true).await?;
        Ok(self.pool.run(operation, access, sql, args).await?.rows)
    }

    /// Runs a statement that changes something, for a caller who looks afterwards whether an earlier attempt did.
    pub(crate) async fn write_and_look(&self, operation: &'static str, sql: &Arc<str>, args: impl Fn() -> Args) -> Result<Answer> {
        self.find_namespace(operation, true).await?;
        self.pool.run(operation, Access::Repeatable, sql, args).await
    }

    /// Runs a statement that only reads.
    pub(crate) async fn read(&self, operation: &'static str, sql: &Arc<str>, args: impl Fn() -> Args) -> Result<Vec<PgRow>> {
        self.find_namespace(operation, false).await?;
        Ok(self.pool.run(operation, Access::Read, sql, args).await?.rows)
    }

    /// Puts a row of `saga` together.
    pub(crate) async fn record(&self, saga: &str, row: RecordRow) -> Result<SnapshotRecord> {
        let outline = self.outline(row.definition_no).await?;
        row.into_record(saga, outline)
    }

    async fn outline(&self, number: i32) -> Result<Arc<Outline>> {
        if let Some(outline) = self.outlines.get(&number) {
            return Ok(outline);
        }
        let rows = self.read("read", &self.sql.outline, || Args::new().with(number)).await?;
        let row = rows.first().ok_or_else(|| damaged("read", "a record refers to a definition that is missing"))?;
        let outline = Arc::new(Outline::from_bytes(Bytes::copy_from_slice(column::<&str>(row, 0, "read")?.as_bytes()))?);
        self.outlines.insert(number, outline.clone());
        Ok(outline)
    }

    /// The number of a definition, which is kept if it is new.
    pub(crate) async fn definition(&self, outline: &Arc<Outline>) -> Result<i32> {
        const OPERATION: &str = "append";
        let fingerprint = outline.fingerprint();
        if let Some(number) = self.definitions.get(&fingerprint) {
            return Ok(number);
        }
        let text = std::str::from_utf8(outline.as_bytes()).map_err(|_| damaged(OPERATION, "a definition is not UTF-8"))?;
        let find = || self.args().with(&fingerprint.as_bytes()[..]);
        let add = || find().with(text);
        loop {
            let mut rows = self.read(OPERATION, &self.sql.definition, find).await?;
            if rows.is_empty() {
                // None comes back if somebody else was faster; then it is found.
                rows = self.write(OPERATION, Access::Repeatable, &self.sql.add_definition, add).await?;
            }
            if let Some(row) = rows.first() {
                let number = column(row, 0, OPERATION)?;
                self.definitions.insert(fingerprint, number);
                return Ok(number);
            }
        }
    }
}

impl Postgres {
    /// Begins to open the database at `url`: `postgres://user:password@host:5432/database`, without options.
    ///
    /// What is missing comes from the environment as with PostgreSQL's own tools: `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`,
    /// `PGDATABASE`, the file `.pgpass`.
    ///
    /// # Errors
    /// `Invalid` if it is no such URL.
    pub fn builder(url: &str) -> Result<PostgresBuilder> {
        PostgresBuilder::from_url(StoreUrl::parse(url)?)
    }

    /// Opens what a URL names: `postgres://user:password@host:5432/database?schema=replay&namespace=x`; see the crate page for all options.
    ///
    /// # Errors
    /// `Invalid` for another scheme or an option that does not exist or has a bad value, and those of [`PostgresBuilder::open`].
    pub async fn open_url(url: StoreUrl) -> Result<Self> {
        PostgresBuilder::from_url(url)?.open().await
    }

    /// The store as an engine takes it, with all four traits.
    pub fn into_store(self) -> Store {
        Store::from_backend(self.shared.namespace.clone(), self)
    }

    pub(crate) fn from_shared(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        Self { writer: Writer::new(shared.clone()), shared }
    }
}

impl fmt::Display for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres({})", self.shared.place)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("place", &self.shared.place)
            .field("schema", &self.shared.sql.schema)
            .field("namespace", &self.shared.namespace)
            .field("pool", &self.shared.pool)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SnapshotStorage for Postgres {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_durable(true).with_shared(true).with_sql(true).with_max_record_bytes(MAX_RECORD_BYTES)
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let records = records.into_iter().map(SnapshotRecord::standing_alone).collect::<Result<_>>()?;
        append::append(&self.writer, records).await
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        history::load(&self.shared, saga, &at).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        history::list(self.shared.clone(), query)
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        sagas::sagas(self.shared.clone(), query)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        prune::prune(&self.shared, request).await
    }
}

#[async_trait]
impl LogStorage for Postgres {
    async fn append_log(&self, stream: &str, expected_len: u64, entries: Vec<Bytes>) -> Result<u64> {
        logs::append(&self.shared, stream, expected_len, &entries).await
    }

    fn read_log(&self, stream: &str, from: u64, limit: u64) -> BoxStream<'static, Result<LogEntry>> {
        logs::read(self.shared.clone(), stream.to_owned(), from, limit)
    }

    fn streams(&self, prefix: &str) -> BoxStream<'static, Result<StreamInfo>> {
        logs::streams(self.shared.clone(), prefix.to_owned())
    }

    async fn delete_log(&self, stream: &str) -> Result<bool> {
        logs::delete(&self.shared, stream).await
    }
}

#[async_trait]
impl CellStorage for Postgres {
    async fn get_cell(&self, key: &str) -> Result<Option<Cell>> {
        cells::get(&self.shared, key).await
    }

    async fn put_cell(&self, key: &str, value: Bytes, condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64> {
        cells::put(&self.shared, key, &value, condition, expires_at).await
    }

    async fn delete_cell(&self, key: &str, condition: If) -> Result<bool> {
        cells::delete(&self.shared, key, condition).await
    }

    fn scan_cells(&self, prefix: &str) -> BoxStream<'static, Result<(String, Cell)>> {
        cells::scan(self.shared.clone(), prefix.to_owned())
    }
}

#[async_trait]
impl BlobStorage for Postgres {
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest> {
        blobs::put(&self.shared, &bytes).await
    }

    async fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>> {
        blobs::get(&self.shared, digest).await
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        blobs::delete(&self.shared, digest).await
    }
}
