use std::time::Duration;

use async_trait::async_trait;
use replay_core::{
    Clock, ErrorKind, ManualClock, Result, SnapshotMeta, SystemClock,
    json::Override,
    replay::{Checkpoint, ReplayRequest, ReplayStatus, SagaReplay, StepPlan},
    saga::{SagaSource, StartOptions},
    storage::{PruneRequest, PruneScope},
};

use super::*;

#[tokio::test]
async fn rp7_without_a_checkpoint_for_the_step_the_error_lists_those_that_exist() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({"fail": "charge"})).await;
    let error = replay.replay(ReplayRequest::from_step(id("o"), "ship")).await.unwrap_err();
    assert!(error.is(ErrorKind::NotFound), "{error}");
    assert_eq!(error.fact("checkpoints"), Some("charge (sequence 2); reserve (sequence 1)"));
    assert!(error.advice().unwrap().contains("charge (sequence 2)"));
    let error = replay.replay(ReplayRequest::new(id("o"), Checkpoint::Sequence(99))).await.unwrap_err();
    assert!(error.is(ErrorKind::NotFound), "{error}");
    let early = "2020-01-01T00:00:00Z".parse().unwrap();
    let error = replay.replay(ReplayRequest::new(id("o"), Checkpoint::Time(early))).await.unwrap_err();
    assert!(error.is(ErrorKind::NotFound), "{error}");
    let error = replay.replay(ReplayRequest::from_step(id("nobody"), "ship")).await.unwrap_err();
    assert!(error.is(ErrorKind::NotFound) && error.fact("checkpoints").is_none(), "{error}");
    assert!(replay.replays(&id("nobody")).await.unwrap().is_empty(), "a saga that does not exist gets no log");
    assert!(noted(&journal).is_empty());
}

#[tokio::test]
async fn rp7_a_pruned_snapshot_is_named_as_such() {
    let store = store().await;
    let (_, replay, _) = ran(&store, json!({})).await;
    let second = history(&store, &id("o")).await[1].id();
    store.snapshots().prune(PruneRequest::new(PruneScope::Record(second))).await.unwrap();
    let error = replay.replay(ReplayRequest::new(id("o"), Checkpoint::Sequence(2))).await.unwrap_err();
    assert!(error.is(ErrorKind::NotFound) && error.detail().unwrap().contains("was pruned"), "{error}");
    assert_eq!(error.fact("checkpoints"), Some("ship (sequence 3); reserve (sequence 1)"));
}

#[tokio::test]
async fn rp8_a_step_that_never_existed_is_a_mistake_with_a_suggestion() {
    let store = store().await;
    let (_, replay, _) = ran(&store, json!({})).await;
    let error = replay.replay(ReplayRequest::from_step(id("o"), "chrage")).await.unwrap_err();
    assert!(error.is(ErrorKind::Invalid), "{error}");
    assert!(error.advice().unwrap().starts_with("did you mean `charge`?"), "{error:?}");
    let log = replay.replays(&id("o")).await.unwrap();
    assert_eq!((log.len(), log[0].refused, log[0].status), (1, true, ReplayStatus::Failed));
}

fn renamed(journal: &Journal, names: [&'static str; 3]) -> Saga<Value> {
    names.into_iter().fold(Saga::builder("order"), |builder, name| noting(builder, journal, name)).build().unwrap()
}

#[tokio::test]
async fn rp11_a_changed_definition_is_refused_unless_it_is_allowed() {
    let store = store().await;
    let (runner, _, journal) = ran(&store, json!({})).await;
    let changed = replays(&runner, renamed(&journal, ["reserve", "charge", "deliver"]));
    let request = ReplayRequest::from_step(id("o"), "charge");
    let error = changed.replay(request.clone()).await.unwrap_err();
    assert!(error.is(ErrorKind::Refused), "{error}");
    assert_eq!((error.fact("added"), error.fact("removed")), (Some("deliver"), Some("ship")));
    assert!(noted(&journal).is_empty());

    let plan = changed.plan(&request).await.unwrap();
    assert!(plan.definition.changed && plan.definition.recorded != plan.definition.used && plan.refusals.len() == 1);
    let allowed = request.with_definition_change(true);
    assert_eq!(changed.replay(allowed.clone()).await.unwrap().status, ReplayStatus::Success);
    assert_eq!(noted(&journal), ["+charge", "+deliver"]);

    let without = replays(&runner, renamed(&journal, ["hold", "charge", "deliver"]));
    let error = without.replay(allowed).await.unwrap_err();
    assert!(error.is(ErrorKind::Refused) && error.detail().unwrap().ends_with("no longer exist: reserve"), "{error}");
}

#[tokio::test]
async fn rp11_the_caller_may_bring_the_definition_and_record_where_it_is_from() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({})).await;
    let newer: Arc<dyn AnySaga> = Arc::new(renamed(&journal, ["reserve", "charge", "deliver"]));
    let request = ReplayRequest::from_step(id("o"), "charge")
        .with_definition(newer)
        .with_definition_change(true)
        .with_external_ref("definition", "abc")
        .with_new_id(id("n"));
    let plan = replay.replay(request).await.unwrap().plan.unwrap();
    assert_eq!(plan.steps_to(StepPlan::Run), ["charge", "deliver"]);
    let fork = history(&store, &id("n")).await;
    assert!(fork.iter().all(|record| record.external_refs.get("definition").map(String::as_str) == Some("abc")));
    let other: Arc<dyn AnySaga> = Arc::new(noting(Saga::builder("other"), &journal, "reserve").build().unwrap());
    let request = ReplayRequest::from_step(id("o"), "charge").with_definition(other).with_definition_change(true);
    assert!(replay.replay(request).await.unwrap_err().is(ErrorKind::Refused));
}

/// Gives the same definition whatever it is asked for.
#[derive(Debug)]
struct Wrong(Arc<dyn AnySaga>);

#[async_trait]
impl SagaSource for Wrong {
    async fn find(&self, _: &SnapshotMeta) -> Result<Option<Arc<dyn AnySaga>>> {
        Ok(Some(self.0.clone()))
    }
}

#[tokio::test]
async fn rp23_a_source_that_gives_another_saga_is_refused() {
    let store = store().await;
    let (runner, _, journal) = ran(&store, json!({})).await;
    let same_steps_other_name = noting(noting(Saga::builder("invoice"), &journal, "reserve"), &journal, "charge").build().unwrap();
    let other_version = noting(Saga::builder("order").version("2"), &journal, "reserve").build().unwrap();
    for saga in [same_steps_other_name, other_version] {
        let replay = LocalReplay::new(runner.clone(), Arc::new(Wrong(Arc::new(saga))));
        let request = ReplayRequest::from_step(id("o"), "charge").with_definition_change(true);
        let error = replay.replay(request).await.unwrap_err();
        assert!(error.is(ErrorKind::Refused) && error.detail().unwrap().contains("asked for saga `order`"), "{error}");
    }
    let nothing = LocalReplay::new(runner, Arc::new(Registry::new()));
    let error = nothing.replay(ReplayRequest::from_step(id("o"), "charge")).await.unwrap_err();
    assert!(error.is(ErrorKind::NotFound) && error.detail().unwrap().contains("no definition"), "{error}");
    assert!(noted(&journal).is_empty());
}

#[tokio::test]
async fn rp24_a_terminal_or_compensating_snapshot_is_no_checkpoint() {
    let store = store().await;
    let (_, replay, _) = ran(&store, json!({"fail": "ship"})).await;
    let all = history(&store, &id("o")).await;
    assert_eq!(replay.checkpoints(&id("o")).await.unwrap().iter().map(|found| found.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    for record in all.iter().skip(3) {
        let by_sequence = Checkpoint::Sequence(record.sequence);
        for checkpoint in [by_sequence, Checkpoint::Time(record.created_at)] {
            let error = replay.replay(ReplayRequest::new(id("o"), checkpoint)).await.unwrap_err();
            assert!(error.is(ErrorKind::Refused), "{error}");
            assert!(error.detail().unwrap().contains(record.status.as_str()), "{error}");
            assert_eq!(error.fact("checkpoints"), Some("ship (sequence 3); charge (sequence 2); reserve (sequence 1)"));
        }
    }
    assert!(replay.checkpoints(&id("nobody")).await.unwrap_err().is(ErrorKind::NotFound));
}

#[tokio::test]
async fn rp25_an_expired_snapshot_is_no_checkpoint_and_shows_as_expired() {
    let store = store().await;
    let (clock, journal) = (ManualClock::new(SystemClock.now()), Journal::default());
    let runner = runner_at(&store, &clock);
    let saga = order(&journal);
    let options: StartOptions = named("o").with_policy(policy(|policy| policy.with_retention(Duration::from_mins(1))));
    runner.start_with(&saga, json!({}), options).await.unwrap();
    let replay = replays(&runner, saga);
    assert!(replay.checkpoints(&id("o")).await.unwrap().iter().all(|found| !found.expired && found.retention_until.is_some()));
    clock.advance(Duration::from_secs(61));
    let shown = replay.checkpoints(&id("o")).await.unwrap();
    assert!(shown.len() == 3 && shown.iter().all(|found| found.expired));
    for checkpoint in [Checkpoint::step("ship"), Checkpoint::Sequence(3)] {
        let error = replay.replay(ReplayRequest::new(id("o"), checkpoint)).await.unwrap_err();
        assert!(error.is(ErrorKind::Refused) && error.detail().unwrap().ends_with("is expired"), "{error}");
        assert!(error.fact("checkpoints").unwrap().starts_with("ship (sequence 3, expired)"), "{error}");
    }
}

#[tokio::test]
async fn an_id_that_is_in_use_is_refused_before_anything_runs() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({})).await;
    let request = ReplayRequest::from_step(id("o"), "ship").with_new_id(id("o"));
    assert!(replay.replay(request).await.unwrap_err().is(ErrorKind::Conflict));
    assert!(noted(&journal).is_empty());
}

#[tokio::test]
async fn an_override_that_makes_the_context_too_large_is_refused() {
    let store = store().await;
    let journal = Journal::default();
    let runner = runner(&store);
    let options = named("o").with_policy(policy(|policy| policy.with_max_context_bytes(200)));
    runner.start_with(&order(&journal), json!({}), options).await.unwrap();
    let large = Override::from_document(json!({"text": "x".repeat(300)})).unwrap();
    let request = ReplayRequest::from_step(id("o"), "ship").with_override(large);
    let error = replays(&runner, order(&journal)).replay(request).await.unwrap_err();
    assert!(error.is(ErrorKind::LimitExceeded) && error.fact("limit") == Some("200"), "{error}");
}
