//! Versioned cells.
//!
//! A cell is a string: 8 bytes of version, 8 of expiry (all ones = never, zero = removed), 8 of the token of the call that wrote it,
//! and the value.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use redis::Value;
use replay_core::{
    Error, ErrorKind, Result,
    storage::{Cell, If, check_cell, check_key},
};

use crate::{
    error::{Effect, damaged, unexpected},
    head::{instant, ordered},
    index::{Direction, Merge},
    keys::{Kind, Shard},
    page::pages,
    script::{DELETE_CELL, PUT_CELL},
    store::Shared,
    value,
};

const NEVER: [u8; 8] = [0xff; 8];
const VALUE_AT: usize = 24;
const PAGE: u64 = 128;

/// The server keeps an expired cell so long, in case a clock was wrong and is set back.
const GRACE_MS: i64 = 86_400_000;

/// The mark of a removed cell stays so long: longer than any repeat of the call that removed it.
const MARK_MS: u32 = 60_000;

/// Names for calls that write, so that a call which comes twice is known.
#[derive(Debug)]
pub(crate) struct Tokens {
    process: u64,
    next: AtomicU64,
}

impl Default for Tokens {
    fn default() -> Self {
        // The standard library's hasher is seeded at random.
        Self { process: RandomState::new().hash_one("replay"), next: AtomicU64::new(0) }
    }
}

impl Tokens {
    pub(crate) fn next(&self) -> [u8; 8] {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        // An odd factor leads from different counts to different tokens.
        self.process.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes()
    }
}

fn keys_of(shared: &Shared, key: &str) -> [Vec<u8>; 3] {
    let shard = Shard::of(key.as_bytes());
    let keys = shared.keys();
    [keys.key(Kind::Cell, shard, key.as_bytes()), keys.of_shard(Kind::CellNames, shard), keys.of_shard(Kind::CellExpiries, shard)]
}

fn read(operation: &'static str, bytes: Vec<u8>) -> Result<Cell> {
    let bytes = Bytes::from(bytes);
    let Some((front, _)) = bytes.split_first_chunk::<VALUE_AT>() else {
        return Err(damaged(operation, "a cell is cut short"));
    };
    let (version, expires_at) = (version(operation, &front[..8])?, <[u8; 8]>::try_from(&front[8..16]).unwrap_or(NEVER));
    let expires_at = (expires_at != NEVER).then(|| if expires_at == [0; 8] { DateTime::<Utc>::MIN_UTC } else { instant(expires_at) });
    Ok(Cell { value: bytes.slice(VALUE_AT..), version, expires_at })
}

fn version(operation: &'static str, bytes: &[u8]) -> Result<u64> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| unexpected(operation))
}

fn is_alive(cell: &Cell, now: DateTime<Utc>) -> bool {
    cell.expires_at.is_none_or(|at| now < at)
}

pub(crate) async fn get(shared: &Shared, key: &str) -> Result<Option<Cell>> {
    const OPERATION: &str = "get cell";
    check_key(OPERATION, key)?;
    let [name, ..] = keys_of(shared, key);
    let mut cmd = redis::cmd("GET");
    cmd.arg(name);
    let found = value::string(OPERATION, shared.link().call(OPERATION, Effect::Read, &cmd).await?)?;
    let cell = found.map(|bytes| read(OPERATION, bytes)).transpose()?;
    Ok(cell.filter(|cell| is_alive(cell, shared.now())))
}

pub(crate) async fn put(shared: &Shared, key: &str, bytes: &[u8], condition: If, expires_at: Option<DateTime<Utc>>) -> Result<u64> {
    const OPERATION: &str = "put cell";
    check_cell(OPERATION, key, bytes)?;
    let now = shared.now();
    let keys = keys_of(shared, key);
    let mut cmd = PUT_CELL.call(&keys, bytes.len() + key.len() + 128);
    match condition {
        If::Any => cmd.arg("any"),
        If::Absent => cmd.arg("absent"),
        If::Version(version) => cmd.arg(&version.to_be_bytes()[..]),
    };
    cmd.arg(now.timestamp_micros()).arg(&ordered(now)[..]).arg(&expires_at.map_or(NEVER, ordered)[..]);
    cmd.arg(&shared.tokens().next()[..]).arg(bytes).arg(key);
    match expires_at {
        Some(at) => {
            let left = at.timestamp_millis().saturating_sub(now.timestamp_millis()).clamp(0, i64::MAX / 4);
            cmd.arg(left + GRACE_MS).arg(at.timestamp_millis())
        }
        None => cmd.arg("").arg(""),
    };
    cmd.arg(now.timestamp_millis().saturating_sub(GRACE_MS));
    match shared.link().call(OPERATION, Effect::Repeatable, &cmd).await? {
        Value::BulkString(new) => version(OPERATION, &new),
        other => Err(conflict(OPERATION, key, other)?),
    }
}

/// The conflict that a script's answer is.
fn conflict(operation: &'static str, key: &str, answer: Value) -> Result<Error> {
    let [found] = value::array(operation, answer)?;
    let found = value::string(operation, found)?.unwrap_or_default();
    let error = Error::new(ErrorKind::Conflict, operation).with("key", key);
    Ok(if found.is_empty() { error.with("version", "absent") } else { error.with("version", version(operation, &found)?) })
}

pub(crate) async fn delete(shared: &Shared, key: &str, condition: If) -> Result<bool> {
    const OPERATION: &str = "delete cell";
    check_key(OPERATION, key)?;
    let keys = keys_of(shared, key);
    let mut cmd = DELETE_CELL.call(&keys, key.len() + 64);
    match condition {
        If::Any => cmd.arg("any"),
        If::Version(version) => cmd.arg(&version.to_be_bytes()[..]),
        If::Absent => return Err(Error::invalid(OPERATION, "an absent cell cannot be removed").hint("delete with If::Any or If::Version")),
    };
    cmd.arg(&ordered(shared.now())[..]).arg(&shared.tokens().next()[..]).arg(key).arg(MARK_MS);
    match shared.link().call(OPERATION, Effect::Repeatable, &cmd).await? {
        Value::Int(removed) => Ok(removed == 1),
        other => Err(conflict(OPERATION, key, other)?),
    }
}

/// The cells whose key begins with `prefix`, a page at a time.
pub(crate) fn scan(shared: Arc<Shared>, prefix: &str) -> BoxStream<'static, Result<(String, Cell)>> {
    const OPERATION: &str = "scan cells";
    let mut merge = Merge::new(OPERATION, Direction::Up, PAGE);
    for shard in Shard::all() {
        merge.add(shard, shared.keys().of_shard(Kind::CellNames, shard), &[Vec::new()], prefix.as_bytes(), None);
    }
    pages(merge, move |mut merge| {
        let shared = shared.clone();
        async move {
            let names = merge.take(&shared, usize::try_from(PAGE).unwrap_or(usize::MAX)).await?;
            if names.is_empty() {
                return Ok(None);
            }
            let gets = names.iter().map(|(shard, name)| {
                let mut cmd = redis::cmd("GET");
                cmd.arg(shared.keys().key(Kind::Cell, *shard, name));
                cmd
            });
            let found = shared.link().calls(OPERATION, Effect::Read, &gets.collect::<Vec<_>>()).await?;
            let (mut cells, now) = (Vec::with_capacity(names.len()), shared.now());
            for ((_, name), found) in names.into_iter().zip(found) {
                // The names of cells that the server has removed stay for a while.
                let Some(bytes) = value::string(OPERATION, found)? else { continue };
                let cell = read(OPERATION, bytes)?;
                if is_alive(&cell, now) {
                    cells.push((value::text(OPERATION, name)?, cell));
                }
            }
            Ok(Some((cells, merge)))
        }
    })
}
