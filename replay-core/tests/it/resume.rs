use std::sync::{Arc, atomic::Ordering};

use replay_core::{
    Error, ErrorKind, Phase, SagaStatus,
    saga::{OnCaptureError, ResumeOptions, RunReport, Saga, SnapshotStrategy, StepError, Stop, StopSignal},
    storage::SagaQuery,
};
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;
use tokio::sync::Notify;

use crate::support::*;

/// Three steps; the second waits for ever the first time, as if its process had died there.
fn stuck_once(journal: &Journal) -> (Saga<Value>, Arc<Notify>) {
    let reached = Arc::new(Notify::new());
    let (first, notify, noted) = (Arc::new(AtomicBool::new(true)), reached.clone(), journal.clone());
    let builder = noting(Saga::builder("order"), journal, "reserve").step_with("charge", move |cx, mut context: Value| {
        noted.lock().unwrap().push(format!("+charge {}", cx.idempotency_key()));
        let (stuck, notify) = (first.swap(false, Ordering::SeqCst), notify.clone());
        async move {
            if stuck {
                notify.notify_one();
                std::future::pending::<()>().await;
            }
            context["charge"] = "done".into();
            Ok(context)
        }
    });
    (noting(builder, journal, "ship").build().unwrap(), reached)
}

#[tokio::test]
async fn a_saga_whose_run_was_dropped_resumes_where_it_stood_with_the_same_key() {
    let (store, journal) = (store().await, Journal::default());
    let (saga, reached) = stuck_once(&journal);
    let first = runner(&store);
    tokio::select! {
        _ = first.start_with(&saga, json!({"n": 1}), named("o")) => unreachable!("the step waits for ever"),
        () = reached.notified() => {}
    }
    let interrupted = first.interrupted(SagaQuery::default()).await.unwrap();
    assert_eq!(interrupted.iter().map(|s| s.saga_id.as_str()).collect::<Vec<_>>(), ["o"]);
    let report = first.resume(&saga, &id("o")).await.unwrap();
    assert_eq!(report.status, SagaStatus::Completed);
    assert_eq!(report.context, json!({"n": 1, "reserve": "done", "charge": "done", "ship": "done"}));
    assert_eq!(noted(&journal), ["+reserve", "+charge", "+charge", "+ship"]);
    let lines = journal.lock().unwrap().clone();
    assert_eq!(lines[1], lines[2], "the step in flight runs again with the same key");
    let phases: Vec<Phase> = history(&store, &id("o")).await.iter().map(|r| r.phase).collect();
    assert_eq!(phases, [Phase::BeforeStep, Phase::BeforeStep, Phase::Resume, Phase::BeforeStep, Phase::Completion]);
}

#[tokio::test]
async fn a_saga_whose_runner_is_alive_is_busy_unless_forced_and_the_slow_runner_stops() {
    let (store, journal) = (store().await, Journal::default());
    let (saga, reached) = stuck_once(&journal);
    let slow = runner(&store);
    let mut running = Box::pin(slow.start_with(&saga, json!({}), named("o")));
    tokio::select! {
        _ = &mut running => unreachable!("the step waits for ever"),
        () = reached.notified() => {}
    }
    let other = runner(&store);
    let busy = other.resume(&saga, &id("o")).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    assert!(other.interrupted(SagaQuery::default()).await.unwrap().is_empty());
    let report = other.resume_with(&saga, &id("o"), ResumeOptions::default().with_force(true)).await.unwrap();
    assert_eq!(report.status, SagaStatus::Completed);
}

#[tokio::test]
async fn sc10_of_two_runners_that_resume_one_saga_one_goes_on() {
    for _ in 0..20 {
        let (store, journal) = (store().await, Journal::default());
        let (saga, reached) = stuck_once(&journal);
        let first = runner(&store);
        tokio::select! {
            _ = first.start_with(&saga, json!({}), named("o")) => unreachable!(),
            () = reached.notified() => {}
        }
        let force = || ResumeOptions::default().with_force(true);
        let (left, right) = (runner(&store), runner(&store));
        let oid = id("o");
        let ended = tokio::join!(left.resume_with(&saga, &oid, force()), right.resume_with(&saga, &oid, force()));
        let ended = [ended.0, ended.1];
        assert_eq!(ended.iter().filter(|r| r.as_ref().is_ok_and(RunReport::is_completed)).count(), 1, "{ended:?}");
        let kinds: Vec<_> = ended.iter().filter_map(|r| r.as_ref().err().map(Error::kind)).collect();
        assert!(matches!(kinds[..], [ErrorKind::Conflict | ErrorKind::Refused]), "{kinds:?}");
        assert_eq!(noted(&journal).iter().filter(|line| *line == "+ship").count(), 1);
    }
}

#[tokio::test]
async fn sc9_one_saga_started_twice_runs_once_and_the_second_gets_its_result() {
    let (store, journal) = (store().await, Journal::default());
    let (one, two) = (runner(&store), runner(&store));
    let saga = order(&journal);
    let both = tokio::join!(one.start_with(&saga, json!({}), named("o")), two.start_with(&saga, json!({}), named("o")));
    for ended in [both.0, both.1] {
        assert!(ended.as_ref().map_or_else(|e| e.is(ErrorKind::Conflict) || e.is(ErrorKind::Busy), RunReport::is_completed), "{ended:?}");
    }
    assert_eq!(noted(&journal), ["+reserve", "+charge", "+ship"]);
    let again = two.start_with(&saga, json!({}), named("o")).await.unwrap();
    assert!(again.is_completed() && again.context["ship"] == "done");
    let other = two.start_with(&saga, json!({"other": 1}), named("o")).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Conflict);
    assert_eq!(noted(&journal).len(), 3);
}

#[tokio::test]
async fn an_ended_saga_is_not_resumed_and_an_unknown_one_is_not_found() {
    let (store, journal) = (store().await, Journal::default());
    let runner = runner(&store);
    runner.start_with(&order(&journal), json!({}), named("o")).await.unwrap();
    assert_eq!(runner.resume(&order(&journal), &id("o")).await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(runner.resume(&order(&journal), &id("x")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_changed_definition_is_refused_unless_allowed_and_completed_steps_must_exist() {
    let (store, journal) = (store().await, Journal::default());
    let (saga, reached) = stuck_once(&journal);
    let runner = runner(&store);
    tokio::select! {
        _ = runner.start_with(&saga, json!({}), named("o")) => unreachable!(),
        () = reached.notified() => {}
    }
    let lacking = noting(Saga::builder("order"), &journal, "charge").build().unwrap();
    assert_eq!(runner.resume(&lacking, &id("o")).await.unwrap_err().kind(), ErrorKind::Refused);
    let allow = || ResumeOptions::default().with_definition_change(true);
    let error = runner.resume_with(&lacking, &id("o"), allow()).await.unwrap_err();
    assert!(error.to_string().contains("reserve"), "{error}");
    let longer = noting(noting(Saga::builder("order"), &journal, "reserve"), &journal, "invoice").build().unwrap();
    assert!(runner.resume_with(&longer, &id("o"), allow()).await.unwrap().is_completed());
    assert_eq!(noted(&journal).last().unwrap(), "+invoice");
}

#[tokio::test]
async fn an_interrupted_saga_stops_at_the_next_step_and_goes_on_later() {
    let (store, journal) = (store().await, Journal::default());
    let stop = StopSignal::new();
    let signal = stop.clone();
    let saga = noting(Saga::builder("order"), &journal, "a").step("b", move |context: Value| {
        signal.interrupt();
        async move { Ok(context) }
    });
    let saga = noting(saga, &journal, "c").build().unwrap();
    let runner = runner(&store);
    let report = runner.start_with(&saga, json!({}), named("o").with_stop(stop.clone())).await.unwrap();
    assert_eq!((report.status, report.interrupted), (SagaStatus::Executing, true));
    assert_eq!(stop.get(), Some(Stop::Interrupt));
    assert!(runner.resume(&saga, &id("o")).await.unwrap().is_completed());
    assert_eq!(noted(&journal), ["+a", "+c"]);
}

/// A saga `a`, `b`, `c` whose step `b` does `act` once it has done its work.
fn acting(journal: &Journal, act: impl Fn() + Send + Sync + 'static) -> Saga<Value> {
    let builder = noting(Saga::builder("order"), journal, "a");
    let noted = journal.clone();
    let builder = builder
        .step("b", move |mut context: Value| {
            noted.lock().unwrap().push("+b".into());
            act();
            context["b"] = "done".into();
            async move { Ok(context) }
        })
        .compensate(|mut context: Value| async move {
            context["b"] = "undone".into();
            Ok(context)
        });
    noting(builder, journal, "c").build().unwrap()
}

#[tokio::test]
async fn what_was_completed_before_an_interruption_is_neither_repeated_nor_forgotten() {
    for cancelled in [false, true] {
        let (store, journal, stop) = (store().await, Journal::default(), StopSignal::new());
        let signal = stop.clone();
        let saga = acting(&journal, move || signal.interrupt());
        let runner = runner(&store);
        let report = runner.start_with(&saga, json!({}), named("o").with_stop(stop)).await.unwrap();
        assert!(report.interrupted);
        if cancelled {
            runner.cancel(&id("o"), "no longer wanted", None).await.unwrap();
            let report = runner.resume(&saga, &id("o")).await.unwrap();
            assert_eq!(report.context, json!({"a": "undone", "b": "undone"}));
        } else {
            assert!(runner.resume(&saga, &id("o")).await.unwrap().is_completed());
            assert_eq!(noted(&journal), ["+a", "+b", "+c"]);
        }
    }
}

#[tokio::test]
async fn an_error_in_an_interrupted_run_is_not_the_steps_failure() {
    let (store, journal, stop) = (store().await, Journal::default(), StopSignal::new());
    let (signal, first) = (stop.clone(), AtomicBool::new(true));
    let saga = noting(Saga::builder("order"), &journal, "a")
        .step_with("long", move |cx, context: Value| {
            let early = first.swap(false, Ordering::SeqCst);
            if early {
                signal.interrupt();
            }
            assert_eq!(cx.stop_signal().get().is_some(), early);
            async move { if early { Err(StepError::new("ended early")) } else { Ok(context) } }
        })
        .build()
        .unwrap();
    let runner = runner(&store);
    let report = runner.start_with(&saga, json!({}), named("o").with_stop(stop)).await.unwrap();
    assert_eq!((report.interrupted, report.status, report.failure), (true, SagaStatus::Executing, None));
    assert!(runner.resume(&saga, &id("o")).await.unwrap().is_completed());
    assert_eq!(noted(&journal), ["+a"]);
}

#[tokio::test]
async fn a_take_over_that_cannot_be_recorded_runs_nothing() {
    let (plain, journal) = (store().await, Journal::default());
    let (saga, reached) = stuck_once(&journal);
    let carry_on = policy(|p| p.with_on_capture_error(OnCaptureError::Continue));
    let first = runner(&plain);
    tokio::select! {
        _ = first.start_with(&saga, json!({}), named("o").with_policy(carry_on)) => unreachable!(),
        () = reached.notified() => {}
    }
    let refusing = troubled(&plain, |_| Trouble::Refused(Error::new(ErrorKind::PermissionDenied, "append")));
    let before = noted(&journal);
    let force = ResumeOptions::default().with_force(true);
    let error = runner(&refusing).resume_with(&saga, &id("o"), force).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(noted(&journal), before);
}

#[tokio::test]
async fn the_same_start_is_recognised_under_every_strategy_and_after_pruning() {
    let policies = [
        policy(|p| p.with_strategy(SnapshotStrategy::AfterEachStep)),
        policy(|p| p.with_strategy(SnapshotStrategy::OnFailure)),
        policy(|p| p.with_strategy(SnapshotStrategy::OnCompletion)),
        policy(|p| p.with_max_snapshots(1)),
    ];
    for policy in policies {
        let (store, journal) = (store().await, Journal::default());
        let (saga, one, two) = (order(&journal), runner(&store), runner(&store));
        let options = || named("o").with_policy(policy.clone());
        let both = tokio::join!(one.start_with(&saga, json!({}), options()), two.start_with(&saga, json!({}), options()));
        for ended in [both.0, both.1] {
            let fine = ended.as_ref().map_or_else(|e| e.is(ErrorKind::Conflict) || e.is(ErrorKind::Busy), RunReport::is_completed);
            assert!(fine, "{ended:?}");
        }
        assert!(one.start_with(&saga, json!({}), options()).await.unwrap().is_completed());
        assert_eq!(one.start_with(&saga, json!({"x": 1}), options()).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(noted(&journal), ["+reserve", "+charge", "+ship"], "{policy:?}");
    }
}
