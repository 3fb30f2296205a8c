//! Layers around a store: planned faults, and what is said of each call.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use futures::{StreamExt, TryStreamExt};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use replay_conformance::records::{history, saga};
use replay_core::{
    ErrorKind, Retry,
    layer::{CALLS, Call, FaultPlan, Faulting, Instrumented, RECORDS, Rates},
    storage::{At, SagaQuery, SnapshotQuery, SnapshotStorage},
};

use crate::store::store;

async fn faulting() -> (Faulting<Arc<dyn SnapshotStorage>>, FaultPlan) {
    let plan = FaultPlan::new();
    (Faulting::new(store().await.snapshots().clone(), plan.clone()), plan)
}

async fn sequences(store: &impl SnapshotStorage) -> Vec<u64> {
    let records: Vec<_> = store.list(SnapshotQuery::new(saga("order_1"))).try_collect().await.unwrap();
    records.iter().map(|record| record.sequence).collect()
}

#[tokio::test]
async fn the_nth_append_fails_before_it_is_done() {
    let (store, plan) = faulting().await;
    plan.fail(Call::Append, 2);
    let records = history("order_1", 3);
    store.append(vec![records[0].clone()]).await.unwrap();
    let error = store.append(vec![records[1].clone()]).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Safe));
    assert_eq!(sequences(&store).await, [1]);
    store.append(records[1..].to_vec()).await.unwrap();
    assert_eq!((plan.calls(Call::Append), plan.faults()), (3, 1));
}

#[tokio::test]
async fn a_lost_answer_is_ambiguous_and_the_same_append_resolves_it() {
    let (store, plan) = faulting().await;
    plan.lose_answer(Call::Append, 1);
    let records = history("order_1", 2);
    let error = store.append(records.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Ambiguous));
    store.append(records).await.unwrap();
    assert_eq!(sequences(&store).await, [1, 2]);
}

#[tokio::test]
async fn a_store_that_is_away_fails_until_it_is_healed() {
    let (store, plan) = faulting().await;
    plan.fail_from(Call::Load, 2);
    plan.fail_with(Call::Prune, 1, ErrorKind::StoreFull);
    let load = || async { store.load(&saga("order_1"), At::Latest).await.map(|_| ()).map_err(|error| error.kind()) };
    assert_eq!(load().await, Ok(()));
    assert_eq!((load().await, load().await), (Err(ErrorKind::Unavailable), Err(ErrorKind::Unavailable)));
    plan.heal();
    assert_eq!(load().await, Ok(()));
    assert_eq!(plan.faults(), 2);
}

#[tokio::test]
async fn a_listing_fails_at_once_or_breaks_off() {
    let (store, plan) = faulting().await;
    store.append(history("order_1", 3)).await.unwrap();
    plan.fail(Call::List, 1);
    plan.lose_answer(Call::List, 2);
    let list = || store.list(SnapshotQuery::new(saga("order_1"))).map(|item| item.is_ok()).collect::<Vec<_>>();
    assert_eq!(list().await, [false]);
    assert_eq!(list().await, [true, true, true, false]);
    assert_eq!(list().await, [true, true, true]);
}

#[tokio::test]
async fn hooks_run_before_a_call_and_after_it_was_done() {
    let (store, plan) = faulting().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    for (nth, word) in [(1, "first"), (2, "second")] {
        let (before, after) = (seen.clone(), seen.clone());
        plan.before(Call::Append, nth, move || before.lock().unwrap().push(format!("before the {word}")));
        plan.after(Call::Append, nth, move || after.lock().unwrap().push(format!("after the {word}")));
    }
    plan.fail(Call::Append, 2);
    let records = history("order_1", 2);
    store.append(vec![records[0].clone()]).await.unwrap();
    store.append(vec![records[1].clone()]).await.unwrap_err();
    assert_eq!(*seen.lock().unwrap(), ["before the first", "after the first", "before the second"]);
}

#[tokio::test]
async fn random_faults_are_the_same_for_the_same_seed() {
    let run = |seed| async move {
        let (store, plan) = faulting().await;
        plan.at_random(seed, Rates::default().with_fail(0.3).with_lose_answer(0.3));
        let mut outcomes = Vec::new();
        for record in history("order_1", 40) {
            // An append is repeated until it is known to be done.
            loop {
                let result = store.append(vec![record.clone()]).await.map_err(|error| error.retry_advice());
                outcomes.push(result);
                if result.is_ok() {
                    break;
                }
            }
        }
        plan.heal();
        assert_eq!(sequences(&store).await.len(), 40);
        outcomes
    };
    let outcomes = run(7).await;
    assert_eq!(outcomes, run(7).await);
    assert_ne!(outcomes, run(8).await);
    for expected in [Err(Retry::Safe), Err(Retry::Ambiguous)] {
        assert!(outcomes.contains(&expected), "{expected:?}");
    }
}

/// Keeps counters by name and labels.
#[derive(Default)]
struct Counters(Mutex<Vec<(String, Arc<AtomicU64>)>>);

struct Cell(Arc<AtomicU64>);

impl CounterFn for Cell {
    fn increment(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    fn absolute(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        let mut counters = self.0.lock().unwrap();
        let at = counters.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
            counters.push((name, Arc::default()));
            counters.len() - 1
        });
        Counter::from_arc(Arc::new(Cell(counters[at].1.clone())))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

impl Counters {
    fn get(&self, name: &str, labels: &str) -> u64 {
        let name = format!("{name} {labels}");
        self.0.lock().unwrap().iter().find(|(other, _)| *other == name).map_or(0, |(_, count)| count.load(Ordering::Relaxed))
    }
}

#[test]
fn each_call_is_counted_with_its_outcome() {
    let counters = Counters::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let name = metrics::with_local_recorder(&counters, || {
        runtime.block_on(async {
            let store = Instrumented::new(store().await.snapshots().clone());
            let records = history("order_1", 4);
            store.append(records[..2].to_vec()).await.unwrap();
            store.append(vec![records[3].clone()]).await.unwrap_err();
            store.load(&saga("order_1"), At::Latest).await.unwrap();
            assert_eq!(sequences(&store).await, [1, 2]);
            store.list(SnapshotQuery::new(saga("order_1"))).next().await.unwrap().unwrap();
            drop(store.sagas(SagaQuery::default()));
            store.to_string()
        })
    });
    let inner = name.strip_prefix("instrumented(").unwrap().strip_suffix(')').unwrap();
    let calls = |operation: &str, outcome: &str| counters.get(CALLS, &format!("store={inner} operation={operation} outcome={outcome}"));
    let records = |operation: &str| counters.get(RECORDS, &format!("store={inner} operation={operation}"));
    assert_eq!((calls("append", "ok"), calls("append", "conflict"), records("append")), (1, 1, 2));
    assert_eq!((calls("load", "ok"), records("load")), (1, 1));
    assert_eq!((calls("list", "ok"), calls("list", "dropped"), records("list")), (1, 1, 3));
    assert_eq!(calls("sagas", "dropped"), 0, "a stream that was never polled asked nothing");
}
