//! What a replay gives back.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ReplayPlan;
use crate::{FailureKind, Phase, ReplayId, SagaId, SagaStatus, SnapshotMeta, saga::RunReport};

/// Where a replay stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplayStatus {
    /// It is in the log, and its saga has no snapshot yet.
    Pending,
    /// Its saga has not ended.
    Running,
    /// Its saga completed; for a dry run, it could run.
    Success,
    /// Its saga failed, was rolled back or is parked, or it was refused.
    Failed,
    /// Its saga was cancelled.
    Cancelled,
}

impl ReplayStatus {
    /// The word for it, as in JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// What the new saga's state says of the replay.
    pub(crate) fn of(status: SagaStatus, failure: Option<FailureKind>) -> Self {
        match status {
            SagaStatus::Completed => Self::Success,
            SagaStatus::RolledBack | SagaStatus::Failed if failure == Some(FailureKind::Cancelled) => Self::Cancelled,
            SagaStatus::RolledBack | SagaStatus::Failed | SagaStatus::Parked => Self::Failed,
            _ => Self::Running,
        }
    }
}

impl fmt::Display for ReplayStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a replay ended. That its saga failed is a result, not an error.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReplayResult {
    /// The replay.
    pub replay_id: ReplayId,
    /// The saga that was replayed.
    pub original: SagaId,
    /// The new saga; none for a dry run.
    pub new_saga: Option<SagaId>,
    /// Where the replay stands.
    pub status: ReplayStatus,
    /// What was planned; none if the replay key found an existing replay.
    pub plan: Option<ReplayPlan>,
    /// How the new saga's run ended; none for a dry run, and if this call ran nothing.
    pub report: Option<RunReport<Value>>,
    /// Whether the replay key found an existing replay.
    pub existing: bool,
    /// Whether the replay is in the replay log, as it is if the store keeps logs.
    pub logged: bool,
    /// What went wrong beside the run, such as a log that could not be written after it.
    pub warnings: Vec<String>,
}

/// A position that a replay may start from, or could have started from before it expired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// The snapshot's sequence.
    pub sequence: u64,
    /// The steps that would run next.
    pub next_steps: Vec<Arc<str>>,
    /// How many steps are completed.
    pub completed: usize,
    /// At which point it was captured.
    pub phase: Phase,
    /// Where the saga then stood.
    pub status: SagaStatus,
    /// When it was captured.
    pub created_at: DateTime<Utc>,
    /// Until when it is kept.
    pub retention_until: Option<DateTime<Utc>>,
    /// Whether it is expired, so that it is a checkpoint no more.
    pub expired: bool,
}

impl CheckpointInfo {
    pub(crate) fn of(meta: &SnapshotMeta, now: DateTime<Utc>) -> Self {
        Self {
            sequence: meta.sequence,
            next_steps: meta.next_steps().iter().map(Arc::from).collect(),
            completed: meta.completed.len(),
            phase: meta.phase,
            status: meta.status,
            created_at: meta.created_at,
            retention_until: meta.retention_until,
            expired: meta.is_expired(now),
        }
    }
}
