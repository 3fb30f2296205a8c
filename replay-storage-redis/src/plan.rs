//! What of a saga may go: decided from its head and its positions, without the server.

use chrono::{DateTime, Utc};

use crate::{
    head::Head,
    positions::{self, Position},
};

/// Which records are to go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope {
    /// Those that need not be kept at this instant.
    Expired(DateTime<Utc>),
    /// Those beyond the newest so many.
    KeepNewest(u64),
    /// The one with this sequence.
    Record(u64),
}

/// What of one saga may go.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Records other than the newest, the oldest first.
    pub(crate) older: Vec<Position>,
    /// The newest record, if it goes too, and the saga with it.
    pub(crate) newest: Option<Position>,
    /// Whether that holds only as long as the saga has ended.
    pub(crate) needs_end: bool,
}

impl Plan {
    pub(crate) fn of(head: &Head, positions: &[Position], scope: Scope) -> Self {
        let alive: Vec<&Position> = positions.iter().filter(|position| position.is_alive()).collect();
        let Some((newest, others)) = alive.split_last() else { return Self::default() };
        let checkpoint = alive.iter().rev().find(|position| position.is_checkpoint()).map(|position| position.sequence);
        let kept = match scope {
            Scope::KeepNewest(keep) => usize::try_from(keep.max(1)).unwrap_or(usize::MAX),
            _ => 0,
        };
        let first_kept = alive.len().saturating_sub(kept);
        let hits = |at: usize, position: &Position| match scope {
            Scope::Expired(now) => position.has_expired(now),
            Scope::KeepNewest(_) => at < first_kept,
            Scope::Record(sequence) => position.sequence == sequence,
        };
        let may_go = |position: &Position| head.has_ended() || Some(position.sequence) != checkpoint;
        let others = others.iter().enumerate();
        let older: Vec<Position> =
            others.filter(|(at, position)| hits(*at, position) && may_go(position)).map(|(_, position)| **position).collect();
        let goes_whole = head.has_ended() && older.len() + 1 == alive.len() && hits(alive.len() - 1, newest);
        let needs_end = older.iter().any(|position| Some(position.sequence) == checkpoint);
        Self { older, newest: goes_whole.then_some(**newest), needs_end }
    }

    /// How many records may go.
    pub(crate) fn len(&self) -> u64 {
        self.older.len() as u64 + u64::from(self.newest.is_some())
    }

    /// Leaves only the first `count`.
    pub(crate) fn truncate(&mut self, count: u64) {
        if self.len() > count {
            self.newest = None;
            self.older.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        }
    }

    /// The sequence up to which nothing is left once `removed` is gone.
    pub(crate) fn gone_up_to(positions: &[Position], removed: &[Position]) -> u64 {
        let is_left =
            |position: &&Position| position.is_alive() && removed.binary_search_by_key(&position.sequence, |p| p.sequence).is_err();
        positions.iter().find(is_left).map_or(0, |position| position.sequence - 1)
    }

    /// The fields that lead to what is removed, each with the sequence that it names and the one that it shall name, if there is one.
    pub(crate) fn fields(positions: &[Position], removed: &[Position]) -> Vec<(Vec<u8>, u64, Option<u64>)> {
        let is_removed = |position: &Position| removed.binary_search_by_key(&position.sequence, |p| p.sequence).is_ok();
        // A record with several next steps may be the next to lead to, which its position does not say: the field then goes on naming
        // what is gone, and whoever follows it searches.
        if positions.iter().any(|position| position.is_alive() && position.is_checkpoint() && position.only_next().is_none()) {
            return Vec::new();
        }
        let mut seen = std::collections::HashSet::new();
        let mut fields = Vec::new();
        for position in positions.iter().rev() {
            let Some(step) = position.only_next().filter(|step| seen.insert(*step)) else { continue };
            if is_removed(position) {
                let next = positions.iter().rev().find(|p| p.is_alive() && p.only_next() == Some(step) && !is_removed(p));
                fields.push((positions::field(step), position.sequence, next.map(|p| p.sequence)));
            }
        }
        fields
    }
}
