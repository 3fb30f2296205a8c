//! Snapshots, sagas, replay and time travel: the model and the engine that every replay store shares.

mod clock;
mod error;
mod id;

pub mod json;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, ErrorKind, Result, Retry};
pub use id::{Digest, IdSource, MAX_ID_BYTES, Namespace, ReplayId, RunnerId, SagaId, SnapshotId};
