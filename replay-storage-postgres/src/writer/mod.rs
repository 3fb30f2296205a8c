//! The one writer of a store: appends that come together share a statement, and one that comes alone waits for nothing.
//!
//! A caller puts its job into the queue. If a lane is free, it becomes the leader of that lane and sends a group with its own job; what
//! queued up meanwhile is sent by a task of its own, group after group, until the queue is empty. So a single saga pays one round trip
//! and one commit, and many share theirs. Two lanes keep the server busy while the callers of one prepare what they append next.
//!
//! A saga is never in two lanes at once, so that the second does not wait for the first one's lock. Whoever leads holds a [`Leadership`].
//! If it is dropped half-way, because its caller went away, a task takes the group over: appending again what is stored is no harm.

mod group;
mod statement;

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    sync::Arc,
};

use parking_lot::Mutex;
use replay_core::{Error, ErrorKind, Result, Retry, SagaId};
use tokio::{runtime::Handle, sync::oneshot};

use crate::{append::Unit, error::copy_of, store::Shared};
use group::run_group;

/// So many groups are under way at once.
const LANES: usize = 2;

/// At most this many sagas share a statement, so that the first of them does not wait for too many others.
const GROUP_UNITS: usize = 512;

/// A group ends with this many bytes.
const GROUP_BYTES: u64 = 4 << 20;

/// A queue of appends.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// The sagas that are under way.
    busy: HashSet<SagaId>,
    lanes: usize,
}

/// One caller's append.
pub(crate) struct Job {
    /// What each saga is to get, and what became of it.
    parts: Vec<(Unit, Option<Result<()>>)>,
    reply: oneshot::Sender<Result<()>>,
}

impl Job {
    fn sagas(&self) -> impl Iterator<Item = &SagaId> {
        self.parts.iter().map(|(unit, _)| unit.saga())
    }

    fn bytes(&self) -> u64 {
        self.parts.iter().map(|(unit, _)| unit.bytes()).sum()
    }

    fn settle(self) {
        let outcome = self.parts.into_iter().try_for_each(|(_, outcome)| outcome.unwrap_or_else(|| Err(interrupted())));
        // The caller may have gone; what is stored stays stored.
        let _ = self.reply.send(outcome);
    }
}

impl Queue {
    /// The next jobs, no saga of which is under way, and none of which has a saga of another.
    fn take_group(&mut self) -> Vec<Job> {
        let (mut group, mut units, mut bytes) = (Vec::new(), 0, 0);
        // A job that has to wait must not be overtaken by a later one for the same saga.
        let mut waiting: HashSet<SagaId> = HashSet::new();
        let mut index = 0;
        while index < self.jobs.len() && units < GROUP_UNITS && bytes < GROUP_BYTES {
            let job = &self.jobs[index];
            if job.sagas().any(|saga| self.busy.contains(saga) || waiting.contains(saga)) {
                waiting.extend(job.sagas().cloned());
                index += 1;
                continue;
            }
            if let Some(job) = self.jobs.remove(index) {
                self.busy.extend(job.sagas().cloned());
                units += job.parts.len();
                bytes += job.bytes();
                group.push(job);
            }
        }
        group
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared, queue: Mutex::default() })
    }

    /// Appends `units`, perhaps together with others', and gives their outcome.
    ///
    /// # Cancel safety
    /// A dropped future may or may not have appended; it never keeps another's from being done.
    pub(crate) async fn write(self: &Arc<Self>, units: Vec<Unit>) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let job = Job { parts: units.into_iter().map(|unit| (unit, None)).collect(), reply };
        if let Some(leadership) = self.enter(job) {
            leadership.lead_once().await;
        }
        answer.await.unwrap_or_else(|_| Err(interrupted()))
    }

    fn enter(self: &Arc<Self>, job: Job) -> Option<Leadership> {
        let mut queue = self.queue.lock();
        queue.jobs.push_back(job);
        if queue.lanes >= LANES {
            return None;
        }
        let group = queue.take_group();
        if group.is_empty() {
            // Whoever has the saga under way takes this one next.
            return None;
        }
        queue.lanes += 1;
        Some(Leadership { writer: self.clone(), group, is_detached: false, is_over: false })
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// The duty to append a group, and then what is queued until nothing is left.
struct Leadership {
    writer: Arc<Writer>,
    group: Vec<Job>,
    /// Whether it is in a task of its own, which only the end of the runtime drops half-way.
    is_detached: bool,
    /// Whether the lane was given back.
    is_over: bool,
}

impl Leadership {
    /// Appends the first group here; what queued up meanwhile is left to a task of its own.
    async fn lead_once(mut self) {
        run_group(&self.writer.shared, &mut self.group).await;
        self.settle();
        if self.next()
            && let Ok(runtime) = Handle::try_current()
        {
            self.is_detached = true;
            runtime.spawn(self.lead_on());
        }
    }

    async fn lead_on(mut self) {
        loop {
            run_group(&self.writer.shared, &mut self.group).await;
            self.settle();
            // Those that were answered, and others that are ready, may put their next jobs into the queue.
            tokio::task::yield_now().await;
            if !self.next() {
                return;
            }
        }
    }

    /// Answers the group's callers and lets its sagas go.
    fn settle(&mut self) {
        let group = std::mem::take(&mut self.group);
        {
            let mut queue = self.writer.queue.lock();
            for saga in group.iter().flat_map(Job::sagas) {
                queue.busy.remove(saga);
            }
        }
        group.into_iter().for_each(Job::settle);
    }

    /// Takes the next group, or gives the lane back if there is none; says whether there is one.
    fn next(&mut self) -> bool {
        let mut queue = self.writer.queue.lock();
        self.group = queue.take_group();
        if self.group.is_empty() {
            queue.lanes -= 1;
            self.is_over = true;
        }
        !self.is_over
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.is_over = true;
        let group = std::mem::take(&mut self.group);
        let runtime = if self.is_detached || std::thread::panicking() { None } else { Handle::try_current().ok() };
        if let Some(runtime) = runtime {
            let heir = Self { writer: self.writer.clone(), group, is_detached: true, is_over: false };
            drop(runtime.spawn(heir.lead_on()));
            return;
        }
        // The runtime is ending, or something is broken: whoever waits is told that the outcome is unknown.
        let mut queue = self.writer.queue.lock();
        for saga in group.iter().flat_map(Job::sagas) {
            queue.busy.remove(saga);
        }
        queue.lanes -= 1;
        let left = if queue.lanes == 0 { std::mem::take(&mut queue.jobs) } else { VecDeque::new() };
        drop(queue);
        drop((group, left));
    }
}

/// The writer ended without an answer.
fn interrupted() -> Error {
    Error::new(ErrorKind::Unavailable, "append")
        .message("the append was interrupted before its outcome was known")
        .hint("repeat it")
        .retry(Retry::Ambiguous)
}

/// Gives every part that has no outcome yet this one.
fn give_up<'a>(parts: impl Iterator<Item = &'a mut (Unit, Option<Result<()>>)>, error: &Error) {
    for (_, outcome) in parts {
        outcome.get_or_insert_with(|| Err(copy_of(error)));
    }
}
