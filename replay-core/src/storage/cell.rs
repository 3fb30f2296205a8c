use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;

use crate::{Error, ErrorKind, Result};

/// The longest cell key and stream name, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// The largest value of a cell, in bytes.
pub const MAX_CELL_BYTES: usize = 64 * 1024;

/// Checks a cell's key or a stream's name.
///
/// # Errors
/// `Invalid` if it is empty or longer than [`MAX_KEY_BYTES`].
pub fn check_key(operation: &'static str, key: &str) -> Result<()> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Error::invalid(operation, "a key or stream name has 1 to 1,024 bytes").with("bytes", key.len()));
    }
    Ok(())
}

/// Checks what is about to be put into a cell.
///
/// # Errors
/// `Invalid` for a bad key, `LimitExceeded` for a value larger than [`MAX_CELL_BYTES`].
pub fn check_cell(operation: &'static str, key: &str, value: &[u8]) -> Result<()> {
    check_key(operation, key)?;
    if value.len() > MAX_CELL_BYTES {
        return Err(Error::new(ErrorKind::LimitExceeded, operation)
            .message("a cell's value has at most 64 KiB")
            .hint("keep large values as a blob, and its digest in the cell")
            .with("key", key)
            .with("bytes", value.len()));
    }
    Ok(())
}

/// Keeps small versioned cells: leases, idempotency claims, schedules.
///
/// A key has 1 to 1,024 bytes of UTF-8, any character included; a value up to 64 KiB. A cell is expired, and as good as absent, from
/// the instant `expires_at` on, judged by the store's clock. [`check_key`] and [`check_cell`] hold these rules for every store.
#[async_trait]
pub trait CellStorage: fmt::Debug + Send + Sync + 'static {
    /// The cell, or none if it is absent or expired.
    async fn get_cell(&self, key: &str) -> Result<Option<Cell>>;

    /// Writes a cell if `condition` holds and gives its new version: the larger of the previous version of this key plus 1
    /// (also across deletion and expiry, as far as the store's clock has not stood still) and the store's clock in µs.
    ///
    /// # Errors
    /// `Conflict` with the fact `version` (the current one, or `absent`) if the condition does not hold; `Invalid` for a bad key;
    /// `LimitExceeded` for a value that is too large.
    async fn put_cell(&self, key: &str, value: Bytes, condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64>;

    /// Removes a cell if `condition` holds; says whether there was one that had not expired. `If::Absent` is `Invalid` here.
    ///
    /// # Errors
    /// `Conflict` with the fact `version` if there is one with another version.
    async fn delete_cell(&self, key: &str, condition: If) -> Result<bool>;

    /// The cells whose key begins with `prefix` (every cell for an empty one), by key (bytewise), without the expired ones.
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
