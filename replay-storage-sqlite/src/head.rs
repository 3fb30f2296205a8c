//! A saga's head: its newest record as an append has to know it, and what the saga is found by.
//!
//! There is no table of heads: the newest record is the last one in the index by saga, so a record that changes nothing else is one
//! row. What a process knows of heads it keeps in memory for as long as no other connection changes the file.

use replay_core::{Digest, Error, Result, SagaId, SnapshotMeta, SnapshotRecord};
use rusqlite::{Connection, OptionalExtension, named_params};

use crate::{
    error::{damaged, during},
    row::{self, RecordRow},
    writer::Session,
};

const OPERATION: &str = "append";

/// The sequence of the newest record of the saga `s`.
pub(crate) const NEWEST: &str = "(SELECT newest.sequence FROM records AS newest INDEXED BY records_by_saga
    WHERE newest.saga_no = s.saga_no ORDER BY newest.sequence DESC LIMIT 1)";

/// What a saga's next record is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) number: i64,
    pub(crate) sequence: u64,
    pub(crate) digest: Digest,
    /// What the tables `sagas` and `saga_labels` say, facets as a digest of everything but the status.
    status: u8,
    facets: i64,
}

impl Head {
    /// The head of a saga, from memory or from the file; none if there is no such saga.
    pub(crate) fn find(session: &Session, namespace: &str, saga: &SagaId) -> Result<Option<Self>> {
        if let Some(head) = session.head(saga) {
            return Ok(Some(head));
        }
        let sql = format!(
            "SELECT s.saga_no, s.status, s.facets, {} FROM sagas AS s
             LEFT JOIN records AS r ON r.saga_no = s.saga_no AND r.sequence = {NEWEST} AND r.sequence >= s.sequence
             WHERE s.namespace = :namespace AND s.saga_id = :saga_id",
            row::HEADER
        );
        let read = |row: &rusqlite::Row<'_>| {
            let has_record = row.get::<_, Option<i64>>(3)?.is_some();
            let record = has_record.then(|| RecordRow::read_header(row, 3)).transpose()?;
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, record))
        };
        let connection = session.connection();
        let found = connection
            .prepare_cached(&sql)
            .and_then(|mut select| select.query_row(named_params! { ":namespace": namespace, ":saga_id": saga.as_str() }, read).optional())
            .map_err(during(OPERATION))?;
        let Some((number, status, facets, row)) = found else { return Ok(None) };
        let row = row.ok_or_else(|| missing_newest(saga.as_str()))?;
        let outline = row::outline(connection, row.definition_no)?;
        let newest = row.into_record(saga.as_str(), outline)?;
        Ok(Some(Self { number, sequence: newest.sequence, digest: newest.digest(), status, facets }))
    }

    /// Moves the head to `newest`, and what the saga is found by to what that says. Gives the saga's number.
    pub(crate) fn follow(self, session: &mut Session, namespace: &str, newest: &SnapshotRecord) -> Result<i64> {
        let (status, facets) = (newest.status.code(), row::facets(newest));
        let connection = session.connection();
        if self.facets != facets {
            self.change_facets(connection, namespace, newest)?;
        }
        if (self.status, self.facets) != (status, facets) {
            connection
                .prepare_cached("UPDATE sagas SET status = ?1, facets = ?2, sequence = ?3 WHERE saga_no = ?4")
                .and_then(|mut update| update.execute((status, facets, newest.sequence, self.number)))
                .map_err(during(OPERATION))?;
        }
        session.learn_head(&newest.saga_id, Self { sequence: newest.sequence, digest: newest.digest(), status, facets, ..self });
        Ok(self.number)
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
            .prepare_cached(&format!("SELECT {} FROM records AS r WHERE r.saga_no = ?1 AND r.sequence = ?2", row::HEADER))
            .and_then(|mut select| select.query_row((self.number, self.sequence), |row| RecordRow::read_header(row, 0)).optional())
            .map_err(during(OPERATION))?
            .ok_or_else(|| missing_newest(saga))?;
        let outline = row::outline(connection, row.definition_no)?;
        row.into_record(saga, outline)
    }

    /// Makes a saga of the records from `first` to `newest`, and gives its number.
    pub(crate) fn create(session: &mut Session, namespace: &str, first: &SnapshotRecord, newest: &SnapshotRecord) -> Result<i64> {
        let (status, facets) = (newest.status.code(), row::facets(newest));
        let started_at = first.begins_at().timestamp_micros();
        let insert = |connection: &Connection| {
            let number = connection
                .prepare_cached(
                    "INSERT INTO sagas (namespace, saga_id, started_at, status, name, origin, facets, sequence)
                     VALUES (:namespace, :saga_id, :started_at, :status, :name, :origin, :facets, :sequence)",
                )?
                .insert(named_params! {
                    ":namespace": namespace,
                    ":saga_id": newest.saga_id.as_str(),
                    ":started_at": started_at,
                    ":status": status,
                    ":name": newest.saga_name(),
                    ":origin": newest.origin.as_ref().map(|origin| origin.saga_id.as_str()),
                    ":facets": facets,
                    ":sequence": newest.sequence,
                })?;
            insert_labels(connection, namespace, number, started_at, newest)?;
            Ok(number)
        };
        let number = insert(session.connection()).map_err(during(OPERATION))?;
        session.learn_head(&newest.saga_id, Self { number, sequence: newest.sequence, digest: newest.digest(), status, facets });
        Ok(number)
    }
}

/// A saga without the newest record that it had.
pub(crate) fn missing_newest(saga: &str) -> Error {
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
