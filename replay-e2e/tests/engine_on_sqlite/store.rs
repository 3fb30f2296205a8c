//! The store that these tests run on.

use replay_core::Store;
use replay_storage_sqlite::{Durability, Sqlite};

use crate::support::{Trouble, troubled};

/// An empty store in a folder that goes with it. What a power cut would lose does not matter here.
pub(crate) async fn store() -> Store {
    let dir = tempfile::tempdir().unwrap();
    let store = Sqlite::builder(dir.path().join("test.db")).durability(Durability::Normal).open().await.unwrap().into_store();
    troubled(&store, move |_| {
        let _kept = &dir;
        Trouble::None
    })
}
