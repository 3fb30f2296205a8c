//! Taking back what is completed, in reverse order, the members of a wave at once.

use futures::{StreamExt, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};

use super::{Disposition, StepReport, attempt::Attempted, capture::Held, drive::Run, wave::Merge};
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
        let mut running: FuturesUnordered<_> = group
            .iter()
            .rev()
            .map(|at| {
                let attempts = self.attempts(&saga, *at, true);
                let base = base.clone();
                async move { (*at, attempts.run(|_| Ok(base.clone())).await) }
            })
            .collect();
        let mut failed = None;
        while let Some((at, ended)) = running.next().await {
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
        self.steps.push(StepReport { name: name.clone(), disposition: Disposition::Compensated, attempts, started_at, duration });
        let merged = match merge {
            None => Ok(context),
            Some(merge) => merge.add(&context).and_then(|()| merge.context().map_err(|error| error.to_string())),
        };
        self.position.compensate(at);
        self.captured = false;
        match merged {
            Ok(context) => self.context = Held::value(context),
            Err(conflict) => return Ok(Some(Failure::new(Some(name), FailureKind::ContextConflict, conflict, attempts))),
        }
        if self.head.policy.end() {
            self.capture_firmly(Phase::Compensation, Some(at)).await?;
        }
        Ok(None)
    }
}
