use std::{sync::Arc, time::Duration};

use replay_core::{
    FailureKind, SagaStatus,
    saga::{Saga, SagaBuilder, StepError},
};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::*;

/// `a`, then `b` and `c` at once, then `d`.
fn diamond(journal: &Journal) -> Saga<Value> {
    let builder = noting(Saga::builder("diamond"), journal, "a");
    let builder = noting(builder, journal, "b").needs(["a"]);
    let builder = noting(builder, journal, "c").needs(["a"]);
    noting(builder, journal, "d").needs(["b", "c"]).build().unwrap()
}

#[tokio::test]
async fn steps_whose_needs_are_met_run_at_once() {
    let barrier = Arc::new(Barrier::new(3));
    let mut builder: SagaBuilder<Value> = Saga::builder("wide");
    for name in ["x", "y", "z"] {
        let barrier = barrier.clone();
        let meet = move |context: Value| {
            let barrier = barrier.clone();
            async move {
                barrier.wait().await;
                Ok(context)
            }
        };
        builder = builder.step(name, meet).needs(Vec::<String>::new());
    }
    let report = runner(&store().await).start(&builder.build().unwrap(), json!({})).await.unwrap();
    assert_eq!(report.status, SagaStatus::Completed);
}

#[tokio::test]
async fn branches_are_merged_and_each_end_but_the_last_is_captured() {
    let (store, journal) = (store().await, Journal::default());
    let report = runner(&store).start_with(&diamond(&journal), json!({"n": 1}), named("o")).await.unwrap();
    assert_eq!(report.context, json!({"n": 1, "a": "done", "b": "done", "c": "done", "d": "done"}));
    let phases = phases(&store, &id("o")).await;
    assert_eq!(phases[..2], ["before_step:a executing", "before_step:b executing"]);
    assert!(phases[2].starts_with("after_step:"), "{phases:?}");
    assert_eq!(phases[3..], ["before_step:d executing", "completion:d completed"]);
    let history = history(&store, &id("o")).await;
    assert_eq!(history[1].next_steps().to_vec(), ["b", "c"]);
    assert_eq!((history[2].next.len(), history[2].completed.len()), (1, 2));
}

#[tokio::test]
async fn two_branches_that_set_one_place_differently_are_a_context_conflict() {
    let set = |value: &'static str| {
        move |mut context: Value| async move {
            context["same"]["place"] = value.into();
            Ok(context)
        }
    };
    let none = Vec::<String>::new();
    let saga = Saga::builder("clash").step("l", set("l")).needs(none.clone()).step("r", set("r")).needs(none).build().unwrap();
    let report = runner(&store().await).start(&saga, json!({})).await.unwrap();
    let failure = report.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::ContextConflict);
    assert!(failure.message.contains("/same"), "{failure}");
}

#[tokio::test]
async fn a_failed_branch_lets_its_siblings_end_and_then_compensates_them_at_once() {
    let (store, journal) = (store().await, Journal::default());
    let report = runner(&store).start_with(&diamond(&journal), json!({"fail": "b"}), named("o")).await.unwrap();
    assert_eq!(report.status, SagaStatus::RolledBack);
    assert_eq!(noted(&journal), ["+a", "+b", "+c", "-c", "-a"]);
    assert_eq!(report.failure.unwrap().step.as_deref(), Some("b"));
    assert_eq!(report.context["c"], "undone");
}

#[tokio::test]
async fn members_of_a_wave_are_compensated_together_and_merged() {
    let (store, journal) = (store().await, Journal::default());
    let report = runner(&store).start_with(&diamond(&journal), json!({"fail": "d"}), named("o")).await.unwrap();
    assert_eq!(report.context, json!({"fail": "d", "a": "undone", "b": "undone", "c": "undone"}));
    let history = history(&store, &id("o")).await;
    let last = history.last().unwrap();
    assert_eq!(last.compensated_steps().to_vec().len(), 3);
    assert_eq!(last.compensated_steps().iter().next_back(), Some("a"));
    assert!(last.completed.is_empty());
}

#[tokio::test]
async fn a_step_is_retried_with_growing_pauses_and_the_same_key() {
    let clock = clock();
    let journal = Journal::default();
    let keys = journal.clone();
    let saga = Saga::builder("flaky")
        .step_with("flaky", move |cx, context: Value| {
            keys.lock().unwrap().push(cx.idempotency_key());
            async move { if cx.attempt() < 3 { Err(StepError::new("not yet")) } else { Ok(context) } }
        })
        .retry(replay_core::saga::RetryPolicy::attempts(3).with_jitter(0.0))
        .build()
        .unwrap();
    let report = runner_at(&store().await, &clock).start(&saga, json!({"kept": true})).await.unwrap();
    assert_eq!((report.status, report.steps[0].attempts), (SagaStatus::Completed, 3));
    assert_eq!(report.context, json!({"kept": true}));
    let mut keys = journal.lock().unwrap().clone();
    keys.dedup();
    assert_eq!(keys.len(), 1);
    let mut pauses = clock.slept();
    pauses.retain(|pause| *pause < Duration::from_secs(1));
    assert_eq!(pauses, [Duration::from_millis(100), Duration::from_millis(200)]);
}

#[tokio::test]
async fn a_timeout_and_a_panic_are_failures_of_the_step_alone() {
    let saga = |panics: bool| {
        Saga::builder("poisoned")
            .step("a", move |context: Value| async move {
                assert!(!panics, "poisoned");
                std::future::pending::<()>().await;
                Ok(context)
            })
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap()
    };
    let timeout = runner(&store().await).start(&saga(false), json!({})).await.unwrap();
    assert_eq!((timeout.status, timeout.failure.unwrap().kind), (SagaStatus::Failed, FailureKind::Timeout));
    let panic = runner(&store().await).start(&saga(true), json!({})).await.unwrap();
    assert_eq!(panic.failure.unwrap().to_string(), "a: panic: poisoned");
}

#[tokio::test]
async fn steps_of_a_wave_that_wait_their_turn_do_not_begin_after_a_failure() {
    let journal = Journal::default();
    let mut builder = Saga::builder("wide").max_concurrency(2);
    for name in ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"] {
        builder = noting(builder, &journal, name).needs(Vec::<String>::new());
    }
    runner(&store().await).start(&builder.build().unwrap(), json!({"fail": "s0"})).await.unwrap();
    assert!(noted(&journal).iter().filter(|line| line.starts_with('+')).count() <= 3, "{:?}", noted(&journal));
}

#[tokio::test]
async fn a_wave_whose_merge_cannot_be_captured_is_compensated() {
    let (store, journal) = (store().await, Journal::default());
    let big = noting(Saga::builder("wide"), &journal, "a").step("big", |mut context: Value| async move {
        context["text"] = "x".repeat(2000).into();
        Ok(context)
    });
    let saga = big.needs(Vec::<String>::new()).build().unwrap();
    let options = named("o").with_policy(policy(|p| p.with_max_context_bytes(1000)));
    let report = runner(&store).start_with(&saga, json!({}), options).await.unwrap();
    assert_eq!((report.status, report.failure.unwrap().kind), (SagaStatus::RolledBack, FailureKind::Capture));
    assert_eq!(report.context, json!({"a": "undone"}));
}

#[tokio::test]
async fn st17_a_wave_does_not_turn_what_json_cannot_hold_into_null() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Measured {
        amount: Option<f64>,
    }
    let none = Vec::<String>::new();
    let saga = Saga::builder("measure")
        .step("a", |_: Measured| async move { Ok(Measured { amount: Some(f64::NAN) }) })
        .needs(none.clone())
        .step("b", |context: Measured| async move { Ok(context) })
        .needs(none)
        .build()
        .unwrap();
    let report = runner(&store().await).start(&saga, Measured { amount: Some(1.0) }).await.unwrap();
    assert_eq!(report.status, SagaStatus::Failed);
}
