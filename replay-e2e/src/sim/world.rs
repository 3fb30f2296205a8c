//! The world of one seed: the store, the clock, the receiver of effects, and the processes that live and die in it.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use chrono::TimeDelta;
use fastrand::Rng;
use parking_lot::Mutex;
use replay_core::{RunnerId, SagaId, SnapshotRecord, Store, storage::At};
use tokio::sync::Notify;

use super::{
    plan::{Outcome, Plan},
    store::Fate,
};
use crate::clock::VirtualClock;

/// What a step does: its action or its compensation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Direction {
    Execute,
    Compensate,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) saga_id: SagaId,
    /// Without faults, for those who look.
    pub(super) store: Store,
    pub(super) clock: VirtualClock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    faults_left: u32,
    calls: HashMap<(usize, Direction), usize>,
    /// What the receiver of effects was told: for each step, under which key and how often.
    effects: HashMap<(usize, Direction), (String, u32)>,
    violations: Vec<String>,
    trace: Vec<String>,
}

impl World {
    pub(super) fn new(plan: Plan, rng: Rng, store: Store, clock: VirtualClock) -> Self {
        let state = State {
            rng,
            faults_left: plan.faults,
            calls: HashMap::new(),
            effects: HashMap::new(),
            violations: Vec::new(),
            trace: Vec::new(),
        };
        Self { plan, saga_id: SagaId::new("s").expect("an id"), store, clock, state: Mutex::new(state) }
    }

    /// How the next call of the store goes, and how many milliseconds it takes first.
    pub(super) fn fate(&self) -> (Fate, u64) {
        let mut state = self.state.lock();
        let delay = if state.rng.u32(..8) == 0 { state.rng.u64(1..50) } else { 0 };
        if state.faults_left == 0 || state.rng.u32(..self.plan.fault_rate) != 0 {
            return (Fate::Well, delay);
        }
        state.faults_left -= 1;
        let fate = [Fate::Refused, Fate::Lost, Fate::LostBefore][state.rng.usize(..3)];
        (fate, delay)
    }

    pub(super) fn below(&self, end: u64) -> u64 {
        self.state.lock().rng.u64(..end)
    }

    /// The receiver of effects is told of a call; gives what the call is to do.
    pub(super) fn called(&self, step: usize, direction: Direction, key: &str) -> Outcome {
        let mut state = self.state.lock();
        let effect = state.effects.entry((step, direction)).or_insert_with(|| (key.to_owned(), 0));
        effect.1 += 1;
        if effect.0 != key {
            let message = format!("{direction:?} of step {step} has key {key}, and had {}", effect.0);
            state.violations.push(message);
        }
        let call = state.calls.entry((step, direction)).or_default();
        *call += 1;
        let at = *call - 1;
        let plan = &self.plan.steps[step];
        let planned = match direction {
            Direction::Execute => &plan.action,
            Direction::Compensate => plan.compensation.as_ref().unwrap_or(&plan.action),
        };
        planned.get(at).copied().unwrap_or(Outcome::Ok)
    }

    /// How often the receiver was told to do or to take back `step`.
    pub(super) fn told(&self, step: usize, direction: Direction) -> u32 {
        self.state.lock().effects.get(&(step, direction)).map_or(0, |effect| effect.1)
    }

    pub(super) fn violated(&self, what: String) {
        let mut state = self.state.lock();
        state.trace.push(format!("VIOLATION: {what}"));
        state.violations.push(what);
    }

    pub(super) fn trace(&self, what: impl FnOnce() -> String) {
        let mut state = self.state.lock();
        state.trace.push(what());
    }

    pub(super) fn take_violations(&self) -> (Vec<String>, Vec<String>) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.violations), std::mem::take(&mut state.trace))
    }

    pub(super) async fn newest(&self) -> Option<SnapshotRecord> {
        self.store.snapshots().load(&self.saga_id, At::Latest).await.expect("the memory store answers")
    }
}

/// One process with one runner: it lives until its run ends or it dies at one of its points, and does nothing more from then on.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) world: Arc<World>,
    pub(super) number: usize,
    pub(super) clock: VirtualClock,
    pub(super) runner: OnceLock<RunnerId>,
    /// The run's own first attempts, so that none is made twice.
    pub(super) begun: Mutex<Vec<(usize, Direction)>>,
    dies_at: Option<u64>,
    points: AtomicU64,
    dead: AtomicBool,
    died: Notify,
}

impl Process {
    pub(super) fn new(world: Arc<World>, number: usize, dies_at: Option<u64>) -> Arc<Self> {
        let clock = if world.plan.jumps { world.clock.another() } else { world.clock.clone() };
        if world.plan.frozen {
            clock.freeze();
        }
        Arc::new(Self {
            world,
            number,
            clock,
            runner: OnceLock::new(),
            begun: Mutex::default(),
            dies_at,
            points: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            died: Notify::new(),
        })
    }

    /// A point at which the process may die: then it never comes back.
    pub(super) async fn point(&self) {
        let at = self.points.fetch_add(1, Ordering::Relaxed) + 1;
        if self.dies_at == Some(at) {
            self.world.trace(|| format!("p{} dies", self.number));
            self.dead.store(true, Ordering::Relaxed);
            self.died.notify_one();
        }
        if self.dead.load(Ordering::Relaxed) {
            return futures::future::pending().await;
        }
        if self.world.plan.jumps && self.world.below(6) == 0 {
            let hours = [-24, -1, 1, 24][usize::try_from(self.world.below(4)).unwrap_or_default()];
            self.clock.jump(TimeDelta::hours(hours));
        }
    }

    pub(super) async fn died(&self) {
        self.died.notified().await;
    }
}
