//! Compare-and-append: a saga's head and its history change in one transaction.

use std::collections::HashMap;

use replay_core::{Digest, Error, ErrorKind, Result, SagaId, SnapshotMeta, SnapshotRecord, storage::check_next};
use rusqlite::{Connection, OptionalExtension, named_params};

use crate::{
    error::{damaged, during},
    row::{self, Context, RecordRow},
    writer::Session,
};

const OPERATION: &str = "append";

/// Appends records of any sagas. The inner result is the first conflict; what does not conflict is stored all the same.
pub(crate) fn append(session: &mut Session, namespace: &str, records: &[SnapshotRecord]) -> Result<Result<()>> {
    if let [record] = records {
        return append_to_saga(session, namespace, &[record]);
    }
    let mut groups: Vec<Vec<&SnapshotRecord>> = Vec::new();
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
fn append_to_saga(session: &mut Session, namespace: &str, records: &[&SnapshotRecord]) -> Result<Result<()>> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(Ok(())) };
    let without_gap = records.windows(2).all(|pair| check_next(pair[1], Some((pair[0].sequence, pair[0].digest()))).is_ok());
    if without_gap && first.sequence > 1 && i64::try_from(last.sequence).is_ok() {
        let number = match session.remembered_saga(&first.saga_id) {
            None => session.find_saga(namespace, &first.saga_id)?,
            number => number,
        };
        // By far the most appends end here. The comparison is with the database, for other processes append too.
        if let Some(number) = number
            && advance(session.connection(), number, first, last).map_err(during(OPERATION))?
        {
            insert_all(session, namespace, number, records)?;
            return Ok(Ok(()));
        }
    }
    let number = session.find_saga(namespace, &first.saga_id)?;
    let saga = number.map(|number| Saga::read(session.connection(), number)).transpose()?;
    let new = match split_off_stored(session.connection(), saga.as_ref(), records)? {
        Ok(new) => new,
        Err(conflict) => return Ok(Err(conflict)),
    };
    let (Some(first), Some(newest)) = (new.first(), new.last()) else { return Ok(Ok(())) };
    let number = match saga {
        Some(saga) => {
            saga.follow(session.connection(), namespace, newest)?;
            saga.number
        }
        None => create(session, namespace, first, newest).map_err(during(OPERATION))?,
    };
    insert_all(session, namespace, number, &new)?;
    Ok(Ok(()))
}

/// A saga's head as the tables have it.
struct Saga {
    number: i64,
    sequence: u64,
    digest: Digest,
    status: u8,
    facets: i64,
}

impl Saga {
    fn read(connection: &Connection, number: i64) -> Result<Self> {
        connection
            .prepare_cached("SELECT sequence, digest, status, facets FROM heads WHERE saga_no = ?1")
            .and_then(|mut select| {
                select.query_row([number], |row| {
                    Ok(Self {
                        number,
                        sequence: row.get(0)?,
                        digest: Digest::from_bytes(row.get(1)?),
                        status: row.get(2)?,
                        facets: row.get(3)?,
                    })
                })
            })
            .map_err(during(OPERATION))
    }

    /// Moves the head to `newest`, and what the saga is found by to what that says.
    fn follow(&self, connection: &Connection, namespace: &str, newest: &SnapshotRecord) -> Result<()> {
        let failed = during(OPERATION);
        if self.status != newest.status.code() {
            connection
                .prepare_cached("UPDATE sagas SET status = ?1 WHERE saga_no = ?2")
                .and_then(|mut update| update.execute((newest.status.code(), self.number)))
                .map_err(failed)?;
        }
        let facets = row::facets(newest);
        if self.facets != facets {
            self.change_facets(connection, namespace, newest)?;
        }
        connection
            .prepare_cached(
                "UPDATE heads SET sequence = ?1, digest = ?2, updated_at = ?3, step = ?4, status = ?5, facets = ?6 WHERE saga_no = ?7",
            )
            .and_then(|mut update| {
                let step = newest.step_name();
                let digest = newest.digest();
                update.execute((newest.sequence, digest.as_bytes(), micros(newest), step, newest.status.code(), facets, self.number))
            })
            .map_err(failed)?;
        Ok(())
    }

    fn change_facets(&self, connection: &Connection, namespace: &str, newest: &SnapshotRecord) -> Result<()> {
        let failed = during(OPERATION);
        let origin = newest.origin.as_ref().map(|origin| origin.saga_id.as_str());
        let started_at = connection
            .prepare_cached("UPDATE sagas SET name = ?1, origin = ?2 WHERE saga_no = ?3 RETURNING started_at")
            .and_then(|mut update| update.query_row((newest.saga_name(), origin, self.number), |row| row.get(0)))
            .map_err(failed)?;
        let old = self.newest(connection, newest.saga_id.as_str())?;
        if old.labels != newest.labels {
            delete_labels(connection, namespace, started_at, &old).map_err(failed)?;
            insert_labels(connection, namespace, self.number, started_at, newest).map_err(failed)?;
        }
        Ok(())
    }

    fn newest(&self, connection: &Connection, saga: &str) -> Result<SnapshotRecord> {
        let row = connection
            .prepare_cached(&format!("SELECT {} FROM records AS r WHERE r.saga_no = ?1 AND r.sequence = ?2", row::RECORD))
            .and_then(|mut select| select.query_row((self.number, self.sequence), |row| RecordRow::read(row, 0)).optional())
            .map_err(during(OPERATION))?
            .ok_or_else(|| missing_head(saga))?;
        let outline = row::outline(connection, row.definition_no)?;
        row.into_record(saga, outline)
    }
}

/// The records that are not stored yet, or the conflict.
fn split_off_stored<'a>(
    connection: &Connection,
    saga: Option<&Saga>,
    records: &[&'a SnapshotRecord],
) -> Result<Result<Vec<&'a SnapshotRecord>>> {
    let mut new: Vec<&SnapshotRecord> = Vec::new();
    for record in records {
        let last = new.last().map(|record| (record.sequence, record.digest())).or(saga.map(|saga| (saga.sequence, saga.digest)));
        if last.is_none_or(|(last, _)| record.sequence > last) {
            match check_next(record, last) {
                Ok(()) => new.push(record),
                Err(conflict) => return Ok(Err(conflict)),
            }
            continue;
        }
        let is_stored = match new.iter().find(|other| other.sequence == record.sequence) {
            Some(other) => other.digest() == record.digest(),
            None => match saga {
                Some(saga) => stored_header(connection, saga.number, record.sequence)?.is_some_and(|header| header == record.header()[..]),
                None => false,
            },
        };
        if !is_stored {
            let expected = last.map_or(1, |(last, _)| last + 1);
            return Ok(Err(Error::new(ErrorKind::Conflict, OPERATION)
                .with("saga", &record.saga_id)
                .with("sequence", record.sequence)
                .with("expected", expected)));
        }
    }
    Ok(Ok(new))
}

/// A header covers its record's digest, so equal headers are equal digests.
fn stored_header(connection: &Connection, number: i64, sequence: u64) -> Result<Option<Vec<u8>>> {
    let Ok(sequence) = i64::try_from(sequence) else { return Ok(None) };
    connection
        .prepare_cached("SELECT header FROM records WHERE saga_no = ?1 AND sequence = ?2")
        .and_then(|mut select| select.query_row([number, sequence], |row| row.get(0)).optional())
        .map_err(during(OPERATION))
}

/// Moves the head from before `first` to `newest`; says whether it stood there, and nothing else changes that a saga is found by.
fn advance(connection: &Connection, number: i64, first: &SnapshotRecord, newest: &SnapshotRecord) -> rusqlite::Result<bool> {
    let changed = connection
        .prepare_cached(
            "UPDATE heads SET sequence = ?1, digest = ?2, updated_at = ?3, step = ?4
             WHERE saga_no = ?5 AND sequence = ?6 AND digest = ?7 AND status = ?8 AND facets = ?9",
        )?
        .execute((
            newest.sequence,
            newest.digest().as_bytes(),
            micros(newest),
            newest.step_name(),
            number,
            first.sequence - 1,
            first.prev_digest.as_bytes(),
            newest.status.code(),
            row::facets(newest),
        ))?;
    Ok(changed == 1)
}

fn micros(meta: &SnapshotMeta) -> i64 {
    meta.created_at.timestamp_micros()
}

fn create(session: &mut Session, namespace: &str, first: &SnapshotRecord, newest: &SnapshotRecord) -> rusqlite::Result<i64> {
    let connection = session.connection();
    let started_at = first.begins_at().timestamp_micros();
    let number = connection
        .prepare_cached(
            "INSERT INTO sagas (namespace, saga_id, started_at, status, name, origin)
             VALUES (:namespace, :saga_id, :started_at, :status, :name, :origin)",
        )?
        .insert(named_params! {
            ":namespace": namespace,
            ":saga_id": newest.saga_id.as_str(),
            ":started_at": started_at,
            ":status": newest.status.code(),
            ":name": newest.saga_name(),
            ":origin": newest.origin.as_ref().map(|origin| origin.saga_id.as_str()),
        })?;
    connection
        .prepare_cached(
            "INSERT INTO heads (saga_no, sequence, digest, updated_at, step, status, facets) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            number,
            newest.sequence,
            newest.digest().as_bytes(),
            micros(newest),
            newest.step_name(),
            newest.status.code(),
            row::facets(newest),
        ))?;
    insert_labels(connection, namespace, number, started_at, newest)?;
    session.remember_saga(&newest.saga_id, number);
    Ok(number)
}

/// A head whose record is not there.
pub(crate) fn missing_head(saga: &str) -> Error {
    damaged("read", "the newest record of a saga is missing").with("saga", saga)
}

fn insert_labels(connection: &Connection, namespace: &str, number: i64, started_at: i64, meta: &SnapshotMeta) -> rusqlite::Result<()> {
    for (key, value) in &*meta.labels {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO saga_labels (namespace, key, value, started_at, saga_id, saga_no) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((namespace, key, value, started_at, meta.saga_id.as_str(), number))?;
    }
    Ok(())
}

/// Removes the labels that a saga's newest record says it has.
pub(crate) fn delete_labels(connection: &Connection, namespace: &str, started_at: i64, meta: &SnapshotMeta) -> rusqlite::Result<()> {
    for (key, value) in &*meta.labels {
        connection
            .prepare_cached(
                "DELETE FROM saga_labels WHERE namespace = ?1 AND key = ?2 AND value = ?3 AND started_at = ?4 AND saga_id = ?5",
            )?
            .execute((namespace, key, value, started_at, meta.saga_id.as_str()))?;
    }
    Ok(())
}

fn insert_all(session: &mut Session, namespace: &str, number: i64, records: &[&SnapshotRecord]) -> Result<()> {
    for record in records {
        let definition = session.definition(namespace, &record.outline)?;
        insert(session.connection(), number, definition, record)?;
    }
    Ok(())
}

fn insert(connection: &Connection, number: i64, definition: i64, record: &SnapshotRecord) -> Result<()> {
    let payload = record.payload()?;
    connection
        .prepare_cached(
            "INSERT INTO records (saga_no, sequence, created_at, next_key, definition_no, phase, status, step, retention_until, encoding, \
             header, context) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )
        .and_then(|mut insert| {
            insert.execute((
                number,
                record.sequence,
                micros(record),
                row::next_key(record),
                definition,
                record.phase.code(),
                record.status.code(),
                record.step,
                record.retention_until.map(|until| until.timestamp_micros()),
                payload.encoding.code(),
                &record.header()[..],
                Context(payload),
            ))
        })
        .map(drop)
        .map_err(during(OPERATION))
}
