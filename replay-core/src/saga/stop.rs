//! How a running saga is asked to stop.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::sync::Notify;

/// Asks a running saga to stop at its next step boundary. Clones share the signal.
#[derive(Debug, Clone, Default)]
pub struct StopSignal(Arc<Signal>);

#[derive(Debug, Default)]
struct Signal {
    state: AtomicU8,
    changed: Notify,
}

/// What a stopped saga does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It stays as it is, to be resumed later.
    Interrupt,
    /// It compensates what is completed.
    Cancel,
}

impl StopSignal {
    /// A signal that nobody has given yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the saga to stop and stay resumable. Does nothing if it was cancelled.
    pub fn interrupt(&self) {
        let _ = self.0.state.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }

    /// Asks the saga to stop and compensate.
    pub fn cancel(&self) {
        self.0.state.store(2, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }

    /// What was asked for, if anything.
    pub fn get(&self) -> Option<Stop> {
        match self.0.state.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Stop::Interrupt),
            _ => Some(Stop::Cancel),
        }
    }

    /// Completes when the signal is given.
    pub async fn stopped(&self) -> Stop {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(stop) = self.get() {
                return stop;
            }
            changed.await;
        }
    }
}
