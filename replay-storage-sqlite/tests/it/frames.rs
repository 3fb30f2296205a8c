//! Contexts as changes of frames: what is in the file, and that nothing is left or lacking in it.

use std::sync::Arc;

use futures::StreamExt;
use replay_core::{
    Compression, ErrorKind, SagaStatus, SnapshotId, SnapshotMeta, SnapshotRecord,
    storage::{At, PruneRequest, PruneScope, SnapshotQuery, SnapshotStorage},
};
use replay_storage_sqlite::Sqlite;
use rusqlite::Connection;

use crate::support::{fresh, id, next_record, open};

/// Some 2 KB in which `n` is all that changes.
fn context(n: u64) -> String {
    let lines = (0..24).map(|line| format!(r#"{{"sku":"SKU-{line:05}","name":"a thing that people order","cents":{}}}"#, line * 37));
    format!(r#"{{"lines":[{}],"step":{n}}}"#, lines.collect::<Vec<_>>().join(","))
}

async fn append_some(store: &Sqlite, saga: &str, count: u64) {
    for n in 1..=count {
        let record = next_record(store, saga, context(n)).await;
        store.append(vec![record]).await.unwrap();
    }
}

fn number(path: &std::path::Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

const FRAMES: &str = "SELECT count(*) FROM frames";

async fn text(store: &Sqlite, saga: &str, sequence: u64) -> replay_core::Result<bytes::Bytes> {
    store.load(&id(saga), At::Sequence(sequence)).await?.expect("a record").context_text()
}

#[tokio::test]
async fn records_of_a_saga_share_a_frame_that_goes_with_the_last_of_them() {
    let (_folder, path, store) = fresh().await;
    append_some(&store, "a", 20).await;
    append_some(&store, "b", 5).await;
    assert_eq!(number(&path, FRAMES), 2);
    assert!(number(&path, "SELECT max(length(context)) FROM records") < 40);
    store.prune(PruneRequest::new(PruneScope::KeepNewest { saga_id: Some(id("a")), keep: 1 })).await.unwrap();
    assert_eq!(number(&path, FRAMES), 2);
    assert_eq!(text(&store, "a", 20).await.unwrap(), context(20));
    store.prune(PruneRequest::new(PruneScope::Saga(id("b")))).await.unwrap();
    assert_eq!(number(&path, FRAMES), 1);
    store.append(vec![ended(&store, "a").await]).await.unwrap();
    for sequence in [20, 21] {
        let record = PruneScope::Record(SnapshotId { saga_id: id("a"), sequence });
        assert_eq!(store.prune(PruneRequest::new(record)).await.unwrap().records, 1);
    }
    assert_eq!((number(&path, FRAMES), number(&path, "SELECT count(*) FROM records")), (0, 0));
}

async fn ended(store: &Sqlite, saga: &str) -> SnapshotRecord {
    let record = next_record(store, saga, context(0)).await;
    let mut meta = SnapshotMeta::clone(record.meta());
    (meta.status, meta.next) = (SagaStatus::Completed, std::iter::empty().collect());
    SnapshotRecord::seal(meta, record.context_text().unwrap())
}

/// ST-18.
#[tokio::test]
async fn what_was_stored_with_another_setting_stays_readable() {
    let (_folder, path, store) = fresh().await;
    drop(store);
    for (turn, compression) in (0..).zip(["off", "zstd", "zstd:9", "off", "zstd:-5"]) {
        let store = Sqlite::builder(&path).compression(compression.parse::<Compression>().unwrap()).open().await.unwrap();
        append_some(&store, "a", 3).await;
        for sequence in 1..=3 * turn + 3 {
            assert_eq!(text(&store, "a", sequence).await.unwrap(), context((sequence - 1) % 3 + 1), "{compression}");
        }
    }
    assert_eq!(number(&path, "SELECT count(*) FROM records WHERE encoding = 0 AND typeof(context) = 'text'"), 6);
}

#[tokio::test]
async fn a_frame_that_was_lost_or_damaged_is_named_by_each_record() {
    let (_folder, path, store) = fresh().await;
    append_some(&store, "a", 3).await;
    let mut read = Vec::new();
    for sequence in 1..=3 {
        read.push(store.load(&id("a"), At::Sequence(sequence)).await.unwrap().unwrap());
    }
    // What was read before is remembered, and hides no damage.
    assert!(read.windows(2).all(|pair| Arc::ptr_eq(pair[0].frame().unwrap(), pair[1].frame().unwrap())));
    for damage in ["UPDATE frames SET context = zeroblob(length(context))", "UPDATE frames SET encoding = 2", "DELETE FROM frames"] {
        Connection::open(&path).unwrap().execute_batch(damage).unwrap();
        for sequence in 1..=3 {
            let error = text(&store, "a", sequence).await.unwrap_err();
            let name = format!("a@{sequence}");
            assert_eq!((error.kind(), error.fact("snapshot")), (ErrorKind::Integrity, Some(&*name)), "{damage}: {error}");
        }
    }
    let headers = store.list(SnapshotQuery::new(id("a")).with_payloads(false));
    assert_eq!(headers.count().await, 3, "what is known without a context is still known");
    append_some(&store, "a", 1).await;
    assert_eq!(text(&store, "a", 4).await.unwrap(), context(1), "the saga goes on with a frame that is put again");
}

/// What a handle remembers of a frame is good only as long as no other connection changes the file.
#[tokio::test]
async fn a_frame_that_another_handle_removed_is_put_again() {
    let (_folder, path, store) = fresh().await;
    append_some(&store, "a", 3).await;
    let other = open(&path).await;
    let record = next_record(&other, "a", context(9)).await;
    other.append(vec![record]).await.unwrap();
    other.prune(PruneRequest::new(PruneScope::KeepNewest { saga_id: Some(id("a")), keep: 1 })).await.unwrap();
    assert_eq!(number(&path, FRAMES), 1, "the frame of the other handle is left");
    append_some(&store, "a", 2).await;
    assert_eq!(number(&path, FRAMES), 2);
    assert_eq!(text(&open(&path).await, "a", 6).await.unwrap(), context(2));
}

/// Text that compresses little.
fn noise(mut seed: u64, len: usize) -> String {
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        char::from(b'a' + u8::try_from((seed >> 32) % 26).unwrap())
    };
    (0..len).map(|_| next()).collect()
}

/// How many records a listing had read when its saga was removed.
async fn read_at_once(store: &Sqlite, saga: &str) -> usize {
    let mut records = store.list(SnapshotQuery::new(id(saga)));
    records.next().await.unwrap().unwrap();
    store.prune(PruneRequest::new(PruneScope::Saga(id(saga)))).await.unwrap();
    1 + records.map(|record| record.unwrap().context_text().unwrap()).count().await
}

#[tokio::test]
async fn a_page_of_a_listing_counts_each_frame_and_counts_it_once() {
    let (_folder, path, store) = fresh().await;
    for n in 1..=10 {
        let record = next_record(&store, "apart", noise(n, 300_000)).await;
        store.append(vec![record]).await.unwrap();
    }
    assert_eq!(number(&path, FRAMES), 10);
    assert!(read_at_once(&store, "apart").await < 5);
    let text = noise(77, 300_000);
    for n in 0..60 {
        let record = next_record(&store, "shared", format!("{text}{n}")).await;
        store.append(vec![record]).await.unwrap();
    }
    assert_eq!(number(&path, FRAMES), 1);
    assert_eq!(read_at_once(&store, "shared").await, 60);
}
