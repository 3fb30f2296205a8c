//! Time travel: what a saga's state was, when it changed, and how two states or two runs differ. Nothing is executed or written.
//!
//! [`TimeTravel`] works on every store of snapshots, also behind a wrapper or as `dyn`:
//!
//! ```
//! # async fn at(store: &replay_core::Store, saga: &replay_core::SagaId) -> replay_core::Result<()> {
//! use replay_core::time_travel::{TimeTravel, parse_instant};
//!
//! let noon = parse_instant("2026-03-01T13:00:00+01:00")?;
//! if let Some(state) = store.snapshots().state_at(saga, noon).await? {
//!     assert!(state.created_at <= noon);
//! }
//! # Ok(())
//! # }
//! ```

mod change;
mod diff;
mod instant;
mod key_history;
mod query;
mod runs;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub use diff::{StateDiff, StatePoint};
pub use instant::{ParsedInstant, parse_instant};
pub use query::{ChangePage, KeyChange, KeyHistoryPage, KeyHistoryQuery, Lookup, StateChange, StateChangesQuery};
pub use runs::{Agreement, Direction, FirstDifference, RunDiff, StepComparison, StepOutcome};

use crate::{
    Result, SagaId, Snapshot, SnapshotRecord,
    json::Pointer,
    storage::{At, SnapshotStorage},
};

/// Reads the past of sagas. Implemented for every [`SnapshotStorage`].
///
/// Instants are compared to `created_at`, which has microseconds and never decreases along a saga's history. Expired snapshots that
/// were not pruned yet are read like others.
#[async_trait]
pub trait TimeTravel {
    /// The state of `saga` at the instant `at`: its newest snapshot that was not captured later. None before the first one that
    /// is still there. One read, however long the history is.
    ///
    /// # Errors
    /// The store's own.
    async fn state_at(&self, saga: &SagaId, at: DateTime<Utc>) -> Result<Option<Snapshot>>;

    /// A page of a saga's changes of state, the oldest first. A saga that does not exist has none.
    ///
    /// Pages that follow one another by their cursors show each snapshot once, also if some are appended in between.
    /// # Errors
    /// `Invalid` for a cursor that is none, else the store's own.
    async fn state_changes(&self, query: StateChangesQuery) -> Result<ChangePage>;

    /// The value at `pointer` in the context of `saga` at the instant `at`.
    ///
    /// # Errors
    /// The store's own.
    async fn context_at(&self, saga: &SagaId, at: DateTime<Utc>, pointer: &Pointer) -> Result<Lookup>;

    /// What leads from one state of a saga to another, which may be the earlier one.
    ///
    /// # Errors
    /// `NotFound` if there is no snapshot at a position, else the store's own.
    async fn diff(&self, saga: &SagaId, from: At, to: At) -> Result<StateDiff>;

    /// Compares two runs step by step, by the names of their steps, and says at which step they differ first.
    ///
    /// Both histories are read side by side, one snapshot of each at a time; of the steps only names and digests are kept.
    /// # Errors
    /// `NotFound` if one of the sagas does not exist, else the store's own.
    async fn diff_runs(&self, a: &SagaId, b: &SagaId) -> Result<RunDiff>;

    /// A page of the changes of one value of the context, the oldest first.
    ///
    /// # Errors
    /// `Invalid` for a cursor that is none, else the store's own.
    async fn key_history(&self, query: KeyHistoryQuery) -> Result<KeyHistoryPage>;
}

#[async_trait]
impl<S: SnapshotStorage + ?Sized> TimeTravel for S {
    async fn state_at(&self, saga: &SagaId, at: DateTime<Utc>) -> Result<Option<Snapshot>> {
        self.load(saga, At::Time(at)).await?.map(SnapshotRecord::decode).transpose()
    }

    async fn state_changes(&self, query: StateChangesQuery) -> Result<ChangePage> {
        change::page(self, query).await
    }

    async fn context_at(&self, saga: &SagaId, at: DateTime<Utc>, pointer: &Pointer) -> Result<Lookup> {
        let Some(state) = self.state_at(saga, at).await? else { return Ok(Lookup::NoSnapshot) };
        let sequence = state.sequence;
        Ok(match pointer.get(&state.context()?) {
            None => Lookup::Missing { sequence },
            Some(value) => Lookup::Found { sequence, value: value.clone() },
        })
    }

    async fn diff(&self, saga: &SagaId, from: At, to: At) -> Result<StateDiff> {
        diff::between(self, saga, from, to).await
    }

    async fn diff_runs(&self, a: &SagaId, b: &SagaId) -> Result<RunDiff> {
        runs::compare(self, a, b).await
    }

    async fn key_history(&self, query: KeyHistoryQuery) -> Result<KeyHistoryPage> {
        key_history::page(self, query).await
    }
}
