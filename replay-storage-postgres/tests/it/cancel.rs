//! Calls whose futures are dropped half-way.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt;
use replay_conformance::records::{Chain, saga};
use replay_core::storage::{At, CellStorage, If, LogStorage, PruneRequest, PruneScope, SnapshotQuery, SnapshotStorage};
use replay_storage_postgres::{Pooler, Postgres};
use tokio::time::timeout;

use crate::support::{Schema, admin, newest_sequence, value};

/// Calls this and that, each for a random while only.
async fn interrupted_calls(store: &Postgres, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let id = format!("saga_{seed}");
    let mut chain = Chain::new(&id);
    for _ in 0..40 {
        let patience = Duration::from_micros(random.u64(0..3000));
        let record = chain.next_record();
        let _ = match random.u8(0..6) {
            0 => timeout(patience, store.load(&saga(&id), At::Latest)).await.map(drop),
            1 => timeout(patience, store.put_cell(&id, Bytes::from_static(b"x"), If::Any, None)).await.map(drop),
            2 => timeout(patience, store.append_log(&id, 0, vec![Bytes::from_static(b"x")])).await.map(drop),
            3 => timeout(patience, store.prune(PruneRequest::new(PruneScope::KeepNewest { saga_id: None, keep: 1000 }))).await.map(drop),
            _ => timeout(patience, store.append(vec![record.clone()])).await.map(drop),
        };
        // Whatever became of it, the same append resolves it.
        store.append(vec![record]).await.unwrap();
    }
    let stored: Vec<_> = store.list(SnapshotQuery::new(saga(&id))).try_collect().await.unwrap();
    assert!((1..=40).eq(stored.iter().map(|record| record.sequence)), "seed {seed}");
}

async fn leaves_nothing_behind(pooler: Pooler) {
    let schema = Schema::new();
    let store = schema.builder().max_connections(2).pooler(pooler).open().await.unwrap();
    futures::future::join_all((0..8).map(|seed| interrupted_calls(&store, seed))).await;
    let mut admin = admin().await;
    // Another connection sees all of it: nothing was left inside a transaction that somebody else's work then went into.
    let count: i64 = value(&mut admin, format!("SELECT count(*) FROM {}.saga_snapshots", schema.0)).await;
    assert_eq!(count, 8 * 40);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND query LIKE";
    assert_eq!(value::<i64>(&mut admin, format!("{open} '%{}%'", schema.0)).await, 0);
    assert_eq!(newest_sequence(&store, "saga_0").await, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_leaves_nothing_to_the_next_borrower() {
    leaves_nothing_behind(Pooler::None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_inside_a_transaction() {
    leaves_nothing_behind(Pooler::Transaction).await;
}

#[tokio::test]
async fn an_append_whose_leader_goes_away_is_done_by_another() {
    let schema = Schema::new();
    let store = schema.builder().max_connections(1).open().await.unwrap();
    store.append(vec![Chain::new("first").next_record()]).await.unwrap();
    for round in 0..50 {
        let (lead, follow) = (Chain::new(&format!("lead_{round}")).next_record(), Chain::new(&format!("follow_{round}")).next_record());
        let follower = tokio::spawn({
            let store = store.clone();
            async move { store.append(vec![follow]).await }
        });
        let _ = timeout(Duration::from_micros(round * 40), store.append(vec![lead.clone()])).await;
        timeout(Duration::from_secs(20), follower).await.expect("nobody waits for one who went away").unwrap().unwrap();
        store.append(vec![lead]).await.unwrap();
    }
}

/// A runtime that ends drops at once what is spawned on it, which is also what the pool spawns.
#[test]
fn a_runtime_that_ends_amid_calls_is_not_held_up() {
    let schema = Schema::new();
    let builder = move || schema.builder().max_connections(4);
    let (done, over) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..60 {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
            let store = Arc::new(runtime.block_on(builder().open()).unwrap());
            let first = runtime.spawn({
                let store = store.clone();
                async move { store.get_cell("k").await.map(drop) }
            });
            for _ in 0..3 {
                let store = store.clone();
                runtime.spawn(async move { store.delete_cell("k", If::Any).await });
            }
            runtime.block_on(first).unwrap().unwrap();
        }
        done.send(()).unwrap();
    });
    over.recv_timeout(Duration::from_mins(1)).expect("no runtime is held up");
}
