//! Driving a saga: forward step by step or wave by wave, then to its end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Disposition, MissingCapture, RunEvent, RunReport, Saga, SnapshotPolicy, StepReport, Stop, StopSignal,
    attempt::{Attempted, Attempts},
    capture::Held,
    runner::Shared,
    state::{AfterFailure, Position},
    step::KeySource,
};
use crate::{Digest, Failure, FailureKind, HistoryId, Labels, Origin, Outline, Phase, Result, RunnerId, SagaId, SagaStatus, SnapshotMeta};

/// What every record of a run has in common, and where its history ends.
pub(super) struct Head {
    pub(super) saga_id: SagaId,
    pub(super) sequence: u64,
    pub(super) prev_digest: Digest,
    pub(super) created_at: Option<DateTime<Utc>>,
    pub(super) labels: Arc<Labels>,
    pub(super) external_refs: Arc<BTreeMap<String, String>>,
    pub(super) origin: Option<Arc<Origin>>,
    pub(super) actor: Option<Arc<str>>,
    pub(super) policy: Arc<SnapshotPolicy>,
    /// The policy as recorded: none if it is the definition's own.
    pub(super) recorded_policy: Option<Arc<SnapshotPolicy>>,
    /// The digest of what the saga was started with, where its first record may not tell.
    pub(super) input: Option<Digest>,
    pub(super) history: Option<HistoryId>,
}

impl Head {
    pub(super) fn next_meta(&self, outline: &Arc<Outline>, created_at: DateTime<Utc>, runner: RunnerId) -> SnapshotMeta {
        let mut meta = SnapshotMeta::new(self.saga_id.clone(), outline.clone(), self.sequence + 1, created_at);
        meta.labels = self.labels.clone();
        meta.external_refs = self.external_refs.clone();
        meta.origin = self.origin.clone();
        meta.actor = self.actor.clone();
        meta.policy = self.recorded_policy.clone();
        meta.runner = Some(runner);
        meta.input = self.input;
        meta.history = self.history;
        meta.prev_digest = self.prev_digest;
        let retention = self.policy.retention.and_then(|keep| chrono::TimeDelta::from_std(keep).ok());
        meta.retention_until = retention.and_then(|keep| meta.created_at.checked_add_signed(keep));
        meta
    }
}

/// One run of a saga by one runner.
pub(super) struct Run<'r, C> {
    pub(super) shared: &'r Shared,
    pub(super) saga: Saga<C>,
    pub(super) head: Head,
    pub(super) position: Position,
    pub(super) context: Held<C>,
    pub(super) context_size: usize,
    /// Whether the newest record says where the run stands.
    pub(super) captured: bool,
    /// How many steps were completed since the last capture; none if nothing was captured yet.
    pub(super) uncaptured: Option<u32>,
    pub(super) pruned_to: u64,
    /// Digests of records that the store did not acknowledge; they may be stored all the same.
    pub(super) unsure: Vec<Digest>,
    pub(super) stop: StopSignal,
    /// Why somebody cancelled this saga from outside. The stop signal may be shared with other sagas, so it is left alone.
    pub(super) cancelled: Option<String>,
    pub(super) steps: Vec<StepReport>,
    pub(super) missing: Vec<MissingCapture>,
    pub(super) interrupted: bool,
    pub(super) started_at: DateTime<Utc>,
}

impl<'r, C: Serialize + DeserializeOwned + Clone + Send + 'static> Run<'r, C> {
    /// Runs to an end, or until it is interrupted.
    pub(super) async fn finish(mut self) -> Result<RunReport<C>> {
        let steps = self.saga.outline().steps().len();
        self.shared.observe(&self.head.saga_id, &RunEvent::Started { completed: self.position.completed.len(), steps });
        if matches!(self.position.status, SagaStatus::Pending | SagaStatus::Executing) {
            self.position.status = SagaStatus::Executing;
            self.forward().await?;
        }
        if self.position.status == SagaStatus::Compensating {
            self.compensate().await?;
        }
        let status = self.position.status;
        metrics::counter!("replay_sagas_total", "status" => status.as_str()).increment(1);
        tracing::info!(saga = %self.head.saga_id, %status, interrupted = self.interrupted, "run ended");
        self.shared.observe(&self.head.saga_id, &RunEvent::Ended { status });
        self.report()
    }

    async fn forward(&mut self) -> Result<()> {
        loop {
            let asked = if self.cancelled.is_some() { Some(Stop::Cancel) } else { self.stop.get() };
            match asked {
                Some(Stop::Interrupt) if self.rest().await? => return Ok(()),
                Some(Stop::Interrupt) => continue,
                Some(Stop::Cancel) => {
                    let reason = self.cancelled.take().unwrap_or_else(|| "cancelled".to_owned());
                    let failure = Failure::new(None, FailureKind::Cancelled, reason, 0);
                    return self.fail(failure, None).await;
                }
                None => {}
            }
            let Some(first) = self.position.wave().first().copied() else {
                self.position.status = SagaStatus::Completed;
                let last = self.position.completed.iter().next_back();
                if self.end(last).await? {
                    return Ok(());
                }
                self.position.status = SagaStatus::Executing;
                continue;
            };
            let due = !self.captured && self.head.policy.before_step(self.uncaptured);
            if due && !self.capture(Phase::BeforeStep, Some(first)).await? {
                continue;
            }
            let failure = match self.position.wave() {
                [_] => self.single(first).await?,
                several => {
                    let wave = several.to_vec();
                    self.wave(&wave).await?
                }
            };
            if let Some((failure, step)) = failure {
                return self.fail(failure, Some(step)).await;
            }
        }
    }

    /// Stops to go on later. What was completed since the last capture is captured, for it would else be done twice. Says whether the
    /// run is to end here: not if the saga was cancelled in the meantime.
    async fn rest(&mut self) -> Result<bool> {
        let first = self.position.wave().first().copied();
        if first.is_none() {
            // Nothing is left to go on with later, so the end is captured instead.
            self.stop = StopSignal::new();
            return Ok(false);
        }
        let due = !self.captured && self.head.policy.end();
        self.interrupted = !due || self.capture(Phase::BeforeStep, first).await?;
        Ok(self.interrupted)
    }

    /// Runs one step alone. Gives its failure, if it failed.
    async fn single(&mut self, at: u32) -> Result<Option<(Failure, u32)>> {
        if let Some(failure) = self.forced(at) {
            return Ok(Some((failure, at)));
        }
        let saga = self.saga.clone();
        let step = &saga.definition().steps[at as usize];
        let attempts = self.attempts(&saga, at, false);
        let context = &mut self.context;
        let ended = attempts.run(|_| context.lend()).await?;
        if ended.interrupted {
            return Ok(None);
        }
        self.note(at, &ended);
        let Attempted { outcome, attempts, wants_snapshot, .. } = ended;
        let context = match outcome {
            Err(failure) => return Ok(Some((failure, at))),
            Ok(context) => context,
        };
        self.completed(at);
        if let Err(failure) = self.adopt_context(&step.name, context, attempts) {
            return Ok(Some((failure, at)));
        }
        self.capture_after(at, wants_snapshot, self.head.policy.after_step(1, true)).await?;
        Ok(None)
    }

    /// Goes on with what a step made of the context, if that can be captured; else the context stays as it was.
    pub(super) fn adopt_context(&mut self, step: &Arc<str>, context: C, attempts: u32) -> std::result::Result<(), Failure> {
        let before = std::mem::replace(&mut self.context, Held::value(context));
        if !self.head.policy.end() {
            return Ok(());
        }
        self.encode_context().map(drop).map_err(|error| {
            self.context = before;
            Failure::new(Some(step.clone()), FailureKind::Capture, error.to_string(), attempts)
        })
    }

    pub(super) async fn capture_after(&mut self, at: u32, wanted: bool, due: bool) -> Result<()> {
        if due || wanted {
            let phase = if due { Phase::AfterStep } else { Phase::Manual };
            self.capture(phase, Some(at)).await?;
        }
        Ok(())
    }

    pub(super) fn completed(&mut self, at: u32) {
        self.position.complete(at, &self.saga.definition().dependents);
        self.captured = false;
        self.uncaptured = self.uncaptured.map(|steps| steps + 1);
    }

    pub(super) fn attempts<'a>(&self, saga: &'a Saga<C>, at: u32, compensation: bool) -> Attempts<'a, C>
    where
        'r: 'a,
    {
        let step = &saga.definition().steps[at as usize];
        let base = match &self.head.origin {
            Some(origin) => origin.step_key_bases.get(&step.name).unwrap_or(&origin.key_base),
            None => &self.head.saga_id,
        };
        let key = KeySource { namespace: self.shared.store.namespace().clone(), base: base.clone(), compensation };
        Attempts { shared: self.shared, saga_id: self.head.saga_id.clone(), step, key, stop: self.stop.clone() }
    }

    /// The failure that the replay which made this saga asked for at this step; it is noted as the step's outcome.
    pub(super) fn forced(&mut self, at: u32) -> Option<Failure> {
        let wanted = self.head.origin.as_ref()?.force_failure.as_ref()?;
        let name = self.saga.outline().step(at).filter(|step| step.name == *wanted)?.name.clone();
        let failure = Failure::new(Some(name.clone()), FailureKind::Forced, "forced by the replay; the step was not executed", 0);
        let started_at = self.shared.clock.now();
        self.steps.push(StepReport { name, disposition: Disposition::Failed, attempts: 0, started_at, duration: Duration::ZERO });
        Some(failure)
    }

    pub(super) fn note(&mut self, at: u32, ended: &Attempted<C>) {
        let name = self.saga.definition().steps[at as usize].name.clone();
        let disposition = if ended.outcome.is_ok() { Disposition::Executed } else { Disposition::Failed };
        let Attempted { attempts, started_at, duration, .. } = *ended;
        self.steps.push(StepReport { name, disposition, attempts, started_at, duration });
    }

    async fn fail(&mut self, failure: Failure, step: Option<u32>) -> Result<()> {
        let after = self.position.fail(failure);
        self.captured = false;
        match after {
            AfterFailure::Park => self.end_failed().await,
            AfterFailure::Compensate if self.head.policy.failure() => self.capture_firmly(Phase::Failure, step).await,
            AfterFailure::Compensate => Ok(()),
        }
    }

    /// Captures the end. Says whether it was, or was not to be; not so if the saga was cancelled in the meantime.
    async fn end(&mut self, step: Option<u32>) -> Result<bool> {
        if self.head.policy.end() { self.capture(Phase::Completion, step).await } else { Ok(true) }
    }

    /// Captures the end of a saga that failed: it is the failed step that people look for.
    pub(super) async fn end_failed(&mut self) -> Result<()> {
        let outline = self.saga.outline();
        let failed = self.position.failure.as_ref().map(|f| f.compensation.as_deref().unwrap_or(f)).and_then(|f| f.step.as_deref());
        let step = failed.and_then(|name| outline.index_of(name));
        while !self.end(step).await? {}
        Ok(())
    }

    fn report(mut self) -> Result<RunReport<C>> {
        let uncompensated = self.position.left_to_compensate();
        Ok(RunReport {
            saga_id: self.head.saga_id,
            status: self.position.status,
            context: self.context.into_value()?,
            failure: self.position.failure.take(),
            steps: self.steps,
            uncompensated,
            missing_captures: self.missing,
            sequence: self.head.sequence,
            interrupted: self.interrupted,
            started_at: self.started_at,
            duration: self.shared.since(self.started_at),
        })
    }
}
