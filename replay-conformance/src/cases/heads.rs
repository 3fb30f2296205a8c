//! The heads of sagas: what they say, their order, and paging through them.

use std::sync::Arc;

use chrono::TimeDelta;
use futures::TryStreamExt;
use replay_core::{
    Failure, FailureKind, Origin, SagaStatus, StepRanges,
    storage::{SagaCursor, SagaQuery, SagaSummary},
};

use crate::{
    check::{append, head, ids, keep_newest, prune, sagas, whole_saga},
    env::Env,
    records::{self, Chain, after, saga},
    runner::Needs,
};

cases!("heads", Needs::Snapshots;
    the_latest_started_comes_first,
    sagas_that_started_together_are_in_descending_order_of_their_bytes,
    a_head_is_what_the_newest_record_says,
    a_head_follows_each_append,
    the_start_stays_when_the_first_record_is_pruned,
    a_saga_that_is_gone_has_no_head,
    limits_of_none_one_and_the_maximum,
    pages_have_no_gap_and_no_repeat,
    pages_stay_stable_while_heads_change,
    a_page_may_go_on_after_a_saga_that_is_gone,
    a_cursor_between_two_sagas_is_a_position_too;
    large: ten_thousand_heads_are_paged_without_gap_or_repeat
);

async fn the_latest_started_comes_first(env: Env) {
    let store = env.open().await;
    for (id, at) in [("b", 20), ("d", 10), ("a", 30), ("c", 25)] {
        append(&store, Chain::new(id).starting_at(after(at)).take(3)).await;
    }
    // What was written to last does not come first: the start decides.
    let mut old = Chain::new("d").starting_at(after(10));
    old.take(3);
    append(&store, [old.with(|meta| meta.created_at = after(9_000))]).await;
    assert_eq!(ids(&store, SagaQuery::default()).await, ["a", "c", "b", "d"]);
}

async fn sagas_that_started_together_are_in_descending_order_of_their_bytes(env: Env) {
    let store = env.open().await;
    let mut names = ["a", "B", "b", "A", "é", "e", "z", "Z", "_", "-", "~", "🙂", "\u{ffee}", "10", "9", "aa", "a b", "ä"];
    for id in names {
        append(&store, records::history(id, 1)).await;
    }
    names.sort_unstable_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
    assert_eq!(ids(&store, SagaQuery::default()).await, names);
}

async fn a_head_is_what_the_newest_record_says(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let first = chain.next_record();
    let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
    let newest = chain.with(|meta| {
        meta.status = SagaStatus::Compensating;
        meta.step = Some(1);
        meta.next = StepRanges::default();
        meta.labels = Arc::new([("customer".to_owned(), "c-17".to_owned())].into());
        meta.failure = Some(Arc::new(Failure::new(Some("charge".into()), FailureKind::Timeout, "no answer", 3)));
        let id = uuid.parse().expect("a replay id");
        meta.origin = Some(Arc::new(Origin::new(saga("order_0"), 4, id, saga("order_0"), saga("order_0"))));
        meta.runner = Some(uuid.parse().expect("a runner id"));
    });
    append(&store, [first.clone(), newest.clone()]).await;
    assert_eq!(head(&store, "order_1").await, Some(SagaSummary::of(newest.meta(), first.created_at)));
}

async fn a_head_follows_each_append(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let first = chain.next_record();
    append(&store, [first.clone()]).await;
    for n in 0..5 {
        let record = chain.with(|meta| {
            meta.status = if n % 2 == 0 { SagaStatus::Compensating } else { SagaStatus::Parked };
            meta.step = (n % 2 == 0).then_some(n % 3);
            meta.labels = Arc::new([("n".to_owned(), n.to_string())].into());
        });
        append(&store, [record.clone()]).await;
        assert_eq!(head(&store, "order_1").await, Some(SagaSummary::of(record.meta(), first.created_at)));
    }
}

async fn the_start_stays_when_the_first_record_is_pruned(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, chain.take(5)).await;
    append(&store, Chain::new("order_2").starting_at(after(2)).take(1)).await;
    prune(&store, keep_newest("order_1", 1)).await;
    append(&store, [chain.next_record()]).await;
    assert_eq!(head(&store, "order_1").await.map(|head| head.started_at), Some(after(0)));
    assert_eq!(ids(&store, SagaQuery::default()).await, ["order_2", "order_1"]);
}

async fn a_saga_that_is_gone_has_no_head(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 3)).await;
    append(&store, records::history("order_2", 3)).await;
    prune(&store, whole_saga(&saga("order_1"))).await;
    assert_eq!(ids(&store, SagaQuery::default()).await, ["order_2"]);
}

async fn limits_of_none_one_and_the_maximum(env: Env) {
    let store = env.open().await;
    for id in ["a", "b", "c"] {
        append(&store, records::history(id, 1)).await;
    }
    let limits = [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3), (i64::MAX as u64, 3), (u64::MAX, 3)];
    for (limit, count) in limits {
        assert_eq!(ids(&store, SagaQuery::default().with_limit(limit)).await.len(), count, "limit {limit}");
    }
    let filtered = SagaQuery::default().with_status(SagaStatus::Executing).with_id_prefix("b");
    assert_eq!(ids(&store, filtered.with_limit(1)).await, ["b"], "the limit counts what matches");
}

/// Reads all pages of `query`, `limit` heads each.
async fn paged(store: &replay_core::Store, mut query: SagaQuery, limit: u64) -> Vec<String> {
    let mut shown = Vec::new();
    query = query.with_limit(limit);
    loop {
        let page = sagas(store, query.clone()).await;
        assert!(page.len() as u64 <= limit, "a page is too long");
        let Some(last) = page.last() else { return shown };
        assert_ne!(query.after, Some(last.cursor()), "the listing does not go on");
        query = query.with_after(last.cursor());
        shown.extend(page.iter().map(|head| head.saga_id.to_string()));
    }
}

async fn pages_have_no_gap_and_no_repeat(env: Env) {
    let store = env.open().await;
    // Seven sagas at each instant, so that every page ends among sagas that started together.
    let started = |n: usize| i64::try_from(n / 7).expect("small");
    let mut expected = Vec::new();
    for n in 0..310 {
        let id = format!("s{n}");
        append(&store, Chain::new(&id).starting_at(after(started(n))).take(1)).await;
        expected.push((started(n), id));
    }
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let expected: Vec<String> = expected.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids(&store, SagaQuery::default()).await, expected);
    for limit in [1, 2, 7, 100, 309, 310, 311] {
        assert_eq!(paged(&store, SagaQuery::default(), limit).await, expected, "pages of {limit}");
    }
}

async fn pages_stay_stable_while_heads_change(env: Env) {
    let store = env.open().await;
    let mut chains: Vec<_> = (0..30).map(|n| Chain::new(&format!("s{n:02}")).starting_at(after(n / 4))).collect();
    for chain in &mut chains {
        append(&store, [chain.next_record()]).await;
    }
    let expected = ids(&store, SagaQuery::default()).await;
    let (mut shown, mut query) = (Vec::new(), SagaQuery::default().with_limit(4));
    loop {
        let page = sagas(&store, query.clone()).await;
        let Some(last) = page.last() else { break };
        assert!(shown.len() <= expected.len(), "the listing has no end");
        query = query.with_after(last.cursor());
        shown.extend(page.iter().map(|head| head.saga_id.to_string()));
        for chain in &mut chains {
            append(&store, [chain.with(|meta| meta.created_at += TimeDelta::seconds(60))]).await;
        }
    }
    assert_eq!(shown, expected);
}

async fn a_page_may_go_on_after_a_saga_that_is_gone(env: Env) {
    let store = env.open().await;
    for (id, at) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        append(&store, Chain::new(id).starting_at(after(at)).take(1)).await;
    }
    let page = sagas(&store, SagaQuery::default().with_limit(2)).await;
    prune(&store, whole_saga(&saga("c"))).await;
    assert_eq!(ids(&store, SagaQuery::default().with_after(page[1].cursor())).await, ["b", "a"]);
}

async fn a_cursor_between_two_sagas_is_a_position_too(env: Env) {
    let store = env.open().await;
    for id in ["a", "c", "e"] {
        append(&store, records::history(id, 1)).await;
    }
    let at = |millis, id| SagaCursor { started_at: after(millis), saga_id: saga(id) };
    let expected: [(SagaCursor, &[&str]); 5] =
        [(at(0, "d"), &["c", "a"]), (at(0, "a"), &[]), (at(0, "z"), &["e", "c", "a"]), (at(1, "a"), &["e", "c", "a"]), (at(-1, "z"), &[])];
    for (cursor, rest) in expected {
        assert_eq!(ids(&store, SagaQuery::default().with_after(cursor.clone())).await, rest, "after {cursor:?}");
    }
}

async fn ten_thousand_heads_are_paged_without_gap_or_repeat(env: Env) {
    let store = env.open().await;
    let mut expected = Vec::new();
    for block in 0..20usize.div_ceil(env.smaller_by) {
        let chains = (0..500).map(|n| (i64::try_from((block * 500 + n) / 13).expect("a small number"), format!("s{n}-{block}")));
        let chains: Vec<(i64, String)> = chains.collect();
        append(&store, chains.iter().map(|(at, id)| Chain::new(id).starting_at(after(*at)).next_record())).await;
        expected.extend(chains);
    }
    expected.sort_unstable_by(|a, b| b.cmp(a));
    let expected: Vec<String> = expected.into_iter().map(|(_, id)| id).collect();
    assert!(paged(&store, SagaQuery::default(), 997).await == expected, "the pages differ from what was stored");
    let whole: Vec<_> = store.snapshots().sagas(SagaQuery::default()).try_collect().await.expect("the listing succeeds");
    assert!(
        whole.iter().map(|head| head.saga_id.as_str()).eq(expected.iter().map(String::as_str)),
        "the listing differs from what was stored"
    );
}
