//! Every filter of a listing of sagas, alone and together.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use replay_core::{
    Origin, SagaStatus, Store,
    storage::{SagaQuery, TimeRange},
};

use crate::{
    check::{append, ids, sagas},
    env::Env,
    records::{self, Chain, after, outline_of, saga},
    runner::Needs,
};

cases!("filters", Needs::Snapshots;
    by_one_status_or_several,
    by_the_name_of_the_definition,
    by_what_the_id_begins_with,
    a_prefix_is_no_pattern,
    by_the_step_that_the_newest_record_is_about,
    by_labels_all_of_which_must_hold,
    a_label_may_be_any_text,
    a_label_may_have_1024_bytes_on_either_side,
    by_when_the_newest_record_was_created,
    by_the_saga_that_it_was_replayed_from,
    a_filter_sees_the_newest_record_only,
    filters_hold_together,
    every_combination_agrees_with_the_rule,
    a_text_that_looks_like_a_statement_is_just_text,
);

/// An end of a range of time.
type End = Option<DateTime<Utc>>;

async fn begin(store: &Store, id: &str, status: SagaStatus) {
    append(store, [Chain::new(id).with(|meta| meta.status = status)]).await;
}

/// The ids that match, in ascending order, so that an expectation reads well.
async fn matching(store: &Store, query: SagaQuery) -> Vec<String> {
    let mut ids = ids(store, query).await;
    ids.sort();
    ids
}

async fn by_one_status_or_several(env: Env) {
    let store = env.open().await;
    for status in SagaStatus::ALL {
        begin(&store, status.as_str(), *status).await;
    }
    for status in SagaStatus::ALL {
        assert_eq!(matching(&store, SagaQuery::default().with_status(*status)).await, [status.as_str()]);
    }
    let two = SagaQuery::default().with_status(SagaStatus::Parked).with_status(SagaStatus::Failed);
    assert_eq!(matching(&store, two).await, ["failed", "parked"]);
    assert_eq!(matching(&store, SagaQuery::default()).await.len(), SagaStatus::ALL.len());
}

async fn by_the_name_of_the_definition(env: Env) {
    let store = env.open().await;
    for (id, name) in [("a", "order"), ("b", "orders"), ("c", "Order"), ("d", "order"), ("e", "or%")] {
        append(&store, Chain::new(id).with_outline(outline_of(name, "1", &["s"])).take(1)).await;
    }
    assert_eq!(matching(&store, SagaQuery::default().with_name("order")).await, ["a", "d"]);
    assert_eq!(matching(&store, SagaQuery::default().with_name("or%")).await, ["e"]);
    assert_eq!(matching(&store, SagaQuery::default().with_name("refund")).await, [""; 0]);
}

async fn by_what_the_id_begins_with(env: Env) {
    let store = env.open().await;
    for id in ["order_1", "order_12", "order_2", "Order_1", "o", "xorder_1", "🙂1", "🙂2"] {
        append(&store, records::history(id, 1)).await;
    }
    let expected: [(&str, &[&str]); 7] = [
        ("order_1", &["order_1", "order_12"]),
        ("order_", &["order_1", "order_12", "order_2"]),
        ("order_12", &["order_12"]),
        ("order_123", &[]),
        ("o", &["o", "order_1", "order_12", "order_2"]),
        ("🙂", &["🙂1", "🙂2"]),
        ("O", &["Order_1"]),
    ];
    for (prefix, ids) in expected {
        assert_eq!(matching(&store, SagaQuery::default().with_id_prefix(prefix)).await, ids, "prefix {prefix}");
    }
    assert_eq!(matching(&store, SagaQuery::default().with_id_prefix("")).await.len(), 8);
}

async fn a_prefix_is_no_pattern(env: Env) {
    let store = env.open().await;
    let ids = ["a%b", "axb", "a_b", "a*b", "a?b", "a[b", "a\\b", "a'b", "%", "~z", "\u{10ffff}z"];
    for id in ids {
        append(&store, records::history(id, 1)).await;
    }
    for (prefix, expected) in [
        ("a%", "a%b"),
        ("a_", "a_b"),
        ("a*", "a*b"),
        ("a?", "a?b"),
        ("a[", "a[b"),
        ("a\\", "a\\b"),
        ("a'", "a'b"),
        ("%", "%"),
        ("~", "~z"),
        ("\u{10ffff}", "\u{10ffff}z"),
    ] {
        assert_eq!(matching(&store, SagaQuery::default().with_id_prefix(prefix)).await, [expected], "prefix {prefix}");
    }
}

async fn by_the_step_that_the_newest_record_is_about(env: Env) {
    let store = env.open().await;
    for (id, count) in [("a", 1), ("b", 2), ("c", 3), ("d", 5)] {
        append(&store, records::history(id, count)).await;
    }
    append(&store, [Chain::new("e").with(|meta| meta.step = None)]).await;
    assert_eq!(matching(&store, SagaQuery::default().with_step("charge")).await, ["b", "d"]);
    assert_eq!(matching(&store, SagaQuery::default().with_step("reserve")).await, ["a"]);
    assert_eq!(matching(&store, SagaQuery::default().with_step("")).await, [""; 0]);
    assert_eq!(matching(&store, SagaQuery::default().with_step("char")).await, [""; 0]);
}

async fn labelled(store: &Store, id: &str, labels: &[(&str, &str)]) {
    let labels = Arc::new(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
    append(store, [Chain::new(id).with(|meta| meta.labels = labels)]).await;
}

async fn by_labels_all_of_which_must_hold(env: Env) {
    let store = env.open().await;
    labelled(&store, "a", &[("customer", "c-17"), ("region", "eu")]).await;
    labelled(&store, "b", &[("customer", "c-17"), ("region", "us")]).await;
    labelled(&store, "c", &[("customer", "c-1"), ("region", "eu")]).await;
    labelled(&store, "d", &[]).await;
    let query = SagaQuery::default;
    assert_eq!(matching(&store, query().with_label("customer", "c-17")).await, ["a", "b"]);
    assert_eq!(matching(&store, query().with_label("customer", "c-17").with_label("region", "eu")).await, ["a"]);
    assert_eq!(matching(&store, query().with_label("customer", "c-1")).await, ["c"]);
    assert_eq!(matching(&store, query().with_label("customer", "")).await, [""; 0]);
    assert_eq!(matching(&store, query().with_label("Customer", "c-17")).await, [""; 0]);
    assert_eq!(matching(&store, query().with_label("region", "c-17")).await, [""; 0]);
}

async fn a_label_may_be_any_text(env: Env) {
    let store = env.open().await;
    let odd = [
        "",
        " ",
        "'",
        "\"",
        "\\",
        "a.b",
        "$.a",
        "$",
        "a\"b",
        "%",
        "*",
        "日本語",
        "🙂",
        "\n",
        "null",
        "1",
        "true",
        "[0]",
        "{}",
        "a:b",
        "a=b",
    ];
    for (n, text) in odd.iter().enumerate() {
        labelled(&store, &format!("key-{n}"), &[(text, "v")]).await;
        labelled(&store, &format!("value-{n}"), &[("k", text)]).await;
    }
    for (n, text) in odd.iter().enumerate() {
        assert_eq!(matching(&store, SagaQuery::default().with_label(*text, "v")).await, [format!("key-{n}")], "key {text:?}");
        assert_eq!(matching(&store, SagaQuery::default().with_label("k", *text)).await, [format!("value-{n}")], "value {text:?}");
    }
}

/// As many as the engine takes; nothing about them is easy to escape or to compress.
async fn a_label_may_have_1024_bytes_on_either_side(env: Env) {
    let store = env.open().await;
    let mut random = fastrand::Rng::with_seed(17);
    let mut word = || (0..1024).map(|_| if random.bool() { '\\' } else { random.char('!'..='~') }).collect::<String>();
    let (key, value, other) = (word(), word(), word());
    labelled(&store, "a", &[(&key, &value), ("short", "s")]).await;
    labelled(&store, "b", &[(&key, &other)]).await;
    assert_eq!(matching(&store, SagaQuery::default().with_label(&key, &value)).await, ["a"]);
    assert_eq!(matching(&store, SagaQuery::default().with_label(&key, &value).with_label("short", "s")).await, ["a"]);
    assert_eq!(matching(&store, SagaQuery::default().with_label(&key, &other)).await, ["b"]);
    assert_eq!(matching(&store, SagaQuery::default().with_label(&key, &other[..1023])).await, [""; 0]);
}

async fn by_when_the_newest_record_was_created(env: Env) {
    let store = env.open().await;
    for (id, at) in [("a", 0), ("b", 10), ("c", 20)] {
        append(&store, Chain::new(id).starting_at(after(at)).take(2)).await;
    }
    // Each was updated a millisecond after its start.
    let nano = TimeDelta::nanoseconds(1);
    let expected: [(End, End, &[&str]); 7] = [
        (Some(after(11)), None, &["b", "c"]),
        (Some(after(11)), Some(after(21)), &["b"]),
        (None, Some(after(11)), &["a"]),
        (Some(after(12)), Some(after(21)), &[]),
        (None, None, &["a", "b", "c"]),
        (Some(after(1) + nano), Some(after(21) + nano), &["b", "c"]),
        (Some(DateTime::<Utc>::MIN_UTC), Some(DateTime::<Utc>::MAX_UTC), &["a", "b", "c"]),
    ];
    for (from, until, ids) in expected {
        let range = TimeRange { from, until };
        assert_eq!(matching(&store, SagaQuery::default().with_updated(range)).await, ids, "{range:?}");
    }
}

async fn replayed(store: &Store, id: &str, origin: &str) {
    let replay = "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a replay id");
    let origin = Origin::new(saga(origin), 1, replay, saga("root"), saga("root"));
    append(store, [Chain::new(id).with(|meta| meta.origin = Some(Arc::new(origin)))]).await;
}

async fn by_the_saga_that_it_was_replayed_from(env: Env) {
    let store = env.open().await;
    begin(&store, "order_1", SagaStatus::Failed).await;
    for (id, origin) in [("r1", "order_1"), ("r2", "order_1"), ("r3", "r1"), ("r4", "order_10")] {
        replayed(&store, id, origin).await;
    }
    assert_eq!(matching(&store, SagaQuery::default().with_origin(saga("order_1"))).await, ["r1", "r2"]);
    assert_eq!(matching(&store, SagaQuery::default().with_origin(saga("r1"))).await, ["r3"]);
    assert_eq!(matching(&store, SagaQuery::default().with_origin(saga("root"))).await, [""; 0]);
}

async fn a_filter_sees_the_newest_record_only(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let labels = |value: &str| Arc::new([("state".to_owned(), value.to_owned())].into());
    append(&store, [chain.with(|meta| meta.labels = labels("old"))]).await;
    let newest = chain.with(|meta| (meta.labels, meta.status) = (labels("new"), SagaStatus::Completed));
    append(&store, [newest]).await;
    assert_eq!(matching(&store, SagaQuery::default().with_label("state", "old")).await, [""; 0]);
    assert_eq!(matching(&store, SagaQuery::default().with_status(SagaStatus::Executing)).await, [""; 0]);
    let query = SagaQuery::default().with_label("state", "new").with_status(SagaStatus::Completed).with_step("charge");
    assert_eq!(matching(&store, query).await, ["order_1"]);
}

async fn filters_hold_together(env: Env) {
    let store = env.open().await;
    for n in 0..24 {
        let mut chain = Chain::new(&format!("{}-{n:02}", if n % 2 == 0 { "even" } else { "odd" })).starting_at(after(n));
        let record = chain.with(|meta| {
            meta.status = if n % 3 == 0 { SagaStatus::Failed } else { SagaStatus::Completed };
            meta.labels = Arc::new([("mod4".to_owned(), (n % 4).to_string())].into());
        });
        append(&store, [record]).await;
    }
    let query = SagaQuery::default().with_status(SagaStatus::Failed).with_id_prefix("even").with_label("mod4", "0");
    assert_eq!(ids(&store, query.clone()).await, ["even-12", "even-00"]);
    assert_eq!(ids(&store, query.clone().with_limit(1)).await, ["even-12"]);
    let first = sagas(&store, query.clone().with_limit(1)).await;
    assert_eq!(ids(&store, query.clone().with_after(first[0].cursor())).await, ["even-00"]);
    assert_eq!(ids(&store, query.with_updated(TimeRange { from: Some(after(1)), until: None })).await, ["even-12"]);
}

async fn every_combination_agrees_with_the_rule(env: Env) {
    let store = env.open().await;
    for n in 0..40_u32 {
        let mut chain = Chain::new(&format!("{}{n}", ["a", "b", "a%"][n as usize % 3])).starting_at(after(i64::from(n / 4)));
        if n % 5 == 0 {
            chain = chain.with_outline(outline_of("refund", "1", &["charge", "reserve"]));
        }
        let record = chain.with(|meta| {
            meta.status = SagaStatus::ALL[n as usize % SagaStatus::ALL.len()];
            meta.step = (n % 4 != 0).then_some(n % 2);
            meta.labels = Arc::new([("x".to_owned(), (n % 2).to_string()), ("y".to_owned(), (n % 3).to_string())].into());
        });
        append(&store, [record]).await;
    }
    let everything = sagas(&store, SagaQuery::default()).await;
    for bits in 0..128_u32 {
        let mut query = SagaQuery::default();
        let has = |bit: u32| bits & (1 << bit) != 0;
        if has(0) {
            query = query.with_status(SagaStatus::Completed).with_status(SagaStatus::Failed).with_status(SagaStatus::Pending);
        }
        query = if has(1) { query.with_name("order") } else { query };
        query = if has(2) { query.with_id_prefix("a") } else { query };
        query = if has(3) { query.with_step("charge") } else { query };
        query = if has(4) { query.with_label("x", "1") } else { query };
        query = if has(5) { query.with_updated(TimeRange { from: Some(after(2)), until: Some(after(8)) }) } else { query };
        query = if has(6) { query.with_after(everything[9].cursor()) } else { query };
        let rest = &everything[if has(6) { 10 } else { 0 }..];
        let expected: Vec<String> = rest.iter().filter(|head| query.matches(head)).map(|head| head.saga_id.to_string()).collect();
        assert_eq!(ids(&store, query.clone()).await, expected, "{query:?}");
    }
}

async fn a_text_that_looks_like_a_statement_is_just_text(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 1)).await;
    for text in ["' OR '1'='1", "x'; DROP TABLE sagas; --", "\") OR 1=1 --", "*", "return 1", "\\", "${x}", "%"] {
        let query = SagaQuery::default;
        for query in [query().with_name(text), query().with_id_prefix(text), query().with_step(text), query().with_label(text, text)] {
            assert_eq!(ids(&store, query.clone()).await, [""; 0], "{query:?}");
        }
    }
    assert_eq!(ids(&store, SagaQuery::default()).await, ["order_1"]);
}
