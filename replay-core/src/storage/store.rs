use std::{fmt, sync::Arc};

use super::{BlobStorage, CellStorage, LogStorage, SnapshotStorage};
use crate::{Error, Namespace, Result};

/// A store handle: the traits that one backend offers for one namespace. Clones are cheap and share the backend.
#[derive(Clone)]
pub struct Store(Arc<Parts>);

#[derive(Clone)]
struct Parts {
    namespace: Namespace,
    snapshots: Arc<dyn SnapshotStorage>,
    logs: Option<Arc<dyn LogStorage>>,
    cells: Option<Arc<dyn CellStorage>>,
    blobs: Option<Arc<dyn BlobStorage>>,
}

impl Store {
    /// A store of snapshots alone: enough for sagas, replay and time travel.
    pub fn new(namespace: Namespace, snapshots: Arc<dyn SnapshotStorage>) -> Self {
        Self(Arc::new(Parts { namespace, snapshots, logs: None, cells: None, blobs: None }))
    }

    /// A store whose four traits one value implements.
    pub fn from_backend<B>(namespace: Namespace, backend: B) -> Self
    where
        B: SnapshotStorage + LogStorage + CellStorage + BlobStorage,
    {
        let backend = Arc::new(backend);
        Self::new(namespace, backend.clone()).with_logs(backend.clone()).with_cells(backend.clone()).with_blobs(backend)
    }

    fn change(mut self, change: impl FnOnce(&mut Parts)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The same store with other snapshots, such as the same ones behind a wrapper.
    #[must_use]
    pub fn with_snapshots(self, snapshots: Arc<dyn SnapshotStorage>) -> Self {
        self.change(|parts| parts.snapshots = snapshots)
    }

    /// The same store with these logs.
    #[must_use]
    pub fn with_logs(self, logs: Arc<dyn LogStorage>) -> Self {
        self.change(|parts| parts.logs = Some(logs))
    }

    /// The same store with these cells.
    #[must_use]
    pub fn with_cells(self, cells: Arc<dyn CellStorage>) -> Self {
        self.change(|parts| parts.cells = Some(cells))
    }

    /// The same store with these blobs.
    #[must_use]
    pub fn with_blobs(self, blobs: Arc<dyn BlobStorage>) -> Self {
        self.change(|parts| parts.blobs = Some(blobs))
    }

    /// The namespace that the handle sees.
    pub fn namespace(&self) -> &Namespace {
        &self.0.namespace
    }

    /// The histories of sagas.
    pub fn snapshots(&self) -> &Arc<dyn SnapshotStorage> {
        &self.0.snapshots
    }

    /// The logs.
    ///
    /// # Errors
    /// `Unsupported`, naming the trait, if the store has none.
    pub fn logs(&self) -> Result<&Arc<dyn LogStorage>> {
        self.0.logs.as_ref().ok_or_else(|| self.lacks("LogStorage"))
    }

    /// The cells.
    ///
    /// # Errors
    /// `Unsupported`, naming the trait, if the store has none.
    pub fn cells(&self) -> Result<&Arc<dyn CellStorage>> {
        self.0.cells.as_ref().ok_or_else(|| self.lacks("CellStorage"))
    }

    /// The blobs.
    ///
    /// # Errors
    /// `Unsupported`, naming the trait, if the store has none.
    pub fn blobs(&self) -> Result<&Arc<dyn BlobStorage>> {
        self.0.blobs.as_ref().ok_or_else(|| self.lacks("BlobStorage"))
    }

    fn lacks(&self, what: &'static str) -> Error {
        Error::unsupported("use store", format!("{} does not implement {what}", self.0.snapshots))
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.snapshots.fmt(f)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("snapshots", &self.0.snapshots)
            .field("namespace", &self.0.namespace)
            .field("logs", &self.0.logs.is_some())
            .field("cells", &self.0.cells.is_some())
            .field("blobs", &self.0.blobs.is_some())
            .finish()
    }
}
