//! What the journal says, in memory: the rules of the contract as plain functions.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use bytes::{Buf, Bytes};
use chrono::{DateTime, Utc};
use replay_core::{
    Digest, Error, ErrorKind, Result, SagaId, SnapshotRecord,
    storage::{At, Order, PruneReport, PruneRequest, PruneScope, SagaCursor, SagaQuery, SagaSummary, SnapshotQuery, check_next},
};

/// How many records or heads a listing reads at a time.
const PAGE: usize = 100;

/// One entry of the journal.
pub(crate) enum Change {
    Append(SnapshotRecord),
    Remove(SagaId, u64),
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    sagas: BTreeMap<SagaId, Saga>,
    order: BTreeSet<SagaCursor>,
}

/// A saga's records by sequence; never empty.
#[derive(Debug)]
struct Saga {
    started_at: DateTime<Utc>,
    records: BTreeMap<u64, SnapshotRecord>,
}

impl Change {
    /// All changes of one call as one entry, so that a crash leaves all of them or none. Each is preceded by its length, and is the
    /// sequence to remove and its saga, or 0 and a record.
    pub(crate) fn to_entry(changes: &[Self]) -> Result<Vec<u8>> {
        let mut entry = Vec::new();
        for change in changes {
            let bytes = match change {
                Self::Append(record) => [&0_u64.to_be_bytes()[..], &record.to_bytes()?].concat(),
                Self::Remove(saga, sequence) => [&sequence.to_be_bytes(), saga.as_str().as_bytes()].concat(),
            };
            entry.extend((bytes.len() as u64).to_be_bytes());
            entry.extend(bytes);
        }
        Ok(entry)
    }

    /// Takes the first change out of an entry; none at its end.
    pub(crate) fn take_from(entry: &mut Bytes) -> Result<Option<Self>> {
        let damaged = || Error::new(ErrorKind::Integrity, "read store").message("an entry of the journal makes no sense");
        let Ok(len) = entry.try_get_u64() else { return Ok(None) };
        let len = usize::try_from(len).ok().filter(|len| *len <= entry.len()).ok_or_else(damaged)?;
        let mut bytes = entry.split_to(len);
        Ok(Some(match bytes.try_get_u64().map_err(|_| damaged())? {
            0 => Self::Append(SnapshotRecord::from_bytes(&bytes)?),
            sequence => Self::Remove(SagaId::new(str::from_utf8(&bytes).map_err(|_| damaged())?)?, sequence),
        }))
    }
}

impl Saga {
    fn newest(&self) -> Option<&SnapshotRecord> {
        self.records.values().next_back()
    }

    fn last(&self) -> Option<(u64, Digest)> {
        self.newest().map(|newest| (newest.sequence, newest.digest()))
    }

    /// The records that may go by `scope`, the oldest first.
    fn removable(&self, scope: &PruneScope) -> Vec<&SnapshotRecord> {
        let keep = |keep: u64| self.records.len().saturating_sub(usize::try_from(keep.max(1)).unwrap_or(usize::MAX));
        let asked: Vec<_> = match scope {
            PruneScope::Expired { now } => self.records.values().filter(|record| record.is_expired(*now)).collect(),
            PruneScope::KeepNewest { keep: newest, .. } => self.records.values().take(keep(*newest)).collect(),
            PruneScope::Record(id) => self.records.get(&id.sequence).into_iter().collect(),
            _ => return self.records.values().collect(),
        };
        let is_live = self.newest().is_some_and(|newest| !newest.status.is_terminal());
        let checkpoint = self.records.values().rfind(|record| is_live && record.is_checkpoint()).map(|record| record.sequence);
        let is_newest = |record: &&SnapshotRecord| self.newest() == Some(*record);
        let others = |record: &&&SnapshotRecord| !is_newest(record) && Some(record.sequence) != checkpoint;
        let mut goes: Vec<_> = asked.iter().filter(others).copied().collect();
        if !is_live && goes.len() + 1 == self.records.len() {
            goes.extend(asked.into_iter().filter(is_newest));
        }
        goes
    }
}

impl Index {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Append(record) => {
                let (saga_id, started_at) = (record.saga_id.clone(), record.created_at);
                let new = || Saga { started_at, records: BTreeMap::new() };
                let saga = self.sagas.entry(saga_id.clone()).or_insert_with(new);
                saga.records.insert(record.sequence, record);
                self.order.insert(SagaCursor { started_at: saga.started_at, saga_id });
            }
            Change::Remove(saga_id, sequence) => {
                let Some(saga) = self.sagas.get_mut(&saga_id) else { return };
                saga.records.remove(&sequence);
                if saga.records.is_empty() {
                    self.order.remove(&SagaCursor { started_at: saga.started_at, saga_id: saga_id.clone() });
                    self.sagas.remove(&saga_id);
                }
            }
        }
    }

    /// The records that are not stored yet, if all of them may be: those of one saga are in order, and a repeated one is left out.
    pub(crate) fn check(&self, records: Vec<SnapshotRecord>) -> Result<Vec<SnapshotRecord>> {
        let mut last: BTreeMap<SagaId, (u64, Digest)> = BTreeMap::new();
        let mut fresh = Vec::new();
        for record in records {
            let saga = self.sagas.get(&record.saga_id);
            let stored = saga.and_then(|saga| saga.records.get(&record.sequence));
            if stored.is_some_and(|stored| stored.digest() == record.digest()) {
                continue;
            }
            check_next(&record, last.get(&record.saga_id).copied().or_else(|| saga.and_then(Saga::last)))?;
            last.insert(record.saga_id.clone(), (record.sequence, record.digest()));
            fresh.push(record);
        }
        Ok(fresh)
    }

    pub(crate) fn load(&self, saga: &SagaId, at: &At) -> Result<Option<SnapshotRecord>> {
        let Some(saga) = self.sagas.get(saga) else { return Ok(None) };
        let found = match at {
            At::Latest => saga.newest(),
            At::Sequence(sequence) => saga.records.get(sequence),
            At::BeforeStep(step) => saga.records.values().rfind(|record| record.next_steps().contains(step)),
            At::Time(instant) => saga.records.values().rfind(|record| record.created_at <= *instant),
            other => return Err(Error::unsupported("load", format!("{other:?}"))),
        };
        Ok(found.cloned())
    }

    /// The next records of `query`, which is moved on behind them; none at its end.
    pub(crate) fn records(&self, query: &mut SnapshotQuery) -> Vec<SnapshotRecord> {
        let Some(saga) = self.sagas.get(&query.saga_id).filter(|_| query.first <= query.last) else { return Vec::new() };
        let range = saga.records.range(query.first..=query.last).map(|(_, record)| record);
        let matching = range.filter(|record| query.created.contains(record.created_at));
        let limit = query.limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(PAGE).min(PAGE));
        let mut page: Vec<_> = match query.order {
            Order::Ascending => matching.take(limit).cloned().collect(),
            Order::Descending => matching.rev().take(limit).cloned().collect(),
        };
        if !query.payloads {
            page = page.into_iter().map(SnapshotRecord::without_payload).collect();
        }
        if let Some(end) = page.last() {
            match query.order {
                Order::Ascending => query.first = end.sequence + 1,
                Order::Descending => query.last = end.sequence - 1,
            }
        }
        query.limit = query.limit.map(|limit| limit - page.len() as u64);
        page
    }

    /// The next heads that match `query`, which is moved on behind them; none at its end.
    pub(crate) fn heads(&self, query: &mut SagaQuery) -> Vec<SagaSummary> {
        let limit = query.limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(PAGE).min(PAGE));
        let before = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let sagas = self.order.range((Bound::Unbounded, before)).rev().filter_map(|cursor| self.sagas.get(&cursor.saga_id));
        let heads = sagas.filter_map(|saga| saga.newest().map(|newest| SagaSummary::of(newest, saga.started_at)));
        let page: Vec<_> = heads.filter(|head| query.matches(head)).take(limit).collect();
        query.after = page.last().map(SagaSummary::cursor).or(query.after.take());
        query.limit = query.limit.map(|limit| limit - page.len() as u64);
        page
    }

    /// What a prune removes, as a report and as changes.
    pub(crate) fn prune(&self, request: &PruneRequest) -> Result<(PruneReport, Vec<Change>)> {
        let (mut report, mut changes, mut limit) = (PruneReport::default(), Vec::new(), request.limit);
        let one = match &request.scope {
            PruneScope::Expired { .. } => None,
            PruneScope::KeepNewest { saga_id, .. } => saga_id.as_ref(),
            PruneScope::Record(id) => Some(&id.saga_id),
            PruneScope::Saga(saga) => {
                limit = u64::MAX;
                Some(saga)
            }
            other => return Err(Error::unsupported("prune", format!("{other:?}"))),
        };
        for (id, saga) in self.sagas.iter().filter(|(id, _)| one.is_none_or(|one| one == *id)) {
            let goes = saga.removable(&request.scope);
            let now = usize::try_from(limit - report.records).unwrap_or(usize::MAX).min(goes.len());
            report.more |= now < goes.len();
            report.records += now as u64;
            report.bytes += goes[..now].iter().map(|record| record.stored_len()).sum::<u64>();
            report.sagas += u64::from(now == saga.records.len());
            changes.extend(goes[..now].iter().map(|record| Change::Remove(id.clone(), record.sequence)));
        }
        Ok((report, changes))
    }
}
