//! How many requests each call makes; the crate page states them.

use bytes::Bytes;
use replay_conformance::records::{Chain, after, outline_of, saga};
use replay_core::{
    Digest, SagaStatus,
    storage::{At, If, PruneRequest, PruneScope, SagaQuery},
};

use crate::support::{Behind, FIRST, SECOND, append, history, ids};

#[tokio::test]
async fn opening_a_store_that_is_there_takes_two() {
    let behind = Behind::proxy(FIRST).await;
    behind.open().await;
    let (count, _) = behind.count(Box::pin(behind.open())).await;
    assert_eq!(count, 2);
}

#[tokio::test]
async fn an_append_takes_one_and_now_and_then_two() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let mut chain = Chain::new("order_1");
    let mut total = 0;
    for _ in 0..400 {
        let (count, ()) = behind.count(append(&store, [chain.next_record()])).await;
        assert!(count == 1 || count == 2, "{count} requests for {}", chain.sequence());
        total += count;
    }
    assert!(total <= 404, "{total} requests for 400 appends");
}

#[tokio::test]
async fn no_append_takes_more_than_two_however_large_record_and_definition_are() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let names: Vec<String> = (0..2000).map(|n| format!("step {n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut chain = Chain::new("order_1").with_outline(outline_of("large", "1", &names));
    for (n, len) in [100_000, 10, 100_000, 30_000, 40_000, 10, 10, 200_000].into_iter().enumerate() {
        let record = chain.with_context(vec![b'x'; len]);
        let (count, ()) = behind.count(append(&store, [record])).await;
        assert!(count <= 2, "{count} requests for record {n}");
    }
    assert_eq!(history(&store, &chain).await.len(), 8);
    // And a handle that has seen none of it reads any of it.
    let other = behind.open().await;
    for n in 1..=8 {
        let (count, found) = behind.count(other.snapshots().load(chain.saga_id(), At::Sequence(n))).await;
        assert_eq!(found.expect("a load").map(|record| record.sequence), Some(n));
        assert!(count <= 3, "{count} requests to read {n}");
    }
}

#[tokio::test]
async fn a_cold_handle_reads_the_head_before_it_appends() {
    let behind = Behind::proxy(FIRST).await;
    let mut chain = Chain::new("order_1");
    append(&behind.open().await, [chain.next_record()]).await;
    let store = behind.open().await;
    let (count, ()) = behind.count(append(&store, [chain.next_record()])).await;
    assert_eq!(count, 2);
}

#[tokio::test]
async fn a_state_at_an_instant_takes_three_at_most_however_long_the_history() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let mut chain = Chain::new("order_1");
    // Contexts that fill a bundle with few records, so that bundles of references come about.
    let filler = "x".repeat(15_000);
    for _ in 0..30 {
        let records: Vec<_> = (0..50).map(|_| chain.with_context(filler.clone())).collect();
        for chunk in records.chunks(5) {
            append(&store, chunk.to_vec()).await;
        }
    }
    let mut most = 0;
    for n in (0..1500).step_by(37) {
        let cold = behind.open().await;
        let (count, found) = behind.count(cold.snapshots().load(chain.saga_id(), At::Time(after(n)))).await;
        assert_eq!(found.expect("a load").map(|record| record.created_at), Some(after(n)));
        most = most.max(count);
    }
    assert_eq!(most, 3, "the oldest are found over a bundle of references");
    let cold = behind.open().await;
    let (count, _) = behind.count(cold.snapshots().load(chain.saga_id(), At::Latest)).await;
    assert_eq!(count, 1);
}

#[tokio::test]
async fn a_thousand_heads_are_listed_with_five_at_most() {
    let behind = Behind::proxy(SECOND).await;
    let store = behind.open().await;
    append(&store, (0..1000).map(|n| Chain::new(&format!("s{n:04}")).next_record())).await;
    let (count, shown) = behind.count(ids(&store, SagaQuery::default())).await;
    assert_eq!((count, shown.len()), (1, 1000), "who wrote them knows them");
    // The first handle that knows nothing reads them, and leaves what it read to the next.
    let (_, shown) = behind.count(ids(&behind.open().await, SagaQuery::default())).await;
    assert_eq!(shown.len(), 1000);
    for round in 0..6 {
        let cold = behind.open().await;
        let (count, shown) = behind.count(ids(&cold, SagaQuery::default())).await;
        assert_eq!(shown.len(), 1000);
        assert!(count <= 5, "{count} requests in round {round}");
        // Enough changes for a pack of their own.
        let changed: Vec<_> = (0..40)
            .map(|n| {
                let mut chain = Chain::new(&format!("s{:04}", round * 40 + n));
                chain.next_record();
                chain.end(SagaStatus::Completed)
            })
            .collect();
        append(&cold, changed).await;
        let (_, done) = behind.count(ids(&behind.open().await, SagaQuery::default().with_status(SagaStatus::Completed))).await;
        assert_eq!(done.len(), (round + 1) * 40, "what a pack says is never older than the heads");
    }
}

#[tokio::test]
async fn removing_a_saga_takes_no_request_for_each_record() {
    let behind = Behind::proxy(SECOND).await;
    let store = behind.open().await;
    let mut chain = Chain::new("order_1");
    for _ in 0..10 {
        append(&store, (0..10).map(|_| chain.with_context(vec![b'x'; 10_000]))).await;
    }
    let request = PruneRequest::new(PruneScope::Saga(saga("order_1")));
    let (count, report) = behind.count(store.snapshots().prune(request)).await;
    assert_eq!(report.expect("a prune").records, 100);
    assert!(count <= 8, "{count} requests");
}

#[tokio::test]
async fn cells_logs_and_blobs_take_what_the_page_says() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let (cells, logs, blobs) = (store.cells().expect("cells"), store.logs().expect("logs"), store.blobs().expect("blobs"));
    let value = || Bytes::from_static(b"v");
    let (count, version) = behind.count(cells.put_cell("k", value(), If::Absent, None)).await;
    assert_eq!(count, 1, "a claim");
    let (count, _) = behind.count(cells.put_cell("k", value(), If::Version(version.expect("a put")), None)).await;
    assert_eq!(count, 1, "a renewal by the handle that holds it");
    assert_eq!(behind.count(cells.get_cell("k")).await.0, 1);
    assert_eq!(behind.count(logs.append_log("s", 0, vec![value()])).await.0, 1);
    assert_eq!(behind.count(logs.append_log("s", 1, vec![value()])).await.0, 1);
    assert_eq!(behind.count(blobs.put_blob(value())).await.0, 1);
    assert_eq!(behind.count(blobs.get_blob(&Digest::of(b"v"))).await.0, 1);
    assert_eq!(behind.count(blobs.delete_blob(&Digest::of(b"v"))).await.0, 2);
}
