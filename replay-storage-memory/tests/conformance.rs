//! The memory store keeps the contract of all stores.

use std::process::ExitCode;

use replay_conformance::Fixture;
use replay_core::{ManualClock, Namespace, Result, Store, storage::Capabilities};
use replay_storage_memory::Memory;

struct InMemory(Memory);

impl Fixture for InMemory {
    const NAME: &'static str = "memory";

    fn capabilities() -> Capabilities {
        Capabilities::default()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        Ok(Self(Memory::builder().clock(std::sync::Arc::new(clock)).build()))
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        Ok(self.0.in_namespace(namespace).into_store())
    }
}

fn main() -> ExitCode {
    replay_conformance::run::<InMemory>()
}
