//! One saga's records, and which of them may go.

use std::{collections::VecDeque, ops::Range};

use chrono::{DateTime, Utc};
use replay_core::{
    Digest, Error, ErrorKind, Result, SnapshotRecord,
    storage::{At, Order, SnapshotQuery, check_next},
};

/// The records of a saga by sequence; never empty. Pruning may leave gaps, so a sequence is found by search.
pub(crate) struct History {
    started_at: DateTime<Utc>,
    records: VecDeque<SnapshotRecord>,
    /// No record that may go expires before this instant. It lets a prune of expired records pass by sagas that have none.
    expires_from: Option<DateTime<Utc>>,
}

/// Which of a saga's records are to go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Doom {
    Expired(DateTime<Utc>),
    Beyond(u64),
    Sequence(u64),
}

impl Doom {
    /// Whether a record with others behind it is to go.
    fn takes(self, record: &SnapshotRecord) -> bool {
        match self {
            Self::Expired(now) => record.is_expired(now),
            Self::Beyond(_) => true,
            Self::Sequence(sequence) => record.sequence == sequence,
        }
    }
}

/// Records that may go: their positions, at most as many as asked for.
pub(crate) struct Doomed {
    pub(crate) positions: Vec<usize>,
    /// Whether there are further ones.
    pub(crate) more: bool,
}

impl History {
    /// The history that begins with `record`.
    ///
    /// # Errors
    /// `Conflict` if its sequence is not 1.
    pub(crate) fn begin(record: SnapshotRecord) -> Result<Self> {
        check_next(&record, None)?;
        let (started_at, expires_from) = (record.begins_at(), record.retention_until);
        Ok(Self { started_at, records: VecDeque::from([record]), expires_from })
    }

    pub(crate) fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    pub(crate) fn newest(&self) -> Option<&SnapshotRecord> {
        self.records.back()
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Checks that `record` may follow the record with the sequence and digest `last`, or is stored already; gives whether it is new.
    fn check(&self, record: &SnapshotRecord, last: Option<(u64, Digest)>) -> Result<bool> {
        if self.find(record.sequence).is_some_and(|stored| stored.digest() == record.digest()) {
            return Ok(false);
        }
        check_next(record, last)?;
        Ok(true)
    }

    fn last(&self) -> Option<(u64, Digest)> {
        self.newest().map(|newest| (newest.sequence, newest.digest()))
    }

    pub(crate) fn append(&mut self, record: SnapshotRecord) -> Result<()> {
        if self.check(&record, self.last())? {
            self.push(record);
        }
        Ok(())
    }

    /// Appends all `records` or none.
    pub(crate) fn append_all(&mut self, records: Vec<SnapshotRecord>) -> Result<()> {
        let mut last = self.last();
        for record in &records {
            if self.check(record, last)? {
                last = Some((record.sequence, record.digest()));
            }
        }
        let stored = self.newest().map_or(0, |newest| newest.sequence);
        records.into_iter().filter(|record| record.sequence > stored).for_each(|record| self.push(record));
        Ok(())
    }

    fn push(&mut self, record: SnapshotRecord) {
        if let Some(until) = record.retention_until {
            self.expires_from = Some(self.expires_from.map_or(until, |from| from.min(until)));
        }
        self.records.push_back(record);
    }

    fn find(&self, sequence: u64) -> Option<&SnapshotRecord> {
        // Every append asks for a record that is not there yet; a search for it would cost more the longer the history is.
        if self.newest().is_none_or(|newest| sequence > newest.sequence) {
            return None;
        }
        // Without gaps, the position follows from the first sequence.
        let first = self.records.front()?.sequence;
        let guess = usize::try_from(sequence.checked_sub(first)?).ok().and_then(|at| self.records.get(at));
        if let Some(record) = guess.filter(|record| record.sequence == sequence) {
            return Some(record);
        }
        self.records.binary_search_by_key(&sequence, |record| record.sequence).ok().and_then(|at| self.records.get(at))
    }

    /// The record at a position; [`At::BeforeStep`] looks at the whole history.
    pub(crate) fn load(&self, at: &At) -> Result<Option<SnapshotRecord>> {
        let found = match at {
            At::Latest => self.newest(),
            At::Sequence(sequence) => self.find(*sequence),
            At::BeforeStep(step) => self.records.iter().rev().find(|record| record.next_steps().contains(step)),
            At::Time(instant) => {
                let after = self.records.partition_point(|record| record.created_at <= *instant);
                after.checked_sub(1).and_then(|at| self.records.get(at))
            }
            other => return Err(Error::unsupported("load", format!("{other:?} is not known to this store"))),
        };
        Ok(found.cloned())
    }

    /// The next records of `query`, at most `limit`.
    pub(crate) fn page(&self, query: &SnapshotQuery, limit: usize) -> Vec<SnapshotRecord> {
        let range = self.matching(query);
        let shown = |record: &SnapshotRecord| if query.payloads { record.clone() } else { record.clone().without_payload() };
        match query.order {
            Order::Ascending => self.records.range(range).take(limit).map(shown).collect(),
            Order::Descending => self.records.range(range).rev().take(limit).map(shown).collect(),
        }
    }

    fn matching(&self, query: &SnapshotQuery) -> Range<usize> {
        let created = |bound: Option<DateTime<Utc>>, open| {
            bound.map_or(open, |bound| self.records.partition_point(|record| record.created_at < bound))
        };
        let from = self.records.partition_point(|record| record.sequence < query.first).max(created(query.created.from, 0));
        let until =
            self.records.partition_point(|record| record.sequence <= query.last).min(created(query.created.until, self.records.len()));
        from..until.max(from)
    }

    /// Whether no record that may go is expired at `now`, as far as is known without looking at each.
    pub(crate) fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        self.expires_from.is_none_or(|from| now < from)
    }

    /// Which records may go, the oldest first, at most `limit`.
    pub(crate) fn doomed(&self, doom: Doom, limit: u64) -> Doomed {
        let Some(newest) = self.newest() else { return Doomed { positions: Vec::new(), more: false } };
        let cap = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
        let others = self.records.len() - 1;
        let live = !newest.status.is_terminal();
        let kept = if live { self.records.iter().rposition(|record| record.is_checkpoint()) } else { None };
        let range = 0..match doom {
            Doom::Beyond(keep) => self.records.len().saturating_sub(usize::try_from(keep.max(1)).unwrap_or(usize::MAX)),
            Doom::Expired(_) | Doom::Sequence(_) => others,
        };
        let at_and_record = range.clone().zip(self.records.range(range));
        let may_go = at_and_record.filter(|(at, record)| Some(*at) != kept && doom.takes(record));
        let mut positions: Vec<usize> = may_go.map(|(at, _)| at).take(cap).collect();
        let is_last = positions.len() == others && !live && !matches!(doom, Doom::Beyond(_));
        if is_last && positions.len() < cap && doom.takes(newest) {
            positions.push(others);
        }
        let more = positions.len() == cap;
        positions.truncate(cap - 1);
        Doomed { positions, more }
    }

    /// The sum of the records' stored lengths, in bytes.
    pub(crate) fn stored_len(&self, positions: &[usize]) -> u64 {
        positions.iter().filter_map(|at| self.records.get(*at)).map(SnapshotRecord::stored_len).sum()
    }

    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.records.len()).collect()
    }

    /// Removes the records at `positions`, which ascend.
    pub(crate) fn remove(&mut self, positions: &[usize]) {
        let front = positions.iter().enumerate().take_while(|(at, position)| at == *position).count();
        let mut rest = positions[front..].iter().map(|position| position - front).peekable();
        self.records.drain(..front);
        if rest.peek().is_some() {
            let mut at = 0;
            self.records.retain(|_| {
                let goes = rest.next_if_eq(&at).is_some();
                at += 1;
                !goes
            });
        }
    }

    /// Remembers, after a prune, when the next record that may go expires at the earliest.
    pub(crate) fn note_expiries(&mut self) {
        self.expires_from = self.records.iter().filter_map(|record| record.retention_until).min();
    }
}

/// What `append` says of a saga that has no record yet.
pub(crate) fn begin_all(records: Vec<SnapshotRecord>) -> Result<Option<History>> {
    let mut records = records.into_iter();
    let Some(first) = records.next() else { return Ok(None) };
    let mut history = History::begin(first)?;
    history.append_all(records.collect())?;
    Ok(Some(history))
}

/// The refusal of a query that a later version of the core may ask.
pub(crate) fn unknown_scope() -> Error {
    Error::new(ErrorKind::Unsupported, "prune").message("this scope is not known to this store")
}
