//! Time as an argument: the engine asks a [`Clock`], never the system.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A source of the current time and of waiting.
///
/// Instants have microsecond precision. Nothing assumes that they only grow: snapshots are ordered by their sequence.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current instant, in whole microseconds.
    fn now(&self) -> DateTime<Utc>;

    /// Completes when `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    fn now(&self) -> DateTime<Utc> {
        // Straight from the system's microseconds: a date is computed once, not twice.
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        from_micros(micros(now))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that waits on the system's clock")]
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that moves only when told to, for tests and simulations.
///
/// Clones share the time. [`sleep`](Clock::sleep) waits for [`advance`](ManualClock::advance), or, with
/// [`auto_advance`](ManualClock::auto_advance), moves the time by itself so that no test ever waits.
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

struct Manual {
    now_us: AtomicI64,
    auto: bool,
    slept: Mutex<Vec<Duration>>,
    moved: Notify,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: DateTime<Utc>) -> Self {
        Self::build(start, false)
    }

    /// A clock that stands at `start` and jumps ahead whenever somebody sleeps.
    pub fn auto_advance(start: DateTime<Utc>) -> Self {
        Self::build(start, true)
    }

    fn build(start: DateTime<Utc>, auto: bool) -> Self {
        Self(Arc::new(Manual { now_us: AtomicI64::new(start.timestamp_micros()), auto, slept: Mutex::default(), moved: Notify::new() }))
    }

    /// Moves the time ahead.
    pub fn advance(&self, by: Duration) {
        self.0.now_us.fetch_add(micros(by), Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    /// Sets the time, also backwards.
    pub fn set(&self, to: DateTime<Utc>) {
        self.0.now_us.store(to.timestamp_micros(), Ordering::SeqCst);
        self.0.moved.notify_waiters();
    }

    /// Every duration that was slept for so far, in order of the calls.
    pub fn slept(&self) -> Vec<Duration> {
        self.0.slept.lock().clone()
    }
}

impl Default for ManualClock {
    /// A clock that stands at 2026-01-01T00:00:00Z.
    fn default() -> Self {
        Self::new(Utc.timestamp_opt(1_767_225_600, 0).single().unwrap_or_default())
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ManualClock({})", self.now())
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        from_micros(self.0.now_us.load(Ordering::SeqCst))
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.slept.lock().push(duration);
        let clock = self.clone();
        let until = self.0.now_us.load(Ordering::SeqCst).saturating_add(micros(duration));
        Box::pin(async move {
            if clock.0.auto {
                tokio::task::yield_now().await;
                clock.0.now_us.fetch_max(until, Ordering::SeqCst);
                clock.0.moved.notify_waiters();
                return;
            }
            loop {
                let moved = clock.0.moved.notified();
                tokio::pin!(moved);
                moved.as_mut().enable();
                if clock.0.now_us.load(Ordering::SeqCst) >= until {
                    return;
                }
                moved.await;
            }
        })
    }
}

/// The instant `micros` microseconds after the Unix epoch; out of range becomes the epoch.
pub(crate) fn from_micros(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// The next microsecond after `instant`.
pub(crate) fn after(instant: DateTime<Utc>) -> DateTime<Utc> {
    instant.checked_add_signed(TimeDelta::microseconds(1)).unwrap_or(instant)
}

/// `instant` without what is finer than a microsecond.
pub(crate) fn truncate_to_micros(instant: DateTime<Utc>) -> DateTime<Utc> {
    // Nearly every instant is whole already, and the way through a timestamp does the calendar's arithmetic twice. A leap second
    // (10^9 ns and more) reads as the second after it once it is stored.
    let nanos = instant.timestamp_subsec_nanos();
    if nanos.is_multiple_of(1000) && nanos < 1_000_000_000 { instant } else { from_micros(instant.timestamp_micros()) }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
