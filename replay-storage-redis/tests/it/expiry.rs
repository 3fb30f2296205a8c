//! What the server removes by itself.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use futures::TryStreamExt;
use replay_conformance::records::{self, Chain, after};
use replay_core::{
    ManualClock, Origin, SagaStatus, StepRanges, Store,
    storage::{PruneRequest, PruneScope, SagaQuery},
};
use replay_services::{Server, redis::Options};
use replay_storage_redis::Redis;

use crate::support::{Admin, append, start};

const HOUR: i64 = 3_600_000;

async fn open(server: &Server, ttl: Option<Duration>) -> Store {
    let mut builder = Redis::builder(server.url()).expect("a URL").clock(Arc::new(ManualClock::default()));
    if let Some(ttl) = ttl {
        builder = builder.default_ttl(ttl);
    }
    builder.open().await.expect("the store opens").into_store()
}

/// The milliseconds that the keys of sagas have left; -1 for one that stays.
fn left(server: &Server) -> Vec<i64> {
    let mut admin = Admin::of(server);
    let keys: Vec<String> = admin.run(&["KEYS", "*[sp]:*"]);
    assert_eq!(keys.len(), 2, "a saga's records and its positions");
    keys.iter().map(|key| admin.run(&["PTTL", key])).collect()
}

async fn saga(store: &Store, until: &[Option<i64>]) -> Chain {
    let mut chain = Chain::new("a");
    for until in until {
        let record = chain.with(|meta| meta.retention_until = until.map(after));
        append(store, &record).await.expect("an append");
    }
    chain
}

async fn end(store: &Store, chain: &mut Chain, until: Option<i64>) {
    let record = chain.with(|meta| {
        meta.retention_until = until.map(after);
        (meta.next, meta.status) = (StepRanges::default(), SagaStatus::Completed);
    });
    append(store, &record).await.expect("an append");
}

#[tokio::test]
async fn an_ended_saga_goes_an_hour_after_its_last_retention() {
    let server = start(Options::default());
    let store = open(&server, None).await;
    let mut chain = saga(&store, &[Some(90_000), Some(500_000)]).await;
    assert_eq!(left(&server), [-1, -1], "a live saga stays");
    end(&store, &mut chain, Some(70_000)).await;
    for left in left(&server) {
        assert!((HOUR + 490_000..=HOUR + 500_000).contains(&left), "{left} ms");
    }
    // Whoever goes on with it keeps it.
    append(&store, &chain.with(|meta| meta.created_at += TimeDelta::seconds(1))).await.expect("an append");
    assert_eq!(left(&server), [-1, -1]);
}

#[tokio::test]
async fn a_record_without_retention_keeps_its_saga_unless_there_is_a_default() {
    for (ttl, expected) in [(None, None), (Some(Duration::from_secs(1000)), Some(HOUR + 1_000_000))] {
        let server = start(Options::default());
        let store = open(&server, ttl).await;
        let mut chain = saga(&store, &[None, Some(10)]).await;
        end(&store, &mut chain, Some(10)).await;
        for left in left(&server) {
            match expected {
                None => assert_eq!(left, -1),
                Some(most) => assert!((most - 10_000..=most).contains(&left), "{left} ms"),
            }
        }
    }
}

/// Ends what the server would end by itself in an hour.
fn let_go(server: &Server) -> Admin {
    let mut admin = Admin::of(server);
    for key in admin.run::<Vec<String>>(&["KEYS", "*[sp]:*"]) {
        admin.run::<i64>(&["PEXPIRE", &key, "0"]);
    }
    admin
}

#[tokio::test]
async fn a_replay_that_went_by_itself_or_is_removed_leaves_nothing_in_the_index() {
    let server = start(Options::default());
    let store = open(&server, None).await;
    let origin = |chain: &mut Chain, of: &str| {
        chain.with(|meta| {
            let of = records::saga(of);
            meta.origin = Some(Arc::new(Origin::new(of.clone(), 3, uuid::Uuid::nil().to_string().parse().expect("an id"), of.clone(), of)));
            (meta.status, meta.retention_until) = (SagaStatus::Completed, Some(after(1)));
            meta.next = StepRanges::default();
        })
    };
    for id in ["b", "bb", "c"] {
        append(&store, &origin(&mut Chain::new(id), "of")).await.expect("an append");
    }
    let sagas = || async {
        let query = SagaQuery::default().with_origin(records::saga("of"));
        let sagas: Vec<_> = store.snapshots().sagas(query).try_collect().await.expect("a listing");
        sagas.into_iter().map(|saga| saga.saga_id.to_string()).collect::<Vec<_>>()
    };
    store.snapshots().prune(PruneRequest::new(PruneScope::Saga(records::saga("c")))).await.expect("a prune");
    assert_eq!(sagas().await, ["bb", "b"]);
    let mut admin = let_go(&server);
    append(&store, &origin(&mut Chain::new("d").starting_at(after(9)), "of")).await.expect("an append");
    let prune = PruneRequest::new(PruneScope::Expired { now: records::start() });
    store.snapshots().prune(prune).await.expect("a prune");
    assert_eq!(sagas().await, ["d"]);
    let indices: Vec<String> = admin.run(&["KEYS", "*}x"]);
    let members: i64 = indices.iter().map(|index| admin.run::<i64>(&["ZCARD", index])).sum();
    assert_eq!(members, 4, "what one replay is found by");
}

#[tokio::test]
async fn a_saga_that_went_by_itself_is_in_no_listing_and_its_id_is_free() {
    let server = start(Options::default());
    let store = open(&server, None).await;
    let mut chain = saga(&store, &[Some(1)]).await;
    end(&store, &mut chain, Some(1)).await;
    let mut admin = let_go(&server);
    let sagas = || async { store.snapshots().sagas(SagaQuery::default()).try_collect::<Vec<_>>().await.expect("a listing") };
    assert!(sagas().await.is_empty());
    append(&store, &Chain::new("a").starting_at(after(9)).next_record()).await.expect("the id is free");
    assert_eq!(sagas().await.len(), 1);
    // The place of the one before is swept by the next prune.
    let prune = PruneRequest::new(PruneScope::Expired { now: records::start() });
    store.snapshots().prune(prune).await.expect("a prune");
    let index: Vec<String> = admin.run(&["KEYS", "*}x"]);
    assert_eq!(admin.run::<i64>(&["ZCARD", &index[0]]), 2, "what one saga is found by");
}
