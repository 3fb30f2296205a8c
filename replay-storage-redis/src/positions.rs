//! A saga's positions: a string of 28 bytes for each record, in order of sequence, after 8 bytes that say before which it begins.
//! What a history is searched by is thus read without the records.
//!
//! | bytes | are |
//! |---|---|
//! | 0–7 | when it was created |
//! | 8–15 | until when it must be kept; all ones = for ever |
//! | 16–19 | how many bytes header and payload have |
//! | 20 | flags: 1 = is there, 2 = a checkpoint, 4 = several next steps, 8 = too many for fields of their own |
//! | 21–27 | a hash of the next step, if there is one |

use chrono::{DateTime, Utc};
use replay_core::{Result, SnapshotRecord};

use crate::{
    error::damaged,
    head::{instant, ordered},
    keys::fnv,
};

pub(crate) const LEN: usize = 28;
const ALIVE: u8 = 1;
const CHECKPOINT: u8 = 2;
const SEVERAL: u8 = 4;
const WIDE: u8 = 8;
const FOR_EVER: [u8; 8] = [0xff; 8];

/// With more next steps than this a record is found by looking through the positions.
const MOST_FIELDS: usize = 16;

/// One record's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) sequence: u64,
    pub(crate) created_at: [u8; 8],
    retention: [u8; 8],
    pub(crate) bytes: u32,
    flags: u8,
    next: [u8; 7],
}

impl Position {
    /// The position of `record`, and the names of the fields that lead to it.
    pub(crate) fn of(record: &SnapshotRecord) -> (Self, Vec<Vec<u8>>) {
        let names: Vec<&str> = record.next_steps().iter().take(MOST_FIELDS + 1).collect();
        let (flags, next, fields) = match &names[..] {
            [] => (ALIVE, [0; 7], Vec::new()),
            [name] => (ALIVE | CHECKPOINT, step_hash(name), vec![field(step_hash(name))]),
            names if names.len() <= MOST_FIELDS => {
                (ALIVE | CHECKPOINT | SEVERAL, [0; 7], names.iter().map(|name| field(step_hash(name))).collect())
            }
            _ => (ALIVE | CHECKPOINT | SEVERAL | WIDE, [0; 7], vec![b"w".to_vec()]),
        };
        let position = Self {
            sequence: record.sequence,
            created_at: ordered(record.created_at),
            retention: record.retention_until.map_or(FOR_EVER, ordered),
            bytes: u32::try_from(record.stored_len()).unwrap_or(u32::MAX),
            flags,
            next,
        };
        (position, fields)
    }

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.created_at);
        to.extend_from_slice(&self.retention);
        to.extend_from_slice(&self.bytes.to_be_bytes());
        to.push(self.flags);
        to.extend_from_slice(&self.next);
    }

    /// Writes the place of a record that is missing before this one.
    pub(crate) fn write_hole(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.created_at);
        to.extend_from_slice(&[0; LEN - 8]);
    }

    fn read(sequence: u64, bytes: &[u8; LEN]) -> Self {
        let mut position = Self { sequence, created_at: [0; 8], retention: [0; 8], bytes: 0, flags: bytes[20], next: [0; 7] };
        position.created_at.copy_from_slice(&bytes[..8]);
        position.retention.copy_from_slice(&bytes[8..16]);
        position.bytes = u32::from_be_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
        position.next.copy_from_slice(&bytes[21..]);
        position
    }

    /// Whether the record is there; one that was removed alone leaves its position behind.
    pub(crate) fn is_alive(&self) -> bool {
        self.flags & ALIVE != 0
    }

    pub(crate) fn is_checkpoint(&self) -> bool {
        self.flags & CHECKPOINT != 0
    }

    /// Whether a step whose hash is `step` may be among its next steps.
    pub(crate) fn may_precede(&self, step: [u8; 7]) -> bool {
        self.is_alive() && self.is_checkpoint() && (self.flags & SEVERAL != 0 || self.next == step)
    }

    /// The hash of its only next step.
    pub(crate) fn only_next(&self) -> Option<[u8; 7]> {
        (self.is_checkpoint() && self.flags & SEVERAL == 0).then_some(self.next)
    }

    pub(crate) fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.retention != FOR_EVER && instant(self.retention) <= now
    }
}

/// A step's name as seven bytes; two names may share them.
pub(crate) fn step_hash(name: &str) -> [u8; 7] {
    let mut hash = [0; 7];
    hash.copy_from_slice(&fnv(name.as_bytes()).to_be_bytes()[1..]);
    hash
}

/// The field of a saga's hash that has the sequence of the newest record before a step.
pub(crate) fn field(step: [u8; 7]) -> Vec<u8> {
    // Nine bytes, so that it is no sequence, which has eight.
    [b"n.".as_slice(), &step].concat()
}

/// A run of positions, of which the first has the sequence `first`.
pub(crate) fn run(operation: &'static str, first: u64, bytes: &[u8]) -> Result<Vec<Position>> {
    let (positions, rest) = bytes.as_chunks::<LEN>();
    if !rest.is_empty() {
        return Err(damaged(operation, "the positions of a saga are damaged"));
    }
    Ok((first..).zip(positions).map(|(sequence, bytes)| Position::read(sequence, bytes)).collect())
}

/// All positions of a saga, as stored.
pub(crate) fn all(operation: &'static str, bytes: &[u8]) -> Result<Vec<Position>> {
    let Some((base, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(damaged(operation, "the positions of a saga are missing"));
    };
    run(operation, u64::from_be_bytes(*base).saturating_add(1), rest)
}
