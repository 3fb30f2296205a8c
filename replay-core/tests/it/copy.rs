//! Copying sagas between stores.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::TryStreamExt;
use replay_conformance::records::{Chain, after, history as records, saga};
use replay_core::{
    Compression, Encoder, ErrorKind, HistoryId, Payload, SagaStatus, SnapshotId, SnapshotRecord, StepRanges, Store,
    copy::{CopyEvent, CopyOptions, CopyReport, SagaOutcome, copy},
    layer::{Call, FaultPlan, Faulting},
    replay::{LocalReplay, ReplayRequest, SagaReplay},
    saga::Registry,
    storage::{PruneRequest, PruneScope, SagaQuery, SagaSummary},
};
use replay_storage_memory::Memory;
use serde_json::json;

use crate::{store::store, support::*};

async fn copied(from: &Store, to: &Store) -> CopyReport {
    copy(from, to, &CopyOptions::default().with_verify(true), &|_| {}).await.unwrap()
}

async fn heads(store: &Store) -> Vec<SagaSummary> {
    store.snapshots().sagas(SagaQuery::default()).try_collect().await.unwrap()
}

async fn assert_equal(one: &Store, other: &Store) {
    assert_eq!(heads(one).await, heads(other).await);
    for head in heads(one).await {
        assert_eq!(history(one, &head.saga_id).await, history(other, &head.saga_id).await);
    }
}

async fn append(store: &Store, records: &[SnapshotRecord]) {
    store.snapshots().append(records.to_vec()).await.unwrap();
}

/// Three sagas, of which one has so many records that they are copied in several parts.
async fn filled() -> Store {
    let store = store().await;
    append(&store, &records("a", 3)).await;
    append(&store, &records("b", 450)).await;
    let mut ended = Chain::new("c");
    append(&store, &[ended.next_record(), ended.end(SagaStatus::Completed)]).await;
    store
}

#[tokio::test]
async fn a_copy_is_equal_to_its_original_and_copying_again_writes_nothing() {
    let (from, to) = (filled().await, Memory::new().into_store());
    let seen = Mutex::new(0);
    let progress = |event: CopyEvent<'_>| {
        if let CopyEvent::Records { records, .. } = event {
            *seen.lock().unwrap() += records;
        }
    };
    let report = copy(&from, &to, &CopyOptions::default().with_verify(true), &progress).await.unwrap();
    assert_eq!((report.copied, report.unchanged, report.refused), (3, 0, 0));
    assert_eq!((report.records, report.verified, *seen.lock().unwrap()), (455, 455, 455));
    assert_equal(&from, &to).await;
    let again = copied(&from, &to).await;
    assert_eq!((again.copied, again.unchanged, again.records, again.bytes), (0, 3, 0, 0));
}

#[tokio::test]
async fn a_dry_run_says_what_the_copy_does_and_writes_nothing() {
    let (from, to) = (filled().await, Memory::new().into_store());
    append(&to, &records("b", 200)).await;
    let dry = copy(&from, &to, &CopyOptions::default().with_dry_run(true), &|_| {}).await.unwrap();
    assert_eq!((dry.copied, dry.records), (3, 255));
    assert_eq!(heads(&to).await.len(), 1);
    assert_eq!(copy(&from, &to, &CopyOptions::default(), &|_| {}).await.unwrap(), dry);
}

#[tokio::test]
async fn only_what_matches_is_copied() {
    let (from, to) = (filled().await, Memory::new().into_store());
    let query = SagaQuery::default().with_status(SagaStatus::Completed);
    let report = copy(&from, &to, &CopyOptions::default().with_query(query), &|_| {}).await.unwrap();
    assert_eq!(report.copied, 1);
    assert_eq!(heads(&to).await[0].saga_id, saga("c"));
}

#[tokio::test]
async fn what_goes_on_is_copied_later_and_a_copy_that_went_on_is_left_alone() {
    let (from, to) = (store().await, Memory::new().into_store());
    let all = records("a", 5);
    append(&from, &all[..2]).await;
    copied(&from, &to).await;
    append(&from, &all[2..4]).await;
    assert_eq!(copied(&from, &to).await.records, 2);
    append(&to, &all[4..]).await;
    let report = copied(&from, &to).await;
    assert_eq!((report.unchanged, report.refused), (1, 0));
    assert_eq!(history(&to, &saga("a")).await.len(), 5);
}

#[tokio::test]
async fn a_history_that_differs_is_refused_by_its_first_difference_and_the_others_are_copied() {
    let (from, to) = (filled().await, Memory::new().into_store());
    let mut other = Chain::new("b");
    let mut theirs = other.take(7);
    theirs.push(other.with_context("{}"));
    theirs.extend(other.take(2));
    append(&to, &theirs).await;
    let report = copied(&from, &to).await;
    assert_eq!((report.copied, report.refused), (2, 1));
    let refusal = &report.refusals[0];
    assert_eq!((&refusal.saga_id, refusal.sequence, refusal.kind), (&saga("b"), Some(8), ErrorKind::Conflict));
    assert_eq!(history(&to, &saga("b")).await, theirs);
}

#[tokio::test]
async fn what_pruning_left_is_copied_with_its_holes_and_its_start() {
    let (from, to) = (filled().await, Memory::new().into_store());
    let prune = async |scope| assert!(from.snapshots().prune(PruneRequest::new(scope)).await.unwrap().records > 0);
    prune(PruneScope::KeepNewest { saga_id: Some(saga("b")), keep: 250 }).await;
    prune(PruneScope::Record(SnapshotId { saga_id: saga("b"), sequence: 300 })).await;
    let report = copied(&from, &to).await;
    assert_eq!((report.refused, report.verified), (0, 254));
    assert_equal(&from, &to).await;
    prune(PruneScope::KeepNewest { saga_id: Some(saga("b")), keep: 1 }).await;
    assert_eq!(copied(&from, &to).await.refused, 0, "a copy keeps what its original pruned");
}

#[tokio::test]
async fn histories_that_do_not_meet_are_refused() {
    let (from, to) = (store().await, Memory::new().into_store());
    append(&from, &records("a", 9)).await;
    append(&to, &records("a", 3)).await;
    from.snapshots().prune(PruneRequest::new(PruneScope::KeepNewest { saga_id: Some(saga("a")), keep: 2 })).await.unwrap();
    let report = copied(&from, &to).await;
    assert!(report.refusals[0].message.contains("do not meet"), "{report:?}");
    assert_eq!(history(&to, &saga("a")).await.len(), 3);
}

/// Records whose contexts have nothing in common, each with a frame of its own, as a store gives them that keeps frames.
fn large(id: &str, count: u64, len: usize) -> Vec<SnapshotRecord> {
    let (mut chain, encoder) = (Chain::new(id), Encoder::new(Compression::ZSTD));
    let noise = |seed| {
        std::iter::repeat_with({
            let mut random = fastrand::Rng::with_seed(seed);
            move || random.alphanumeric()
        })
    };
    (0..count)
        .map(|n| {
            let record = chain.with_context(noise(n).take(len).collect::<String>());
            let encoded = encoder.encode(&record).unwrap();
            let given = SnapshotRecord::from_parts(record.outline.clone(), record.header().clone(), encoded.payload).unwrap();
            given.with_frame(encoded.base.unwrap().frame)
        })
        .collect()
}

#[tokio::test]
async fn records_with_large_frames_are_copied_a_few_at_a_time() {
    let (from, memory, plan) = (store().await, Memory::new().into_store(), FaultPlan::new());
    append(&from, &large("a", 20, 600_000)).await;
    let to = memory.clone().with_snapshots(Arc::new(Faulting::new(memory.snapshots().clone(), plan.clone())));
    assert_eq!(copied(&from, &to).await.records, 20);
    assert!(plan.calls(Call::Append) >= 4, "{plan:?}");
    assert_equal(&from, &to).await;
}

async fn keep_newest(store: &Store, id: &str, keep: u64) {
    let scope = PruneScope::KeepNewest { saga_id: Some(saga(id)), keep };
    assert!(store.snapshots().prune(PruneRequest::new(scope)).await.unwrap().records > 0);
}

/// Records of one history, as the engine would make them.
fn of_history(chain: &mut Chain, id: HistoryId, count: usize) -> Vec<SnapshotRecord> {
    (0..count).map(|_| chain.with(|meta| meta.history = Some(id))).collect()
}

#[tokio::test]
async fn a_history_whose_middle_was_pruned_before_it_was_copied_goes_on_in_the_copy() {
    let id = |text: &str| text.parse::<HistoryId>().unwrap();
    let (one, other) = (id("019a9d2e-0000-7000-8000-000000000001"), id("019a9d2e-0000-7000-8000-000000000002"));
    let (from, to) = (store().await, Memory::new().into_store());
    let mut chain = Chain::new("a");
    append(&from, &of_history(&mut chain, one, 10)).await;
    copied(&from, &to).await;
    append(&from, &of_history(&mut chain, one, 20)).await;
    keep_newest(&from, "a", 3).await;
    let report = copied(&from, &to).await;
    assert_eq!((report.refused, report.records), (0, 3), "{report:?}");
    let sequences: Vec<_> = history(&to, &saga("a")).await.iter().map(|record| record.sequence).collect();
    assert_eq!(sequences, (1..=10).chain(28..=30).collect::<Vec<_>>());
    append(&from, &of_history(&mut chain, one, 1)).await;
    assert_eq!(copied(&from, &to).await.records, 1);

    let refused = async |theirs: &[SnapshotRecord]| {
        let to = Memory::new().into_store();
        append(&to, theirs).await;
        let report = copied(&from, &to).await;
        assert_eq!(report.refused, 1, "{report:?}");
        assert_eq!(history(&to, &saga("a")).await, theirs);
    };
    refused(&of_history(&mut Chain::new("a"), other, 10)).await;
    let mut late = Chain::new("a").starting_at(after(1000));
    refused(&of_history(&mut late, one, 10)).await;
}

#[tokio::test]
async fn a_copy_that_was_pruned_is_sound_and_one_that_lost_a_record_is_not() {
    let (from, to) = (filled().await, Memory::new().into_store());
    copied(&from, &to).await;
    for id in ["a", "b", "c"] {
        keep_newest(&to, id, 1).await;
    }
    let report = copied(&from, &to).await;
    assert_eq!((report.refused, report.unchanged, report.verified), (0, 3, 3), "{report:?}");

    let mut chain = Chain::new("parked");
    let mut all = chain.take(5);
    all.extend((0..5).map(|_| chain.with(|meta| (meta.status, meta.next) = (SagaStatus::Parked, StepRanges::default()))));
    append(&from, &all).await;
    copied(&from, &to).await;
    keep_newest(&to, "parked", 2).await;
    assert_eq!(history(&to, &saga("parked")).await.iter().map(|record| record.sequence).collect::<Vec<_>>(), [5, 9, 10]);
    assert_eq!(copied(&from, &to).await.refused, 0, "its newest checkpoint is kept");

    let to = Memory::new().into_store();
    copied(&from, &to).await;
    let lost = PruneScope::Record(SnapshotId { saga_id: saga("b"), sequence: 300 });
    to.snapshots().prune(PruneRequest::new(lost)).await.unwrap();
    let report = copied(&from, &to).await;
    assert_eq!((report.refusals[0].kind, report.refusals[0].sequence), (ErrorKind::Integrity, Some(300)));
}

#[tokio::test]
async fn a_damaged_record_is_refused_and_never_copied() {
    let (from, to) = (store().await, Memory::new().into_store());
    let mut all = records("a", 3);
    let wrong = Payload::json(Bytes::from_static(b"{\"n\":9}"));
    all[1] = SnapshotRecord::from_parts(all[1].outline.clone(), all[1].header().clone(), wrong).unwrap();
    append(&from, &all).await;
    let report = copied(&from, &to).await;
    assert_eq!((report.refusals[0].kind, report.refusals[0].sequence), (ErrorKind::Integrity, Some(2)));
    assert!(history(&to, &saga("a")).await.is_empty());
}

#[tokio::test]
async fn replay_logs_and_what_snapshots_refer_to_come_along() {
    let (from, to) = (Memory::new().into_store(), Memory::new().into_store());
    let journal = Journal::default();
    let definition = from.blobs().unwrap().put_blob(Bytes::from_static(b"name: order")).await.unwrap();
    let runner = runner(&from);
    let options = named("o").with_external_ref("definition", definition.to_string());
    runner.start_with(&order(&journal), json!({}), options).await.unwrap();
    let replays = LocalReplay::new(runner, Registry::new().with(order(&journal)));
    replays.replay(ReplayRequest::from_step(id("o"), "ship").with_new_id(id("fork")).with_replay_key("once")).await.unwrap();
    let report = copied(&from, &to).await;
    assert_eq!((report.copied, report.blobs, report.log_entries), (2, 1, 2));
    assert!(to.blobs().unwrap().get_blob(&definition).await.unwrap().is_some());
    let there = LocalReplay::new(runner_at(&to, &clock()), Registry::new().with(order(&journal)));
    assert_eq!(there.replays(&id("o")).await.unwrap(), replays.replays(&id("o")).await.unwrap());
    let again = copied(&from, &to).await;
    assert_eq!((again.copied, again.log_entries), (0, 0));

    there.replay(ReplayRequest::from_step(id("o"), "ship").with_new_id(id("there"))).await.unwrap();
    assert_eq!(copied(&from, &to).await.refused, 0, "a log that went on is left alone");
    replays.replay(ReplayRequest::from_step(id("o"), "ship").with_new_id(id("here"))).await.unwrap();
    let report = copied(&from, &to).await;
    assert_eq!((report.copied, report.refused), (1, 1), "two logs that went on differ");
    assert!(report.refusals[0].message.contains("log of the replays"), "{report:?}");
}

#[tokio::test]
async fn a_copy_that_breaks_off_anywhere_is_completed_by_the_next() {
    let from = filled().await;
    for (call, lost) in [(Call::Append, false), (Call::Append, true), (Call::List, false)] {
        for nth in 1..=if call == Call::List { 3 } else { 5 } {
            let (memory, plan) = (Memory::new().into_store(), FaultPlan::new());
            let to = memory.clone().with_snapshots(Arc::new(Faulting::new(memory.snapshots().clone(), plan.clone())));
            if lost {
                plan.lose_answer(call, nth);
            } else {
                plan.fail(call, nth);
            }
            let first = copy(&from, &to, &CopyOptions::default().with_concurrency(1), &|_| {}).await;
            assert_eq!(plan.faults(), 1);
            assert_eq!(first.is_ok(), lost, "an append whose answer is lost is made again");
            assert_eq!(copied(&from, &to).await.refused, 0);
            assert_equal(&from, &memory).await;
        }
    }
}

#[tokio::test]
async fn each_saga_is_told_when_it_is_done() {
    let (from, to) = (filled().await, Memory::new().into_store());
    let told = Mutex::new(Vec::new());
    let progress = |event: CopyEvent<'_>| {
        if let CopyEvent::Saga(saga) = event {
            told.lock().unwrap().push((saga.saga_id.to_string(), saga.outcome == SagaOutcome::Copied, saga.records));
        }
    };
    copy(&from, &to, &CopyOptions::default(), &progress).await.unwrap();
    let mut told = told.into_inner().unwrap();
    told.sort();
    assert_eq!(told, [("a".to_owned(), true, 3), ("b".to_owned(), true, 450), ("c".to_owned(), true, 2)]);
}
