//! Waiting for other processes, which nothing tells us about but looking.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long a server may take until it answers, a container engine likewise, and a server until it has ended.
pub(crate) const READY: Duration = Duration::from_secs(30);
pub(crate) const ENGINE: Duration = Duration::from_secs(3);
pub(crate) const ENDED: Duration = Duration::from_secs(5);

const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until `look` has an answer.
///
/// # Errors
/// What `look` fails with; after `limit`, that `what` took too long.
pub(crate) fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if started.elapsed() > limit {
            return Err(Error::new(format!("{what} took longer than {} s", limit.as_secs())));
        }
        pause(LOOK_EVERY);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that waits: for processes, which know no clock of ours")]
fn pause(time: Duration) {
    thread::sleep(time);
}
