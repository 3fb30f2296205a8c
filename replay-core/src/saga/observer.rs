//! Being told what a run does while it does it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Failure, SagaId, SagaStatus};

/// Is told what runs do, as it happens: a progress display, a test. Called on the run's own task, so it must not block.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Something happened to `saga`.
    fn event(&self, saga: &SagaId, event: &RunEvent<'_>);
}

/// Something that happens in a run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RunEvent<'a> {
    /// The run began; so many of so many steps are completed.
    Started {
        /// How many steps are completed.
        completed: usize,
        /// How many there are.
        steps: usize,
    },
    /// An attempt of a step begins.
    AttemptStarted {
        /// The step.
        step: &'a Arc<str>,
        /// Which attempt, from 1.
        attempt: u32,
        /// Whether it is the step's compensation.
        compensation: bool,
    },
    /// An attempt failed, and another follows after a pause.
    Retrying {
        /// The step.
        step: &'a Arc<str>,
        /// The attempt that failed.
        attempt: u32,
        /// Why.
        error: &'a str,
        /// How long the pause is.
        pause: Duration,
    },
    /// A step is completed, or compensated.
    StepCompleted {
        /// The step.
        step: &'a Arc<str>,
        /// Whether it is the step's compensation.
        compensation: bool,
        /// How long it took, pauses included.
        duration: Duration,
    },
    /// A step failed for good.
    StepFailed {
        /// The step.
        step: &'a Arc<str>,
        /// Whether it is the step's compensation.
        compensation: bool,
        /// Why.
        failure: &'a Failure,
        /// How long it took, pauses included.
        duration: Duration,
    },
    /// The run ended.
    Ended {
        /// Where the saga stands.
        status: SagaStatus,
    },
}
