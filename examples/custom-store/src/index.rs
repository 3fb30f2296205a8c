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

/// One item of the journal.
#[expect(clippy::large_enum_variant, reason = "nearly all are records")]
pub(crate) enum Change {
    /// A record, and when its saga started: of a history whose beginning is gone, the records left do not say it.
    Append(DateTime<Utc>, SnapshotRecord),
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
    /// The sequence to remove and its saga, or 0, the start and the record.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(match self {
            Self::Append(start, record) => [&[0; 8][..], &start.timestamp_micros().to_be_bytes(), &record.to_bytes()?].concat(),
            Self::Remove(saga, sequence) => [&sequence.to_be_bytes(), saga.as_str().as_bytes()].concat(),
        })
    }

    pub(crate) fn from_bytes(mut bytes: Bytes) -> Result<Self> {
        let damaged = || Error::new(ErrorKind::Integrity, "read store").message("an item of the journal makes no sense");
        Ok(match bytes.try_get_u64().map_err(|_| damaged())? {
            0 => {
                let start = bytes.try_get_i64().ok().and_then(DateTime::from_timestamp_micros).ok_or_else(damaged)?;
                Self::Append(start, SnapshotRecord::from_bytes(&bytes)?)
            }
            sequence => Self::Remove(SagaId::new(str::from_utf8(&bytes).map_err(|_| damaged())?)?, sequence),
        })
    }
}

impl Saga {
    fn newest(&self) -> Option<&SnapshotRecord> {
        self.records.values().next_back()
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
            Change::Append(started_at, record) => {
                let saga_id = record.saga_id.clone();
                let saga = self.sagas.entry(saga_id.clone()).or_insert_with(|| Saga { started_at, records: BTreeMap::new() });
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
    pub(crate) fn append(&self, records: Vec<SnapshotRecord>) -> Result<Vec<Change>> {
        let mut last: BTreeMap<SagaId, (u64, Digest)> = BTreeMap::new();
        let position = |record: &SnapshotRecord| (record.sequence, record.digest());
        let mut fresh = Vec::new();
        for record in records {
            let saga = self.sagas.get(&record.saga_id);
            let stored = saga.and_then(|saga| saga.records.get(&record.sequence));
            if stored.is_some_and(|stored| stored.digest() == record.digest()) {
                continue;
            }
            let newest = last.get(&record.saga_id).copied().or_else(|| saga?.newest().map(position));
            check_next(&record, newest)?;
            last.insert(record.saga_id.clone(), position(&record));
            fresh.push(Change::Append(record.begins_at(), record));
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
        let page: Vec<_> = match query.order {
            Order::Ascending => matching.take(page_len(query.limit)).collect(),
            Order::Descending => matching.rev().take(page_len(query.limit)).collect(),
        };
        match (page.last(), query.order) {
            (Some(end), Order::Ascending) => query.first = end.sequence + 1,
            (Some(end), Order::Descending) => query.last = end.sequence - 1,
            (None, _) => {}
        }
        query.limit = query.limit.map(|limit| limit - page.len() as u64);
        let shown = |record: SnapshotRecord| if query.payloads { record } else { record.without_payload() };
        page.into_iter().cloned().map(shown).collect()
    }

    /// The next heads that match `query`, which is moved on behind them; none at its end.
    pub(crate) fn heads(&self, query: &mut SagaQuery) -> Vec<SagaSummary> {
        let before = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let sagas = self.order.range((Bound::Unbounded, before)).rev().filter_map(|cursor| self.sagas.get(&cursor.saga_id));
        let heads = sagas.filter_map(|saga| Some(SagaSummary::of(saga.newest()?, saga.started_at)));
        let page: Vec<_> = heads.filter(|head| query.matches(head)).take(page_len(query.limit)).collect();
        query.after = page.last().map(SagaSummary::cursor).or(query.after.take());
        query.limit = query.limit.map(|limit| limit - page.len() as u64);
        page
    }

    /// What a prune removes, as a report and as changes.
    pub(crate) fn prune(&self, request: &PruneRequest) -> Result<(PruneReport, Vec<Change>)> {
        let (mut report, mut changes) = (PruneReport::default(), Vec::new());
        let (one, limit) = match &request.scope {
            PruneScope::Expired { .. } => (None, request.limit),
            PruneScope::KeepNewest { saga_id, .. } => (saga_id.as_ref(), request.limit),
            PruneScope::Record(id) => (Some(&id.saga_id), request.limit),
            PruneScope::Saga(saga) => (Some(saga), u64::MAX),
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

/// How many records or heads a listing reads at a time.
fn page_len(limit: Option<u64>) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).map_or(100, |limit| limit.min(100))
}
