use std::{collections::HashMap, fmt, sync::Arc};

use parking_lot::Mutex;
use replay_core::{Clock, Namespace, Result, Store, storage::StoreUrl};

use crate::{blobs::Blobs, builder::MemoryBuilder, cells::Cells, logs::Logs, snapshots::Snapshots};

/// A store that keeps everything in memory. Clones share what is stored; what is stored goes with the last of them.
#[derive(Clone)]
pub struct Memory {
    namespace: Namespace,
    world: Arc<World>,
    worlds: Arc<Worlds>,
}

/// What is stored, by namespace.
struct Worlds {
    clock: Arc<dyn Clock>,
    by_namespace: Mutex<HashMap<Namespace, Arc<World>>>,
}

/// What one namespace holds.
pub(crate) struct World {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) snapshots: Snapshots,
    pub(crate) logs: Logs,
    pub(crate) cells: Cells,
    pub(crate) blobs: Blobs,
}

impl Worlds {
    fn get(&self, namespace: &Namespace) -> Arc<World> {
        let new = || {
            Arc::new(World {
                clock: self.clock.clone(),
                snapshots: Snapshots::default(),
                logs: Logs::default(),
                cells: Cells::default(),
                blobs: Blobs::default(),
            })
        };
        self.by_namespace.lock().entry(namespace.clone()).or_insert_with(new).clone()
    }
}

impl Memory {
    /// A new, empty store in the namespace `default`, on the system's clock.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A new store with other settings.
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder::default()
    }

    /// A new, empty store for `memory:` or `memory:?namespace=NAME`.
    ///
    /// # Errors
    /// `Invalid` for another URL or an unknown option.
    pub fn open_url(url: StoreUrl) -> Result<Self> {
        MemoryBuilder::from_url(url).map(MemoryBuilder::build)
    }

    pub(crate) fn build(namespace: Namespace, clock: Arc<dyn Clock>) -> Self {
        let worlds = Arc::new(Worlds { clock, by_namespace: Mutex::default() });
        Self { world: worlds.get(&namespace), namespace, worlds }
    }

    /// A handle on another namespace of the same store.
    #[must_use]
    pub fn in_namespace(&self, namespace: Namespace) -> Self {
        Self { world: self.worlds.get(&namespace), namespace, worlds: self.worlds.clone() }
    }

    /// The store handle with all four traits.
    pub fn into_store(self) -> Store {
        Store::from_backend(self.namespace.clone(), self)
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.world
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory")
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
