//! Bytes by their digest.

use bytes::Bytes;
use replay_core::{Digest, Result};

use crate::{
    error::{Access, damaged},
    row,
    store::Shared,
};

pub(crate) async fn put(shared: &Shared, bytes: &Bytes) -> Result<Digest> {
    let digest = Digest::of(bytes);
    let args = || shared.args().with(&digest.as_bytes()[..]).with(&bytes[..]);
    shared.write("put blob", Access::Repeatable, &shared.sql.put_blob, args).await?;
    Ok(digest)
}

pub(crate) async fn get(shared: &Shared, digest: &Digest) -> Result<Option<Bytes>> {
    const OPERATION: &str = "get blob";
    let rows = shared.read(OPERATION, &shared.sql.get_blob, || shared.args().with(&digest.as_bytes()[..])).await?;
    let found = rows.first().map(|row| row::bytes(row, 0, OPERATION)).transpose()?;
    match found {
        Some(bytes) if Digest::of(&bytes) != *digest => {
            Err(damaged(OPERATION, "the stored bytes do not have the digest that they are kept by").with("digest", digest))
        }
        found => Ok(found),
    }
}

pub(crate) async fn delete(shared: &Shared, digest: &Digest) -> Result<bool> {
    let args = || shared.args().with(&digest.as_bytes()[..]);
    let rows = shared.write("delete blob", Access::Once, &shared.sql.delete_blob, args).await?;
    Ok(!rows.is_empty())
}
