//! Records that need no longer be kept.

use chrono::{DateTime, TimeDelta, Utc};
use replay_core::{
    SagaStatus, SnapshotRecord, StepRanges, Store,
    storage::{At, PruneRequest, PruneScope, SagaQuery},
};

use super::prune::{counts, weighs};
use crate::{
    check::{append, assert_same, head, ids, load, prune, sequence_at, sequences},
    env::Env,
    records::{Chain, after},
    runner::Needs,
};

cases!("expiry", Needs::Snapshots;
    removes_what_has_expired_and_nothing_else,
    a_record_expires_at_the_very_instant,
    what_has_no_retention_never_expires,
    the_newest_record_stays_while_an_older_one_is_kept,
    a_saga_whose_records_have_all_expired_is_gone,
    a_live_saga_keeps_its_newest_record_and_checkpoint,
    goes_in_chunks_that_can_be_resumed,
    a_dry_run_says_what_the_run_does,
    an_expired_record_is_given_until_it_is_pruned,
    the_instant_may_be_at_either_end_of_time,
);

fn expired(now: DateTime<Utc>) -> PruneRequest {
    PruneRequest::new(PruneScope::Expired { now })
}

/// A saga whose records expire at these instants, in milliseconds.
fn expiring(id: &str, until: &[Option<i64>], status: SagaStatus) -> Vec<SnapshotRecord> {
    let mut chain = Chain::new(id);
    let mut make = |until: &Option<i64>| {
        chain.with(|meta| {
            meta.retention_until = until.map(after);
            meta.status = status;
            if status.is_terminal() {
                meta.next = StepRanges::default();
            }
        })
    };
    until.iter().map(&mut make).collect()
}

async fn store_with(env: &Env, id: &str, until: &[Option<i64>], status: SagaStatus) -> Store {
    let store = env.open().await;
    append(&store, expiring(id, until, status)).await;
    store
}

async fn removes_what_has_expired_and_nothing_else(env: Env) {
    let until = [Some(100), Some(500), Some(200), Some(900), None];
    let store = store_with(&env, "order_1", &until, SagaStatus::Completed).await;
    let records = expiring("order_1", &until, SagaStatus::Completed);
    let report = prune(&store, expired(after(300))).await;
    assert_eq!(counts(report), (2, 0, false));
    weighs(report, &[records[0].clone(), records[2].clone()]);
    assert_eq!(sequences(&store, "order_1").await, [2, 4, 5]);
    assert_eq!(counts(prune(&store, expired(after(600))).await), (1, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [4, 5]);
}

async fn a_record_expires_at_the_very_instant(env: Env) {
    let store = store_with(&env, "order_1", &[Some(100), None], SagaStatus::Completed).await;
    assert_eq!(counts(prune(&store, expired(after(100) - TimeDelta::microseconds(1))).await), (0, 0, false));
    assert_eq!(counts(prune(&store, expired(after(100) - TimeDelta::nanoseconds(1))).await), (0, 0, false));
    assert_eq!(counts(prune(&store, expired(after(100))).await), (1, 0, false));
}

async fn what_has_no_retention_never_expires(env: Env) {
    let store = store_with(&env, "order_1", &[None, None, None], SagaStatus::Completed).await;
    assert_eq!(counts(prune(&store, expired(after(1 << 40))).await), (0, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [1, 2, 3]);
}

async fn the_newest_record_stays_while_an_older_one_is_kept(env: Env) {
    let store = store_with(&env, "order_1", &[Some(100), Some(900), Some(100)], SagaStatus::Completed).await;
    assert_eq!(counts(prune(&store, expired(after(300))).await), (1, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [2, 3]);
    assert_eq!(sequence_at(&store, "order_1", At::Latest).await, Some(3));
    assert_eq!(head(&store, "order_1").await.map(|head| head.sequence), Some(3));
    assert_eq!(counts(prune(&store, expired(after(900))).await), (2, 1, false));
}

async fn a_saga_whose_records_have_all_expired_is_gone(env: Env) {
    let store = store_with(&env, "order_1", &[Some(100), Some(150), Some(200)], SagaStatus::RolledBack).await;
    append(&store, expiring("order_2", &[Some(100), None], SagaStatus::RolledBack)).await;
    assert_eq!(counts(prune(&store, expired(after(200))).await), (4, 1, false));
    assert_eq!(ids(&store, SagaQuery::default()).await, ["order_2"]);
    assert_eq!(sequence_at(&store, "order_1", At::Latest).await, None);
}

async fn a_live_saga_keeps_its_newest_record_and_checkpoint(env: Env) {
    let store = env.open().await;
    let mut records = expiring("order_1", &[Some(1); 3], SagaStatus::Executing);
    let mut chain = Chain::new("order_1");
    chain.go_on_after(records.last());
    records.extend((0..2).map(|_| {
        chain.with(|meta| {
            (meta.next, meta.status, meta.retention_until) = (StepRanges::default(), SagaStatus::Compensating, Some(after(1)));
        })
    }));
    append(&store, records).await;
    assert_eq!(counts(prune(&store, expired(after(1_000_000))).await), (3, 0, false));
    assert_eq!(sequences(&store, "order_1").await, [3, 5]);
    assert_eq!(counts(prune(&store, expired(after(1_000_000))).await), (0, 0, false));
    // When it has ended, they go with the rest.
    append(
        &store,
        [chain
            .with(|meta| (meta.next, meta.status, meta.retention_until) = (StepRanges::default(), SagaStatus::RolledBack, Some(after(2))))],
    )
    .await;
    assert_eq!(counts(prune(&store, expired(after(1_000_000))).await), (3, 1, false));
}

async fn goes_in_chunks_that_can_be_resumed(env: Env) {
    let store = env.open().await;
    for id in ["a", "b", "c"] {
        append(&store, expiring(id, &[Some(10); 7], SagaStatus::Completed)).await;
    }
    append(&store, expiring("live", &[Some(10); 3], SagaStatus::Executing)).await;
    let (mut records, mut sagas, mut rounds) = (0, 0, 0);
    loop {
        let report = prune(&store, expired(after(10)).with_limit(4)).await;
        assert!(report.records <= 4, "more was removed than the limit allows");
        (records, sagas, rounds) = (records + report.records, sagas + report.sagas, rounds + 1);
        for id in ["a", "b", "c"] {
            let left = sequences(&store, id).await;
            assert!(left.windows(2).all(|pair| pair[0] + 1 == pair[1]) && left.last().is_none_or(|last| *last == 7), "{left:?}");
        }
        if !report.more {
            break;
        }
        assert!(rounds < 20, "it never ends");
    }
    assert_eq!((records, sagas, rounds), (23, 3, 6));
    assert_eq!(ids(&store, SagaQuery::default()).await, ["live"]);
    assert_eq!(sequences(&store, "live").await, [3]);
}

async fn a_dry_run_says_what_the_run_does(env: Env) {
    let store = store_with(&env, "order_1", &[Some(1); 5], SagaStatus::Completed).await;
    append(&store, expiring("order_2", &[Some(1), None, Some(1)], SagaStatus::Completed)).await;
    append(&store, expiring("order_3", &[Some(1); 3], SagaStatus::Pending)).await;
    let dry = prune(&store, expired(after(9)).with_dry_run(true)).await;
    assert_eq!(counts(dry), (8, 1, false));
    for (id, left) in [("order_1", 5), ("order_2", 3), ("order_3", 3)] {
        assert_eq!(sequences(&store, id).await.len(), left, "the dry run changed {id}");
    }
    assert_eq!(prune(&store, expired(after(9))).await, dry);
}

async fn an_expired_record_is_given_until_it_is_pruned(env: Env) {
    if env.capabilities.native_expiry {
        // Such a store may have removed it already; what it must not do is hand out half of it.
        let store = store_with(&env, "order_1", &[Some(-1000), None], SagaStatus::Completed).await;
        assert!(matches!(sequences(&store, "order_1").await[..], [1, 2] | [2]));
        return;
    }
    let store = store_with(&env, "order_1", &[Some(-1000), Some(-1000)], SagaStatus::Completed).await;
    let records = expiring("order_1", &[Some(-1000), Some(-1000)], SagaStatus::Completed);
    assert_eq!(sequences(&store, "order_1").await, [1, 2]);
    assert_same(&load(&store, "order_1", At::Latest).await.expect("a record"), &records[1]);
    assert_same(&load(&store, "order_1", At::Time(after(0))).await.expect("a record"), &records[0]);
    assert_eq!(ids(&store, SagaQuery::default()).await, ["order_1"]);
    assert_eq!(counts(prune(&store, expired(after(0))).await), (2, 1, false));
}

async fn the_instant_may_be_at_either_end_of_time(env: Env) {
    let store = store_with(&env, "order_1", &[Some(1), Some(2)], SagaStatus::Completed).await;
    assert_eq!(counts(prune(&store, expired(DateTime::<Utc>::MIN_UTC)).await), (0, 0, false));
    assert_eq!(counts(prune(&store, expired(DateTime::<Utc>::MAX_UTC)).await), (2, 1, false));
}
