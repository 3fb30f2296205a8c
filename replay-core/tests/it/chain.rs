use std::sync::Arc;

use bytes::Bytes;
use replay_core::{
    ErrorKind, OriginLink, Payload, SnapshotId, SnapshotRecord,
    replay::{LocalReplay, ReplayRequest, SagaReplay},
    saga::Registry,
    storage::{PruneRequest, PruneScope},
    verify_chain,
};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn the_chain_of_a_sound_history_holds_and_that_of_a_fork_leads_to_its_origin() {
    let (store, journal) = (store().await, Journal::default());
    let runner = runner(&store);
    runner.start_with(&order(&journal), json!({}), named("o")).await.unwrap();
    let replays = LocalReplay::new(runner, Registry::new().with(order(&journal)));
    replays.replay(ReplayRequest::from_step(id("o"), "ship").with_new_id(id("fork"))).await.unwrap();

    let report = verify_chain(&**store.snapshots(), &id("o")).await.unwrap();
    assert!(report.is_valid());
    assert_eq!((report.snapshots, report.first_sequence, report.origin), (4, 1, OriginLink::None));
    assert_eq!(report.last_digest, history(&store, &id("o")).await.last().map(SnapshotRecord::digest));
    let fork = verify_chain(&**store.snapshots(), &id("fork")).await.unwrap();
    assert_eq!((fork.is_valid(), fork.origin), (true, OriginLink::Holds));

    store.snapshots().prune(PruneRequest::new(PruneScope::Saga(id("o")))).await.unwrap();
    let fork = verify_chain(&**store.snapshots(), &id("fork")).await.unwrap();
    assert_eq!((fork.is_valid(), fork.origin), (true, OriginLink::NotHere));
}

#[tokio::test]
async fn a_missing_snapshot_and_a_changed_context_are_found() {
    let (store, journal) = (store().await, Journal::default());
    runner(&store).start_with(&order(&journal), json!({}), named("o")).await.unwrap();
    let scope = PruneScope::Record(SnapshotId { saga_id: id("o"), sequence: 2 });
    store.snapshots().prune(PruneRequest::new(scope)).await.unwrap();
    let report = verify_chain(&**store.snapshots(), &id("o")).await.unwrap();
    assert_eq!(report.broken.as_ref().map(|broken| broken.sequence), Some(3));
    assert_eq!(report.snapshots, 1);

    let first = history(&store, &id("o")).await.remove(0);
    let other = Payload::json(Bytes::from_static(b"{}x"));
    let changed = SnapshotRecord::from_parts(Arc::clone(&first.outline), first.header().clone(), other).unwrap();
    store.snapshots().prune(PruneRequest::new(PruneScope::Saga(id("o")))).await.unwrap();
    match store.snapshots().append(vec![changed]).await {
        Ok(()) => {
            let report = verify_chain(&**store.snapshots(), &id("o")).await.unwrap();
            assert_eq!(report.broken.map(|broken| broken.sequence), Some(1));
        }
        // A store that encodes contexts looks at them and does not take such a record.
        Err(refused) => assert_eq!(refused.kind(), ErrorKind::Integrity),
    }
}
