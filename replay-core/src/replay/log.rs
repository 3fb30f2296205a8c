//! The replay log: one stream per original saga, to which each replay is appended before it runs and again when it has ended.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Checkpoint, Compensated, ForceFailure, KeyPolicy, ReplayRequest, ReplayStatus};
use crate::{
    Digest, Error, ErrorKind, HistoryId, ReplayId, Result, Retry, RunnerId, SagaId, SagaStatus, json::Redactor, storage::LogStorage,
};

/// How often an append to a log is tried when others append too, or the store does not answer.
const ATTEMPTS: u32 = 64;
/// How often it is repeated when its outcome is unknown.
const REPEATS: u32 = 3;

/// One replay in the log. Secrets in the override are redacted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReplayEntry {
    /// The replay.
    pub replay_id: ReplayId,
    /// The saga that was replayed.
    pub original: SagaId,
    /// The new saga; none for dry and refused replays.
    pub new_saga: Option<SagaId>,
    /// From where, as it was asked for.
    pub checkpoint: Checkpoint,
    /// The sequence that this led to; none if it led nowhere.
    pub sequence: Option<u64>,
    /// How the context differs, as [`Override`](crate::json::Override) is serialised, without its secrets.
    pub context_override: Value,
    /// Which idempotency keys the steps hand on.
    pub keys: KeyPolicy,
    /// What happens with steps that were compensated since.
    pub compensated: Compensated,
    /// Whether a step is made to fail.
    pub force_failure: ForceFailure,
    /// The fingerprint of the definition that is used; none if the replay was refused before that was known.
    pub fingerprint: Option<Digest>,
    /// On whose behalf.
    pub initiated_by: Option<Arc<str>>,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// The replay key.
    pub replay_key: Option<Arc<str>>,
    /// Who runs it.
    pub runner: RunnerId,
    /// Whether it is a dry run.
    pub dry_run: bool,
    /// Whether it was refused, so that nothing ran.
    pub refused: bool,
    /// Where it stands. While it is open this is what the new saga says.
    pub status: ReplayStatus,
    /// Whether it is open although its runner is gone: the new saga can be resumed.
    pub interrupted: bool,
    /// Why it failed or was refused.
    pub error: Option<String>,
    /// When it was asked for.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Where the new saga stood when it ended; none while the entry is open.
    #[serde(skip)]
    pub(super) closed: Option<SagaStatus>,
    /// Tells requests apart that are the same but for what is redacted.
    #[serde(skip)]
    pub(super) proof: Option<Proof>,
}

impl ReplayEntry {
    /// Whether the new saga may say more than the log: it is not known there that it has ended.
    pub(super) fn is_open(&self) -> bool {
        !self.dry_run && !self.refused && !self.closed.is_some_and(SagaStatus::is_terminal)
    }

    /// Whether `request` asks for the same as this replay did, as far as the log can tell.
    pub(super) fn is_same(&self, request: &ReplayRequest, redactor: &Redactor) -> bool {
        self.proof.as_ref().is_none_or(|proof| *proof == Proof::of(request, proof.salt))
            && request.new_id.as_ref().is_none_or(|id| self.new_saga.as_ref() == Some(id))
            && self.checkpoint == request.checkpoint
            && self.context_override == request.context_override.redacted(redactor)
            && self.keys == request.keys
            && self.compensated == request.compensated
            && self.force_failure == request.force_failure
    }
}

/// A salted digest of the whole request, its secrets included, so that a repeated replay key with another token is noticed.
///
/// With the salt, equal requests of two replays cannot be told to be equal, and no table of digests made beforehand helps. A secret that
/// can be guessed can still be tried by whoever reads the log; they also read the snapshots, where the override was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof {
    salt: Uuid,
    digest: Uuid,
}

impl Proof {
    /// `salt`: 74 random bits at least.
    pub(super) fn of(request: &ReplayRequest, salt: Uuid) -> Self {
        let steps: Vec<u8> = request.fresh_keys.iter().flat_map(|step| step.bytes().chain([0])).collect();
        let whole = serde_json::to_vec(&request.context_override).unwrap_or_default();
        let digest = Digest::of_parts([salt.as_bytes().as_slice(), &whole, &steps]);
        let mut half = [0; 16];
        half.copy_from_slice(&digest.as_bytes()[..16]);
        Self { salt, digest: Uuid::from_bytes(half) }
    }
}

/// What is appended, as JSON with its format's version `v`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    v: u32,
    #[serde(flatten)]
    pub(super) event: Event,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    Opened(Box<Opened>),
    Closed(Closed),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) replay_id: ReplayId,
    pub(super) original: SagaId,
    pub(super) new_saga: Option<SagaId>,
    pub(super) checkpoint: Checkpoint,
    pub(super) sequence: Option<u64>,
    pub(super) context_override: Value,
    pub(super) keys: KeyPolicy,
    pub(super) compensated: Compensated,
    pub(super) force_failure: ForceFailure,
    pub(super) fingerprint: Option<Digest>,
    pub(super) initiated_by: Option<Arc<str>>,
    pub(super) reason: Option<Arc<str>>,
    pub(super) replay_key: Option<Arc<str>>,
    pub(super) runner: RunnerId,
    pub(super) dry_run: bool,
    #[serde(default)]
    pub(super) proof: Option<Proof>,
    pub(super) at: DateTime<Utc>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Closed {
    pub(super) replay_id: ReplayId,
    pub(super) status: ReplayStatus,
    pub(super) refused: bool,
    pub(super) saga_status: Option<SagaStatus>,
    pub(super) error: Option<String>,
    pub(super) at: DateTime<Utc>,
}

impl Opened {
    fn into_entry(self) -> ReplayEntry {
        ReplayEntry {
            replay_id: self.replay_id,
            original: self.original,
            new_saga: self.new_saga,
            checkpoint: self.checkpoint,
            sequence: self.sequence,
            context_override: self.context_override,
            keys: self.keys,
            compensated: self.compensated,
            force_failure: self.force_failure,
            fingerprint: self.fingerprint,
            initiated_by: self.initiated_by,
            reason: self.reason,
            replay_key: self.replay_key,
            runner: self.runner,
            dry_run: self.dry_run,
            refused: false,
            status: ReplayStatus::Pending,
            interrupted: false,
            error: None,
            started_at: self.at,
            ended_at: None,
            closed: None,
            proof: self.proof,
        }
    }
}

/// What opening an entry led to.
pub(super) enum Opening {
    /// It is in the log.
    Opened,
    /// The replay key belongs to this one.
    Existing(Box<ReplayEntry>),
}

/// The stream with the replays of one history, so that a saga does not have those of another one that once had its id. The two forms of
/// the name never meet, whatever the id.
pub(crate) fn log_stream(original: &SagaId, history: Option<HistoryId>) -> String {
    match history {
        Some(history) => format!("replay:{history}/{original}"),
        None => format!("replay/{original}"),
    }
}

/// The log of the replays of one saga.
pub(super) struct ReplayLog<'a> {
    logs: &'a dyn LogStorage,
    stream: String,
}

impl<'a> ReplayLog<'a> {
    pub(super) fn of(logs: &'a dyn LogStorage, original: &SagaId, history: Option<HistoryId>) -> Self {
        Self { logs, stream: log_stream(original, history) }
    }

    /// The entries in order, and the stream's length.
    pub(super) async fn read(&self) -> Result<(Vec<ReplayEntry>, u64)> {
        let mut lines = self.logs.read_log(&self.stream, 0, u64::MAX);
        let mut entries: Vec<ReplayEntry> = Vec::new();
        let mut len = 0;
        while let Some(line) = lines.try_next().await? {
            len = line.index + 1;
            match self.parse(line.index, &line.bytes)? {
                Event::Opened(opened) => entries.push(opened.into_entry()),
                Event::Closed(closed) => {
                    if let Some(entry) = entries.iter_mut().rev().find(|entry| entry.replay_id == closed.replay_id) {
                        entry.status = closed.status;
                        entry.refused = closed.refused;
                        entry.error = closed.error;
                        entry.ended_at = Some(closed.at);
                        entry.closed = closed.saga_status;
                    }
                }
            }
        }
        Ok((entries, len))
    }

    fn parse(&self, index: u64, bytes: &Bytes) -> Result<Event> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let damaged = |error: serde_json::Error| {
            Error::new(ErrorKind::Integrity, "read replay log").with("stream", &self.stream).with("index", index).caused_by(error)
        };
        let Version { v } = serde_json::from_slice(bytes).map_err(damaged)?;
        if v != 1 {
            return Err(Error::new(ErrorKind::NewerVersion, "read replay log")
                .message(format!("an entry has format {v}, which is not known to this version"))
                .with("stream", &self.stream)
                .with("index", index));
        }
        serde_json::from_slice::<Line>(bytes).map(|line| line.event).map_err(damaged)
    }

    /// The replay with this key, if it was not refused.
    pub(super) async fn with_key(&self, key: &str) -> Result<Option<ReplayEntry>> {
        Ok(self.read().await?.0.into_iter().find(|entry| has_key(entry, key)))
    }

    /// Opens an entry, unless its replay key is that of another one.
    pub(super) async fn open(&self, opened: Opened) -> Result<Opening> {
        let (id, key) = (opened.replay_id, opened.replay_key.clone().filter(|_| !opened.dry_run));
        let lines = vec![Event::Opened(Box::new(opened))];
        self.append(lines, |entries| {
            if is_there(&entries, id) {
                return Some(Opening::Opened);
            }
            let other = key.as_ref().and_then(|key| entries.into_iter().find(|entry| has_key(entry, key)));
            other.map(|entry| Opening::Existing(Box::new(entry)))
        })
        .await
    }

    /// Opens and closes an entry at once.
    pub(super) async fn note(&self, opened: Opened, closed: Closed) -> Result<()> {
        let id = opened.replay_id;
        let lines = vec![Event::Opened(Box::new(opened)), Event::Closed(closed)];
        self.append(lines, |entries| is_there(&entries, id).then_some(Opening::Opened)).await.map(drop)
    }

    pub(super) async fn close(&self, closed: Closed) -> Result<()> {
        self.append(vec![Event::Closed(closed)], |_| None).await.map(drop)
    }

    /// Appends `events`, unless `known` makes out of the entries that are there that it need not be. It is asked anew whenever others
    /// were faster, also since an append whose outcome was unknown may have been stored before theirs.
    async fn append(&self, events: Vec<Event>, known: impl Fn(Vec<ReplayEntry>) -> Option<Opening>) -> Result<Opening> {
        let encode = |event: Event| serde_json::to_vec(&Line { v: 1, event }).map(Bytes::from);
        let lines: Vec<Bytes> = events
            .into_iter()
            .map(encode)
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| Error::new(ErrorKind::Internal, "write replay log").caused_by(error))?;
        let mut attempt = 0;
        loop {
            let (entries, len) = self.read().await?;
            if let Some(opening) = known(entries) {
                return Ok(opening);
            }
            attempt += 1;
            match self.append_once(len, &lines).await {
                Ok(()) => return Ok(Opening::Opened),
                Err(error) if error.is(ErrorKind::Conflict) && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Repeats the very same append while its outcome is unknown.
    async fn append_once(&self, len: u64, lines: &[Bytes]) -> Result<()> {
        let mut repeat = 0;
        loop {
            match self.logs.append_log(&self.stream, len, lines.to_vec()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.retry_advice() == Retry::Ambiguous && repeat < REPEATS => repeat += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_there(entries: &[ReplayEntry], id: ReplayId) -> bool {
    entries.iter().any(|entry| entry.replay_id == id)
}

fn has_key(entry: &ReplayEntry, key: &str) -> bool {
    !entry.dry_run && !entry.refused && entry.replay_key.as_deref() == Some(key)
}
