//! The saga of a plan, as one process runs it: every call is told to the world and checked against what is stored at that moment.

use std::{sync::Arc, time::Duration};

use replay_core::{
    Clock, FailureKind, Outline, SagaStatus, SnapshotRecord,
    saga::{OnCaptureError, RetryPolicy, Saga, SnapshotStrategy, StepContext, StepError, StepResult},
};
use serde_json::{Value, json};

use super::{
    plan::Outcome,
    world::{Direction, Process},
};
use crate::history;

pub(super) fn name(step: usize) -> String {
    format!("s{step}")
}

/// The saga as `process` runs it.
pub(super) fn saga(process: &Arc<Process>) -> Saga<Value> {
    let plan = &process.world.plan;
    let mut builder = Saga::builder("simulated").max_concurrency(plan.max_concurrency).policy(plan.policy.clone());
    for (at, step) in plan.steps.iter().enumerate() {
        let (does, undoes) = (process.clone(), process.clone());
        let retry = |attempts| RetryPolicy::attempts(attempts).with_backoff(Duration::from_millis(10), 2.0, Duration::from_millis(100));
        builder = builder
            .step_with(name(at), move |cx, context| call(does.clone(), at, Direction::Execute, cx, context))
            .retry(retry(step.attempts))
            .compensation_retry(retry(step.compensation_attempts));
        if step.compensation.is_some() {
            builder = builder.compensate_with(move |cx, context| call(undoes.clone(), at, Direction::Compensate, cx, context));
        }
        if let Some(needs) = &step.needs {
            builder = builder.needs(needs.iter().map(|need| name(*need)));
        }
        if let Some(limit) = step.timeout_ms {
            builder = builder.timeout(Duration::from_millis(limit));
        }
        if step.pivot {
            builder = builder.pivot();
        }
    }
    builder.build().expect("a plan is a definition")
}

async fn call(process: Arc<Process>, at: usize, direction: Direction, cx: StepContext, mut context: Value) -> StepResult<Value> {
    let world = process.world.clone();
    if let Err(what) = check(&process, at, direction, cx.attempt()).await {
        world.violated(format!("p{} {direction:?} {}: {what}", process.number, name(at)));
    }
    process.point().await;
    let outcome = world.called(at, direction, &cx.idempotency_key());
    world.trace(|| format!("p{} {direction:?} {} attempt {}: {outcome:?}", process.number, name(at), cx.attempt()));
    process.point().await;
    match outcome {
        Outcome::Ok => {}
        Outcome::Slow(ms) => process.clock.sleep(Duration::from_millis(ms)).await,
        Outcome::Error => return Err(StepError::new("told to fail")),
        Outcome::Permanent => return Err(StepError::new("told to fail for good").permanent()),
        // Not a panic!, whose hook would print ten thousand times.
        Outcome::Panic => std::panic::resume_unwind(Box::new("told to panic")),
    }
    process.point().await;
    let plan = &world.plan.steps[at];
    if direction == Direction::Execute && plan.requests_snapshot {
        cx.request_snapshot();
    }
    // A saga of which nothing is kept would never end if its branches always quarrelled.
    if direction == Direction::Execute && plan.conflicts && world.told(at, direction) < 4 {
        context["shared"] = json!(at);
    }
    context[name(at)] = json!(if direction == Direction::Execute { "done" } else { "undone" });
    Ok(context)
}

/// Checks that a call may be made, given what is stored now.
async fn check(process: &Process, at: usize, direction: Direction, attempt: u32) -> Result<(), String> {
    if attempt == 1 {
        let mut begun = process.begun.lock();
        if begun.contains(&(at, direction)) {
            return Err("it was called before in the same run".to_owned());
        }
        begun.push((at, direction));
    }
    let Some(newest) = process.world.newest().await else {
        return if at_least(process, SnapshotStrategy::BeforeEachStep) { Err("nothing is captured".to_owned()) } else { Ok(()) };
    };
    if newest.runner.as_ref() != process.runner.get() {
        // Taken over: this runner may not know it yet, and stops at its next append.
        return Ok(());
    }
    match direction {
        Direction::Execute => check_action(process, at, &newest),
        Direction::Compensate => check_compensation(process, at, &newest),
    }
}

/// Whether captures happen under `strategy` and none may be missing.
fn at_least(process: &Process, strategy: SnapshotStrategy) -> bool {
    let policy = &process.world.plan.policy;
    policy.on_capture_error == OnCaptureError::Fail && policy.strategy == strategy
}

fn check_action(process: &Process, at: usize, newest: &SnapshotRecord) -> Result<(), String> {
    let step = u32::try_from(at).unwrap_or(u32::MAX);
    if newest.completed.contains(step) || newest.compensated.contains(step) {
        return Err(format!("{} has it as completed or compensated", newest.id()));
    }
    let is_cancelled = newest.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Cancelled);
    let each = at_least(process, SnapshotStrategy::BeforeEachStep) || at_least(process, SnapshotStrategy::AfterEachStep);
    if each && !is_cancelled && !history::ready(&newest.outline, &newest.completed).contains(step) {
        return Err(format!("{} does not have it among the next steps", newest.id()));
    }
    if newest.status.is_terminal() {
        return Err(format!("the saga has ended as {}", newest.status));
    }
    Ok(())
}

fn check_compensation(process: &Process, at: usize, newest: &SnapshotRecord) -> Result<(), String> {
    let step = u32::try_from(at).unwrap_or(u32::MAX);
    let policy = &process.world.plan.policy;
    let unrecorded = matches!(policy.strategy, SnapshotStrategy::OnCompletion | SnapshotStrategy::Manual);
    if policy.on_capture_error == OnCaptureError::Continue || unrecorded {
        return Ok(());
    }
    if newest.status != SagaStatus::Compensating {
        return Err(format!("{} is {}", newest.id(), newest.status));
    }
    let outline = &newest.outline;
    if newest.completed.iter().any(|done| outline.step(done).is_some_and(|step| step.pivot)) {
        return Err("a pivot is completed".to_owned());
    }
    if !newest.completed.contains(step) {
        return Err(format!("{} does not have it as completed", newest.id()));
    }
    let wave = |step: u32| wave_of(outline, step);
    let later = newest.completed.iter().skip_while(|done| *done != step).skip(1);
    let standing = |done: &u32| outline.step(*done).is_some_and(|s| s.has_compensation) && wave(*done) != wave(step);
    if let Some(first) = later.into_iter().find(standing) {
        return Err(format!("step {first} was completed later and still stands"));
    }
    Ok(())
}

/// The wave of a step: one more than the latest of what it needs.
fn wave_of(outline: &Outline, step: u32) -> u32 {
    let needs = outline.step(step).map(|step| step.needs.clone()).unwrap_or_default();
    needs.into_iter().map(|need| wave_of(outline, need) + 1).max().unwrap_or(0)
}
