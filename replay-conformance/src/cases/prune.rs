//! What may go, what never goes, and how much at a time.

use replay_core::{
    SagaStatus, SnapshotRecord, StepRanges, Store,
    storage::{At, PruneReport, PruneRequest, PruneScope, SagaQuery},
};

use crate::{
    check::{append, assert_history, conflicts, head, history, ids, keep_newest, one_record, prune, sequence_at, sequences, whole_saga},
    env::Env,
    records::{self, Chain, saga},
    runner::Needs,
};

cases!("prune", Needs::Snapshots;
    keeps_the_newest,
    keeping_none_keeps_one,
    keeps_the_newest_of_every_saga,
    counts_records_not_sequences,
    a_live_saga_keeps_its_newest_checkpoint,
    a_parked_saga_is_alive,
    an_ended_saga_keeps_no_checkpoint,
    removes_one_record,
    a_record_that_must_stay_stays,
    the_last_record_of_an_ended_saga_takes_the_saga_along,
    removes_a_whole_saga,
    a_whole_saga_goes_whatever_the_limit,
    goes_in_steps_of_the_limit_the_oldest_first,
    says_exactly_whether_there_is_more,
    a_limit_of_nothing_removes_nothing,
    a_dry_run_says_what_the_run_does_and_does_nothing,
    what_does_not_exist_is_no_error,
    leaves_other_sagas_alone,
    leaves_what_remains_readable,
    a_saga_goes_on_after_it,
    a_pruned_record_is_not_taken_again,
    an_id_that_is_gone_may_begin_anew,
);

pub(super) fn counts(report: PruneReport) -> (u64, u64, bool) {
    (report.records, report.sagas, report.more)
}

/// A store may keep records smaller than they came, but not for nothing.
pub(super) fn weighs(report: PruneReport, records: &[SnapshotRecord]) {
    let whole: u64 = records.iter().map(SnapshotRecord::stored_len).sum();
    let least = records.len() as u64 * 32;
    assert!((least..=whole).contains(&report.bytes), "{} bytes of {} records that came with {whole}", report.bytes, records.len());
}

/// An ended saga of `count` records.
async fn ended(store: &Store, id: &str, count: usize) {
    let mut chain = Chain::new(id);
    let mut records = chain.take(count - 1);
    records.push(chain.end(SagaStatus::Completed));
    append(store, records).await;
}

async fn keeps_the_newest(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 10)).await;
    let report = prune(&store, keep_newest("order_1", 3)).await;
    assert_eq!(counts(report), (7, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [8, 9, 10]);
    assert_eq!(counts(prune(&store, keep_newest("order_1", 3)).await), (0, 0, false));
    assert_eq!(counts(prune(&store, keep_newest("order_1", u64::MAX)).await), (0, 0, false));
}

async fn keeping_none_keeps_one(env: Env) {
    let store = env.open().await;
    ended(&store, "order_1", 4).await;
    assert_eq!(counts(prune(&store, keep_newest("order_1", 0)).await), (3, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [4]);
}

async fn keeps_the_newest_of_every_saga(env: Env) {
    let store = env.open().await;
    for (id, count) in [("a", 5), ("b", 2), ("c", 3)] {
        append(&store, records::history(id, count)).await;
    }
    let report = prune(&store, PruneRequest::new(PruneScope::KeepNewest { saga_id: None, keep: 2 })).await;
    assert_eq!(counts(report), (4, 0, false));
    for (id, left) in [("a", [4, 5]), ("b", [1, 2]), ("c", [2, 3])] {
        assert_eq!(sequences(&store, id).await, left);
    }
}

async fn counts_records_not_sequences(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 8)).await;
    prune(&store, one_record("order_1", 6)).await;
    prune(&store, one_record("order_1", 5)).await;
    assert_eq!(counts(prune(&store, keep_newest("order_1", 3)).await), (3, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [4, 7, 8]);
}

/// Six records, of which the third is the newest checkpoint, in this status.
async fn compensating(store: &Store, status: SagaStatus) {
    let mut chain = Chain::new("order_1");
    append(store, chain.take(3)).await;
    let no_checkpoint = |meta: &mut replay_core::SnapshotMeta| (meta.next, meta.status) = (StepRanges::default(), status);
    append(store, (0..3).map(|_| chain.with(no_checkpoint))).await;
}

async fn a_live_saga_keeps_its_newest_checkpoint(env: Env) {
    let store = env.open().await;
    compensating(&store, SagaStatus::Compensating).await;
    assert_eq!(counts(prune(&store, keep_newest("order_1", 1)).await), (4, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [3, 6]);
    assert_eq!(counts(prune(&store, one_record("order_1", 3)).await), (0, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [3, 6]);
}

async fn a_parked_saga_is_alive(env: Env) {
    let store = env.open().await;
    compensating(&store, SagaStatus::Parked).await;
    prune(&store, keep_newest("order_1", 2)).await;
    assert_eq!(sequences(&store, "order_1").await, [3, 5, 6]);
}

async fn an_ended_saga_keeps_no_checkpoint(env: Env) {
    for status in [SagaStatus::Completed, SagaStatus::RolledBack, SagaStatus::Failed] {
        let store = env.open_in(status.as_str()).await;
        compensating(&store, status).await;
        assert_eq!(counts(prune(&store, keep_newest("order_1", 2)).await), (4, 0, false));
        assert_eq!(sequences(&store, "order_1").await, [5, 6], "{status}");
    }
}

async fn removes_one_record(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 5);
    append(&store, records.clone()).await;
    let report = prune(&store, one_record("order_1", 2)).await;
    assert_eq!(counts(report), (1, 0, false));
    weighs(report, &records[1..2]);
    assert_eq!(sequences(&store, "order_1").await, [1, 3, 4, 5]);
    assert_eq!(counts(prune(&store, one_record("order_1", 2)).await), (0, 0, false));
}

async fn a_record_that_must_stay_stays(env: Env) {
    let store = env.open().await;
    append(&store, records::history("live", 1)).await;
    ended(&store, "ended", 2).await;
    for (id, sequence, left) in [("live", 1, &[1][..]), ("ended", 2, &[1, 2])] {
        assert_eq!(counts(prune(&store, one_record(id, sequence)).await), (0, 0, false), "{id}");
        assert_eq!(sequences(&store, id).await, left);
    }
}

async fn the_last_record_of_an_ended_saga_takes_the_saga_along(env: Env) {
    let store = env.open().await;
    ended(&store, "order_1", 2).await;
    prune(&store, one_record("order_1", 1)).await;
    assert_eq!(counts(prune(&store, one_record("order_1", 2)).await), (1, 1, false));
    assert_eq!(ids(&store, SagaQuery::default()).await, [""; 0]);
    assert_eq!(sequence_at(&store, "order_1", At::Latest).await, None);
}

async fn removes_a_whole_saga(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 4);
    append(&store, records.clone()).await;
    let report = prune(&store, whole_saga(&saga("order_1"))).await;
    assert_eq!(counts(report), (4, 1, false));
    weighs(report, &records);
    assert_eq!(sequences(&store, "order_1").await, [0; 0]);
    assert_eq!(ids(&store, SagaQuery::default()).await, [""; 0]);
}

async fn a_whole_saga_goes_whatever_the_limit(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 4)).await;
    assert_eq!(counts(prune(&store, whole_saga(&saga("order_1")).with_limit(1)).await), (4, 1, false));
    assert_eq!(head(&store, "order_1").await, None);
}

async fn goes_in_steps_of_the_limit_the_oldest_first(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 8)).await;
    let request = keep_newest("order_1", 1).with_limit(3);
    assert_eq!(counts(prune(&store, request.clone()).await), (3, 0, true));
    assert_eq!(sequences(&store, "order_1").await, [4, 5, 6, 7, 8]);
    assert_eq!(counts(prune(&store, request.clone()).await), (3, 0, true));
    assert_eq!(counts(prune(&store, request).await), (1, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [8]);
}

async fn says_exactly_whether_there_is_more(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 5)).await;
    assert_eq!(counts(prune(&store, keep_newest("order_1", 1).with_limit(4)).await), (4, 0, false));
    for id in ["a", "b"] {
        append(&store, records::history(id, 3)).await;
    }
    let each = PruneRequest::new(PruneScope::KeepNewest { saga_id: None, keep: 1 });
    assert_eq!(counts(prune(&store, each.clone().with_limit(3)).await), (3, 0, true));
    assert_eq!(counts(prune(&store, each.with_limit(1)).await), (1, 0, false));
}

async fn a_limit_of_nothing_removes_nothing(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 5)).await;
    assert_eq!(counts(prune(&store, keep_newest("order_1", 2).with_limit(0)).await), (0, 0, true));
    assert_eq!(counts(prune(&store, keep_newest("order_1", 5).with_limit(0)).await), (0, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [1, 2, 3, 4, 5]);
    assert_eq!(counts(prune(&store, keep_newest("order_1", 2).with_limit(u64::MAX)).await), (3, 0, false));
}

async fn a_dry_run_says_what_the_run_does_and_does_nothing(env: Env) {
    let store = env.open().await;
    append(&store, records::history("live", 6)).await;
    ended(&store, "ended", 6).await;
    let requests = [
        keep_newest("live", 4),
        keep_newest("ended", 2).with_limit(1),
        PruneRequest::new(PruneScope::KeepNewest { saga_id: None, keep: 3 }),
        one_record("ended", 5),
        one_record("ended", 6),
        one_record("live", 1),
        whole_saga(&saga("ended")),
    ];
    for request in requests {
        let before = (history(&store, "live").await, history(&store, "ended").await, ids(&store, SagaQuery::default()).await);
        let dry = prune(&store, request.clone().with_dry_run(true)).await;
        let after = (history(&store, "live").await, history(&store, "ended").await, ids(&store, SagaQuery::default()).await);
        assert_eq!(before, after, "{request:?} changed something in a dry run");
        assert_eq!(prune(&store, request.clone()).await, dry, "{request:?}");
    }
}

async fn what_does_not_exist_is_no_error(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 2)).await;
    for request in
        [keep_newest("no", 1), one_record("no", 1), one_record("order_1", 9), one_record("order_1", u64::MAX), whole_saga(&saga("no"))]
    {
        assert_eq!(prune(&store, request).await, PruneReport::default());
    }
}

async fn leaves_other_sagas_alone(env: Env) {
    let store = env.open().await;
    for id in ["a", "a:b", "ab", "A"] {
        append(&store, records::history(id, 3)).await;
    }
    prune(&store, keep_newest("a", 1)).await;
    prune(&store, whole_saga(&saga("a"))).await;
    for id in ["a:b", "ab", "A"] {
        assert_history(&history(&store, id).await, &records::history(id, 3));
    }
}

async fn leaves_what_remains_readable(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let body = "x".repeat(4000);
    let records: Vec<_> = (0..100).map(|n| chain.with_context(format!(r#"{{"n":{n},"body":"{body}"}}"#))).collect();
    append(&store, records.clone()).await;
    for sequence in [1, 2, 5, 6, 7, 40, 99] {
        prune(&store, one_record("order_1", sequence)).await;
        let left = history(&store, "order_1").await;
        let kept: Vec<_> = records.iter().filter(|record| left.iter().any(|left| left.sequence == record.sequence)).cloned().collect();
        assert_history(&left, &kept);
    }
    prune(&store, keep_newest("order_1", 3)).await;
    assert_history(&history(&store, "order_1").await, &[&records[96..98], &records[99..]].concat());
}

async fn a_saga_goes_on_after_it(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, chain.take(5)).await;
    prune(&store, keep_newest("order_1", 1)).await;
    append(&store, [chain.next_record()]).await;
    assert_eq!(sequences(&store, "order_1").await, [5, 6]);
    chain.next_record();
    conflicts(&store, vec![chain.next_record()], 8, 7).await;
}

async fn a_pruned_record_is_not_taken_again(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 4);
    append(&store, records.clone()).await;
    prune(&store, keep_newest("order_1", 2)).await;
    conflicts(&store, vec![records[0].clone()], 1, 5).await;
    assert_eq!(sequences(&store, "order_1").await, [3, 4]);
}

async fn an_id_that_is_gone_may_begin_anew(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 3)).await;
    prune(&store, whole_saga(&saga("order_1"))).await;
    let records = Chain::new("order_1").starting_at(records::after(500)).take(2);
    append(&store, records.clone()).await;
    assert_history(&history(&store, "order_1").await, &records);
    assert_eq!(head(&store, "order_1").await.map(|head| head.started_at), Some(records::after(500)));
}
