//! What a cache may remember while others append, prune and delete.

use std::{sync::Arc, time::Duration};

use replay_conformance::records::{Chain, after, history as records, saga, start};
use replay_core::{
    ManualClock, Result, SnapshotId, SnapshotRecord,
    layer::{Cached, Call, FaultPlan, Faulting},
    storage::{At, PruneRequest, PruneScope, SnapshotStorage},
};
use replay_storage_memory::Memory;

struct World {
    below: Arc<dyn SnapshotStorage>,
    plan: FaultPlan,
    clock: ManualClock,
    cached: Cached<Faulting<Arc<dyn SnapshotStorage>>>,
}

/// Remembers the newest record for so many seconds, and others for ten.
fn world(max_stale: u64) -> World {
    let (plan, clock) = (FaultPlan::new(), ManualClock::new(start()));
    let below: Arc<dyn SnapshotStorage> = Arc::new(Memory::new());
    let cached = Cached::new(Faulting::new(below.clone(), plan.clone())).with_clock(Arc::new(clock.clone()));
    let cached = cached.with_max_stale(Duration::from_secs(max_stale)).with_max_age(Duration::from_secs(10));
    World { below, plan, clock, cached }
}

impl World {
    async fn load(&self, at: At) -> Option<SnapshotRecord> {
        self.cached.load(&saga("s"), at).await.unwrap()
    }

    async fn at(&self, sequence: u64) -> Option<SnapshotRecord> {
        self.load(At::Sequence(sequence)).await
    }

    async fn newest(&self) -> Option<u64> {
        self.load(At::Latest).await.map(|record| record.sequence)
    }

    fn loads(&self) -> u64 {
        self.plan.calls(Call::Load)
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

async fn prune(store: &dyn SnapshotStorage, scope: PruneScope) {
    assert!(store.prune(PruneRequest::new(scope)).await.unwrap().records > 0);
}

#[tokio::test]
async fn the_newest_record_is_asked_for_each_time_unless_it_may_be_stale() {
    let world = world(0);
    let all = records("s", 3);
    world.below.append(all[..2].to_vec()).await.unwrap();
    assert_eq!((world.newest().await, world.newest().await, world.loads()), (Some(2), Some(2), 2));
    world.below.append(all[2..].to_vec()).await.unwrap();
    assert_eq!(world.newest().await, Some(3));
}

#[tokio::test]
async fn a_stale_newest_record_is_given_for_so_long_and_no_longer() {
    let world = world(5);
    let all = records("s", 3);
    world.below.append(all[..2].to_vec()).await.unwrap();
    assert_eq!(world.newest().await, Some(2));
    world.below.append(all[2..].to_vec()).await.unwrap();
    world.pass(4);
    assert_eq!((world.newest().await, world.load(At::Time(after(60_000))).await.map(|r| r.sequence), world.loads()), (Some(2), Some(2), 1));
    world.pass(1);
    assert_eq!((world.newest().await, world.loads()), (Some(3), 2));
}

#[tokio::test]
async fn a_clock_that_steps_back_makes_nothing_younger() {
    let world = world(5);
    world.below.append(records("s", 1)).await.unwrap();
    assert_eq!(world.newest().await, Some(1));
    world.clock.set(after(-3_600_000));
    assert_eq!((world.newest().await, world.loads()), (Some(1), 2));
}

#[tokio::test]
async fn a_record_is_read_once_and_given_for_its_age() {
    let world = world(0);
    world.below.append(records("s", 3)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(world.at(2).await, records("s", 3).get(1).cloned());
    }
    assert_eq!(world.loads(), 1);
    prune(&*world.below, PruneScope::Record(SnapshotId { saga_id: saga("s"), sequence: 2 })).await;
    world.pass(9);
    assert!(world.at(2).await.is_some(), "within its age");
    world.pass(1);
    assert!(world.at(2).await.is_none());
    world.below.append(vec![]).await.unwrap();
    assert!(world.at(9).await.is_none());
    world.below.append(Chain::new("s").take(4)[3..].to_vec()).await.unwrap();
    assert!(world.at(4).await.is_some(), "that there was none is not remembered");
}

#[tokio::test]
async fn a_saga_that_was_begun_anew_is_forgotten_as_soon_as_its_newest_record_is_seen() {
    for anew in [1, 2, 3] {
        let world = world(0);
        world.below.append(records("s", 3)).await.unwrap();
        assert_eq!(world.newest().await, Some(3));
        let old = world.at(1).await;
        prune(&*world.below, PruneScope::Saga(saga("s"))).await;
        let other = Chain::new("s").starting_at(after(5000)).take(anew);
        world.below.append(other.clone()).await.unwrap();
        assert_eq!(world.at(1).await, old, "within its age");
        assert_eq!(world.newest().await, Some(anew as u64));
        assert_eq!(world.at(1).await.as_ref(), other.first());
    }
}

#[tokio::test]
async fn what_follows_keeps_what_is_remembered() {
    let world = world(0);
    let all = records("s", 4);
    world.below.append(all[..2].to_vec()).await.unwrap();
    world.newest().await;
    world.at(1).await;
    world.below.append(all[2..3].to_vec()).await.unwrap();
    world.newest().await;
    world.cached.append(all[3..].to_vec()).await.unwrap();
    let loads = world.loads();
    assert_eq!((world.at(1).await, world.at(2).await, world.at(3).await), (all.first().cloned(), all.get(1).cloned(), all.get(2).cloned()));
    assert_eq!(world.loads(), loads);
}

#[tokio::test]
async fn what_this_handle_does_is_never_hidden() {
    let world = world(1000);
    let all = records("s", 6);
    world.cached.append(all[..1].to_vec()).await.unwrap();
    assert_eq!(world.newest().await, Some(1));
    world.cached.append(all[1..2].to_vec()).await.unwrap();
    assert_eq!(world.newest().await, Some(2));
    // Others have gone on, so what is already there is not the newest.
    world.below.append(all[2..5].to_vec()).await.unwrap();
    world.cached.append(all[1..2].to_vec()).await.unwrap();
    assert_eq!(world.newest().await, Some(5));
    world.plan.lose_answer(Call::Append, world.plan.calls(Call::Append) + 1);
    world.cached.append(all[5..].to_vec()).await.unwrap_err();
    assert_eq!(world.newest().await, Some(6));
    world.cached.clone().prune(PruneRequest::new(PruneScope::KeepNewest { saga_id: None, keep: 1 })).await.unwrap();
    assert_eq!((world.at(5).await, world.newest().await), (None, Some(6)));
    prune(&world.cached, PruneScope::Saga(saga("s"))).await;
    assert_eq!((world.newest().await, world.at(6).await), (None, None));
}

#[tokio::test]
async fn an_answer_that_was_overtaken_is_not_remembered() {
    let world = world(1000);
    let all = records("s", 2);
    world.below.append(all[..1].to_vec()).await.unwrap();
    // The store has read record 1 for us, and before we hear of it, another task of this process appends and deletes.
    let (writer, next) = (world.cached.clone(), all[1].clone());
    world.plan.after(Call::Load, 1, move || now(writer.append(vec![next.clone()])).unwrap());
    assert_eq!((world.newest().await, world.newest().await), (Some(1), Some(2)));
    // Both records are remembered by their sequence, so that a question first has to reach the store again.
    world.pass(10);
    let writer = world.cached.clone();
    let scope = PruneScope::Saga(saga("s"));
    world.plan.after(Call::Load, world.loads() + 1, move || {
        assert_eq!(now(writer.prune(PruneRequest::new(scope.clone()))).unwrap().sagas, 1);
    });
    assert!(world.at(1).await.is_some());
    assert_eq!((world.at(1).await, world.newest().await), (None, None));
}

fn now<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    futures::FutureExt::now_or_never(future).unwrap()
}

#[tokio::test]
async fn a_conflict_forgets_what_was_remembered() {
    let world = world(1000);
    let all = records("s", 3);
    world.below.append(all[..1].to_vec()).await.unwrap();
    assert_eq!(world.newest().await, Some(1));
    world.below.append(all[1..].to_vec()).await.unwrap();
    let late = {
        let mut chain = Chain::new("s");
        chain.take(1);
        chain.with_context("{}")
    };
    world.cached.append(vec![late]).await.unwrap_err();
    assert_eq!(world.newest().await, Some(3));
    assert_eq!(world.cached.to_string(), "cached(faulting(memory))");
}
