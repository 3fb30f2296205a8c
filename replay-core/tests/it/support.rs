//! What the tests share: a saga that writes down what it does, and a runner on a memory store.

use std::sync::{Arc, Mutex};

use futures::TryStreamExt;
use replay_core::{
    IdSource, ManualClock, SagaId, SnapshotRecord, Store,
    saga::{Runner, Saga, SagaBuilder, StepError},
    storage::SnapshotQuery,
};
use replay_storage_memory::Memory;
use serde_json::{Value, json};

pub(crate) type Journal = Arc<Mutex<Vec<String>>>;

pub(crate) fn store() -> Store {
    Memory::new().into_store()
}

pub(crate) fn runner(store: &Store) -> Runner {
    let clock = ManualClock::auto_advance("2026-01-01T00:00:00Z".parse().unwrap());
    Runner::builder(store.clone()).clock(Arc::new(clock)).ids(Arc::new(IdSource::seeded(1))).build()
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
