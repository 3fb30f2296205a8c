//! Stores around stores: each wraps a [`SnapshotStorage`](crate::storage::SnapshotStorage) and is one itself.
//!
//! ```
//! # use std::sync::Arc;
//! # use replay_core::{Store, layer::{FaultPlan, Faulting, Instrumented}};
//! # fn wrap(store: Store) -> Store {
//! let plan = FaultPlan::new();
//! let snapshots = Instrumented::new(Faulting::new(store.snapshots().clone(), plan.clone()));
//! store.with_snapshots(Arc::new(snapshots)) // shown as "instrumented(faulting(memory))"
//! # }
//! ```

#[cfg(feature = "cache")]
mod cached;
mod faulting;
mod instrumented;
mod plan;
mod tiered;

#[cfg(feature = "cache")]
pub use cached::Cached;
pub use faulting::Faulting;
pub use instrumented::{BYTES, CALL_SECONDS, CALLS, Instrumented, RECORDS};
pub use plan::{Call, FaultPlan, Rates};
pub use tiered::{MoveRefusal, MoveReport, Tiered};
