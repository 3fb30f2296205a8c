//! Taking back what is completed, in reverse order, the members of a wave at once.

use futures::{StreamExt, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};

use super::{Disposition, StepReport, attempt::Attempted, drive::Run, wave::Merge};
use crate::{Failure, FailureKind, Phase, Result};

impl<C: Serialize + DeserializeOwned + Clone + Send + 'static> Run<'_, C> {
    /// Compensates until nothing is left, or a compensation exhausts its retries.
    pub(super) async fn compensate(&mut self) -> Result<()> {
        let mut left = self.position.to_compensate();
        while let Some(last) = left.last().copied() {
            let waves = &self.saga.definition().waves;
            let together = left.iter().rev().take_while(|at| waves[**at as usize] == waves[last as usize]).count();
            let group = left.split_off(left.len() - together);
            if let Some(failure) = self.compensate_group(&group).await? {
                self.position.park(failure);
                self.captured = false;
                return self.end_failed().await;
            }
        }
        self.position.end_compensation();
        self.captured = false;
        self.end_failed().await
    }

    /// Compensates steps of one wave at once. Gives the first failure, once every one has ended.
    async fn compensate_group(&mut self, group: &[u32]) -> Result<Option<Failure>> {
        let saga = self.saga.clone();
        if let [at] = *group {
            let attempts = self.attempts(&saga, at, true);
            let context = &mut self.context;
            let ended = attempts.run(|_| context.lend()).await?;
            return self.compensation_ended(at, ended, None).await;
        }
        let base = self.context.get()?.clone();
        let mut merge = Merge::new(&base)?;
        let branch = |run: &Self, at: u32| {
            let attempts = run.attempts(&saga, at, true);
            let base = base.clone();
            async move { (at, attempts.run(|_| Ok(base.clone())).await) }
        };
        let mut later = group.iter().rev().copied();
        let mut running: FuturesUnordered<_> = later.by_ref().take(saga.definition().max_concurrency).map(|at| branch(self, at)).collect();
        let mut failed = None;
        while let Some((at, ended)) = running.next().await {
            if let Some(next) = later.next() {
                running.push(branch(self, next));
            }
            let failure = self.compensation_ended(at, ended?, Some(&mut merge)).await?;
            failed = failed.or(failure);
        }
        Ok(failed)
    }

    async fn compensation_ended(&mut self, at: u32, ended: Attempted<C>, merge: Option<&mut Merge>) -> Result<Option<Failure>> {
        let name = self.saga.definition().steps[at as usize].name.clone();
        let Attempted { outcome, attempts, started_at, duration, .. } = ended;
        let context = match outcome {
            Ok(context) => context,
            Err(failure) => return Ok(Some(failure)),
        };
        let merged = match merge {
            None => Ok(context),
            Some(merge) => merge.add(&context).and_then(|()| merge.context().map_err(|error| error.to_string())),
        };
        let adopted = match merged {
            Ok(context) => self.adopt_context(&name, context, attempts),
            Err(conflict) => Err(Failure::new(Some(name.clone()), FailureKind::ContextConflict, conflict, attempts)),
        };
        if let Err(failure) = adopted {
            return Ok(Some(failure));
        }
        self.steps.push(StepReport { name, disposition: Disposition::Compensated, attempts, started_at, duration });
        self.position.compensate(at);
        self.captured = false;
        if self.head.policy.end() {
            self.capture_firmly(Phase::Compensation, Some(at)).await?;
        }
        Ok(None)
    }
}
