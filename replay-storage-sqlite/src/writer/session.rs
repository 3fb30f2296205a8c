//! The connection that writes, and what it remembers of the file between transactions.

use std::collections::HashMap;

use replay_core::{Digest, Outline, Result, SagaId};
use rusqlite::{Connection, OptionalExtension, named_params};

use super::job::Job;
use crate::{
    error::{Stage, classify, during, is_busy},
    frames,
    head::Head,
};

/// Beyond this many entries a memory is emptied: it only saves lookups.
const REMEMBERED: usize = 16_384;

/// The writing connection of one namespace.
pub(crate) struct Session {
    connection: Connection,
    /// As they are in the file, or in the open transaction. It is emptied when that is undone and when others changed the file.
    heads: HashMap<SagaId, Head>,
    /// What SQLite calls the version of the file: it changes with each commit of another connection, and with no own one.
    version: Option<i64>,
    /// The newest frame of each saga; for as long as heads are remembered, and until a frame is removed.
    frames: HashMap<i64, frames::Known>,
    definitions: Memory<Digest>,
}

/// What became of a group of jobs.
pub(super) enum Outcome {
    /// Every job has its answer.
    Settled,
    /// Another process writes; nothing was begun.
    Busy(Vec<Box<dyn Job>>, rusqlite::Error),
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, heads: HashMap::new(), version: None, frames: HashMap::new(), definitions: Memory::default() }
    }

    /// The connection, inside the transaction.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs `jobs` in one transaction and answers each. If one of them makes the transaction fail, each gets its own, so that it
    /// takes no other with it.
    pub(super) fn commit(&mut self, mut jobs: Vec<Box<dyn Job>>) -> Outcome {
        if let Err(failure) = self.begin() {
            return if is_busy(&failure) {
                Outcome::Busy(jobs, failure)
            } else {
                settle_all(jobs, &failure, Stage::Work);
                Outcome::Settled
            };
        }
        let worked = jobs.iter_mut().try_for_each(|job| job.run(self));
        match worked {
            Ok(()) => match self.end() {
                Ok(()) => jobs.into_iter().for_each(|job| job.settle(Ok(()))),
                Err(failure) => settle_all(jobs, &failure, Stage::Commit),
            },
            Err(error) => {
                self.roll_back();
                match <[_; 1]>::try_from(jobs) {
                    Ok([only]) => only.settle(Err(error)),
                    Err(jobs) => self.commit_each(jobs),
                }
            }
        }
        Outcome::Settled
    }

    fn commit_each(&mut self, jobs: Vec<Box<dyn Job>>) {
        for job in jobs {
            if let Outcome::Busy(jobs, failure) = self.commit(vec![job]) {
                give_up(jobs, &failure);
            }
        }
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        if !self.connection.is_autocommit() {
            // A panic left it open.
            self.roll_back();
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let looked = self.connection.prepare_cached("PRAGMA data_version").and_then(|mut look| look.query_row([], |row| row.get(0)));
        match looked {
            Ok(version) if self.version == Some(version) => {}
            Ok(version) => {
                self.forget_heads();
                self.version = Some(version);
            }
            Err(failure) => {
                self.roll_back();
                return Err(failure);
            }
        }
        Ok(())
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        let committed = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        match committed {
            Ok(_) => {
                self.definitions.keep();
                Ok(())
            }
            Err(failure) => {
                self.roll_back();
                Err(failure)
            }
        }
    }

    fn roll_back(&mut self) {
        self.forget_heads();
        self.definitions.forget();
        if !self.connection.is_autocommit() {
            // SQLite rolls back by itself where this fails.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// How long to wait for another process.
    pub(super) fn set_patience(&self, patience: std::time::Duration) -> rusqlite::Result<()> {
        self.connection.busy_timeout(patience)
    }

    /// A saga's head, if it is known.
    pub(crate) fn head(&self, saga: &SagaId) -> Option<Head> {
        self.heads.get(saga).copied()
    }

    /// Remembers a head that the open transaction makes.
    pub(crate) fn learn_head(&mut self, saga: &SagaId, head: Head) {
        if let Some(known) = self.heads.get_mut(saga) {
            *known = head;
            return;
        }
        if self.heads.len() >= REMEMBERED {
            self.heads.clear();
        }
        self.heads.insert(saga.clone(), head);
    }

    /// To be called by whatever but an append changes which record is a saga's newest.
    pub(crate) fn forget_heads(&mut self) {
        self.heads.clear();
        self.frames.clear();
    }

    /// A saga's newest frame, if it is known.
    pub(crate) fn frame(&self, saga_no: i64) -> Option<frames::Known> {
        self.frames.get(&saga_no).copied()
    }

    /// Remembers a frame that is there, in the open transaction.
    pub(crate) fn learn_frame(&mut self, saga_no: i64, frame: frames::Known) {
        if self.frames.len() >= REMEMBERED {
            self.frames.clear();
        }
        self.frames.insert(saga_no, frame);
    }

    /// To be called by whatever removes a frame.
    pub(crate) fn forget_frames(&mut self) {
        self.frames.clear();
    }

    /// The number of a definition's outline, which is stored if it is new.
    pub(crate) fn definition(&mut self, namespace: &str, outline: &Outline) -> Result<i64> {
        let fingerprint = outline.fingerprint();
        if let Some(number) = self.definitions.get(&fingerprint) {
            return Ok(number);
        }
        let number = self.store_definition(namespace, outline).map_err(during("append"))?;
        self.definitions.learn(fingerprint, number);
        Ok(number)
    }

    fn store_definition(&self, namespace: &str, outline: &Outline) -> rusqlite::Result<i64> {
        let fingerprint = outline.fingerprint();
        let fingerprint = fingerprint.as_bytes();
        let known = self
            .connection
            .prepare_cached("SELECT definition_no FROM definitions WHERE namespace = :namespace AND fingerprint = :fingerprint")?
            .query_row(named_params! { ":namespace": namespace, ":fingerprint": fingerprint }, |row| row.get(0))
            .optional()?;
        if let Some(number) = known {
            return Ok(number);
        }
        self.connection
            .prepare_cached("INSERT INTO definitions (namespace, fingerprint, outline) VALUES (:namespace, :fingerprint, :outline)")?
            .insert(named_params! {
                ":namespace": namespace,
                ":fingerprint": fingerprint,
                ":outline": crate::row::Text(outline.as_bytes()),
            })
    }
}

fn settle_all(jobs: Vec<Box<dyn Job>>, failure: &rusqlite::Error, stage: Stage) {
    for job in jobs {
        job.settle(Err(classify("write", failure, stage).caused_by(failure.to_string())));
    }
}

/// Answers the jobs that another process kept from being done.
pub(super) fn give_up(jobs: Vec<Box<dyn Job>>, failure: &rusqlite::Error) {
    settle_all(jobs, failure, Stage::Work);
}

/// Numbers by key; what an open transaction teaches is kept only if it is committed.
struct Memory<K> {
    known: HashMap<K, i64>,
    fresh: Vec<(K, i64)>,
}

impl<K> Default for Memory<K> {
    fn default() -> Self {
        Self { known: HashMap::new(), fresh: Vec::new() }
    }
}

impl<K: Eq + std::hash::Hash> Memory<K> {
    fn get(&self, key: &K) -> Option<i64> {
        self.known.get(key).copied()
    }

    fn learn(&mut self, key: K, number: i64) {
        self.fresh.push((key, number));
    }

    fn keep(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        if self.known.len() + self.fresh.len() > REMEMBERED {
            self.known.clear();
        }
        self.known.extend(self.fresh.drain(..));
    }

    fn forget(&mut self) {
        self.fresh.clear();
    }
}
