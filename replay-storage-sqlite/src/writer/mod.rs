//! The one writer of a store: writes that come together share a transaction, and one that comes alone is done where it is asked for.
//!
//! A caller puts its job into the queue. If nobody leads, it becomes the leader and commits what is queued on its own thread, which
//! costs no hop to another one. What queued up meanwhile is committed by a task of its own, group after group, until the queue is
//! empty. If there is a crowd, a thread that does nothing but commit takes over, so that callers that have their answer go on while the
//! next group is written. So a single saga pays one transaction and nothing else, and many share their syncs.
//!
//! Whoever leads holds a [`Leadership`]. It is given back when it is dropped, wherever that happens, so neither a caller that
//! goes away nor a panic leaves the queue without a leader.

mod job;
mod lead;
mod session;
mod thread;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use replay_core::Result;
use rusqlite::Connection;

use job::{Job, Work, interrupted};
use lead::Leadership;
use session::Outcome;
pub(crate) use session::Session;
use thread::Committer;

/// At most this many jobs share a transaction, so that the first of them does not wait for too many others.
const GROUP: usize = 512;

/// How long a thread of the runtime waits for another process before the wait moves to a thread that may block.
const SHORT: Duration = Duration::from_millis(2);

/// After a group of several, this many further commits look for company before they begin.
const SOCIABLE: u32 = 32;

/// When so many write at once, half of them make a group, and a thread of its own commits it. Fewer share one sync, which counts for
/// more than that the others could go on meanwhile.
const CROWD: usize = 32;

/// A caller that was alone so far looks for company once in so many commits.
const PROBE: u32 = 8;

/// However long the last commit took, no group waits longer than this for company.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// A queue of writes and the connection that does them.
pub(crate) struct Writer {
    queue: Mutex<Queue>,
    /// Told when as many jobs are queued as the committing thread waits for.
    company: Condvar,
    session: Mutex<Session>,
    patience: Duration,
    committer: Arc<Committer>,
    /// Counts down from [`SOCIABLE`] since the last group of several.
    sociable: AtomicU32,
    alone: AtomicU32,
    /// Whether a crowd wrote of late, so that whoever comes next leaves it to the committing thread at once.
    crowded: AtomicBool,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    led: bool,
    /// How many jobs the committing thread waits for, while it does.
    wanted: Option<usize>,
}

/// How the last group went, which says what to expect of the next.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    jobs: usize,
    took: Duration,
    /// How many write at present, as far as that shows.
    present: usize,
}

impl Writer {
    /// A writer over `connection`; waits for other processes for `patience`.
    pub(crate) fn new(connection: Connection, patience: Duration) -> rusqlite::Result<Arc<Self>> {
        connection.busy_timeout(SHORT.min(patience))?;
        Ok(Arc::new(Self {
            queue: Mutex::default(),
            company: Condvar::new(),
            session: Mutex::new(Session::new(connection)),
            patience,
            committer: Arc::default(),
            sociable: AtomicU32::new(0),
            alone: AtomicU32::new(0),
            crowded: AtomicBool::new(false),
        }))
    }

    /// Does `work` in a transaction, perhaps together with others', and gives its outcome once that is committed.
    ///
    /// If `work` fails, nothing of it is kept. It may be called again after its transaction was rolled back.
    ///
    /// # Cancel safety
    /// A dropped future may or may not have done the work; it never keeps another's from being done.
    pub(crate) async fn write<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Session) -> Result<T> + Send + 'static,
    {
        let (job, answer) = Work::queue(work);
        if let Some(leadership) = self.enter(job) {
            leadership.lead_once().await;
        }
        answer.await.unwrap_or_else(|_| Err(interrupted()))
    }

    fn enter(self: &Arc<Self>, job: Box<dyn Job>) -> Option<Leadership> {
        let mut queue = self.queue.lock();
        queue.jobs.push_back(job);
        if queue.wanted.is_some_and(|wanted| queue.jobs.len() >= wanted) {
            queue.wanted = None;
            self.company.notify_one();
        }
        let leads = !std::mem::replace(&mut queue.led, true);
        leads.then(|| Leadership::new(self.clone()))
    }

    /// Lets tasks that are ready put their jobs into the queue, as long as some do. If nobody did of late, only once in a while: on a
    /// runtime of one thread nobody else could ever queue up.
    async fn gather(&self) {
        let sociable = self.sociable.load(Ordering::Relaxed) > 0;
        if !sociable && !self.alone.fetch_add(1, Ordering::Relaxed).is_multiple_of(PROBE) {
            return;
        }
        let mut queued = self.queue.lock().jobs.len();
        loop {
            tokio::task::yield_now().await;
            let now = self.queue.lock().jobs.len();
            if now == queued || now >= GROUP {
                return;
            }
            queued = now;
        }
    }

    /// Commits one group on this thread and says how many jobs it had.
    ///
    /// # Errors
    /// The failure if another process writes; the jobs are back in the queue.
    fn commit_group(&self, session: &mut Session) -> Result<usize, rusqlite::Error> {
        let jobs: Vec<_> = {
            let mut queue = self.queue.lock();
            let count = queue.jobs.len().min(GROUP);
            queue.jobs.drain(..count).collect()
        };
        let count = jobs.len();
        match count {
            0 => return Ok(0),
            1 => _ = self.sociable.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)),
            _ => self.sociable.store(SOCIABLE, Ordering::Relaxed),
        }
        if count >= CROWD {
            self.crowded.store(true, Ordering::Relaxed);
        }
        match session.commit(jobs) {
            Outcome::Settled => Ok(count),
            Outcome::Busy(jobs, failure) => {
                let mut queue = self.queue.lock();
                jobs.into_iter().rev().for_each(|job| queue.jobs.push_front(job));
                Err(failure)
            }
        }
    }

    /// Commits until the queue is empty, waiting for other processes as long as the store allows. Only for threads that may block.
    fn drain(&self) {
        let mut session = self.session.lock();
        // Should this fail, the wait is short instead of long.
        let _ = session.set_patience(self.patience);
        let mut pace = Pace::default();
        while self.await_company(&mut pace) {
            let start = Instant::now();
            match self.commit_group(&mut session) {
                Ok(jobs) => pace = Pace { jobs, took: start.elapsed(), ..pace },
                Err(failure) => {
                    let left = self.give_up_old(&failure);
                    let _ = session.set_patience(left);
                }
            }
        }
        let _ = session.set_patience(SHORT.min(self.patience));
    }

    /// Answers those that have waited for another process for as long as the store allows, and says how long the next may still wait.
    fn give_up_old(&self, failure: &rusqlite::Error) -> Duration {
        let mut queue = self.queue.lock();
        let young = queue.jobs.iter().position(|job| job.since().elapsed() < self.patience).unwrap_or(queue.jobs.len());
        let old: Vec<_> = queue.jobs.drain(..young).collect();
        let left = queue.jobs.front().map_or(self.patience, |job| self.patience.saturating_sub(job.since().elapsed()));
        drop(queue);
        session::give_up(old, failure);
        left
    }

    /// Waits until a group is worth its sync, and says whether anything is queued.
    ///
    /// Those that got their answer just now and those that are queued already are everybody who writes at present, and some who were
    /// there before may only be late. Half of a crowd makes a group: while it is committed, the other half does what it does between
    /// two writes. Whoever does not come back within half the time of a commit is not waited for.
    fn await_company(&self, last: &mut Pace) -> bool {
        let mut queue = self.queue.lock();
        let present = (last.jobs + queue.jobs.len()).max(last.present - last.present.div_ceil(8)).min(GROUP);
        last.present = present;
        let is_crowd = present >= CROWD;
        self.crowded.store(is_crowd, Ordering::Relaxed);
        let wanted = if is_crowd { present / 2 } else { present };
        if queue.jobs.len() < wanted {
            queue.wanted = Some(wanted);
            let until = Instant::now() + (last.took / 2).min(LONGEST_PAUSE);
            while queue.wanted.is_some() && !self.company.wait_until(&mut queue, until).timed_out() {}
            queue.wanted = None;
        }
        !queue.jobs.is_empty()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("patience", &self.patience).finish_non_exhaustive()
    }
}
