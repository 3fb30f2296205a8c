//! Servers of a test's own, and what is asked of them beside the store.

use futures::TryStreamExt;
use replay_conformance::records::{self, Chain};
use replay_core::{
    Error, ErrorKind, Result, SnapshotRecord, Store,
    storage::{At, SnapshotQuery},
};
use replay_services::{Server, redis as server};
use replay_storage_redis::Redis;

pub(crate) fn start(options: server::Options) -> Server {
    server::start(options).expect("a Redis server starts")
}

pub(crate) async fn open(url: &str) -> Store {
    try_open(url).await.expect("the store opens")
}

pub(crate) async fn try_open(url: &str) -> Result<Store> {
    Ok(Redis::builder(url)?.open().await?.into_store())
}

pub(crate) fn with(url: &str, options: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{options}")
}

pub(crate) async fn append(store: &Store, record: &SnapshotRecord) -> Result<()> {
    store.snapshots().append(vec![record.clone()]).await
}

pub(crate) async fn sequences(store: &Store, id: &str) -> Vec<u64> {
    let records: Vec<_> = store.snapshots().list(SnapshotQuery::new(records::saga(id))).try_collect().await.expect("a listing");
    records.iter().map(|record| record.sequence).collect()
}

/// Appends a first record and reads it back.
pub(crate) async fn works(store: &Store, id: &str) {
    let record = Chain::new(id).next_record();
    append(store, &record).await.expect("an append");
    let found = store.snapshots().load(&records::saga(id), At::Latest).await.expect("a load");
    assert_eq!(found, Some(record));
}

pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) -> Error {
    let error = result.expect_err("it is refused");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.advice().is_some_and(|hint| !hint.is_empty()), "it says what to do: {error:?}");
    error
}

/// A connection beside the store's, for what only an administrator does.
pub(crate) struct Admin(redis::Connection);

impl Admin {
    pub(crate) fn of(server: &Server) -> Self {
        let client = redis::Client::open(server.url()).expect("a URL");
        Self(client.get_connection().expect("a connection"))
    }

    pub(crate) fn run<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut cmd = redis::cmd(words[0]);
        for word in &words[1..] {
            cmd.arg(*word);
        }
        cmd.query(&mut self.0).expect("the command is accepted")
    }
}
