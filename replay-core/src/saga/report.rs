//! What a run says when it has ended.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Failure, Phase, SagaId, SagaStatus};

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Disposition {
    /// It was executed.
    Executed,
    /// Its recorded result was used.
    Replayed,
    /// It was not executed, since it was completed before.
    Skipped,
    /// It was checked against what was expected.
    Verified,
    /// It was checked, and is not what was expected.
    Mismatched,
    /// It was executed, or completed before, and then compensated.
    Compensated,
    /// It failed for good.
    Failed,
    /// Whether it had its effect is not known.
    Unknown,
    /// It was not reached.
    NotRun,
}

/// What became of one step in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StepReport {
    /// The step's name.
    pub name: Arc<str>,
    /// What became of it.
    pub disposition: Disposition,
    /// How often its action was tried in this run.
    pub attempts: u32,
    /// When its first attempt in this run began.
    pub started_at: DateTime<Utc>,
    /// How long it took, pauses included.
    pub duration: Duration,
}

/// A snapshot that could not be captured in a run that goes on regardless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MissingCapture {
    /// At which point.
    pub phase: Phase,
    /// About which step.
    pub step: Option<Arc<str>>,
    /// The store's error.
    pub error: String,
}

/// How a run ended. That the saga failed is a report, not an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunReport<C> {
    /// The saga.
    pub saga_id: SagaId,
    /// Where it stands. A saga that was interrupted, or whose captures are manual, may stand anywhere.
    pub status: SagaStatus,
    /// The context as it then was.
    pub context: C,
    /// Why it left its way forward.
    pub failure: Option<Arc<Failure>>,
    /// The steps that this run did something with, in order; those completed before are skipped.
    pub steps: Vec<StepReport>,
    /// Names of completed steps whose compensation is still to be done, the next one first; empty unless parked or interrupted.
    pub uncompensated: Vec<Arc<str>>,
    /// Snapshots that could not be captured.
    pub missing_captures: Vec<MissingCapture>,
    /// The sequence of the newest snapshot; 0 if nothing was captured.
    pub sequence: u64,
    /// Whether it was asked to stop and can be resumed.
    pub interrupted: bool,
    /// When the run began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration: Duration,
}

impl<C> RunReport<C> {
    /// Whether every step is completed.
    pub fn is_completed(&self) -> bool {
        self.status == SagaStatus::Completed
    }

    /// What became of the step `name` in this run.
    pub fn disposition(&self, name: &str) -> Disposition {
        self.steps.iter().rev().find(|step| &*step.name == name).map_or(Disposition::NotRun, |step| step.disposition)
    }

    pub(crate) fn map<D>(self, map: impl FnOnce(C) -> D) -> RunReport<D> {
        RunReport {
            saga_id: self.saga_id,
            status: self.status,
            context: map(self.context),
            failure: self.failure,
            steps: self.steps,
            uncompensated: self.uncompensated,
            missing_captures: self.missing_captures,
            sequence: self.sequence,
            interrupted: self.interrupted,
            started_at: self.started_at,
            duration: self.duration,
        }
    }
}
