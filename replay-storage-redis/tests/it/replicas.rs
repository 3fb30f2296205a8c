//! Writes that wait for replicas, and what must not wait.

use std::time::{Duration, Instant};

use replay_conformance::records::{self, Chain};
use replay_core::{ErrorKind, Retry, Store, storage::At};
use replay_services::{Server, redis::Options};

use crate::support::{Admin, append, kind, open, sequences, start, with};

/// A primary, its replica, and a store that waits for it.
async fn pair(options: &str) -> (Server, Server, Store) {
    let primary = start(Options::default());
    let replica = start(Options::default().settings(&[("replicaof", &format!("127.0.0.1 {}", primary.port()))]));
    let mut admin = Admin::of(&primary);
    while !admin.run::<String>(&["INFO", "replication"]).contains("state=online") {
        tokio::task::yield_now().await;
    }
    let store = open(&with(primary.url(), &format!("wait_replicas=1&{options}"))).await;
    (primary, replica, store)
}

#[tokio::test]
async fn a_repeat_that_finds_its_work_done_waits_for_the_replica_too() {
    let (primary, replica, store) = pair("response_timeout_ms=1000").await;
    let mut chain = Chain::new("a");
    append(&store, &chain.next_record()).await.expect("the replica has it");
    replica.stop().expect("it stops");
    let record = chain.next_record();
    for _ in 0..3 {
        let error = kind(append(&store, &record).await, ErrorKind::Timeout);
        assert_eq!(error.retry_advice(), Retry::Ambiguous);
        assert!(error.to_string().contains("replicas"), "{error}");
    }
    // Neither does another handle take it for done.
    let other = open(&with(primary.url(), "wait_replicas=1&response_timeout_ms=1000")).await;
    kind(append(&other, &record).await, ErrorKind::Timeout);
    kind(other.snapshots().append(vec![record.clone(), record.clone()]).await, ErrorKind::Timeout);
    kind(other.blobs().expect("blobs").put_blob(vec![7; 100_000].into()).await, ErrorKind::Timeout);
    kind(other.blobs().expect("blobs").put_blob(vec![7; 100_000].into()).await, ErrorKind::Timeout);
    replica.cont().expect("it goes on");
    append(&store, &record).await.expect("the replica has it");
    assert_eq!(sequences(&store, "a").await, [1, 2]);
}

#[tokio::test]
async fn reads_do_not_wait_for_a_replica_that_lags() {
    let (_primary, replica, store) = pair("response_timeout_ms=10000").await;
    let mut chain = Chain::new("a");
    append(&store, &chain.next_record()).await.expect("the replica has it");
    let digest = store.blobs().expect("blobs").put_blob("b".into()).await.expect("a put");
    replica.stop().expect("it stops");
    let record = chain.next_record();
    let waiting = append(&store, &record);
    let reads = async {
        let started = Instant::now();
        // Until the write is visible, which then waits for five seconds.
        while sequences(&store, "a").await.len() < 2 {}
        for at in [At::Latest, At::Sequence(1), At::Time(records::after(0)), At::BeforeStep("x".into())] {
            store.snapshots().load(&records::saga("a"), at).await.expect("a read");
        }
        store.blobs().expect("blobs").get_blob(&digest).await.expect("a read").expect("it is there");
        started.elapsed()
    };
    let (written, took) = tokio::join!(waiting, reads);
    kind(written, ErrorKind::Timeout);
    assert!(took < Duration::from_secs(3), "{took:?}");
    replica.cont().expect("it goes on");
}

#[tokio::test]
async fn writes_that_come_together_wait_together() {
    let (primary, _replica, store) = pair("response_timeout_ms=20000").await;
    Admin::of(&primary).run::<()>(&["CONFIG", "RESETSTAT"]);
    let mut chains: Vec<_> = (0..64).map(|n| Chain::new(&format!("s{n}"))).collect();
    let records: Vec<_> = chains.iter_mut().map(Chain::next_record).collect();
    futures::future::try_join_all(records.iter().map(|record| append(&store, record))).await.expect("the replica has them");
    let stats = Admin::of(&primary).run::<String>(&["INFO", "commandstats"]);
    let waits = stats.split("cmdstat_wait:calls=").nth(1).and_then(|rest| rest.split(',').next()).expect("some");
    let waits: usize = waits.parse().expect("a number");
    assert!((1..=32).contains(&waits), "{waits} for 64 appends");
}
