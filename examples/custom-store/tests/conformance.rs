//! The journal keeps the contract of all stores.

use std::process::ExitCode;

use example_custom_store::JournalStore;
use replay_conformance::{Fixture, Offers};
use replay_core::{Error, ErrorKind, ManualClock, Namespace, Result, Store, storage::Capabilities};
use tempfile::TempDir;

struct Journal(TempDir);

impl Fixture for Journal {
    const NAME: &'static str = "journal";
    const OFFERS: Offers = Offers::SNAPSHOTS;

    fn capabilities() -> Capabilities {
        Capabilities::default().with_durable(true).with_shared(true)
    }

    async fn create(_: ManualClock) -> Result<Self> {
        TempDir::new().map(Self).map_err(|e| Error::new(ErrorKind::Unavailable, "make folder").caused_by(e))
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        JournalStore::open(self.0.path(), namespace)
    }
}

fn main() -> ExitCode {
    replay_conformance::run::<Journal>()
}
