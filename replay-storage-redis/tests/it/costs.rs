//! The commands of a call, as the README's table says.

use replay_conformance::records::{self, Chain};
use replay_core::{
    SagaStatus,
    storage::{At, PruneRequest, PruneScope},
};
use replay_services::redis::Options;

use crate::{
    proxy::Proxy,
    support::{append, open, start},
};

#[tokio::test]
async fn calls_take_as_many_round_trips_as_the_page_says() {
    let server = start(Options::default());
    let proxy = Proxy::before(&server);
    let store = open(&proxy.url()).await;
    let mut seen = Vec::new();
    for round in 0..2 {
        // The first round brings the scripts.
        seen.clear();
        let id = format!("s{round}");
        let (mut chain, saga) = (Chain::new(&id), records::saga(&id));
        let mut took = |call: &'static str| seen.push((call, proxy.count()));
        took("before");
        append(&store, &chain.next_record()).await.expect("an append");
        append(&store, &chain.next_record()).await.expect("an append");
        took("two appends");
        append(&store, &chain.with(|meta| meta.status = SagaStatus::Compensating)).await.expect("an append");
        took("another status");
        append(&store, &chain.with(|meta| meta.status = SagaStatus::Compensating)).await.expect("an append");
        took("the same status");
        append(&store, &chain.end(SagaStatus::RolledBack)).await.expect("an append");
        took("the end");
        store.snapshots().load(&saga, At::Latest).await.expect("a load").expect("it is there");
        took("a load");
        store.snapshots().prune(PruneRequest::new(PruneScope::KeepNewest { saga_id: Some(saga.clone()), keep: 1 })).await.expect("a prune");
        took("pruning records");
        store.snapshots().prune(PruneRequest::new(PruneScope::Saga(saga))).await.expect("a prune");
        took("pruning a saga");
        let blobs = store.blobs().expect("blobs");
        blobs.put_blob(vec![round; 1000].into()).await.expect("a put");
        took("a small blob");
        let digest = blobs.put_blob(vec![round; 9 << 20].into()).await.expect("a put");
        took("a blob of 9 MiB");
        blobs.get_blob(&digest).await.expect("a get").expect("it is there");
        took("reading it");
    }
    let calls: Vec<_> = seen.into_iter().skip(1).collect();
    assert_eq!(
        calls,
        [
            ("two appends", 2),
            ("another status", 2),
            ("the same status", 1),
            ("the end", 1),
            ("a load", 1),
            ("pruning records", 2),
            ("pruning a saga", 2),
            ("a small blob", 1),
            ("a blob of 9 MiB", 4),
            ("reading it", 3),
        ]
    );
}
