use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use replay_core::{Digest, Result, storage::BlobStorage};

use crate::Memory;

/// Bytes by digest. They cannot change after they were put in, so they are not digested again when they are read.
#[derive(Default)]
pub(crate) struct Blobs(RwLock<HashMap<Digest, Bytes>>);

#[async_trait]
impl BlobStorage for Memory {
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        self.world().blobs.0.write().entry(digest).or_insert(bytes);
        Ok(digest)
    }

    async fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>> {
        Ok(self.world().blobs.0.read().get(digest).cloned())
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        Ok(self.world().blobs.0.write().remove(digest).is_some())
    }
}
