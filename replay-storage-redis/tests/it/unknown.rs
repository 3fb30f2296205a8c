//! Outcomes that are not known must be told as such.

use replay_conformance::records::Chain;
use replay_core::{
    ErrorKind, Retry, Store,
    storage::{If, SagaQuery},
};
use replay_services::redis::Options;

use futures::TryStreamExt;

use crate::{
    proxy::{Act, Proxy},
    support::{Admin, append, kind, open, sequences, start, with},
};

/// A saga that goes on, and so has brought the scripts to the server.
async fn begun(store: &Store, id: &str) -> Chain {
    let mut chain = Chain::new(id);
    for _ in 0..2 {
        append(store, &chain.next_record()).await.expect("an append");
    }
    chain
}

#[tokio::test]
async fn a_refusal_of_the_second_attempt_says_nothing_of_the_first() {
    let server = start(Options::default());
    for (n, (refusal, expected)) in [
        ("-LOADING it loads", ErrorKind::Unavailable),
        ("-READONLY it is a replica", ErrorKind::Unavailable),
        ("-OOM it is full", ErrorKind::StoreFull),
        ("-MISCONF its disk is full", ErrorKind::StoreFull),
        ("-NOPERM it may not", ErrorKind::PermissionDenied),
    ]
    .into_iter()
    .enumerate()
    {
        let proxy = Proxy::before(&server);
        let store = open(&with(&proxy.url(), "retry_ms=40")).await;
        let id = format!("s{n}");
        let mut chain = begun(&store, &id).await;
        let mut was_lost = false;
        proxy.rule(move |name| match name {
            "EVALSHA" if !std::mem::replace(&mut was_lost, true) => Act::Lose,
            "EVALSHA" => Act::Answer(refusal),
            _ => Act::Pass,
        });
        let record = chain.next_record();
        let error = kind(append(&store, &record).await, expected);
        assert_eq!(error.retry_advice(), Retry::Ambiguous, "{refusal}: {error:?}");
        proxy.rule(|_| Act::Pass);
        append(&store, &record).await.expect("the same append, made again");
        assert_eq!(sequences(&store, &id).await, [1, 2, 3]);
    }
}

#[tokio::test]
async fn who_cannot_look_whether_it_is_stored_does_not_know() {
    let server = start(Options::default());
    let proxy = Proxy::before(&server);
    let store = open(&with(&proxy.url(), "retry_ms=40")).await;
    let mut chain = begun(&store, "a").await;
    let mut calls = 0;
    proxy.rule(move |name| {
        calls += usize::from(name == "EVALSHA");
        match (name, calls) {
            ("EVALSHA", 1) => Act::Lose,
            ("EVALSHA", 3..) => Act::Answer("-LOADING it loads"),
            _ => Act::Pass,
        }
    });
    let record = chain.next_record();
    let error = kind(append(&store, &record).await, ErrorKind::Unavailable);
    assert_eq!(error.retry_advice(), Retry::Ambiguous, "{error:?}");
    proxy.rule(|_| Act::Pass);
    append(&store, &record).await.expect("the same append, made again");
    assert_eq!(sequences(&store, "a").await, [1, 2, 3]);
}

#[tokio::test]
async fn of_several_sagas_the_one_whose_outcome_is_open_decides() {
    let server = start(Options::default());
    let proxy = Proxy::before(&server);
    let store = open(&proxy.url()).await;
    let (mut a, mut b) = (begun(&store, "a").await, begun(&store, "b").await);
    let mut calls = 0;
    proxy.rule(move |name| {
        calls += usize::from(name == "EVALSHA");
        match (name, calls) {
            ("EVALSHA", 2) => Act::Lose,
            ("EVALSHA", _) => Act::Answer("-OOM it is full"),
            _ => Act::Pass,
        }
    });
    let records = vec![a.next_record(), b.next_record()];
    let error = kind(store.snapshots().append(records.clone()).await, ErrorKind::StoreFull);
    assert_eq!(error.retry_advice(), Retry::Ambiguous, "{error:?}");
    proxy.rule(|_| Act::Pass);
    store.snapshots().append(records).await.expect("the same append, made again");
    let sagas: Vec<_> = store.snapshots().sagas(SagaQuery::default()).try_collect().await.expect("a listing");
    assert!(sagas.len() == 2 && sagas.iter().all(|saga| saga.sequence == 3), "{sagas:?}");
}

#[tokio::test]
async fn a_write_that_could_not_wait_for_replicas_is_open() {
    let server = start(Options::default());
    let mut admin = Admin::of(&server);
    admin.run::<()>(&["ACL", "SETUSER", "few", "on", ">pw", "~replay{*", "+@read", "+@write", "+@scripting", "+ping"]);
    let store = open(&with(&server.url().replacen("://", "://few:pw@", 1), "wait_replicas=1")).await;
    let record = Chain::new("a").next_record();
    let error = kind(append(&store, &record).await, ErrorKind::PermissionDenied);
    assert_eq!(error.retry_advice(), Retry::Ambiguous, "{error:?}");
    let error = kind(store.cells().expect("cells").put_cell("k", "v".into(), If::Any, None).await, ErrorKind::PermissionDenied);
    assert_eq!(error.retry_advice(), Retry::Ambiguous, "{error:?}");
    assert_eq!(sequences(&store, "a").await, [1]);
}

#[tokio::test]
async fn a_primary_that_is_demoted_while_a_write_waits_leaves_it_open() {
    let server = start(Options::default());
    let store = open(&with(server.url(), "wait_replicas=1&response_timeout_ms=20000&retry_ms=40")).await;
    let record = Chain::new("a").next_record();
    let demote = tokio::task::spawn_blocking(move || {
        let mut admin = Admin::of(&server);
        while !admin.run::<String>(&["INFO", "clients"]).contains("blocked_clients:1") {}
        admin.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
        server
    });
    let (result, server) = tokio::join!(append(&store, &record), demote);
    let server = server.expect("it is demoted");
    let error = result.expect_err("nobody has it");
    assert_eq!((error.kind(), error.retry_advice()), (ErrorKind::Unavailable, Retry::Ambiguous), "{error:?}");
    assert_eq!(sequences(&open(server.url()).await, "a").await, [1]);
}
