//! Movers, prunes and runners that meet in a hot and a cold store.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::TimeDelta;
use fastrand::Rng;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use replay_conformance::records::{Chain, after, saga, start};
use replay_core::{
    ErrorKind, ManualClock, Payload, Result, SagaId, SagaStatus, SnapshotId, SnapshotRecord, StepRanges,
    layer::{Call, FaultPlan, Faulting, Tiered},
    storage::{At, Capabilities, PruneReport, PruneRequest, PruneScope, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};
use replay_storage_memory::Memory;

use crate::tiered::{heads, list, sequences, tiers};

/// Ends what only ever waits for itself, as all that is done in memory, from inside of another future.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        if let Poll::Ready(answer) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return answer;
        }
    }
}

/// A prune that removes nothing of what these tests keep.
fn nothing_expired() -> PruneRequest {
    PruneRequest::new(PruneScope::Expired { now: start() })
}

fn ended(id: &str, count: usize, status: SagaStatus) -> (Chain, Vec<SnapshotRecord>) {
    let mut chain = Chain::new(id);
    let mut all = chain.take(count - 1);
    all.push(chain.end(status));
    (chain, all)
}

#[tokio::test]
async fn a_prune_that_meets_a_move_loses_nothing_whatever_the_moment() {
    let calls = [(false, Call::Sagas), (false, Call::List), (false, Call::Append), (true, Call::List), (true, Call::Prune)];
    for (in_hot, call) in calls {
        for (nth, removed) in [(1, 1), (1, 250), (2, 100), (3, 100), (4, 250)] {
            let tiers = tiers();
            let (_, all) = ended("s", 251, SagaStatus::Completed);
            tiers.hot.append(all.clone()).await.unwrap();
            tiers.cold.append(all[..200].to_vec()).await.unwrap();
            // At this call of the prune a move completes the copy and removes so many of the originals before it stands still.
            let still = FaultPlan::new();
            still.fail(Call::Prune, removed + 1);
            let hot = Arc::new(Faulting::new(tiers.hot.clone(), still));
            let mover = Tiered::new(hot, tiers.cold.clone(), Duration::ZERO).with_clock(Arc::new(tiers.clock.clone()));
            tiers.clock.advance(Duration::from_hours(48));
            let plan = if in_hot { &tiers.hot_plan } else { &tiers.cold_plan };
            plan.before(call, nth, move || drop(block_on(mover.move_cold(10))));
            tiers.tiered.prune(nothing_expired()).await.unwrap();
            assert_eq!(list(&tiers.tiered, SnapshotQuery::new(saga("s"))).await, all, "{call:?} {nth} {removed}");
            tiers.move_all().await;
            assert_eq!(list(&*tiers.cold, SnapshotQuery::new(saga("s"))).await, all, "{call:?} {nth} {removed}");
            assert!(sequences(&*tiers.hot, "s").await.is_empty());
        }
    }
}

#[tokio::test]
async fn a_prune_leaves_what_was_moved_of_a_saga_that_goes_on() {
    let tiers = tiers();
    let (mut chain, mut all) = ended("s", 5, SagaStatus::Failed);
    all.extend(chain.take(2));
    tiers.hot.append(all.clone()).await.unwrap();
    tiers.cold.append(all[..6].to_vec()).await.unwrap();
    for sequence in 1..=5 {
        let moved = PruneScope::Record(SnapshotId { saga_id: saga("s"), sequence });
        tiers.hot.prune(PruneRequest::new(moved)).await.unwrap();
    }
    tiers.tiered.prune(nothing_expired()).await.unwrap();
    assert_eq!(list(&tiers.tiered, SnapshotQuery::new(saga("s"))).await, all);
}

#[tokio::test]
async fn a_saga_that_is_deleted_while_it_is_moved_is_gone() {
    let tiers = tiers();
    let (_, all) = ended("s", 1001, SagaStatus::Completed);
    tiers.hot.append(all).await.unwrap();
    let hot = tiers.hot.clone();
    let deleted = move || {
        block_on(hot.prune(PruneRequest::new(PruneScope::Saga(saga("s"))))).unwrap();
    };
    tiers.cold_plan.before(Call::Append, 2, deleted);
    tiers.clock.advance(Duration::from_hours(48));
    tiers.tiered.move_cold(10).await.unwrap();
    assert!(heads(&tiers.tiered, SagaQuery::default()).await.is_empty());
}

#[tokio::test]
async fn a_part_of_a_copy_that_cannot_be_completed_goes_when_its_original_expires() {
    let tiers = tiers();
    let retained = after(5000);
    let mut chain = Chain::new("s");
    let mut all: Vec<_> = (0..250).map(|_| chain.with(|meta| meta.retention_until = Some(retained))).collect();
    all.push(chain.record(
        |meta| (meta.status, meta.next, meta.retention_until) = (SagaStatus::Completed, StepRanges::default(), Some(retained)),
        "{}",
    ));
    let wrong = Payload::json(Bytes::from_static(b"{}"));
    all[229] = SnapshotRecord::from_parts(all[229].outline.clone(), all[229].header().clone(), wrong).unwrap();
    tiers.hot.append(all.clone()).await.unwrap();
    tiers.cold.append(all[..200].to_vec()).await.unwrap();
    tiers.tiered.prune(nothing_expired()).await.unwrap();
    assert_eq!(list(&tiers.tiered, SnapshotQuery::new(saga("s"))).await.len(), 251);
    let expired = PruneRequest::new(PruneScope::Expired { now: retained }).with_limit(10_000);
    tiers.tiered.prune(expired).await.unwrap();
    assert!(heads(&tiers.tiered, SagaQuery::default()).await.is_empty());
}

#[tokio::test]
async fn a_history_that_is_appended_again_while_it_is_moved_goes_on_where_it_is() {
    for removed in [0, 4, 9, 10] {
        let tiers = tiers();
        let (mut chain, mut all) = ended("s", 10, SagaStatus::Failed);
        tiers.hot.append(all.clone()).await.unwrap();
        tiers.cold.append(all.clone()).await.unwrap();
        for sequence in 1..=removed {
            let moved = PruneScope::Record(SnapshotId { saga_id: saga("s"), sequence });
            tiers.hot.prune(PruneRequest::new(moved)).await.unwrap();
        }
        tiers.tiered.append(all.clone()).await.unwrap();
        let theirs = chain.clone().with_context("{}");
        all.extend(chain.take(5));
        tiers.tiered.append(all.clone()).await.unwrap();
        tiers.tiered.append(all.clone()).await.unwrap();
        let refused = tiers.tiered.append(vec![theirs]).await.unwrap_err();
        assert!(refused.is(ErrorKind::Conflict), "{removed}");
        assert_eq!(list(&tiers.tiered, SnapshotQuery::new(saga("s"))).await, all, "{removed}");
        let other = Chain::new("s").starting_at(after(77)).next_record();
        let refused = tiers.tiered.append(vec![other]).await.unwrap_err();
        assert_eq!((refused.kind(), refused.fact("expected")), (ErrorKind::Conflict, Some("16")), "{removed}");
    }
}

#[tokio::test]
async fn a_saga_of_a_later_version_does_not_keep_the_others() {
    let tiers = tiers();
    for id in ["s", "t", "u"] {
        tiers.ended(id, 3).await;
    }
    tiers.cold_plan.fail_with(Call::Append, tiers.cold_plan.calls(Call::Append) + 1, ErrorKind::NewerVersion);
    tiers.clock.advance(Duration::from_hours(48));
    let report = tiers.tiered.move_cold(10).await.unwrap();
    assert_eq!((report.sagas, report.refused), (2, 1));
}

/// A store whose every call lets others in before and after, as often as chance has it.
#[derive(Clone)]
struct Pausing {
    inner: Arc<Memory>,
    random: Arc<Mutex<Rng>>,
}

impl Pausing {
    async fn pause(&self) {
        let times = self.random.lock().unwrap().u8(0..4);
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
    }

    async fn around<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.pause().await;
        let answer = work.await;
        self.pause().await;
        answer
    }

    fn stream<T: Send + 'static>(&self, items: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        let this = self.clone();
        stream::once(async move { this.pause().await }).flat_map(move |()| stream::empty()).chain(items).boxed()
    }
}

impl fmt::Debug for Pausing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pausing")
    }
}

impl fmt::Display for Pausing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pausing({})", self.inner)
    }
}

#[async_trait]
impl SnapshotStorage for Pausing {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn append(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        self.around(self.inner.append(records)).await
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        self.around(self.inner.load(saga, at)).await
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        self.stream(self.inner.list(query))
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        self.stream(self.inner.sagas(query))
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        self.around(self.inner.prune(request)).await
    }
}

/// Appends a saga in pieces; now and then it fails, may be moved, and goes on. Every append must be taken.
async fn run(tiered: Tiered, mut random: Rng, id: String) -> Vec<SnapshotRecord> {
    let (mut chain, mut all) = (Chain::new(&id), Vec::new());
    for _ in 0..random.usize(2..5) {
        for _ in 0..random.usize(1..4) {
            let piece = chain.take(random.usize(1..150));
            all.extend(piece.iter().cloned());
            tiered.append(piece).await.unwrap();
        }
        let end = chain.end(SagaStatus::Failed);
        all.push(end.clone());
        tiered.append(vec![end]).await.unwrap();
        for _ in 0..random.usize(0..3000) {
            tokio::task::yield_now().await;
        }
    }
    all
}

#[tokio::test]
async fn movers_prunes_and_runners_at_once_lose_nothing() {
    for seed in 0..12 {
        let mut random = Rng::with_seed(seed);
        let mut store = || {
            let random = Arc::new(Mutex::new(random.fork()));
            Pausing { inner: Arc::new(Memory::new()), random }
        };
        let (hot, cold) = (store(), store());
        let late = ManualClock::new(start() + TimeDelta::days(2));
        let tiered = Tiered::new(Arc::new(hot.clone()), Arc::new(cold.clone()), Duration::ZERO).with_clock(Arc::new(late));
        let runs: Vec<_> = (0..3).map(|number| tokio::spawn(run(tiered.clone(), random.fork(), format!("s{number}")))).collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let others: Vec<_> = (0..4)
            .map(|number| {
                let (tiered, is_over) = (tiered.clone(), is_over.clone());
                tokio::spawn(async move {
                    while !is_over.load(Ordering::Relaxed) {
                        match number {
                            0 => {
                                tiered.prune(nothing_expired()).await.unwrap();
                            }
                            1 => {
                                let scope = PruneScope::KeepNewest { saga_id: None, keep: 100_000 };
                                tiered.prune(PruneRequest::new(scope)).await.unwrap();
                            }
                            _ => drop(tiered.move_cold(10).await.unwrap()),
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        let mut histories = Vec::new();
        for run in runs {
            histories.push(run.await.unwrap());
        }
        is_over.store(true, Ordering::Relaxed);
        for other in others {
            other.await.unwrap();
        }
        for all in &histories {
            let found = list(&tiered, SnapshotQuery::new(all[0].saga_id.clone())).await;
            assert_eq!(found.len(), all.len(), "seed {seed}, {}", all[0].saga_id);
            assert_eq!(found, *all, "seed {seed}");
        }
        tiered.move_cold(10).await.unwrap();
        assert!(heads(&hot, SagaQuery::default()).await.is_empty(), "seed {seed}");
        for all in histories {
            assert_eq!(list(&cold, SnapshotQuery::new(all[0].saga_id.clone())).await, all, "seed {seed}");
        }
    }
}
