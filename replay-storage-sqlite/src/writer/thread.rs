//! The thread that commits while others go on.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};

use super::lead::Leadership;

/// A thread without work ends after this long.
const IDLE: Duration = Duration::from_secs(1);

/// A thread that is started when it is needed and ends when it is not.
///
/// It is none of the runtime's: those that may block are a pool that callers could fill with waiting for this very thread.
#[derive(Default)]
pub(super) struct Committer {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    is_there: bool,
    next: Option<Leadership>,
}

impl Committer {
    /// Lets the thread lead; if there can be no thread, what is queued is committed here.
    pub(super) fn lead(self: &Arc<Self>, leadership: Leadership) {
        {
            let mut state = self.state.lock();
            if state.is_there {
                state.next = Some(leadership);
                self.work.notify_one();
                return;
            }
            state.is_there = true;
        }
        let presence = Presence(Some(self.clone()));
        // If it fails, the closure is dropped, and with it the leadership, which then drains the queue.
        let _ = std::thread::Builder::new().name("replay-sqlite".to_owned()).spawn(move || presence.serve(leadership));
    }
}

/// What makes sure that a thread that ends is known to be gone, also if it panics.
struct Presence(Option<Arc<Committer>>);

impl Presence {
    fn serve(mut self, first: Leadership) {
        first.serve();
        while let Some(next) = self.next() {
            next.serve();
        }
    }

    /// The next duty, or none: then this thread is known to be gone.
    fn next(&mut self) -> Option<Leadership> {
        let committer = self.0.as_ref()?;
        let mut state = committer.state.lock();
        while state.next.is_none() {
            if committer.work.wait_for(&mut state, IDLE).timed_out() {
                break;
            }
        }
        let next = state.next.take();
        state.is_there = next.is_some();
        drop(state);
        if next.is_none() {
            self.0 = None;
        }
        next
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let Some(committer) = self.0.take() else { return };
        let left = {
            let mut state = committer.state.lock();
            state.is_there = false;
            state.next.take()
        };
        drop(left);
    }
}
