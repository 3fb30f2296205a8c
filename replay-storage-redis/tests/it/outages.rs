//! Servers that are away, stop, forget, fill up.

use std::time::{Duration, Instant};

use futures::{TryStreamExt, future::join_all};
use replay_conformance::records::{self, Chain};
use replay_core::{
    Error, ErrorKind, Retry,
    storage::{At, SagaQuery},
};
use replay_services::redis::Options;

use crate::support::{Admin, append, kind, open, sequences, start, try_open, with, works};

#[tokio::test]
async fn nobody_at_the_address_is_said_at_once() {
    let server = start(Options::default());
    server.kill().expect("it ends");
    let started = Instant::now();
    let error = kind(try_open(server.url()).await, ErrorKind::Unavailable);
    assert_eq!(error.retry_advice(), Retry::Safe);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn the_store_reconnects_and_what_was_acknowledged_is_there() {
    let server = start(Options::default().durable(true));
    let store = open(&with(server.url(), "retry_ms=100")).await;
    let mut chain = Chain::new("a");
    append(&store, &chain.next_record()).await.expect("an append");
    server.kill().expect("it ends");
    let lost = chain.next_record();
    let error = kind(append(&store, &lost).await, ErrorKind::Unavailable);
    assert_ne!(error.retry_advice(), Retry::Never);
    server.restart().expect("it starts");
    append(&store, &lost).await.expect("the same append, made again");
    append(&store, &chain.next_record()).await.expect("an append");
    assert_eq!(sequences(&store, "a").await, [1, 2, 3]);
}

#[tokio::test]
async fn a_restart_in_the_middle_is_ridden_out() {
    let server = start(Options::default().durable(true));
    let store = open(&with(server.url(), "retry_ms=20000")).await;
    let writers = join_all((0..4).map(|n| {
        let store = store.clone();
        async move {
            let mut chain = Chain::new(&format!("s{n}"));
            for _ in 0..300 {
                append(&store, &chain.next_record()).await?;
            }
            Ok::<_, Error>(())
        }
    }));
    let restart = async {
        // Somewhere among the appends.
        while sequences(&store, "s0").await.len() < 50 {
            tokio::task::yield_now().await;
        }
        tokio::task::spawn_blocking(move || {
            server.kill().expect("it ends");
            server.restart().expect("it starts");
            server
        })
        .await
        .expect("it restarts")
    };
    let (written, _server) = tokio::join!(writers, restart);
    for (n, result) in written.into_iter().enumerate() {
        result.expect("each append is acknowledged in the end");
        assert_eq!(sequences(&store, &format!("s{n}")).await, (1..=300).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_write_without_an_answer_ends_and_counts_once_when_it_is_repeated() {
    let server = start(Options::default());
    let store = open(&with(server.url(), "response_timeout_ms=200&connect_timeout_ms=200&retry_ms=100")).await;
    let mut chain = Chain::new("a");
    append(&store, &chain.next_record()).await.expect("an append");
    server.stop().expect("it stops");
    let (started, record) = (Instant::now(), chain.next_record());
    let error = kind(append(&store, &record).await, ErrorKind::Timeout);
    assert_eq!(error.retry_advice(), Retry::Ambiguous);
    let error = kind(store.snapshots().load(&records::saga("a"), At::Latest).await, ErrorKind::Unavailable);
    assert_eq!(error.retry_advice(), Retry::Safe);
    assert!(started.elapsed() < Duration::from_secs(3));
    server.cont().expect("it goes on");
    // What the server had already received is carried out now, and the same append finds it.
    append(&store, &record).await.expect("the same append, made again");
    append(&store, &chain.next_record()).await.expect("an append");
    assert_eq!(sequences(&store, "a").await, [1, 2, 3]);
}

#[tokio::test]
async fn lost_data_is_a_conflict_and_new_sagas_are_whole() {
    let server = start(Options::default());
    let store = open(server.url()).await;
    let mut chain = Chain::new("a");
    for _ in 0..3 {
        append(&store, &chain.next_record()).await.expect("an append");
    }
    Admin::of(&server).run::<()>(&["FLUSHALL"]);
    let error = kind_of_conflict(append(&store, &chain.next_record()).await);
    assert_eq!((error.fact("sequence"), error.fact("expected")), (Some("4"), Some("1")));
    // Whoever reads them has nothing in memory.
    works(&store, "b").await;
    let other = open(server.url()).await;
    assert_eq!(sequences(&other, "b").await, [1]);
    assert_eq!(sequences(&other, "a").await, [0; 0]);
}

fn kind_of_conflict(result: replay_core::Result<()>) -> Error {
    let error = result.expect_err("it is refused");
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Conflict, Retry::Never), "{error:?}");
    error
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_brought_back() {
    let server = start(Options::default());
    let store = open(server.url()).await;
    let mut chain = Chain::new("a");
    for _ in 0..3 {
        Admin::of(&server).run::<()>(&["SCRIPT", "FLUSH"]);
        append(&store, &chain.next_record()).await.expect("an append");
    }
    assert_eq!(sequences(&store, "a").await, [1, 2, 3]);
}

#[tokio::test]
async fn a_full_server_stores_nothing_and_goes_on_when_there_is_room() {
    let server = start(Options::default().settings(&[("maxmemory", "8mb"), ("maxmemory-policy", "noeviction")]));
    let store = open(server.url()).await;
    let mut chain = Chain::new("a");
    let context = format!("\"{}\"", "x".repeat(256 << 10));
    let (mut stored, refused) = loop {
        let record = chain.with_context(context.clone());
        match append(&store, &record).await {
            Ok(()) => assert!(chain.sequence() < 100, "it never fills up"),
            Err(error) => break (chain.sequence() - 1, (record, error)),
        }
    };
    let (record, error) = refused;
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::StoreFull, Retry::Safe), "{error:?}");
    assert_eq!(sequences(&store, "a").await.len() as u64, stored);
    kind(append(&store, &Chain::new("b").next_record()).await, ErrorKind::StoreFull);
    Admin::of(&server).run::<()>(&["CONFIG", "SET", "maxmemory", "64mb"]);
    append(&store, &record).await.expect("there is room");
    stored += 1;
    assert_eq!(sequences(&store, "a").await.len() as u64, stored);
    let sagas: Vec<_> = store.snapshots().sagas(SagaQuery::default()).try_collect().await.expect("a listing");
    assert_eq!(sagas.len(), 1, "a refused start leaves nothing behind");
}

#[tokio::test]
async fn a_replica_is_named() {
    let primary = start(Options::default());
    let replica = start(Options::default().settings(&[("replicaof", &format!("127.0.0.1 {}", primary.port()))]));
    let store = open(&with(replica.url(), "retry_ms=100")).await;
    let error = kind(append(&store, &Chain::new("a").next_record()).await, ErrorKind::Unavailable);
    assert!(error.to_string().contains("replica"), "{error:?}");
}

#[tokio::test]
async fn an_append_that_is_given_up_leaves_the_connection_to_others() {
    let server = start(Options::default());
    let store = open(server.url()).await;
    let mut chain = Chain::new("a");
    for n in 0..100_u32 {
        let record = chain.next_record();
        {
            let mut call = std::pin::pin!(append(&store, &record));
            for _ in 0..n % 4 {
                let _ = futures::poll!(&mut call);
                tokio::task::yield_now().await;
            }
        }
        append(&store, &record).await.expect("the same append, made again");
    }
    assert_eq!(sequences(&store, "a").await.len(), 100);
}
