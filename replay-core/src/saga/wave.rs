//! A wave: steps that run at once, each on its own copy of the context, and the merge of what they made of it.

use futures::{StreamExt, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{attempt::Attempted, drive::Run};
use crate::{Error, ErrorKind, Failure, FailureKind, Result, codec, json::three_way};

/// What the branches that ended so far have made of the context.
pub(super) struct Merge {
    base: Value,
    merged: Value,
}

impl Merge {
    pub(super) fn new<C: Serialize>(base: &C) -> Result<Self> {
        let base = codec::context::to_value(base)?;
        Ok(Self { merged: base.clone(), base })
    }

    /// Takes a branch's context in. On a conflict what is merged stays as it was.
    pub(super) fn add<C: Serialize>(&mut self, branch: &C) -> std::result::Result<(), String> {
        let theirs = codec::context::to_value(branch).map_err(|error| error.to_string())?;
        self.merged = three_way(&self.base, &self.merged, &theirs)
            .map_err(|conflict| format!("two branches set `{}` to different values", conflict.pointer))?;
        Ok(())
    }

    pub(super) fn context<C: DeserializeOwned>(&self) -> Result<C> {
        C::deserialize(&self.merged).map_err(|e| {
            Error::new(ErrorKind::ContextConflict, "merge wave").message("the merged context does not fit the saga's type").caused_by(e)
        })
    }
}

impl<C: Serialize + DeserializeOwned + Clone + Send + 'static> Run<'_, C> {
    /// Runs the steps of `wave` at once and merges what they made of the context. Branches that end are captured with what is
    /// merged so far. Gives the first failure, once every branch has ended.
    pub(super) async fn wave(&mut self, wave: &[u32]) -> Result<Option<(Failure, u32)>> {
        if let Some(failed) = wave.iter().find_map(|at| self.forced(*at).map(|failure| (failure, *at))) {
            return Ok(Some(failed));
        }
        let base = self.context.get()?.clone();
        let mut merge = Merge::new(&base)?;
        let saga = self.saga.clone();
        let branch = |run: &Self, at: u32| {
            let attempts = run.attempts(&saga, at, false);
            let base = base.clone();
            async move { (at, attempts.run(|_| Ok(base.clone())).await) }
        };
        let (now, later) = wave.split_at(wave.len().min(saga.definition().max_concurrency));
        let mut running: FuturesUnordered<_> = now.iter().map(|at| branch(self, *at)).collect();
        let mut later = later.iter();
        let mut left = wave.len();
        let mut failed = None;
        while let Some((at, ended)) = running.next().await {
            left -= 1;
            let ended = ended?;
            if ended.interrupted {
                continue;
            }
            if failed.is_none()
                && self.cancelled.is_none()
                && self.stop.get().is_none()
                && let Some(next) = later.next()
            {
                running.push(branch(self, *next));
            }
            if let Some(failure) = self.branch_ended(at, ended, &mut merge, wave.len(), left == 0).await? {
                failed = failed.or(Some((failure, at)));
            }
        }
        Ok(failed)
    }

    async fn branch_ended(&mut self, at: u32, ended: Attempted<C>, merge: &mut Merge, wave: usize, last: bool) -> Result<Option<Failure>> {
        self.note(at, &ended);
        let Attempted { outcome, attempts, wants_snapshot, .. } = ended;
        let context = match outcome {
            Ok(context) => context,
            Err(failure) => return Ok(Some(failure)),
        };
        let name = self.saga.definition().steps[at as usize].name.clone();
        let merged = merge.add(&context).and_then(|()| merge.context().map_err(|error| error.to_string()));
        self.completed(at);
        let adopted = match merged {
            Ok(context) => self.adopt_context(&name, context, attempts),
            Err(conflict) => Err(Failure::new(Some(name), FailureKind::ContextConflict, conflict, attempts)),
        };
        if let Err(failure) = adopted {
            return Ok(Some(failure));
        }
        self.capture_after(at, wants_snapshot, self.head.policy.after_step(wave, last)).await?;
        Ok(None)
    }
}
