//! One saga's records in order, as a stream.

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt};
use replay_core::{
    ErrorKind, SnapshotRecord,
    storage::{Order, SnapshotQuery, TimeRange},
};

use crate::{
    check::{append, assert_history, list, listed, one_record, prune, refused},
    env::Env,
    records::{self, Chain, after, saga},
    runner::Needs,
};

cases!("list", Needs::Snapshots;
    ascending_and_descending,
    a_range_of_sequences,
    a_range_that_is_empty_or_reversed,
    limits_of_none_one_and_the_maximum,
    a_limit_counts_from_the_end_that_is_read_first,
    a_range_of_time_is_half_open,
    ends_of_time_finer_than_a_microsecond,
    sequence_time_order_and_limit_together,
    nothing_of_a_saga_that_does_not_exist,
    long_histories_come_whole,
    leaves_out_what_was_pruned_and_nothing_else,
    without_payloads_come_the_same_headers_alone,
    is_read_as_it_is_polled,
    may_be_dropped_half_way,
);

fn order_1() -> SnapshotQuery {
    SnapshotQuery::new(saga("order_1"))
}

async fn ascending_and_descending(env: Env) {
    let store = env.open().await;
    let mut records = records::history("order_1", 5);
    append(&store, records.clone()).await;
    append(&store, records::history("order_10", 2)).await;
    assert_history(&list(&store, order_1()).await, &records);
    records.reverse();
    assert_history(&list(&store, order_1().with_order(Order::Descending)).await, &records);
}

async fn a_range_of_sequences(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 6)).await;
    let expected: [(u64, u64, &[u64]); 6] = [
        (2, 4, &[2, 3, 4]),
        (3, 3, &[3]),
        (0, 2, &[1, 2]),
        (5, u64::MAX, &[5, 6]),
        (0, u64::MAX, &[1, 2, 3, 4, 5, 6]),
        (i64::MAX as u64, u64::MAX, &[]),
    ];
    for (first, last, sequences) in expected {
        assert_eq!(listed(&store, order_1().with_sequences(first, last)).await, sequences, "{first}..={last}");
        let mut reversed = listed(&store, order_1().with_sequences(first, last).with_order(Order::Descending)).await;
        reversed.reverse();
        assert_eq!(reversed, sequences, "{first}..={last}, descending");
    }
}

async fn a_range_that_is_empty_or_reversed(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 6)).await;
    for (first, last) in [(4, 3), (7, 9), (0, 0), (u64::MAX, 0)] {
        assert_eq!(listed(&store, order_1().with_sequences(first, last)).await, [0; 0], "{first}..={last}");
    }
    let reversed = TimeRange { from: Some(after(4)), until: Some(after(2)) };
    assert_eq!(listed(&store, order_1().with_created(reversed)).await, [0; 0]);
}

async fn limits_of_none_one_and_the_maximum(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 3)).await;
    for (limit, sequences) in
        [(0, &[][..]), (1, &[1]), (3, &[1, 2, 3]), (4, &[1, 2, 3]), (i64::MAX as u64, &[1, 2, 3]), (u64::MAX, &[1, 2, 3])]
    {
        assert_eq!(listed(&store, order_1().with_limit(limit)).await, sequences, "limit {limit}");
    }
}

async fn a_limit_counts_from_the_end_that_is_read_first(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 9)).await;
    assert_eq!(listed(&store, order_1().with_order(Order::Descending).with_limit(2)).await, [9, 8]);
    assert_eq!(listed(&store, order_1().with_sequences(2, 5).with_order(Order::Descending).with_limit(2)).await, [5, 4]);
    assert_eq!(listed(&store, order_1().with_sequences(2, 5).with_limit(2)).await, [2, 3]);
}

async fn a_range_of_time_is_half_open(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 5)).await;
    let expected: [(Option<i64>, Option<i64>, &[u64]); 6] = [
        (Some(1), Some(3), &[2, 3]),
        (Some(1), None, &[2, 3, 4, 5]),
        (None, Some(1), &[1]),
        (None, Some(0), &[]),
        (Some(4), Some(5), &[5]),
        (Some(5), None, &[]),
    ];
    for (from, until, sequences) in expected {
        let created = TimeRange { from: from.map(after), until: until.map(after) };
        assert_eq!(listed(&store, order_1().with_created(created)).await, sequences, "{created:?}");
    }
    let all = TimeRange { from: Some(DateTime::<Utc>::MIN_UTC), until: Some(DateTime::<Utc>::MAX_UTC) };
    assert_eq!(listed(&store, order_1().with_created(all)).await.len(), 5);
}

async fn ends_of_time_finer_than_a_microsecond(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 3)).await;
    let nano = TimeDelta::nanoseconds(1);
    let created = |from: DateTime<Utc>, until: DateTime<Utc>| order_1().with_created(TimeRange { from: Some(from), until: Some(until) });
    assert_eq!(listed(&store, created(after(0) + nano, after(2) + nano)).await, [2, 3], "each end falls between two records");
    assert_eq!(listed(&store, created(after(1) - nano, after(2) - nano)).await, [2]);
}

async fn sequence_time_order_and_limit_together(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 20)).await;
    let created = TimeRange { from: Some(after(4)), until: Some(after(15)) };
    let query = order_1().with_created(created).with_sequences(3, 12);
    assert_eq!(listed(&store, query.clone()).await, [5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(listed(&store, query.clone().with_limit(3)).await, [5, 6, 7]);
    assert_eq!(listed(&store, query.with_limit(3).with_order(Order::Descending)).await, [12, 11, 10]);
}

async fn nothing_of_a_saga_that_does_not_exist(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 2)).await;
    assert_eq!(listed(&store, SnapshotQuery::new(saga("order_"))).await, [0; 0]);
}

async fn long_histories_come_whole(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 1100)).await;
    let all: Vec<u64> = (1..=1100).collect();
    assert_eq!(listed(&store, order_1()).await, all);
    let mut descending = listed(&store, order_1().with_order(Order::Descending)).await;
    descending.reverse();
    assert_eq!(descending, all);
    assert_eq!(listed(&store, order_1().with_sequences(90, 1099).with_limit(1000)).await, (90..1090).collect::<Vec<u64>>());
}

async fn leaves_out_what_was_pruned_and_nothing_else(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 9)).await;
    for sequence in [1, 4, 5, 8] {
        prune(&store, one_record("order_1", sequence)).await;
    }
    assert_eq!(listed(&store, order_1()).await, [2, 3, 6, 7, 9]);
    assert_eq!(listed(&store, order_1().with_limit(3)).await, [2, 3, 6]);
    assert_eq!(listed(&store, order_1().with_sequences(4, 8)).await, [6, 7]);
    assert_eq!(listed(&store, order_1().with_order(Order::Descending).with_limit(2)).await, [9, 7]);
}

async fn without_payloads_come_the_same_headers_alone(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let mut records = chain.take(150);
    records.extend([chain.with_context(""), chain.with_context("x".repeat(100_000)), chain.next_record()]);
    append(&store, records.clone()).await;
    assert_bare(&list(&store, order_1().with_payloads(false)).await, &records);
    records.reverse();
    let newest = order_1().with_payloads(false).with_order(Order::Descending).with_sequences(2, 152).with_limit(120);
    assert_bare(&list(&store, newest).await, &records[1..121]);
    records.reverse();
    assert_history(&list(&store, order_1().with_payloads(true)).await, &records);
}

/// These are the records, but their contexts, and asking for one is an error.
fn assert_bare(got: &[SnapshotRecord], want: &[SnapshotRecord]) {
    assert_eq!(got, want);
    for (got, want) in got.iter().zip(want) {
        let id = want.id();
        assert_eq!((got.header(), got.meta()), (want.header(), want.meta()), "{id}: the header is another");
        assert_eq!(got.outline.as_bytes(), want.outline.as_bytes(), "{id}: the definition is another");
        assert!(!got.has_payload(), "{id} has a payload that was not asked for");
        refused(got.clone().decode(), ErrorKind::Invalid);
    }
}

async fn is_read_as_it_is_polled(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, chain.take(3)).await;
    // What was asked for before the append and first polled after it may show it, but must be a history without gap.
    let unpolled = store.snapshots().list(order_1());
    append(&store, chain.take(2)).await;
    let shown: Vec<_> = unpolled.try_collect().await.expect("the listing succeeds");
    let shown: Vec<u64> = shown.iter().map(|record| record.sequence).collect();
    assert!(shown == [1, 2, 3] || shown == [1, 2, 3, 4] || shown == [1, 2, 3, 4, 5], "{shown:?}");
}

async fn may_be_dropped_half_way(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, chain.take(300)).await;
    for _ in 0..20 {
        let mut stream = store.snapshots().list(order_1());
        let first = stream.next().await.expect("a record").expect("the listing succeeds");
        assert_eq!(first.sequence, 1);
        drop(stream);
        append(&store, [chain.next_record()]).await;
    }
    assert_eq!(listed(&store, order_1().with_order(Order::Descending).with_limit(1)).await, [320]);
}
