//! How many requests each call makes; the crate page states them.

use bytes::Bytes;
use futures::TryStreamExt;
use replay_conformance::records::{Chain, after, outline_of, saga};
use replay_core::{
    Digest, SagaStatus, Store,
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
async fn a_state_before_a_step_and_a_large_newest_one_take_what_the_page_says() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let names: Vec<String> = (0..300).map(|n| format!("{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut chain = Chain::new("order_1").with_outline(outline_of("o", "1", &names));
    // Each fills a bundle, so that a bundle of references comes about.
    for _ in 0..300 {
        append(&store, [chain.with_context(vec![b'x'; 66_000])]).await;
    }
    for (step, most) in [("10", 3), ("290", 2), ("299", 2)] {
        let cold = behind.open().await;
        let (count, found) = behind.count(cold.snapshots().load(chain.saga_id(), At::BeforeStep(step.into()))).await;
        assert!(found.expect("a load").is_some_and(|record| record.next_steps().contains(step)), "{step}");
        assert_eq!(count, most, "{step}");
    }
    let cold = behind.open().await;
    assert_eq!(behind.count(cold.snapshots().load(chain.saga_id(), At::Latest)).await.0, 2);
}

#[tokio::test]
async fn a_history_and_a_log_take_one_and_one_for_each_bundle() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let mut chain = Chain::new("order_1");
    for record in chain.take(300) {
        append(&store, [record]).await;
    }
    let cold = behind.open().await;
    let (count, shown) = behind.count(history(&cold, &chain)).await;
    assert_eq!((count, shown.len()), (3, 300));
    let logs = store.logs().expect("logs");
    for n in 0..300 {
        let (count, len) = behind.count(logs.append_log("s", n, vec![Bytes::from_static(b"entry")])).await;
        assert!(len.expect("an append") == n + 1 && count <= 2, "{count} requests for entry {n}");
    }
    let cold = behind.open().await;
    let (count, shown) = behind.count(cold.logs().expect("logs").read_log("s", 0, u64::MAX).try_collect::<Vec<_>>()).await;
    assert_eq!((count, shown.expect("a reading").len()), (3, 300));
    assert_eq!(behind.count(cold.logs().expect("logs").streams("").try_collect::<Vec<_>>()).await.0, 1, "it has read that head");
}

/// Ten bundles, and a record in the head.
async fn bundled(store: &Store, id: &str) {
    let mut chain = Chain::new(id);
    for _ in 0..10 {
        append(store, (0..10).map(|_| chain.with_context(vec![b'x'; 10_000]))).await;
    }
}

/// What the first conditional removal of a handle takes more: whether the server honours the condition is tried.
const TRIED: usize = 3;

#[tokio::test]
async fn deleting_a_saga_takes_four_and_one_for_its_objects() {
    for variable in [FIRST, SECOND] {
        let behind = Behind::proxy(variable).await;
        let store = behind.open().await;
        for (id, expected) in [("order_1", TRIED + 5), ("order_2", 5)] {
            bundled(&store, id).await;
            let (count, report) = behind.count(store.snapshots().prune(PruneRequest::new(PruneScope::Saga(saga(id))))).await;
            assert_eq!((count, report.expect("a prune").records), (expected, 100), "{variable}");
        }
        let logs = store.logs().expect("logs");
        logs.append_log("s", 0, vec![Bytes::from_static(b"entry")]).await.expect("an append");
        let (count, is_deleted) = behind.count(logs.delete_log("s")).await;
        assert_eq!((count, is_deleted.expect("a delete")), (4, true), "{variable}");
        append(&store, Chain::new("order_3").take(3)).await;
        let (count, report) = behind.count(store.snapshots().prune(PruneRequest::new(PruneScope::Saga(saga("order_3"))))).await;
        assert_eq!((count, report.expect("a prune").records), (4, 3), "{variable}");
    }
}

#[tokio::test]
async fn pruning_a_saga_takes_two_and_two_for_each_bundle_that_is_split_and_one_for_what_goes() {
    let behind = Behind::proxy(SECOND).await;
    let store = behind.open().await;
    bundled(&store, "order_1").await;
    // The newest stays in the head: keeping 21 splits no bundle, keeping 15 splits one.
    for (keep, records, expected) in [(21, 79, 3), (15, 6, 2 + 2 + 1 + 1), (15, 0, 2 + 1), (15, 0, 1)] {
        let scope = PruneScope::KeepNewest { saga_id: Some(saga("order_1")), keep };
        let (count, report) = behind.count(store.snapshots().prune(PruneRequest::new(scope))).await;
        assert_eq!((report.expect("a prune").records, count), (records, expected), "keeping {keep}");
    }
    let listed = behind.place.keys("/b/").await;
    assert_eq!(listed.len(), 2, "{listed:?}");
}

#[tokio::test]
async fn a_scan_of_cells_takes_one_and_one_for_each_that_is_not_known() {
    let behind = Behind::proxy(FIRST).await;
    let store = behind.open().await;
    let cells = store.cells().expect("cells");
    for n in 0..7 {
        cells.put_cell(&format!("k{n}"), Bytes::from_static(b"v"), If::Absent, None).await.expect("a claim");
    }
    let cold = behind.open().await;
    for (store, expected) in [(&store, 1), (&cold, 1 + 7), (&cold, 1)] {
        let (count, found) = behind.count(store.cells().expect("cells").scan_cells("k").try_collect::<Vec<_>>()).await;
        assert_eq!((count, found.expect("a scan").len()), (expected, 7));
    }
}

#[tokio::test]
async fn deleting_a_cell_takes_two() {
    for variable in [FIRST, SECOND] {
        let behind = Behind::proxy(variable).await;
        let store = behind.open().await;
        let cells = store.cells().expect("cells");
        for (key, expected) in [("a", TRIED + 2), ("b", 2)] {
            cells.put_cell(key, Bytes::from_static(b"v"), If::Absent, None).await.expect("a claim");
            let (count, is_deleted) = behind.count(cells.delete_cell(key, If::Any)).await;
            assert_eq!((count, is_deleted.expect("a delete")), (expected, true), "{variable}");
        }
    }
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
    let cold = behind.open().await;
    assert_eq!(behind.count(cold.cells().expect("cells").put_cell("k", value(), If::Any, None)).await.0, 2, "another's cell");
    assert_eq!(behind.count(logs.append_log("s", 0, vec![value()])).await.0, 1);
    assert_eq!(behind.count(logs.append_log("s", 1, vec![value()])).await.0, 1);
    assert_eq!(behind.count(blobs.put_blob(value())).await.0, 1);
    assert_eq!(behind.count(blobs.get_blob(&Digest::of(b"v"))).await.0, 1);
    assert_eq!(behind.count(blobs.delete_blob(&Digest::of(b"v"))).await.0, 2);
}
