//! One record at a position: the newest, a sequence, before a step, at an instant.

use chrono::{DateTime, TimeDelta, Utc};
use replay_core::{StepRanges, storage::At};

use crate::{
    check::{append, assert_same, load, one_record, prune, sequence_at},
    env::Env,
    records::{self, Chain, after},
    runner::Needs,
};

cases!("load", Needs::Snapshots;
    the_newest_record,
    the_record_with_a_sequence,
    no_record_beyond_either_end,
    nothing_of_a_saga_that_does_not_exist,
    the_newest_record_before_a_step,
    a_step_that_runs_with_others,
    no_record_before_a_step_that_never_ran,
    at_an_instant_the_newest_not_after_it,
    of_several_at_one_instant_the_newest,
    an_instant_finer_than_a_microsecond,
    instants_before_1970_and_at_both_ends_of_time,
    a_pruned_record_is_gone_and_the_older_one_answers_for_its_time,
    large_histories_are_answered_from_anywhere,
);

async fn the_newest_record(env: Env) {
    let store = env.open().await;
    for record in records::history("order_1", 3) {
        append(&store, [record.clone()]).await;
        assert_same(&load(&store, "order_1", At::Latest).await.expect("a record"), &record);
    }
}

async fn the_record_with_a_sequence(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 12);
    append(&store, records.clone()).await;
    for record in &records {
        assert_same(&load(&store, "order_1", At::Sequence(record.sequence)).await.expect("a record"), record);
    }
}

async fn no_record_beyond_either_end(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 3)).await;
    for sequence in [0, 4, 1 << 32, i64::MAX as u64, i64::MAX as u64 + 1, i64::MAX as u64 + 3, u64::MAX] {
        assert_eq!(sequence_at(&store, "order_1", At::Sequence(sequence)).await, None, "{sequence}");
    }
}

async fn nothing_of_a_saga_that_does_not_exist(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 3)).await;
    for at in [At::Latest, At::Sequence(1), At::before_step("reserve"), At::Time(after(1000))] {
        assert_eq!(sequence_at(&store, "order_2", at).await, None);
    }
}

async fn the_newest_record_before_a_step(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 8)).await;
    let expected = [("reserve", 7), ("charge", 8), ("ship", 6)];
    for (step, sequence) in expected {
        assert_eq!(sequence_at(&store, "order_1", At::before_step(step)).await, Some(sequence), "before {step}");
    }
}

async fn a_step_that_runs_with_others(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let wave = chain.with(|meta| meta.next = [0, 1, 2].into_iter().collect());
    let rest = chain.with(|meta| meta.next = [2, 0].into_iter().collect());
    let done = chain.with(|meta| meta.next = StepRanges::default());
    append(&store, [wave, rest, done]).await;
    for (step, sequence) in [("reserve", 2), ("charge", 1), ("ship", 2)] {
        assert_eq!(sequence_at(&store, "order_1", At::before_step(step)).await, Some(sequence), "before {step}");
    }
}

async fn no_record_before_a_step_that_never_ran(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 2)).await;
    for step in ["ship", "reserv", "reserve ", "RESERVE", "reserve%", "%", "_______", ""] {
        assert_eq!(sequence_at(&store, "order_1", At::before_step(step)).await, None, "before {step:?}");
    }
}

async fn at_an_instant_the_newest_not_after_it(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 5)).await;
    let micro = TimeDelta::microseconds(1);
    let expected = [
        (after(0) - micro, None),
        (after(0), Some(1)),
        (after(0) + micro, Some(1)),
        (after(1) - micro, Some(1)),
        (after(1), Some(2)),
        (after(3), Some(4)),
        (after(4) - micro, Some(4)),
        (after(4), Some(5)),
        (after(1_000_000), Some(5)),
    ];
    for (instant, sequence) in expected {
        assert_eq!(sequence_at(&store, "order_1", At::Time(instant)).await, sequence, "{instant}");
    }
}

async fn of_several_at_one_instant_the_newest(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, (0..4).map(|_| chain.with(|meta| meta.created_at = after(7)))).await;
    assert_eq!(sequence_at(&store, "order_1", At::Time(after(7))).await, Some(4));
    assert_eq!(sequence_at(&store, "order_1", At::Time(after(8))).await, Some(4));
    assert_eq!(sequence_at(&store, "order_1", At::Time(after(6))).await, None);
}

async fn an_instant_finer_than_a_microsecond(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 2)).await;
    let nano = TimeDelta::nanoseconds(1);
    for (instant, sequence) in [(after(0) - nano, None), (after(0) + nano, Some(1)), (after(1) - nano, Some(1)), (after(1) + nano, Some(2))]
    {
        assert_eq!(sequence_at(&store, "order_1", At::Time(instant)).await, sequence, "{instant}");
    }
}

async fn instants_before_1970_and_at_both_ends_of_time(env: Env) {
    let store = env.open().await;
    let instants = ["1823-01-01T00:00:00.000001Z", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z", "2999-12-31T23:59:59.123456Z"];
    let instants = instants.map(|text| text.parse::<DateTime<Utc>>().expect("an instant"));
    let mut chain = Chain::new("order_1");
    let records: Vec<_> = instants.iter().map(|at| chain.with(|meta| meta.created_at = *at)).collect();
    append(&store, records.clone()).await;
    for record in &records {
        assert_same(&load(&store, "order_1", At::Time(record.created_at)).await.expect("a record"), record);
    }
    let before = instants[1] - TimeDelta::microseconds(1);
    assert_eq!(sequence_at(&store, "order_1", At::Time(before)).await, Some(1));
    assert_eq!(sequence_at(&store, "order_1", At::Time(DateTime::<Utc>::MIN_UTC)).await, None);
    assert_eq!(sequence_at(&store, "order_1", At::Time(DateTime::<Utc>::MAX_UTC)).await, Some(4));
}

async fn a_pruned_record_is_gone_and_the_older_one_answers_for_its_time(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 6)).await;
    prune(&store, one_record("order_1", 4)).await;
    assert_eq!(sequence_at(&store, "order_1", At::Sequence(4)).await, None);
    assert_eq!(sequence_at(&store, "order_1", At::Sequence(5)).await, Some(5));
    assert_eq!(sequence_at(&store, "order_1", At::Time(after(3))).await, Some(3));
    assert_eq!(sequence_at(&store, "order_1", At::before_step("reserve")).await, Some(1));
    prune(&store, one_record("order_1", 1)).await;
    assert_eq!(sequence_at(&store, "order_1", At::Time(after(0))).await, None);
}

async fn large_histories_are_answered_from_anywhere(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 700);
    append(&store, records.clone()).await;
    for sequence in [1, 2, 99, 100, 101, 256, 257, 499, 512, 699, 700] {
        assert_eq!(sequence_at(&store, "order_1", At::Sequence(sequence)).await, Some(sequence));
        let instant = records[usize::try_from(sequence).expect("small") - 1].created_at;
        assert_eq!(sequence_at(&store, "order_1", At::Time(instant)).await, Some(sequence));
    }
}
