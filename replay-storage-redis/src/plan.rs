//! What of a saga may go: decided from its head and its positions, without the server.

use std::collections::{HashMap, hash_map::Entry};

use chrono::{DateTime, Utc};

use crate::{head::Head, positions::Position};

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

    /// The fields that lead to what is removed, in the order of what they name.
    pub(crate) fn fields(positions: &[Position], removed: &[Position]) -> Vec<Field> {
        // A record with several next steps may be the next to lead to, which its position does not say: the field then goes on naming
        // what is gone, and whoever follows it searches.
        if positions.iter().any(|position| position.is_alive() && position.is_checkpoint() && position.only_next().is_none()) {
            return Vec::new();
        }
        let mut removed = removed.iter().rev().map(|position| position.sequence).peekable();
        // Where a step's field is in the list that still lacks what it shall name; none for one that needs nothing more.
        let mut steps: HashMap<[u8; 7], Option<usize>> = HashMap::new();
        let mut fields: Vec<Field> = Vec::new();
        for position in positions.iter().rev() {
            let is_removed = removed.next_if_eq(&position.sequence).is_some();
            let Some(step) = position.only_next() else { continue };
            match steps.entry(step) {
                Entry::Vacant(entry) => {
                    entry.insert(is_removed.then_some(fields.len()));
                    if is_removed {
                        fields.push(Field { step, old: position.sequence, new: None });
                    }
                }
                Entry::Occupied(mut entry) => {
                    if !is_removed
                        && position.is_alive()
                        && let Some(at) = entry.get_mut().take()
                    {
                        fields[at].new = Some(position.sequence);
                    }
                }
            }
        }
        fields.reverse();
        fields
    }
}

/// A field that leads to the newest record before a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) step: [u8; 7],
    /// The sequence that it names.
    pub(crate) old: u64,
    /// The sequence that it shall name, if there is one.
    pub(crate) new: Option<u64>,
}

/// Those of `fields` that name one of `removed`.
pub(crate) fn fields_of<'a>(fields: &'a [Field], removed: &[Position]) -> &'a [Field] {
    let (Some(first), Some(last)) = (removed.first(), removed.last()) else { return &[] };
    let from = fields.partition_point(|field| field.old < first.sequence);
    let until = fields.partition_point(|field| field.old <= last.sequence);
    &fields[from..until]
}

#[cfg(test)]
mod tests;
