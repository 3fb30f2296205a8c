#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use clap::Parser;
use futures::{StreamExt, stream, stream::BoxStream};
use replay::{
    SagaId, SnapshotRecord,
    memory::Memory,
    prelude::*,
    replay::{Checkpoint, CheckpointInfo, Lineage, LocalReplay, ReplayEntry, ReplayPlan, ReplayRequest, ReplayResult},
    saga::{Registry, Runner},
    storage::{At, Capabilities, PruneReport, PruneRequest, SnapshotQuery},
};
use serde_json::json;

use super::*;
use crate::args::{Args, Command};

/// A store with more sagas of any status than anybody would list, all of them made by a replay.
#[derive(Debug)]
struct Endless {
    head: SagaSummary,
    listed: Arc<AtomicU64>,
}

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("endless")
    }
}

#[async_trait]
impl SnapshotStorage for Endless {
    fn capabilities(&self) -> Capabilities {
        unreachable!("nothing but sagas is asked for")
    }

    async fn append(&self, _: Vec<SnapshotRecord>) -> Result<()> {
        unreachable!("nothing but sagas is asked for")
    }

    async fn load(&self, _: &SagaId, _: At) -> Result<Option<SnapshotRecord>> {
        unreachable!("nothing but sagas is asked for")
    }

    fn list(&self, _: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        unreachable!("nothing but sagas is asked for")
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        let (mut head, listed) = (self.head.clone(), self.listed.clone());
        head.status = query.statuses[0];
        let heads = stream::iter(0..query.limit.unwrap_or(u64::MAX)).map(move |_| Ok(head.clone()));
        heads
            .inspect(move |_| {
                listed.fetch_add(1, Ordering::Relaxed);
            })
            .boxed()
    }

    async fn prune(&self, _: PruneRequest) -> Result<PruneReport> {
        unreachable!("nothing but sagas is asked for")
    }
}

/// Counts how often the log of a saga's replays is read.
#[derive(Debug, Default)]
struct Logs(AtomicU64);

#[async_trait]
impl SagaReplay for Logs {
    async fn replay(&self, _: ReplayRequest) -> Result<ReplayResult> {
        unreachable!("nothing but logs is asked for")
    }

    async fn plan(&self, _: &ReplayRequest) -> Result<ReplayPlan> {
        unreachable!("nothing but logs is asked for")
    }

    async fn history(&self, _: &SagaId) -> Result<Lineage> {
        unreachable!("nothing but logs is asked for")
    }

    async fn checkpoints(&self, _: &SagaId) -> Result<Vec<CheckpointInfo>> {
        unreachable!("nothing but logs is asked for")
    }

    async fn replays(&self, _: &SagaId) -> Result<Vec<ReplayEntry>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Vec::new())
    }
}

/// The head of a saga that a replay made.
async fn made_by_a_replay() -> SagaSummary {
    let saga: Saga<u32> = Saga::builder("s").step("a", |_| async { Err(StepError::new("no")) }).build().unwrap();
    let store = Memory::new().into_store();
    let runner = Runner::builder(store.clone()).build();
    let id = runner.start(&saga, 1).await.unwrap().saga_id;
    let mut registry = Registry::new();
    registry.register(Arc::new(saga));
    let replayed = LocalReplay::new(runner, registry).replay(ReplayRequest::new(id, Checkpoint::step("a"))).await.unwrap();
    let heads: Vec<SagaSummary> = store.snapshots().sagas(SagaQuery::default()).try_collect().await.unwrap();
    heads.into_iter().find(|head| Some(&head.saga_id) == replayed.new_saga.as_ref()).unwrap()
}

fn run_args(words: &[&str]) -> RunArgs {
    let words = ["replay", "run", "--where", "name=s"].iter().chain(words);
    let Command::Run(args) = Args::try_parse_from(words).unwrap().command else { panic!("another command") };
    *args
}

#[tokio::test]
async fn a_small_batch_looks_at_few_sagas_of_a_large_store_and_reads_no_log_beyond_its_limit() {
    let listed = Arc::new(AtomicU64::new(0));
    let (store, logs) = (Endless { head: made_by_a_replay().await, listed: listed.clone() }, Logs::default());
    assert!(store.head.origin.is_some());
    let args = run_args(&["--limit", "3", "--replay-key", "k"]);
    let selection = Selection::find(&store, &logs, &args, SagaQuery::default(), true).await.unwrap();
    assert_eq!(selection.found.len(), 3);
    assert_eq!(logs.0.load(Ordering::Relaxed), 3);
    assert_eq!(listed.load(Ordering::Relaxed), 3 + 3 * (COUNTED + 1));
    assert_eq!(
        selection.left_out.json(),
        json!([
            {"reason": "completed", "count": 1000, "more": true},
            {"reason": "not_ended", "count": 1000, "more": true},
            {"reason": "over_limit", "count": 1000, "more": true},
        ])
    );
    let shown = selection.left_out.to_string();
    assert_eq!(shown, "more than 1000 completed, more than 1000 not ended, more than 1000 over --limit");
}

#[test]
fn as_many_as_are_counted_is_an_exact_number() {
    let mut counts = Counts::default();
    assert!((0..COUNTED).all(|_| counts.add_bounded(Reason::Completed)));
    assert_eq!(counts.json(), json!([{"reason": "completed", "count": 1000}]));
    assert!(!counts.add_bounded(Reason::Completed));
    assert_eq!(counts.to_string(), "more than 1000 completed");
}
