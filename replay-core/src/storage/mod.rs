//! What a store must offer: four small object-safe traits, their queries, and the [`Store`] that bundles them.
//!
//! [`SnapshotStorage`] is all that a custom store must implement for sagas, replay and time travel. `replay-conformance`
//! proves an implementation.

mod append;
mod blob;
mod capabilities;
mod cell;
mod forward;
mod log;
mod query;
mod snapshot;
mod store;
mod url;

pub use append::{check_next, unstored};
pub use blob::BlobStorage;
pub use capabilities::Capabilities;
pub use cell::{Cell, CellStorage, If, MAX_CELL_BYTES, MAX_KEY_BYTES, check_cell, check_key};
pub use log::{LogEntry, LogStorage, StreamInfo};
pub use query::{At, Order, PruneReport, PruneRequest, PruneScope, SagaCursor, SagaQuery, SagaSummary, SnapshotQuery, TimeRange};
pub use snapshot::SnapshotStorage;
pub use store::Store;
pub use url::StoreUrl;
