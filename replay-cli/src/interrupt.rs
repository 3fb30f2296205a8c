//! Ctrl-C: once to stop at the next step boundary, twice to stop at once.

use std::sync::Arc;

use replay::saga::StopSignal;
use tokio::{sync::Notify, task::JoinHandle};

use crate::output::Output;

/// Listens for Ctrl-C, and for SIGTERM where there is one, until it is dropped.
#[derive(Debug)]
pub(crate) struct Interrupt {
    stop: StopSignal,
    again: Arc<Notify>,
    listener: JoinHandle<()>,
}

impl Interrupt {
    pub(crate) fn listen(output: Output) -> Self {
        let (stop, again) = (StopSignal::new(), Arc::new(Notify::new()));
        let listener = tokio::spawn({
            let (stop, again) = (stop.clone(), again.clone());
            async move {
                wait().await;
                output.note("\nstopping after the steps that are running; Ctrl-C again stops at once");
                stop.interrupt();
                wait().await;
                again.notify_one();
            }
        });
        Self { stop, again, listener }
    }

    /// The signal to hand to a run.
    pub(crate) fn stop(&self) -> StopSignal {
        self.stop.clone()
    }

    /// Runs `work` until it ends. At the second Ctrl-C it is dropped, with every program that it started, and there is no result.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            result = work => Some(result),
            () = self.again.notified() => None,
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

#[cfg(unix)]
async fn wait() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn wait() {
    drop(tokio::signal::ctrl_c().await);
}
