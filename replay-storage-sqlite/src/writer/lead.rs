//! Who leads the queue of writes.

use std::sync::{Arc, atomic::Ordering};

use tokio::runtime::Handle;

use super::{CROWD, Writer};

/// Who commits the next group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Task,
    Thread,
}

/// The duty to commit what is queued until nothing is left.
pub(super) struct Leadership {
    /// Taken out when the duty is over.
    writer: Option<Arc<Writer>>,
    /// Whether it was left to the committing thread, so that there is nobody else to leave it to.
    detached: bool,
}

impl Leadership {
    pub(super) fn new(writer: Arc<Writer>) -> Self {
        Self { writer: Some(writer), detached: false }
    }

    /// Commits the first group here unless there is a crowd; what queued up meanwhile is left to others.
    pub(super) async fn lead_once(mut self) {
        if self.writer.as_ref().is_some_and(|writer| writer.crowded.load(Ordering::Relaxed)) {
            return self.hand_over();
        }
        if let Some(next) = self.commit_one().await {
            match Handle::try_current() {
                Ok(runtime) if next == Next::Task => drop(runtime.spawn(self.lead_on())),
                _ => self.hand_over(),
            }
        }
    }

    async fn lead_on(mut self) {
        loop {
            tokio::task::yield_now().await;
            match self.commit_one().await {
                None => return,
                Some(Next::Task) => {}
                Some(Next::Thread) => return self.hand_over(),
            }
        }
    }

    /// Commits a group, and says who should commit the next one, if anything is queued.
    async fn commit_one(&mut self) -> Option<Next> {
        let writer = self.writer.clone()?;
        writer.gather().await;
        let done = writer.commit_group(&mut writer.session.lock());
        if self.resign() {
            return None;
        }
        let queued = writer.queue.lock().jobs.len();
        // A thread also where another process must be waited for.
        Some(if done.is_ok_and(|jobs| jobs + queued < CROWD) { Next::Task } else { Next::Thread })
    }

    /// Leaves it to the committing thread.
    fn hand_over(mut self) {
        self.detached = true;
        if let Some(writer) = self.writer.clone() {
            writer.committer.lead(self);
        }
    }

    /// Commits until the queue is empty. Only for threads that may block.
    pub(super) fn serve(mut self) {
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(writer) = self.writer.clone() {
            writer.drain();
            self.resign();
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
}

impl Drop for Leadership {
    fn drop(&mut self) {
        if self.resign() {
            return;
        }
        if std::thread::panicking() {
            // Whoever waits is told that the outcome is unknown.
            let Some(writer) = self.writer.take() else { return };
            let jobs = {
                let mut queue = writer.queue.lock();
                queue.led = false;
                std::mem::take(&mut queue.jobs)
            };
            drop(jobs);
        } else if self.detached {
            // There is no thread to be had.
            self.drain();
        } else if let Some(writer) = self.writer.take() {
            Self::new(writer).hand_over();
        }
    }
}
