//! Compare-and-append is the fence: sequences without gaps, one record each, all or none per saga.

use chrono::TimeDelta;
use replay_core::{ErrorKind, Remnant, Retry, SagaStatus, SnapshotRecord, storage::SagaQuery};

use crate::{
    check::{append, assert_history, conflicts, head, history, ids, refused, sequences},
    env::Env,
    records::{self, Chain, outline_of},
    runner::Needs,
};

cases!("append", Needs::Snapshots;
    keeps_what_it_is_given,
    refuses_a_gap,
    refuses_a_record_that_does_not_follow_the_newest,
    refuses_a_saga_that_does_not_begin_at_one,
    takes_the_same_record_again,
    takes_an_older_record_again,
    refuses_another_record_at_the_newest_sequence,
    refuses_another_record_at_an_older_sequence,
    a_conflict_is_never_worth_a_retry,
    takes_several_records_of_one_saga,
    a_list_with_a_gap_is_refused_whole,
    a_list_may_begin_with_what_is_stored,
    a_list_whose_stored_part_differs_is_refused_whole,
    a_new_saga_with_a_gap_is_not_begun,
    takes_records_of_several_sagas_mixed,
    a_conflict_tears_no_saga,
    an_empty_list_does_nothing,
    a_refusal_changes_no_head,
    a_saga_may_change_its_definition,
    sagas_may_share_a_name_and_differ_in_definition,
    goes_on_after_the_saga_has_ended,
    refuses_a_record_without_its_payload,
    what_pruning_left_of_a_history_may_be_appended,
    a_saga_that_begins_late_started_when_it_is_said,
    what_pruning_left_follows_only_the_record_that_it_names,
    what_pruning_left_without_a_hole_follows_like_any_other;
    large: takes_a_thousand_records_at_once, takes_records_of_five_hundred_sagas_at_once
);

async fn keeps_what_it_is_given(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    for _ in 0..3 {
        append(&store, [chain.next_record()]).await;
    }
    assert_history(&history(&store, "order_1").await, &records::history("order_1", 3));
}

async fn refuses_a_record_without_its_payload(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 3);
    append(&store, [records[0].clone()]).await;
    let bare = |at: usize| records[at].clone().without_payload();
    refused(store.snapshots().append(vec![bare(1)]).await, ErrorKind::Invalid);
    refused(store.snapshots().append(vec![records[1].clone(), bare(2)]).await, ErrorKind::Invalid);
    refused(store.snapshots().append(vec![Chain::new("order_2").next_record().without_payload()]).await, ErrorKind::Invalid);
    assert_eq!(sequences(&store, "order_1").await, [1]);
    assert_eq!(ids(&store, SagaQuery::default()).await, ["order_1"]);
    append(&store, records.clone()).await;
    assert_history(&history(&store, "order_1").await, &records);
}

async fn refuses_a_gap(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 3);
    append(&store, [records[0].clone()]).await;
    conflicts(&store, vec![records[2].clone()], 3, 2).await;
    assert_eq!(sequences(&store, "order_1").await, [1]);
}

async fn refuses_a_record_that_does_not_follow_the_newest(env: Env) {
    let store = env.open().await;
    let (ours, others) = (records::history("order_1", 2), Chain::new("order_1").starting_at(records::start() + TimeDelta::days(1)).take(2));
    append(&store, [others[0].clone()]).await;
    conflicts(&store, vec![ours[1].clone()], 2, 2).await;
    assert_eq!(sequences(&store, "order_1").await, [1]);
}

async fn refuses_a_saga_that_does_not_begin_at_one(env: Env) {
    let store = env.open().await;
    conflicts(&store, vec![records::history("order_1", 2).remove(1)], 2, 1).await;
    assert_eq!(head(&store, "order_1").await, None);
}

async fn takes_the_same_record_again(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 2);
    for record in [&records[0], &records[0], &records[1], &records[1]] {
        append(&store, [record.clone()]).await;
    }
    assert_history(&history(&store, "order_1").await, &records);
}

async fn takes_an_older_record_again(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 4);
    append(&store, records.clone()).await;
    append(&store, records[1..3].to_vec()).await;
    assert_history(&history(&store, "order_1").await, &records);
}

async fn refuses_another_record_at_the_newest_sequence(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, chain.take(2)).await;
    let mut other = chain.clone();
    let (winner, loser) = (chain.next_record(), other.with_context("{}"));
    append(&store, [winner.clone()]).await;
    conflicts(&store, vec![loser], 3, 4).await;
    assert_eq!(history(&store, "order_1").await.last(), Some(&winner));
}

async fn refuses_another_record_at_an_older_sequence(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 3);
    append(&store, records.clone()).await;
    conflicts(&store, vec![Chain::new("order_1").with_context("{}")], 1, 4).await;
    assert_history(&history(&store, "order_1").await, &records);
}

async fn a_conflict_is_never_worth_a_retry(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 3);
    let error = refused(store.snapshots().append(vec![records[2].clone()]).await, ErrorKind::Conflict);
    assert_eq!(error.retry_advice(), Retry::Never);
}

async fn takes_several_records_of_one_saga(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 20);
    append(&store, records[..5].to_vec()).await;
    append(&store, records[5..].to_vec()).await;
    assert_history(&history(&store, "order_1").await, &records);
    assert_eq!(head(&store, "order_1").await.map(|head| head.sequence), Some(20));
}

async fn a_list_with_a_gap_is_refused_whole(env: Env) {
    let store = env.open().await;
    let mut records = records::history("order_1", 5);
    append(&store, [records.remove(0)]).await;
    records.remove(1);
    conflicts(&store, records, 4, 3).await;
    assert_eq!(sequences(&store, "order_1").await, [1]);
    assert_eq!(head(&store, "order_1").await.map(|head| head.sequence), Some(1));
}

async fn a_list_may_begin_with_what_is_stored(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 4);
    append(&store, records[..2].to_vec()).await;
    append(&store, records[1..].to_vec()).await;
    assert_history(&history(&store, "order_1").await, &records);
}

async fn a_list_whose_stored_part_differs_is_refused_whole(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 2);
    append(&store, records.clone()).await;
    let mut other = Chain::new("order_1");
    other.next_record();
    let list = vec![other.with_context("{}"), other.next_record()];
    conflicts(&store, list, 2, 3).await;
    assert_history(&history(&store, "order_1").await, &records);
}

async fn a_new_saga_with_a_gap_is_not_begun(env: Env) {
    let store = env.open().await;
    let mut records = records::history("order_1", 3);
    records.remove(1);
    conflicts(&store, records, 3, 2).await;
    assert_eq!(ids(&store, SagaQuery::default()).await, [""; 0]);
}

async fn takes_records_of_several_sagas_mixed(env: Env) {
    let store = env.open().await;
    let (mut a, mut b) = (Chain::new("a"), Chain::new("b"));
    append(&store, [b.next_record(), a.next_record(), a.next_record(), b.next_record(), a.next_record()]).await;
    assert_history(&history(&store, "a").await, &records::history("a", 3));
    assert_history(&history(&store, "b").await, &records::history("b", 2));
}

async fn a_conflict_tears_no_saga(env: Env) {
    let store = env.open().await;
    let (good, bad) = (records::history("good", 2), records::history("bad", 3));
    let list = vec![good[0].clone(), bad[0].clone(), bad[2].clone(), good[1].clone()];
    refused(store.snapshots().append(list).await, ErrorKind::Conflict);
    assert_eq!(sequences(&store, "bad").await, [0; 0]);
    let good = sequences(&store, "good").await;
    assert!(good.is_empty() || good == [1, 2], "the other saga is torn: {good:?}");
}

async fn an_empty_list_does_nothing(env: Env) {
    let store = env.open().await;
    append(&store, []).await;
    assert_eq!(ids(&store, SagaQuery::default()).await, [""; 0]);
}

async fn a_refusal_changes_no_head(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, chain.take(2)).await;
    let before = head(&store, "order_1").await;
    chain.next_record();
    refused(store.snapshots().append(vec![chain.end(SagaStatus::Completed)]).await, ErrorKind::Conflict);
    assert_eq!(head(&store, "order_1").await, before);
}

async fn a_saga_may_change_its_definition(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    let mut records = chain.take(2);
    let mut chain = chain.with_outline(outline_of("order", "2", &["check", "reserve", "charge", "ship"]));
    records.extend(chain.take(2));
    append(&store, records.clone()).await;
    assert_history(&history(&store, "order_1").await, &records);
    assert_eq!(head(&store, "order_1").await.map(|head| head.saga_version.to_string()).as_deref(), Some("2"));
}

async fn sagas_may_share_a_name_and_differ_in_definition(env: Env) {
    let store = env.open().await;
    let definitions = [&["a"][..], &["a", "b"], &["b", "a"]].map(|steps| outline_of("order", "1", steps));
    let records: Vec<_> = (1..).zip(definitions).map(|(n, outline)| Chain::new(&format!("s{n}")).with_outline(outline).take(2)).collect();
    append(&store, records.iter().flatten().cloned()).await;
    for records in records {
        assert_history(&history(&store, records[0].saga_id.as_str()).await, &records);
    }
}

async fn goes_on_after_the_saga_has_ended(env: Env) {
    let store = env.open().await;
    let mut chain = Chain::new("order_1");
    append(&store, [chain.next_record(), chain.end(SagaStatus::Completed)]).await;
    append(&store, [chain.end(SagaStatus::Completed)]).await;
    assert_eq!(sequences(&store, "order_1").await, [1, 2, 3]);
}

async fn takes_a_thousand_records_at_once(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 1000);
    append(&store, records.clone()).await;
    assert_history(&history(&store, "order_1").await, &records);
}

async fn takes_records_of_five_hundred_sagas_at_once(env: Env) {
    let store = env.open().await;
    let chains: Vec<_> = (0..500).map(|n| records::history(&format!("saga-{n}"), 2)).collect();
    append(&store, chains.iter().map(|records| records[0].clone()).chain(chains.iter().map(|records| records[1].clone()))).await;
    assert_eq!(ids(&store, SagaQuery::default()).await.len(), 500);
    for records in chains {
        assert_history(&history(&store, records[0].saga_id.as_str()).await, &records);
    }
}

/// What pruning left of a history of ten records: 3, 4, 7 and 10.
fn remnants(id: &str) -> Vec<SnapshotRecord> {
    let records = records::history(id, 10);
    let mut after = None;
    let left = records.into_iter().filter(|record| [3, 4, 7, 10].contains(&record.sequence));
    left.map(|record| {
        let remnant = Remnant { after, started_at: records::start() };
        after = Some((record.sequence, record.digest()));
        record.as_remnant(remnant)
    })
    .collect()
}

async fn what_pruning_left_of_a_history_may_be_appended(env: Env) {
    let store = env.open().await;
    let left = remnants("order_1");
    append(&store, left.clone()).await;
    append(&store, left.clone()).await;
    assert_history(&history(&store, "order_1").await, &left);
    append(&store, [records::history("order_1", 11).remove(10)]).await;
    assert_eq!(sequences(&store, "order_1").await, [3, 4, 7, 10, 11]);
    for record in remnants("order_2") {
        append(&store, [record]).await;
    }
    assert_eq!(sequences(&store, "order_2").await, [3, 4, 7, 10]);
}

async fn a_saga_that_begins_late_started_when_it_is_said(env: Env) {
    let store = env.open().await;
    append(&store, remnants("order_1")).await;
    assert_eq!(head(&store, "order_1").await.map(|head| (head.started_at, head.sequence)), Some((records::start(), 10)));
}

async fn what_pruning_left_follows_only_the_record_that_it_names(env: Env) {
    let store = env.open().await;
    let (left, others) = (remnants("order_1"), Chain::new("order_1").starting_at(records::start() + TimeDelta::days(1)).take(4));
    conflicts(&store, vec![left[2].clone()], 7, 1).await;
    append(&store, others.clone()).await;
    conflicts(&store, vec![left[2].clone()], 7, 5).await;
    conflicts(&store, vec![left[0].clone()], 3, 5).await;
    assert_history(&history(&store, "order_1").await, &others);
}

async fn what_pruning_left_without_a_hole_follows_like_any_other(env: Env) {
    let store = env.open().await;
    let records = records::history("order_1", 4);
    let after = Some((3, records[2].digest()));
    let marked = |record: &SnapshotRecord| record.clone().as_remnant(Remnant { after, started_at: records::start() });
    let other = Chain::new("order_1").starting_at(records::start() + TimeDelta::days(1)).take(4).remove(3);
    append(&store, records[..3].to_vec()).await;
    conflicts(&store, vec![marked(&other)], 4, 4).await;
    append(&store, [marked(&records[3])]).await;
    assert_history(&history(&store, "order_1").await, &records);
}
