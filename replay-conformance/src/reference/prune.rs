use chrono::{DateTime, Utc};
use replay_core::{
    Digest, SagaStatus, SnapshotRecord,
    storage::{PruneReport, PruneRequest, PruneScope},
};

use super::{Reference, Saga, World};
use crate::Mutant;

impl Reference {
    pub(super) fn prune_records(&self, request: &PruneRequest) -> PruneReport {
        if self.has(Mutant::PruneCrossesNamespaces) {
            let others: Vec<String> = self.worlds.lock().keys().filter(|name| **name != self.namespace).cloned().collect();
            for other in others {
                self.prune_world(self.worlds.lock().entry(other).or_default(), request);
            }
        }
        self.prune_world(&mut self.world(), request)
    }

    fn prune_world(&self, world: &mut World, request: &PruneRequest) -> PruneReport {
        let keys: Vec<String> = match &request.scope {
            PruneScope::Expired { .. } | PruneScope::KeepNewest { saga_id: None, .. } => {
                world.sagas.keys().filter(|key| self.sees(key)).cloned().collect()
            }
            PruneScope::KeepNewest { saga_id: Some(saga), .. } | PruneScope::Saga(saga) => vec![self.key(saga)],
            PruneScope::Record(id) => vec![self.key(&id.saga_id)],
            _ => Vec::new(),
        };
        let whole = matches!(request.scope, PruneScope::Saga(_)) || self.has(Mutant::PruneIgnoresLimit);
        let mut left = if whole { u64::MAX } else { request.limit };
        let mut report = PruneReport::default();
        for key in keys {
            let Some(saga) = world.sagas.get(&key) else { continue };
            let removable = self.removable(saga, &request.scope);
            let take = removable.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            report.more |= take < removable.len() || (self.has(Mutant::PruneHasMoreAtLimit) && take as u64 == left);
            left -= take as u64;
            self.remove(world, &key, &removable[..take], request.dry_run, &mut report);
        }
        report.more &= !self.has(Mutant::PruneNeverHasMore);
        report
    }

    fn remove(&self, world: &mut World, key: &str, sequences: &[u64], dry_run: bool, report: &mut PruneReport) {
        let Some(saga) = world.sagas.get_mut(key) else { return };
        let goes = |record: &SnapshotRecord| sequences.contains(&record.sequence);
        report.records += sequences.len() as u64;
        if !self.has(Mutant::PruneCountsNoBytes) {
            report.bytes += saga.records.iter().filter(|record| goes(record)).map(SnapshotRecord::stored_len).sum::<u64>();
        }
        let gone = sequences.len() == saga.records.len();
        report.sagas += u64::from(gone);
        if dry_run && !self.has(Mutant::DryRunDeletes) {
            return;
        }
        if gone && self.has(Mutant::PruneLeavesHead) {
            let ghost = saga.clone();
            world.ghosts.push(ghost);
        }
        let frame_goes = |record: &SnapshotRecord| {
            self.has(Mutant::FrameGoesWithAnyRecord)
                || (self.has(Mutant::FrameGoesWithItsRecord) && record.payload().is_ok_and(|payload| payload.bytes.is_empty()))
                || (self.has(Mutant::FramesAreSharedUncounted) && gone)
        };
        let frames: Vec<_> = saga.records.iter().filter(|record| goes(record) && frame_goes(record)).filter_map(digest_of_frame).collect();
        if gone {
            world.sagas.remove(key);
        } else {
            saga.records.retain(|record| !goes(record));
        }
        for record in world.sagas.values_mut().flat_map(|saga| &mut saga.records) {
            if digest_of_frame(record).is_some_and(|digest| frames.contains(&digest)) {
                *record = without_frame(record);
            }
        }
    }

    /// The sequences of the records that may go, in the order in which they go.
    fn removable(&self, saga: &Saga, scope: &PruneScope) -> Vec<u64> {
        let all = || saga.records.iter().map(|record| record.sequence);
        let newest = saga.last;
        let asked: Vec<u64> = match scope {
            PruneScope::Saga(_) => return all().collect(),
            PruneScope::Expired { now } => {
                saga.records.iter().filter(|record| self.is_expired(record, *now)).map(|record| record.sequence).collect()
            }
            PruneScope::KeepNewest { keep, .. } if self.has(Mutant::KeepsBySequence) => {
                all().filter(|sequence| sequence + keep <= newest).collect()
            }
            PruneScope::KeepNewest { keep, .. } => {
                let keep = usize::try_from((*keep).max(1)).unwrap_or(usize::MAX);
                all().take(saga.records.len().saturating_sub(keep)).collect()
            }
            PruneScope::Record(id) => all().filter(|sequence| *sequence == id.sequence).collect(),
            _ => Vec::new(),
        };
        let ended = saga.head.status.is_terminal() || (self.has(Mutant::ParkedIsEnded) && saga.head.status == SagaStatus::Parked);
        let keeps_checkpoint = (!ended && !self.has(Mutant::PruneDropsCheckpoint)) || self.has(Mutant::PruneKeepsCheckpointOfEnded);
        let checkpoint = saga.records.iter().rfind(|record| record.is_checkpoint()).map(|record| record.sequence);
        let kept = checkpoint.filter(|_| keeps_checkpoint);
        let mut goes: Vec<u64> = asked.iter().copied().filter(|sequence| *sequence != newest && Some(*sequence) != kept).collect();
        let drops_newest = match scope {
            PruneScope::Record(_) => self.has(Mutant::PruneDropsNewest),
            PruneScope::Expired { .. } => self.has(Mutant::ExpiryDropsNewest),
            _ => false,
        };
        let is_last = goes.len() + 1 == saga.records.len();
        if ended && (is_last || drops_newest) && asked.contains(&newest) {
            goes.push(newest);
        }
        if self.has(Mutant::PruneNewestFirst) {
            goes.reverse();
        }
        goes
    }

    fn is_expired(&self, record: &SnapshotRecord, now: DateTime<Utc>) -> bool {
        match (self.bug, record.retention_until) {
            (Some(Mutant::ExpiryIsExclusive), Some(until)) => until < now,
            (Some(Mutant::NoRetentionIsExpired), None) => true,
            (_, until) => until.is_some_and(|until| until <= now),
        }
    }
}

fn digest_of_frame(record: &SnapshotRecord) -> Option<Digest> {
    record.frame().map(|frame| frame.digest())
}

/// The record as a store has it that lost its frame.
pub(super) fn without_frame(record: &SnapshotRecord) -> SnapshotRecord {
    let bare =
        record.payload().and_then(|payload| SnapshotRecord::from_parts(record.outline.clone(), record.header().clone(), payload.clone()));
    bare.unwrap_or_else(|_| record.clone())
}
