//! The floor of the SQLite store: the same bytes through the same driver, with the same settings of the file, in rows of arrival
//! order with one narrow index.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    Outcome, harness,
    job::{Bits, STEPS},
};

/// How a commit is made safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    Full,
    Normal,
}

impl Sync {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

/// A bare file.
#[derive(Debug)]
pub(crate) struct Bare {
    connection: Connection,
    sagas: i64,
}

impl Bare {
    pub(crate) fn open(path: &Path, sync: Sync) -> Outcome<Self> {
        let connection = Connection::open(path)?;
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", sync.word())?;
        // As the store has them.
        connection.pragma_update(None, "wal_autocheckpoint", 4000)?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS records (
                 record_no INTEGER PRIMARY KEY, saga_no INTEGER NOT NULL, sequence INTEGER NOT NULL, created_at INTEGER NOT NULL,
                 header BLOB NOT NULL, context TEXT NOT NULL) STRICT;
             CREATE UNIQUE INDEX IF NOT EXISTS records_by_saga ON records (saga_no, sequence);",
        )?;
        Ok(Self { connection, sagas: 0 })
    }

    /// Adds the index that a read by time needs.
    pub(crate) fn index_time(&self) -> Outcome {
        Ok(self.connection.execute_batch("CREATE INDEX records_by_time ON records (saga_no, created_at)")?)
    }

    /// One row; a transaction of its own unless one is open.
    pub(crate) fn insert(&self, saga: i64, sequence: i64, bits: &Bits) -> Outcome {
        self.connection
            .prepare_cached("INSERT INTO records (saga_no, sequence, created_at, header, context) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![saga, sequence, sequence * 1000, &bits.header[..], std::str::from_utf8(&bits.context)?])?;
        Ok(())
    }

    /// Goes on after so many sagas that are there already.
    pub(crate) fn skip(&mut self, sagas: usize) -> Outcome {
        self.sagas += i64::try_from(sagas)?;
        Ok(())
    }

    fn grouped(&self, work: impl FnOnce() -> Outcome) -> Outcome {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        work()?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Writes the records of so many sagas, a commit each.
    pub(crate) fn one_by_one(&mut self, records: &[Bits], sagas: usize) -> Outcome {
        for _ in 0..sagas {
            self.sagas += 1;
            for (sequence, bits) in (1..).zip(records) {
                self.insert(self.sagas, sequence, bits)?;
            }
        }
        Ok(())
    }

    /// Writes the records of `rounds` times `at_once` sagas; a commit for each record number of those that are at once.
    pub(crate) fn groups(&mut self, records: &[Bits], at_once: usize, rounds: usize) -> Outcome {
        let width = i64::try_from(at_once)?;
        for _ in 0..rounds {
            for (sequence, bits) in (1..).zip(records) {
                self.grouped(|| (1..=width).try_for_each(|saga| self.insert(self.sagas + saga, sequence, bits)))?;
            }
            self.sagas += width;
        }
        Ok(())
    }

    /// Writes one long saga, a thousand records a commit. Record `n` was created at `n` ms.
    pub(crate) fn long(&mut self, bits: &Bits, records: usize) -> Outcome {
        self.sagas += 1;
        let all: Vec<i64> = (1..=i64::try_from(records)?).collect();
        all.chunks(1000)
            .try_for_each(|chunk| self.grouped(|| chunk.iter().try_for_each(|sequence| self.insert(self.sagas, *sequence, bits))))
    }

    /// Microseconds per step of [`one_by_one`](Self::one_by_one).
    pub(crate) fn alone(&mut self, records: &[Bits], sagas: usize) -> Outcome<f64> {
        let start = Instant::now();
        self.one_by_one(records, sagas)?;
        Ok(harness::micros_each(start.elapsed(), sagas * STEPS))
    }

    /// Steps per second of [`groups`](Self::groups).
    pub(crate) fn throughput(&mut self, records: &[Bits], at_once: usize, rounds: usize) -> Outcome<f64> {
        let start = Instant::now();
        self.groups(records, at_once, rounds)?;
        Ok(harness::per_second(start.elapsed(), rounds * at_once * STEPS))
    }

    /// The newest record of the last saga that was created no later than `created_at`.
    pub(crate) fn at_time(&self, created_at: i64) -> Outcome<Option<Bits>> {
        self.one("SELECT header, context FROM records WHERE saga_no = ?1 AND created_at <= ?2 ORDER BY created_at DESC LIMIT 1", created_at)
    }

    /// The newest record of saga `saga`.
    pub(crate) fn newest(&self, saga: i64) -> Outcome<Option<Bits>> {
        let mut select =
            self.connection.prepare_cached("SELECT header, context FROM records WHERE saga_no = ?1 ORDER BY sequence DESC LIMIT 1")?;
        Ok(select.query_row([saga], Self::bits).optional()?)
    }

    fn one(&self, sql: &str, at: i64) -> Outcome<Option<Bits>> {
        Ok(self.connection.prepare_cached(sql)?.query_row([self.sagas, at], Self::bits).optional()?)
    }

    fn bits(row: &rusqlite::Row<'_>) -> rusqlite::Result<Bits> {
        let header: Vec<u8> = row.get(0)?;
        let context: String = row.get(1)?;
        Ok(Bits { header: header.into(), context: context.into_bytes().into() })
    }

    /// Every record of the last saga.
    pub(crate) fn history(&self) -> Outcome<Vec<Bits>> {
        let mut select = self.connection.prepare_cached("SELECT header, context FROM records WHERE saga_no = ?1 ORDER BY sequence")?;
        let rows = select.query_map([self.sagas], Self::bits)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Moves the log into the file and gives the file's size in bytes.
pub(crate) fn size_of(path: &Path) -> Outcome<u64> {
    let connection = Connection::open(path)?;
    let until = Instant::now() + Duration::from_secs(10);
    // SQLite waits for whoever writes, but not for a connection that moves the log itself because it is being closed.
    while connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))? != 0 {
        if Instant::now() > until {
            return Err("the log could not be moved into the file".into());
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(std::fs::metadata(path)?.len())
}
