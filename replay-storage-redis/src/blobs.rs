//! Bytes by their digest: a string each, written and read in pieces so that a large one does not hold up what shares the connection.

use bytes::{Bytes, BytesMut};
use replay_core::{Digest, Error, ErrorKind, Result};

use crate::{
    error::{Effect, damaged},
    keys::{Kind, Shard},
    script::PUT_PIECE,
    store::{MAX_RECORD_BYTES, Shared},
    value,
};

/// The size of a piece.
const PIECE: usize = 4 << 20;

/// From this size on it is worth asking whether the bytes are there already.
const ASKED: usize = 64 << 10;

/// How long the pieces of a blob stay that was never finished.
const PARTIAL_S: u32 = 3600;

fn key(shared: &Shared, digest: &Digest) -> Vec<u8> {
    shared.keys().named(Kind::Blob, digest.to_string().as_bytes())
}

pub(crate) async fn put(shared: &Shared, bytes: &Bytes) -> Result<Digest> {
    const OPERATION: &str = "put blob";
    if bytes.len() as u64 > MAX_RECORD_BYTES {
        return Err(Error::new(ErrorKind::LimitExceeded, OPERATION)
            .message("Redis takes no value over 512 MiB")
            .hint("keep large blobs in another store")
            .with("bytes", bytes.len()));
    }
    let digest = Digest::of(bytes);
    let name = key(shared, &digest);
    if bytes.len() > ASKED && len(shared, OPERATION, &name).await? == bytes.len() {
        return shared.link().confirm(OPERATION).await.map(|()| digest);
    }
    if bytes.len() <= PIECE {
        let mut cmd = redis::Cmd::with_capacity(3, bytes.len() + 128);
        cmd.arg("SET").arg(&name).arg(&bytes[..]);
        shared.link().call(OPERATION, Effect::Repeatable, &cmd).await?;
        return Ok(digest);
    }
    // Each call writes to a key of its own: of two writers of the same bytes one would find the other's pieces gone.
    let text = digest.to_string();
    let rest = [text.as_bytes(), &shared.tokens().next()].concat();
    let names = [shared.keys().key(Kind::Partial, Shard::of(text.as_bytes()), &rest), name];
    for (at, piece) in bytes.chunks(PIECE).enumerate() {
        let mut cmd = PUT_PIECE.call(&names, piece.len() + 64);
        cmd.arg(at * PIECE).arg(piece).arg(PARTIAL_S).arg(bytes.len());
        if value::int(OPERATION, &shared.link().call(OPERATION, Effect::Repeatable, &cmd).await?)? != 1 {
            return Err(Error::new(ErrorKind::Unavailable, OPERATION)
                .message("the server lost pieces of the blob while it was written")
                .hint("did it restart or fail over? try again"));
        }
    }
    Ok(digest)
}

async fn len(shared: &Shared, operation: &'static str, name: &[u8]) -> Result<usize> {
    let mut cmd = redis::cmd("STRLEN");
    cmd.arg(name);
    Ok(usize::try_from(value::int(operation, &shared.link().call(operation, Effect::Read, &cmd).await?)?).unwrap_or(0))
}

pub(crate) async fn get(shared: &Shared, digest: &Digest) -> Result<Option<Bytes>> {
    const OPERATION: &str = "get blob";
    let name = key(shared, digest);
    let mut whole = BytesMut::new();
    loop {
        // The first piece says whether there is more; an empty string and none look the same in it.
        let mut cmd = redis::cmd("GETRANGE");
        cmd.arg(&name).arg(whole.len()).arg(whole.len() + PIECE - 1);
        let piece = value::string(OPERATION, shared.link().call(OPERATION, Effect::Read, &cmd).await?)?.unwrap_or_default();
        whole.extend_from_slice(&piece);
        if piece.len() < PIECE {
            break;
        }
    }
    if Digest::of(&whole) == *digest {
        let is_there = !whole.is_empty() || exists(shared, OPERATION, &name).await?;
        return Ok(is_there.then(|| whole.freeze()));
    }
    if whole.is_empty() && !exists(shared, OPERATION, &name).await? {
        return Ok(None);
    }
    Err(damaged(OPERATION, "the stored bytes do not have the digest that they are kept by").with("digest", digest))
}

async fn exists(shared: &Shared, operation: &'static str, name: &[u8]) -> Result<bool> {
    let mut cmd = redis::cmd("EXISTS");
    cmd.arg(name);
    Ok(value::int(operation, &shared.link().call(operation, Effect::Read, &cmd).await?)? > 0)
}

pub(crate) async fn delete(shared: &Shared, digest: &Digest) -> Result<bool> {
    const OPERATION: &str = "delete blob";
    let mut cmd = redis::cmd("UNLINK");
    cmd.arg(key(shared, digest));
    Ok(value::int(OPERATION, &shared.link().call(OPERATION, Effect::Once, &cmd).await?)? > 0)
}
