//! Blobs by their digest.

use std::sync::Arc;

use bytes::Bytes;
use replay_core::{Digest, Result};

use crate::{
    client::{Condition, MULTIPART_BYTES, Outcome},
    store::Shared,
    wire::damaged,
};

pub(crate) async fn put(shared: &Arc<Shared>, bytes: Bytes) -> Result<Digest> {
    const OPERATION: &str = "put blob";
    let digest = Digest::of(&bytes);
    let key = shared.keys.blob(&digest);
    if bytes.len() >= MULTIPART_BYTES {
        // It is worth a question whether it must be sent at all.
        if !shared.client.exists(OPERATION, &key).await? {
            shared.client.put(OPERATION, &key, bytes).await?;
        }
    } else {
        // However it ended, it is there: stored now, by an attempt without answer, or before, which is what the condition is refused for.
        match shared.client.put_if(OPERATION, &key, bytes, Condition::Absent).await? {
            Outcome::Done(_) | Outcome::Lost | Outcome::Unclear => {}
        }
    }
    Ok(digest)
}

pub(crate) async fn get(shared: &Arc<Shared>, digest: &Digest) -> Result<Option<Bytes>> {
    let Some((bytes, _)) = shared.client.get("get blob", &shared.keys.blob(digest)).await? else { return Ok(None) };
    if Digest::of(&bytes) == *digest {
        Ok(Some(bytes))
    } else {
        Err(damaged("does not have the digest that it is named by").with("digest", digest))
    }
}

pub(crate) async fn delete(shared: &Arc<Shared>, digest: &Digest) -> Result<bool> {
    const OPERATION: &str = "delete blob";
    let key = shared.keys.blob(digest);
    let is_there = shared.client.exists(OPERATION, &key).await?;
    if is_there {
        shared.client.delete(OPERATION, &[key]).await?;
    }
    Ok(is_there)
}
