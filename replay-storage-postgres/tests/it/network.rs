//! Connections that break, hang or are too few.

use std::time::{Duration, Instant};

use bytes::Bytes;
use replay_conformance::records::{Chain, history, saga};
use replay_core::{
    ErrorKind, Retry,
    storage::{At, CellStorage, If, SnapshotStorage},
};
use tokio::task::JoinSet;

use crate::{
    proxy::{Mode, Proxy},
    support::{Schema, admin, newest_sequence, sql},
};

const SHORT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_response_that_never_comes_ends_with_the_deadline() {
    let (schema, proxy) = (Schema::new(), Proxy::start().await);
    let store = schema.at(&proxy.url()).timeout(SHORT).connect_timeout(SHORT * 4).open().await.unwrap();
    let mut chain = Chain::new("a");
    store.append(chain.take(1)).await.unwrap();
    proxy.set(Mode::Swallow);
    let began = Instant::now();
    let error = store.append(chain.take(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Timeout, Retry::Ambiguous), "{error:?}");
    let error = store.load(&saga("a"), At::Latest).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable), "{error:?}");
    assert_eq!(error.retry_advice(), Retry::Safe, "a read does nothing");
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_black_holed_connection_gives_its_place_back() {
    let (schema, proxy) = (Schema::new(), Proxy::start().await);
    let store = schema
        .at(&proxy.url())
        .timeout(SHORT)
        .connect_timeout(SHORT * 4)
        .max_connections(2)
        .acquire_timeout(Duration::from_secs(20))
        .open()
        .await
        .unwrap();
    store.append(history("a", 1)).await.unwrap();
    proxy.set(Mode::Swallow);
    let mut calls = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        calls.spawn(async move { store.load(&saga("a"), At::Latest).await });
    }
    assert!(calls.join_all().await.iter().all(Result::is_err));
    // What hangs is not waited for: new connections are made once the network lets them.
    proxy.set(Mode::Pass);
    assert_eq!(newest_sequence(&store, "a").await, 1);
}

#[tokio::test]
async fn two_connections_serve_two_hundred_tasks() {
    let schema = Schema::new();
    let store = schema.builder().max_connections(2).open().await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..200 {
        let store = store.clone();
        tasks.spawn(async move {
            let mut chain = Chain::new(&format!("saga_{n}"));
            for _ in 0..3 {
                store.append(chain.take(1)).await.unwrap();
                assert_eq!(newest_sequence(&store, chain.saga_id().as_str()).await, chain.sequence());
            }
        });
    }
    tasks.join_all().await;
    let mut admin = admin().await;
    let count: i64 = crate::support::value(&mut admin, format!("SELECT count(*) FROM {}.saga_snapshots", schema.0)).await;
    assert_eq!(count, 600);
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_one_record() {
    let (schema, proxy) = (Schema::new(), Proxy::start().await);
    let store = schema.at(&proxy.url()).open().await.unwrap();
    let mut chain = Chain::new("a");
    store.append(chain.take(1)).await.unwrap();
    proxy.set(Mode::CutAnswers);
    let record = chain.next_record();
    let error = store.append(vec![record.clone()]).await.unwrap_err();
    assert_eq!(error.retry_advice(), Retry::Ambiguous, "{error:?}");
    proxy.set(Mode::Pass);
    store.append(vec![record]).await.unwrap();
    assert_eq!(newest_sequence(&store, "a").await, 2);
    let error = store.append(vec![Chain::new("a").with_context("{}")]).await.unwrap_err();
    assert_eq!((error.kind(), error.fact("expected")), (ErrorKind::Conflict, Some("3")));
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_said_to_be_unknown() {
    let (schema, proxy) = (Schema::new(), Proxy::start().await);
    let store = schema.at(&proxy.url()).open().await.unwrap();
    store.put_cell("k", Bytes::from_static(b"1"), If::Any, None).await.unwrap();
    proxy.set(Mode::CutAnswers);
    let error = store.put_cell("k", Bytes::from_static(b"2"), If::Any, None).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Ambiguous), "{error:?}");
}

#[tokio::test]
async fn connections_that_the_server_ended_are_replaced() {
    let schema = Schema::new();
    let store = schema.builder().open().await.unwrap();
    let mut chain = Chain::new("a");
    let mut admin = admin().await;
    for _ in 0..3 {
        store.append(chain.take(1)).await.unwrap();
        assert_eq!(newest_sequence(&store, "a").await, chain.sequence());
        // Those of other tests would be ended as well, had the statements not this schema's name in them.
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE";
        sql(&mut admin, format!("{kill} '%{}%'", schema.0)).await;
    }
    store.append(chain.take(1)).await.unwrap();
    assert_eq!(newest_sequence(&store, "a").await, 4);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_undone_by_the_server() {
    let schema = Schema::new();
    let store = schema.builder().timeout(Duration::from_secs(1)).open().await.unwrap();
    let mut chain = Chain::new("a");
    store.append(chain.take(1)).await.unwrap();
    let mut admin = admin().await;
    sql(&mut admin, format!("BEGIN; SELECT * FROM {}.saga_heads FOR UPDATE", schema.0)).await;
    let record = chain.next_record();
    let error = store.append(vec![record.clone()]).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Timeout, Retry::Safe), "{error:?}");
    assert_eq!(error.fact("sqlstate"), Some("57014"));
    sql(&mut admin, "ROLLBACK").await;
    store.append(vec![record]).await.unwrap();
}

#[tokio::test]
async fn what_a_deadlock_undid_is_done_again() {
    let schema = Schema::new();
    let store = schema.open().await;
    let (mut a, mut b) = (Chain::new("a"), Chain::new("b"));
    store.append(vec![a.next_record(), b.next_record()]).await.unwrap();
    let heads = format!("UPDATE {}.saga_heads SET step = step WHERE saga_id", schema.0);
    let mut other = admin().await;
    // The other transaction has b and then wants a; removing both takes a first.
    sql(&mut other, format!("SET deadlock_timeout = '10s'; BEGIN; {heads} = 'b'")).await;
    let appends = tokio::spawn({
        let store = store.clone();
        async move { store.append(vec![a.next_record(), b.next_record()]).await }
    });
    sql(&mut other, format!("{heads} = 'a'; COMMIT")).await;
    appends.await.unwrap().unwrap();
    assert_eq!((newest_sequence(&store, "a").await, newest_sequence(&store, "b").await), (2, 2));
}
