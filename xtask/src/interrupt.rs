//! Ctrl-C and termination while a child runs: the child ends first, then our servers, then we.

use std::io::IsTerminal;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use replay_services::{identity, tied};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use crate::shell::{Failure, Outcome, could_not_start, failed};

/// Catches signals from when it is made until the process ends.
pub(crate) struct Interrupt(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The child that runs.
    child: Option<u32>,
    /// The signal that came.
    signal: Option<i32>,
}

impl Interrupt {
    pub(crate) fn listen() -> Outcome<Self> {
        let mut signals =
            Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| Failure::new(format!("cannot catch signals: {error}")))?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || signals.forever().for_each(|signal| react(&mut lock(&shared), signal)));
        Ok(Self(state))
    }

    /// Runs `command` with its output on the terminal; its exit code becomes the failure's. After a signal it is waited for all the same,
    /// and the exit code is the signal's. `secrets` are variables that only the child gets to see.
    pub(crate) fn run<'a>(&self, command: &Command, secrets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Outcome {
        // It ends with us even if we are killed.
        let mut tied = tied(command, "TERM");
        tied.envs(secrets);
        let mut child = {
            let mut state = lock(&self.0);
            let child = tied.spawn().map_err(|error| could_not_start(command, &error))?;
            state.child = Some(child.id());
            child
        };
        let status = child.wait().map_err(|error| could_not_start(command, &error))?;
        let mut state = lock(&self.0);
        state.child = None;
        match state.signal {
            Some(signal) => Err(Failure { message: format!("ended by {}", name(signal)), code: code(signal) }),
            None if status.success() => Ok(()),
            None => Err(failed(command, status)),
        }
    }
}

fn react(state: &mut State, signal: i32) {
    let first = state.signal.replace(signal).is_none();
    match state.child {
        Some(child) if first => {
            // Ctrl-C at a terminal went to the child as well, and a second time would mean that it should not end in order.
            if signal != SIGINT || !std::io::stdin().is_terminal() {
                let _ = identity::signal(name(signal).trim_start_matches("SIG"), &[child]);
            }
        }
        // Nothing to wait for. The servers' guards see us end.
        _ => std::process::exit(i32::from(code(signal))),
    }
}

fn name(signal: i32) -> &'static str {
    signal_name(signal).unwrap_or("a signal")
}

/// What shells say for a program that a signal ended.
fn code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
