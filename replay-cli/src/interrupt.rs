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
        Self::on(Signals::listen(), output)
    }

    /// The same with signals that are listened to already.
    pub(crate) fn on(mut signals: Signals, output: Output) -> Self {
        let (stop, again) = (StopSignal::new(), Arc::new(Notify::new()));
        let listener = tokio::spawn({
            let (stop, again) = (stop.clone(), again.clone());
            async move {
                signals.recv().await;
                output.note("\nstopping after the steps that are running; Ctrl-C again stops at once");
                stop.interrupt();
                signals.recv().await;
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

/// Ctrl-C, and SIGTERM where there is one. From when it is made on, they no longer end the program.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    either: [Option<tokio::signal::unix::Signal>; 2],
}

impl Signals {
    #[cfg(unix)]
    pub(crate) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // Where the system does not let one listen, the signal goes on ending the program.
        Self { either: [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).ok()) }
    }

    #[cfg(not(unix))]
    pub(crate) fn listen() -> Self {
        Self {}
    }

    /// Waits for the next one.
    #[cfg(unix)]
    pub(crate) async fn recv(&mut self) {
        let [interrupt, terminate] = &mut self.either;
        tokio::select! {
            () = next(interrupt) => {}
            () = next(terminate) => {}
        }
    }

    /// Waits for the next one.
    #[cfg(not(unix))]
    pub(crate) async fn recv(&mut self) {
        drop(tokio::signal::ctrl_c().await);
    }
}

#[cfg(unix)]
async fn next(signal: &mut Option<tokio::signal::unix::Signal>) {
    let received = match signal {
        Some(signal) => signal.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending::<()>().await;
    }
}
