use replay_core::{
    ErrorKind, FailureKind, Phase, SagaStatus,
    json::Override,
    replay::{Checkpoint, ForceFailure, ReplayRequest, ReplayStatus, SagaReplay, StepPlan},
    saga::{Disposition, Saga},
    time_travel::TimeTravel,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;

#[tokio::test]
async fn rp1_a_replay_with_a_corrected_context_succeeds_and_leaves_the_original_as_it_was() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({"fail": "charge"})).await;
    let before: Vec<_> = history(&store, &id("o")).await.iter().map(|record| record.to_bytes().unwrap()).collect();

    let request = ReplayRequest::from_step(id("o"), "charge").with_override(mended()).with_new_id(id("n")).with_initiated_by("ops");
    let result = replay.replay(request).await.unwrap();
    assert_eq!((result.status, result.new_saga.as_ref()), (ReplayStatus::Success, Some(&id("n"))));
    assert!(result.logged && result.warnings.is_empty() && !result.existing);
    assert_eq!(result.report.as_ref().unwrap().status, SagaStatus::Completed);
    assert_eq!(noted(&journal), ["+reserve", "+charge", "+ship"], "the reservation that the rollback released is made again");

    let after: Vec<_> = history(&store, &id("o")).await.iter().map(|record| record.to_bytes().unwrap()).collect();
    assert_eq!(before, after);
    let fork = history(&store, &id("n")).await;
    let origin = fork[0].origin.as_ref().unwrap();
    assert_eq!((&origin.saga_id, origin.sequence, origin.replay_id, &origin.root), (&id("o"), 2, result.replay_id, &id("o")));
    let checkpoint = &history(&store, &id("o")).await[1];
    assert_eq!((fork[0].prev_digest, fork[0].phase, fork[0].actor.as_deref()), (checkpoint.digest(), Phase::Resume, Some("ops")));
    assert_eq!(fork.last().unwrap().status, SagaStatus::Completed);
}

#[tokio::test]
async fn rp1_the_first_difference_of_the_two_runs_is_the_corrected_step() {
    let store = store().await;
    let (_, replay, _) = ran(&store, json!({"fail": "ship"})).await;
    let request = ReplayRequest::from_step(id("o"), "ship").with_override(mended()).with_new_id(id("n"));
    replay.replay(request).await.unwrap();
    let diff = store.snapshots().diff_runs(&id("o"), &id("n")).await.unwrap();
    assert_eq!(serde_json::to_value(&diff.start).unwrap(), json!([{"op": "remove", "path": "/fail"}]));
}

#[tokio::test]
async fn rp2_steps_before_the_checkpoint_are_not_executed() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({})).await;
    let by_step = ReplayRequest::from_step(id("o"), "ship");
    let by_sequence = ReplayRequest::new(id("o"), Checkpoint::Sequence(3));
    let instant = history(&store, &id("o")).await[2].created_at;
    let by_time = ReplayRequest::new(id("o"), Checkpoint::Time(instant));
    for request in [by_step, by_sequence, by_time] {
        let result = replay.replay(request).await.unwrap();
        assert_eq!(result.status, ReplayStatus::Success);
        let plan = result.plan.unwrap();
        assert_eq!((plan.steps_to(StepPlan::Skip), plan.steps_to(StepPlan::Run)), (vec!["reserve", "charge"], vec!["ship"]));
        assert_eq!(result.report.unwrap().disposition("reserve"), Disposition::NotRun);
    }
    assert_eq!(noted(&journal), ["+ship", "+ship", "+ship"]);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Typed {
    token: String,
    amount: u64,
    note: Option<String>,
    address: Address,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Address {
    city: String,
    zip: String,
}

fn typed() -> Saga<Typed> {
    Saga::builder("typed")
        .step("charge", |order: Typed| async move {
            if order.token == "expired" { Err(replay_core::saga::StepError::new("the token has expired")) } else { Ok(order) }
        })
        .build()
        .unwrap()
}

async fn typed_ran(store: &Store) -> LocalReplay {
    let address = Address { city: "Bern".into(), zip: "3000".into() };
    let order = Typed { token: "expired".into(), amount: 5, note: Some("gift".into()), address };
    let runner = runner(store);
    runner.start_with(&typed(), order, named("o")).await.unwrap();
    replays(&runner, typed())
}

#[tokio::test]
async fn rp3_each_form_of_override_reaches_the_context_and_null_deletes() {
    let store = store().await;
    let replay = typed_ran(&store).await;
    let forms = [
        Override::from_assignments(&["token=tok_ok", "address.city=Thun", "note=null"]).unwrap(),
        Override::from_assignments(&["/token=\"tok_ok\"", r#"/address={"city": "Thun"}"#, "/note=null"]).unwrap(),
        Override::from_document(json!({"token": "tok_ok", "address": {"city": "Thun"}, "note": null})).unwrap(),
        Override::from_document(json!([
            {"op": "replace", "path": "/token", "value": "tok_ok"},
            {"op": "replace", "path": "/address/city", "value": "Thun"},
            {"op": "remove", "path": "/note"},
        ]))
        .unwrap(),
    ];
    for form in forms {
        let result = replay.replay(ReplayRequest::from_step(id("o"), "charge").with_override(form)).await.unwrap();
        assert_eq!(result.status, ReplayStatus::Success);
        let context = result.report.unwrap().context;
        assert_eq!(context, json!({"token": "tok_ok", "amount": 5, "note": null, "address": {"city": "Thun", "zip": "3000"}}));
    }
}

#[tokio::test]
async fn rp3_a_context_that_does_not_fit_runs_nothing_and_names_the_place() {
    let store = store().await;
    let replay = typed_ran(&store).await;
    for (wrong, place) in [("amount=five", "amount"), ("address.zip=3000", "address.zip"), ("token=[\"hunter2\"]", "token")] {
        let request =
            ReplayRequest::from_step(id("o"), "charge").with_override(Override::from_assignments(&[wrong]).unwrap()).with_new_id(id("n"));
        let error = replay.replay(request).await.unwrap_err();
        assert!(error.is(ErrorKind::Invalid), "{error}");
        assert_eq!(error.fact("place"), Some(place));
        assert!(history(&store, &id("n")).await.is_empty());
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let patch = Override::from_document(json!([{"op": "remove", "path": "/nothing"}])).unwrap();
    let error = replay.replay(ReplayRequest::from_step(id("o"), "charge").with_override(patch)).await.unwrap_err();
    assert_eq!(error.fact("path"), Some("/nothing"));
    let log = replay.replays(&id("o")).await.unwrap();
    assert!(log.iter().all(|entry| entry.refused && entry.status == ReplayStatus::Failed && entry.new_saga.is_none()));
    assert_eq!(log.len(), 4);
}

#[tokio::test]
async fn rp4_a_dry_run_changes_nothing_but_the_log_and_says_what_the_run_does() {
    let store = store().await;
    let (runner, replay, journal) = ran(&store, json!({"fail": "ship"})).await;
    let request = ReplayRequest::from_step(id("o"), "ship").with_override(mended()).with_new_id(id("n")).with_reason("try");
    let dry = replay.replay(request.clone().with_dry_run(true)).await.unwrap();
    assert!(noted(&journal).is_empty());
    assert_eq!((dry.status, dry.new_saga.clone(), dry.report.is_none()), (ReplayStatus::Success, None, true));
    assert_eq!(runner.interrupted(replay_core::storage::SagaQuery::default()).await.unwrap().len(), 0);
    assert!(history(&store, &id("n")).await.is_empty());
    let log = replay.replays(&id("o")).await.unwrap();
    assert_eq!((log.len(), log[0].dry_run, log[0].status, log[0].reason.as_deref()), (1, true, ReplayStatus::Success, Some("try")));

    let plan = dry.plan.unwrap();
    let run = replay.replay(request).await.unwrap();
    assert_eq!(run.plan.unwrap(), plan);
    for step in &plan.steps {
        let keys = keys_of(&journal, &step.name);
        assert_eq!(step.idempotency_key.iter().cloned().collect::<Vec<_>>(), keys, "{}", step.name);
    }
}

#[tokio::test]
async fn rp4_a_dry_run_says_why_the_run_would_be_refused() {
    let store = store().await;
    let replay = typed_ran(&store).await;
    let request = ReplayRequest::from_step(id("o"), "charge").with_override(Override::from_assignments(&["amount=x"]).unwrap());
    let plan = replay.plan(&request).await.unwrap();
    assert_eq!(plan.refusals.len(), 1);
    assert!(plan.refusals[0].kind == ErrorKind::Invalid && plan.refusals[0].message.contains("place=amount"), "{:?}", plan.refusals);
    let log = replay.replays(&id("o")).await.unwrap();
    assert!(log[0].dry_run && log[0].refused);
}

#[tokio::test]
async fn rp5_a_forced_failure_is_not_executed_and_compensates_the_skipped_steps_too() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({})).await;
    for force in [ForceFailure::Checkpoint, ForceFailure::Step("ship".into())] {
        journal.lock().unwrap().clear();
        let id_of_run = format!("n{force:?}");
        let request = ReplayRequest::from_step(id("o"), "ship").with_force_failure(force).with_new_id(id(&id_of_run));
        let result = replay.replay(request).await.unwrap();
        assert_eq!(result.status, ReplayStatus::Failed);
        let report = result.report.unwrap();
        assert_eq!((report.status, report.failure.unwrap().kind), (SagaStatus::RolledBack, FailureKind::Forced));
        let plan = result.plan.unwrap();
        assert_eq!(plan.steps_to(StepPlan::Fail), ["ship"]);
        assert_eq!(noted(&journal)[noted(&journal).len() - 2..], ["-charge", "-reserve"]);
        assert!(!noted(&journal).contains(&"+ship".to_owned()));
    }
    let request = ReplayRequest::from_step(id("o"), "charge").with_force_failure(ForceFailure::Step("shop".into()));
    let error = replay.replay(request).await.unwrap_err();
    assert!(error.advice().unwrap().contains("did you mean `ship`"), "{error:?}");
}

#[tokio::test]
async fn rp6_a_replay_that_fails_compensates_and_its_entry_says_so() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({"fail": "charge"})).await;
    let request = ReplayRequest::from_step(id("o"), "charge")
        .with_override(Override::from_assignments(&["fail=ship"]).unwrap())
        .with_initiated_by("ops@example.org")
        .with_reason("second try");
    let result = replay.replay(request).await.unwrap();
    assert_eq!(result.status, ReplayStatus::Failed);
    assert_eq!(noted(&journal), ["+reserve", "+charge", "+ship", "-charge", "-reserve"]);
    let log = replay.replays(&id("o")).await.unwrap();
    let entry = &log[0];
    assert_eq!((entry.status, entry.error.as_deref(), entry.refused), (ReplayStatus::Failed, Some("ship: told to fail"), false));
    assert_eq!((entry.initiated_by.as_deref(), entry.reason.as_deref()), (Some("ops@example.org"), Some("second try")));
    assert_eq!((entry.new_saga.clone(), entry.sequence), (result.new_saga, Some(2)));
    assert!(entry.ended_at.unwrap() >= entry.started_at);
}
