//! Appending: one script for each saga, which compares the head and changes everything that has to change with it.

use std::sync::Arc;

use futures::future::join_all;
use redis::{Cmd, Value};
use replay_core::{Digest, Error, ErrorKind, Result, Retry, SagaId, SnapshotRecord, storage::check_next};

use crate::{
    error::{Effect, unexpected},
    head::{self, Head},
    keys::{Kind, Shard},
    positions::{self, Position},
    row,
    script::{APPEND, APPEND_NEXT, HEADERS},
    store::{MAX_RECORD_BYTES, Shared},
    value,
};

const OPERATION: &str = "append";

/// So often an append is tried again that lost to somebody else who then was gone.
const ATTEMPTS: usize = 16;

/// More records than this are not given to a command of a script at a time; each has up to 17 fields.
const MOST_GOING_ON: usize = 64;

/// So many records in a row may be missing from what pruning left of a history: each keeps its position.
const LARGEST_HOLE: u64 = 1 << 20;

/// A saga that may go by itself is kept so long beyond its time, in case a clock is wrong.
const GRACE_MS: i64 = 3_600_000;

pub(crate) async fn append(shared: &Arc<Shared>, records: &[SnapshotRecord]) -> Result<()> {
    if let [record] = records {
        return append_saga(shared, &[record]).await;
    }
    let mut sagas: Vec<(&SagaId, Vec<&SnapshotRecord>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for record in records {
        let at = *places.entry(&record.saga_id).or_insert_with(|| {
            sagas.push((&record.saga_id, Vec::new()));
            sagas.len() - 1
        });
        sagas[at].1.push(record);
    }
    let results = join_all(sagas.iter().map(|(_, records)| append_saga(shared, records))).await;
    let (mut errors, is_open) = (results.into_iter().filter_map(Result::err), |error: &Error| error.retry_advice() == Retry::Ambiguous);
    // What is known of one saga must not hide that the outcome of another one is not.
    match errors.next() {
        Some(first) if !is_open(&first) => Err(errors.find(is_open).unwrap_or(first)),
        Some(first) => Err(first),
        None => Ok(()),
    }
}

/// What the script found.
enum Found {
    Done,
    /// Another newest record than the one that the new ones follow, or none.
    Head(Option<Head>),
}

async fn append_saga(shared: &Shared, records: &[&SnapshotRecord]) -> Result<()> {
    for record in records {
        check_size(record)?;
    }
    let mut new = records.to_vec();
    let is_chain = check_next(records[0], records[0].predecessor()).is_ok()
        && records.windows(2).all(|pair| check_next(pair[1], Some((pair[0].sequence, pair[0].digest()))).is_ok());
    // What is not a chain cannot be appended as it is; whether it is stored already decides.
    let mut found = if is_chain { run(shared, &new).await? } else { Found::Head(read_head(shared, &records[0].saga_id).await?) };
    for _ in 0..ATTEMPTS {
        let Found::Head(head) = found else { return Ok(()) };
        new = split_off_stored(shared, head.as_ref(), records).await?;
        if new.is_empty() {
            return shared.link().confirm(OPERATION).await.map_err(open);
        }
        found = run(shared, &new).await?;
    }
    Err(Error::new(ErrorKind::Unavailable, OPERATION)
        .message("the saga was deleted and begun anew again and again meanwhile")
        .hint("is there another program that prunes it all the time?")
        .with("saga", &records[0].saga_id))
}

fn check_size(record: &SnapshotRecord) -> Result<()> {
    record.payload()?;
    if record.stored_len() > MAX_RECORD_BYTES {
        return Err(Error::new(ErrorKind::LimitExceeded, OPERATION)
            .message("Redis takes no value over 512 MiB")
            .hint("keep large parts of the context in blobs")
            .with("snapshot", record.id())
            .with("bytes", record.stored_len()));
    }
    Ok(())
}

/// Which script appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The one that changes nothing but the newest record.
    GoesOn,
    /// The one that changes whatever has to change, and is given the definition or not.
    Whole { definition: bool },
}

/// Appends a chain of records that begins where the first one says.
async fn run(shared: &Shared, records: &[&SnapshotRecord]) -> Result<Found> {
    let is_first = records.first().is_some_and(|record| record.predecessor().is_none());
    let ends = records.last().is_some_and(|record| record.status.is_terminal());
    keep_older_definitions(shared, records).await?;
    let whole = Form::Whole { definition: is_first };
    let mut form = if is_first || ends || records.len() > MOST_GOING_ON { whole } else { Form::GoesOn };
    loop {
        let cmd = command(shared, records, form)?;
        form = match (shared.link().call(OPERATION, Effect::Repeatable, &cmd).await?, form) {
            (Value::Int(1), _) => return Ok(Found::Done),
            (Value::Nil, _) => return Ok(Found::Head(None)),
            (Value::BulkString(head), _) => {
                return Head::from_bytes(&head).map(|head| Found::Head(Some(head))).ok_or_else(|| unexpected(OPERATION));
            }
            (Value::Int(2), Form::GoesOn | Form::Whole { definition: false }) => Form::Whole { definition: true },
            _ => return Err(unexpected(OPERATION)),
        };
    }
}

/// The script takes the definition of the newest record; one that changes within a list is kept beforehand.
async fn keep_older_definitions(shared: &Shared, records: &[&SnapshotRecord]) -> Result<()> {
    let Some(newest) = records.last() else { return Ok(()) };
    let mut last = newest.fingerprint();
    for record in records.iter().rev().filter(|record| record.outline != newest.outline) {
        if record.fingerprint() == last {
            continue;
        }
        last = record.fingerprint();
        let mut cmd = redis::cmd("HSETNX");
        cmd.arg(shared.keys().of_shard(Kind::Definitions, Shard::of(record.saga_id.as_str().as_bytes())))
            .arg(&head::definition(&last)[..])
            .arg(&record.outline.as_bytes()[..]);
        shared.link().call(OPERATION, Effect::Repeatable, &cmd).await?;
    }
    Ok(())
}

fn command(shared: &Shared, records: &[&SnapshotRecord], form: Form) -> Result<Cmd> {
    let (Some(first), Some(newest)) = (records.first(), records.last()) else { return Err(unexpected(OPERATION)) };
    let (keys, id) = (shared.keys(), newest.saga_id.as_str());
    let shard = Shard::of(id.as_bytes());
    let names = [keys.key(Kind::Saga, shard, id.as_bytes()), keys.key(Kind::Positions, shard, id.as_bytes())];
    let bytes: u64 = records.iter().map(|record| record.stored_len() + 96).sum();
    let bytes = usize::try_from(bytes).unwrap_or(0) + 512;
    let (mut positions, mut pairs) = (Vec::with_capacity(records.len() * positions::LEN), Vec::with_capacity(records.len() * 2));
    for record in records {
        let (position, fields) = Position::of(record);
        let hole = record.predecessor().map_or(0, |(sequence, _)| record.sequence - sequence - 1);
        if hole > LARGEST_HOLE {
            return Err(too_large_a_hole(record, hole));
        }
        for _ in 0..hole {
            position.write_hole(&mut positions);
        }
        position.write(&mut positions);
        let sequence = record.sequence.to_be_bytes();
        pairs.push((sequence.to_vec(), row::write(record)?));
        pairs.extend(fields.into_iter().map(|field| (field, sequence.to_vec())));
    }
    // The one before has the facets that the newest has, unless they change.
    let (sequence, digest) = first.predecessor().unwrap_or((0, Digest::ZERO));
    let (old, new) = (head::fixed(sequence, &digest, newest), head::fixed(newest.sequence, &newest.digest(), newest));
    let mut cmd = match form {
        Form::GoesOn => APPEND_NEXT.call(&names, bytes),
        Form::Whole { .. } => {
            let [saga, places] = names;
            APPEND.call(&[saga, places, keys.of_shard(Kind::Index, shard), keys.of_shard(Kind::Definitions, shard)], bytes)
        }
    };
    cmd.arg(&old[..]).arg(&new[..]).arg(positions);
    if let Form::Whole { definition } = form {
        cmd.arg(id)
            .arg(newest.origin.as_ref().map_or_else(Vec::new, |origin| head::origin_entry(&origin.saga_id)))
            .arg(if definition { &newest.outline.as_bytes()[..] } else { b"" })
            .arg(expiry(shared, newest))
            .arg(if first.predecessor().is_none() { new_saga(first) } else { Vec::new() });
    }
    for (field, value) in &pairs {
        cmd.arg(field).arg(value);
    }
    Ok(cmd)
}

/// The rest of a new saga's head, and the sequence before its first.
fn new_saga(first: &SnapshotRecord) -> Vec<u8> {
    [&head::rest(first)[..], &(first.sequence - 1).to_be_bytes()].concat()
}

fn too_large_a_hole(record: &SnapshotRecord, hole: u64) -> Error {
    Error::new(ErrorKind::LimitExceeded, OPERATION)
        .message("too many records are missing before it")
        .hint("begin the history after the hole")
        .with("snapshot", record.id())
        .with("missing", hole)
}

/// What the script needs to let a saga go by itself once it has ended.
fn expiry(shared: &Shared, newest: &SnapshotRecord) -> String {
    if !newest.status.is_terminal() {
        return String::new();
    }
    let ttl = shared.default_ttl().map_or(-1, |ttl| i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX / 4));
    if ttl < 0 && newest.retention_until.is_none() {
        return "-".to_owned();
    }
    format!("{} {ttl} {GRACE_MS}", shared.now().timestamp_micros())
}

async fn read_head(shared: &Shared, saga: &SagaId) -> Result<Option<Head>> {
    let mut cmd = redis::cmd("HGET");
    cmd.arg(shared.keys().named(Kind::Saga, saga.as_str().as_bytes())).arg("h");
    let head = value::string(OPERATION, shared.link().call(OPERATION, Effect::Read, &cmd).await?)?;
    head.map(|head| Head::from_bytes(&head).ok_or_else(|| unexpected(OPERATION))).transpose()
}

/// The records that are not stored yet, or the conflict.
async fn split_off_stored<'a>(shared: &Shared, head: Option<&Head>, records: &[&'a SnapshotRecord]) -> Result<Vec<&'a SnapshotRecord>> {
    let mut last: Option<(u64, Digest)> = head.map(|head| (head.sequence(), head.digest()));
    let stored_last = last.map_or(0, |(sequence, _)| sequence);
    let old: Vec<u64> = records.iter().map(|record| record.sequence).filter(|sequence| *sequence <= stored_last).collect();
    let stored = if old.is_empty() { Vec::new() } else { stored_headers(shared, &records[0].saga_id, &old).await? };
    let mut stored = stored.into_iter();
    let mut new: Vec<&SnapshotRecord> = Vec::new();
    for record in records {
        if last.is_none_or(|(last, _)| record.sequence > last) {
            check_next(record, last)?;
            last = Some((record.sequence, record.digest()));
            new.push(record);
            continue;
        }
        let is_stored = if record.sequence <= stored_last {
            // A header covers its record's digest, so equal headers are equal digests.
            stored.next().flatten().is_some_and(|header| header == record.header()[..])
        } else {
            new.iter().find(|other| other.sequence == record.sequence).is_some_and(|other| other.digest() == record.digest())
        };
        if !is_stored {
            return Err(Error::new(ErrorKind::Conflict, OPERATION)
                .with("saga", &record.saga_id)
                .with("sequence", record.sequence)
                .with("expected", last.map_or(1, |(last, _)| last.saturating_add(1))));
        }
    }
    Ok(new)
}

/// Who cannot look, or cannot wait for replicas, does not know whether the records are stored.
fn open(error: Error) -> Error {
    error.retry(Retry::Ambiguous)
}

async fn stored_headers(shared: &Shared, saga: &SagaId, sequences: &[u64]) -> Result<Vec<Option<bytes::Bytes>>> {
    let key = shared.keys().named(Kind::Saga, saga.as_str().as_bytes());
    let mut headers = Vec::with_capacity(sequences.len());
    for some in sequences.chunks(1000) {
        let mut cmd = HEADERS.call([&key], some.len() * 16);
        for sequence in some {
            cmd.arg(&sequence.to_be_bytes()[..]);
        }
        let values = value::list(OPERATION, shared.link().call(OPERATION, Effect::Read, &cmd).await.map_err(open)?)?;
        for value in values.ok_or_else(|| unexpected(OPERATION))? {
            headers.push(value::string(OPERATION, value)?.map(row::Row::read).transpose()?.map(|row| row.header));
        }
    }
    Ok(headers)
}
