//! Whether the runner of a saga is alive: one leased cell per runner, named by every snapshot that it writes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::TimeDelta;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::{
    Clock, Error, ErrorKind, Result, RunnerId,
    storage::{CellStorage, If},
};

/// Who a runner is, as its lease says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The host's name and, where there is one, its boot id.
    pub(crate) host: String,
    /// The process id.
    pub(crate) pid: u32,
    /// When the process started, in the system's own units; tells a process from a later one with the same id.
    pub(crate) started: Option<String>,
}

impl Owner {
    pub(crate) fn this_process() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let name = read("/proc/sys/kernel/hostname").or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
        let boot = read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let pid = std::process::id();
        Self { host: format!("{} {}", name.trim(), boot.trim()), pid, started: process_start(pid) }
    }

    /// Whether the process has certainly ended: only its own host can tell.
    fn has_ended(&self, here: &Self) -> bool {
        self.host == here.host && here.started.is_some() && process_start(self.pid) != self.started
    }
}

/// The start time of a process in clock ticks since boot, from Linux's /proc; none elsewhere, and for a process that is gone.
fn process_start(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

/// The runners of this process that hold a lease. Giving a lease up is a write that may be late or fail; whether a runner of one's own
/// process lives is known without it.
static HERE: Mutex<BTreeSet<RunnerId>> = Mutex::new(BTreeSet::new());

/// The lease of one runner: taken with its first saga, renewed while it lives, given up when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    runner: RunnerId,
    cells: Arc<dyn CellStorage>,
    heartbeat: JoinHandle<()>,
}

fn key(runner: RunnerId) -> String {
    format!("runner/{runner}")
}

impl Lease {
    pub(super) async fn take(cells: Arc<dyn CellStorage>, clock: Arc<dyn Clock>, runner: RunnerId, length: Duration) -> Result<Self> {
        let key = key(runner);
        let value = serde_json::to_vec(&Owner::this_process()).map_err(|e| Error::new(ErrorKind::Internal, "take lease").caused_by(e))?;
        let value = Bytes::from(value);
        renew(&*cells, &*clock, &key, &value, length).await?;
        let heartbeat = tokio::spawn({
            let cells = cells.clone();
            async move {
                loop {
                    clock.sleep(length / 3).await;
                    if let Err(error) = renew(&*cells, &*clock, &key, &value, length).await {
                        tracing::warn!(%error, "the runner's lease was not renewed");
                    }
                }
            }
        });
        HERE.lock().insert(runner);
        Ok(Self { runner, cells, heartbeat })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heartbeat.abort();
        HERE.lock().remove(&self.runner);
        let (cells, key) = (self.cells.clone(), key(self.runner));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { cells.delete_cell(&key, If::Any).await });
        }
    }
}

async fn renew(cells: &dyn CellStorage, clock: &dyn Clock, key: &str, value: &Bytes, length: Duration) -> Result<()> {
    let expires_at = clock.now() + TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX);
    cells.put_cell(key, value.clone(), If::Any, Some(expires_at)).await.map(drop)
}

/// Whether `runner` is alive as far as its lease and this host can tell.
pub(super) async fn is_alive(cells: &dyn CellStorage, runner: RunnerId) -> Result<Option<Owner>> {
    let Some(cell) = cells.get_cell(&key(runner)).await? else { return Ok(None) };
    let owner: Owner = serde_json::from_slice(&cell.value)
        .map_err(|e| Error::new(ErrorKind::Integrity, "read lease").with("runner", runner).caused_by(e))?;
    let here = Owner::this_process();
    let ended = if owner == here { !HERE.lock().contains(&runner) } else { owner.has_ended(&here) };
    Ok((!ended).then_some(owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_not_ended_and_one_with_another_start_has() {
        let here = Owner::this_process();
        assert!(!here.has_ended(&here));
        let gone = Owner { started: Some("1".into()), ..here.clone() };
        assert_eq!(gone.has_ended(&here), here.started.is_some());
        let elsewhere = Owner { host: "other".into(), ..gone };
        assert!(!elsewhere.has_ended(&here));
    }
}
