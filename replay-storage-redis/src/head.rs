//! What a saga's hash has beside its records: the head, 81 bytes that the scripts cut into the same pieces.
//!
//! | bytes | are |
//! |---|---|
//! | 0–7 | sequence of the newest record |
//! | 8–39 | its digest |
//! | 40 | its status |
//! | 41–48 | hash of the saga that it was replayed from, or zero |
//! | 49–64 | the first half of its definition's fingerprint |
//! | 65–72 | when the saga started |
//! | 73–80 | birth: the first bytes of its first record's digest, so that a saga that begins anew is told from the one before |

use chrono::{DateTime, Utc};
use replay_core::{Digest, SagaId, SagaStatus, SnapshotMeta, SnapshotRecord};

use crate::keys::fnv;

/// Where what changes with a record ends and what stays begins.
const FIXED: usize = 65;
const LEN: usize = 81;

/// A saga's head, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head([u8; LEN]);

impl Head {
    /// The head that `bytes` are; none if they are not one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn sequence(&self) -> u64 {
        u64::from_be_bytes(self.array(0))
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::from_bytes(self.array(8))
    }

    pub(crate) fn has_ended(&self) -> bool {
        SagaStatus::from_code(self.0[40]).is_some_and(SagaStatus::is_terminal)
    }

    pub(crate) fn started_at(&self) -> DateTime<Utc> {
        instant(self.array(65))
    }

    /// What tells this saga from another one of the same id.
    pub(crate) fn birth(&self) -> &[u8] {
        &self.0[73..]
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.0[at..at + N]);
        array
    }
}

/// The first 65 bytes of a head for a newest record with this position, and the facets of `meta`.
pub(crate) fn fixed(sequence: u64, digest: &Digest, meta: &SnapshotMeta) -> [u8; FIXED] {
    let mut head = [0; FIXED];
    head[..8].copy_from_slice(&sequence.to_be_bytes());
    head[8..40].copy_from_slice(digest.as_bytes());
    head[40] = meta.status.code();
    if let Some(origin) = &meta.origin {
        // Zero stands for none.
        head[41..49].copy_from_slice(&fnv(origin.saga_id.as_str().as_bytes()).max(1).to_be_bytes());
    }
    head[49..].copy_from_slice(&definition(&meta.fingerprint()));
    head
}

/// The rest of a head, which stays: when the saga started, and its birth.
pub(crate) fn rest(first: &SnapshotRecord) -> [u8; LEN - FIXED] {
    let mut rest = [0; LEN - FIXED];
    rest[..8].copy_from_slice(&ordered(first.begins_at()));
    rest[8..].copy_from_slice(&first.digest().as_bytes()[..8]);
    rest
}

/// What a definition is kept under.
pub(crate) fn definition(fingerprint: &Digest) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&fingerprint.as_bytes()[..16]);
    half
}

/// An instant as bytes that are in order of time; what is finer than a microsecond is cut off.
pub(crate) fn ordered(instant: DateTime<Utc>) -> [u8; 8] {
    (instant.timestamp_micros().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

/// The instant that [`ordered`] made `bytes` of.
pub(crate) fn instant(bytes: [u8; 8]) -> DateTime<Utc> {
    let micros = (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed();
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// What stands in the index of a shard for all sagas, after a byte that says by what it is sorted: the start, then the id.
pub(crate) fn place(started_at: [u8; 8], saga: &SagaId) -> Vec<u8> {
    [&started_at[..], saga.as_str().as_bytes()].concat()
}

/// What comes before the place of a saga in the index of those that were replayed from `origin`.
pub(crate) fn origin_entry(origin: &SagaId) -> Vec<u8> {
    let id = origin.as_str().as_bytes();
    let len = u8::try_from(id.len()).unwrap_or(u8::MAX);
    [&[b'o', len], id].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_sort_as_bytes_and_come_back() {
        let micros = [i64::MIN / 1000, -1, 0, 1, 1_767_225_600_000_000, 253_402_300_799_999_999];
        let instants: Vec<_> = micros.iter().filter_map(|micros| DateTime::from_timestamp_micros(*micros)).collect();
        assert!(instants.len() >= 5);
        assert!(instants.iter().map(|at| ordered(*at)).is_sorted());
        assert!(instants.iter().all(|at| instant(ordered(*at)) == *at));
    }
}
