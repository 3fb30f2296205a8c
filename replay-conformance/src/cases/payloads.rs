//! The same bytes come back, and every field of the header with them.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use replay_core::{Digest, Failure, FailureKind, Origin, Phase, SagaStatus, SnapshotMeta, storage::At};

use crate::{
    check::{append, assert_history, assert_same, history, load},
    env::Env,
    records::{Chain, after, outline_of, saga},
    runner::Needs,
};

cases!("payloads", Needs::Snapshots;
    text_comes_back_byte_for_byte,
    every_field_of_the_header_comes_back,
    every_phase_and_status_comes_back,
    the_chain_of_digests_holds,
    a_context_may_nest_500_deep,
    a_context_may_be_empty_or_no_json_at_all,
    a_context_of_a_megabyte,
    equal_contexts_do_not_mix_up;
    large: a_context_of_ten_megabytes
);

async fn text_comes_back_byte_for_byte(env: Env) {
    let store = env.open().await;
    let texts = [
        r#""\u0000""#,
        r#"{"\u0000a":"\u0000\u0001\u001f"}"#,
        r#""\ud800""#,
        r#"["\udc00\ud800","\uDBFF"]"#,
        "9223372036854775808",
        "18446744073709551615",
        "-9223372036854775808",
        "123456789012345678901234567890",
        "1e308",
        "-0.0",
        "0.1",
        "0.30000000000000004",
        "1.0",
        "1E+2",
        "5e-324",
        r#"{"a":1,"a":2,"a":1}"#,
        r#"{"b":1,"a":2,"B":3}"#,
        " { \"a\" :\t1 ,\r\n \"b\" : [ ] } ",
        r#""\u00e9é\/""#,
        r#""🙂日本語‏\ufeff""#,
        "null",
        "[]",
        "{}",
        r#"{"":{"":""}}"#,
        r#"'"; DROP TABLE saga_snapshots; --"#,
    ];
    let mut chain = Chain::new("order_1");
    let records: Vec<_> = texts.iter().map(|text| chain.with_context(Bytes::from_static(text.as_bytes()))).collect();
    append(&store, records.clone()).await;
    for (record, text) in history(&store, "order_1").await.into_iter().zip(texts) {
        let snapshot = record.decode().expect("the context is what was sealed");
        assert_eq!(*snapshot.context_text(), text.as_bytes(), "{text}");
    }
    assert_history(&history(&store, "order_1").await, &records);
}

fn fill(meta: &mut SnapshotMeta) {
    let odd = "ü'\"\\\u{1}🙂";
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    meta.phase = Phase::Failure;
    meta.status = SagaStatus::Parked;
    meta.step = Some(2);
    meta.completed = [3, 0, 1].into_iter().collect();
    meta.next = [2, 0].into_iter().collect();
    meta.labels = Arc::new((0..40).map(|n| (format!("{odd}{n}"), odd.repeat(n))).collect());
    let failure = Failure::new(Some("c".into()), FailureKind::ContextConflict, odd.repeat(300), u32::MAX);
    meta.failure = Some(Arc::new(failure));
    meta.external_refs = Arc::new([(odd.to_owned(), "x".repeat(3000))].into());
    meta.created_at = after(5) + TimeDelta::microseconds(7);
    meta.retention_until = Some(after(50_000_000_000) + TimeDelta::microseconds(123_456));
    let mut origin = Origin::new(saga("a@b@c"), u64::MAX, id.parse().expect("an id"), saga("root"), saga("base"));
    origin.step_key_bases = [("a".into(), saga("other"))].into();
    origin.force_failure = Some("b".into());
    meta.origin = Some(Arc::new(origin));
    meta.actor = Some(odd.repeat(30).into());
    meta.runner = Some(id.parse().expect("an id"));
    meta.history = Some(id.parse().expect("an id"));
}

async fn every_field_of_the_header_comes_back(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1").with_outline(outline_of("ü'\"", "1.0-β", &["a", "b", "c", "d"]));
    let records = vec![chain.with(fill), chain.with(|meta| meta.step = None), chain.with(fill)];
    append(&store, records.clone()).await;
    assert_history(&history(&store, "order_1").await, &records);
    assert_same(&load(&store, "order_1", At::Latest).await.expect("a record"), &records[2]);
}

async fn every_phase_and_status_comes_back(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let mut records = Vec::new();
    for phase in Phase::ALL {
        for status in SagaStatus::ALL {
            records.push(chain.with(|meta| (meta.phase, meta.status) = (*phase, *status)));
        }
    }
    append(&store, records.clone()).await;
    assert_history(&history(&store, "order_1").await, &records);
}

async fn the_chain_of_digests_holds(env: Env) {
    let store = env.open().await;
    append(&store, Chain::new("order_1").take(50)).await;
    let mut before = Digest::ZERO;
    for record in history(&store, "order_1").await {
        assert_eq!(record.prev_digest, before, "{}", record.id());
        assert_eq!(record.content_digest(), Digest::of(record.clone().decode().expect("a sound context").context_text()));
        before = record.digest();
    }
}

async fn a_context_may_nest_500_deep(env: Env) {
    let store = env.open().await;
    let text = format!("{}1{}", r#"{"a":["#.repeat(250), "]}".repeat(250));
    let record = Chain::new("order_1").with_context(text);
    append(&store, [record.clone()]).await;
    assert_history(&history(&store, "order_1").await, &[record]);
}

async fn a_context_may_be_empty_or_no_json_at_all(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let bytes: Vec<u8> = (0..=255).cycle().take(1024).collect();
    let records = vec![chain.with_context(Bytes::new()), chain.with_context(bytes), chain.with_context(vec![0; 3])];
    append(&store, records.clone()).await;
    assert_history(&history(&store, "order_1").await, &records);
}

/// Text of `len` bytes that does not compress away.
fn noise(len: usize) -> Bytes {
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = String::with_capacity(len);
    text.push('"');
    text.extend(std::iter::repeat_with(|| random.alphanumeric()).take(len - 2));
    text.push('"');
    text.into()
}

async fn keeps(env: &Env, len: usize) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let noise = noise(len);
    let records = vec![chain.next_record(), chain.with_context(noise.clone()), chain.with_context(noise)];
    for record in &records {
        append(&store, [record.clone()]).await;
    }
    assert_history(&history(&store, "order_1").await, &records);
    assert_same(&load(&store, "order_1", At::Latest).await.expect("a record"), &records[2]);
}

async fn a_context_of_a_megabyte(env: Env) {
    keeps(&env, 1 << 20).await;
}

async fn a_context_of_ten_megabytes(env: Env) {
    keeps(&env, 10 << 20).await;
}

async fn equal_contexts_do_not_mix_up(env: Env) {
    let store = env.open().await;
    let instant: DateTime<Utc> = after(3);
    let same = |id: &str| {
        let mut chain = Chain::new(id).starting_at(instant);
        (0..4).map(|_| chain.with_context(r#"{"same":true}"#)).collect::<Vec<_>>()
    };
    for id in ["a", "b"] {
        append(&store, same(id)).await;
    }
    for id in ["a", "b"] {
        assert_history(&history(&store, id).await, &same(id));
    }
}
