//! Steps and contexts that are bad for whoever touches them: their saga fails, and its neighbours on the same runner do not notice.

use std::{sync::Arc, time::Duration};

use replay_core::{
    Error, ErrorKind, FailureKind, SagaId, SagaStatus, Store,
    layer::{Call, FaultPlan, Faulting},
    saga::{RetryPolicy, Runner, Saga, SagaBuilder, StartOptions, StepError, StopSignal},
    storage::At,
};
use replay_e2e::{
    clock::{self, VirtualClock},
    history,
};
use replay_storage_memory::Memory;
use replay_storage_sqlite::Sqlite;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

fn named(id: &str) -> StartOptions {
    StartOptions::default().with_id(SagaId::new(id).unwrap())
}

fn runner(store: &Store, clock: &VirtualClock) -> Runner {
    // Hours pass here; a lease of days keeps heartbeats from writing all the while.
    Runner::builder(store.clone()).clock(Arc::new(clock.clone())).lease(Duration::from_hours(72)).build()
}

/// Runs `test` in virtual time on a memory store and on a SQLite store.
fn on_each_store(test: impl AsyncFn(Store, VirtualClock)) {
    clock::runtime().block_on(async {
        test(Memory::new().into_store(), VirtualClock::new()).await;
        let dir = tempfile::tempdir().unwrap();
        let sqlite = Sqlite::builder(dir.path().join("store.db")).open().await.unwrap();
        test(sqlite.into_store(), VirtualClock::new()).await;
    });
}

/// A saga with a step that can be taken back before what `poison` adds, and one after.
fn poisoned(poison: impl FnOnce(SagaBuilder<Value>) -> SagaBuilder<Value>) -> Saga<Value> {
    let pass = |context: Value| async move { Ok(context) };
    poison(Saga::builder("poisoned").step("before", pass).compensate(pass)).step("after", pass).build().unwrap()
}

/// A healthy saga of twenty steps that takes turns with others.
fn healthy() -> Saga<Value> {
    let step = |mut context: Value| async move {
        tokio::task::yield_now().await;
        context["n"] = json!(context["n"].as_u64().unwrap_or_default() + 1);
        Ok(context)
    };
    (0..20).fold(Saga::builder("healthy"), |saga, number| saga.step(format!("s{number}"), step)).build().unwrap()
}

/// Runs a poisoned saga among three healthy ones; gives the message of its failure.
async fn among_neighbours(store: &Store, clock: &VirtualClock, poison: Saga<Value>, kind: FailureKind) -> String {
    let (runner, healthy) = (runner(store, clock), healthy());
    let neighbours = ["n1", "n2", "n3"].map(|id| runner.start_with(&healthy, json!({}), named(id)));
    let (report, neighbours) = futures::join!(runner.start_with(&poison, json!({}), named("p")), futures::future::join_all(neighbours));
    for neighbour in neighbours {
        let neighbour = neighbour.unwrap();
        assert_eq!((neighbour.status, &neighbour.context["n"]), (SagaStatus::Completed, &json!(20)));
        history::check(&history::load(store, &neighbour.saga_id).await.unwrap(), false).unwrap();
    }
    let report = report.unwrap();
    let failure = report.failure.unwrap();
    assert_eq!((report.status, failure.kind, failure.step.as_deref()), (SagaStatus::RolledBack, kind, Some("poison")), "{failure}");
    history::check(&history::load(store, &report.saga_id).await.unwrap(), false).unwrap();
    failure.message.clone()
}

#[test]
fn a_panic_in_a_step_fails_its_saga_alone() {
    on_each_store(async |store, clock| {
        let poison = poisoned(|saga| saga.step("poison", |_| async move { std::panic::resume_unwind(Box::new("boom")) }));
        assert_eq!(among_neighbours(&store, &clock, poison, FailureKind::Panic).await, "boom");
    });
}

#[test]
fn a_panic_before_a_step_has_a_future_fails_its_saga_alone() {
    on_each_store(async |store, clock| {
        let step = |context: Value| {
            if context["n"].is_null() {
                std::panic::resume_unwind(Box::new("boom"));
            }
            async move { Ok(context) }
        };
        let poison = poisoned(|saga| saga.step("poison", step));
        assert_eq!(among_neighbours(&store, &clock, poison, FailureKind::Panic).await, "boom");
    });
}

#[test]
fn a_step_that_would_be_retried_for_ever_ends_with_its_policy_or_its_saga_is_stopped() {
    on_each_store(async |store, clock| {
        let fails = |_| async move { Err(StepError::new("not today")) };
        let poison = poisoned(|saga| saga.step("poison", fails).retry(RetryPolicy::attempts(1000)));
        assert_eq!(among_neighbours(&store, &clock, poison, FailureKind::Error).await, "not today");
        let endless = poisoned(|saga| saga.step("poison", fails).retry(RetryPolicy::attempts(u32::MAX)));
        let (stop, runner) = (StopSignal::new(), runner(&store, &clock));
        let started = runner.start_with(&endless, json!({}), named("endless").with_stop(stop.clone()));
        let stopped = async {
            replay_core::Clock::sleep(&clock, Duration::from_hours(1)).await;
            stop.cancel();
        };
        assert_eq!(futures::join!(started, stopped).0.unwrap().status, SagaStatus::RolledBack);
    });
}

#[test]
fn a_step_that_never_ends_fails_with_its_timeout() {
    on_each_store(async |store, clock| {
        let poison = poisoned(|saga| saga.step("poison", |_| futures::future::pending()).timeout(Duration::from_hours(1)));
        among_neighbours(&store, &clock, poison, FailureKind::Timeout).await;
    });
}

#[test]
fn a_context_of_100_mb_is_refused_with_step_and_size() {
    // No store ever sees it.
    clock::runtime().block_on(async {
        let (store, clock) = (Memory::new().into_store(), VirtualClock::new());
        let large = || Value::from("x".repeat(100 << 20));
        let poison = poisoned(|saga| saga.step("poison", move |_| async move { Ok(json!({"large": large()})) }));
        let message = among_neighbours(&store, &clock, poison, FailureKind::Capture).await;
        assert!(message.contains("limit exceeded") && message.contains("104857612"), "{message}");
        let error = runner(&store, &clock).start_with(&healthy(), large(), named("large")).await.unwrap_err();
        assert_eq!((error.kind(), error.fact("bytes")), (ErrorKind::LimitExceeded, Some("104857602")));
        assert!(store.snapshots().load(&SagaId::new("large").unwrap(), At::Latest).await.unwrap().is_none());
    });
}

#[test]
fn a_context_of_500_levels_goes_through_steps_a_wave_and_a_resume() {
    on_each_store(async |store, clock| {
        let deep = (0..500).fold(json!("bottom"), |inner, _| json!({ "d": inner }));
        let stop = StopSignal::new();
        let signal = stop.clone();
        let pass = |context: Value| async move { Ok(context) };
        let saga = Saga::builder("deep").step("a", move |context: Value| {
            signal.interrupt();
            async move { Ok(context) }
        });
        let saga = saga.step("b", pass).needs(["a"]).step("c", pass).needs(["a"]).step("d", pass).needs(["b", "c"]).build().unwrap();
        let (runner, id) = (runner(&store, &clock), SagaId::new("deep").unwrap());
        let report = runner.start_with(&saga, deep.clone(), named("deep").with_stop(stop)).await.unwrap();
        assert!(report.interrupted);
        let report = runner.resume(&saga, &id).await.unwrap();
        assert!(report.is_completed() && report.context == deep);
        let newest = store.snapshots().load(&id, At::Latest).await.unwrap().unwrap();
        assert!(newest.decode().unwrap().context().unwrap() == deep);
    });
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Measured {
    values: Vec<f64>,
}

#[test]
fn a_number_that_json_cannot_hold_fails_its_saga_and_names_the_place() {
    on_each_store(async |store, clock| {
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let saga = Saga::builder("measured")
                .step("measure", move |mut context: Measured| async move {
                    context.values.push(wrong);
                    Ok(context)
                })
                .build()
                .unwrap();
            let runner = runner(&store, &clock);
            let report = runner.start(&saga, Measured { values: vec![0.0] }).await.unwrap();
            let failure = report.failure.unwrap();
            assert_eq!((report.status, failure.kind, failure.step.as_deref()), (SagaStatus::Failed, FailureKind::Capture, Some("measure")));
            assert!(failure.message.contains("/values/1"), "{failure}");
            let error = runner.start(&saga, Measured { values: vec![wrong] }).await.unwrap_err();
            assert_eq!((error.kind(), error.fact("place")), (ErrorKind::Invalid, Some("/values/0")));
        }
    });
}

#[test]
fn bytes_that_are_no_utf_8_in_the_stores_column_are_an_integrity_error_of_that_saga_alone() {
    clock::runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let (store, clock) = (Sqlite::builder(&path).open().await.unwrap().into_store(), VirtualClock::new());
        let runner = runner(&store, &clock);
        for id in ["bad", "good"] {
            let stop = StopSignal::new();
            let report = runner.start_with(&interrupted(&stop), json!({}), named(id).with_stop(stop)).await.unwrap();
            assert!(report.interrupted);
        }
        let saga = interrupted(&StopSignal::new());
        let sql = rusqlite::Connection::open(&path).unwrap();
        let of_the_bad = "saga_no = (SELECT saga_no FROM sagas WHERE saga_id = 'bad')";
        assert_eq!(sql.execute(&format!("UPDATE records SET context = CAST(x'ff7bfe' AS TEXT) WHERE {of_the_bad}"), []).unwrap(), 2);
        let error: Error = runner.resume(&saga, &SagaId::new("bad").unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Integrity, "{error:?}");
        assert!(error.to_string().contains("bad"), "it names the record: {error}");
        assert!(runner.resume(&saga, &SagaId::new("good").unwrap()).await.unwrap().is_completed());
    });
}

/// A saga whose first step asks for a stop, so that its first run leaves two records.
fn interrupted(stop: &StopSignal) -> Saga<Value> {
    let stop = stop.clone();
    let step = move |context: Value| {
        stop.interrupt();
        async move { Ok(context) }
    };
    Saga::builder("interrupted").step("a", step).step("b", |context: Value| async move { Ok(context) }).build().unwrap()
}

#[test]
fn a_saga_that_a_full_store_stopped_is_completed_once_there_is_room() {
    on_each_store(async |store, clock| {
        let plan = FaultPlan::new();
        for append in 6..=10 {
            plan.fail_with(Call::Append, append, ErrorKind::StoreFull);
        }
        let full = store.clone().with_snapshots(Arc::new(Faulting::new(store.snapshots().clone(), plan.clone())));
        let (runner, saga, id) = (runner(&full, &clock), healthy(), SagaId::new("f").unwrap());
        let error = runner.start_with(&saga, json!({}), named("f")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreFull, "{error:?}");
        assert_eq!(history::load(&store, &id).await.unwrap().len(), 5);
        let report = runner.resume(&saga, &id).await.unwrap();
        assert!(report.is_completed());
        assert_eq!((report.context["n"].as_u64(), report.steps.len()), (Some(20), 16), "four steps were acknowledged");
        history::check(&history::load(&store, &id).await.unwrap(), false).unwrap();
    });
}
