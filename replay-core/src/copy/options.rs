use serde::{Serialize, Serializer};

use crate::{Error, ErrorKind, SagaId, storage::SagaQuery};

/// How many refusals a report names; the others are only counted.
pub const MAX_REFUSALS: usize = 1000;

/// What is copied, and how. The default: every saga, four at once, without reading what was written once more.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Which sagas; by default all.
    pub query: SagaQuery,
    /// Whether to look only at what would be copied. Contexts are read and checked, nothing is written.
    pub dry_run: bool,
    /// Whether to read each copied history back and compare it with the original, record by record.
    pub verify: bool,
    /// How many sagas are copied at once; 0 counts as 1.
    pub concurrency: usize,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { query: SagaQuery::default(), dry_run: false, verify: false, concurrency: 4 }
    }
}

impl CopyOptions {
    /// Sets which sagas.
    #[must_use]
    pub fn with_query(mut self, query: SagaQuery) -> Self {
        self.query = query;
        self
    }

    /// Sets whether to look only at what would be copied.
    #[must_use]
    pub fn with_dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Sets whether to read each copied history back.
    #[must_use]
    pub fn with_verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// Sets how many sagas are copied at once.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }
}

/// What happens while sagas are copied.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum CopyEvent<'a> {
    /// So many further records of a saga are in the other store, or would be in a dry run.
    Records {
        /// The saga.
        saga: &'a SagaId,
        /// How many.
        records: u64,
    },
    /// A saga is done, or was refused.
    Saga(&'a SagaCopy),
}

/// How copying one saga went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SagaCopy {
    /// The saga.
    pub saga_id: SagaId,
    /// How it ended.
    pub outcome: SagaOutcome,
    /// How many records were written.
    pub records: u64,
    /// The sum of their stored lengths, in bytes.
    pub bytes: u64,
    /// Up to which sequence the history was there already; 0 if it was not.
    pub present: u64,
    /// How many blobs were written.
    pub blobs: u64,
    /// How many entries of the replay log were written.
    pub log_entries: u64,
    /// How many records were read back and found equal; none without `verify`.
    pub verified: u64,
}

impl SagaCopy {
    pub(super) fn of(saga: &SagaId) -> Self {
        let outcome = SagaOutcome::Unchanged;
        Self { saga_id: saga.clone(), outcome, records: 0, bytes: 0, present: 0, blobs: 0, log_entries: 0, verified: 0 }
    }
}

/// How copying one saga ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SagaOutcome {
    /// Something of it was written.
    Copied,
    /// Everything was there already.
    Unchanged,
    /// It could not be copied.
    Refused(CopyRefusal),
}

/// Why a saga was not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CopyRefusal {
    /// The saga.
    pub saga_id: SagaId,
    /// The first sequence that differs or is damaged, if that is known.
    pub sequence: Option<u64>,
    /// `Conflict` if it differs in the other store, `Integrity` if it is damaged, `NewerVersion` if a later version wrote it,
    /// `LimitExceeded` if it is too large for the other store.
    #[serde(serialize_with = "as_word")]
    pub kind: ErrorKind,
    /// What is wrong, in a sentence.
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn as_word<S: Serializer>(kind: &ErrorKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

impl CopyRefusal {
    pub(super) fn of(saga: &SagaId, error: &Error) -> Self {
        Self {
            saga_id: saga.clone(),
            sequence: error.fact("sequence").and_then(|sequence| sequence.parse().ok()),
            kind: error.kind(),
            message: error.detail().map_or_else(|| error.to_string(), str::to_owned),
        }
    }
}

/// What a copy did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CopyReport {
    /// How many sagas something was written of.
    pub copied: u64,
    /// How many sagas were there already.
    pub unchanged: u64,
    /// How many sagas were refused.
    pub refused: u64,
    /// How many records were written.
    pub records: u64,
    /// The sum of their stored lengths, in bytes.
    pub bytes: u64,
    /// How many blobs were written.
    pub blobs: u64,
    /// How many entries of replay logs were written.
    pub log_entries: u64,
    /// How many records were read back and found equal.
    pub verified: u64,
    /// The first refusals, at most [`MAX_REFUSALS`].
    pub refusals: Vec<CopyRefusal>,
}

impl CopyReport {
    pub(super) fn add(&mut self, saga: SagaCopy) {
        self.records += saga.records;
        self.bytes += saga.bytes;
        self.blobs += saga.blobs;
        self.log_entries += saga.log_entries;
        self.verified += saga.verified;
        match saga.outcome {
            SagaOutcome::Copied => self.copied += 1,
            SagaOutcome::Unchanged => self.unchanged += 1,
            SagaOutcome::Refused(refusal) => {
                self.refused += 1;
                if self.refusals.len() < MAX_REFUSALS {
                    self.refusals.push(refusal);
                }
            }
        }
    }
}
