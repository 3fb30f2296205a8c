use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Digest, Result};

/// Keeps bytes by their SHA-256 digest: large payloads, definitions, diff artifacts.
#[async_trait]
pub trait BlobStorage: fmt::Debug + Send + Sync + 'static {
    /// Keeps `bytes` and gives their digest. Keeping the same bytes again does nothing.
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest>;

    /// The bytes with this digest, or none.
    ///
    /// # Errors
    /// `Integrity` if what is stored does not have this digest.
    async fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>>;

    /// Removes the bytes with this digest; says whether there were any.
    async fn delete_blob(&self, digest: &Digest) -> Result<bool>;
}
