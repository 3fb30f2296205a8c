//! Killing the process of a saga, resuming it in another, and checking that nothing acknowledged was lost or done again.

use std::collections::BTreeSet;

use replay_core::{SagaId, SnapshotRecord};

use crate::{
    child::{self, Ended, Job, Place, Shape, Work},
    effects::{self, Effect},
    fatal::Kill,
    history,
    parent::{Death, Program},
};

/// Where a process is killed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// At an append.
    Append(Kill),
    /// In a call, such as `+s3`, once its effect is there.
    Call(String),
}

impl Point {
    /// `job`, killed here.
    pub fn of(&self, job: Job) -> Job {
        match self {
            Self::Append(kill) => job.with_kill(*kill),
            Self::Call(call) => job.with_kill_in(call),
        }
    }
}

/// A shape and twenty points to kill its processes at, another one for each seed.
pub fn random_points(seed: u64) -> (Shape, Vec<Point>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let shape = [Shape::Chain, Shape::Failing, Shape::Wave, Shape::FailingWave][rng.usize(..4)];
    let point = |rng: &mut fastrand::Rng| match rng.u32(..3) {
        0 => Point::Append(Kill::Before(rng.u64(2..6))),
        1 => Point::Append(Kill::After(rng.u64(1..6))),
        _ => Point::Call(format!("{}s{}", if rng.bool() { '+' } else { '-' }, rng.u32(..10))),
    };
    (shape, (0..20).map(|_| point(&mut rng)).collect())
}

/// What is stored of a saga.
///
/// # Errors
/// If the history breaks a rule, or the store does not answer.
pub fn stored(place: impl Into<Place>, id: &str) -> Result<Vec<SnapshotRecord>, String> {
    let place = place.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let records = runtime.block_on(async {
        let store = child::store(&place).await.map_err(|error| error.to_string())?;
        history::load(&store, &SagaId::new(id).expect("an id")).await
    })?;
    history::check(&records, false)?;
    Ok(records)
}

/// Runs the saga `k` with one process after the other, each killed at the next of `points`, then with one that may live. Gives how many
/// of the processes were killed; the others came to the end before their point.
///
/// # Errors
/// What was lost, done again, or ended otherwise than it must.
pub fn kill_at(program: &Program, shape: Shape, points: &[Point]) -> Result<usize, String> {
    let dir = tempfile::tempdir().expect("a folder");
    kill_at_place(program, &Place::from(dir.path()), shape, points)
}

/// As [`kill_at`], with the snapshots in the store at `url`, where nobody else may have a saga `k`.
///
/// # Errors
/// As [`kill_at`].
pub fn kill_at_url(program: &Program, url: &str, shape: Shape, points: &[Point]) -> Result<usize, String> {
    let dir = tempfile::tempdir().expect("a folder");
    let place = Place { dir: dir.path().to_owned(), url: Some(url.to_owned()) };
    kill_at_place(program, &place, shape, points)
}

fn kill_at_place(program: &Program, place: &Place, shape: Shape, points: &[Point]) -> Result<usize, String> {
    let dir = &place.dir;
    let mut killed = 0;
    for point in points.iter().map(Some).chain([None]) {
        let known = Known::of(&stored(place, "k")?);
        // Starting a saga that has ended gives its result.
        let resume = known.exists && !known.ended;
        let work = if resume { Work::Resume { id: "k".into(), force: false } } else { Work::Start("k".into()) };
        let job = Job::new(place, work).with_shape(shape);
        let told = child::effects(dir).all().len();
        let death = program.run(&point.map_or(job.clone(), |point| point.of(job)))?;
        known.check_calls(&child::effects(dir).all(), told).map_err(|what| format!("{shape:?} at {point:?} of {points:?}: {what}"))?;
        match death {
            Death::Killed => killed += 1,
            Death::Ended(ended) if ended == [Ended { saga: "k".into(), how: shape.end().to_string() }] => break,
            Death::Ended(ended) => return Err(format!("{shape:?} after {points:?}: {ended:?}")),
        }
    }
    check_end(place, shape, killed).map_err(|what| format!("{shape:?} after {points:?}: {what}"))?;
    Ok(killed)
}

/// What is acknowledged of a saga.
#[derive(Debug, Default)]
pub struct Known {
    exists: bool,
    ended: bool,
    completed: BTreeSet<String>,
    compensated: BTreeSet<String>,
}

impl Known {
    /// What `records`, the oldest first, acknowledge.
    pub fn of(records: &[SnapshotRecord]) -> Self {
        let Some(newest) = records.last() else { return Self::default() };
        let compensated: BTreeSet<String> = newest.compensated_steps().to_vec().into_iter().collect();
        let mut completed: BTreeSet<String> = newest.completed_steps().to_vec().into_iter().collect();
        completed.extend(compensated.iter().cloned());
        Self { exists: true, ended: newest.status.is_terminal(), completed, compensated }
    }

    /// Whether the saga has ended.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Checks the calls that a process made after it found this state; `all` has those of earlier processes, `told` of them.
    ///
    /// # Errors
    /// Which acknowledged step was done again, which call was made twice, or which key was not kept.
    pub fn check_calls(&self, all: &[Effect], told: usize) -> Result<(), String> {
        effects::check_keys(all)?;
        for ((_, what), count) in effects::counts(&all[told..]) {
            let (known, step) = match what.split_at(1) {
                ("+", step) => (&self.completed, step),
                (_, step) => (&self.compensated, step),
            };
            if known.contains(step) {
                return Err(format!("{what} was acknowledged and done again"));
            }
            if count > 1 {
                return Err(format!("one process did {what} {count} times"));
            }
        }
        Ok(())
    }
}

/// Checks how the saga `k` ended, and how often each call was made, after so many processes were killed.
fn check_end(place: &Place, shape: Shape, killed: usize) -> Result<(), String> {
    let records = stored(place, "k")?;
    let newest = records.last().ok_or("nothing is stored")?;
    if newest.status != shape.end() {
        return Err(format!("the history ends {}", newest.status));
    }
    let calls = effects::counts(&child::effects(&place.dir).all());
    let done = newest.completed.iter().chain(newest.compensated.iter()).map(|step| format!("+s{step}"));
    let undone = newest.compensated.iter().map(|step| format!("-s{step}"));
    for what in done.chain(undone) {
        let count = calls.get(&("k".to_owned(), what.clone())).copied().unwrap_or_default() as usize;
        if count == 0 || count > 1 + killed {
            return Err(format!("{what} was done {count} times with {killed} kills"));
        }
    }
    let again: usize = calls.values().map(|count| *count as usize - 1).sum();
    let widest = if matches!(shape, Shape::Chain | Shape::Failing) { 1 } else { 4 };
    if again > killed * widest {
        return Err(format!("{again} calls were made again after {killed} kills: {calls:?}"));
    }
    Ok(())
}
