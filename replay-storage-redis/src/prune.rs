//! Removing records, a few in a script, so that nobody waits for long.
//!
//! What is to go is decided from a look at the saga; the script that removes it makes sure that it is still the same saga, and that
//! nothing was appended which changes the answer.

use std::{collections::BTreeMap, sync::Arc};

use redis::Value;
use replay_core::{
    Error, ErrorKind, Result, SagaId,
    storage::{PruneReport, PruneRequest, PruneScope},
};

use crate::{
    error::{Effect, damaged, unexpected},
    head::{self, Head},
    history::keys_of,
    index::{Direction, Merge},
    keys::{Kind, Shard},
    plan::{self, Field, Plan, Scope},
    positions::{self, Position},
    sagas::id_of,
    script::{FORGET, REMOVE, SURVEYS},
    store::Shared,
    value,
};

const OPERATION: &str = "prune";

/// At most so many records are removed by a script.
const CHUNK: usize = 256;

/// So many sagas are looked at at a time.
const PAGE: u64 = 64;

/// So often a saga is looked at anew that changed in between.
const ATTEMPTS: usize = 8;

/// Where in the index of sagas a walk is.
pub(crate) type Place = Vec<u8>;

pub(crate) async fn prune(shared: &Arc<Shared>, request: PruneRequest) -> Result<PruneReport> {
    let PruneRequest { scope, limit, dry_run, .. } = request;
    let mut work = Work { shared, limit, dry_run, report: PruneReport::default() };
    match scope {
        PruneScope::Saga(saga) => work.whole(&saga).await?,
        PruneScope::Record(id) => work.one(&id.saga_id, Scope::Record(id.sequence)).await?,
        PruneScope::KeepNewest { saga_id: Some(saga), keep } => work.one(&saga, Scope::KeepNewest(keep)).await?,
        PruneScope::KeepNewest { saga_id: None, keep } => work.walk(Scope::KeepNewest(keep)).await?,
        PruneScope::Expired { now } => work.walk(Scope::Expired(now)).await?,
        other => return Err(Error::unsupported(OPERATION, format!("the scope {other:?} is not known to this version"))),
    }
    Ok(work.report)
}

/// A saga as it was looked at.
struct Survey {
    head: Head,
    positions: Vec<Position>,
}

struct Work<'a> {
    shared: &'a Arc<Shared>,
    limit: u64,
    dry_run: bool,
    report: PruneReport,
}

impl Work<'_> {
    async fn one(&mut self, saga: &SagaId, scope: Scope) -> Result<()> {
        let shard = Shard::of(saga.as_str().as_bytes());
        match surveys(self.shared, &[(shard, saga.clone())]).await?.remove(&0) {
            Some(survey) => self.prune_saga(saga, survey, scope).await,
            None => Ok(()),
        }
    }

    /// Prunes one saga as far as the limit goes.
    async fn prune_saga(&mut self, saga: &SagaId, mut survey: Survey, scope: Scope) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let left = self.limit - self.report.records;
            let mut plan = Plan::of(&survey.head, &survey.positions, scope);
            let more = plan.len() > left;
            plan.truncate(left);
            if self.dry_run || plan.len() == 0 || self.carry_out(saga, &survey, &plan).await? {
                if self.dry_run {
                    self.count(plan.older.iter().chain(&plan.newest), plan.newest.is_some());
                }
                self.report.more |= more;
                return Ok(());
            }
            let shard = Shard::of(saga.as_str().as_bytes());
            let Some(again) = surveys(self.shared, &[(shard, saga.clone())]).await?.remove(&0) else { return Ok(()) };
            survey = again;
        }
        Err(Error::new(ErrorKind::Unavailable, OPERATION).message("the saga changes all the time").hint("try again").with("saga", saga))
    }

    fn count<'p>(&mut self, removed: impl Iterator<Item = &'p Position>, is_whole: bool) {
        for position in removed {
            self.report.records += 1;
            self.report.bytes += u64::from(position.bytes);
        }
        self.report.sagas += u64::from(is_whole);
    }

    /// Removes what the plan says; false if the saga has changed so that the plan may no longer hold.
    async fn carry_out(&mut self, saga: &SagaId, survey: &Survey, plan: &Plan) -> Result<bool> {
        if plan.newest.is_some() {
            let is_done = forget(self.shared, saga, survey.head.as_bytes()).await?.is_some();
            if is_done {
                self.count(plan.older.iter().chain(&plan.newest), true);
            }
            return Ok(is_done);
        }
        let fields = Plan::fields(&survey.positions, &plan.older);
        for at in (0..plan.older.len()).step_by(CHUNK) {
            let end = plan.older.len().min(at + CHUNK);
            let chunk = Chunk { removed: &plan.older[..end], at, fields: plan::fields_of(&fields, &plan.older[at..end]) };
            let Some(there) = remove(self.shared, saga, survey, &chunk, plan.needs_end).await? else { return Ok(false) };
            let removed = plan.older[at..end].iter().zip(there).filter(|(_, there)| *there == b'1');
            self.count(removed.map(|(position, _)| position), false);
        }
        Ok(true)
    }

    async fn whole(&mut self, saga: &SagaId) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let shard = Shard::of(saga.as_str().as_bytes());
            let Some(survey) = surveys(self.shared, &[(shard, saga.clone())]).await?.remove(&0) else { return Ok(()) };
            let positions = if self.dry_run {
                survey.positions
            } else {
                let Some(positions) = forget(self.shared, saga, survey.head.birth()).await? else { continue };
                positions
            };
            self.count(positions.iter().filter(|position| position.is_alive()), true);
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, OPERATION)
            .message("the saga was deleted and begun anew again and again meanwhile")
            .hint("try again")
            .with("saga", saga))
    }

    /// Goes through all sagas, from where the last walk stopped.
    async fn walk(&mut self, scope: Scope) -> Result<()> {
        let start = self.shared.resume.lock().take();
        let mut done = start.clone();
        if !self.walk_part(scope, start.as_deref(), None, &mut done).await? && start.is_some() {
            done = None;
            self.walk_part(scope, None, start.as_deref(), &mut done).await?;
        }
        if self.report.more && !self.dry_run {
            *self.shared.resume.lock() = done;
        }
        Ok(())
    }

    /// Goes through the sagas after `from` and up to `until`; says whether the limit has ended it.
    async fn walk_part(&mut self, scope: Scope, from: Option<&[u8]>, until: Option<&[u8]>, done: &mut Option<Place>) -> Result<bool> {
        let mut merge = Merge::new(OPERATION, Direction::Up, PAGE);
        for shard in Shard::all() {
            merge.add(shard, self.shared.keys().of_shard(Kind::Index, shard), &[b"a".to_vec()], b"", from);
        }
        loop {
            let members = merge.take(self.shared, usize::try_from(PAGE).unwrap_or(usize::MAX)).await?;
            let mut wanted = Vec::with_capacity(members.len());
            for (shard, member) in members {
                if until.is_some_and(|until| &member[..] > until) {
                    break;
                }
                let (_, id) = id_of(&member).ok_or_else(|| damaged(OPERATION, "the index of sagas is damaged"))?;
                wanted.push((shard, id, member));
            }
            if wanted.is_empty() {
                return Ok(false);
            }
            let sagas: Vec<_> = wanted.iter().map(|(shard, id, _)| (*shard, id.clone())).collect();
            let mut found = surveys(self.shared, &sagas).await?;
            for (at, (_, saga, place)) in wanted.into_iter().enumerate() {
                match found.remove(&at).filter(|survey| place.starts_with(&head::ordered(survey.head.started_at()))) {
                    Some(survey) => self.prune_saga(&saga, survey, scope).await?,
                    None if !self.dry_run => sweep(self.shared, &saga, &place).await?,
                    None => {}
                }
                if self.report.more {
                    return Ok(true);
                }
                *done = Some(place);
            }
        }
    }
}

/// The heads and positions of sagas, by their place in the list; those that are gone are left out.
async fn surveys(shared: &Shared, sagas: &[(Shard, SagaId)]) -> Result<BTreeMap<usize, Survey>> {
    let mut by_shard: BTreeMap<Shard, (Vec<usize>, Vec<Vec<u8>>)> = BTreeMap::new();
    for (at, (shard, id)) in sagas.iter().enumerate() {
        let (places, keys) = by_shard.entry(*shard).or_default();
        places.push(at);
        keys.extend(keys_of(shared, id));
    }
    let cmds: Vec<_> = by_shard.values().map(|(_, keys)| SURVEYS.call(keys, 0)).collect();
    let answers = shared.link().calls(OPERATION, Effect::Read, &cmds).await?;
    let mut surveys = BTreeMap::new();
    for ((places, _), answer) in by_shard.into_values().zip(answers) {
        for (place, pair) in places.into_iter().zip(value::list(OPERATION, answer)?.unwrap_or_default()) {
            let [head, positions] = value::array(OPERATION, pair)?;
            let Some(head) = value::string(OPERATION, head)? else { continue };
            let head = Head::from_bytes(&head).ok_or_else(|| unexpected(OPERATION))?;
            let positions = value::string(OPERATION, positions)?.unwrap_or_default();
            surveys.insert(place, Survey { head, positions: positions::all(OPERATION, &positions)? });
        }
    }
    Ok(surveys)
}

/// What one script removes.
struct Chunk<'a> {
    /// The records that are gone once it is done; the ones from place `at` on go with it.
    removed: &'a [Position],
    at: usize,
    fields: &'a [Field],
}

/// Removes the records of a chunk; a byte for each says whether it was there. None if the plan may no longer hold.
async fn remove(shared: &Shared, saga: &SagaId, survey: &Survey, chunk: &Chunk<'_>, needs_end: bool) -> Result<Option<Vec<u8>>> {
    let [hash, positions] = keys_of(shared, saga);
    let index = shared.keys().of_shard(Kind::Index, Shard::of(saga.as_str().as_bytes()));
    let mut cmd = REMOVE.call(&[hash, positions, index], chunk.fields.len() * 64 + (chunk.removed.len() - chunk.at) * 16);
    cmd.arg(survey.head.birth()).arg(if needs_end { "1" } else { "0" });
    cmd.arg(&Plan::gone_up_to(&survey.positions, chunk.removed).to_be_bytes()[..]).arg(chunk.fields.len());
    for field in chunk.fields {
        cmd.arg(positions::field(field.step)).arg(&field.old.to_be_bytes()[..]);
        cmd.arg(&field.new.map_or_else(Vec::new, |new| new.to_be_bytes().to_vec())[..]);
    }
    for position in &chunk.removed[chunk.at..] {
        cmd.arg(&position.sequence.to_be_bytes()[..]);
    }
    value::string(OPERATION, shared.link().call(OPERATION, Effect::Once, &cmd).await?)
}

/// Removes a whole saga whose head ends with `seen`, and gives its positions; none if it is another saga, or changed.
async fn forget(shared: &Shared, saga: &SagaId, seen: &[u8]) -> Result<Option<Vec<Position>>> {
    let answer = call_forget(shared, saga, seen, b"").await?;
    match value::string(OPERATION, answer)? {
        Some(positions) => positions::all(OPERATION, &positions).map(Some),
        None => Ok(None),
    }
}

/// Takes a saga that is gone by itself out of the index.
async fn sweep(shared: &Shared, saga: &SagaId, place: &[u8]) -> Result<()> {
    call_forget(shared, saga, b"", place).await.map(drop)
}

async fn call_forget(shared: &Shared, saga: &SagaId, seen: &[u8], place: &[u8]) -> Result<Value> {
    let [hash, positions] = keys_of(shared, saga);
    let index = shared.keys().of_shard(Kind::Index, Shard::of(saga.as_str().as_bytes()));
    let mut cmd = FORGET.call(&[hash, positions, index], 256);
    cmd.arg(seen).arg(place).arg(saga.as_str());
    // A repeat finds nothing, and so counts nothing.
    shared.link().call(OPERATION, Effect::Once, &cmd).await
}
