//! Sagas: steps with compensations, run so that a crash at any instant loses nothing that was acknowledged.
//!
//! [`Saga::builder`] defines one, a [`Runner`] starts and resumes it, a [`Registry`] finds definitions by name and version.

mod attempt;
mod builder;
mod capture;
mod compensation;
mod control;
mod drive;
mod lease;
mod observer;
mod options;
pub(crate) mod outline_change;
mod policy;
mod registry;
mod report;
mod retry;
mod runner;
mod start;
mod state;
mod step;
mod stop;
mod takeover;
mod wave;

pub use builder::{Saga, SagaBuilder};
pub use observer::{Observer, RunEvent};
pub use options::{ResumeOptions, StartOptions};
pub use policy::{OnCaptureError, SnapshotPolicy, SnapshotStrategy};
#[doc(hidden)]
pub use registry::ForkHandle;
pub use registry::{AnySaga, Registry, SagaSource};
pub use report::{Disposition, MissingCapture, RunReport, StepReport};
pub use retry::RetryPolicy;
pub use runner::{Runner, RunnerBuilder};
pub use step::{Step, StepContext, StepError, StepResult};
pub use stop::{Stop, StopSignal};

pub(crate) use registry::find;
pub(crate) use runner::Active;
#[cfg(test)]
pub(crate) use state::Position;
pub(crate) use step::KeySource;
pub(crate) use takeover::Fork;
