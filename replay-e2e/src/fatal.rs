//! Killing one's own process at a numbered append.

use std::sync::Arc;

use replay_core::{
    Store,
    layer::{Call, FaultPlan, Faulting},
};
use rustix::process::{Signal, getpid, kill_process};
use serde::{Deserialize, Serialize};

/// When a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kill {
    /// As its append of this number, from 1, is asked for.
    Before(u64),
    /// Once its append of this number was acknowledged, before the engine hears of it.
    After(u64),
}

/// Ends this process as `kill -9` does: nothing is flushed, dropped or told.
pub fn kill_self() {
    let killed = kill_process(getpid(), Signal::KILL);
    unreachable!("still alive after SIGKILL: {killed:?}")
}

/// `store`, whose process is killed at `kill`.
pub fn fatal(store: Store, kill: Kill) -> Store {
    fatal_at(store, Call::Append, kill)
}

/// `store`, whose process is killed at a call of another kind, counted like the appends of `kill`.
pub fn fatal_at(store: Store, call: Call, kill: Kill) -> Store {
    let plan = FaultPlan::new();
    match kill {
        Kill::Before(number) => plan.before(call, number, kill_self),
        Kill::After(number) => plan.after(call, number, kill_self),
    }
    let snapshots = Faulting::new(store.snapshots().clone(), plan);
    store.with_snapshots(Arc::new(snapshots))
}
