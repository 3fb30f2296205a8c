//! Connections for reading, kept open between reads.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use replay_core::{Error, ErrorKind, Result};
use rusqlite::Connection;
use tokio::runtime::Handle;

use crate::{connect, error};

/// So many idle connections are kept; more are opened when more reads run at once, and closed after.
const IDLE: usize = 8;

/// How long a thread of the runtime waits for a lock before the wait moves to a thread that may block.
const SHORT: Duration = Duration::from_millis(2);

/// A pool of reading connections.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    patience: Duration,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(path: &Path, patience: Duration) -> Arc<Self> {
        Arc::new(Self { path: path.to_owned(), patience, idle: Mutex::default() })
    }

    /// Runs `work`, on this thread where it need not wait for a lock. It may be called again after it found the file locked.
    pub(crate) async fn read<T, F>(self: &Arc<Self>, operation: &'static str, mut work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T> + Send + 'static,
    {
        match self.attempt(SHORT.min(self.patience), &mut work) {
            Err(error) if is_locked(&error) => {}
            outcome => return outcome,
        }
        let Ok(runtime) = Handle::try_current() else { return self.attempt(self.patience, &mut work) };
        let readers = self.clone();
        let waited = runtime.spawn_blocking(move || readers.attempt(readers.patience, &mut work)).await;
        waited.unwrap_or_else(|e| Err(Error::new(ErrorKind::Internal, operation).message("a read did not end").caused_by(e)))
    }

    fn attempt<T>(&self, patience: Duration, work: &mut impl FnMut(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect::reader(&self.path, SHORT.min(self.patience))?,
        };
        if patience > SHORT {
            connection.busy_timeout(patience).map_err(error::during("read"))?;
        }
        let outcome = work(&connection);
        if patience > SHORT {
            connection.busy_timeout(SHORT).map_err(error::during("read"))?;
        }
        // A connection whose read failed is not trusted with the next one.
        if outcome.as_ref().err().is_none_or(is_locked) {
            let mut idle = self.idle.lock();
            if idle.len() < IDLE {
                idle.push(connection);
            }
        }
        outcome
    }
}

fn is_locked(error: &Error) -> bool {
    std::error::Error::source(error).and_then(|source| source.downcast_ref()).is_some_and(error::is_busy)
}
