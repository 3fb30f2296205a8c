use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;

use crate::Result;

/// Keeps small versioned cells: leases, idempotency claims, schedules.
///
/// A key has 1 to 1,024 bytes of UTF-8; a value up to 64 KiB. An expired cell, judged by the store's clock, is as good as absent.
#[async_trait]
pub trait CellStorage: fmt::Debug + Send + Sync + 'static {
    /// The cell, or none if it is absent or expired.
    async fn get_cell(&self, key: &str) -> Result<Option<Cell>>;

    /// Writes a cell if `condition` holds and gives its new version: the larger of the previous version of this key plus 1
    /// (also across deletion and expiry, as far as the store's clock has not stood still) and the store's clock in µs.
    ///
    /// # Errors
    /// `Conflict` with the fact `version` (the current one, or `absent`) if the condition does not hold.
    async fn put_cell(&self, key: &str, value: Bytes, condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64>;

    /// Removes a cell if `condition` holds; says whether there was one. `If::Absent` is `Invalid` here.
    ///
    /// # Errors
    /// `Conflict` if there is one with another version.
    async fn delete_cell(&self, key: &str, condition: If) -> Result<bool>;

    /// The cells whose key begins with `prefix`, by key (bytewise), without the expired ones.
    fn scan_cells(&self, prefix: &str) -> BoxStream<'static, Result<(String, Cell)>>;
}

/// What must hold for a write to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum If {
    /// There is no such cell, or it is expired.
    Absent,
    /// The cell has this version.
    Version(u64),
    /// Anything.
    Any,
}

/// A cell's value and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The value.
    pub value: Bytes,
    /// The version that [`CellStorage::put_cell`] gave.
    pub version: u64,
    /// When it expires, in whole microseconds.
    pub expires_at: Option<DateTime<Utc>>,
}
