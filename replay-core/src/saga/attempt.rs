//! One step's attempts: timeout, panic, pauses, retries.

use std::{any::Any, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt, future::Either};
use tracing::Instrument;

use super::{RetryPolicy, RunEvent, StepContext, StepError, Stop, StopSignal, builder::StepDefinition, runner::Shared, step::KeySource};
use crate::{Failure, FailureKind, Result, SagaId};

/// What attempts of one step need to know of their run. It borrows nothing that changes, so that a wave can run several at once.
pub(super) struct Attempts<'a, C> {
    pub(super) shared: &'a Shared,
    pub(super) saga_id: SagaId,
    pub(super) step: &'a StepDefinition<C>,
    pub(super) key: KeySource,
    pub(super) stop: StopSignal,
}

/// How the attempts of one step ended.
pub(super) struct Attempted<C> {
    pub(super) outcome: std::result::Result<C, Failure>,
    pub(super) attempts: u32,
    pub(super) started_at: chrono::DateTime<chrono::Utc>,
    pub(super) duration: Duration,
    /// Whether the step asked for a snapshot.
    pub(super) wants_snapshot: bool,
    /// Whether the run was interrupted in the meantime, so that the error does not count: the step is tried again on resume.
    pub(super) interrupted: bool,
}

impl<C: Send + 'static> Attempts<'_, C> {
    /// Tries until it succeeds or the policy has had enough. `input` gives the context for an attempt; it is told whether another
    /// attempt may follow.
    ///
    /// # Errors
    /// Only if `input` fails.
    pub(super) async fn run(self, mut input: impl FnMut(bool) -> Result<C>) -> Result<Attempted<C>> {
        let compensation = self.key.compensation;
        let retry = if compensation { &self.step.compensation_retry } else { &self.step.retry };
        let started_at = self.shared.clock.now();
        let mut attempt = 1;
        let mut interrupted = false;
        let (outcome, wants_snapshot) = loop {
            let context = input(attempt < retry.max_attempts)?;
            let cx = StepContext::new(self.saga_id.clone(), self.step.name.clone(), attempt, self.key.clone(), self.stop.clone());
            self.shared.observe(&self.saga_id, &RunEvent::AttemptStarted { step: &self.step.name, attempt, compensation });
            let span = tracing::info_span!("step", name = %self.step.name, attempt, compensation);
            let error = match self.once(&cx, context, compensation).instrument(span).await {
                Ok(context) => break (Ok(context), cx.wants_snapshot()),
                Err(error) => error,
            };
            let pause = self.pause(retry, attempt, &error);
            if let Some(pause) = pause {
                self.wait(attempt, &error.1, pause).await;
            }
            let failure = || Failure::new(Some(self.step.name.clone()), error.0, error.1.message(), attempt);
            match self.stop.get().filter(|_| !compensation) {
                Some(Stop::Interrupt) => {
                    interrupted = true;
                    break (Err(failure()), false);
                }
                Some(Stop::Cancel) => break (Err(failure()), false),
                None if pause.is_none() => break (Err(failure()), false),
                None => attempt += 1,
            }
        };
        let duration = self.shared.since(started_at);
        if !interrupted {
            self.report(&outcome, compensation, duration);
        }
        Ok(Attempted { outcome, attempts: attempt, started_at, duration, wants_snapshot, interrupted })
    }

    fn pause(&self, retry: &RetryPolicy, attempt: u32, (kind, error): &(FailureKind, StepError)) -> Option<Duration> {
        let again = *kind != FailureKind::Panic && retry.allows(attempt, error);
        again.then(|| retry.pause(attempt, self.shared.ids.unit()))
    }

    /// Waits for the next attempt. An action's pause ends when the run is asked to stop; a compensation is finished regardless.
    async fn wait(&self, attempt: u32, error: &StepError, pause: Duration) {
        let text = error.message();
        tracing::debug!(step = %self.step.name, attempt, error = text, "retrying");
        self.shared.observe(&self.saga_id, &RunEvent::Retrying { step: &self.step.name, attempt, error: text, pause });
        let sleep = self.shared.clock.sleep(pause);
        if self.key.compensation {
            sleep.await;
        } else {
            futures::future::select(sleep, pin!(self.stop.stopped())).await;
        }
    }

    async fn once(&self, cx: &StepContext, context: C, compensation: bool) -> std::result::Result<C, (FailureKind, StepError)> {
        let run =
            async { if compensation { self.step.compensate(cx, context).await } else { self.step.action.execute(cx, context).await } };
        let run = AssertUnwindSafe(run).catch_unwind();
        let ended = match self.step.timeout {
            None => run.await,
            Some(limit) => match futures::future::select(pin!(run), self.shared.clock.sleep(limit)).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => {
                    let error = StepError::new(format!("took longer than {limit:?}")).with_code("timeout");
                    return Err((FailureKind::Timeout, error));
                }
            },
        };
        match ended {
            Ok(result) => result.map_err(|error| (FailureKind::Error, error)),
            Err(panic) => Err((FailureKind::Panic, StepError::new(panic_text(&*panic)))),
        }
    }

    fn report(&self, outcome: &std::result::Result<C, Failure>, compensation: bool, duration: Duration) {
        let step: &Arc<str> = &self.step.name;
        match outcome {
            Ok(_) => {
                // Labels that are known here make a key without allocating, and every step comes by.
                if compensation {
                    metrics::counter!("replay_steps_total", "compensation" => "true", "outcome" => "completed").increment(1);
                } else {
                    metrics::counter!("replay_steps_total", "compensation" => "false", "outcome" => "completed").increment(1);
                }
                self.shared.observe(&self.saga_id, &RunEvent::StepCompleted { step, compensation, duration });
            }
            Err(failure) => {
                metrics::counter!("replay_steps_total", "compensation" => bool_text(compensation), "outcome" => "failed").increment(1);
                tracing::info!(%step, compensation, kind = %failure.kind, "step failed");
                self.shared.observe(&self.saga_id, &RunEvent::StepFailed { step, compensation, failure, duration });
            }
        }
    }
}

fn bool_text(yes: bool) -> &'static str {
    if yes { "true" } else { "false" }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked with something that is not text".to_owned())
}
