//! Handles of different namespaces on one store never see each other, on any call.

use bytes::Bytes;
use futures::TryStreamExt;
use replay_core::{
    Digest, SagaStatus, Store,
    storage::{At, If, PruneRequest, PruneScope, SagaQuery},
};

use crate::{
    check::{append, assert_history, history, ids, keep_newest, one_record, prune, sequence_at, sequences, whole_saga},
    env::Env,
    records::{self, Chain, after, saga},
    runner::Needs,
};

cases!("namespaces", Needs::Snapshots;
    one_saga_id_is_two_sagas,
    a_load_and_a_list_see_their_own,
    a_listing_of_sagas_sees_its_own,
    a_prune_stays_in_its_own,
    names_that_look_alike_are_different,
    a_name_may_be_any_text,
);

pub(crate) const LOGS: &[crate::runner::Case] = logs::CASES;
pub(crate) const CELLS: &[crate::runner::Case] = cells::CASES;
pub(crate) const BLOBS: &[crate::runner::Case] = blobs::CASES;

async fn two(env: &Env) -> (Store, Store) {
    (env.open_in("eu").await, env.open_in("us").await)
}

async fn one_saga_id_is_two_sagas(env: Env) {
    let (eu, us) = two(&env).await;
    let other = Chain::new("order_1").starting_at(after(50)).take(2);
    append(&eu, records::history("order_1", 4)).await;
    append(&us, other.clone()).await;
    assert_history(&history(&eu, "order_1").await, &records::history("order_1", 4));
    assert_history(&history(&us, "order_1").await, &other);
}

async fn a_load_and_a_list_see_their_own(env: Env) {
    let (eu, us) = two(&env).await;
    append(&eu, records::history("order_1", 4)).await;
    for at in [At::Latest, At::Sequence(1), At::before_step("ship"), At::Time(after(100))] {
        assert_eq!(sequence_at(&us, "order_1", at).await, None);
    }
    assert_eq!(sequences(&us, "order_1").await, [0; 0]);
}

async fn a_listing_of_sagas_sees_its_own(env: Env) {
    let (eu, us) = two(&env).await;
    append(&eu, records::history("order_1", 1)).await;
    append(&us, records::history("order_2", 1)).await;
    assert_eq!(ids(&eu, SagaQuery::default()).await, ["order_1"]);
    assert_eq!(ids(&us, SagaQuery::default()).await, ["order_2"]);
    assert_eq!(ids(&us, SagaQuery::default().with_status(SagaStatus::Executing).with_id_prefix("order")).await, ["order_2"]);
    assert_eq!(ids(&us, SagaQuery::default().with_step("reserve").with_name("order")).await, ["order_2"]);
}

async fn a_prune_stays_in_its_own(env: Env) {
    let (eu, us) = two(&env).await;
    let ended = |id| {
        let mut chain = Chain::new(id);
        let mut records: Vec<_> = (0..3).map(|_| chain.with(|meta| meta.retention_until = Some(after(1)))).collect();
        records.push(chain.end(SagaStatus::Completed));
        records
    };
    append(&eu, ended("order_1")).await;
    append(&us, ended("order_1")).await;
    let requests = [
        one_record("order_1", 2),
        PruneRequest::new(PruneScope::Expired { now: after(10) }),
        keep_newest("order_1", 1),
        PruneRequest::new(PruneScope::KeepNewest { saga_id: None, keep: 1 }),
        whole_saga(&saga("order_1")),
    ];
    for request in requests {
        prune(&eu, request.clone()).await;
        assert_history(&history(&us, "order_1").await, &ended("order_1"));
    }
    assert_eq!(ids(&eu, SagaQuery::default()).await, [""; 0]);
}

async fn names_that_look_alike_are_different(env: Env) {
    // Each pair joins to the same text with a bare separator.
    let pairs = [
        ("a", "b:c"),
        ("a:b", "c"),
        ("a", "b/c"),
        ("a/b", "c"),
        ("A", "b:c"),
        ("a ", "c"),
        ("1", "11"),
        ("11", "1"),
        ("a%", "c"),
        ("a_", "c"),
    ];
    for (namespace, id) in pairs {
        let store = env.open_in(namespace).await;
        append(&store, records::history(id, 2)).await;
    }
    for (namespace, _) in pairs {
        let store = env.open_in(namespace).await;
        let mut expected: Vec<_> = pairs.iter().filter(|pair| pair.0 == namespace).map(|pair| pair.1).collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(ids(&store, SagaQuery::default()).await, expected, "namespace {namespace:?}");
    }
}

async fn a_name_may_be_any_text(env: Env) {
    let names = ["..", "/", "%", "'; --", "🙂", "a b", "\\", "*", &"x".repeat(255)];
    for name in names {
        append(&env.open_in(name).await, records::history("order_1", 1)).await;
    }
    for name in names {
        assert_eq!(ids(&env.open_in(name).await, SagaQuery::default()).await, ["order_1"], "namespace {name:?}");
    }
}

mod logs {
    use super::{Bytes, Env, Needs, TryStreamExt, two};

    cases!("namespaces", Needs::Logs; a_log_is_seen_in_its_own);

    async fn a_log_is_seen_in_its_own(env: Env) {
        let (eu, us) = two(&env).await;
        let (eu, us) = (eu.logs().expect("logs"), us.logs().expect("logs"));
        eu.append_log("s", 0, vec![Bytes::from_static(b"eu")]).await.expect("an append");
        let count = |logs: futures::stream::BoxStream<'static, _>| logs.try_collect::<Vec<replay_core::storage::LogEntry>>();
        assert!(count(us.read_log("s", 0, u64::MAX)).await.expect("a read").is_empty());
        assert!(us.streams("").try_collect::<Vec<_>>().await.expect("a listing").is_empty());
        assert!(!us.delete_log("s").await.expect("a delete"));
        us.append_log("s", 0, vec![Bytes::from_static(b"us")]).await.expect("an append");
        assert_eq!(count(eu.read_log("s", 0, u64::MAX)).await.expect("a read").len(), 1);
    }
}

mod cells {
    use super::{Bytes, Env, If, Needs, TryStreamExt, two};

    cases!("namespaces", Needs::Cells; a_cell_is_seen_in_its_own);

    async fn a_cell_is_seen_in_its_own(env: Env) {
        let (eu, us) = two(&env).await;
        let (eu, us) = (eu.cells().expect("cells"), us.cells().expect("cells"));
        eu.put_cell("k", Bytes::from_static(b"eu"), If::Absent, None).await.expect("a put");
        assert_eq!(us.get_cell("k").await.expect("a get"), None);
        assert!(us.scan_cells("").try_collect::<Vec<_>>().await.expect("a scan").is_empty());
        assert!(!us.delete_cell("k", If::Any).await.expect("a delete"));
        us.put_cell("k", Bytes::from_static(b"us"), If::Absent, None).await.expect("a put");
        assert_eq!(eu.get_cell("k").await.expect("a get").map(|cell| cell.value), Some(Bytes::from_static(b"eu")));
    }
}

mod blobs {
    use super::{Bytes, Digest, Env, Needs, two};

    cases!("namespaces", Needs::Blobs; a_blob_is_seen_in_its_own);

    async fn a_blob_is_seen_in_its_own(env: Env) {
        let (eu, us) = two(&env).await;
        let (eu, us) = (eu.blobs().expect("blobs"), us.blobs().expect("blobs"));
        let digest = eu.put_blob(Bytes::from_static(b"x")).await.expect("a put");
        assert_eq!(digest, Digest::of(b"x"));
        assert_eq!(us.get_blob(&digest).await.expect("a get"), None);
        assert!(!us.delete_blob(&digest).await.expect("a delete"));
        us.put_blob(Bytes::from_static(b"x")).await.expect("a put");
        assert!(us.delete_blob(&digest).await.expect("a delete"));
        assert!(eu.get_blob(&digest).await.expect("a get").is_some(), "the other namespace's blob went along");
    }
}
