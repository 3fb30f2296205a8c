use std::{fmt, sync::atomic::AtomicU32};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use replay_core::{
    Error, ErrorKind, Namespace, Result, SagaId, SagaStatus, SnapshotRecord,
    replay::{ReplayRequest, ReplayStatus, SagaReplay},
    saga::{ResumeOptions, StopSignal},
    storage::{
        At, Capabilities, LogEntry, LogStorage, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage,
        StreamInfo,
    },
};

use super::*;

#[tokio::test]
async fn rp19_a_replay_whose_process_died_is_shown_and_reconciled_when_it_is_resumed() {
    let store = store().await;
    let (gate, journal) = (Gate::default(), Journal::default());
    gate.open();
    let first = runner(&store);
    first.start_with(&gated_order(&journal, &gate), json!({}), named("o")).await.unwrap();
    let gate = Gate::default();
    let replay = replays(&first, gated_order(&journal, &gate));
    drop(first);
    let running = tokio::spawn(async move { replay.replay(ReplayRequest::from_step(id("o"), "ship").with_new_id(id("n"))).await });
    gate.reached().await;
    let second = runner(&store);
    let other = replays(&second, gated_order(&journal, &gate));
    let entry = other.replays(&id("o")).await.unwrap().remove(0);
    assert_eq!((entry.status, entry.interrupted, entry.ended_at), (ReplayStatus::Running, false, None));

    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    let entry = other.replays(&id("o")).await.unwrap().remove(0);
    assert_eq!((entry.status, entry.interrupted), (ReplayStatus::Running, true));
    assert_eq!(other.reconcile(&id("n")).await.unwrap().unwrap().status, ReplayStatus::Running);

    gate.open();
    let report = other.resume(&id("n"), ResumeOptions::default()).await.unwrap();
    assert_eq!(report.status, SagaStatus::Completed);
    let entry = other.replays(&id("o")).await.unwrap().remove(0);
    assert_eq!((entry.status, entry.interrupted), (ReplayStatus::Success, false));
    assert!(entry.ended_at.is_some());
    assert_eq!(lines(&store, "o").await, 2, "its end is written, not only derived");
    assert_eq!(other.reconcile(&id("n")).await.unwrap().unwrap().status, ReplayStatus::Success);
    assert_eq!(lines(&store, "o").await, 2);
    assert!(other.reconcile(&id("o")).await.unwrap().is_none(), "no replay made the original");
    let keys = keys_of(&journal, "ship");
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]));
}

async fn stream(store: &Store, original: &str) -> String {
    let newest = store.snapshots().load(&id(original), At::Latest).await.unwrap().unwrap();
    format!("replay:{}/{original}", newest.history.unwrap())
}

async fn lines(store: &Store, original: &str) -> usize {
    use futures::StreamExt;
    store.logs().unwrap().read_log(&stream(store, original).await, 0, u64::MAX).count().await
}

#[tokio::test]
async fn rp19_a_saga_that_was_resumed_by_other_means_is_reconciled_from_its_head() {
    let store = store().await;
    let (runner, replay, journal) = ran(&store, json!({})).await;
    let stop = StopSignal::new();
    stop.interrupt();
    let request = ReplayRequest::from_step(id("o"), "ship").with_new_id(id("n")).with_stop(stop);
    let result = replay.replay(request).await.unwrap();
    assert_eq!(result.status, ReplayStatus::Running);
    assert!(result.report.unwrap().interrupted);
    runner.resume(&order(&journal), &id("n")).await.unwrap();
    assert_eq!(replay.replays(&id("o")).await.unwrap()[0].status, ReplayStatus::Success, "derived");
    assert_eq!(lines(&store, "o").await, 1);
    replay.reconcile(&id("n")).await.unwrap();
    assert_eq!(lines(&store, "o").await, 2);
}

#[tokio::test]
async fn a_cancelled_replay_says_so() {
    let store = store().await;
    let (_, replay, _) = ran(&store, json!({})).await;
    let stop = StopSignal::new();
    stop.cancel();
    let result = replay.replay(ReplayRequest::from_step(id("o"), "ship").with_stop(stop)).await.unwrap();
    assert_eq!(result.status, ReplayStatus::Cancelled);
    assert_eq!(replay.replays(&id("o")).await.unwrap()[0].status, ReplayStatus::Cancelled);
}

#[tokio::test]
async fn rp20_five_concurrent_requests_with_one_key_are_one_replay() {
    let store = store().await;
    let journal = Journal::default();
    let first = runner(&store);
    first.start_with(&order(&journal), json!({}), named("o")).await.unwrap();
    journal.lock().unwrap().clear();
    let mut tasks = Vec::new();
    for n in 0..5 {
        // Three on one runner, two on runners of their own.
        let runner = if n < 3 { first.clone() } else { runner(&store) };
        let replay = replays(&runner, order(&journal));
        tasks.push(tokio::spawn(async move { replay.replay(ReplayRequest::from_step(id("o"), "ship").with_replay_key("k")).await }));
    }
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap().unwrap());
    }
    assert_eq!(results.iter().filter(|result| !result.existing).count(), 1);
    assert!(results.iter().all(|result| result.replay_id == results[0].replay_id && result.new_saga == results[0].new_saga));
    assert_eq!(noted(&journal), ["+ship"]);

    let replay = replays(&first, order(&journal));
    let later = replay.replay(ReplayRequest::from_step(id("o"), "ship").with_replay_key("k")).await.unwrap();
    assert_eq!((later.existing, later.status), (true, ReplayStatus::Success));
    let other = ReplayRequest::from_step(id("o"), "charge").with_replay_key("k");
    assert!(replay.replay(other).await.unwrap_err().is(ErrorKind::Conflict), "one key is for one replay");
    let another = replay.replay(ReplayRequest::from_step(id("o"), "ship").with_replay_key("k2")).await.unwrap();
    assert!(!another.existing);
    assert!(replay.replay(ReplayRequest::from_step(id("o"), "ship").with_replay_key("")).await.unwrap_err().is(ErrorKind::Invalid));
}

/// Snapshots that are never appended, and never refused either.
#[derive(Debug)]
struct Stuck(Arc<dyn SnapshotStorage>);

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stuck({})", self.0)
    }
}

#[async_trait]
impl SnapshotStorage for Stuck {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn append(&self, _: Vec<SnapshotRecord>) -> Result<()> {
        std::future::pending().await
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        self.0.load(saga, at).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        self.0.list(query)
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        self.0.sagas(query)
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.0.prune(request).await
    }
}

#[tokio::test]
async fn rp20_a_replay_key_is_for_one_override_also_where_that_is_a_secret() {
    let store = store().await;
    let (_, replay, _) = ran(&store, json!({})).await;
    let request = |token: &str| {
        let change = Override::from_assignments(&[format!("payment_token={token}")]).unwrap();
        ReplayRequest::from_step(id("o"), "ship").with_replay_key("k").with_override(change)
    };
    let first = replay.replay(request("tok_a")).await.unwrap();
    assert!(replay.replay(request("tok_b")).await.unwrap_err().is(ErrorKind::Conflict));
    let again = replay.replay(request("tok_a")).await.unwrap();
    assert_eq!((again.existing, again.replay_id), (true, first.replay_id));
    replay.replay(request("tok_a").with_replay_key("other")).await.unwrap();
    let raw = raw_log(&store, "o").await;
    let proofs: Vec<&str> = raw.split(r#""digest":""#).skip(1).map(|rest| &rest[..36]).collect();
    assert!(proofs.len() == 2 && proofs[0] != proofs[1], "128 bits each, and equal secrets do not show: {raw}");
    assert!(replay.replay(request("tok_a").with_new_id(id("elsewhere"))).await.unwrap_err().is(ErrorKind::Conflict));
}

#[tokio::test]
async fn what_a_replay_says_can_be_sent_and_read_elsewhere() {
    let store = store().await;
    let (_, replay, _) = ran(&store, json!({})).await;
    let result = replay.replay(ReplayRequest::from_step(id("o"), "ship")).await.unwrap();
    let sent = serde_json::to_string(&result).unwrap();
    let read: replay_core::replay::ReplayResult = serde_json::from_str(&sent).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), sent);
    let entries = replay.replays(&id("o")).await.unwrap();
    let read: Vec<replay_core::replay::ReplayEntry> = serde_json::from_str(&serde_json::to_string(&entries).unwrap()).unwrap();
    assert_eq!(read[0].replay_id, result.replay_id);
}

#[tokio::test]
async fn rp20_a_replay_that_died_before_its_first_snapshot_begins_again_under_its_key() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({})).await;
    // Its snapshots never get to the store, so that the entry is all that is left when its runner is dropped.
    let stuck = store.clone().with_snapshots(Arc::new(Stuck(store.snapshots().clone())));
    let dying = replays(&runner(&stuck), order(&journal));
    let request = || ReplayRequest::from_step(id("o"), "ship").with_replay_key("k");
    let task = tokio::spawn({
        let request = request();
        async move { dying.replay(request).await }
    });
    while lines(&store, "o").await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(replay.replays(&id("o")).await.unwrap()[0].status, ReplayStatus::Pending);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert!(replay.replays(&id("o")).await.unwrap()[0].interrupted);
    let result = replay.replay(request()).await.unwrap();
    assert_eq!((result.existing, result.status), (true, ReplayStatus::Success));
    let entries = replay.replays(&id("o")).await.unwrap();
    assert_eq!((entries.len(), entries[0].replay_id, entries[0].status), (1, result.replay_id, ReplayStatus::Success));
    assert_eq!(noted(&journal), ["+ship"]);
}

#[tokio::test]
async fn rp21_the_override_is_in_the_log_without_its_secrets_and_merged_deeply() {
    let store = store().await;
    let (_, replay, _) = ran(&store, json!({"payment": {"token": "old", "amount": 5}, "note": "gift"})).await;
    let change = Override::from_document(json!({"payment": {"token": "tok_canary"}, "note": null})).unwrap();
    let result = replay.replay(ReplayRequest::from_step(id("o"), "ship").with_override(change)).await.unwrap();
    let context = result.report.unwrap().context;
    assert_eq!(context["payment"], json!({"token": "tok_canary", "amount": 5}));
    assert!(context.get("note").is_none());
    let entry = replay.replays(&id("o")).await.unwrap().remove(0);
    assert_eq!(entry.context_override, json!({"kind": "merge", "value": {"payment": {"token": "[redacted]"}, "note": null}}));
    let raw = raw_log(&store, "o").await;
    assert!(!raw.contains("tok_canary") && raw.contains(r#""v":1"#), "{raw}");
    assert!(!serde_json::to_string(&result.plan).unwrap().contains("tok_canary"));
}

async fn raw_log(store: &Store, original: &str) -> String {
    use futures::TryStreamExt;
    let entries: Vec<LogEntry> = store.logs().unwrap().read_log(&stream(store, original).await, 0, u64::MAX).try_collect().await.unwrap();
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.bytes).into_owned()).collect::<Vec<_>>().join("\n")
}

/// Logs whose appends fail from the n-th on.
#[derive(Debug)]
struct Failing {
    inner: Arc<dyn LogStorage>,
    left: AtomicU32,
}

#[async_trait]
impl LogStorage for Failing {
    async fn append_log(&self, stream: &str, expected_len: u64, entries: Vec<Bytes>) -> Result<u64> {
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            return Err(Error::new(ErrorKind::Unavailable, "append log"));
        }
        self.inner.append_log(stream, expected_len, entries).await
    }

    fn read_log(&self, stream: &str, from: u64, limit: u64) -> BoxStream<'static, Result<LogEntry>> {
        self.inner.read_log(stream, from, limit)
    }

    fn streams(&self, prefix: &str) -> BoxStream<'static, Result<StreamInfo>> {
        self.inner.streams(prefix)
    }

    async fn delete_log(&self, stream: &str) -> Result<bool> {
        self.inner.delete_log(stream).await
    }
}

#[tokio::test]
async fn a_log_that_fails_after_a_good_run_does_not_make_the_run_look_failed() {
    let store = store().await;
    let (_, _, journal) = ran(&store, json!({})).await;
    let failing = |left: u32| {
        let logs = Failing { inner: store.logs().unwrap().clone(), left: left.into() };
        replays(&runner(&store.clone().with_logs(Arc::new(logs))), order(&journal))
    };
    let result = failing(1).replay(ReplayRequest::from_step(id("o"), "ship")).await.unwrap();
    assert_eq!((result.status, result.warnings.len()), (ReplayStatus::Success, 1));
    let entry = replays(&runner(&store), order(&journal)).replays(&id("o")).await.unwrap().remove(0);
    assert_eq!(entry.status, ReplayStatus::Success, "the new saga says so");

    journal.lock().unwrap().clear();
    let error = failing(0).replay(ReplayRequest::from_step(id("o"), "ship")).await.unwrap_err();
    assert!(error.is(ErrorKind::Unavailable), "{error}");
    assert!(noted(&journal).is_empty(), "nothing runs that is not in the log");
    let refused = failing(0).replay(ReplayRequest::from_step(id("o"), "shop")).await.unwrap_err();
    assert!(refused.is(ErrorKind::Invalid), "the refusal is told, whatever the log says: {refused}");
}

#[tokio::test]
async fn a_store_without_logs_replays_but_knows_no_keys() {
    let full = store().await;
    let (_, _, journal) = ran(&full, json!({})).await;
    let bare = Store::new(Namespace::default(), full.snapshots().clone());
    let replay = replays(&runner(&bare), order(&journal));
    let result = replay.replay(ReplayRequest::from_step(id("o"), "ship")).await.unwrap();
    assert_eq!((result.status, result.logged), (ReplayStatus::Success, false));
    assert!(replay.history(&id("o")).await.unwrap().sagas.len() == 2);
    let error = replay.replay(ReplayRequest::from_step(id("o"), "ship").with_replay_key("k")).await.unwrap_err();
    assert!(error.is(ErrorKind::Unsupported) && error.advice().is_some(), "{error}");
    assert!(replay.replays(&id("o")).await.unwrap_err().is(ErrorKind::Unsupported));
}
