use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use futures::{StreamExt, stream, stream::BoxStream};
use parking_lot::MappedMutexGuard;
use replay_core::{
    Digest, Error, Payload, Result, Retry, SagaId, SnapshotRecord,
    storage::{At, Capabilities, Order, PruneReport, PruneRequest, SagaQuery, SagaSummary, SnapshotQuery, SnapshotStorage, check_next},
};

use super::{Reference, Saga, World, begins_like, prune::without_frame};
use crate::Mutant;

#[async_trait]
impl SnapshotStorage for Reference {
    fn capabilities(&self) -> Capabilities {
        Self::pinned().with_shared(self.has(Mutant::ClaimsWhatIsNotPinned))
    }

    async fn append(&self, mut records: Vec<SnapshotRecord>) -> Result<()> {
        if self.has(Mutant::LosesMixedRecords) {
            let mut seen: Vec<SagaId> = Vec::new();
            records.retain(|record| {
                let is_run = seen.last() == Some(&record.saga_id);
                let is_new = !seen.contains(&record.saga_id);
                seen.extend(is_new.then(|| record.saga_id.clone()));
                is_run || is_new
            });
        }
        let mut result = Ok(());
        while let Some(first) = records.first() {
            let saga_id = first.saga_id.clone();
            let of_saga: Vec<_> = records.extract_if(.., |record| record.saga_id == saga_id).collect();
            result = result.and(self.append_saga(of_saga).await);
        }
        result
    }

    async fn load(&self, saga: &SagaId, at: At) -> Result<Option<SnapshotRecord>> {
        let world = self.world();
        let Some(saga) = world.sagas.get(&self.key(saga)) else { return Ok(None) };
        self.at(saga, &at).map(|record| self.handed_out(&world, record)).transpose()
    }

    fn list(&self, query: SnapshotQuery) -> BoxStream<'static, Result<SnapshotRecord>> {
        let world = self.world();
        let records = world.sagas.get(&self.key(&query.saga_id)).map(|saga| self.listed(saga, &query)).unwrap_or_default();
        let shown = |record: SnapshotRecord| match self.bug {
            Some(Mutant::ListIgnoresPayloads) => Ok(record),
            _ if query.payloads => Ok(record),
            Some(Mutant::ListGivesEmptyPayloads) => {
                SnapshotRecord::from_parts(record.outline.clone(), record.header().clone(), Payload::json(Bytes::new()))
            }
            _ => Ok(record.without_payload()),
        };
        let records: Vec<_> = records.iter().map(|record| self.handed_out(&world, record).and_then(shown)).collect();
        stream::iter(records).boxed()
    }

    fn sagas(&self, query: SagaQuery) -> BoxStream<'static, Result<SagaSummary>> {
        stream::iter(self.heads(&query)).map(Ok).boxed()
    }

    async fn prune(&self, request: PruneRequest) -> Result<PruneReport> {
        Ok(self.prune_records(&request))
    }
}

impl Reference {
    async fn append_saga(&self, records: Vec<SnapshotRecord>) -> Result<()> {
        let key = self.key(&records[0].saga_id);
        let fresh = self.check(&mut self.world(), &key, &records)?;
        if self.has(Mutant::CountsBeforeItStores) {
            if let (Some(saga), Some(newest)) = (self.world().sagas.get_mut(&key), fresh.last()) {
                saga.last = newest.sequence;
            }
            tokio::task::yield_now().await;
        } else if self.has(Mutant::ChecksThenAppends) {
            Self::lets_others_in().await;
        } else {
            // The check is made again with the lock held from there on.
            let mut world = self.world();
            let fresh = self.check(&mut world, &key, &records)?;
            self.store(&mut world, &key, fresh);
            return Ok(());
        }
        self.store(&mut self.world(), &key, fresh);
        Ok(())
    }

    /// The records that are not stored yet, if all of them may be.
    fn check(&self, world: &mut MappedMutexGuard<'_, World>, key: &str, records: &[SnapshotRecord]) -> Result<Vec<SnapshotRecord>> {
        let saga = world.sagas.get(key);
        let mut last = saga.map(|saga| if self.has(Mutant::PruneForgetsFence) { saga.records.len() as u64 } else { saga.last });
        let stored_last = last;
        let mut tip = saga.and_then(|saga| saga.records.last()).map_or(Digest::ZERO, SnapshotRecord::digest);
        let mut fresh = Vec::new();
        for record in records {
            let stored = saga.and_then(|saga| saga.records.iter().find(|stored| stored.sequence == record.sequence));
            let is_newest = stored_last == Some(record.sequence);
            let takes = match stored {
                Some(stored) if stored.digest() == record.digest() && !self.has(Mutant::RefusesRepeatedAppend) => {
                    !self.has(Mutant::RecognisesOnlyTheNewest) || is_newest
                }
                Some(_) if self.has(Mutant::ForgetsDigestCompare) => true,
                Some(_) if self.has(Mutant::OverwritesTakenSequence) => {
                    fresh.push(record.clone());
                    true
                }
                None if self.has(Mutant::PrunedMayReturn) => last.is_some_and(|last| record.sequence <= last),
                _ => false,
            };
            if takes {
                continue;
            }
            let allowed = (self.has(Mutant::AcceptsSequenceGap) && last.is_some_and(|last| record.sequence > last))
                || (self.has(Mutant::AcceptsAnyFirstSequence) && last.is_none())
                || (self.has(Mutant::TakesRecordsWithoutPayload) && !record.has_payload());
            let ended = self.has(Mutant::RefusesAfterTheEnd) && saga.is_some_and(|saga| saga.head.status.is_terminal());
            let holds = record.is_remnant() && record.sequence > last.unwrap_or_default() + 1;
            let allowed = allowed || (self.has(Mutant::RemnantIgnoresPredecessor) && holds);
            let is_next = record.is_remnant() && last.is_some_and(|last| record.sequence == last + 1);
            let allowed = allowed || (self.has(Mutant::RemnantSkipsChain) && is_next);
            let ended = ended || (self.has(Mutant::RefusesRemnants) && holds);
            let wrong_expected = self.has(Mutant::NamesWrongExpected);
            let after = if self.has(Mutant::IgnoresPredecessor) { record.prev_digest } else { tip };
            let newest = if ended { Some(0) } else { last }.map(|last| (last, after));
            if let Err(error) = check_next(record, newest).or_else(|error| if allowed { Ok(()) } else { Err(error) }) {
                self.refuse(world, key, record, fresh);
                let expected = check_next(record, stored_last.map(|last| (last, tip))).err().filter(|_| wrong_expected);
                return Err(self.retryable(expected.unwrap_or(error)));
            }
            last = Some(record.sequence);
            tip = record.digest();
            fresh.push(record.clone());
        }
        Ok(fresh)
    }

    fn retryable(&self, error: Error) -> Error {
        if self.has(Mutant::AdvisesToRepeatConflicts) { error.retry(Retry::Safe) } else { error }
    }

    /// What planted bugs do to the store when they refuse a record.
    fn refuse(&self, world: &mut World, key: &str, record: &SnapshotRecord, fresh: Vec<SnapshotRecord>) {
        if self.has(Mutant::TearsLists) {
            self.store(world, key, fresh);
        }
        if self.has(Mutant::MovesHeadOnRefusal)
            && let Some(saga) = world.sagas.get_mut(key)
        {
            saga.head = record.meta().clone();
        }
    }

    fn store(&self, world: &mut World, key: &str, mut fresh: Vec<SnapshotRecord>) {
        if self.has(Mutant::DropsLastOfList) && fresh.len() > 1 {
            fresh.pop();
        }
        for record in fresh {
            let name = (record.outline.name().clone(), record.outline.version().clone());
            world.outlines.entry(name).or_insert_with(|| record.outline.clone());
            let record = self.taken(record);
            let saga = world.sagas.entry(key.to_owned()).or_insert_with(|| Saga {
                started_at: if self.has(Mutant::RemnantStartsAnew) { record.created_at } else { record.begins_at() },
                head: record.meta().clone(),
                records: Vec::new(),
                last: 0,
            });
            let mut head = (**record.meta()).clone();
            if self.has(Mutant::HeadKeepsFirstLabels) {
                head.labels = saga.head.labels.clone();
            }
            saga.records.retain(|stored| stored.sequence != record.sequence || self.has(Mutant::ChecksThenAppends));
            (saga.head, saga.last) = (head.into(), saga.last.max(record.sequence));
            saga.records.push(record);
            saga.records.sort_by_key(|record| record.sequence);
        }
    }

    /// A record as it is kept.
    fn taken(&self, record: SnapshotRecord) -> SnapshotRecord {
        let Ok(payload) = record.payload() else { return record };
        if self.has(Mutant::LosesFrames) {
            return without_frame(&record);
        }
        let bytes = payload.bytes.clone();
        let bytes = match self.bug {
            Some(Mutant::NormalisesContexts) => bytes.iter().copied().filter(|byte| *byte != b' ').collect(),
            Some(Mutant::CutsLargeContexts) => bytes.slice(..bytes.len().min(512 * 1024)),
            Some(Mutant::EmptyContextIsNull) if bytes.is_empty() => Bytes::from_static(b"null"),
            _ => return record,
        };
        SnapshotRecord::from_parts(record.outline.clone(), record.header().clone(), Payload::json(bytes)).unwrap_or(record)
    }

    fn handed_out(&self, world: &World, record: &SnapshotRecord) -> Result<SnapshotRecord> {
        let name = (record.outline.name().clone(), record.outline.version().clone());
        match world.outlines.get(&name) {
            Some(outline) if self.has(Mutant::SharesDefinitionsByName) => {
                SnapshotRecord::from_parts(outline.clone(), record.header().clone(), record.payload()?.clone())
            }
            _ => Ok(record.clone()),
        }
    }

    fn at<'a>(&self, saga: &'a Saga, at: &At) -> Option<&'a SnapshotRecord> {
        let from = if self.has(Mutant::SeesNewestHundredOnly) { saga.records.len().saturating_sub(100) } else { 0 };
        let mut records = saga.records[from..].iter();
        match at {
            At::Latest => records.next_back(),
            At::Sequence(sequence) if self.has(Mutant::SequenceTakesNearest) => records.rfind(|record| record.sequence <= *sequence),
            At::Sequence(sequence) => records.find(|record| record.sequence == *sequence),
            At::BeforeStep(step) if self.has(Mutant::BeforeStepTakesOldest) => records.find(|record| record.next_steps().contains(step)),
            At::BeforeStep(step) if self.has(Mutant::BeforeStepSeesOneStep) => {
                records.rfind(|record| record.next_steps().iter().next() == Some(step))
            }
            At::BeforeStep(step) => records.rfind(|record| record.next_steps().contains(step)),
            At::Time(instant) => self.at_time(saga, *instant),
            _ => None,
        }
    }

    fn at_time<'a>(&self, saga: &'a Saga, instant: DateTime<Utc>) -> Option<&'a SnapshotRecord> {
        let mut records = saga.records.iter();
        match self.bug {
            Some(Mutant::TimeIsExclusive) => records.rfind(|record| record.created_at < instant),
            Some(Mutant::TimeTakesOldestOfEqual) => {
                let found = records.rfind(|record| record.created_at <= instant)?;
                saga.records.iter().find(|record| record.created_at == found.created_at)
            }
            Some(Mutant::TimeRoundsUp) => {
                let instant = instant.duration_round_up(TimeDelta::microseconds(1)).unwrap_or(instant);
                records.rfind(|record| record.created_at <= instant)
            }
            _ => records.rfind(|record| record.created_at <= instant),
        }
    }

    fn listed(&self, saga: &Saga, query: &SnapshotQuery) -> Vec<SnapshotRecord> {
        let mut query = query.clone();
        if self.has(Mutant::ListOverflowsAtMaximum) && query.last > i64::MAX as u64 {
            query.last = 0;
        }
        if self.has(Mutant::ListLastIsExclusive) && query.last != u64::MAX {
            query.last = query.last.saturating_sub(1);
        }
        if self.has(Mutant::ListRoundsFromDown) {
            query.created.from = query.created.from.and_then(|from| DateTime::from_timestamp_micros(from.timestamp_micros()));
        }
        let in_time = |at| query.created.contains(at) || (self.has(Mutant::ListUntilIsInclusive) && query.created.until == Some(at));
        let matches = |record: &&SnapshotRecord| (query.first..=query.last).contains(&record.sequence) && in_time(record.created_at);
        let mut records: Vec<_> = saga.records.iter().filter(matches).cloned().collect();
        let limit = query.limit.filter(|limit| *limit > 0 || !self.has(Mutant::ListLimitOfNoneIsAll));
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if self.has(Mutant::ListLimitsBeforeOrder) {
            records.truncate(limit);
        }
        if query.order == Order::Descending {
            records.reverse();
        }
        records.truncate(limit);
        match self.bug {
            Some(Mutant::ListRepeatsAtPageEdge) => records
                .chunks(100)
                .enumerate()
                .flat_map(|(page, chunk)| chunk[..1].iter().filter(move |_| page > 0).chain(chunk))
                .cloned()
                .collect(),
            Some(Mutant::ListSkipsAtPageEdge) => {
                records.chunks(100).enumerate().flat_map(|(page, chunk)| &chunk[usize::from(page > 0)..]).cloned().collect()
            }
            _ => records,
        }
    }

    fn heads(&self, query: &SagaQuery) -> Vec<SagaSummary> {
        let world = self.world();
        let sagas = world.sagas.iter().filter(|(key, _)| self.sees(key)).map(|(_, saga)| saga);
        let sagas = sagas.chain(&world.ghosts);
        let mut heads: Vec<_> = sagas.map(|saga| (SagaSummary::of(&saga.head, self.start(saga)), saga)).collect();
        heads.sort_by(|(a, _), (b, _)| match self.bug {
            Some(Mutant::HeadsByLastChange) => b.updated_at.cmp(&a.updated_at),
            Some(Mutant::HeadsTieAscending) => b.started_at.cmp(&a.started_at).then_with(|| a.saga_id.cmp(&b.saga_id)),
            _ => b.cursor().cmp(&a.cursor()),
        });
        let limit = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let first = if self.has(Mutant::LimitsBeforeFilters) { limit } else { usize::MAX };
        let is_after = |head: &SagaSummary| {
            query.after.as_ref().is_none_or(|after| match self.bug {
                Some(Mutant::PageRepeatsCursor) => head.cursor() <= *after,
                Some(Mutant::PageSkipsTies) => head.started_at < after.started_at,
                _ => head.cursor() < *after,
            })
        };
        let heads = heads.into_iter().take(first).filter(|(head, saga)| is_after(head) && self.matches(query, head, saga));
        heads.map(|(head, _)| head).take(limit).collect()
    }

    fn start(&self, saga: &Saga) -> DateTime<Utc> {
        let oldest = saga.records.first().filter(|_| self.has(Mutant::HeadStartMoves));
        oldest.map_or(saga.started_at, |oldest| oldest.created_at)
    }

    fn matches(&self, query: &SagaQuery, head: &SagaSummary, saga: &Saga) -> bool {
        let (mut query, mut head) = (query.clone(), head.clone());
        let mut holds = true;
        match self.bug {
            Some(Mutant::PrefixIsPattern) => {
                holds = query.id_prefix.take().is_none_or(|prefix| begins_like(head.saga_id.as_str(), &prefix));
            }
            Some(Mutant::LabelsHoldAnyOf) => {
                let labels = std::mem::take(&mut query.labels);
                holds = labels.is_empty() || labels.iter().any(|(key, value)| head.labels.get(key) == Some(value));
            }
            Some(Mutant::OnlyFirstStatus) => query.statuses.truncate(1),
            Some(Mutant::FiltersSeeOldRecords) => {
                let labels = std::mem::take(&mut query.labels);
                holds = labels.iter().all(|(key, value)| saga.records.iter().any(|record| record.labels.get(key) == Some(value)));
            }
            Some(Mutant::OriginMatchesRoot) => {
                let origin = query.origin.take();
                holds = origin.is_none_or(|id| head.origin.as_ref().is_some_and(|origin| origin.saga_id == id || origin.root == id));
            }
            Some(Mutant::UpdatedMeansStarted) => head.updated_at = head.started_at,
            _ => {}
        }
        holds && query.matches(&head)
    }
}
