//! Removing records: the head is replaced by one that no longer leads to them, and the objects follow in batches.
//!
//! What nothing leads to any more is noted in the head, or what is left of it, before anything is removed: whoever prunes after a crash
//! goes on where it ended.

use std::sync::Arc;

use replay_core::{
    Error, ErrorKind, Result, SagaId,
    storage::{PruneReport, PruneRequest, PruneScope},
};

use crate::{
    client::{DELETED_AT_ONCE, ETag, Outcome},
    head::Head,
    heads::Known,
    key::{Kind, Token},
    sagas,
    store::Shared,
    walk::{Walk, removed},
};

mod plan;

use plan::{Plan, Rule};

pub(crate) const OPERATION: &str = "prune";

/// What was swept of something that is gone, where the server cannot remove the rest of it safely.
pub(crate) const SWEPT: Token = [0; 16];

pub(crate) async fn prune(shared: &Arc<Shared>, request: PruneRequest) -> Result<PruneReport> {
    let mut run = Run { shared, limit: request.limit, is_dry: request.dry_run, report: PruneReport::default(), removed: Vec::new() };
    match &request.scope {
        PruneScope::Saga(saga) => run.whole_saga(saga).await?,
        PruneScope::Record(id) => run.saga(&id.saga_id, Rule::One(id.sequence)).await?,
        PruneScope::KeepNewest { saga_id: Some(saga), keep } => run.saga(saga, Rule::Surplus((*keep).max(1))).await?,
        PruneScope::KeepNewest { saga_id: None, keep } => run.every_saga(Rule::Surplus((*keep).max(1))).await?,
        PruneScope::Expired { now } => run.every_saga(Rule::Expired(now.timestamp_micros())).await?,
        other => return Err(Error::unsupported(OPERATION, format!("the scope {other:?} is not known to this version"))),
    }
    run.remove_objects().await?;
    Ok(run.report)
}

/// One call.
struct Run<'a> {
    shared: &'a Arc<Shared>,
    limit: u64,
    is_dry: bool,
    report: PruneReport,
    /// The keys of objects that nothing leads to any more.
    removed: Vec<String>,
}

impl Run<'_> {
    async fn every_saga(&mut self, rule: Rule) -> Result<()> {
        for row in sagas::oldest_first(self.shared, OPERATION).await? {
            let Some(live) = &row.live else {
                if !self.is_dry && row.life != SWEPT {
                    self.sweep(&row.name).await?;
                }
                continue;
            };
            let may_have = match rule {
                Rule::Surplus(keep) => live.count > keep,
                Rule::Expired(now) => live.retain.is_some_and(|until| until <= now),
                Rule::One(_) => true,
            };
            let has_garbage = live.has_garbage && !self.is_dry;
            // Once the limit is reached and there is more, the rest says nothing new.
            if (may_have && !self.report.more) || has_garbage {
                self.saga(&SagaId::new(&*row.name)?, rule).await?;
            }
        }
        Ok(())
    }

    /// Removes what `rule` says of one saga.
    async fn saga(&mut self, saga: &SagaId, rule: Rule) -> Result<()> {
        let mut last: Option<ETag> = None;
        loop {
            let known = self.shared.read_head(OPERATION, Kind::Saga, saga.as_str()).await?;
            let Some((known, head)) = known.as_ref().and_then(|known| Some((known, known.alive()?))) else { return Ok(()) };
            let left = if self.report.more { 0 } else { self.limit - self.report.records };
            let walk = Walk::new(self.shared.clone(), head.clone(), OPERATION);
            let plan = match Plan::make(&walk, saga, rule, left).await {
                Ok(plan) => plan,
                Err(error) if error.is(ErrorKind::NotFound) => {
                    removed(&mut last, &known.etag, saga.as_str())?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let does_something = plan.records > 0 || !head.garbage.is_empty();
            let (records, bytes, gone, more) = (plan.records, plan.bytes, plan.gone, plan.more);
            if !self.is_dry && does_something && !self.carry_out(known, plan).await? {
                continue;
            }
            self.report.records += records;
            self.report.bytes += bytes;
            self.report.sagas += u64::from(gone);
            self.report.more |= more;
            return Ok(());
        }
    }

    /// Replaces the head; says whether nobody else was first.
    async fn carry_out(&mut self, known: &Known, plan: Plan) -> Result<bool> {
        if plan.gone {
            return self.bury(known).await;
        }
        let (head, objects) = plan.apply((*known.head).clone());
        // Nothing leads to these since an earlier prune, which was interrupted.
        self.shared.client.delete(OPERATION, &self.dead(&known.head)).await?;
        self.shared.write_bundles(OPERATION, &head.life, objects).await?;
        let Outcome::Done(written) = self.shared.write_head(OPERATION, Some(known), head).await? else { return Ok(false) };
        self.removed.extend(self.dead(&written.head));
        if self.removed.len() >= DELETED_AT_ONCE {
            self.remove_objects().await?;
        }
        Ok(true)
    }

    /// The keys of what a head notes as no longer needed; what it leads to is needed, whatever the notes say.
    fn dead(&self, head: &Head) -> Vec<String> {
        let dead = head.garbage.iter().filter(|hash| head.entries.iter().all(|entry| entry.hash != **hash));
        dead.map(|hash| self.shared.keys.bundle(&head.life, hash)).collect()
    }

    async fn whole_saga(&mut self, saga: &SagaId) -> Result<()> {
        let mut life = None;
        loop {
            let known = self.shared.read_head(OPERATION, Kind::Saga, saga.as_str()).await?;
            let Some((known, head)) = known.as_ref().and_then(|known| Some((known, known.alive()?))) else {
                if let Some(known) = known.filter(|known| !self.is_dry && known.head.life != SWEPT) {
                    bury_rest(self.shared, OPERATION, &known).await?;
                }
                return Ok(());
            };
            // What was there is gone, and somebody has begun anew.
            if *life.get_or_insert(head.life) != head.life {
                return Ok(());
            }
            let stats = head.stats();
            if !self.is_dry && !self.bury(known).await? {
                continue;
            }
            self.report.records = stats.map_or(0, |stats| stats.count);
            self.report.bytes = stats.map_or(0, |stats| stats.bytes);
            self.report.sagas = 1;
            return Ok(());
        }
    }

    /// Makes a saga that has everything one that is gone; says whether nobody else was first.
    async fn bury(&mut self, known: &Known) -> Result<bool> {
        bury(self.shared, OPERATION, known).await
    }

    async fn sweep(&mut self, name: &str) -> Result<()> {
        let known = self.shared.read_head(OPERATION, Kind::Saga, name).await?;
        match known.filter(|known| known.alive().is_none()) {
            Some(known) => bury_rest(self.shared, OPERATION, &known).await,
            None => Ok(()),
        }
    }

    async fn remove_objects(&mut self) -> Result<()> {
        self.shared.client.delete(OPERATION, &std::mem::take(&mut self.removed)).await
    }
}

/// Replaces a head by a tombstone, then removes its bundles, then the tombstone; says whether nobody else was first.
pub(crate) async fn bury(shared: &Arc<Shared>, operation: &'static str, known: &Known) -> Result<bool> {
    match shared.write_head(operation, Some(known), known.head.tombstone()).await? {
        Outcome::Done(tombstone) => bury_rest(shared, operation, &tombstone).await.map(|()| true),
        Outcome::Lost | Outcome::Unclear => Ok(false),
    }
}

/// Removes what a tombstone stands for, then the tombstone itself, unless somebody has begun anew in its place.
async fn bury_rest(shared: &Arc<Shared>, operation: &'static str, tombstone: &Known) -> Result<()> {
    remove_life(shared, operation, &tombstone.head.life).await?;
    let key = shared.keys.head(tombstone.head.kind, &tombstone.head.name);
    if shared.deletes_on_condition(operation).await? {
        shared.client.delete_if(operation, &key, &tombstone.etag).await?;
        shared.heads.remove(&key);
    } else {
        // It stays, for removing it could remove what somebody puts in its place. This notes that nothing else is left.
        let mut swept = (*tombstone.head).clone();
        swept.life = SWEPT;
        shared.write_head(operation, Some(tombstone), swept).await?;
    }
    Ok(())
}

/// Removes every bundle of what is gone.
pub(crate) async fn remove_life(shared: &Arc<Shared>, operation: &'static str, life: &Token) -> Result<()> {
    if *life == SWEPT {
        return Ok(());
    }
    let objects = shared.client.list_all(operation, &shared.keys.life(life)).await?;
    let keys: Vec<String> = objects.into_iter().map(|object| object.key).collect();
    shared.client.delete(operation, &keys).await
}
