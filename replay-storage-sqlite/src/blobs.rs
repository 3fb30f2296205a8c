//! Bytes by their digest.

use std::sync::Arc;

use bytes::Bytes;
use replay_core::{Digest, Result};
use rusqlite::{Connection, OptionalExtension};

use crate::{
    error::{damaged, during},
    row,
    store::Shared,
};

pub(crate) async fn put(shared: &Arc<Shared>, bytes: Bytes) -> Result<Digest> {
    let digest = Digest::of(&bytes);
    shared
        .write("put blob", move |shared, session| {
            session
                .connection()
                .prepare_cached(
                    "INSERT INTO blobs (namespace, digest, bytes) VALUES (?1, ?2, ?3) ON CONFLICT (namespace, digest) DO NOTHING",
                )
                .and_then(|mut insert| insert.execute((shared.namespace(), digest.as_bytes(), &bytes[..])))
                .map_err(during("put blob"))
        })
        .await?;
    Ok(digest)
}

pub(crate) fn get(shared: &Shared, connection: &Connection, digest: &Digest) -> Result<Option<Bytes>> {
    let found = connection
        .prepare_cached("SELECT bytes FROM blobs WHERE namespace = ?1 AND digest = ?2")
        .and_then(|mut select| select.query_row((shared.namespace(), digest.as_bytes()), |row| row::bytes(row, 0)).optional())
        .map_err(during("get blob"))?;
    match found {
        Some(bytes) if Digest::of(&bytes) != *digest => {
            Err(damaged("get blob", "the stored bytes do not have the digest that they are kept by").with("digest", digest))
        }
        found => Ok(found),
    }
}

pub(crate) async fn delete(shared: &Arc<Shared>, digest: Digest) -> Result<bool> {
    shared
        .write("delete blob", move |shared, session| {
            session
                .connection()
                .prepare_cached("DELETE FROM blobs WHERE namespace = ?1 AND digest = ?2")
                .and_then(|mut delete| delete.execute((shared.namespace(), digest.as_bytes())))
                .map(|count| count > 0)
                .map_err(during("delete blob"))
        })
        .await
}
