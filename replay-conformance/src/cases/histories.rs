//! Random histories of calls: the store and a simple model must answer alike, whatever comes.

use std::sync::Arc;

use fastrand::Rng;
use futures::TryStreamExt;
use replay_core::{
    Result, SagaStatus, SnapshotId, SnapshotRecord, StepRanges, Store,
    storage::{At, Order, PruneRequest, PruneScope, SagaQuery, SnapshotQuery, SnapshotStorage, TimeRange},
};

use crate::{
    check::{assert_same, history},
    env::Env,
    records::{Chain, after, saga},
    reference::Reference,
    runner::Needs,
};

cases!("histories", Needs::Snapshots;
    a_dozen_random_histories_match_the_model;
    large: two_hundred_random_histories_match_the_model
);

const SAGAS: [&str; 4] = ["a", "a:b", "b", "b%"];

async fn a_dozen_random_histories_match_the_model(env: Env) {
    for seed in 1000..1012 {
        run(&env, seed, 60).await;
    }
}

async fn two_hundred_random_histories_match_the_model(env: Env) {
    for seed in 0..200u64.div_ceil(env.smaller_by as u64) {
        run(&env, seed, 40).await;
    }
}

/// One history of `calls` random calls. The seed is in every message: a failure is run again by it.
async fn run(env: &Env, seed: u64, calls: usize) {
    let mut random = Rng::with_seed(seed);
    let store = env.open_in(&format!("seed-{seed}")).await;
    let model = Reference::new(env.clock.clone());
    let mut chains = SAGAS.map(Chain::new);
    for call in 0..calls {
        let at = format!("seed {seed}, call {call}");
        match random.u8(0..10) {
            0..4 => {
                let records = some_records(&mut random, &mut chains);
                both_append(&store, &model, &mut chains, records, &at).await;
            }
            4 => {
                let request = some_prune(&mut random);
                let (got, want) = (store.snapshots().prune(request.clone()).await, model.prune(request.clone()).await);
                let (got, want) = (got.expect("a prune"), want.expect("a prune"));
                assert_eq!((got.records, got.sagas, got.more), (want.records, want.sagas, want.more), "{at}: {request:?}");
                assert!(got.bytes <= want.bytes && (got.bytes > 0) == (want.bytes > 0), "{at}: {request:?}");
            }
            5..7 => {
                let (id, position) = (saga(SAGAS[random.usize(0..4)]), some_position(&mut random));
                let (got, want) = (store.snapshots().load(&id, position.clone()).await, model.load(&id, position.clone()).await);
                let (got, want) = (got.expect("a load"), want.expect("a load"));
                assert_eq!(got, want, "{at}: {id} {position:?}");
                if let (Some(got), Some(want)) = (got, want) {
                    assert_same(&got, &want);
                }
            }
            7..9 => {
                let query = some_listing(&mut random);
                let (got, want) = (store.snapshots().list(query.clone()).try_collect(), model.list(query.clone()).try_collect());
                let (got, want): (Vec<_>, Vec<_>) = (got.await.expect("a listing"), want.await.expect("a listing"));
                assert_eq!(got, want, "{at}: {query:?}");
            }
            _ => {
                let query = some_sagas(&mut random);
                let (got, want) = (store.snapshots().sagas(query.clone()).try_collect(), model.sagas(query.clone()).try_collect());
                let (got, want): (Vec<_>, Vec<_>) = (got.await.expect("a listing"), want.await.expect("a listing"));
                assert_eq!(got, want, "{at}: {query:?}");
            }
        }
    }
    for id in SAGAS {
        let want: Vec<_> = model.list(SnapshotQuery::new(saga(id))).try_collect().await.expect("a listing");
        assert_eq!(history(&store, id).await, want, "seed {seed}: the history of {id} at the end");
    }
}

/// Appends to both, which must agree; the chains go back to what the model holds if it refused.
async fn both_append(store: &Store, model: &Reference, chains: &mut [Chain; 4], records: Vec<SnapshotRecord>, at: &str) {
    let ids: Vec<_> = records.iter().map(|record| record.id()).collect();
    let said = |result: Result<()>| {
        result.map_err(|error| (error.kind(), error.fact("saga").map(str::to_owned), error.fact("expected").map(str::to_owned)))
    };
    let (got, want) = (said(store.snapshots().append(records.clone()).await), said(model.append(records).await));
    assert_eq!(got, want, "{at}: append of {ids:?}");
    for chain in chains {
        let newest = model.load(chain.saga_id(), At::Latest).await.expect("a load");
        chain.go_on_after(newest.as_ref());
    }
}

/// Mostly the next records of one saga; sometimes one that was there before, or leaves a gap, or is another at a taken place.
fn some_records(random: &mut Rng, chains: &mut [Chain; 4]) -> Vec<SnapshotRecord> {
    let chain = &mut chains[random.usize(0..4)];
    let mut other = chain.clone();
    if random.u8(0..12) == 0 {
        other.next_record();
    }
    if random.u8(0..12) == 0 {
        return Chain::new(chain.saga_id().as_str()).take(random.usize(1..5));
    }
    let count = random.usize(1..4);
    (0..count).map(|_| some_record(random, &mut other)).collect()
}

fn some_record(random: &mut Rng, chain: &mut Chain) -> SnapshotRecord {
    let status = SagaStatus::ALL[random.usize(0..SagaStatus::ALL.len())];
    let (checkpoint, step, label) = (random.bool(), random.u32(0..3), random.u8(0..3));
    let (later, retention) = (random.i64(0..3), random.bool().then(|| after(random.i64(0..60))));
    chain.record(
        |meta| {
            meta.status = status;
            meta.step = Some(step);
            meta.next = if checkpoint { (step..3).collect() } else { StepRanges::default() };
            meta.labels = Arc::new([("n".to_owned(), label.to_string())].into());
            meta.created_at += chrono::TimeDelta::milliseconds(later);
            meta.retention_until = retention;
        },
        format!(r#"{{"random":{}}}"#, random.u64(..)),
    )
}

fn some_prune(random: &mut Rng) -> PruneRequest {
    let saga_id = saga(SAGAS[random.usize(0..4)]);
    // Without a saga, a limit may end the call anywhere among sagas: each store has its own order there.
    let (scope, limit) = match random.u8(0..8) {
        0 | 1 => (PruneScope::KeepNewest { saga_id: Some(saga_id), keep: random.u64(0..5) }, random.u64(0..6)),
        2 => (PruneScope::KeepNewest { saga_id: None, keep: random.u64(2..8) }, 1000),
        3 | 4 => (PruneScope::Expired { now: after(random.i64(0..60)) }, 1000),
        5 | 6 => (PruneScope::Record(SnapshotId { saga_id, sequence: random.u64(0..12) }), random.u64(0..3)),
        _ => (PruneScope::Saga(saga_id), random.u64(0..3)),
    };
    PruneRequest::new(scope).with_limit(limit).with_dry_run(random.u8(0..4) == 0)
}

fn some_position(random: &mut Rng) -> At {
    match random.u8(0..4) {
        0 => At::Latest,
        1 => At::Sequence(random.u64(0..15)),
        2 => At::before_step(["reserve", "charge", "ship", "none"][random.usize(0..4)]),
        _ => At::Time(after(random.i64(-2..40))),
    }
}

fn some_range(random: &mut Rng) -> TimeRange {
    let mut end = || random.bool().then(|| after(random.i64(0..40)));
    TimeRange { from: end(), until: end() }
}

fn some_listing(random: &mut Rng) -> SnapshotQuery {
    let mut query = SnapshotQuery::new(saga(SAGAS[random.usize(0..4)])).with_created(some_range(random));
    query = query.with_order(if random.bool() { Order::Ascending } else { Order::Descending });
    query = query.with_sequences(random.u64(0..8), if random.bool() { u64::MAX } else { random.u64(0..16) });
    if random.bool() { query.with_limit(random.u64(0..8)) } else { query }
}

fn some_sagas(random: &mut Rng) -> SagaQuery {
    let mut query = SagaQuery::default().with_updated(some_range(random));
    for _ in 0..random.u8(0..4) {
        query = query.with_status(SagaStatus::ALL[random.usize(0..SagaStatus::ALL.len())]);
    }
    if random.bool() {
        query = query.with_id_prefix(["a", "b", "b%", ""][random.usize(0..4)]);
    }
    if random.u8(0..4) == 0 {
        query = query.with_label("n", random.u8(0..3).to_string());
    }
    if random.u8(0..4) == 0 {
        query = query.with_step(["reserve", "charge", "ship"][random.usize(0..3)]);
    }
    if random.bool() { query.with_limit(random.u64(0..4)) } else { query }
}
