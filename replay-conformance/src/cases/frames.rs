//! Contexts that change little from record to record, as stores keep them small: however that is done, each comes back by itself.

use std::sync::Arc;

use bytes::Bytes;
use replay_core::{Compression, Encoder, Encoding, ErrorKind, Frame, SnapshotRecord, storage::At};

use crate::{
    check::{append, assert_history, assert_same, history, keep_newest, load, one_record, prune, refused, whole_saga},
    env::Env,
    records::{Chain, saga},
    runner::Needs,
};

cases!("frames", Needs::Snapshots;
    a_context_that_changes_little_comes_back_each_time,
    a_record_that_comes_encoded_is_kept_whole,
    each_is_readable_without_the_first,
    each_is_readable_alone,
    keeping_the_newest_as_the_saga_goes_on,
    what_follows_a_refused_append_is_readable,
    a_saga_is_readable_though_another_like_it_is_gone,
    a_saga_that_begins_anew_is_readable,
    several_handles_take_turns,
);

/// Some 2 KB of context, in which `n` and what grows with it are all that changes.
fn context(n: u64) -> String {
    let line = |line: u64| format!(r#"{{"sku":"SKU-{line:05}","name":"a thing that people order","quantity":3,"cents":{}}}"#, line * 37);
    let lines: Vec<_> = (0..20 + n / 4).map(line).collect();
    format!(r#"{{"lines":[{}],"step":{n}}}"#, lines.join(","))
}

fn next(chain: &mut Chain) -> SnapshotRecord {
    let n = chain.sequence() + 1;
    chain.with_context(context(n))
}

fn some(chain: &mut Chain, count: usize) -> Vec<SnapshotRecord> {
    (0..count).map(|_| next(chain)).collect()
}

/// The same records, encoded as a store with frames gives them.
fn encoded(records: &[SnapshotRecord]) -> Vec<SnapshotRecord> {
    let encoder = Encoder::new(Compression::ZSTD);
    let one = |record: &SnapshotRecord| {
        let encoded = encoder.encode(record).expect("a context that can be encoded");
        let given = SnapshotRecord::from_parts(record.outline.clone(), record.header().clone(), encoded.payload).expect("a sound header");
        let base = encoded.base.expect("a context that is worth a frame");
        let frame = Frame::new(base.frame.digest(), base.frame.payload().clone()).expect("a frame");
        given.with_frame(Arc::new(frame))
    };
    records.iter().map(one).collect()
}

/// Appends record by record, as an engine does.
async fn append_each(store: &replay_core::Store, records: &[SnapshotRecord]) {
    for record in records {
        append(store, [record.clone()]).await;
    }
}

async fn a_context_that_changes_little_comes_back_each_time(env: Env) {
    let store = env.open().await;
    let records = some(&mut Chain::new("order_1"), 160);
    append(&store, records[..40].to_vec()).await;
    append_each(&store, &records[40..]).await;
    let mut far = Chain::new("order_2");
    let noisy: Vec<_> = (0..12).map(|n| far.with_context(Bytes::from(vec![b'a' + n; 300 << n]))).collect();
    append_each(&store, &noisy).await;
    for store in [&store, &env.open().await] {
        assert_history(&history(store, "order_1").await, &records);
        assert_history(&history(store, "order_2").await, &noisy);
        for at in [1, 2, 40, 41, 128, 129, 160] {
            assert_same(&load(store, "order_1", At::Sequence(at as u64)).await.expect("a record"), &records[at - 1]);
        }
    }
}

async fn a_record_that_comes_encoded_is_kept_whole(env: Env) {
    let store = env.open().await;
    let records = some(&mut Chain::new("order_1"), 6);
    let given = encoded(&records);
    assert!(given.iter().all(|record| record.payload().is_ok_and(|payload| payload.encoding == Encoding::Delta)));
    append(&store, given[..3].to_vec()).await;
    append_each(&store, &given[3..]).await;
    assert_history(&history(&store, "order_1").await, &records);
    append(&store, given).await;
    assert_history(&history(&env.open().await, "order_1").await, &records);
}

async fn each_is_readable_without_the_first(env: Env) {
    let store = env.open().await;
    let records = some(&mut Chain::new("order_1"), 20);
    append_each(&store, &encoded(&records)).await;
    for (gone, record) in (1..).zip(&records[..19]) {
        assert_eq!(prune(&store, one_record("order_1", record.sequence)).await.records, 1);
        assert_history(&history(&store, "order_1").await, &records[gone..]);
    }
}

async fn each_is_readable_alone(env: Env) {
    for left in [1, 7, 12] {
        let id = format!("order_{left}");
        let store = env.open().await;
        let records = some(&mut Chain::new(&id), 12);
        append_each(&store, &encoded(&records)).await;
        for record in records.iter().rev().filter(|record| ![left, 12].contains(&record.sequence)) {
            prune(&store, one_record(&id, record.sequence)).await;
        }
        let kept: Vec<_> = records.into_iter().filter(|record| [left, 12].contains(&record.sequence)).collect();
        assert_history(&history(&env.open().await, &id).await, &kept);
    }
}

/// SC-7.
async fn keeping_the_newest_as_the_saga_goes_on(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let mut records = Vec::new();
    for _ in 0..40 {
        let record = next(&mut chain);
        append(&store, [record.clone()]).await;
        records.push(record);
        prune(&store, keep_newest("order_1", 3)).await;
        assert_history(&history(&store, "order_1").await, &records[records.len().saturating_sub(3)..]);
    }
}

async fn what_follows_a_refused_append_is_readable(env: Env) {
    let (store, other) = (env.open().await, env.open().await);
    let mut chain = Chain::new("order_1");
    let mut records = some(&mut chain, 3);
    append(&other, records.clone()).await;
    for _ in 0..3 {
        let (mut mine, mut theirs) = (chain.clone(), chain.clone());
        let won = theirs.record(|meta| meta.step = None, context(chain.sequence() + 100));
        append(&other, [won.clone()]).await;
        refused(store.snapshots().append(vec![next(&mut mine)]).await, ErrorKind::Conflict);
        chain.go_on_after(Some(&won));
        records.push(won);
        let more = some(&mut chain, 2);
        append_each(&store, &more).await;
        records.extend(more);
    }
    assert_history(&history(&env.open().await, "order_1").await, &records);
}

async fn a_saga_is_readable_though_another_like_it_is_gone(env: Env) {
    let store = env.open().await;
    let (first, second) = (some(&mut Chain::new("a"), 5), some(&mut Chain::new("b"), 5));
    append_each(&store, &encoded(&first)).await;
    append_each(&store, &encoded(&second)).await;
    prune(&store, whole_saga(&saga("a"))).await;
    assert_history(&history(&store, "b").await, &second);
    let elsewhere = env.open_in("elsewhere").await;
    append_each(&elsewhere, &encoded(&first)).await;
    prune(&store, whole_saga(&saga("b"))).await;
    assert_history(&history(&elsewhere, "a").await, &first);
}

async fn a_saga_that_begins_anew_is_readable(env: Env) {
    let (store, other) = (env.open().await, env.open().await);
    append_each(&store, &some(&mut Chain::new("order_1"), 3)).await;
    prune(&other, whole_saga(&saga("order_1"))).await;
    let records = some(&mut Chain::new("order_1"), 6);
    append_each(&other, &records[..2]).await;
    // This handle may still think of the frame that went with the former saga.
    append_each(&store, &records[2..]).await;
    assert_history(&history(&env.open().await, "order_1").await, &records);
}

async fn several_handles_take_turns(env: Env) {
    let handles = [env.open().await, env.open().await, env.open().await];
    let records = some(&mut Chain::new("order_1"), 30);
    for (turn, record) in records.iter().enumerate() {
        append(&handles[turn / 2 % 3], [record.clone()]).await;
        if turn % 5 == 4 {
            prune(&handles[turn % 3], keep_newest("order_1", 4)).await;
        }
        let left = history(&handles[(turn + 1) % 3], "order_1").await;
        assert_history(&left, &records[turn + 1 - left.len()..=turn]);
    }
    let left = history(&handles[0], "order_1").await;
    assert_history(&left, &records[26..]);
}
