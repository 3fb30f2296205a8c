//! What one seed decides: a definition, what each call of its steps does, and what goes wrong around it.

use std::num::NonZeroU32;

use fastrand::Rng;
use replay_core::saga::{OnCaptureError, SnapshotPolicy, SnapshotStrategy};

/// What one call of an action or a compensation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    Error,
    Permanent,
    Panic,
    /// Takes so many milliseconds, then succeeds.
    Slow(u64),
}

#[derive(Debug)]
pub(super) struct StepPlan {
    pub(super) needs: Option<Vec<usize>>,
    pub(super) pivot: bool,
    pub(super) attempts: u32,
    pub(super) timeout_ms: Option<u64>,
    /// What its first calls do; all later ones succeed.
    pub(super) action: Vec<Outcome>,
    /// As `action`; none = it has no compensation.
    pub(super) compensation: Option<Vec<Outcome>>,
    pub(super) compensation_attempts: u32,
    pub(super) requests_snapshot: bool,
    /// Sets a place that other steps set too, to a value of its own.
    pub(super) conflicts: bool,
}

/// What somebody else does to the saga, after so many milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meddling {
    Cancel(u64),
    Snapshot(u64),
    /// Another runner takes the saga over by force, or starts it too.
    TakeOver(u64),
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<StepPlan>,
    pub(super) policy: SnapshotPolicy,
    pub(super) max_concurrency: usize,
    /// At which of its points each of the first processes dies.
    pub(super) crashes: Vec<u64>,
    /// How many calls of the store fail, and one in how many does.
    pub(super) faults: u32,
    pub(super) fault_rate: u32,
    pub(super) meddling: Vec<Meddling>,
    /// Whether the runner's clock jumps.
    pub(super) jumps: bool,
    pub(super) frozen: bool,
}

fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

fn outcomes(rng: &mut Rng) -> Vec<Outcome> {
    if chance(rng, 55) {
        return Vec::new();
    }
    let one = |rng: &mut Rng| match rng.u32(..10) {
        0..=2 => Outcome::Error,
        3 => Outcome::Permanent,
        4 => Outcome::Panic,
        5..=7 => Outcome::Slow(rng.u64(1..2500)),
        _ => Outcome::Ok,
    };
    (0..rng.usize(1..4)).map(|_| one(rng)).collect()
}

impl StepPlan {
    fn random(rng: &mut Rng, at: usize, is_graph: bool) -> Self {
        let needs = is_graph.then(|| (0..at).filter(|_| rng.bool()).collect());
        Self {
            needs,
            pivot: chance(rng, 8),
            attempts: rng.u32(1..4),
            timeout_ms: chance(rng, 25).then_some(1000),
            action: outcomes(rng),
            compensation: chance(rng, 75).then(|| outcomes(rng)),
            compensation_attempts: rng.u32(1..4),
            requests_snapshot: chance(rng, 10),
            conflicts: is_graph && chance(rng, 6),
        }
    }
}

impl Plan {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let is_graph = chance(rng, 40);
        let count = rng.usize(1..7);
        let steps = (0..count).map(|at| StepPlan::random(rng, at, is_graph)).collect();
        let every = NonZeroU32::new(rng.u32(1..4)).unwrap_or(NonZeroU32::MIN);
        let strategy = match rng.u32(..12) {
            0..=4 => SnapshotStrategy::BeforeEachStep,
            5..=7 => SnapshotStrategy::AfterEachStep,
            8 => SnapshotStrategy::Every(every),
            9 => SnapshotStrategy::OnFailure,
            10 => SnapshotStrategy::OnCompletion,
            _ => SnapshotStrategy::Manual,
        };
        let mut policy = SnapshotPolicy::default().with_strategy(strategy);
        if chance(rng, 25) {
            policy = policy.with_max_snapshots(rng.u64(0..5));
        }
        if chance(rng, 20) {
            policy = policy.with_on_capture_error(OnCaptureError::Continue);
        }
        let crashes = (0..rng.usize(..5)).map(|_| rng.u64(1..30)).collect();
        let mut meddling = Vec::new();
        if chance(rng, 15) {
            meddling.push(Meddling::Cancel(rng.u64(..1500)));
        }
        if chance(rng, 10) {
            meddling.push(Meddling::Snapshot(rng.u64(..1500)));
        }
        if chance(rng, 12) {
            meddling.push(Meddling::TakeOver(rng.u64(..1500)));
        }
        let faults = if chance(rng, 60) { rng.u32(1..12) } else { 0 };
        Self {
            steps,
            policy,
            max_concurrency: rng.usize(1..5),
            crashes,
            faults,
            fault_rate: rng.u32(1..12),
            meddling,
            jumps: chance(rng, 15),
            frozen: chance(rng, 4),
        }
    }
}
