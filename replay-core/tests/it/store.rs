//! The store that these tests run on.

use replay_core::Store;
use replay_storage_memory::Memory;

/// An empty store.
pub(crate) async fn store() -> Store {
    Memory::new().into_store()
}
