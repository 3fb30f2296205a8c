//! Appends as statements.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use replay_core::{Digest, Result, SagaId, SnapshotMeta, SnapshotRecord};

use crate::{
    append::{Stored, Unit},
    error::damaged,
    row::{bytes, column, next_key, split},
    sql::{Args, instant},
    store::Shared,
    text::{escaped, label},
};

const OPERATION: &str = "append";

/// For whom an append was right.
pub(super) struct Won {
    pub(super) sagas: HashSet<SagaId>,
    /// Whether it may have been right for others, too, in an attempt whose answer was lost.
    pub(super) is_unknown: bool,
}

/// Moves the heads of all sagas and stores their records in one statement, and gives the sagas for which that was right. Each unit
/// must be a chain, and they must be in the order of their ids.
pub(super) async fn append(shared: &Shared, units: &[&Unit]) -> Result<Won> {
    if let [unit] = units
        && let [record] = &unit.records[..]
        && let Some(newest) = record.predecessor()
    {
        return append_one(shared, record, newest).await;
    }
    let mut records = Records::default();
    for record in units.iter().flat_map(|unit| &unit.records) {
        records.push(record, shared.definition(&record.outline).await?)?;
    }
    let heads = Heads::of(units);
    let args = || records.bind(heads.bind(shared.args()));
    let answer = shared.write_and_look(OPERATION, &shared.sql.append_many, args).await?;
    let sagas = answer.rows.iter().map(|row| column::<&str>(row, 0, OPERATION).and_then(SagaId::new)).collect::<Result<_>>()?;
    Ok(Won { sagas, is_unknown: answer.is_unknown })
}

async fn append_one(shared: &Shared, record: &SnapshotRecord, newest: (u64, Digest)) -> Result<Won> {
    let definition = shared.definition(&record.outline).await?;
    let payload = record.payload()?;
    let (context, raw) = split(payload);
    let args = || {
        shared
            .args()
            .with(record.saga_id.as_str())
            .with(sequence(newest.0))
            .with(&newest.1.as_bytes()[..])
            .with(sequence(record.sequence))
            .with(&record.digest().as_bytes()[..])
            .with(instant(record.created_at))
            .with(record.step_name())
            .with(i16::from(record.status.code()))
            .with(escaped(record.saga_name()))
            .with(origin(record))
            .with(labels(record))
            .with(record.retention_until.map(instant))
            .with(next_key(record))
            .with(definition)
            .with(step(record))
            .with(i16::from(record.phase.code()))
            .with(i16::from(payload.encoding.code()))
            .with(&record.header()[..])
            .with(context)
            .with(raw)
    };
    let answer = shared.write_and_look(OPERATION, &shared.sql.append_one, args).await?;
    let sagas = answer.rows.first().map(|_| record.saga_id.clone()).into_iter().collect();
    Ok(Won { sagas, is_unknown: answer.is_unknown })
}

/// What is stored of a unit's saga.
pub(super) async fn look(shared: &Shared, unit: &Unit) -> Result<Stored> {
    let sequences: Vec<i64> = unit.records.iter().filter_map(|record| i64::try_from(record.sequence).ok()).collect();
    let args = || shared.args().with(unit.saga().as_str()).with(&sequences[..]);
    let rows = shared.read(OPERATION, &shared.sql.stored, args).await?;
    let number = |number: i64| u64::try_from(number).map_err(|_| damaged(OPERATION, "a saga has a negative sequence"));
    let mut stored = Stored { head: None, headers: HashMap::with_capacity(rows.len()) };
    for row in &rows {
        let digest: [u8; 32] = column(row, 1, OPERATION)?;
        stored.head = Some((number(column(row, 0, OPERATION)?)?, Digest::from_bytes(digest)));
        if let Some(sequence) = column::<Option<i64>>(row, 2, OPERATION)? {
            let header: Bytes = bytes(row, 3, OPERATION)?;
            stored.headers.insert(number(sequence)?, header);
        }
    }
    Ok(stored)
}

/// A chain has no sequence that a column cannot hold.
fn sequence(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

fn step(meta: &SnapshotMeta) -> Option<i32> {
    meta.step.and_then(|step| i32::try_from(step).ok())
}

fn origin(meta: &SnapshotMeta) -> Option<&str> {
    meta.origin.as_ref().map(|origin| origin.saga_id.as_str())
}

fn labels(meta: &SnapshotMeta) -> Vec<String> {
    meta.labels.iter().map(|(key, value)| label(key, value)).collect()
}

/// Labels as the text of an array: an array cannot have arrays of several lengths in it.
fn labels_as_text(meta: &SnapshotMeta) -> String {
    let quoted: Vec<String> =
        labels(meta).iter().map(|label| format!("\"{}\"", label.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{{{}}}", quoted.join(","))
}

/// The new heads, column by column.
#[derive(Default)]
struct Heads<'a> {
    saga_id: Vec<&'a str>,
    prev_sequence: Vec<i64>,
    prev_digest: Vec<Digest>,
    sequence: Vec<i64>,
    digest: Vec<Digest>,
    updated_at: Vec<DateTime<Utc>>,
    started_at: Vec<DateTime<Utc>>,
    step: Vec<Option<&'a str>>,
    status: Vec<i16>,
    name: Vec<String>,
    origin: Vec<Option<&'a str>>,
    labels: Vec<String>,
}

impl<'a> Heads<'a> {
    fn of(units: &[&'a Unit]) -> Self {
        let mut heads = Self::default();
        for unit in units {
            let (first, last) = (unit.first(), unit.last());
            heads.saga_id.push(unit.saga().as_str());
            // No record has sequence 0: it stands for a saga that does not exist.
            let (newest, digest) = first.predecessor().unwrap_or((0, Digest::ZERO));
            heads.prev_sequence.push(sequence(newest));
            heads.prev_digest.push(digest);
            heads.sequence.push(sequence(last.sequence));
            heads.digest.push(last.digest());
            heads.updated_at.push(instant(last.created_at));
            heads.started_at.push(instant(first.begins_at()));
            heads.step.push(last.step_name());
            heads.status.push(i16::from(last.status.code()));
            heads.name.push(escaped(last.saga_name()));
            heads.origin.push(origin(last));
            heads.labels.push(labels_as_text(last));
        }
        heads
    }

    fn bind(&'a self, args: Args) -> Args {
        let bytes = |digests: &'a [Digest]| -> Vec<&'a [u8]> { digests.iter().map(|digest| &digest.as_bytes()[..]).collect() };
        args.with(&self.saga_id[..])
            .with(&self.prev_sequence[..])
            .with(&bytes(&self.prev_digest)[..])
            .with(&self.sequence[..])
            .with(&bytes(&self.digest)[..])
            .with(&self.updated_at[..])
            .with(&self.started_at[..])
            .with(&self.step[..])
            .with(&self.status[..])
            .with(&self.name[..])
            .with(&self.origin[..])
            .with(&self.labels[..])
    }
}

/// The records, column by column.
#[derive(Default)]
struct Records<'a> {
    saga_id: Vec<&'a str>,
    sequence: Vec<i64>,
    created_at: Vec<DateTime<Utc>>,
    retention_until: Vec<Option<DateTime<Utc>>>,
    next_key: Vec<i32>,
    definition_no: Vec<i32>,
    step: Vec<Option<i32>>,
    phase: Vec<i16>,
    status: Vec<i16>,
    encoding: Vec<i16>,
    header: Vec<&'a [u8]>,
    context: Vec<Option<&'a str>>,
    payload: Vec<Option<&'a [u8]>>,
}

impl<'a> Records<'a> {
    fn push(&mut self, record: &'a SnapshotRecord, definition: i32) -> Result<()> {
        let payload = record.payload()?;
        let (context, raw) = split(payload);
        self.saga_id.push(record.saga_id.as_str());
        self.sequence.push(sequence(record.sequence));
        self.created_at.push(instant(record.created_at));
        self.retention_until.push(record.retention_until.map(instant));
        self.next_key.push(next_key(record));
        self.definition_no.push(definition);
        self.step.push(step(record));
        self.phase.push(i16::from(record.phase.code()));
        self.status.push(i16::from(record.status.code()));
        self.encoding.push(i16::from(payload.encoding.code()));
        self.header.push(&record.header()[..]);
        self.context.push(context);
        self.payload.push(raw);
        Ok(())
    }

    fn bind(&self, args: Args) -> Args {
        args.with(&self.saga_id[..])
            .with(&self.sequence[..])
            .with(&self.created_at[..])
            .with(&self.retention_until[..])
            .with(&self.next_key[..])
            .with(&self.definition_no[..])
            .with(&self.step[..])
            .with(&self.phase[..])
            .with(&self.status[..])
            .with(&self.encoding[..])
            .with(&self.header[..])
            .with(&self.context[..])
            .with(&self.payload[..])
    }
}
