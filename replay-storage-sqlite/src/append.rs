//! Compare-and-append: a saga's head and its history change in one transaction.

use std::{borrow::Borrow, collections::HashMap, ops::Deref};

use replay_core::{
    Encoded, Encoder, Result, SagaId, SnapshotRecord,
    storage::{check_next, unstored},
};
use rusqlite::{Connection, OptionalExtension};

use crate::{
    error::during,
    frames,
    head::Head,
    row::{self, Context},
    writer::Session,
};

const OPERATION: &str = "append";

/// A record, and its context as it is to be stored.
pub(crate) struct Incoming {
    record: SnapshotRecord,
    encoded: Encoded,
}

impl Incoming {
    /// Encodes what is to be appended; no lock is held for it.
    pub(crate) fn all(encoder: &Encoder, records: Vec<SnapshotRecord>) -> Result<Vec<Self>> {
        records.into_iter().map(|record| Ok(Self { encoded: encoder.encode(&record)?, record })).collect()
    }
}

impl Deref for Incoming {
    type Target = SnapshotRecord;

    fn deref(&self) -> &SnapshotRecord {
        &self.record
    }
}

impl Borrow<SnapshotRecord> for Incoming {
    fn borrow(&self) -> &SnapshotRecord {
        &self.record
    }
}

/// Appends records of any sagas. The inner result is the first conflict; what does not conflict is stored all the same.
pub(crate) fn append(session: &mut Session, namespace: &str, records: &[Incoming]) -> Result<Result<()>> {
    if let [record] = records {
        return append_to_saga(session, namespace, &[record]);
    }
    let mut groups: Vec<Vec<&Incoming>> = Vec::new();
    let mut group_of: HashMap<&SagaId, usize> = HashMap::new();
    for record in records {
        let group = *group_of.entry(&record.saga_id).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(group) => group.push(record),
            None => groups.push(vec![record]),
        }
    }
    let mut verdict = Ok(());
    for group in groups {
        let outcome = append_to_saga(session, namespace, &group)?;
        verdict = verdict.and(outcome);
    }
    Ok(verdict)
}

/// Appends records of one saga, all or none.
fn append_to_saga(session: &mut Session, namespace: &str, records: &[&Incoming]) -> Result<Result<()>> {
    let Some(first) = records.first() else { return Ok(Ok(())) };
    let head = Head::find(session, namespace, &first.saga_id)?;
    let tip = head.map(|head| (head.sequence, head.digest));
    let gapless = records.windows(2).all(|pair| check_next(pair[1], Some((pair[0].sequence, pair[0].digest()))).is_ok());
    let left;
    // By far the most appends are just what comes next.
    let new = if gapless && check_next(first, tip).is_ok() {
        records
    } else {
        let headers = match head.as_ref() {
            Some(head) => stored_headers(session.connection(), head, records)?,
            None => HashMap::new(),
        };
        left = match unstored(records, tip, |sequence| headers.get(&sequence).map(|header| &header[..])) {
            Ok(left) => left,
            Err(conflict) => return Ok(Err(conflict)),
        };
        &left
    };
    let (Some(first), Some(newest)) = (new.first(), new.last()) else { return Ok(Ok(())) };
    let number = match head {
        Some(head) => head.follow(session, namespace, newest)?,
        None => Head::create(session, namespace, first, newest)?,
    };
    for record in new {
        insert(session, namespace, number, record)?;
    }
    Ok(Ok(()))
}

/// The headers that are stored with the sequences of `records`.
fn stored_headers(connection: &Connection, head: &Head, records: &[&Incoming]) -> Result<HashMap<u64, Vec<u8>>> {
    let mut headers = HashMap::new();
    for sequence in records.iter().map(|record| record.sequence).filter(|sequence| *sequence <= head.sequence) {
        let Ok(number) = i64::try_from(sequence) else { continue };
        let header: Option<Vec<u8>> = connection
            .prepare_cached("SELECT header FROM records WHERE saga_no = ?1 AND sequence = ?2")
            .and_then(|mut select| select.query_row([head.number, number], |row| row.get(0)).optional())
            .map_err(during(OPERATION))?;
        headers.extend(header.map(|header| (sequence, header)));
    }
    Ok(headers)
}

fn insert(session: &mut Session, namespace: &str, number: i64, record: &Incoming) -> Result<()> {
    let Encoded { payload, base, .. } = &record.encoded;
    let frame = base.as_ref().map(|base| frames::ensure(session, number, base)).transpose()?;
    let definition = session.definition(namespace, &record.outline)?;
    session
        .connection()
        .prepare_cached(
            "INSERT INTO records (saga_no, sequence, created_at, next_key, definition_no, phase, status, step, retention_until, encoding, \
             frame_no, header, context) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )
        .and_then(|mut insert| {
            insert.execute((
                number,
                record.sequence,
                record.created_at.timestamp_micros(),
                row::next_key(record),
                definition,
                record.phase.code(),
                record.status.code(),
                record.step,
                record.retention_until.map(|until| until.timestamp_micros()),
                payload.encoding.code(),
                frame,
                &record.header()[..],
                Context(payload),
            ))
        })
        .map(drop)
        .map_err(during(OPERATION))
}
