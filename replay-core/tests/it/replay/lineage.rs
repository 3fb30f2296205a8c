use replay_core::{
    SagaId, SagaStatus,
    replay::{ForceFailure, ReplayRequest, ReplayStatus, SagaReplay},
    storage::{PruneRequest, PruneScope},
};

use super::*;

#[tokio::test]
async fn rp9_replays_of_replays_are_a_tree() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({})).await;
    let run = async |from: &str, to: &str| {
        replay.replay(ReplayRequest::from_step(id(from), "ship").with_new_id(id(to))).await.unwrap();
    };
    for (from, to) in [("o", "a"), ("a", "aa"), ("aa", "aaa"), ("o", "b"), ("a", "ab")] {
        run(from, to).await;
    }
    for asked in ["o", "aaa", "b"] {
        let lineage = replay.history(&id(asked)).await.unwrap();
        let tree: Vec<_> = lineage.sagas.iter().map(|saga| (saga.saga_id.as_str(), saga.depth)).collect();
        assert_eq!(tree, [("o", 0), ("a", 1), ("aa", 2), ("aaa", 3), ("ab", 2), ("b", 1)]);
        assert_eq!(lineage.saga_id, id(asked));
        assert_eq!(lineage.saga(&id("a")).unwrap().replays.len(), 2);
        let deepest = lineage.saga(&id("aaa")).unwrap().origin.clone().unwrap();
        assert_eq!((&deepest.saga_id, &deepest.root, &deepest.key_base), (&id("aa"), &id("o"), &id("o")));
    }
    let keys = keys_of(&journal, "ship");
    assert!(keys.len() == 5 && keys.iter().all(|key| *key == keys[0]), "all of them hand on the key of the first saga");
    assert!(replay.history(&id("nobody")).await.unwrap_err().is(replay_core::ErrorKind::NotFound));
}

#[tokio::test]
async fn rp9_a_tree_is_shown_although_its_root_was_deleted() {
    let store = store().await;
    let (_, replay, _) = ran(&store, json!({})).await;
    replay.replay(ReplayRequest::from_step(id("o"), "ship").with_new_id(id("a"))).await.unwrap();
    store.snapshots().prune(PruneRequest::new(PruneScope::Saga(id("o")))).await.unwrap();
    let lineage = replay.history(&id("a")).await.unwrap();
    assert_eq!(lineage.sagas.iter().map(|saga| saga.status).collect::<Vec<_>>(), [None, Some(SagaStatus::Completed)]);
    assert_eq!(lineage.sagas[0].replays.len(), 1);
    let again = replay.replay(ReplayRequest::from_step(id("a"), "ship")).await.unwrap();
    assert_eq!(again.status, ReplayStatus::Success);
}

#[tokio::test]
async fn rp12_a_running_saga_is_replayed_while_it_runs() {
    let store = store().await;
    let (gate, journal) = (Gate::default(), Journal::default());
    let (first, second) = (runner(&store), runner(&store));
    let running = tokio::spawn({
        let (first, saga) = (first.clone(), gated_order(&journal, &gate));
        async move { first.start_with(&saga, json!({}), named("o")).await }
    });
    gate.reached().await;
    gate.open();
    let replay = replays(&second, gated_order(&journal, &gate));
    let result = replay.replay(ReplayRequest::from_step(id("o"), "ship").with_new_id(id("n"))).await.unwrap();
    assert_eq!(result.status, ReplayStatus::Success);
    assert!(result.plan.unwrap().warnings.iter().any(|warning| warning.contains("the original is executing")));
    let original = history(&store, &id("o")).await;
    assert_eq!(original.last().unwrap().status, SagaStatus::Executing, "the original still waits");
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert!(first.resume(&gated_order(&journal, &gate), &id("o")).await.unwrap().is_completed(), "and goes on when it is resumed");
}

#[tokio::test]
async fn rp13_two_replays_at_once_from_one_checkpoint_are_independent() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({})).await;
    let request = |to: &str| ReplayRequest::from_step(id("o"), "charge").with_new_id(id(to));
    let failing = request("b").with_force_failure(ForceFailure::Step("ship".into()));
    let (a, b) = tokio::join!(replay.replay(request("a")), replay.replay(failing));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!((a.status, b.status), (ReplayStatus::Success, ReplayStatus::Failed));
    assert_ne!(a.replay_id, b.replay_id);
    for (saga, status) in [("a", SagaStatus::Completed), ("b", SagaStatus::RolledBack)] {
        let records = history(&store, &id(saga)).await;
        assert_eq!(records.last().unwrap().status, status);
        assert!(records.windows(2).all(|pair| pair[1].prev_digest == pair[0].digest()));
    }
    assert_eq!(replay.replays(&id("o")).await.unwrap().len(), 2);
    assert_eq!(noted(&journal).iter().filter(|line| *line == "+ship").count(), 1);
}

#[tokio::test]
async fn labels_that_come_from_the_context_follow_the_override() {
    let store = store().await;
    let saga = || Saga::<Value>::builder("order").step("only", |context| async move { Ok(context) }).label("customer", "/customer").build();
    let runner = runner(&store);
    runner.start_with(&saga().unwrap(), json!({"customer": "c-1"}), named("o").with_label("kind", "test")).await.unwrap();
    let replay = replays(&runner, saga().unwrap());
    let corrected = Override::from_assignments(&["customer=c-2"]).unwrap();
    let request = ReplayRequest::from_step(id("o"), "only").with_override(corrected).with_new_id(id("n"));
    replay.replay(request).await.unwrap();
    let label = |saga: SagaId, key: &'static str| {
        let store = store.clone();
        async move { history(&store, &saga).await.pop().unwrap().labels.get(key).cloned().unwrap() }
    };
    assert_eq!((label(id("n"), "customer").await, label(id("n"), "kind").await), ("c-2".to_owned(), "test".to_owned()));
    assert_eq!(label(id("o"), "customer").await, "c-1");
}

#[tokio::test]
async fn a_saga_knows_nothing_of_another_one_that_had_its_id() {
    let store = store().await;
    let (runner, replay, journal) = ran(&store, json!({"fail": "charge"})).await;
    let forked = ReplayRequest::from_step(id("o"), "charge").with_replay_key("k");
    let first = replay.replay(forked.clone().with_new_id(id("a"))).await.unwrap();
    store.snapshots().prune(PruneRequest::new(PruneScope::Saga(id("o")))).await.unwrap();
    assert_eq!(replay.replays(&id("o")).await.unwrap(), []);

    runner.start_with(&order(&journal), json!({}), named("o")).await.unwrap();
    assert_eq!(replay.replays(&id("o")).await.unwrap(), [], "its log is empty");
    let tree = replay.history(&id("o")).await.unwrap();
    assert_eq!(tree.sagas.len(), 1, "the replays of the other one are not its own");
    let plan = replay.plan(&forked).await.unwrap();
    assert!(plan.steps.iter().all(|step| !step.compensated), "nor is what they compensated");
    let second = replay.replay(forked).await.unwrap();
    assert!(!second.existing && second.replay_id != first.replay_id, "nor are their replay keys");

    let of_the_other = replay.history(&id("a")).await.unwrap();
    let shown: Vec<_> = of_the_other.sagas.iter().map(|saga| (saga.saga_id.as_str(), saga.status.is_some(), saga.replays.len())).collect();
    assert_eq!(shown, [("o", false, 1), ("a", true, 0)]);
    assert_eq!(of_the_other.sagas[0].replays[0].replay_id, first.replay_id);
}
