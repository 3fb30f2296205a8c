use std::{num::NonZeroU32, time::Duration};

use chrono::TimeDelta;
use replay_core::{
    Clock, Error, ErrorKind, FailureKind, Phase, Retry, SagaStatus,
    saga::{OnCaptureError, Saga, SnapshotStrategy},
    storage::At,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::*;

const BEFORE: &str = "before_each_step";

/// Two compensable steps and a third that fails if told to, under `strategy`: the phases that are captured.
async fn captured(strategy: &str, fail: Option<&str>) -> Vec<String> {
    let (store, journal) = (store().await, Journal::default());
    let policy = policy(|p| p.with_strategy(strategy.parse().unwrap()));
    runner(&store).start_with(&order(&journal), json!({"fail": fail}), named("o").with_policy(policy)).await.unwrap();
    phases(&store, &id("o")).await.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn sc1_each_strategy_captures_exactly_at_its_points_on_success() {
    let end = "completion:ship";
    for (strategy, expected) in [
        (BEFORE, vec!["before_step:reserve", "before_step:charge", "before_step:ship", end]),
        ("after_each_step", vec!["after_step:reserve", "after_step:charge", "after_step:ship", end]),
        ("every(2)", vec!["before_step:reserve", "before_step:ship", end]),
        ("on_failure", vec![end]),
        ("on_completion", vec![end]),
        ("manual", vec![]),
    ] {
        assert_eq!(captured(strategy, None).await, expected, "{strategy}");
    }
}

#[tokio::test]
async fn sc1_each_strategy_captures_exactly_at_its_points_through_compensation() {
    let back = ["compensation:charge", "compensation:reserve", "completion:ship"];
    for (strategy, forward) in [
        (BEFORE, vec!["before_step:reserve", "before_step:charge", "before_step:ship", "failure:ship"]),
        ("after_each_step", vec!["after_step:reserve", "after_step:charge", "failure:ship"]),
        ("every(2)", vec!["before_step:reserve", "before_step:ship", "failure:ship"]),
        ("on_failure", vec!["failure:ship"]),
        ("on_completion", vec![]),
    ] {
        assert_eq!(captured(strategy, Some("ship")).await, [&forward[..], &back].concat(), "{strategy}");
    }
    assert!(captured("manual", Some("ship")).await.is_empty());
}

#[tokio::test]
async fn sc2_whatever_the_strategy_but_manual_the_terminal_state_is_there() {
    let every = SnapshotStrategy::Every(NonZeroU32::new(3).unwrap());
    let strategies = [
        SnapshotStrategy::BeforeEachStep,
        SnapshotStrategy::AfterEachStep,
        every,
        SnapshotStrategy::OnFailure,
        SnapshotStrategy::OnCompletion,
    ];
    for strategy in strategies {
        for (fail, expected) in
            [(Value::Null, SagaStatus::Completed), (json!("reserve"), SagaStatus::Failed), (json!("ship"), SagaStatus::RolledBack)]
        {
            let (store, journal) = (store().await, Journal::default());
            let options = named("o").with_policy(policy(|p| p.with_strategy(strategy)));
            let report = runner(&store).start_with(&order(&journal), json!({"fail": fail}), options).await.unwrap();
            let newest = store.snapshots().load(&id("o"), At::Latest).await.unwrap().unwrap();
            assert_eq!((report.status, newest.status, newest.phase), (expected, expected, Phase::Completion), "{strategy} {fail}");
        }
    }
}

#[tokio::test]
async fn sc3_no_step_starts_before_its_checkpoint_is_acknowledged() {
    for n in 1..=4_u64 {
        let (plain, journal) = (store().await, Journal::default());
        let full = || Error::new(ErrorKind::PermissionDenied, "append");
        let store = troubled(&plain, move |append| if append == n { Trouble::Refused(full()) } else { Trouble::None });
        let error = runner(&store).start_with(&order(&journal), json!({}), named("o")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert_eq!(noted(&journal).len() as u64, n - 1, "append {n} failed");
        assert_eq!(history(&plain, &id("o")).await.len() as u64, n - 1);
        if n > 1 {
            let report = runner(&plain).resume(&order(&journal), &id("o")).await.unwrap();
            assert_eq!(report.status, SagaStatus::Completed);
        }
    }
}

#[tokio::test]
async fn sc4_a_run_that_goes_on_without_its_captures_lists_them() {
    let (plain, journal) = (store().await, Journal::default());
    let store =
        troubled(
            &plain,
            |append| {
                if append == 2 { Trouble::Refused(Error::new(ErrorKind::PermissionDenied, "append")) } else { Trouble::None }
            },
        );
    let options = named("o").with_policy(policy(|p| p.with_on_capture_error(OnCaptureError::Continue)));
    let report = runner(&store).start_with(&order(&journal), json!({}), options).await.unwrap();
    assert_eq!(report.status, SagaStatus::Completed);
    let missing: Vec<_> = report.missing_captures.iter().map(|m| (m.phase, m.step.as_deref())).collect();
    assert_eq!(missing, [(Phase::BeforeStep, Some("charge"))]);
    assert_eq!(phases(&plain, &id("o")).await.len(), 3);
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_is_repeated_and_ends_as_one_record() {
    for n in 1..=4_u64 {
        let (plain, journal) = (store().await, Journal::default());
        let lost = || Error::new(ErrorKind::Unavailable, "append").retry(Retry::Ambiguous);
        let store = troubled(&plain, move |append| if append == n { Trouble::Lost(lost()) } else { Trouble::None });
        let report = runner(&store).start_with(&order(&journal), json!({}), named("o")).await.unwrap();
        assert_eq!((report.status, report.sequence), (SagaStatus::Completed, 4));
        assert_eq!(noted(&journal), ["+reserve", "+charge", "+ship"]);
    }
}

#[tokio::test]
async fn a_capture_that_was_given_up_but_is_stored_does_not_end_a_run_that_goes_on() {
    let (plain, journal) = (store().await, Journal::default());
    let store =
        troubled(&plain, |append| if append == 2 { Trouble::Lost(Error::new(ErrorKind::Internal, "append")) } else { Trouble::None });
    let options = named("o").with_policy(policy(|p| p.with_on_capture_error(OnCaptureError::Continue)));
    let report = runner(&store).start_with(&order(&journal), json!({}), options).await.unwrap();
    assert_eq!((report.status, report.missing_captures.len(), report.sequence), (SagaStatus::Completed, 1, 4));
    assert_eq!(history(&plain, &id("o")).await.len(), 4);
}

#[tokio::test]
async fn sc5_the_context_as_captured_is_not_changed_by_later_steps() {
    let (store, journal) = (store().await, Journal::default());
    runner(&store).start_with(&order(&journal), json!({"n": 1}), named("o")).await.unwrap();
    let mut contexts = Vec::new();
    for record in history(&store, &id("o")).await {
        contexts.push(record.decode().unwrap().context().unwrap().as_object().unwrap().len());
    }
    assert_eq!(contexts, [1, 2, 3, 4]);
}

#[tokio::test]
async fn sc6_large_contexts_are_kept_and_one_over_the_limit_names_step_and_size() {
    let saga = Saga::builder("grow")
        .step("first", |context: Value| async move { Ok(context) })
        .compensate(|context| async move { Ok(context) })
        .step("grow", |mut context: Value| async move {
            let bytes = usize::try_from(context["bytes"].as_u64().unwrap_or(0))?;
            context["text"] = "x".repeat(bytes).into();
            Ok(context)
        })
        .build()
        .unwrap();
    let store = store().await;
    for bytes in [100_000, 1_000_000, 10_000_000] {
        let report = runner(&store).start(&saga, json!({"bytes": bytes})).await.unwrap();
        assert_eq!(report.status, SagaStatus::Completed);
        assert_eq!(report.context["text"].as_str().unwrap().len(), bytes);
    }
    let options = named("big").with_policy(policy(|p| p.with_max_context_bytes(50_000)));
    let report = runner(&store).start_with(&saga, json!({"bytes": 60_000}), options).await.unwrap();
    let failure = report.failure.unwrap();
    assert_eq!((report.status, failure.kind, failure.step.as_deref()), (SagaStatus::RolledBack, FailureKind::Capture, Some("grow")));
    assert!(failure.message.contains("limit=50000") && failure.message.contains("bytes=600"), "{failure}");

    let options = named("at-once").with_policy(policy(|p| p.with_max_context_bytes(50)));
    let too_large = runner(&store).start_with(&saga, json!({"text": "x".repeat(100)}), options).await;
    assert_eq!(too_large.unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[tokio::test]
async fn sc7_max_snapshots_leaves_that_many_and_each_is_readable() {
    let store = store().await;
    let mut builder = Saga::builder("long");
    for n in 0..100 {
        builder = builder.step(format!("step-{n}"), move |mut context: Value| async move {
            context["n"] = n.into();
            Ok(context)
        });
    }
    let options = named("o").with_policy(policy(|p| p.with_max_snapshots(3)));
    runner(&store).start_with(&builder.build().unwrap(), json!({}), options).await.unwrap();
    let left = history(&store, &id("o")).await;
    assert_eq!(left.iter().map(|r| r.sequence).collect::<Vec<_>>(), [99, 100, 101]);
    for record in left {
        record.decode().unwrap().context().unwrap();
    }
}

#[tokio::test]
async fn sc8_a_clock_that_steps_back_leaves_sequence_and_time_in_agreement() {
    let (store, clock) = (store().await, clock());
    let back = clock.clone();
    let saga = Saga::builder("order")
        .step("a", move |context: Value| {
            back.set(back.now() - TimeDelta::hours(1));
            async move { Ok(context) }
        })
        .step("b", |context: Value| async move { Ok(context) })
        .build()
        .unwrap();
    runner_at(&store, &clock).start_with(&saga, json!({}), named("o")).await.unwrap();
    let history = history(&store, &id("o")).await;
    assert!(history.windows(2).all(|pair| pair[0].created_at < pair[1].created_at));
}

#[tokio::test]
async fn retention_is_recorded_with_every_snapshot() {
    let (store, journal) = (store().await, Journal::default());
    let options = named("o").with_policy(policy(|p| p.with_retention(Duration::from_hours(1))));
    runner(&store).start_with(&order(&journal), json!({}), options).await.unwrap();
    for record in history(&store, &id("o")).await {
        assert_eq!(record.retention_until, Some(record.created_at + TimeDelta::hours(1)));
        assert_eq!(record.policy.as_ref().unwrap().retention, Some(Duration::from_hours(1)));
    }
}

#[tokio::test]
async fn a_step_can_ask_for_a_snapshot_under_the_manual_strategy() {
    let store = store().await;
    let saga = Saga::builder("order")
        .step_with("a", |cx, context: Value| async move {
            cx.request_snapshot();
            Ok(context)
        })
        .step("b", |context: Value| async move { Ok(context) })
        .policy(policy(|p| p.with_strategy(SnapshotStrategy::Manual)))
        .build()
        .unwrap();
    runner(&store).start_with(&saga, json!({}), named("o")).await.unwrap();
    assert_eq!(phases(&store, &id("o")).await, ["manual:a executing"]);
    assert_eq!(history(&store, &id("o")).await[0].next_steps().to_vec(), ["b"]);
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Measured {
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    amount: f64,
}

#[tokio::test]
async fn st17_a_context_that_json_cannot_hold_is_refused_with_the_place() {
    let store = store().await;
    let saga = Saga::builder("measure")
        .step("measure", |mut context: Measured| async move {
            context.lines.push(Line { amount: f64::NAN });
            Ok(context)
        })
        .build()
        .unwrap();
    let report = runner(&store).start(&saga, Measured { lines: vec![Line { amount: 1.5 }] }).await.unwrap();
    let failure = report.failure.unwrap();
    assert_eq!((failure.kind, failure.step.as_deref()), (FailureKind::Capture, Some("measure")));
    assert!(failure.message.contains("/lines/1/amount"), "{failure}");
    let at_once = runner(&store).start(&saga, Measured { lines: vec![Line { amount: f64::INFINITY }] }).await.unwrap_err();
    assert_eq!(at_once.fact("place"), Some("/lines/0/amount"));
}
