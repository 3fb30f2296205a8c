//! Replaying sagas.

mod batch;
mod effects;
mod lineage;
mod log;
mod refusals;
mod runs;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use replay_core::{
    Store,
    json::Override,
    replay::LocalReplay,
    saga::{AnySaga, Registry, Runner, Saga},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::*;

/// What replays with `saga` on `runner`.
fn replays(runner: &Runner, saga: impl AnySaga) -> LocalReplay {
    LocalReplay::new(runner.clone(), Arc::new(Registry::new().with(saga)))
}

/// The order saga, run once with `context` as `o`; what it did is forgotten.
async fn ran(store: &Store, context: Value) -> (Runner, LocalReplay, Journal) {
    let journal = Journal::default();
    let runner = runner(store);
    let saga = order(&journal);
    runner.start_with(&saga, context, named("o")).await.unwrap();
    journal.lock().unwrap().clear();
    let replay = replays(&runner, saga);
    (runner, replay, journal)
}

/// The override that mends a context that says `fail`.
fn mended() -> Override {
    Override::from_document(json!({"fail": null})).unwrap()
}

/// The idempotency keys that the journal has for the step `name`.
fn keys_of(journal: &Journal, name: &str) -> Vec<String> {
    let start = format!("+{name} ");
    journal.lock().unwrap().iter().filter_map(|line| line.strip_prefix(&start).map(str::to_owned)).collect()
}

/// Holds a step up until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(AtomicBool, Notify)>);

impl Gate {
    fn open(&self) {
        self.0.0.store(true, Ordering::SeqCst);
    }

    /// Called by the step: goes on if the gate is open, else never.
    async fn pass(&self) {
        if !self.0.0.load(Ordering::SeqCst) {
            self.0.1.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Until a step is held up.
    async fn reached(&self) {
        self.0.1.notified().await;
    }
}

/// As [`order`], with a gate before `ship` ends.
fn gated_order(journal: &Journal, gate: &Gate) -> Saga<Value> {
    let builder = noting(noting(Saga::builder("order"), journal, "reserve"), journal, "charge");
    let (gate, does) = (gate.clone(), journal.clone());
    builder
        .step_with("ship", move |cx, mut context: Value| {
            does.lock().unwrap().push(format!("+ship {}", cx.idempotency_key()));
            let gate = gate.clone();
            async move {
                gate.pass().await;
                context["ship"] = json!("done");
                Ok(context)
            }
        })
        .compensate(|context: Value| async move { Ok(context) })
        .build()
        .unwrap()
}
