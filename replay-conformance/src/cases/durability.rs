//! What was acknowledged is there when the store is opened anew.

use bytes::Bytes;
use futures::TryStreamExt;
use replay_core::{
    Digest, SagaStatus,
    storage::{At, If, SagaQuery},
};

use crate::{
    check::{append, assert_history, conflicts, head, history, ids, keep_newest, prune, sequence_at, sequences},
    env::Env,
    records::{self, Chain},
    runner::{Case, Needs},
};

cases!("durability", Needs::Durable(&Needs::Snapshots);
    histories_and_heads_are_there_after_a_restart,
    the_fence_holds_after_a_restart,
    what_was_pruned_stays_away_after_a_restart,
);

pub(crate) const LOGS: &[Case] = logs::CASES;
pub(crate) const CELLS: &[Case] = cells::CASES;
pub(crate) const BLOBS: &[Case] = blobs::CASES;

async fn histories_and_heads_are_there_after_a_restart(env: Env) {
    let mut heads = Vec::new();
    for round in 0..4 {
        let store = env.open().await;
        let id = format!("order_{round}");
        let mut chain = Chain::new(&id);
        append(&store, chain.take(3)).await;
        append(&store, [chain.end(SagaStatus::Completed)]).await;
        append(&store, [Chain::new("shared").take(round + 1).remove(round)]).await;
        heads.push(head(&store, &id).await);
    }
    let store = env.open().await;
    for (round, expected) in heads.into_iter().enumerate() {
        let id = format!("order_{round}");
        assert_history(&history(&store, &id).await[..3], &records::history(&id, 3));
        assert_eq!(sequence_at(&store, &id, At::Latest).await, Some(4));
        assert_eq!(head(&store, &id).await, expected);
    }
    assert_history(&history(&store, "shared").await, &records::history("shared", 4));
    assert_eq!(ids(&store, SagaQuery::default().with_status(SagaStatus::Completed)).await.len(), 4);
}

async fn the_fence_holds_after_a_restart(env: Env) {
    let records = records::history("order_1", 4);
    append(&env.open().await, records[..2].to_vec()).await;
    let store = env.open().await;
    conflicts(&store, vec![records[3].clone()], 4, 3).await;
    append(&store, [records[1].clone()]).await;
    append(&env.open().await, [records[2].clone()]).await;
    assert_history(&history(&env.open().await, "order_1").await, &records[..3]);
}

async fn what_was_pruned_stays_away_after_a_restart(env: Env) {
    let store = env.open().await;
    append(&store, records::history("order_1", 6)).await;
    append(&store, records::history("order_2", 2)).await;
    prune(&store, keep_newest("order_1", 2)).await;
    prune(&store, crate::check::whole_saga(&records::saga("order_2"))).await;
    drop(store);
    let store = env.open().await;
    assert_eq!(sequences(&store, "order_1").await, [5, 6]);
    assert_eq!(ids(&store, SagaQuery::default()).await, ["order_1"]);
    assert_eq!(head(&store, "order_1").await.map(|head| head.started_at), Some(records::start()));
}

mod logs {
    use super::{Bytes, Env, Needs, TryStreamExt};

    cases!("durability", Needs::Durable(&Needs::Logs); a_log_is_there_after_a_restart);

    async fn a_log_is_there_after_a_restart(env: Env) {
        let entry = |n: u64| Bytes::from(n.to_string());
        for n in 0..3 {
            let store = env.open().await;
            store.logs().expect("logs").append_log("s", n, vec![entry(n)]).await.expect("the append is accepted");
        }
        let store = env.open().await;
        let entries: Vec<_> = store.logs().expect("logs").read_log("s", 0, 9).try_collect().await.expect("the read succeeds");
        assert!(entries.iter().map(|found| found.bytes.clone()).eq((0..3).map(entry)), "{entries:?}");
    }
}

mod cells {
    use super::{Bytes, Env, If, Needs};

    cases!("durability", Needs::Durable(&Needs::Cells); a_cell_and_its_version_are_there_after_a_restart);

    async fn a_cell_and_its_version_are_there_after_a_restart(env: Env) {
        let store = env.open().await;
        let version = store.cells().expect("cells").put_cell("k", Bytes::from_static(b"v"), If::Absent, None).await.expect("a put");
        let before = store.cells().expect("cells").get_cell("k").await.expect("a get");
        drop(store);
        let store = env.open().await;
        let cells = store.cells().expect("cells");
        assert_eq!(cells.get_cell("k").await.expect("a get"), before);
        assert_eq!(cells.put_cell("k", Bytes::new(), If::Version(version), None).await.expect("a put"), version + 1);
    }
}

mod blobs {
    use super::{Bytes, Digest, Env, Needs};

    cases!("durability", Needs::Durable(&Needs::Blobs); a_blob_is_there_after_a_restart);

    async fn a_blob_is_there_after_a_restart(env: Env) {
        let store = env.open().await;
        store.blobs().expect("blobs").put_blob(Bytes::from_static(b"x")).await.expect("a put");
        drop(store);
        let store = env.open().await;
        assert_eq!(store.blobs().expect("blobs").get_blob(&Digest::of(b"x")).await.expect("a get"), Some(Bytes::from_static(b"x")));
    }
}
