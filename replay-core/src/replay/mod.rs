//! Replay: a finished, failed or running saga is executed again from one of its checkpoints, as a new saga, with a corrected context.
//!
//! [`LocalReplay`] replays on a [`Runner`](crate::saga::Runner) of this process; whoever shows or asks for replays speaks to the trait
//! [`SagaReplay`] only.
//!
//! ```
//! # async fn correct(store: replay_core::Store, registry: replay_core::saga::Registry) -> replay_core::Result<()> {
//! use std::sync::Arc;
//! use replay_core::{SagaId, json::Override, replay::{LocalReplay, ReplayRequest, SagaReplay}, saga::Runner};
//!
//! let replay = LocalReplay::new(Runner::new(store), Arc::new(registry));
//! let request = ReplayRequest::from_step(SagaId::new("order_123")?, "charge_payment")
//!     .with_override(Override::from_assignments(&["payment_token=tok_ok"])?)
//!     .with_reason("the token had expired");
//! let result = replay.replay(request).await?;
//! println!("{} is {}", result.replay_id, result.status);
//! # Ok(())
//! # }
//! ```
//!
//! What is completed at the checkpoint is skipped, unless its effect was compensated since, by the original or by another replay that
//! had skipped it: then it runs again first, under a fresh idempotency key. Should the replay fail, it compensates everything whose
//! effect stands, the skipped steps included.

mod batch;
mod checkpoint;
mod follow;
mod lineage;
mod local;
mod log;
mod plan;
mod prepare;
mod request;
mod result;

use std::fmt;

use async_trait::async_trait;

pub use batch::{BatchItem, BatchOptions, LeftOut, replay_many};
pub use lineage::{Lineage, LineageSaga};
pub use local::LocalReplay;
pub use log::ReplayEntry;
pub(crate) use log::log_stream;
pub use plan::{DefinitionChange, PlannedStep, Refusal, ReplayPlan, StepPlan};
pub use request::{Checkpoint, Compensated, ForceFailure, KeyPolicy, ReplayRequest};
pub use result::{CheckpointInfo, ReplayResult, ReplayStatus};

use crate::{Result, SagaId};

/// Replays sagas, and says which replays there are: here, by a queue or by a remote server.
#[async_trait]
pub trait SagaReplay: fmt::Debug + Send + Sync + 'static {
    /// Replays a saga as a new one and waits for its end, or plans that only, as the request says.
    ///
    /// A replay key that is known gives the existing replay as it stands, and nothing runs; if that replay was interrupted, it goes on
    /// first.
    ///
    /// # Errors
    /// Nothing has run if the error is one of these:
    /// - `NotFound`: no such saga, no such checkpoint (the fact `checkpoints` lists those that exist), or no known definition.
    /// - `Invalid`: a step that the saga does not have, an override that cannot be applied, or a context that then does not fit
    ///   (the fact `place` says where).
    /// - `Refused`: a snapshot that is no checkpoint or is expired, a changed definition, or completed steps that it no longer has.
    /// - `Conflict`: the new id is in use, or the replay key was used for another request.
    /// - `Unsupported`: a replay key on a store without logs.
    ///
    /// An error of the store with the fact `new_saga` says that the new saga may have begun; it can be resumed.
    /// # Cancel safety
    /// A dropped future is like a crash: the new saga can be resumed, and the log shows the replay as interrupted.
    async fn replay(&self, request: ReplayRequest) -> Result<ReplayResult>;

    /// The dry run: what `request` would do. It is in the log as a dry run.
    ///
    /// # Errors
    /// As [`replay`](Self::replay), but that what a plan can tell (a context that does not fit, a changed definition, an id or a
    /// replay key in use) is in [`ReplayPlan::refusals`].
    async fn plan(&self, request: &ReplayRequest) -> Result<ReplayPlan>;

    /// The lineage that the saga is in, with the log's entries.
    ///
    /// # Errors
    /// `NotFound`, or the store's own.
    async fn history(&self, saga: &SagaId) -> Result<Lineage>;

    /// Where replays of the saga may start, the oldest first, and which of these positions are expired.
    ///
    /// # Errors
    /// `NotFound`, or the store's own.
    async fn checkpoints(&self, saga: &SagaId) -> Result<Vec<CheckpointInfo>>;

    /// The log's entries about replays of the saga, the oldest first. One that is open shows what its new saga says.
    ///
    /// # Errors
    /// `Unsupported` if the store keeps no logs, or the store's own.
    async fn replays(&self, saga: &SagaId) -> Result<Vec<ReplayEntry>>;
}
