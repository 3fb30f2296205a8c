//! Layers keep the contract of all stores.

use std::{process::ExitCode, sync::Arc};

use replay_conformance::{Fixture, Offers, Suite};
use replay_core::{
    ManualClock, Namespace, Result, Store,
    layer::{FaultPlan, Faulting, Instrumented},
    storage::{Capabilities, SnapshotStorage},
};
use replay_storage_memory::Memory;

/// The memory store behind a layer.
struct Layered<const LAYER: usize>(Memory);

const NAMES: [&str; 2] = ["faulting(memory)", "instrumented(memory)"];

impl<const LAYER: usize> Fixture for Layered<LAYER> {
    const NAME: &'static str = NAMES[LAYER];
    const OFFERS: Offers = Offers::SNAPSHOTS;

    fn capabilities() -> Capabilities {
        Capabilities::default()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        Ok(Self(Memory::builder().clock(Arc::new(clock)).build()))
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        let memory = self.0.in_namespace(namespace.clone());
        let snapshots: Arc<dyn SnapshotStorage> = match LAYER {
            0 => Arc::new(Faulting::new(memory, FaultPlan::new())),
            _ => Arc::new(Instrumented::new(Arc::new(memory))),
        };
        Ok(Store::new(namespace, snapshots))
    }
}

fn main() -> ExitCode {
    Suite::new().with::<Layered<0>>().with::<Layered<1>>().run()
}
