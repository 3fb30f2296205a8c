//! Clocks that jump, stand still or disagree: order and fencing hold (SC-8), and leases end by the store's clock.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use replay_core::{
    Clock, ErrorKind, RunnerId, SagaId, Store,
    saga::{ResumeOptions, Runner, Saga, StartOptions},
};
use replay_e2e::{
    clock::{self, VirtualClock},
    history,
};
use replay_storage_memory::Memory;
use replay_storage_sqlite::Sqlite;
use serde_json::{Value, json};

fn id() -> SagaId {
    SagaId::new("k").unwrap()
}

fn named() -> StartOptions {
    StartOptions::default().with_id(id())
}

/// A saga of six steps of which each calls `meddle` with its number.
fn saga(meddle: impl Fn(i32) + Send + Sync + 'static) -> Saga<Value> {
    let meddle = Arc::new(meddle);
    let mut builder = Saga::builder("clocks");
    for number in 0..6 {
        let meddle = meddle.clone();
        builder = builder.step(format!("s{number}"), move |context: Value| {
            meddle(number);
            async move { Ok(context) }
        });
    }
    builder.build().unwrap()
}

fn runner(store: &Store, clock: &VirtualClock) -> Runner {
    Runner::builder(store.clone()).clock(Arc::new(clock.clone())).build()
}

/// Runs `test` on a memory store and on a SQLite store, whose clock it gets.
fn on_each_store(test: impl AsyncFn(Store, VirtualClock)) {
    clock::runtime().block_on(async {
        let clock = VirtualClock::new();
        test(Memory::builder().clock(Arc::new(clock.clone())).build().into_store(), clock).await;
        let dir = tempfile::tempdir().unwrap();
        let clock = VirtualClock::new();
        let sqlite = Sqlite::builder(dir.path().join("store.db")).clock(Arc::new(clock.clone())).open().await.unwrap();
        test(sqlite.into_store(), clock).await;
    });
}

#[test]
fn a_runner_whose_clock_jumps_by_hours_writes_a_history_in_order() {
    on_each_store(async |store, clock| {
        let own = clock.another();
        let jumping = own.clone();
        let saga = saga(move |number| jumping.jump(TimeDelta::hours([1, -1, 24, -24, -24, 48][usize::try_from(number).unwrap()])));
        assert!(runner(&store, &own).start_with(&saga, json!({}), named()).await.unwrap().is_completed());
        let records = history::load(&store, &id()).await.unwrap();
        assert_eq!(records.len(), 7);
        history::check(&records, false).unwrap();
    });
}

#[test]
fn a_runner_whose_clock_stands_still_writes_a_history_in_order() {
    on_each_store(async |store, clock| {
        let own = clock.another();
        own.freeze();
        assert!(runner(&store, &own).start_with(&saga(|_| {}), json!({}), named()).await.unwrap().is_completed());
        let records = history::load(&store, &id()).await.unwrap();
        assert_eq!((records[6].created_at - records[0].created_at).num_microseconds(), Some(6));
        history::check(&records, false).unwrap();
    });
}

#[test]
fn a_runner_is_fenced_off_also_by_one_whose_clock_is_a_day_behind() {
    on_each_store(async |store, clock| {
        for hours in [-24, -1, 1, 24] {
            let id = SagaId::new(format!("k{hours}")).unwrap();
            let behind = clock.another();
            behind.jump(TimeDelta::hours(hours));
            let (reached, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
            let slow = Saga::builder("fenced").step("a", {
                let (reached, go_on) = (reached.clone(), go_on.clone());
                move |context: Value| {
                    let (reached, go_on) = (reached.clone(), go_on.clone());
                    async move {
                        reached.notify_one();
                        go_on.notified().await;
                        Ok(context)
                    }
                }
            });
            let slow = slow.step("b", |context: Value| async move { Ok(context) }).build().unwrap();
            let quick = |context: Value| async move { Ok(context) };
            let quick = Saga::builder("fenced").step("a", quick).step("b", quick).build().unwrap();
            let first = runner(&store, &clock);
            let started = first.start_with(&slow, json!({}), StartOptions::default().with_id(id.clone()));
            let taken = async {
                reached.notified().await;
                let report = runner(&store, &behind).resume_with(&quick, &id, ResumeOptions::default().with_force(true)).await;
                go_on.notify_one();
                report
            };
            let (started, taken) = futures::join!(started, taken);
            assert!(taken.unwrap().is_completed());
            assert_eq!(started.unwrap_err().kind(), ErrorKind::Conflict);
            let records = history::load(&store, &id).await.unwrap();
            history::check(&records, false).unwrap();
            let owners: Vec<Option<RunnerId>> = records.iter().map(|record| record.runner).collect();
            assert_eq!(owners[0], Some(first.id()));
            assert!(owners[1..].iter().all(|owner| *owner != owners[0]), "{owners:?}");
        }
    });
}

/// A lease of another host is all that tells whether its runner lives, so only its cell is looked at here.
#[test]
fn a_lease_ends_by_the_clock_of_the_store_whatever_the_clock_of_who_looks_says() {
    on_each_store(async |store, clock| {
        let runner = Runner::builder(store.clone()).clock(Arc::new(clock.clone())).lease(Duration::from_secs(30)).build();
        runner.start_with(&saga(|_| {}), json!({}), named()).await.unwrap();
        let cells = store.cells().unwrap().clone();
        let key = format!("runner/{}", runner.id());
        let looker = clock.another();
        looker.jump(TimeDelta::hours(24));
        assert!(cells.get_cell(&key).await.unwrap().is_some(), "the looker's clock is of no account");
        clock.sleep(Duration::from_mins(5)).await;
        assert!(cells.get_cell(&key).await.unwrap().is_some(), "it is renewed while its runner lives");
        clock.jump(TimeDelta::hours(1));
        assert!(cells.get_cell(&key).await.unwrap().is_none(), "it has ended by the store's clock");
    });
}
