use replay_core::{
    SagaId, SagaStatus,
    json::Override,
    replay::{Checkpoint, Compensated, ForceFailure, KeyPolicy, ReplayRequest, ReplayStatus, SagaReplay, StepPlan},
    saga::{Saga, StepError},
};

use super::*;

#[tokio::test]
async fn rp14_keys_are_inherited_unless_fresh_ones_are_asked_for() {
    let store = store().await;
    let journal = Journal::default();
    let runner = runner(&store);
    runner.start_with(&order(&journal), json!({}), named("o")).await.unwrap();
    let (charge, ship) = (keys_of(&journal, "charge").remove(0), keys_of(&journal, "ship").remove(0));
    let replay = replays(&runner, order(&journal));
    let run = async |request: ReplayRequest| {
        journal.lock().unwrap().clear();
        let plan = replay.plan(&request.clone().with_new_id(id("planned"))).await.unwrap();
        let result = replay.replay(request).await.unwrap();
        assert_eq!(result.status, ReplayStatus::Success);
        (plan, keys_of(&journal, "charge").remove(0), keys_of(&journal, "ship").remove(0))
    };
    let request = || ReplayRequest::from_step(id("o"), "charge");
    let (plan, inherited_charge, inherited_ship) = run(request()).await;
    assert_eq!((&inherited_charge, &inherited_ship), (&charge, &ship));
    assert_eq!(plan.step("charge").unwrap().idempotency_key.as_ref(), Some(&charge));
    assert!(!plan.step("charge").unwrap().fresh_key);

    let (plan, fresh_charge, fresh_ship) = run(request().with_keys(KeyPolicy::Fresh)).await;
    assert!(fresh_charge != charge && fresh_ship != ship);
    assert!(plan.step("charge").unwrap().fresh_key && plan.step("charge").unwrap().idempotency_key.is_some());

    let (_, one_fresh, other) = run(request().fresh_keys_for("charge")).await;
    assert!(one_fresh != charge && other == ship);
}

#[tokio::test]
async fn rp15_a_replay_inside_a_wave_keeps_completed_siblings() {
    let store = store().await;
    let journal = Journal::default();
    let build = || {
        let builder = noting(Saga::builder("wave"), &journal, "first");
        let builder = noting(builder, &journal, "left").needs(["first"]);
        let builder = noting(builder, &journal, "right").needs(["first"]);
        noting(builder, &journal, "last").needs(["left", "right"]).max_concurrency(1).build().unwrap()
    };
    let runner = runner(&store);
    runner.start_with(&build(), json!({}), named("o")).await.unwrap();
    let inside = history(&store, &id("o")).await.into_iter().find(|record| record.next_steps().to_vec() == ["right"]).unwrap();
    assert_eq!(inside.completed_steps().to_vec(), ["first", "left"]);
    journal.lock().unwrap().clear();
    let replay = replays(&runner, build());
    replay.replay(ReplayRequest::from_step(id("o"), "right")).await.unwrap();
    assert_eq!(noted(&journal), ["+right", "+last"]);
    journal.lock().unwrap().clear();
    replay.replay(ReplayRequest::from_step(id("o"), "left")).await.unwrap();
    assert_eq!(noted(&journal), ["+left", "+right", "+last"]);
}

#[tokio::test]
async fn rp16_a_saga_parked_after_its_pivot_is_replayed_forward() {
    let store = store().await;
    let journal = Journal::default();
    let build = || {
        let builder = noting(noting(Saga::builder("order"), &journal, "reserve"), &journal, "charge").pivot();
        noting(builder, &journal, "ship").build().unwrap()
    };
    let runner = runner(&store);
    let report = runner.start_with(&build(), json!({"fail": "ship"}), named("o")).await.unwrap();
    assert_eq!(report.status, SagaStatus::Parked);
    journal.lock().unwrap().clear();
    let replay = replays(&runner, build());
    let failed = replay.replay(ReplayRequest::from_step(id("o"), "ship")).await.unwrap();
    assert_eq!((failed.status, failed.report.unwrap().status), (ReplayStatus::Failed, SagaStatus::Parked));
    let request = ReplayRequest::from_step(id("o"), "ship").with_override(mended());
    assert_eq!(replay.replay(request).await.unwrap().status, ReplayStatus::Success);
    assert_eq!(noted(&journal), ["+ship", "+ship"]);
}

#[tokio::test]
async fn rp17_a_step_that_the_original_compensated_runs_again_first() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({"fail": "charge"})).await;
    let original_key = {
        let completed = replay.plan(&ReplayRequest::new(id("o"), Checkpoint::Sequence(1))).await.unwrap();
        completed.step("charge").unwrap().idempotency_key.clone()
    };
    let request = ReplayRequest::from_step(id("o"), "charge").with_override(mended());
    let plan = replay.plan(&request).await.unwrap();
    assert_eq!((plan.steps_to(StepPlan::RunAgain), plan.steps_to(StepPlan::Skip)), (vec!["reserve"], vec![]));
    let reserve = plan.step("reserve").unwrap();
    assert!(reserve.fresh_key && reserve.compensated);
    assert_eq!(plan.step("charge").unwrap().idempotency_key, original_key, "a step that never had an effect keeps its key");
    assert!(plan.warnings.iter().any(|warning| warning.starts_with("reserve: compensated")), "{:?}", plan.warnings);
    replay.replay(request.clone()).await.unwrap();
    assert_eq!(noted(&journal), ["+reserve", "+charge", "+ship"]);

    journal.lock().unwrap().clear();
    let skip = request.with_compensated(Compensated::Skip);
    let plan = replay.plan(&skip).await.unwrap();
    assert_eq!(plan.steps_to(StepPlan::Skip), ["reserve"]);
    assert!(plan.step("reserve").unwrap().compensated);
    replay.replay(skip).await.unwrap();
    assert_eq!(noted(&journal), ["+charge", "+ship"]);
}

#[tokio::test]
async fn rp17_what_builds_on_a_compensated_step_waits_for_it() {
    let store = store().await;
    let journal = Journal::default();
    // The middle step has nothing to compensate, so it stays completed when the first one is taken back.
    let build = || {
        let does = journal.clone();
        let builder = noting(Saga::builder("order"), &journal, "reserve").step("check", move |context: Value| {
            does.lock().unwrap().push("+check".into());
            async move { Ok(context) }
        });
        noting(builder, &journal, "charge").build().unwrap()
    };
    let runner = runner(&store);
    runner.start_with(&build(), json!({"fail": "charge"}), named("o")).await.unwrap();
    journal.lock().unwrap().clear();
    let replay = replays(&runner, build());
    let request = ReplayRequest::from_step(id("o"), "charge").with_override(mended());
    let plan = replay.plan(&request).await.unwrap();
    assert_eq!(plan.next_steps.iter().map(|name| &**name).collect::<Vec<_>>(), ["reserve"]);
    assert_eq!(replay.replay(request).await.unwrap().status, ReplayStatus::Success);
    assert_eq!(noted(&journal), ["+reserve", "+charge"]);
}

#[tokio::test]
async fn rp17_an_effect_that_another_replay_compensated_is_made_again() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({})).await;
    let rehearsal = ReplayRequest::from_step(id("o"), "ship").with_force_failure(ForceFailure::Checkpoint).with_new_id(id("rehearsal"));
    replay.replay(rehearsal).await.unwrap();
    assert_eq!(noted(&journal), ["-charge", "-reserve"], "the effects of the original are gone now");
    journal.lock().unwrap().clear();
    let result = replay.replay(ReplayRequest::from_step(id("o"), "ship")).await.unwrap();
    assert_eq!(result.plan.unwrap().steps_to(StepPlan::RunAgain), ["reserve", "charge"]);
    assert_eq!(noted(&journal), ["+reserve", "+charge", "+ship"]);

    // The replay made the effects anew under its own keys, so for a replay of it they stand.
    journal.lock().unwrap().clear();
    replay.replay(ReplayRequest::from_step(result.new_saga.unwrap(), "ship")).await.unwrap();
    assert_eq!(noted(&journal), ["+ship"]);
}

#[tokio::test]
async fn rp18_a_skipped_step_is_compensated_with_what_its_action_had_produced() {
    let store = store().await;
    let seen = Journal::default();
    let build = || {
        let seen = seen.clone();
        Saga::builder("order")
            .step("reserve", |mut context: Value| async move {
                context["reservation"] = json!("r-17");
                Ok(context)
            })
            .compensate_with(move |cx, context: Value| {
                seen.lock().unwrap().push(format!("{} {} {}", context["reservation"], context["note"], cx.idempotency_key()));
                async move { Ok(context) }
            })
            .step("charge", |context: Value| async move {
                if context["token"] == "bad" { Err(StepError::new("declined")) } else { Ok(context) }
            })
            .build()
            .unwrap()
    };
    let runner = runner(&store);
    runner.start_with(&build(), json!({"token": "ok"}), named("o")).await.unwrap();
    let replay = replays(&runner, build());
    let with = |text: &str| Override::from_assignments(&[text, "note=patched"]).unwrap();
    let result = replay.replay(ReplayRequest::from_step(id("o"), "charge").with_override(with("token=bad"))).await.unwrap();
    assert_eq!(result.report.unwrap().status, SagaStatus::RolledBack);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with(r#""r-17" "patched" rk1_"#), "{seen:?}");
}

#[tokio::test]
async fn rp22_a_replay_never_changes_what_is_stored() {
    let store = store().await;
    let saga = || {
        Saga::<Value>::builder("count")
            .step("first", |context| async move { Ok(context) })
            .step("add", |mut context: Value| async move {
                let next = context["nested"]["n"].as_u64().unwrap_or_default() + 1;
                context["nested"]["n"] = json!(next);
                context["nested"]["list"].as_array_mut().unwrap().push(json!(next));
                Ok(context)
            })
            .build()
            .unwrap()
    };
    let runner = runner(&store);
    runner.start_with(&saga(), json!({"nested": {"n": 1, "list": []}}), named("o")).await.unwrap();
    let replay = replays(&runner, saga());
    for _ in 0..3 {
        let result = replay.replay(ReplayRequest::from_step(id("o"), "add")).await.unwrap();
        assert_eq!(result.report.unwrap().context, json!({"nested": {"n": 2, "list": [2]}}));
    }
}

#[tokio::test]
async fn keys_of_skipped_steps_survive_a_chain_of_replays_with_fresh_keys() {
    let store = store().await;
    let (_, replay, journal) = ran(&store, json!({})).await;
    let mut saga: SagaId = id("o");
    let mut keys = Vec::new();
    for _ in 0..3 {
        journal.lock().unwrap().clear();
        let result = replay.replay(ReplayRequest::from_step(saga, "charge").with_keys(KeyPolicy::Fresh)).await.unwrap();
        keys.extend(keys_of(&journal, "charge"));
        saga = result.new_saga.unwrap();
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3, "each replay charges under a key of its own");
    journal.lock().unwrap().clear();
    replay.replay(ReplayRequest::from_step(saga.clone(), "ship").with_force_failure(ForceFailure::Checkpoint)).await.unwrap();
    let newest = history(&store, &saga).await.pop().unwrap();
    let origin = newest.origin.as_ref().unwrap();
    let base = origin.step_key_bases.get("reserve").unwrap_or(&origin.key_base);
    assert_eq!(base, &id("o"), "the reservation is still the one that the first saga made");
}
