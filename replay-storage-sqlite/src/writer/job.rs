//! One caller's write, as the queue sees it.

use std::time::Instant;

use replay_core::{Error, Result, Retry};
use tokio::sync::oneshot;

use super::session::Session;

/// A write that waits for its transaction.
///
/// `run` may be called again after its transaction was rolled back.
pub(super) trait Job: Send {
    /// Does the work inside an open transaction and keeps the outcome until it is settled.
    ///
    /// # Errors
    /// What makes the transaction useless; nothing of it may stay.
    fn run(&mut self, session: &mut Session) -> Result<()>;

    /// When the caller asked for it.
    fn since(&self) -> Instant;

    /// Answers the caller: what `run` kept, or why it is not stored.
    fn settle(self: Box<Self>, verdict: Result<()>);
}

/// A job from a closure, and where its answer goes.
pub(super) struct Work<T, F> {
    act: F,
    outcome: Option<T>,
    since: Instant,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Work<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Session) -> Result<T> + Send + 'static,
{
    /// The job, and where its answer will be.
    pub(super) fn queue(act: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T>>) {
        let (reply, answer) = oneshot::channel();
        (Box::new(Self { act, outcome: None, since: Instant::now(), reply }), answer)
    }
}

impl<T, F> Job for Work<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Session) -> Result<T> + Send + 'static,
{
    fn run(&mut self, session: &mut Session) -> Result<()> {
        self.outcome = Some((self.act)(session)?);
        Ok(())
    }

    fn since(&self) -> Instant {
        self.since
    }

    fn settle(self: Box<Self>, verdict: Result<()>) {
        let Self { outcome, reply, .. } = *self;
        let answer = verdict.and_then(|()| outcome.ok_or_else(interrupted));
        // The caller may have gone; what is stored stays stored.
        let _ = reply.send(answer);
    }
}

/// The writer ended without an answer, as after a panic.
pub(super) fn interrupted() -> Error {
    Error::new(replay_core::ErrorKind::Unavailable, "write")
        .message("the write was interrupted before its outcome was known")
        .hint("repeat it")
        .retry(Retry::Ambiguous)
}
