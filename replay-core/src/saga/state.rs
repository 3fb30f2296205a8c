//! Where a run stands and what comes next, without code, store or clock.

use std::sync::Arc;

use crate::{Failure, Outline, SagaStatus, SnapshotMeta, StepRanges};

/// The state of a run. Its transitions are pure; the driver does what they say.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    outline: Arc<Outline>,
    pub(crate) status: SagaStatus,
    pub(crate) completed: StepRanges,
    pub(crate) compensated: StepRanges,
    pub(crate) failure: Option<Arc<Failure>>,
    /// For each step, how many of its needs are not settled. A step is settled once it is completed and all that it needs is: in a
    /// replay a step may be completed while one that it needs, which was compensated, has yet to run again.
    waiting: Vec<u32>,
    /// Steps whose needs are all settled and which are not completed themselves, ascending.
    ready: Vec<u32>,
}

/// What a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// Completed steps are to be compensated.
    Compensate,
    /// A pivot is completed: nothing is compensated.
    Park,
}

impl Position {
    /// Before the first step.
    pub(crate) fn new(outline: Arc<Outline>) -> Self {
        Self::at(outline, SagaStatus::Pending, StepRanges::default(), StepRanges::default(), None)
    }

    /// Where a snapshot says.
    pub(crate) fn at(
        outline: Arc<Outline>,
        status: SagaStatus,
        completed: StepRanges,
        compensated: StepRanges,
        failure: Option<Arc<Failure>>,
    ) -> Self {
        let mut done = vec![false; outline.steps().len()];
        for index in completed.iter() {
            if let Some(slot) = done.get_mut(index as usize) {
                *slot = true;
            }
        }
        let mut settled: Vec<bool> = Vec::with_capacity(done.len());
        let mut waiting = Vec::with_capacity(done.len());
        for (step, done) in outline.steps().iter().zip(&done) {
            let open = step.needs.iter().filter(|need| !settled[**need as usize]).count();
            settled.push(*done && open == 0);
            waiting.push(u32::try_from(open).unwrap_or(u32::MAX));
        }
        let ready = (0_u32..).zip(&waiting).filter(|(at, open)| **open == 0 && !done[*at as usize]).map(|(at, _)| at).collect();
        Self { outline, status, completed, compensated, failure, waiting, ready }
    }

    /// The steps that run next, all at once.
    pub(crate) fn wave(&self) -> &[u32] {
        &self.ready
    }

    /// What `next_steps` of a snapshot is.
    pub(crate) fn next(&self) -> StepRanges {
        let forward = match self.status {
            SagaStatus::Pending | SagaStatus::Executing => true,
            SagaStatus::Parked => self.failure.as_ref().is_none_or(|failure| failure.compensation.is_none()),
            _ => false,
        };
        if forward { self.ready.iter().copied().collect() } else { StepRanges::default() }
    }

    /// `step` was completed; `dependents` has for each step the steps that need it.
    pub(crate) fn complete(&mut self, step: u32, dependents: &[Vec<u32>]) {
        self.completed.push(step);
        self.ready.retain(|ready| *ready != step);
        let mut settled = vec![step];
        while let Some(step) = settled.pop() {
            for dependent in &dependents[step as usize] {
                let open = &mut self.waiting[*dependent as usize];
                *open -= 1;
                if *open > 0 {
                    continue;
                }
                let next = if self.completed.contains(*dependent) { &mut settled } else { &mut self.ready };
                next.push(*dependent);
            }
        }
        self.ready.sort_unstable();
    }

    /// The way forward ends.
    pub(crate) fn fail(&mut self, failure: Failure) -> AfterFailure {
        self.failure = Some(Arc::new(failure));
        let is_pivot = |index: u32| self.outline.step(index).is_some_and(|step| step.pivot);
        if self.completed.iter().any(is_pivot) {
            self.status = SagaStatus::Parked;
            AfterFailure::Park
        } else {
            self.status = SagaStatus::Compensating;
            AfterFailure::Compensate
        }
    }

    /// Completed steps that have a compensation, in order of completion.
    pub(crate) fn to_compensate(&self) -> Vec<u32> {
        self.completed.iter().filter(|index| self.outline.step(*index).is_some_and(|step| step.has_compensation)).collect()
    }

    /// Where `snapshot` says that the saga stands.
    pub(crate) fn of(snapshot: &SnapshotMeta) -> Self {
        let SnapshotMeta { outline, status, completed, compensated, failure, .. } = snapshot;
        Self::at(outline.clone(), *status, completed.clone(), compensated.clone(), failure.clone())
    }

    /// Names of the steps whose compensation is still to be done, the next one first; none on the way forward and after the end.
    pub(crate) fn left_to_compensate(&self) -> Vec<Arc<str>> {
        let stuck = self.failure.as_ref().is_some_and(|failure| failure.compensation.is_some());
        if self.status != SagaStatus::Compensating && !(self.status == SagaStatus::Parked && stuck) {
            return Vec::new();
        }
        let left = self.to_compensate().into_iter().rev();
        left.filter_map(|at| self.outline.step(at)).map(|step| step.name.clone()).collect()
    }

    /// `step` was compensated.
    pub(crate) fn compensate(&mut self, step: u32) {
        self.completed.remove(step);
        self.compensated.push(step);
    }

    /// A compensation exhausted its retries.
    pub(crate) fn park(&mut self, compensation: Failure) {
        self.status = SagaStatus::Parked;
        let mut failure = self.failure.as_deref().cloned().unwrap_or_else(|| compensation.clone());
        failure.compensation = Some(Box::new(compensation));
        self.failure = Some(Arc::new(failure));
    }

    /// Nothing is left to compensate.
    pub(crate) fn end_compensation(&mut self) {
        self.status = if self.compensated.is_empty() { SagaStatus::Failed } else { SagaStatus::RolledBack };
    }

    /// A parked run goes on: with compensating if that is where it stood, else forward.
    pub(crate) fn unpark(&mut self) {
        if self.status != SagaStatus::Parked {
            return;
        }
        let Some(failure) = &self.failure else { return };
        if failure.compensation.is_some() {
            let mut failure = (**failure).clone();
            failure.compensation = None;
            self.failure = Some(Arc::new(failure));
            self.status = SagaStatus::Compensating;
        } else {
            self.failure = None;
            self.status = SagaStatus::Executing;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FailureKind, OutlineStep};

    fn step(name: &str, needs: &[u32], has_compensation: bool, pivot: bool) -> OutlineStep {
        let mut step = OutlineStep::new(name, needs.to_vec());
        (step.has_compensation, step.pivot) = (has_compensation, pivot);
        step
    }

    fn diamond(pivot: bool) -> Arc<Outline> {
        let steps =
            vec![step("a", &[], true, pivot), step("b", &[0], true, false), step("c", &[0], false, false), step("d", &[1, 2], true, false)];
        Arc::new(Outline::new("diamond", "1", steps).unwrap())
    }

    fn failure() -> Failure {
        Failure::new(Some("d".into()), FailureKind::Error, "no", 1)
    }

    #[test]
    fn a_step_is_ready_when_all_that_it_needs_is_completed() {
        let mut position = Position::new(diamond(false));
        let dependents = [vec![1, 2], vec![3], vec![3], vec![]];
        assert_eq!(position.wave(), [0]);
        position.complete(0, &dependents);
        assert_eq!(position.wave(), [1, 2]);
        position.complete(2, &dependents);
        assert_eq!(position.wave(), [1]);
        position.complete(1, &dependents);
        assert_eq!(position.wave(), [3]);
        position.complete(3, &dependents);
        assert!(position.wave().is_empty());
        assert_eq!(position.completed.iter().collect::<Vec<_>>(), [0, 2, 1, 3]);
    }

    #[test]
    fn nothing_runs_before_a_step_that_it_needs_by_way_of_another_runs_again() {
        let dependents = [vec![1, 2], vec![3], vec![3], vec![]];
        let completed = [1, 2].into_iter().collect();
        let mut position = Position::at(diamond(false), SagaStatus::Executing, completed, StepRanges::default(), None);
        assert_eq!(position.wave(), [0]);
        position.complete(0, &dependents);
        assert_eq!(position.wave(), [3]);
        assert_eq!(position.completed.iter().collect::<Vec<_>>(), [1, 2, 0]);
    }

    #[test]
    fn compensation_ends_rolled_back_or_failed_if_there_was_none() {
        let mut position =
            Position::at(diamond(false), SagaStatus::Executing, [0, 2, 1].into_iter().collect(), StepRanges::default(), None);
        assert_eq!(position.fail(failure()), AfterFailure::Compensate);
        assert_eq!(position.to_compensate(), [0, 1]);
        assert!(position.next().is_empty());
        position.compensate(1);
        position.compensate(0);
        position.end_compensation();
        assert_eq!(position.status, SagaStatus::RolledBack);

        let mut position = Position::new(diamond(false));
        position.fail(failure());
        position.end_compensation();
        assert_eq!(position.status, SagaStatus::Failed);
    }

    #[test]
    fn after_a_pivot_a_failure_parks_and_the_way_forward_stays_open() {
        let mut position = Position::at(diamond(true), SagaStatus::Executing, [0, 1].into_iter().collect(), StepRanges::default(), None);
        assert_eq!(position.fail(failure()), AfterFailure::Park);
        assert_eq!(position.next().iter().collect::<Vec<_>>(), [2]);
        position.unpark();
        assert_eq!((position.status, position.failure), (SagaStatus::Executing, None));
    }

    #[test]
    fn a_parked_compensation_goes_on_where_it_stood() {
        let mut position = Position::at(diamond(false), SagaStatus::Executing, [0, 1].into_iter().collect(), StepRanges::default(), None);
        position.fail(failure());
        position.park(Failure::new(Some("b".into()), FailureKind::Error, "stuck", 3));
        assert!(position.next().is_empty());
        assert_eq!(position.failure.as_ref().unwrap().to_string(), "d: no; compensation failed too: b: stuck");
        position.unpark();
        assert_eq!(position.status, SagaStatus::Compensating);
        assert_eq!(position.failure.unwrap().to_string(), "d: no");
    }
}
