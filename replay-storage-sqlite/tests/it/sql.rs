//! What SQL sees of a store.

use bytes::Bytes;
use futures::TryStreamExt;
use replay_core::{
    Compression, Digest, ErrorKind, SagaStatus, SnapshotMeta, SnapshotRecord,
    storage::{At, PruneRequest, PruneScope, SagaQuery, SnapshotStorage},
};
use replay_storage_sqlite::Sqlite;
use rusqlite::Connection;

use crate::support::{append_up_to, fresh, id, newest, next_record, open, record, record_after};

#[tokio::test]
async fn a_context_without_compression_is_queried_with_plain_sql() {
    let (_folder, path, store) = fresh().await;
    drop(store);
    let store = Sqlite::builder(&path).compression(Compression::Off).open().await.unwrap();
    for n in 1..=3 {
        let context = format!(r#"{{"n":{n},"token":"tok_{n}","note":"{}"}}"#, "much of the same, ".repeat(100));
        let record = next_record(&store, "order_1", context).await;
        store.append(vec![record]).await.unwrap();
    }
    let sql = Connection::open(&path).unwrap();
    let row: (String, i64, String, String, String, String, String) = sql
        .query_row(
            "SELECT saga_name, sequence, phase, status, step, created_at, json_extract(context, '$.token')
             FROM snapshots WHERE saga_id = 'order_1' AND json_extract(context, '$.n') = 2",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?)),
        )
        .unwrap();
    let expected = ("order", 2, "before_step", "executing", "charge", "2026-01-01T00:00:00.002000Z", "tok_2");
    assert_eq!((&*row.0, row.1, &*row.2, &*row.3, &*row.4, &*row.5, &*row.6), expected);
}

#[tokio::test]
async fn a_context_that_is_no_text_comes_back_as_it_was() {
    let (_folder, path, store) = fresh().await;
    let contexts = [&b"\xff\xfe not UTF-8"[..], b"\"nul \0 inside\"", b"", b"{\"a\":1,\"a\":2, \"b\" : 1.0}"];
    for context in contexts {
        let record = next_record(&store, "odd", Bytes::from_static(context)).await;
        store.append(vec![record]).await.unwrap();
    }
    for (sequence, context) in (1..).zip(contexts) {
        let record = store.load(&id("odd"), At::Sequence(sequence)).await.unwrap().unwrap();
        assert_eq!(record.decode().unwrap().context_text(), context);
    }
    let sql = Connection::open(&path).unwrap();
    let kinds: String = sql
        .query_row("SELECT group_concat(typeof(context)) FROM (SELECT context FROM records ORDER BY sequence)", [], |r| r.get(0))
        .unwrap();
    assert_eq!(kinds, "blob,text,text,text");
}

#[tokio::test]
async fn an_id_is_never_taken_for_sql_or_for_a_pattern() {
    let (_folder, _path, store) = fresh().await;
    let ids = ["'; DROP TABLE records; --", "%", "_", "*", "a%b", "A%B", "\"", "?1", ":saga_id", "x' OR '1'='1"];
    for saga in ids {
        store.append(vec![record(saga, 1)]).await.unwrap();
    }
    for saga in ids {
        assert_eq!(newest(&store, saga).await, 1, "{saga}");
    }
    assert_eq!(newest(&store, "a_b").await, 0);
    assert_eq!(newest(&store, "a%B").await, 0);
}

#[tokio::test]
async fn rows_that_changed_places_are_noticed() {
    let (_folder, path, store) = fresh().await;
    append_up_to(&store, "a", 2).await;
    append_up_to(&store, "b", 2).await;
    let sql = Connection::open(&path).unwrap();
    let swap = |rows: &str| sql.execute_batch(rows).unwrap();
    swap("UPDATE records SET saga_no = 3 - saga_no WHERE sequence = 1");
    let error = store.load(&id("a"), At::Sequence(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.fact("snapshot")), (ErrorKind::Integrity, Some("a@1")), "{error}");

    swap("UPDATE records SET sequence = 7 WHERE saga_no = 2 AND sequence = 2");
    let error = store.load(&id("b"), At::Latest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity, "{error}");
}

#[tokio::test]
async fn a_newest_record_that_vanished_from_a_saga_that_ended_is_noticed() {
    let (_folder, path, store) = fresh().await;
    append_up_to(&store, "a", 2).await;
    let before = record("a", 2);
    let mut meta = SnapshotMeta::clone(before.meta());
    (meta.sequence, meta.prev_digest, meta.status) = (3, before.digest(), SagaStatus::Completed);
    let end = SnapshotRecord::seal(meta, "{}".into());
    store.append(vec![end.clone()]).await.unwrap();
    Connection::open(&path).unwrap().execute_batch("DELETE FROM records WHERE sequence = 3").unwrap();
    assert_eq!(store.load(&id("a"), At::Latest).await.unwrap_err().kind(), ErrorKind::Integrity);
    assert_eq!(store.append(vec![end]).await.unwrap_err().kind(), ErrorKind::Integrity);
    let listed: Result<Vec<_>, _> = store.sagas(SagaQuery::default()).try_collect().await;
    assert_eq!(listed.unwrap_err().kind(), ErrorKind::Integrity);
}

/// What a process remembers of a saga's head is good only as long as no other connection changes the file.
#[tokio::test]
async fn appends_of_two_handles_in_turn_see_each_other() {
    let (_folder, path, store) = fresh().await;
    let other = open(&path).await;
    for sequence in 1..=20 {
        let (first, second) = if sequence % 2 == 0 { (&store, &other) } else { (&other, &store) };
        first.append(vec![record("a", sequence)]).await.unwrap();
        second.append(vec![record("a", sequence)]).await.unwrap();
        let stale = record_after(Digest::ZERO, "a", sequence, "{}");
        assert_eq!(second.append(vec![stale]).await.unwrap_err().kind(), ErrorKind::Conflict);
    }
    assert_eq!(newest(&store, "a").await, 20);
}

/// A saga that was removed and begun anew has another head, also for the process that knew the old one.
#[tokio::test]
async fn a_removed_saga_begins_anew() {
    let (_folder, _path, store) = fresh().await;
    append_up_to(&store, "a", 3).await;
    store.prune(PruneRequest::new(PruneScope::Saga(id("a")))).await.unwrap();
    assert_eq!(store.append(vec![record("a", 4)]).await.unwrap_err().kind(), ErrorKind::Conflict);
    append_up_to(&store, "a", 2).await;
    assert_eq!(newest(&store, "a").await, 2);
}
