//! The promises of every store, held by this one.
#![allow(clippy::expect_used, reason = "a fixture is part of the tests")]

use std::{process::ExitCode, sync::Arc};

use replay_conformance::Fixture;
use replay_core::{ManualClock, Namespace, Result, Store, storage::Capabilities};
use replay_storage_sqlite::{Durability, Sqlite};
use tempfile::TempDir;

struct File {
    folder: TempDir,
    clock: ManualClock,
}

impl Fixture for File {
    const NAME: &'static str = "sqlite";

    fn capabilities() -> Capabilities {
        Capabilities::default().with_durable(true).with_shared(true).with_sql(true).with_max_record_bytes(1_000_000_000)
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir().expect("a temporary folder"), clock })
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        let path = self.folder.path().join("store.db");
        // What survives the loss of power cannot be seen here, and syncs only make the cases slow.
        let builder = Sqlite::builder(path).namespace(namespace).durability(Durability::Normal).clock(Arc::new(self.clock.clone()));
        Ok(builder.open().await?.into_store())
    }
}

fn main() -> ExitCode {
    replay_conformance::run::<File>()
}
