//! Connections that break, hang or are too few.

use std::time::{Duration, Instant};

use bytes::Bytes;
use replay_conformance::records::{Chain, history, saga};
use replay_core::{
    ErrorKind, Retry,
    storage::{At, CellStorage, If, LogStorage, PruneRequest, PruneScope, SnapshotStorage},
};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    proxy::{Mode, Proxy},
    support::{Schema, admin, newest_sequence, sql, value},
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
    let count: i64 = value(&mut admin, format!("SELECT count(*) FROM {}.saga_snapshots", schema.0)).await;
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

/// Text of the statements that look what is stored of an append, and how a stream ends.
const LOOKS: [&str; 2] = ["SELECT h.sequence, h.digest, s.sequence, s.header", "SELECT l.len, l.len ="];

#[tokio::test]
async fn an_append_that_cannot_be_looked_for_after_its_answer_was_lost_is_unknown() {
    let (schema, proxy) = (Schema::new(), Proxy::start().await);
    let store = schema.at(&proxy.url()).max_connections(1).open().await.unwrap();
    let (mut a, mut b) = (Chain::new("a"), Chain::new("b"));
    let both = |a: &mut Chain, b: &mut Chain| vec![a.next_record(), b.next_record()];
    store.append(both(&mut a, &mut b)).await.unwrap();
    store.append(a.take(1)).await.unwrap();
    // What is prepared already is done in one round trip, so that its answer is the one that is lost.
    for is_alone in [true, false] {
        let records = if is_alone { a.take(1) } else { both(&mut a, &mut b) };
        proxy.set(Mode::CutAnswerThenAsking(LOOKS[0]));
        let error = store.append(records.clone()).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Ambiguous), "{error:?}");
        proxy.set(Mode::Pass);
        assert_eq!(newest_sequence(&store, "a").await, a.sequence(), "it was stored");
        store.append(records).await.unwrap();
        // Prepares on the new connection what the next round sends.
        store.append(both(&mut a, &mut b)).await.unwrap();
    }
    // A refusal whose look fails, with no answer lost before, has done nothing.
    let store = schema.at(&proxy.url()).open().await.unwrap();
    let other = Chain::new("a").with_context("{}");
    proxy.set(Mode::CutAsking(LOOKS[0]));
    let error = store.append(vec![other]).await.unwrap_err();
    assert_eq!(error.retry_advice(), Retry::Safe, "{error:?}");
}

#[tokio::test]
async fn log_entries_that_cannot_be_looked_for_after_their_answer_was_lost_are_unknown() {
    let (schema, proxy) = (Schema::new(), Proxy::start().await);
    let store = schema.at(&proxy.url()).max_connections(1).open().await.unwrap();
    let entry = || vec![Bytes::from_static(b"x")];
    store.append_log("s", 0, entry()).await.unwrap();
    store.append_log("s", 1, entry()).await.unwrap();
    proxy.set(Mode::CutAnswerThenAsking(LOOKS[1]));
    let error = store.append_log("s", 2, entry()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Ambiguous), "{error:?}");
    proxy.set(Mode::Pass);
    assert_eq!(store.append_log("s", 2, entry()).await.unwrap(), 3, "it was stored, and that is recognised");
}

#[tokio::test]
async fn what_is_deleted_is_said_to_be_though_its_rows_cannot_be_swept() {
    let (schema, proxy) = (Schema::new(), Proxy::start().await);
    let store = schema.at(&proxy.url()).open().await.unwrap();
    store.append(history("a", 3)).await.unwrap();
    store.append_log("s", 0, vec![Bytes::from_static(b"x")]).await.unwrap();
    proxy.set(Mode::CutAsking("SELECT kind, number FROM"));
    assert!(store.delete_log("s").await.unwrap());
    proxy.set(Mode::Pass);
    assert!(!store.delete_log("s").await.unwrap());
    let all = || PruneRequest::new(PruneScope::Expired { now: chrono::DateTime::<chrono::Utc>::MIN_UTC });
    store.prune(all()).await.unwrap();
    let mut admin = admin().await;
    let rows = format!("SELECT count(*) FROM {}.log_entries", schema.0);
    assert_eq!(value::<i64>(&mut admin, rows).await, 0, "the next prune sweeps them");
}

/// Waits until the server has no session that asked for something in this schema.
async fn until_no_session(schema: &Schema) {
    let mut admin = admin().await;
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%{}%'", schema.0);
    assert!(value::<i64>(&mut admin, sessions.as_str()).await > 0, "there was none");
    let all_closed = async { while value::<i64>(&mut admin, sessions.as_str()).await > 0 {} };
    timeout(Duration::from_secs(20), all_closed).await.expect("the connections are closed though nobody asks for one");
}

#[tokio::test]
async fn connections_that_nobody_uses_are_closed() {
    let schema = Schema::new();
    let store = schema.builder().idle_timeout(Duration::from_secs(1)).open().await.unwrap();
    store.append(history("a", 1)).await.unwrap();
    until_no_session(&schema).await;
    // The next call makes one, which is closed as well.
    assert_eq!(newest_sequence(&store, "a").await, 1);
    until_no_session(&schema).await;
    let store = schema.builder().max_lifetime(Duration::from_secs(1)).open().await.unwrap();
    assert_eq!(newest_sequence(&store, "a").await, 1);
    until_no_session(&schema).await;
    drop(store);
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
