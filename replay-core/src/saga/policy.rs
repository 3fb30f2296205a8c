//! What of a run is captured, and for how long it is kept.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// At which points of a run snapshots are captured. Whatever the strategy but `Manual`, the end of the saga is captured, and each
/// completed compensation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SnapshotStrategy {
    /// Before each step, or wave of concurrent steps; in a wave also after each branch but the last; and when a step fails.
    #[default]
    BeforeEachStep,
    /// After each step, and when a step fails.
    AfterEachStep,
    /// Before every n-th step, counted by completed steps, and when a step fails.
    Every(NonZeroU32),
    /// When a step fails.
    OnFailure,
    /// Only at the end.
    OnCompletion,
    /// Only where asked for: [`StepContext::request_snapshot`](super::StepContext::request_snapshot).
    Manual,
}

impl fmt::Display for SnapshotStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeEachStep => f.write_str("before_each_step"),
            Self::AfterEachStep => f.write_str("after_each_step"),
            Self::Every(n) => write!(f, "every({n})"),
            Self::OnFailure => f.write_str("on_failure"),
            Self::OnCompletion => f.write_str("on_completion"),
            Self::Manual => f.write_str("manual"),
        }
    }
}

impl FromStr for SnapshotStrategy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "before_each_step" => Self::BeforeEachStep,
            "after_each_step" => Self::AfterEachStep,
            "on_failure" => Self::OnFailure,
            "on_completion" => Self::OnCompletion,
            "manual" => Self::Manual,
            _ => {
                let every = text.strip_prefix("every(").and_then(|rest| rest.strip_suffix(')')).and_then(|n| n.parse().ok());
                Self::Every(every.ok_or_else(|| {
                    Error::invalid("parse", format!("`{text}` is not a strategy"))
                        .hint("one of before_each_step, after_each_step, every(N), on_failure, on_completion, manual")
                })?)
            }
        })
    }
}

/// What happens when a snapshot cannot be captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnCaptureError {
    /// The run ends with the store's error, as if the process had died: nothing more is executed, and the saga can be resumed
    /// from its newest snapshot.
    #[default]
    Fail,
    /// The run goes on; its report lists what is missing.
    Continue,
}

/// What of a run is captured, and for how long it is kept. Recorded with the saga, so that whoever resumes it keeps to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SnapshotPolicy {
    /// At which points snapshots are captured.
    pub strategy: SnapshotStrategy,
    /// How long each snapshot must be kept; none = for ever.
    pub retention: Option<Duration>,
    /// How many of the newest snapshots are kept; none = all.
    pub max_snapshots: Option<u64>,
    /// What happens when a snapshot cannot be captured.
    pub on_capture_error: OnCaptureError,
    /// The largest context, in bytes of JSON text; by default 64 MiB.
    pub max_context_bytes: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self {
            strategy: SnapshotStrategy::default(),
            retention: None,
            max_snapshots: None,
            on_capture_error: OnCaptureError::default(),
            max_context_bytes: 64 << 20,
        }
    }
}

impl SnapshotPolicy {
    /// Sets at which points snapshots are captured.
    #[must_use]
    pub fn with_strategy(mut self, strategy: SnapshotStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets how long each snapshot must be kept.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Sets how many of the newest snapshots are kept.
    #[must_use]
    pub fn with_max_snapshots(mut self, max: u64) -> Self {
        self.max_snapshots = Some(max);
        self
    }

    /// Sets what happens when a snapshot cannot be captured.
    #[must_use]
    pub fn with_on_capture_error(mut self, on_capture_error: OnCaptureError) -> Self {
        self.on_capture_error = on_capture_error;
        self
    }

    /// Sets the largest context, in bytes of JSON text.
    #[must_use]
    pub fn with_max_context_bytes(mut self, bytes: u64) -> Self {
        self.max_context_bytes = bytes;
        self
    }

    /// Whether a step is preceded by a capture; `uncaptured` is how many were completed since the last one, none if there is none.
    pub(crate) fn before_step(&self, uncaptured: Option<u32>) -> bool {
        match self.strategy {
            SnapshotStrategy::BeforeEachStep => true,
            SnapshotStrategy::Every(n) => uncaptured.is_none_or(|steps| steps >= n.get()),
            _ => false,
        }
    }

    /// Whether the end of a step is captured; `last` says whether it is the last of its wave to end, `wave` how many it has.
    pub(crate) fn after_step(&self, wave: usize, last: bool) -> bool {
        match self.strategy {
            SnapshotStrategy::BeforeEachStep => wave > 1 && !last,
            SnapshotStrategy::AfterEachStep => true,
            _ => false,
        }
    }

    /// Whether the first capture comes before the first step, so that it tells a start that was made before.
    pub(crate) fn begins_with_capture(&self) -> bool {
        matches!(self.strategy, SnapshotStrategy::BeforeEachStep | SnapshotStrategy::Every(_))
    }

    /// Whether the first record, which holds the input, may be missing later.
    pub(crate) fn may_lose_input(&self) -> bool {
        !self.begins_with_capture() || self.max_snapshots.is_some() || self.retention.is_some()
    }

    pub(crate) fn failure(&self) -> bool {
        !matches!(self.strategy, SnapshotStrategy::OnCompletion | SnapshotStrategy::Manual)
    }

    pub(crate) fn end(&self) -> bool {
        self.strategy != SnapshotStrategy::Manual
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_read_back_from_its_words() {
        let every = SnapshotStrategy::Every(NonZeroU32::new(7).unwrap());
        for strategy in [SnapshotStrategy::BeforeEachStep, every, SnapshotStrategy::Manual] {
            assert_eq!(strategy.to_string().parse::<SnapshotStrategy>().unwrap(), strategy);
        }
        assert!("every(0)".parse::<SnapshotStrategy>().is_err());
        assert!("sometimes".parse::<SnapshotStrategy>().is_err());
    }
}
