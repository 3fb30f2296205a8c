//! A hot and a cold store as one, while sagas move between them.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use futures::{FutureExt, StreamExt, TryStreamExt};
use replay_conformance::records::{Chain, after, history as records, saga, start};
use replay_core::{
    ErrorKind, ManualClock, SagaStatus, SnapshotRecord,
    layer::{Call, FaultPlan, Faulting, Tiered},
    storage::{At, Order, PruneRequest, PruneScope, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage},
};
use replay_storage_memory::Memory;

pub(crate) struct Tiers {
    pub(crate) hot: Arc<dyn SnapshotStorage>,
    pub(crate) cold: Arc<dyn SnapshotStorage>,
    pub(crate) hot_plan: FaultPlan,
    pub(crate) cold_plan: FaultPlan,
    pub(crate) clock: ManualClock,
    pub(crate) tiered: Tiered,
}

/// Ended sagas may be moved when they are a day old. Faults hit what goes through `tiered` only.
pub(crate) fn tiers() -> Tiers {
    let (hot, cold): (Arc<dyn SnapshotStorage>, Arc<dyn SnapshotStorage>) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
    let (hot_plan, cold_plan, clock) = (FaultPlan::new(), FaultPlan::new(), ManualClock::new(start()));
    let (through, beside) = (Faulting::new(hot.clone(), hot_plan.clone()), Faulting::new(cold.clone(), cold_plan.clone()));
    let day = Duration::from_hours(24);
    let tiered = Tiered::new(Arc::new(through), Arc::new(beside), day).with_clock(Arc::new(clock.clone()));
    Tiers { hot, cold, hot_plan, cold_plan, clock, tiered }
}

impl Tiers {
    /// Appends a saga of so many records, the last of which ends it.
    pub(crate) async fn ended(&self, id: &str, count: usize) -> Vec<SnapshotRecord> {
        let mut chain = Chain::new(id);
        let mut all = chain.take(count - 1);
        all.push(chain.end(SagaStatus::Completed));
        self.tiered.append(all.clone()).await.unwrap();
        all
    }

    pub(crate) async fn move_all(&self) -> u64 {
        self.clock.advance(Duration::from_hours(48));
        let report = self.tiered.move_cold(u64::MAX).await.unwrap();
        assert_eq!(report.refusals, []);
        report.sagas
    }
}

pub(crate) async fn list(store: &dyn SnapshotStorage, query: SnapshotQuery) -> Vec<SnapshotRecord> {
    store.list(query).try_collect().await.unwrap()
}

pub(crate) async fn sequences(store: &dyn SnapshotStorage, id: &str) -> Vec<u64> {
    list(store, SnapshotQuery::new(saga(id))).await.iter().map(|record| record.sequence).collect()
}

pub(crate) async fn heads(store: &dyn SnapshotStorage, query: SagaQuery) -> Vec<SagaSummary> {
    store.sagas(query).try_collect().await.unwrap()
}

#[tokio::test]
async fn what_has_ended_and_is_old_enough_moves_and_the_rest_stays() {
    let tiers = tiers();
    let old = tiers.ended("old", 5).await;
    tiers.tiered.append(records("running", 3)).await.unwrap();
    assert_eq!(tiers.tiered.move_cold(10).await.unwrap().sagas, 0, "not a day old");
    assert_eq!(tiers.move_all().await, 1);
    assert_eq!((sequences(&*tiers.hot, "old").await, sequences(&*tiers.cold, "running").await), (vec![], vec![]));
    assert_eq!(list(&tiers.tiered, SnapshotQuery::new(saga("old"))).await, old);
    assert_eq!(tiers.tiered.load(&saga("old"), At::Latest).await.unwrap(), old.last().cloned());
    assert_eq!(tiers.tiered.load(&saga("old"), At::Time(after(2))).await.unwrap(), Some(old[2].clone()));
    assert_eq!(heads(&tiers.tiered, SagaQuery::default()).await.len(), 2);
    assert_eq!(tiers.tiered.to_string(), "tiered(faulting(memory), faulting(memory))");
}

#[tokio::test]
async fn a_limit_moves_so_many_and_says_that_there_are_more() {
    let tiers = tiers();
    for number in 0..5 {
        tiers.ended(&format!("s{number}"), 2).await;
    }
    tiers.clock.advance(Duration::from_hours(48));
    let report = tiers.tiered.move_cold(3).await.unwrap();
    assert_eq!((report.sagas, report.records, report.more), (3, 6, true));
    let report = tiers.tiered.move_cold(3).await.unwrap();
    assert_eq!((report.sagas, report.more), (2, false));
}

#[tokio::test]
async fn a_move_that_breaks_off_at_any_call_loses_nothing_and_the_next_one_completes_it() {
    for (in_hot, call) in [(false, Call::Append), (false, Call::List), (true, Call::Prune), (true, Call::List)] {
        for (nth, lost) in (1..=4).flat_map(|nth| [(nth, false), (nth, true)]) {
            let tiers = tiers();
            let all = tiers.ended("s", 4).await;
            let plan = if in_hot { &tiers.hot_plan } else { &tiers.cold_plan };
            let nth = plan.calls(call) + nth;
            if lost {
                plan.lose_answer(call, nth);
            } else {
                plan.fail(call, nth);
            }
            tiers.clock.advance(Duration::from_hours(48));
            // Whether it fails depends on whether there is such a call, and on whether it may be repeated.
            drop(tiers.tiered.move_cold(10).await);
            for plan in [&tiers.hot_plan, &tiers.cold_plan] {
                plan.heal();
            }
            assert_eq!(list(&tiers.tiered, SnapshotQuery::new(saga("s"))).await, all, "{call:?} {nth}");
            let heads = heads(&tiers.tiered, SagaQuery::default()).await;
            assert_eq!((heads.len(), heads[0].sequence), (1, 4), "{call:?} {nth}");
            tiers.move_all().await;
            assert_eq!((sequences(&*tiers.hot, "s").await.len(), list(&*tiers.cold, SnapshotQuery::new(saga("s"))).await), (0, all));
        }
    }
}

#[tokio::test]
async fn a_history_in_both_stores_comes_in_one_piece_in_both_directions() {
    let tiers = tiers();
    let all = tiers.ended("s", 9).await;
    tiers.hot_plan.fail(Call::Prune, tiers.hot_plan.calls(Call::Prune) + 5);
    tiers.clock.advance(Duration::from_hours(48));
    tiers.tiered.move_cold(10).await.unwrap_err();
    assert_eq!((sequences(&*tiers.hot, "s").await.len(), sequences(&*tiers.cold, "s").await.len()), (5, 9));
    for (query, from, until) in [
        (SnapshotQuery::new(saga("s")), 1, 9),
        (SnapshotQuery::new(saga("s")).with_limit(6), 1, 6),
        (SnapshotQuery::new(saga("s")).with_sequences(3, 7).with_limit(4), 3, 6),
    ] {
        let expected: Vec<_> = all[from - 1..until].to_vec();
        assert_eq!(list(&tiers.tiered, query.clone()).await, expected);
        let mut backwards = list(&tiers.tiered, query.clone().with_order(Order::Descending)).await;
        backwards.reverse();
        let (first, last) = (query.first.max(1), query.last.min(9));
        let count = query.limit.unwrap_or(u64::MAX).min(last - first + 1);
        assert_eq!(backwards.first().map(|record| record.sequence), Some(last + 1 - count));
        assert_eq!(backwards.len() as u64, count);
    }
    assert_eq!(tiers.tiered.load(&saga("s"), At::Time(after(4))).await.unwrap().map(|record| record.sequence), Some(5));
}

#[tokio::test]
async fn a_listing_that_is_overtaken_by_a_move_shows_every_record_and_every_saga_once() {
    let tiers = tiers();
    let mut chain = Chain::new("long");
    let mut all = chain.take(999);
    all.push(chain.end(SagaStatus::Completed));
    tiers.tiered.append(all.clone()).await.unwrap();
    for number in 0..600 {
        let mut chain = Chain::new(&format!("s{number:03}")).starting_at(start() + TimeDelta::seconds(number / 2));
        tiers.tiered.append(vec![chain.next_record(), chain.end(SagaStatus::Failed)]).await.unwrap();
    }
    let mut history = tiers.tiered.list(SnapshotQuery::new(saga("long")));
    let mut sagas = tiers.tiered.sagas(SagaQuery::default());
    let (mut records, mut seen) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        records.push(history.next().await.unwrap().unwrap());
        seen.push(sagas.next().await.unwrap().unwrap().saga_id);
    }
    assert_eq!(tiers.move_all().await, 601);
    records.extend(history.try_collect::<Vec<_>>().await.unwrap());
    seen.extend(sagas.map_ok(|head| head.saga_id).try_collect::<Vec<_>>().await.unwrap());
    assert_eq!(records, all);
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), count), (601, 601));
}

#[tokio::test]
async fn one_cursor_pages_through_both() {
    let tiers = tiers();
    for number in 0..700 {
        let mut chain = Chain::new(&format!("s{number:03}")).starting_at(start() + TimeDelta::seconds(number / 3));
        let last = if number % 2 == 0 { chain.end(SagaStatus::Completed) } else { chain.next_record() };
        tiers.tiered.append(vec![last]).await.unwrap();
    }
    assert_eq!(tiers.move_all().await, 350);
    let whole = heads(&tiers.tiered, SagaQuery::default()).await;
    assert_eq!(whole.len(), 700);
    assert!(whole.windows(2).all(|pair| pair[0].cursor() > pair[1].cursor()));
    for size in [1, 7, 256, 300] {
        let (mut paged, mut query) = (Vec::new(), SagaQuery::default().with_limit(size));
        loop {
            let page = heads(&tiers.tiered, query.clone()).await;
            let Some(last) = page.last() else { break };
            query.after = Some(last.cursor());
            paged.extend(page);
        }
        assert_eq!(paged, whole, "{size}");
    }
    let running = heads(&tiers.tiered, SagaQuery::default().with_status(SagaStatus::Executing)).await;
    assert_eq!(running.len(), 350);
}

#[tokio::test]
async fn a_saga_that_was_moved_goes_on_in_the_cold_store_and_cannot_begin_anew() {
    let tiers = tiers();
    let mut chain = Chain::new("s");
    let all = vec![chain.next_record(), chain.end(SagaStatus::Failed)];
    tiers.tiered.append(all.clone()).await.unwrap();
    tiers.move_all().await;
    let other = Chain::new("s").starting_at(after(77)).next_record();
    let refused = tiers.tiered.append(vec![other]).await.unwrap_err();
    assert_eq!((refused.kind(), refused.fact("expected")), (ErrorKind::Conflict, Some("3")));
    assert!(sequences(&*tiers.hot, "s").await.is_empty());
    tiers.tiered.append(all.clone()).await.unwrap();
    let (ours, theirs) = (chain.clone().next_record(), chain.clone().with_context("{}"));
    tiers.tiered.append(vec![ours.clone()]).await.unwrap();
    tiers.tiered.append(vec![ours]).await.unwrap();
    assert!(tiers.tiered.append(vec![theirs]).await.unwrap_err().is(ErrorKind::Conflict));
    assert_eq!((sequences(&*tiers.hot, "s").await, sequences(&*tiers.cold, "s").await), (vec![], vec![1, 2, 3]));
    assert_eq!(heads(&tiers.tiered, SagaQuery::default()).await[0].status, SagaStatus::Executing);
}

#[tokio::test]
async fn a_saga_that_was_moved_between_the_look_and_the_append_is_not_begun_anew() {
    let tiers = tiers();
    let mut chain = Chain::new("s");
    let moved = vec![chain.next_record(), chain.end(SagaStatus::Failed)];
    let (cold, late) = (tiers.cold.clone(), moved.clone());
    // As the start reaches the hot store, the saga has just come into the cold one.
    tiers.hot_plan.before(Call::Append, 1, move || cold.append(late.clone()).now_or_never().unwrap().unwrap());
    let other = Chain::new("s").starting_at(after(77)).next_record();
    assert!(tiers.tiered.append(vec![other]).await.unwrap_err().is(ErrorKind::Conflict));
    assert!(sequences(&*tiers.hot, "s").await.is_empty());
    assert_eq!(list(&tiers.tiered, SnapshotQuery::new(saga("s"))).await, moved);
}

#[tokio::test]
async fn of_two_that_go_on_while_the_saga_moves_one_wins_whatever_the_moment() {
    for nth in 1..=5 {
        let tiers = tiers();
        let mut chain = Chain::new("s");
        let mut all = chain.take(4);
        all.push(chain.end(SagaStatus::Failed));
        tiers.tiered.append(all).await.unwrap();
        let (one, other) = (chain.clone().next_record(), chain.clone().with_context("{}"));
        // One goes on as the nth record is about to be removed from the hot store.
        let (tiered, first) = (Tiered::new(tiers.hot.clone(), tiers.cold.clone(), Duration::ZERO), one.clone());
        let nth = tiers.hot_plan.calls(Call::Prune) + nth;
        tiers.hot_plan.before(Call::Prune, nth, move || tiered.append(vec![first.clone()]).now_or_never().unwrap().unwrap());
        tiers.move_all().await;
        assert!(tiers.tiered.append(vec![other]).await.unwrap_err().is(ErrorKind::Conflict), "{nth}");
        tiers.tiered.append(vec![one.clone()]).await.unwrap();
        assert_eq!(sequences(&tiers.tiered, "s").await, [1, 2, 3, 4, 5, 6], "{nth}");
        assert_eq!(tiers.tiered.load(&saga("s"), At::Latest).await.unwrap(), Some(one));
        let heads = heads(&tiers.tiered, SagaQuery::default()).await;
        assert_eq!((heads.len(), heads[0].sequence, heads[0].status), (1, 6, SagaStatus::Executing), "{nth}");
        assert!(self::heads(&tiers.tiered, SagaQuery::default().with_status(SagaStatus::Failed)).await.is_empty(), "{nth}");
    }
}

#[tokio::test]
async fn another_history_in_the_cold_store_is_told_and_nothing_is_removed() {
    let tiers = tiers();
    tiers.ended("s", 3).await;
    tiers.ended("t", 3).await;
    tiers.cold.append(Chain::new("s").starting_at(after(77)).take(2)).await.unwrap();
    tiers.clock.advance(Duration::from_hours(48));
    let report = tiers.tiered.move_cold(10).await.unwrap();
    assert_eq!((report.sagas, report.refused), (1, 1));
    assert!(report.refusals[0].message.contains("another history"), "{report:?}");
    assert_eq!(sequences(&*tiers.hot, "s").await, [1, 2, 3]);
}

#[tokio::test]
async fn pruning_reaches_both_stores_and_leaves_no_half_copy_behind() {
    let tiers = tiers();
    let retained = after(5000);
    let mut chain = Chain::new("s");
    let mut all: Vec<_> = (0..250).map(|_| chain.with(|meta| meta.retention_until = Some(retained))).collect();
    all.push(chain.record(
        |meta| {
            (meta.status, meta.next, meta.retention_until) = (SagaStatus::Completed, replay_core::StepRanges::default(), Some(retained));
        },
        "{}",
    ));
    tiers.tiered.append(all).await.unwrap();
    // The move breaks off after the first part, which does not end the saga.
    tiers.cold_plan.fail(Call::Append, 2);
    tiers.clock.advance(Duration::from_hours(48));
    tiers.tiered.move_cold(10).await.unwrap_err();
    assert_eq!(sequences(&*tiers.cold, "s").await.len(), 200);
    let expired = PruneRequest::new(PruneScope::Expired { now: retained });
    let report = tiers.tiered.prune(expired.with_limit(10_000)).await.unwrap();
    assert_eq!((report.records, report.sagas, report.more), (251, 1, false));
    assert!(heads(&tiers.tiered, SagaQuery::default()).await.is_empty());

    tiers.ended("t", 6).await;
    tiers.move_all().await;
    let keep = PruneScope::KeepNewest { saga_id: Some(saga("t")), keep: 2 };
    assert_eq!(tiers.tiered.prune(PruneRequest::new(keep)).await.unwrap().records, 4);
    assert_eq!(sequences(&tiers.tiered, "t").await, [5, 6]);
    let report = tiers.tiered.prune(PruneRequest::new(PruneScope::Saga(saga("t")))).await.unwrap();
    assert_eq!((report.records, report.sagas), (2, 1));
}
