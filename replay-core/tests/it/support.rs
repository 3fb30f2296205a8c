//! What the tests share: a saga that writes down what it does, and a runner on a memory store.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use futures::{TryStreamExt, stream::BoxStream};
use replay_core::{
    Clock, Error, IdSource, ManualClock, Result, SagaId, SnapshotRecord, Store, SystemClock,
    saga::{Runner, Saga, SagaBuilder, SnapshotPolicy, StartOptions, StepError},
    storage::{At, Capabilities, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};
use serde_json::{Value, json};

pub(crate) use crate::store::store;

pub(crate) type Journal = Arc<Mutex<Vec<String>>>;

/// A clock that never makes a test wait. It starts now, since the store judges leases by the system's clock.
pub(crate) fn clock() -> ManualClock {
    ManualClock::auto_advance(SystemClock.now())
}

/// A runner with its own id.
pub(crate) fn runner(store: &Store) -> Runner {
    runner_at(store, &clock())
}

pub(crate) fn runner_at(store: &Store, clock: &ManualClock) -> Runner {
    static SEED: AtomicU64 = AtomicU64::new(1);
    let ids = IdSource::seeded(SEED.fetch_add(1, Ordering::Relaxed));
    Runner::builder(store.clone()).clock(Arc::new(clock.clone())).ids(Arc::new(ids)).build()
}

pub(crate) fn named(saga: &str) -> StartOptions {
    StartOptions::default().with_id(id(saga))
}

pub(crate) fn policy(change: impl FnOnce(SnapshotPolicy) -> SnapshotPolicy) -> SnapshotPolicy {
    change(SnapshotPolicy::default())
}

pub(crate) fn id(text: &str) -> SagaId {
    SagaId::new(text).unwrap()
}

/// Adds a step that writes its name into the journal and the context, and fails if the context says `fail: <name>`; its compensation
/// does the reverse.
pub(crate) fn noting(builder: SagaBuilder<Value>, journal: &Journal, name: &'static str) -> SagaBuilder<Value> {
    let (does, undoes) = (journal.clone(), journal.clone());
    builder
        .step_with(name, move |cx, mut context: Value| {
            does.lock().unwrap().push(format!("+{name} {}", cx.idempotency_key()));
            async move {
                if context["fail"] == name {
                    return Err(StepError::new("told to fail"));
                }
                context[name] = json!("done");
                Ok(context)
            }
        })
        .compensate(move |mut context: Value| {
            undoes.lock().unwrap().push(format!("-{name}"));
            async move {
                context[name] = json!("undone");
                Ok(context)
            }
        })
}

/// What the journal says, without idempotency keys.
pub(crate) fn noted(journal: &Journal) -> Vec<String> {
    journal.lock().unwrap().iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

pub(crate) fn order(journal: &Journal) -> Saga<Value> {
    let builder = Saga::builder("order");
    let builder = noting(builder, journal, "reserve");
    let builder = noting(builder, journal, "charge");
    noting(builder, journal, "ship").build().unwrap()
}

pub(crate) async fn history(store: &Store, saga: &SagaId) -> Vec<SnapshotRecord> {
    store.snapshots().list(SnapshotQuery::new(saga.clone())).try_collect().await.unwrap()
}

/// Each record in short: `phase:step status`.
pub(crate) async fn phases(store: &Store, saga: &SagaId) -> Vec<String> {
    let describe = |r: &SnapshotRecord| format!("{}:{} {}", r.phase, r.step_name().unwrap_or("-"), r.status);
    history(store, saga).await.iter().map(describe).collect()
}

/// A store whose appends fail, or are followed by something, as `on_append` says for the n-th one, from 1.
pub(crate) struct Troubled<F> {
    inner: Arc<dyn SnapshotStorage>,
    appends: AtomicU64,
    on_append: F,
}

/// What happens to an append.
pub(crate) enum Trouble {
    None,
    /// It fails and was not applied.
    Refused(Error),
    /// It fails although it was applied.
    Lost(Error),
}

pub(crate) fn troubled(store: &Store, on_append: impl Fn(u64) -> Trouble + Send + Sync + 'static) -> Store {
    let inner = store.snapshots().clone();
    store.clone().with_snapshots(Arc::new(Troubled { inner, appends: AtomicU64::new(0), on_append }))
}

impl<F> fmt::Debug for Troubled<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl<F> fmt::Display for Troubled<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "troubled({})", self.inner)
    }
}

#[async_trait]
impl<F: Fn(u64) -> Trouble + Send + Sync + 'static> SnapshotStorage for Troubled<F> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        match (self.on_append)(self.appends.fetch_add(1, Ordering::SeqCst) + 1) {
            Trouble::None => self.inner.append(records).await,
            Trouble::Refused(error) => Err(error),
            Trouble::Lost(error) => {
                self.inner.append(records).await?;
                Err(error)
            }
        }
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        self.inner.load(saga, at).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        self.inner.list(query)
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        self.inner.sagas(query)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.inner.prune(request).await
    }
}
