//! Versioned cells: an object each, replaced only as it was last seen.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use replay_core::{
    Digest, Error, ErrorKind, Result, Retry,
    storage::{Cell, If, check_cell, check_key},
};

use crate::{
    client::{Condition, ETag, Outcome},
    head::token,
    heads::{no_etag, unsure},
    key::Token,
    store::Shared,
    wire::{Reader, Writer, damaged, newer},
};

const MAGIC: &[u8; 3] = b"RPC";
const VERSION: u8 = 1;
const CHECKSUM: usize = 8;

const READ_AT_ONCE: usize = 32;

/// Who is overtaken so often gives up for now.
const ROUNDS: u32 = 256;

/// A cell's object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    key: String,
    version: u64,
    /// Of this very write, so that its writer knows it again.
    write: Token,
    expires_at: Option<i64>,
    /// None if it was deleted.
    value: Option<Bytes>,
}

impl Stored {
    fn encode(&self) -> Bytes {
        let mut out = Writer::with_capacity(self.key.len() + self.value.as_ref().map_or(0, Bytes::len) + 64);
        out.raw(MAGIC);
        out.u8(VERSION);
        out.bytes(self.key.as_bytes());
        out.varint(self.version);
        out.raw(&self.write);
        out.u8(u8::from(self.value.is_some()) | u8::from(self.expires_at.is_some()) << 1);
        if let Some(at) = self.expires_at {
            out.signed(at);
        }
        if let Some(value) = &self.value {
            out.bytes(value);
        }
        let checksum = Digest::of(out.as_slice());
        out.raw(&checksum.as_bytes()[..CHECKSUM]);
        out.into_bytes()
    }

    fn decode(object: &Bytes) -> Result<Self> {
        let Some(len) = object.len().checked_sub(CHECKSUM) else { return Err(damaged("ends too early")) };
        if !object.starts_with(MAGIC) {
            return Err(damaged("is no cell"));
        }
        if Digest::of(&object[..len]).as_bytes()[..CHECKSUM] != object[len..] {
            return Err(damaged("fails its checksum"));
        }
        let mut from = Reader::new(object.slice(MAGIC.len()..len));
        match from.u8()? {
            VERSION => {}
            version => return Err(newer("cell", version)),
        }
        let (key, version, write, flags) = (from.text()?, from.varint()?, from.fixed()?, from.u8()?);
        let expires_at = if flags & 2 == 0 { None } else { Some(from.signed()?) };
        let value = if flags & 1 == 0 { None } else { Some(from.bytes()?) };
        from.end()?;
        Ok(Self { key, version, write, expires_at, value })
    }

    fn alive(&self, now: DateTime<Utc>) -> Option<Cell> {
        let value = self.value.clone()?;
        let is_alive = self.expires_at.is_none_or(|at| now.timestamp_micros() < at);
        let expires_at = self.expires_at.and_then(DateTime::from_timestamp_micros);
        is_alive.then_some(Cell { value, version: self.version, expires_at })
    }
}

/// A cell's object as it was last seen.
#[derive(Debug, Clone)]
pub(crate) struct KnownCell {
    etag: ETag,
    stored: Arc<Stored>,
}

async fn read(shared: &Arc<Shared>, operation: &'static str, key: &str) -> Result<Option<KnownCell>> {
    let known = read_at(shared, operation, &shared.keys.cell(key)).await?;
    match known {
        Some(known) if known.stored.key != key => Err(damaged("is not what its key says").with("cell", key)),
        known => Ok(known),
    }
}

async fn read_at(shared: &Arc<Shared>, operation: &'static str, at: &str) -> Result<Option<KnownCell>> {
    let Some((object, etag)) = shared.client.get(operation, at).await? else {
        shared.cells.remove(at);
        return Ok(None);
    };
    let stored = Stored::decode(&object).map_err(|error| error.with("key", at))?;
    let known = KnownCell { etag, stored: Arc::new(stored) };
    shared.cells.insert(at.to_owned(), known.clone(), object.len() + 256);
    Ok(Some(known))
}

pub(crate) async fn get(shared: &Arc<Shared>, key: &str) -> Result<Option<Cell>> {
    check_key("get cell", key)?;
    let known = read(shared, "get cell", key).await?;
    Ok(known.and_then(|known| known.stored.alive(shared.now())))
}

pub(crate) async fn put(shared: &Arc<Shared>, key: &str, value: Bytes, condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64> {
    const OPERATION: &str = "put cell";
    check_cell(OPERATION, key, &value)?;
    let mut known = shared.cells.get(&shared.keys.cell(key));
    // Whether nothing is there, the condition of the write finds out.
    let mut is_fresh = known.is_none() && condition != If::Absent;
    if is_fresh {
        known = read(shared, OPERATION, key).await?;
    }
    for _ in 0..ROUNDS {
        let now = shared.now();
        let alive = known.as_ref().and_then(|known| known.stored.alive(now));
        let holds = match condition {
            If::Any => true,
            If::Absent => alive.is_none(),
            If::Version(version) => alive.as_ref().is_some_and(|cell| cell.version == version),
        };
        if holds {
            let clock = u64::try_from(now.timestamp_micros()).unwrap_or(0);
            let stored = Stored {
                key: key.to_owned(),
                version: known.as_ref().map_or(0, |known| known.stored.version.saturating_add(1)).max(clock),
                write: token(),
                expires_at: expires_at.map(|at| at.timestamp_micros()),
                value: Some(value.clone()),
            };
            let version = stored.version;
            if write(shared, OPERATION, known.as_ref(), stored).await? {
                return Ok(version);
            }
        } else if is_fresh {
            return Err(conflict(OPERATION, key, alive.as_ref()));
        }
        known = read(shared, OPERATION, key).await?;
        is_fresh = true;
    }
    Err(overtaken(OPERATION, key))
}

/// Replaces a cell's object as it was last seen; says whether nobody else was first.
async fn write(shared: &Arc<Shared>, operation: &'static str, base: Option<&KnownCell>, stored: Stored) -> Result<bool> {
    let at = shared.keys.cell(&stored.key);
    let object = stored.encode();
    let len = object.len();
    let condition = base.map_or(Condition::Absent, |base| Condition::Is(&base.etag));
    // Also if this future is dropped on the way.
    shared.cells.remove(&at);
    match shared.client.put_if(operation, &at, object, condition).await? {
        Outcome::Done(etag) if etag.is_empty() => Err(no_etag(operation)),
        Outcome::Done(etag) => {
            shared.cells.insert(at, KnownCell { etag, stored: Arc::new(stored) }, len + 256);
            Ok(true)
        }
        Outcome::Lost => Ok(false),
        Outcome::Unclear => {
            let found = read_at(shared, operation, &at).await.map_err(unsure)?;
            let is = |etag: Option<&ETag>| found.as_ref().map(|found| &found.etag) == etag;
            if found.as_ref().is_some_and(|found| found.stored.write == stored.write) {
                return Ok(true);
            }
            if is(base.map(|base| &base.etag)) {
                return Ok(false);
            }
            // Somebody wrote since, before or after a write of ours that may have been done.
            Err(unknown(operation, &stored.key))
        }
    }
}

pub(crate) async fn delete(shared: &Arc<Shared>, key: &str, condition: If) -> Result<bool> {
    const OPERATION: &str = "delete cell";
    check_key(OPERATION, key)?;
    if condition == If::Absent {
        return Err(Error::invalid(OPERATION, "a cell that is absent cannot be deleted"));
    }
    for _ in 0..ROUNDS {
        let known = read(shared, OPERATION, key).await?;
        let Some((known, cell)) = known.and_then(|known| Some((known.clone(), known.stored.alive(shared.now())?))) else {
            return Ok(false);
        };
        if let If::Version(version) = condition
            && version != cell.version
        {
            return Err(conflict(OPERATION, key, Some(&cell)));
        }
        let is_done = if shared.deletes_on_condition(OPERATION).await? {
            let at = shared.keys.cell(key);
            shared.cells.remove(&at);
            match shared.client.delete_if(OPERATION, &at, &known.etag).await? {
                Outcome::Done(()) => true,
                Outcome::Lost => false,
                // Whoever tried again could remove what somebody has claimed since.
                Outcome::Unclear => return Err(unknown(OPERATION, key)),
            }
        } else {
            // What stays says that there is nothing, and keeps the version.
            let gone = Stored { write: token(), expires_at: None, value: None, ..(*known.stored).clone() };
            write(shared, OPERATION, Some(&known), gone).await?
        };
        if is_done {
            return Ok(true);
        }
    }
    Err(overtaken(OPERATION, key))
}

fn conflict(operation: &'static str, key: &str, cell: Option<&Cell>) -> Error {
    let error = Error::new(ErrorKind::Conflict, operation).with("key", key);
    match cell {
        Some(cell) => error.with("version", cell.version),
        None => error.with("version", "absent"),
    }
}

fn unknown(operation: &'static str, key: &str) -> Error {
    Error::new(ErrorKind::Unavailable, operation)
        .message("an answer was lost, and the cell was changed since")
        .hint("read the cell and decide anew")
        .with("key", key)
        .retry(Retry::Ambiguous)
}

fn overtaken(operation: &'static str, key: &str) -> Error {
    Error::new(ErrorKind::Unavailable, operation)
        .message("others were always first")
        .hint("how many write to this cell? repeat the call")
        .with("key", key)
}

/// The cells whose key begins with `prefix`, by key.
pub(crate) fn scan(shared: Arc<Shared>, prefix: String) -> BoxStream<'static, Result<(String, Cell)>> {
    const OPERATION: &str = "scan cells";
    let begin = async move {
        let listed = shared.client.list_all(OPERATION, &shared.keys.cells_like(&prefix)).await?;
        let reads = listed.into_iter().map(|listed| {
            let shared = &shared;
            async move {
                let known = shared.cells.get(&listed.key).filter(|known| listed.etag.as_ref() == Some(&known.etag));
                match known {
                    Some(known) => Ok(Some(known)),
                    None => read_at(shared, OPERATION, &listed.key).await,
                }
            }
        });
        let found: Vec<KnownCell> =
            stream::iter(reads).buffer_unordered(READ_AT_ONCE).try_filter_map(|known| async { Ok(known) }).try_collect().await?;
        let now = shared.now();
        let mut cells: Vec<(String, Cell)> = found
            .into_iter()
            .filter(|known| known.stored.key.starts_with(&prefix))
            .filter_map(|known| Some((known.stored.key.clone(), known.stored.alive(now)?)))
            .collect();
        // The order of the objects' keys is another.
        cells.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok::<_, Error>(stream::iter(cells.into_iter().map(Ok)))
    };
    stream::once(begin).try_flatten().boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_read_back_and_a_flipped_bit_is_noticed() {
        for (expires_at, value) in [(None, Some(Bytes::from_static(b"value"))), (Some(-7), None)] {
            let stored = Stored { key: "ü".to_owned(), version: 9, write: [1; 16], expires_at, value };
            let object = stored.encode();
            assert_eq!(Stored::decode(&object).unwrap(), stored);
            for at in 0..object.len() {
                let mut flipped = object.to_vec();
                flipped[at] ^= 1;
                assert!(Stored::decode(&flipped.into()).is_err(), "byte {at}");
            }
        }
    }
}
