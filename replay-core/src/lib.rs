#![doc = include_str!("../README.md")]

mod chain;
mod clock;
mod codec;
mod error;
mod id;
mod outline;
mod snapshot;

pub mod copy;
pub mod json;
pub mod layer;
pub mod replay;
pub mod saga;
pub mod storage;
pub mod time_travel;

pub use chain::{BrokenLink, ChainReport, OriginLink, verify_chain};
pub use clock::{Clock, ManualClock, SystemClock};
pub use codec::{Base, Compression, Encoded, Encoder, Frame};
pub use error::{Error, ErrorKind, Result, Retry};
pub use id::{Digest, HistoryId, IdSource, MAX_ID_BYTES, Namespace, ReplayId, RunnerId, SagaId, SnapshotId};
pub use outline::{MAX_STEPS, Outline, OutlineStep, StepList, StepRanges};
pub use snapshot::{
    Encoding, Failure, FailureKind, Labels, Origin, Payload, Phase, Remnant, SagaStatus, Snapshot, SnapshotMeta, SnapshotRecord,
};
pub use storage::Store;
