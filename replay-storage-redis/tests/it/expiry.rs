//! What the server removes by itself.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use futures::TryStreamExt;
use replay_conformance::records::{self, Chain, after};
use replay_core::{
    ManualClock, SagaStatus, StepRanges, Store,
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

#[tokio::test]
async fn a_saga_that_went_by_itself_is_in_no_listing_and_its_id_is_free() {
    let server = start(Options::default());
    let store = open(&server, None).await;
    let mut chain = saga(&store, &[Some(1)]).await;
    end(&store, &mut chain, Some(1)).await;
    let mut admin = Admin::of(&server);
    for key in admin.run::<Vec<String>>(&["KEYS", "*[sp]:*"]) {
        admin.run::<i64>(&["PEXPIRE", &key, "0"]);
    }
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
