//! Where a saga stands, at which point it was captured, why it failed, where it comes from.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Error, HistoryId, ReplayId, Result, SagaId};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value, in order of definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word for it, as in JSON and on the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The stored code.
            pub fn code(self) -> u8 {
                self as u8
            }

            /// The value with this stored code.
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.get(usize::from(code)).copied()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(word: &str) -> Result<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == word).ok_or_else(|| {
                    let all: Vec<_> = Self::ALL.iter().map(|v| v.as_str()).collect();
                    Error::invalid("parse", format!("`{word}` is not one of {}", all.join(", ")))
                })
            }
        }
    };
}

words! {
    /// Where a saga stands. Codes are stored: add at the end only.
    SagaStatus {
        /// Created, no step has started.
        Pending = "pending",
        /// Steps are running.
        Executing = "executing",
        /// Every step is completed.
        Completed = "completed",
        /// A step failed or the saga was cancelled; completed steps are being compensated.
        Compensating = "compensating",
        /// Every completed step that has a compensation was compensated.
        RolledBack = "rolled_back",
        /// Failed, and nothing was compensated, because no completed step had a compensation.
        Failed = "failed",
        /// Waits for an operator: failed after a pivot, or a compensation exhausted its retries.
        Parked = "parked",
    }
}

impl SagaStatus {
    /// Whether the saga has ended: nothing will be appended to it any more but manual snapshots.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack | Self::Failed)
    }
}

words! {
    /// At which point of a run a snapshot was captured. Codes are stored: add at the end only.
    Phase {
        /// Before the steps in `next_steps` run.
        BeforeStep = "before_step",
        /// After a step was completed.
        AfterStep = "after_step",
        /// After a step failed for good.
        Failure = "failure",
        /// After a step was compensated.
        Compensation = "compensation",
        /// The saga ended, or was parked.
        Completion = "completion",
        /// Somebody took the saga over after a crash, or a replay began.
        Resume = "resume",
        /// Asked for by a person or by a step.
        Manual = "manual",
    }
}

words! {
    /// What kind of failure ended a step.
    FailureKind {
        /// The step returned an error.
        Error = "error",
        /// The step took longer than its timeout.
        Timeout = "timeout",
        /// The step panicked.
        Panic = "panic",
        /// The saga was cancelled.
        Cancelled = "cancelled",
        /// The failure was forced by a replay; the step was not executed.
        Forced = "forced",
        /// Branches of a wave set one place of the context to different values.
        ContextConflict = "context_conflict",
        /// A snapshot could not be captured.
        Capture = "capture",
    }
}

/// Why a saga left its way forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The step that failed; none if the saga was cancelled between steps.
    pub step: Option<Arc<str>>,
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// The step's own words, at most 4 KiB.
    pub message: String,
    /// How often the step was tried, from 1; 0 if it was not executed.
    pub attempts: u32,
    /// Steps that were perhaps running when the saga was cancelled while its runner was gone: whether they had their effect is not
    /// known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<Arc<str>>,
    /// The compensation that then exhausted its retries, so that the saga is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<Box<Failure>>,
}

impl Failure {
    /// A failure of `step`.
    pub fn new(step: Option<Arc<str>>, kind: FailureKind, message: impl Into<String>, attempts: u32) -> Self {
        let mut message = message.into();
        if message.len() > 4096 {
            let end = (0..=4096).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(end);
        }
        Self { step, kind, message, attempts, in_flight: Vec::new(), compensation: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = &self.step {
            write!(f, "{step}: ")?;
        }
        match self.kind {
            FailureKind::Error => f.write_str(&self.message)?,
            kind => write!(f, "{kind}: {}", self.message)?,
        }
        if !self.in_flight.is_empty() {
            write!(f, "; outcome unknown: {}", self.in_flight.join(", "))?;
        }
        self.compensation.as_ref().map_or(Ok(()), |failure| write!(f, "; compensation failed too: {failure}"))
    }
}

/// Where a saga that a replay made comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Origin {
    /// The saga that was replayed.
    pub saga_id: SagaId,
    /// The snapshot that it was forked from.
    pub sequence: u64,
    /// The history of that saga, as in [`SnapshotMeta::history`](crate::SnapshotMeta::history).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryId>,
    /// The replay that made it.
    pub replay_id: ReplayId,
    /// The first saga of the lineage.
    pub root: SagaId,
    /// Whose idempotency keys the steps use: the base of each step's key, by saga id. Steps that are not listed use
    /// [`key_base`](Origin::key_base).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub step_key_bases: BTreeMap<Arc<str>, SagaId>,
    /// The base of the idempotency keys of all other steps.
    pub key_base: SagaId,
    /// The step that the replay makes fail without executing it, so that compensation is exercised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_failure: Option<Arc<str>>,
}

impl Origin {
    /// The origin of a saga that `replay_id` forked from `saga_id` at `sequence`.
    pub fn new(saga_id: SagaId, sequence: u64, replay_id: ReplayId, root: SagaId, key_base: SagaId) -> Self {
        Self { saga_id, sequence, history: None, replay_id, root, step_key_bases: BTreeMap::new(), key_base, force_failure: None }
    }
}
