use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use replay_core::{
    ErrorKind, FailureKind, SagaStatus,
    saga::{Disposition, RetryPolicy, Runner, Saga, StepError, StopSignal},
    storage::At,
};
use serde_json::{Value, json};

use crate::support::*;

/// `a`, then `outside`, during which `act` is done to the saga by another runner, then `c`.
fn meddled<F, Fut>(journal: &Journal, other: &Runner, act: F) -> Saga<Value>
where
    F: Fn(Runner) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let other = other.clone();
    let builder = noting(Saga::builder("order"), journal, "a").step("outside", move |mut context: Value| {
        let acting = act(other.clone());
        async move {
            acting.await;
            context["outside"] = "done".into();
            Ok(context)
        }
    });
    let builder = builder.compensate(|mut context: Value| async move {
        context["outside"] = "undone".into();
        Ok(context)
    });
    noting(builder, journal, "c").build().unwrap()
}

#[tokio::test]
async fn a_saga_cancelled_by_another_runner_compensates_what_it_had_completed() {
    let (store, journal) = (store().await, Journal::default());
    let saga = meddled(&journal, &runner(&store), |other| async move {
        other.cancel(&id("o"), "customer withdrew", Some("ops".into())).await.unwrap();
    });
    let report = runner(&store).start_with(&saga, json!({}), named("o")).await.unwrap();
    assert_eq!(report.status, SagaStatus::RolledBack);
    let failure = report.failure.unwrap();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Cancelled, "customer withdrew"));
    assert_eq!(report.context, json!({"a": "undone", "outside": "undone"}));
    assert_eq!(noted(&journal), ["+a", "-a"]);
}

#[tokio::test]
async fn a_saga_cancelled_after_its_runner_died_compensates_when_resumed() {
    let (plain, journal) = (store().await, Journal::default());
    let denied = || replay_core::Error::new(ErrorKind::PermissionDenied, "append");
    let store = troubled(&plain, move |n| if n == 3 { Trouble::Refused(denied()) } else { Trouble::None });
    runner(&store).start_with(&order(&journal), json!({}), named("o")).await.unwrap_err();
    let runner = runner(&plain);
    runner.cancel(&id("o"), "no longer wanted", None).await.unwrap();
    let report =
        runner.resume_with(&order(&journal), &id("o"), replay_core::saga::ResumeOptions::default().with_force(true)).await.unwrap();
    assert_eq!(report.status, SagaStatus::RolledBack);
    assert_eq!(noted(&journal), ["+reserve", "+charge", "-reserve"]);
    assert_eq!(runner.cancel(&id("o"), "again", None).await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(runner.cancel(&id("x"), "", None).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_manual_snapshot_from_outside_does_not_disturb_the_run() {
    let (store, journal) = (store().await, Journal::default());
    let saga = meddled(&journal, &runner(&store), |other| async move {
        other.snapshot(&id("o"), "before the audit", None).await.unwrap();
    });
    let report = runner(&store).start_with(&saga, json!({}), named("o")).await.unwrap();
    assert!(report.is_completed());
    let history = history(&store, &id("o")).await;
    assert_eq!(history[2].labels["snapshot"], "before the audit");
    assert!(history.windows(2).all(|pair| pair[1].prev_digest == pair[0].digest()));
    assert!(history.last().unwrap().labels.is_empty());
}

#[tokio::test]
async fn a_cancel_signal_compensates_at_the_next_step_boundary() {
    let (store, journal) = (store().await, Journal::default());
    let stop = StopSignal::new();
    let signal = stop.clone();
    let saga = noting(Saga::builder("order"), &journal, "a").step("b", move |context: Value| {
        signal.cancel();
        async move { Ok(context) }
    });
    let saga = noting(saga, &journal, "c").build().unwrap();
    let report = runner(&store).start_with(&saga, json!({}), named("o").with_stop(stop)).await.unwrap();
    assert_eq!((report.status, report.failure.unwrap().kind), (SagaStatus::RolledBack, FailureKind::Cancelled));
    assert_eq!(noted(&journal), ["+a", "-a"]);
}

#[tokio::test]
async fn after_a_completed_pivot_a_failure_parks_and_resume_goes_forward() {
    let (store, journal) = (store().await, Journal::default());
    let tries = Arc::new(AtomicU32::new(0));
    let count = tries.clone();
    let saga = noting(noting(Saga::builder("order"), &journal, "a"), &journal, "ship").pivot().step("invoice", move |context: Value| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if first { Err(StepError::new("printer on fire")) } else { Ok(context) } }
    });
    let saga = saga.build().unwrap();
    let runner = runner(&store);
    let report = runner.start_with(&saga, json!({}), named("o")).await.unwrap();
    assert_eq!(report.status, SagaStatus::Parked);
    assert_eq!(noted(&journal), ["+a", "+ship"]);
    let newest = store.snapshots().load(&id("o"), At::Latest).await.unwrap().unwrap();
    assert_eq!((newest.status, newest.next_steps().to_vec()), (SagaStatus::Parked, vec!["invoice".to_owned()]));
    assert!(runner.resume(&saga, &id("o")).await.unwrap().is_completed());
}

#[tokio::test]
async fn cancelling_after_a_completed_pivot_parks_a_saga_whose_runner_is_gone() {
    let (store, journal) = (store().await, Journal::default());
    let stop = StopSignal::new();
    let signal = stop.clone();
    let saga = noting(noting(Saga::builder("order"), &journal, "a"), &journal, "ship").pivot().step("wait", move |context: Value| {
        signal.interrupt();
        async move { Ok(context) }
    });
    let saga = noting(saga, &journal, "invoice").build().unwrap();
    runner(&store).start_with(&saga, json!({}), named("o").with_stop(stop)).await.unwrap();
    let cancelled = runner(&store).cancel(&id("o"), "changed my mind", None).await.unwrap();
    assert_eq!((cancelled.status, cancelled.next_steps().to_vec()), (SagaStatus::Parked, vec!["invoice".to_owned()]));
    assert!(runner(&store).resume(&saga, &id("o")).await.unwrap().is_completed());
    assert_eq!(noted(&journal), ["+a", "+ship", "+invoice"]);
}

#[tokio::test]
async fn a_compensation_that_exhausts_its_retries_parks_and_resume_continues_there() {
    let (store, journal) = (store().await, Journal::default());
    let tries = Arc::new(AtomicU32::new(0));
    let count = tries.clone();
    let saga = noting(Saga::builder("order"), &journal, "a")
        .step("b", |context: Value| async move { Ok(context) })
        .compensate(move |context: Value| {
            let stuck = count.fetch_add(1, Ordering::SeqCst) < 2;
            async move { if stuck { Err(StepError::new("bank is closed")) } else { Ok(context) } }
        })
        .compensation_retry(RetryPolicy::attempts(2));
    let saga = noting(saga, &journal, "c").build().unwrap();
    let runner = runner(&store);
    let report = runner.start_with(&saga, json!({"fail": "c"}), named("o")).await.unwrap();
    assert_eq!(report.status, SagaStatus::Parked);
    assert_eq!(report.uncompensated.iter().map(|s| &**s).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(report.failure.unwrap().to_string(), "c: told to fail; compensation failed too: b: bank is closed");
    let report = runner.resume(&saga, &id("o")).await.unwrap();
    assert_eq!(report.status, SagaStatus::RolledBack);
    assert_eq!(noted(&journal), ["+a", "+c", "-a"]);
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_saga_without_compensations_ends_failed() {
    let saga = Saga::builder("plain")
        .step("a", |context: Value| async move { Ok(context) })
        .step("b", |_: Value| async move { Err(StepError::new("no")) })
        .build()
        .unwrap();
    let store = store().await;
    let report = runner(&store).start_with(&saga, json!({}), named("o")).await.unwrap();
    assert_eq!(report.status, SagaStatus::Failed);
    assert_eq!(phases(&store, &id("o")).await[2..], ["failure:b compensating", "completion:b failed"]);
}

#[tokio::test]
async fn a_label_is_taken_from_the_first_context() {
    let (store, journal) = (store().await, Journal::default());
    let saga = noting(Saga::builder("order").label("customer", "/customer/id"), &journal, "a").build().unwrap();
    runner(&store).start_with(&saga, json!({"customer": {"id": "c-17"}}), named("o").with_label("region", "eu")).await.unwrap();
    let labels = history(&store, &id("o")).await[0].labels.clone();
    assert_eq!(serde_json::to_value(&*labels).unwrap(), json!({"customer": "c-17", "region": "eu"}));
}

#[tokio::test]
async fn cancelling_one_saga_leaves_others_with_the_same_stop_signal_alone() {
    let (store, journal) = (store().await, Journal::default());
    let stop = StopSignal::new();
    let saga = meddled(&journal, &runner(&store), |other| async move {
        other.cancel(&id("o"), "customer withdrew", None).await.unwrap();
    });
    let report = runner(&store).start_with(&saga, json!({}), named("o").with_stop(stop.clone())).await.unwrap();
    assert_eq!((report.status, stop.get()), (SagaStatus::RolledBack, None));
}

#[tokio::test]
async fn a_compensation_is_retried_although_the_run_is_to_stop() {
    for give in [StopSignal::interrupt, StopSignal::cancel] {
        let (store, stop) = (store().await, StopSignal::new());
        let (signal, tries) = (stop.clone(), Arc::new(AtomicU32::new(0)));
        let saga = Saga::builder("order")
            .step("a", |context: Value| async move { Ok(context) })
            .compensate(move |context: Value| {
                give(&signal);
                let stuck = tries.fetch_add(1, Ordering::SeqCst) < 2;
                async move { if stuck { Err(StepError::new("bank is closed")) } else { Ok(context) } }
            })
            .step("b", |_: Value| async move { Err(StepError::new("no")) })
            .build()
            .unwrap();
        let report = runner(&store).start_with(&saga, json!({}), named("o").with_stop(stop)).await.unwrap();
        assert_eq!(report.status, SagaStatus::RolledBack);
    }
}

#[tokio::test]
async fn a_cancelled_saga_whose_runner_is_gone_names_what_was_perhaps_running() {
    let (plain, journal) = (store().await, Journal::default());
    let denied = || replay_core::Error::new(ErrorKind::PermissionDenied, "append");
    let store = troubled(&plain, move |n| if n == 3 { Trouble::Refused(denied()) } else { Trouble::None });
    runner(&store).start_with(&order(&journal), json!({}), named("o")).await.unwrap_err();
    let runner = runner(&plain);
    runner.cancel(&id("o"), "no longer wanted", None).await.unwrap();
    let report = runner.resume(&order(&journal), &id("o")).await.unwrap();
    assert_eq!(report.disposition("charge"), Disposition::Unknown);
    assert!(report.failure.unwrap().to_string().ends_with("outcome unknown: charge"));
}

#[tokio::test]
async fn the_name_of_a_manual_snapshot_does_not_stay_with_the_saga() {
    let (store, journal, stop) = (store().await, Journal::default(), StopSignal::new());
    stop.interrupt();
    let runner = runner(&store);
    let options = named("o").with_actor("shop").with_label("region", "eu").with_stop(stop);
    runner.start_with(&order(&journal), json!({}), options).await.unwrap();
    let named = runner.snapshot(&id("o"), "audit", Some("auditor".into())).await.unwrap();
    assert_eq!((named.labels["snapshot"].as_str(), named.labels["snapshot_by"].as_str()), ("audit", "auditor"));
    runner.resume(&order(&journal), &id("o")).await.unwrap();
    let newest = store.snapshots().load(&id("o"), At::Latest).await.unwrap().unwrap();
    assert_eq!((newest.labels.len(), newest.actor.as_deref()), (1, Some("shop")));
}

#[tokio::test]
async fn a_label_that_would_swell_every_snapshot_is_refused_at_the_start() {
    let (store, journal) = (store().await, Journal::default());
    let saga = noting(Saga::builder("order").label("note", "/note"), &journal, "a").build().unwrap();
    let error = runner(&store).start_with(&saga, json!({"note": "x".repeat(2000)}), named("o")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.to_string().contains("`note`") && noted(&journal).is_empty(), "{error}");
}
