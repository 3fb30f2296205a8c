use async_trait::async_trait;
use bytes::Bytes;
use replay_core::{Digest, Error, ErrorKind, Result, storage::BlobStorage};

use super::Reference;
use crate::Mutant;

#[async_trait]
impl BlobStorage for Reference {
    async fn put_blob(&self, bytes: Bytes) -> Result<Digest> {
        let digest = Digest::of(&bytes);
        // A disk that flips a bit now and then: what a store has to notice when it hands the bytes out.
        let flips = self.has(Mutant::BlobIsNotVerified) && digest.as_bytes()[0].is_multiple_of(8) && !bytes.is_empty();
        let kept = if flips { [&[bytes[0] ^ 1], &bytes[1..]].concat().into() } else { bytes };
        self.world().blobs.entry(digest).or_insert((kept, 0)).1 += 1;
        Ok(digest)
    }

    async fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>> {
        let found = self.world().blobs.get(digest).map(|(bytes, _)| bytes.clone());
        match found {
            Some(bytes) if Digest::of(&bytes) != *digest && !self.has(Mutant::BlobIsNotVerified) => {
                Err(Error::new(ErrorKind::Integrity, "get blob").with("digest", digest))
            }
            found => Ok(found),
        }
    }

    async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        let mut world = self.world();
        let Some((_, puts)) = world.blobs.get_mut(digest) else { return Ok(self.has(Mutant::BlobDeleteAlwaysSucceeds)) };
        *puts -= 1;
        if *puts == 0 || !self.has(Mutant::BlobCountsPuts) {
            world.blobs.remove(digest);
        }
        Ok(true)
    }
}
