//! Lost answers, servers that fail or never answer, and crashes half-way.

use std::time::Duration;

use bytes::Bytes;
use replay_conformance::records::{Chain, saga};
use replay_core::{
    ErrorKind, Retry,
    storage::{At, If, PruneRequest, PruneScope, SagaQuery},
};

use crate::{
    proxy::{Act, Seen},
    support::{Behind, FIRST, SECOND, append, history, ids},
};

#[tokio::test]
async fn a_write_that_won_and_whose_answer_was_lost_counts_as_won() {
    for variable in [FIRST, SECOND] {
        let behind = Behind::proxy(variable).await;
        let store = behind.open().await;
        let mut chain = Chain::new("order_1");
        for _ in 0..3 {
            behind.proxy.once(Act::LoseAnswer, Seen::is_conditional_put);
            append(&store, [chain.next_record()]).await;
        }
        assert_eq!(history(&store, &chain).await.len(), 3);

        let cells = store.cells().expect("cells");
        behind.proxy.once(Act::LoseAnswer, Seen::is_conditional_put);
        let version = cells.put_cell("k", Bytes::from_static(b"mine"), If::Absent, None).await.expect("the claim is ours");
        let cell = cells.get_cell("k").await.expect("a get").expect("a cell");
        assert_eq!((cell.version, &cell.value[..]), (version, &b"mine"[..]));

        let logs = store.logs().expect("logs");
        behind.proxy.once(Act::LoseAnswer, Seen::is_conditional_put);
        assert_eq!(logs.append_log("s", 0, vec![Bytes::from_static(b"x")]).await.expect("an append"), 1);

        behind.proxy.once(Act::LoseAnswer, Seen::is_conditional_put);
        let report = store.snapshots().prune(PruneRequest::new(PruneScope::Saga(saga("order_1")))).await.expect("a prune");
        assert_eq!((report.records, report.sagas), (3, 1));
        assert_eq!(ids(&store, SagaQuery::default()).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_request_that_was_lost_is_sent_again() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let mut chain = Chain::new("order_1");
    for act in [Act::Lose, Act::Refuse(503), Act::Refuse(500)] {
        behind.proxy.once(act, |seen| seen.method == "PUT");
        append(&store, [chain.next_record()]).await;
        behind.proxy.once(act, |seen| seen.method == "GET");
        assert!(store.snapshots().load(chain.saga_id(), At::Latest).await.expect("a load").is_some());
    }
    assert_eq!(history(&store, &chain).await.len(), 3);
}

#[tokio::test]
async fn a_conflict_with_another_conditional_write_is_looked_at_again() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, [chain.next_record()]).await;
    behind.proxy.once(Act::Refuse(409), Seen::is_conditional_put);
    append(&store, [chain.next_record()]).await;
    assert_eq!(history(&store, &chain).await.len(), 2);
}

#[tokio::test]
async fn an_answer_that_never_comes_ends_with_the_deadline() {
    let behind = Behind::proxy(FIRST).await;
    let builder = behind.place.builder().timeout(Duration::from_millis(150));
    let store = builder.open().await.expect("the store opens").into_store();
    let mut chain = Chain::new("order_1");
    append(&store, [chain.next_record()]).await;
    let record = chain.next_record();
    behind.proxy.rule(|_| Act::NeverAnswer);
    let error = store.snapshots().append(vec![record.clone()]).await.expect_err("no answer comes");
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Timeout, Retry::Ambiguous), "{error:?}");
    let error = store.snapshots().load(chain.saga_id(), At::Latest).await.expect_err("no answer comes");
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Timeout, Retry::Safe), "{error:?}");
    // It was carried out, and repeating it finds that.
    behind.proxy.rule(|_| Act::Forward);
    append(&store, [record]).await;
    assert_eq!(history(&store, &chain).await.len(), 2);
}

#[tokio::test]
async fn a_server_that_goes_away_is_a_clear_error_and_is_found_again() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, [chain.next_record()]).await;
    behind.proxy.rule(|_| Act::Lose);
    let record = chain.next_record();
    let error = store.snapshots().append(vec![record.clone()]).await.expect_err("the server is away");
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Ambiguous), "{error:?}");
    behind.proxy.rule(|_| Act::Forward);
    append(&store, [record]).await;
    assert_eq!(history(&store, &chain).await.len(), 2);
}

#[tokio::test]
async fn a_removal_that_was_interrupted_anywhere_is_finished_by_the_next_one() {
    for variable in [FIRST, SECOND] {
        let behind = Behind::proxy(variable).await;
        // Each request in turn is the last one of the process that removes the saga.
        for last in 0..8 {
            let id = format!("order_{last}");
            let store = behind.open().await;
            let mut chain = Chain::new(&id);
            for _ in 0..3 {
                append(&store, (0..10).map(|_| chain.with_context(vec![b'x'; 10_000]))).await;
            }
            let request = PruneRequest::new(PruneScope::Saga(saga(&id)));
            let mut count = 0;
            behind.proxy.rule(move |_| {
                count += 1;
                if count > last { Act::Refuse(403) } else { Act::Forward }
            });
            let ended = store.snapshots().prune(request.clone()).await;
            behind.proxy.rule(|_| Act::Forward);
            let other = behind.open().await;
            if ended.is_err() {
                other.snapshots().prune(request).await.expect("a prune");
            }
            assert_eq!(ids(&other, SagaQuery::default()).await, [""; 0], "after {last} requests");
            assert_eq!(behind.place.keys("/b/").await, [""; 0], "after {last} requests");
            // The id may begin anew.
            append(&other, Chain::new(&id).take(2)).await;
            other.snapshots().prune(PruneRequest::new(PruneScope::Saga(saga(&id)))).await.expect("a prune");
        }
    }
}

#[tokio::test]
async fn a_prune_that_was_interrupted_leaves_everything_readable_and_is_finished_by_the_next_one() {
    let behind = Behind::proxy(SECOND).await;
    for last in 0..6 {
        let id = format!("order_{last}");
        let store = behind.open().await;
        let mut chain = Chain::new(&id);
        for _ in 0..4 {
            append(&store, (0..10).map(|_| chain.with_context(vec![b'x'; 10_000]))).await;
        }
        let keep = PruneRequest::new(PruneScope::KeepNewest { saga_id: Some(saga(&id)), keep: 15 });
        let mut count = 0;
        behind.proxy.rule(move |_| {
            count += 1;
            if count > last { Act::Refuse(403) } else { Act::Forward }
        });
        let _ = store.snapshots().prune(keep.clone()).await;
        behind.proxy.rule(|_| Act::Forward);
        let other = behind.open().await;
        let left = history(&other, &chain).await.len();
        assert!(left == 40 || left == 15, "{left} after {last} requests");
        other.snapshots().prune(keep).await.expect("a prune");
        assert_eq!(history(&other, &chain).await.len(), 15, "after {last} requests");
        other.snapshots().prune(PruneRequest::new(PruneScope::Saga(saga(&id)))).await.expect("a prune");
        assert_eq!(behind.place.keys("/b/").await, [""; 0], "after {last} requests");
    }
}
