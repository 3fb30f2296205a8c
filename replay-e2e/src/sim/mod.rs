//! Simulation: random sagas on one thread in virtual time, with crashes, failing stores, meddlers and jumping clocks, all from one
//! seed. What must hold is checked at every call of a step, after every run and at the end.

mod plan;
mod steps;
mod store;
mod world;

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use futures::future::{Either, join, select};
use replay_core::{
    Clock, ErrorKind, IdSource, SagaStatus,
    saga::{OnCaptureError, ResumeOptions, RunReport, Runner, SnapshotStrategy, StartOptions},
};
use replay_storage_memory::Memory;
use serde_json::{Value, json};

use self::{
    plan::{Meddling, Plan},
    store::Link,
    world::{Direction, Process, World},
};
use crate::{
    clock::{self, VirtualClock},
    history,
};

/// How a saga ended, as a report or, where nothing else is left of it, its history says.
struct End {
    status: SagaStatus,
    context: Value,
    /// Whether the history may lack captures.
    incomplete: bool,
}

impl From<RunReport<Value>> for End {
    fn from(report: RunReport<Value>) -> Self {
        Self { status: report.status, context: report.context, incomplete: !report.missing_captures.is_empty() }
    }
}

/// After so many processes a saga must have ended; the plan's crashes and faults are used up long before.
const MOST_PROCESSES: usize = 60;

/// Simulates one seed.
///
/// # Errors
/// What did not hold, with what happened before.
pub fn run(seed: u64) -> Result<(), String> {
    clock::runtime().block_on(simulate(seed))
}

/// Simulates every seed of a range.
///
/// # Errors
/// The shortest story of those that failed, which seeds those are, and in what way they differ.
pub fn run_all(seeds: Range<u64>) -> Result<(), String> {
    let failed: Vec<(u64, String)> = seeds.filter_map(|seed| run(seed).err().map(|story| (seed, story))).collect();
    let Some((seed, story)) = failed.iter().min_by_key(|(_, story)| story.len()) else { return Ok(()) };
    let mut kinds: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (seed, story) in &failed {
        let first = story.lines().find(|line| line.starts_with('!')).unwrap_or_default();
        kinds.entry(first.chars().filter(|c| !c.is_ascii_digit()).collect()).or_default().push(*seed);
    }
    let kinds: Vec<_> = kinds.iter().map(|(kind, seeds)| format!("{} seeds {kind}: {seeds:?}", seeds.len())).collect();
    Err(format!("{story}\n{}\nREPLAY_SEED={seed} runs the one above alone", kinds.join("\n")))
}

async fn simulate(seed: u64) -> Result<(), String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let plan = Plan::random(&mut rng);
    let clock = VirtualClock::new();
    let store = Memory::builder().clock(Arc::new(clock.clone())).build().into_store();
    let world = Arc::new(World::new(plan, rng, store, clock));
    let ended = live(&world, seed).await;
    if let Some(report) = &ended {
        check_end(&world, report).await;
    } else {
        world.violated(format!("no end after {MOST_PROCESSES} processes"));
    }
    let (violations, trace) = world.take_violations();
    if violations.is_empty() {
        return Ok(());
    }
    let records = history::load(&world.store, &world.saga_id).await.unwrap_or_default();
    let records = records.iter().map(|r| {
        format!(
            "{} {:?} {} {:?} next {:?} completed {:?} compensated {:?}",
            r.id(),
            r.runner,
            r.phase,
            r.status,
            r.next,
            r.completed,
            r.compensated
        )
    });
    let lines: Vec<_> = violations.iter().map(|what| format!("! {what}")).chain(trace).chain(records).collect();
    Err(format!("seed {seed}: {:#?}\n{}", world.plan, lines.join("\n")))
}

/// Starts the saga and resumes it until it has ended. Gives the last run's report.
async fn live(world: &Arc<World>, seed: u64) -> Option<End> {
    let mut meddling = world.plan.meddling.iter().copied();
    for number in 0..MOST_PROCESSES {
        let dies_at = world.plan.crashes.get(number).copied();
        let process = Process::new(world.clone(), number, dies_at);
        let ended = match meddling.next() {
            None => life(&process, seed, false).await,
            Some(what) => join(life(&process, seed, false), meddle(world, seed, number, what)).await.0,
        };
        if let Err(what) =
            history::check(&history::load(&world.store, &world.saga_id).await.ok()?, world.plan.policy.max_snapshots.is_some())
        {
            world.violated(what);
        }
        if ended.is_some() {
            return ended;
        }
    }
    None
}

fn runner(process: &Arc<Process>, seed: u64) -> Runner {
    let link = Link { inner: process.world.store.snapshots().clone(), process: process.clone() };
    let store = process.world.store.clone().with_snapshots(Arc::new(link));
    let ids = IdSource::seeded(seed.wrapping_mul(100).wrapping_add(process.number as u64));
    let runner = Runner::builder(store).clock(Arc::new(process.clock.clone())).ids(Arc::new(ids)).build();
    process.runner.get_or_init(|| runner.id());
    runner
}

/// A process runs the saga until it ends, cannot go on, or dies. Gives the report if the saga has ended.
async fn life(process: &Arc<Process>, seed: u64, force: bool) -> Option<End> {
    let runner = runner(process, seed);
    let runs = async {
        for _ in 0..3 {
            process.begun.lock().clear();
            if let Some(ended) = one_run(process, &runner, force).await {
                return Some(ended);
            }
        }
        None
    };
    match select(Box::pin(runs), Box::pin(process.died())).await {
        Either::Left((ended, _)) => ended,
        Either::Right(_) => None,
    }
}

async fn one_run(process: &Arc<Process>, runner: &Runner, force: bool) -> Option<End> {
    let world = &process.world;
    let saga = steps::saga(process);
    let newest = world.newest().await;
    let again = newest.is_none() || world.below(4) == 0;
    world.trace(|| format!("p{} {} at {:?}", process.number, if again { "starts" } else { "resumes" }, newest.as_ref().map(|r| r.id())));
    let ended = if again {
        runner.start_with(&saga, json!({}), StartOptions::default().with_id(world.saga_id.clone())).await
    } else {
        runner.resume_with(&saga, &world.saga_id, ResumeOptions::default().with_force(force)).await
    };
    match ended {
        Ok(report) => {
            world.trace(|| format!("p{} ends: {} @{} {:?}", process.number, report.status, report.sequence, report.failure));
            check_report(process, &report).await;
            report.status.is_terminal().then(|| report.into())
        }
        Err(error) => {
            world.trace(|| format!("p{} stops: {error}", process.number));
            let alone = world.plan.meddling.iter().all(|what| !matches!(what, Meddling::TakeOver(_)));
            if error.is(ErrorKind::Conflict) && alone && !again {
                world.violated(format!("p{} was stopped, but there is no other: {error:?}", process.number));
            }
            match error.kind() {
                ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::Refused | ErrorKind::NotFound => {}
                ErrorKind::Busy => process.clock.sleep(Duration::from_secs(31)).await,
                _ => world.violated(format!("p{}: {error:?}", process.number)),
            }
            ended_meanwhile(process, runner).await
        }
    }
}

/// The result of a saga that another process brought to its end.
async fn ended_meanwhile(process: &Arc<Process>, runner: &Runner) -> Option<End> {
    let world = &process.world;
    let newest = world.newest().await.filter(|newest| newest.status.is_terminal())?;
    let saga = steps::saga(process);
    let known = runner.start_with(&saga, json!({}), StartOptions::default().with_id(world.saga_id.clone())).await;
    match known {
        Ok(report) if report.status == newest.status => Some(report.into()),
        Ok(report) => {
            world.violated(format!("the result is {}, the history ends {}", report.status, newest.status));
            None
        }
        // What it was started with may be pruned or not captured, and the store may fail.
        Err(error) if error.is(ErrorKind::Conflict) => {
            let ended = newest.decode().expect("the memory store damages nothing");
            Some(End { status: ended.status, context: ended.context().expect("JSON"), incomplete: false })
        }
        Err(error) if error.is(ErrorKind::Unavailable) => None,
        Err(error) => {
            world.violated(format!("the result of an ended saga: {error:?}"));
            None
        }
    }
}

async fn meddle(world: &Arc<World>, seed: u64, number: usize, what: Meddling) {
    let process = Process::new(world.clone(), MOST_PROCESSES + number, None);
    let (Meddling::Cancel(ms) | Meddling::Snapshot(ms) | Meddling::TakeOver(ms)) = what;
    world.clock.sleep(Duration::from_millis(ms)).await;
    world.trace(|| format!("p{}: {what:?}", process.number));
    let ended = match what {
        Meddling::Cancel(_) => runner(&process, seed).cancel(&world.saga_id, "meddling", None).await.map(drop),
        Meddling::Snapshot(_) => runner(&process, seed).snapshot(&world.saga_id, "meddling", None).await.map(drop),
        Meddling::TakeOver(_) => {
            life(&process, seed, true).await;
            Ok(())
        }
    };
    let fine = [ErrorKind::Unavailable, ErrorKind::Conflict, ErrorKind::Refused, ErrorKind::NotFound];
    if let Err(error) = ended {
        world.trace(|| format!("p{} stops: {error}", process.number));
        if !fine.contains(&error.kind()) {
            world.violated(format!("{what:?}: {error:?}"));
        }
    }
}

/// What a report says is what is stored.
async fn check_report(process: &Process, report: &RunReport<Value>) {
    let world = &process.world;
    let policy = &world.plan.policy;
    let Some(newest) = world.newest().await else {
        if policy.strategy != SnapshotStrategy::Manual && policy.on_capture_error == OnCaptureError::Fail {
            world.violated("a run ended and left nothing".to_owned());
        }
        return;
    };
    let stored = policy.strategy != SnapshotStrategy::Manual && report.missing_captures.is_empty() && !report.interrupted;
    if stored && newest.runner.as_ref() == process.runner.get() && report.status != newest.status {
        world.violated(format!("the report says {}, {} says {}", report.status, newest.id(), newest.status));
    }
    if !report.missing_captures.is_empty() && policy.on_capture_error == OnCaptureError::Fail {
        world.violated("captures are missing though that must fail the run".to_owned());
    }
}

/// What must hold once a saga has ended.
async fn check_end(world: &World, report: &End) {
    let plan = &world.plan;
    let newest = world.newest().await;
    let recorded = plan.policy.strategy != SnapshotStrategy::Manual && !report.incomplete;
    if recorded && newest.as_ref().is_none_or(|newest| !newest.status.is_terminal()) {
        world.violated("the saga has ended, but its history does not say so".to_owned());
    }
    let each = matches!(plan.policy.strategy, SnapshotStrategy::BeforeEachStep | SnapshotStrategy::AfterEachStep);
    let exact = each && plan.policy.on_capture_error == OnCaptureError::Fail;
    for (at, step) in plan.steps.iter().enumerate() {
        let (done, undone) = (world.told(at, Direction::Execute), world.told(at, Direction::Compensate));
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        if report.status == SagaStatus::Completed && done == 0 {
            world.violated(format!("the saga is completed, but step {at} was never executed"));
        }
        if report.status == SagaStatus::Completed && undone > 0 && exact {
            world.violated(format!("the saga is completed, but step {at} was taken back"));
        }
        if undone > 0 && done == 0 {
            world.violated(format!("step {at} was taken back but never executed"));
        }
        let Some(newest) = newest.as_ref().filter(|_| recorded) else { continue };
        if newest.compensated.contains(index) && undone == 0 {
            world.violated(format!("step {at} is compensated, but was never taken back"));
        }
        let stands = newest.completed.contains(index) && step.compensation.is_some();
        if stands && matches!(report.status, SagaStatus::RolledBack | SagaStatus::Failed) {
            world.violated(format!("the saga is {}, but step {at} still stands", report.status));
        }
        let said = report.context[steps::name(at)].as_str();
        let conflicts = plan.steps.iter().any(|step| step.conflicts);
        let expected = if newest.compensated.contains(index) { Some("undone") } else { newest.completed.contains(index).then_some("done") };
        if exact && !conflicts && said != expected {
            world.violated(format!("step {at} has {expected:?}, but the context says {said:?}"));
        }
    }
}
