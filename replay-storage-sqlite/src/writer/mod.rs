//! The one writer of a store: writes that come together share a transaction, and one that comes alone is done where it is asked for.
//!
//! A caller puts its job into the queue. If nobody leads, it becomes the leader and commits what is queued on its own thread, which
//! costs no hop to another one. What queued up meanwhile is committed by a task of its own, group after group, until the queue is
//! empty. So a single saga pays one transaction and nothing else, and many share their syncs.
//!
//! Whoever leads holds a [`Leadership`]. It is given back when it is dropped, wherever that happens, so neither a caller that
//! goes away nor a panic leaves the queue without a leader.

mod job;
mod session;

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use replay_core::Result;
use rusqlite::Connection;
use tokio::runtime::Handle;

use job::{Job, Work, interrupted};
use session::Outcome;
pub(crate) use session::Session;

/// At most this many jobs share a transaction, so that the first of them does not wait for too many others.
const GROUP: usize = 512;

/// How long a thread of the runtime waits for another process before the wait moves to a thread that may block.
const SHORT: Duration = Duration::from_millis(2);

/// After a group of several, this many further commits look for company before they begin.
const SOCIABLE: u32 = 32;

/// A caller that was alone so far looks for company once in so many commits.
const PROBE: u32 = 8;

/// A queue of writes and the connection that does them.
pub(crate) struct Writer {
    queue: Mutex<Queue>,
    session: Mutex<Session>,
    patience: Duration,
    /// Counts down from [`SOCIABLE`] since the last group of several.
    sociable: AtomicU32,
    alone: AtomicU32,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<dyn Job>>,
    led: bool,
}

impl Writer {
    /// A writer over `connection`; waits for other processes for `patience`.
    pub(crate) fn new(connection: Connection, patience: Duration) -> rusqlite::Result<Arc<Self>> {
        connection.busy_timeout(SHORT.min(patience))?;
        Ok(Arc::new(Self {
            queue: Mutex::default(),
            session: Mutex::new(Session::new(connection)),
            patience,
            sociable: AtomicU32::new(0),
            alone: AtomicU32::new(0),
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
        let leads = !std::mem::replace(&mut queue.led, true);
        leads.then(|| Leadership { writer: Some(self.clone()), detached: false })
    }

    /// Lets tasks that are ready put their jobs into the queue, as long as some do.
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

    /// Commits one group on this thread.
    ///
    /// # Errors
    /// The failure if another process writes; the jobs are back in the queue.
    fn commit_group(&self, session: &mut Session) -> Result<(), rusqlite::Error> {
        let jobs: Vec<_> = {
            let mut queue = self.queue.lock();
            let count = queue.jobs.len().min(GROUP);
            queue.jobs.drain(..count).collect()
        };
        if jobs.is_empty() {
            return Ok(());
        }
        if jobs.len() > 1 {
            self.sociable.store(SOCIABLE, Ordering::Relaxed);
        } else {
            let _ = self.sociable.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        }
        match session.commit(jobs) {
            Outcome::Settled => Ok(()),
            Outcome::Busy(jobs, failure) => {
                let mut queue = self.queue.lock();
                jobs.into_iter().rev().for_each(|job| queue.jobs.push_front(job));
                Err(failure)
            }
        }
    }

    /// Commits until the queue is empty, waiting for other processes as long as the store allows.
    fn drain(&self) {
        let mut session = self.session.lock();
        // Should this fail, the wait is short instead of long.
        let _ = session.set_patience(self.patience);
        while !self.queue.lock().jobs.is_empty() {
            if let Err(failure) = self.commit_group(&mut session) {
                let jobs = std::mem::take(&mut self.queue.lock().jobs);
                session::give_up(jobs.into(), &failure);
            }
        }
        let _ = session.set_patience(SHORT.min(self.patience));
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// The duty to commit what is queued until nothing is left.
struct Leadership {
    /// Taken out when the duty is over.
    writer: Option<Arc<Writer>>,
    /// Whether it left its first caller, so that there is nobody else to leave it to.
    detached: bool,
}

impl Leadership {
    /// Commits the first group here; what queued up meanwhile is left to a task of its own.
    async fn lead_once(mut self) {
        let Some(writer) = self.writer.clone() else { return };
        writer.gather().await;
        let done = writer.commit_group(&mut writer.session.lock());
        if !self.resign() {
            self.continue_elsewhere(done.is_err());
        }
    }

    async fn lead_on(mut self) {
        let Some(writer) = self.writer.clone() else { return };
        loop {
            tokio::task::yield_now().await;
            writer.gather().await;
            let done = writer.commit_group(&mut writer.session.lock());
            if self.resign() {
                return;
            }
            if done.is_err() {
                return self.continue_elsewhere(true);
            }
        }
    }

    /// Gives the leadership back if nothing is queued, and says so.
    fn resign(&mut self) -> bool {
        let Some(writer) = &self.writer else { return true };
        let mut queue = writer.queue.lock();
        if !queue.jobs.is_empty() {
            return false;
        }
        queue.led = false;
        drop(queue);
        self.writer = None;
        true
    }

    /// Leaves it to a task, or to a thread that may block if another process must be waited for.
    fn continue_elsewhere(mut self, must_wait: bool) {
        // Without a runtime it is done here, by `drop`.
        let Ok(runtime) = Handle::try_current() else { return };
        self.detached = true;
        if must_wait {
            runtime.spawn_blocking(move || drop(self));
        } else {
            runtime.spawn(self.lead_on());
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        if self.resign() {
            return;
        }
        let Some(writer) = self.writer.take() else { return };
        if std::thread::panicking() {
            // Whoever waits is told that the outcome is unknown.
            let jobs = {
                let mut queue = writer.queue.lock();
                queue.led = false;
                std::mem::take(&mut queue.jobs)
            };
            drop(jobs);
            return;
        }
        let mut heir = Self { writer: Some(writer), detached: true };
        match Handle::try_current() {
            Ok(runtime) if !self.detached => drop(runtime.spawn(heir.lead_on())),
            // The runtime is ending, or there is none.
            _ => {
                while !heir.resign() {
                    if let Some(writer) = &heir.writer {
                        writer.drain();
                    }
                }
            }
        }
    }
}
