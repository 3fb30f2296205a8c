//! Virtual time that moves only when nothing else can happen.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use replay_core::Clock;
use tokio::time::Instant;

/// A clock on tokio's paused time: it moves to the next sleeper once every task waits, so that timeouts, pauses and heartbeats happen
/// in the order in which they would in life. `ManualClock::auto_advance` moves for whoever sleeps first instead.
///
/// What it shows can be set off from that time, or stopped; how long sleepers wait does not depend on that. Clones share everything.
#[derive(Debug, Clone)]
pub struct VirtualClock {
    start: Instant,
    shown: Arc<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    offset_us: AtomicI64,
    frozen_at_us: AtomicI64,
}

/// A runtime of one thread whose time is virtual.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

impl VirtualClock {
    /// A clock that shows 2026-01-01T00:00:00Z now. Call it within [`runtime`].
    pub fn new() -> Self {
        Self { start: Instant::now(), shown: Arc::default() }
    }

    /// A clock on the same time that is set off and stopped on its own.
    #[must_use]
    pub fn another(&self) -> Self {
        Self { start: self.start, shown: Arc::default() }
    }

    /// Sets what it shows off by `by`, also backwards, on top of earlier calls.
    pub fn jump(&self, by: TimeDelta) {
        self.shown.offset_us.fetch_add(by.num_microseconds().unwrap_or_default(), Ordering::SeqCst);
    }

    /// Stops what it shows.
    pub fn freeze(&self) {
        let now = self.now().timestamp_micros() - self.shown.offset_us.load(Ordering::SeqCst);
        self.shown.frozen_at_us.store(now, Ordering::SeqCst);
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> DateTime<Utc> {
        let frozen = self.shown.frozen_at_us.load(Ordering::SeqCst);
        let passed = i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX);
        let shown = if frozen > 0 { frozen } else { 1_767_225_600_000_000 + passed };
        DateTime::from_timestamp_micros(shown + self.shown.offset_us.load(Ordering::SeqCst)).unwrap_or_default()
    }

    #[expect(clippy::disallowed_methods, reason = "time is paused: this never waits")]
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}
