//! Sentinel, clusters and replicas.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use replay_conformance::records::Chain;
use replay_core::{ErrorKind, Retry};
use replay_services::{Server, redis::Options, required_url};

use crate::support::{append, kind, open, sequences, start, try_open, with, works};

#[tokio::test]
async fn a_node_of_a_cluster_is_named_as_such() {
    let url = required_url("REPLAY_TEST_REDIS_CLUSTER_URL").replacen("redis+cluster:", "redis:", 1);
    let (first, _) = url.split_once(',').expect("three nodes");
    let store = open(first).await;
    let mut errors = Vec::new();
    for n in 0..32 {
        errors.extend(append(&store, &Chain::new(&format!("s{n}")).next_record()).await.err());
    }
    let error = errors.into_iter().find(|error| error.is(ErrorKind::Invalid)).expect("most slots are on other nodes");
    assert!(error.advice().expect("advice").contains("redis+cluster:"), "{error:?}");
}

#[tokio::test]
async fn a_cluster_whose_node_is_away_fails_in_time_and_goes_on() {
    let server = start(Options::default().cluster(true).durable(true));
    let store = open(&with(server.url(), "response_timeout_ms=1000&retry_ms=200")).await;
    let mut chains: Vec<_> = (0..24).map(|n| Chain::new(&format!("s{n}"))).collect();
    for chain in &mut chains {
        append(&store, &chain.next_record()).await.expect("an append");
    }
    server.kill_node(1).expect("it ends");
    let mut refused = Vec::new();
    for chain in &mut chains {
        let record = chain.next_record();
        if let Err(error) = append(&store, &record).await {
            assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error:?}");
            assert_ne!(error.retry_advice(), Retry::Never, "{error:?}");
            refused.push(record);
        }
    }
    assert!(!refused.is_empty(), "a third of the slots is away");
    server.restart_node(1).expect("it starts");
    let store = open(server.url()).await;
    for record in refused {
        append(&store, &record).await.expect("the same append, made again");
    }
    for n in 0..24 {
        assert_eq!(sequences(&store, &format!("s{n}")).await, [1, 2]);
    }
}

#[tokio::test]
async fn too_few_replicas_leave_the_outcome_open() {
    let primary = start(Options::default());
    let url = with(primary.url(), "wait_replicas=1&response_timeout_ms=1000");
    let store = open(&url).await;
    let record = Chain::new("a").next_record();
    let error = kind(append(&store, &record).await, ErrorKind::Timeout);
    assert_eq!(error.retry_advice(), Retry::Ambiguous);
    let _replica = start(Options::default().settings(&[("replicaof", &format!("127.0.0.1 {}", primary.port()))]));
    let store = open(&with(primary.url(), "wait_replicas=1&response_timeout_ms=20000")).await;
    append(&store, &record).await.expect("the replica has it");
    assert_eq!(sequences(&store, "a").await, [1]);
}

/// A Sentinel beside a primary; it ends with the test.
struct Sentinel {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    fn beside(primary: &Server) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let config = folder.path().join("sentinel.conf");
        let text = format!("port {port}\nbind 127.0.0.1\nsentinel monitor orders 127.0.0.1 {} 1\n", primary.port());
        std::fs::write(&config, text).expect("a file");
        let process =
            Command::new("redis-server").arg(&config).arg("--sentinel").stdout(Stdio::null()).spawn().expect("redis-server starts");
        Self { process, port, _folder: folder }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn sentinel_leads_to_the_primary() {
    let primary = start(Options::default());
    let sentinel = Sentinel::beside(&primary);
    let url = |name: &str| format!("redis+sentinel://127.0.0.1:{}/{name}", sentinel.port);
    let store = loop {
        match try_open(&url("orders")).await {
            Ok(store) => break store,
            // It is still starting.
            Err(error) => assert_eq!(error.retry_advice(), Retry::Safe, "{error:?}"),
        }
    };
    works(&store, "a").await;
    let error = kind(try_open(&url("other")).await, ErrorKind::Unavailable);
    assert!(error.to_string().contains("Sentinel"), "{error:?}");
}
