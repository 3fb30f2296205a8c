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
async fn a_conflict_with_another_conditional_write_is_no_refusal_and_the_write_is_sent_again() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, [chain.next_record()]).await;
    behind.proxy.once(Act::Refuse(409), Seen::is_conditional_put);
    append(&store, [chain.next_record()]).await;
    assert_eq!(history(&store, &chain).await.len(), 2);

    let (blobs, cells) = (store.blobs().expect("blobs"), store.cells().expect("cells"));
    behind.proxy.once(Act::Refuse(409), Seen::is_conditional_put);
    let digest = blobs.put_blob(Bytes::from_static(b"blob")).await.expect("a put");
    assert_eq!(blobs.get_blob(&digest).await.expect("a get").as_deref(), Some(&b"blob"[..]), "what is acknowledged is stored");
    behind.proxy.once(Act::Refuse(409), Seen::is_conditional_put);
    cells.put_cell("k", Bytes::from_static(b"v"), If::Absent, None).await.expect("nobody else claims it");
    behind.proxy.once(Act::Refuse(409), Seen::is_conditional_delete);
    assert!(cells.delete_cell("k", If::Any).await.expect("a delete"));

    behind.proxy.rule(|_| Act::Refuse(409));
    let error = blobs.put_blob(Bytes::from_static(b"other")).await.expect_err("it is not stored");
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Safe), "{error:?}");
}

#[tokio::test]
async fn a_look_that_fails_after_a_lost_answer_leaves_the_outcome_unknown() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, [chain.next_record()]).await;
    let lose_answer_then_reads = || {
        let mut puts = 0;
        behind.proxy.rule(move |seen| {
            puts += u32::from(seen.method == "PUT");
            match &*seen.method {
                "PUT" if puts == 1 => Act::LoseAnswer,
                "GET" => Act::Refuse(403),
                _ => Act::Forward,
            }
        });
    };
    let record = chain.next_record();
    lose_answer_then_reads();
    let error = store.snapshots().append(vec![record.clone()]).await.expect_err("nobody can tell");
    assert_eq!(error.retry_advice(), Retry::Ambiguous, "{error:?}");
    lose_answer_then_reads();
    let cells = store.cells().expect("cells");
    let error = cells.put_cell("k", Bytes::from_static(b"v"), If::Absent, None).await.expect_err("nobody can tell");
    assert_eq!(error.retry_advice(), Retry::Ambiguous, "{error:?}");
    lose_answer_then_reads();
    let logs = store.logs().expect("logs");
    let error = logs.append_log("s", 0, vec![Bytes::from_static(b"x")]).await.expect_err("nobody can tell");
    assert_eq!(error.retry_advice(), Retry::Ambiguous, "{error:?}");
    // Repeating the append finds what was stored.
    behind.proxy.rule(|_| Act::Forward);
    append(&store, [record]).await;
    assert_eq!(history(&store, &chain).await.len(), 2);
    assert_eq!(logs.append_log("s", 0, vec![Bytes::from_static(b"x")]).await.expect("it is there"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_whose_answer_was_lost_are_no_conflict_though_others_appended_since() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let other = behind.place_itself().builder().open().await.expect("it opens").into_store();
    let mut count = 0;
    behind.proxy.rule(move |seen| {
        count += u32::from(seen.is_conditional_put());
        if count == 2 {
            in_between(other.logs().expect("logs").append_log("s", 1, vec![Bytes::from_static(b"theirs")])).expect("an append");
        }
        if count == 1 { Act::LoseAnswer } else { Act::Forward }
    });
    let error = store.logs().expect("logs").append_log("s", 0, vec![Bytes::from_static(b"ours")]).await.expect_err("nobody can tell");
    assert_eq!(error.retry_advice(), Retry::Ambiguous, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_whose_answer_was_lost_takes_nothing_that_was_made_since() {
    for variable in [FIRST, SECOND] {
        let behind = Behind::proxy(variable).await;
        let store = behind.open().await;
        let other = behind.place_itself().builder().open().await.expect("it opens").into_store();
        let cells = store.cells().expect("cells");
        let value = Bytes::from_static(b"v");
        // The handle finds out whether the server removes on a condition.
        cells.put_cell("k", value.clone(), If::Absent, None).await.expect("a claim");
        assert!(cells.delete_cell("k", If::Any).await.expect("a delete"));

        cells.put_cell("k", value.clone(), If::Absent, None).await.expect("a claim");
        let mut is_answered = false;
        let claimant = other.clone();
        behind.proxy.rule(move |seen| {
            if !(seen.is_conditional_delete() || seen.is_conditional_put()) {
                return Act::Forward;
            }
            if !std::mem::replace(&mut is_answered, true) {
                return Act::LoseAnswer;
            }
            // It succeeds once, and then finds its own claim.
            let _ = in_between(claimant.cells().expect("cells").put_cell("k", Bytes::from_static(b"theirs"), If::Absent, None));
            Act::Forward
        });
        let error = cells.delete_cell("k", If::Any).await.expect_err("nobody can tell");
        assert_eq!(error.retry_advice(), Retry::Ambiguous, "{error:?}");
        let cell = other.cells().expect("cells").get_cell("k").await.expect("a get").expect("the claim stands");
        assert_eq!(&cell.value[..], b"theirs");

        let mut chain = Chain::new("order_1");
        append(&store, [chain.next_record()]).await;
        let anew = Chain::new("order_1").starting_at(replay_conformance::records::after(99)).take(1);
        let (records, writer, mut is_answered) = (anew.clone(), other.clone(), false);
        behind.proxy.rule(move |seen| {
            if !seen.is_conditional_put() {
                return Act::Forward;
            }
            if !std::mem::replace(&mut is_answered, true) {
                return Act::LoseAnswer;
            }
            in_between(writer.snapshots().append(records.clone())).expect("the id is free");
            Act::Forward
        });
        store.snapshots().prune(PruneRequest::new(PruneScope::Saga(saga("order_1")))).await.expect("a prune");
        assert_eq!(history(&other, &chain).await, anew);
    }
}

/// Carries out `call` while a request waits at the proxy.
fn in_between<T>(call: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(call))
}

#[tokio::test]
async fn a_bundle_that_is_missing_for_a_moment_is_no_conflict() {
    let behind = Behind::proxy(FIRST).await;
    let mut chain = Chain::new("order_1");
    let records: Vec<_> = (0..20).map(|_| chain.with_context(vec![b'x'; 10_000])).collect();
    append(&behind.open().await, records.clone()).await;
    append(&behind.open().await, (0..2).map(|_| chain.next_record())).await;
    let store = behind.open().await;
    // As if another had replaced it after the head was read.
    behind.proxy.once(Act::Refuse(404), |seen| seen.is_get_of("/b/"));
    append(&store, records[..3].to_vec()).await;
    // What stays away although the head refers to it is damage.
    let store = behind.open().await;
    behind.proxy.rule(|seen| if seen.is_get_of("/b/") { Act::Refuse(404) } else { Act::Forward });
    let error = store.snapshots().append(records[..3].to_vec()).await.expect_err("it is missing");
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error:?}");
}

#[tokio::test]
async fn what_is_large_has_the_time_that_its_size_allows() {
    let behind = Behind::proxy(FIRST).await;
    let builder = behind.place.builder().timeout(Duration::from_millis(100));
    let store = builder.open().await.expect("the store opens").into_store();
    let blobs = store.blobs().expect("blobs");
    let blob = Bytes::from(vec![b'x'; 4_000_000]);
    behind.proxy.once(Act::Late(Duration::from_millis(600)), Seen::is_conditional_put);
    let (count, digest) = behind.count(blobs.put_blob(blob.clone())).await;
    let digest = digest.expect("a put");
    assert_eq!(count, 1);
    // Half a second for four megabytes, where three attempts have 300 ms without them.
    behind.proxy.once(Act::Trickle(Duration::from_millis(5)), |seen| seen.method == "GET");
    let (count, found) = behind.count(blobs.get_blob(&digest)).await;
    assert!(found.expect("a get") == Some(blob));
    assert_eq!(count, 1);
    // What is small does not have it.
    let digest = blobs.put_blob(Bytes::from(vec![b'y'; 1000])).await.expect("a put");
    behind.proxy.rule(|_| Act::Trickle(Duration::from_secs(1)));
    let error = blobs.get_blob(&digest).await.expect_err("it never ends");
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Timeout, Retry::Safe), "{error:?}");
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
