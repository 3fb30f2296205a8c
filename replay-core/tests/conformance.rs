//! Layers keep the contract of all stores.

use std::{
    collections::HashMap,
    fmt,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use chrono::TimeDelta;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use replay_conformance::{Fixture, Offers, Suite};
use replay_core::{
    Clock, Error, ManualClock, Namespace, Result, SagaId, SnapshotRecord, Store,
    layer::{Cached, FaultPlan, Faulting, Instrumented, Tiered},
    storage::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};
use replay_storage_memory::Memory;

/// The memory store behind a layer.
struct Layered<const LAYER: usize>(Memory, Memory);

const NAMES: [&str; 4] = ["faulting(memory)", "instrumented(memory)", "tiered(memory, memory)", "cached(memory)"];

impl<const LAYER: usize> Fixture for Layered<LAYER> {
    const NAME: &'static str = NAMES[LAYER];
    const OFFERS: Offers = Offers::SNAPSHOTS;

    fn capabilities() -> Capabilities {
        Capabilities::default()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        let memory = || Memory::builder().clock(Arc::new(clock.clone())).build();
        Ok(Self(memory(), memory()))
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        let memory = self.0.in_namespace(namespace.clone());
        let snapshots: Arc<dyn SnapshotStorage> = match LAYER {
            0 => Arc::new(Faulting::new(memory, FaultPlan::new())),
            1 => Arc::new(Instrumented::new(Arc::new(memory))),
            2 => Arc::new(Tiered::new(Arc::new(memory), Arc::new(self.1.in_namespace(namespace.clone())), Duration::ZERO)),
            _ => Arc::new(Cached::new(memory)),
        };
        Ok(Store::new(namespace, snapshots))
    }
}

/// The memory store behind one cache for each namespace, which remembers for longer than any case lasts.
struct Remembering {
    memory: Memory,
    clock: ManualClock,
    caches: Mutex<HashMap<Namespace, Cached<Memory>>>,
}

impl Fixture for Remembering {
    const NAME: &'static str = "cached(memory), remembering";
    const OFFERS: Offers = Offers::SNAPSHOTS;

    fn capabilities() -> Capabilities {
        Capabilities::default()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        let memory = Memory::builder().clock(Arc::new(clock.clone())).build();
        Ok(Self { memory, clock, caches: Mutex::default() })
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let long = Duration::from_hours(100 * 365 * 24);
        let new = || {
            let cached = Cached::new(self.memory.in_namespace(namespace.clone()));
            cached.with_max_stale(long).with_max_age(long).with_clock(Arc::new(self.clock.clone()))
        };
        let cached = caches.entry(namespace.clone()).or_insert_with(new).clone();
        Ok(Store::new(namespace, Arc::new(cached)))
    }
}

/// Two memory stores in tiers, between which everything that has ended is moved before each call.
struct Restless {
    hot: Memory,
    cold: Memory,
    clock: ManualClock,
}

impl Fixture for Restless {
    const NAME: &'static str = "restless(tiered(memory, memory))";
    const OFFERS: Offers = Offers::SNAPSHOTS;

    fn capabilities() -> Capabilities {
        Capabilities::default()
    }

    async fn create(clock: ManualClock) -> Result<Self> {
        let memory = || Memory::builder().clock(Arc::new(clock.clone())).build();
        Ok(Self { hot: memory(), cold: memory(), clock })
    }

    async fn open(&self, namespace: Namespace) -> Result<Store> {
        let (hot, cold) = (self.hot.in_namespace(namespace.clone()), self.cold.in_namespace(namespace.clone()));
        // Records of the cases may be of later than the clock says.
        let late = ManualClock::new(self.clock.now() + TimeDelta::days(36_500));
        let tiered = Tiered::new(Arc::new(hot), Arc::new(cold), Duration::ZERO).with_clock(Arc::new(late));
        Ok(Store::new(namespace, Arc::new(Moving(tiered))))
    }
}

/// A tiered store that moves before each call.
#[derive(Debug)]
struct Moving(Tiered);

impl Moving {
    async fn settle(&self) -> Result<()> {
        let report = self.0.move_cold(u64::MAX).await?;
        assert_eq!(report.refusals, []);
        Ok(())
    }

    fn settled<T: Send + 'static>(
        &self,
        list: impl FnOnce(&Tiered) -> BoxStream<'static, Result<T>> + Send + 'static,
    ) -> BoxStream<'static, Result<T>> {
        let moving = Self(self.0.clone());
        let listed = async move {
            moving.settle().await?;
            Ok::<_, Error>(list(&moving.0))
        };
        stream::once(listed).try_flatten().boxed()
    }
}

impl fmt::Display for Moving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl SnapshotStorage for Moving {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        self.settle().await?;
        self.0.append(records).await
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        self.settle().await?;
        self.0.load(saga, at).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        self.settled(|tiered| tiered.list(query))
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        self.settled(|tiered| tiered.sagas(query))
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.settle().await?;
        self.0.prune(request).await
    }
}

fn main() -> ExitCode {
    let suite = Suite::new().with::<Layered<0>>().with::<Layered<1>>().with::<Layered<2>>().with::<Layered<3>>();
    suite.with::<Restless>().with::<Remembering>().run()
}
