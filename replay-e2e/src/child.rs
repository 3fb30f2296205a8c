//! What a child process does: one job on a SQLite file, told as JSON on its command line and answered line by line on its standard
//! output.

use std::{
    io::{BufRead, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use futures::{StreamExt, stream::FuturesUnordered};
use replay_core::{
    Clock, Error, ManualClock, SagaId, SagaStatus, Store, SystemClock,
    copy::{CopyOptions, copy},
    json::Override,
    layer::{Call, Tiered},
    replay::{LocalReplay, ReplayRequest, SagaReplay},
    saga::{Registry, ResumeOptions, Runner, Saga, StartOptions, StepContext, StepError, StepResult},
    storage::SagaQuery,
};
use replay_storage_sqlite::Sqlite;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    effects::Effects,
    fatal::{Kill, fatal, fatal_at, kill_self},
    stores,
};

/// What a child process is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Where the store and the effects are.
    pub place: Place,
    /// The work.
    pub work: Work,
    /// Which saga.
    pub shape: Shape,
    /// At which append it is killed.
    pub kill: Option<Kill>,
    /// In which call it is killed, such as `+s3`, once its effect is there.
    pub kill_in: Option<String>,
    /// In which call it says `in CALL` and waits for a line on its standard input.
    pub wait_in: Option<String>,
    /// Whether it says `ready` and waits for a line once the store is open.
    pub wait_first: bool,
}

/// Where a saga leaves what: its effects in a folder, its snapshots there too or in a store elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The folder.
    pub dir: PathBuf,
    /// The store's URL; none = a SQLite file in the folder.
    pub url: Option<String>,
}

impl From<&Path> for Place {
    fn from(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), url: None }
    }
}

impl From<&Self> for Place {
    fn from(place: &Self) -> Self {
        place.clone()
    }
}

/// The work of a child process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Work {
    /// Starts the saga of this id.
    Start(String),
    /// Resumes it.
    Resume {
        /// The saga's id.
        id: String,
        /// Whether to take it over from a runner that is alive.
        force: bool,
    },
    /// Starts so many sagas at once, `m0` and on.
    StartMany(u32),
    /// Resumes every saga whose runner is gone, all at once.
    Recover,
    /// Replays the saga of this id from the step that fails, with a context in which it does not, as the saga `r`.
    Replay(String),
    /// Resumes the saga of this id, which a replay made.
    ResumeReplay(String),
    /// Copies every saga to the store in `copy.db`; it is killed at an append to that one.
    Copy,
    /// Moves every saga that has ended into the store in `copy.db`.
    Move {
        /// Whether it is killed at a removal from the hot store, instead of at an append to the cold one.
        removing: bool,
    },
}

/// A saga with a shape that a test is about. Its steps are `s0` and on; each has a compensation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// Ten steps one after the other.
    Chain,
    /// Ten steps, of which the last fails.
    Failing,
    /// One step, four at once, one.
    Wave,
    /// One step, three at once, one that fails.
    FailingWave,
}

/// How a child's work ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The saga.
    pub saga: String,
    /// Its status, or the kind of the error that stopped the run.
    pub how: String,
}

impl Job {
    /// `work` on the chain at `place`.
    pub fn new(place: impl Into<Place>, work: Work) -> Self {
        Self { place: place.into(), work, shape: Shape::Chain, kill: None, kill_in: None, wait_in: None, wait_first: false }
    }

    /// Sets the saga's shape.
    #[must_use]
    pub fn with_shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Sets at which append it is killed.
    #[must_use]
    pub fn with_kill(mut self, kill: Kill) -> Self {
        self.kill = Some(kill);
        self
    }

    /// Sets in which call it is killed.
    #[must_use]
    pub fn with_kill_in(mut self, call: &str) -> Self {
        self.kill_in = Some(call.to_owned());
        self
    }

    /// Sets in which call it waits.
    #[must_use]
    pub fn with_wait_in(mut self, call: &str) -> Self {
        self.wait_in = Some(call.to_owned());
        self
    }

    /// Makes it wait once the store is open.
    #[must_use]
    pub fn with_wait_first(mut self) -> Self {
        self.wait_first = true;
        self
    }
}

impl Shape {
    /// How the saga ends when nobody disturbs it.
    pub fn end(self) -> SagaStatus {
        match self {
            Self::Chain | Self::Wave => SagaStatus::Completed,
            Self::Failing | Self::FailingWave => SagaStatus::RolledBack,
        }
    }

    /// The step that fails.
    fn failing(self) -> Option<usize> {
        match self {
            Self::Chain | Self::Wave => None,
            Self::Failing => Some(9),
            Self::FailingWave => Some(4),
        }
    }

    /// For each step, what it needs.
    fn needs(self) -> Vec<Vec<usize>> {
        match self {
            Self::Chain | Self::Failing => (0..10_usize).map(|at| at.checked_sub(1).into_iter().collect()).collect(),
            Self::Wave => vec![vec![], vec![0], vec![0], vec![0], vec![0], vec![1, 2, 3, 4]],
            Self::FailingWave => vec![vec![], vec![0], vec![0], vec![0], vec![1, 2, 3]],
        }
    }
}

/// The store at a job's place.
///
/// # Errors
/// The store's own.
pub async fn store(place: impl Into<Place>) -> Result<Store, Error> {
    let place = place.into();
    match &place.url {
        Some(url) => stores::open(url).await,
        None => Ok(Sqlite::builder(place.dir.join("store.db")).open().await?.into_store()),
    }
}

/// The store that a job copies to.
///
/// # Errors
/// The store's own.
pub async fn copy_store(dir: &Path) -> Result<Store, Error> {
    Ok(Sqlite::builder(dir.join("copy.db")).open().await?.into_store())
}

/// The effects in a job's folder.
pub fn effects(dir: &Path) -> Effects {
    Effects::new(dir.join("effects"))
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent reads");
}

fn hear() {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("the parent writes");
}

async fn call(job: Arc<Job>, name: String, compensation: bool, cx: StepContext, mut context: Value) -> StepResult<Value> {
    let what = format!("{}{name}", if compensation { '-' } else { '+' });
    effects(&job.place.dir).add(cx.saga_id().as_str(), &what, &cx.idempotency_key());
    if job.kill_in.as_ref() == Some(&what) {
        kill_self();
    }
    if job.wait_in.as_ref() == Some(&what) {
        say(&format!("in {what}"));
        tokio::task::spawn_blocking(hear).await?;
    }
    if !compensation && context["mended"] != true && job.shape.failing().is_some_and(|failing| name == format!("s{failing}")) {
        return Err(StepError::new("told to fail"));
    }
    context[&name] = json!(if compensation { "undone" } else { "done" });
    Ok(context)
}

/// The saga of a job.
pub fn saga(job: &Arc<Job>) -> Saga<Value> {
    let mut builder = Saga::builder(format!("{:?}", job.shape));
    for (at, needs) in job.shape.needs().into_iter().enumerate() {
        let name = format!("s{at}");
        let (does, undoes) = ((job.clone(), name.clone()), (job.clone(), name.clone()));
        builder = builder
            .step_with(name, move |cx, context| call(does.0.clone(), does.1.clone(), false, cx, context))
            .compensate_with(move |cx, context| call(undoes.0.clone(), undoes.1.clone(), true, cx, context))
            .needs(needs.into_iter().map(|need| format!("s{need}")));
    }
    builder.build().expect("a shape is a definition")
}

/// What replays the sagas of a job.
pub fn replays(runner: Runner, job: &Arc<Job>) -> LocalReplay {
    LocalReplay::new(runner, Registry::new().with(saga(job)))
}

/// Does the job that is written on the command line and says how each of its sagas ended.
///
/// # Errors
/// What kept it from its work.
pub fn main(job: &str) -> Result<(), Box<dyn std::error::Error>> {
    let job: Arc<Job> = Arc::new(serde_json::from_str(job)?);
    // One thread, so that the order of appends does not depend on the machine.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(work(&job))?;
    for ended in ended {
        say(&serde_json::to_string(&ended)?);
    }
    Ok(())
}

async fn work(job: &Arc<Job>) -> Result<Vec<Ended>, Error> {
    let mut store = store(&job.place).await?;
    match job.work {
        Work::Copy => return copy_all(job, &store).await,
        Work::Move { removing } => return move_all(job, store, removing).await,
        _ => {}
    }
    if let Some(kill) = job.kill {
        store = fatal(store, kill);
    }
    if job.wait_first {
        say("ready");
        hear();
    }
    let (runner, saga) = (Runner::new(store), saga(job));
    let one = async |id: &str, force: Option<bool>| {
        let saga_id = SagaId::new(id).expect("an id");
        let ended = match force {
            None => runner.start_with(&saga, json!({}), StartOptions::default().with_id(saga_id)).await,
            Some(force) => runner.resume_with(&saga, &saga_id, ResumeOptions::default().with_force(force)).await,
        };
        let how = ended.map_or_else(|error| format!("{:?}", error.kind()), |report| report.status.to_string());
        Ended { saga: id.to_owned(), how }
    };
    Ok(match &job.work {
        Work::Start(id) => vec![one(id, None).await],
        Work::Resume { id, force } => vec![one(id, Some(*force)).await],
        Work::StartMany(count) => {
            let ids: Vec<String> = (0..*count).map(|number| format!("m{number}")).collect();
            ids.iter().map(|id| one(id, None)).collect::<FuturesUnordered<_>>().collect().await
        }
        Work::Replay(id) => {
            let step = format!("s{}", job.shape.failing().expect("a shape that fails"));
            let request = ReplayRequest::from_step(SagaId::new(id)?, step)
                .with_override(Override::from_assignments(&["mended=true"])?)
                .with_new_id(SagaId::new("r")?)
                .with_replay_key("once");
            let result = replays(runner, job).replay(request).await?;
            vec![Ended { saga: "r".into(), how: result.status.to_string() }]
        }
        Work::ResumeReplay(id) => {
            let report = replays(runner, job).resume(&SagaId::new(id)?, ResumeOptions::default()).await?;
            vec![Ended { saga: id.clone(), how: report.status.to_string() }]
        }
        // Done above, for nothing runs.
        Work::Copy | Work::Move { .. } => Vec::new(),
        Work::Recover => {
            let interrupted = runner.interrupted(SagaQuery::default()).await?;
            interrupted.iter().map(|saga| one(saga.saga_id.as_str(), Some(false))).collect::<FuturesUnordered<_>>().collect().await
        }
    })
}

async fn copy_all(job: &Job, from: &Store) -> Result<Vec<Ended>, Error> {
    let mut to = copy_store(&job.place.dir).await?;
    if let Some(kill) = job.kill {
        to = fatal(to, kill);
    }
    let report = copy(from, &to, &CopyOptions::default().with_verify(true).with_concurrency(2), &|_| {}).await?;
    Ok(vec![Ended {
        saga: String::new(),
        how: format!("{} copied, {} unchanged, {} refused", report.copied, report.unchanged, report.refused),
    }])
}

/// The stores of a job in tiers, in which every saga that has ended may be moved.
pub fn tiers(hot: &Store, cold: &Store) -> Tiered {
    let later = ManualClock::new(SystemClock.now() + TimeDelta::days(1));
    Tiered::new(hot.snapshots().clone(), cold.snapshots().clone(), Duration::ZERO).with_clock(Arc::new(later))
}

async fn move_all(job: &Job, mut hot: Store, removing: bool) -> Result<Vec<Ended>, Error> {
    let mut cold = copy_store(&job.place.dir).await?;
    match job.kill {
        Some(kill) if removing => hot = fatal_at(hot, Call::Prune, kill),
        Some(kill) => cold = fatal(cold, kill),
        None => {}
    }
    let report = tiers(&hot, &cold).move_cold(u64::MAX).await?;
    Ok(vec![Ended { saga: String::new(), how: format!("{} moved, {} refused", report.sagas, report.refused) }])
}
