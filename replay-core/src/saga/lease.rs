//! Whether the runner of a saga is alive: one leased cell per runner, named by every snapshot that it writes.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::TimeDelta;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::{
    Clock, Digest, Error, ErrorKind, Result, RunnerId, SagaId,
    storage::{CellStorage, If},
};

/// Who a runner is, as its lease says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The host's name and, where there are such, its boot id and the namespace of its process ids.
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
        // Containers of one host may share its name but not its process ids.
        let pids = std::fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
        let pid = std::process::id();
        Self { host: format!("{} {} {pids}", name.trim(), boot.trim()), pid, started: process_start(pid) }
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
    let expires_at = TimeDelta::from_std(length).ok().and_then(|length| clock.now().checked_add_signed(length));
    cells.put_cell(key, value.clone(), If::Any, expires_at).await.map(drop)
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

/// The claim of one runner to start a saga that is captured only later. Without it two runners could start it at once and not notice
/// before their first capture.
pub(super) struct StartClaim {
    cells: Arc<dyn CellStorage>,
    key: String,
    version: u64,
}

/// For how long a claim outlives a runner that died before its first capture, if nobody starts the saga again.
const CLAIM_DAYS: i64 = 7;

/// Claims to start `saga`, instead of a runner that is gone.
///
/// # Errors
/// `Conflict` if a runner that is alive has claimed it.
pub(super) async fn claim_start(cells: &Arc<dyn CellStorage>, clock: &dyn Clock, runner: RunnerId, saga: &SagaId) -> Result<StartClaim> {
    let key = format!("start/{}", Digest::of(saga.as_str().as_bytes()));
    let value = Bytes::copy_from_slice(runner.as_bytes());
    let expires_at = clock.now().checked_add_signed(TimeDelta::days(CLAIM_DAYS));
    let taken = || Error::new(ErrorKind::Conflict, "start saga").message("another runner is starting it").with("saga", saga);
    let mut condition = If::Absent;
    if let Some(cell) = cells.get_cell(&key).await? {
        let holder = <[u8; 16]>::try_from(&cell.value[..]).ok().map(|bytes| RunnerId::from_uuid(uuid::Uuid::from_bytes(bytes)));
        if let Some(holder) = holder.filter(|holder| *holder != runner)
            && is_alive(&**cells, holder).await?.is_some()
        {
            return Err(taken());
        }
        condition = If::Version(cell.version);
    }
    match cells.put_cell(&key, value, condition, expires_at).await {
        Ok(version) => Ok(StartClaim { cells: cells.clone(), key, version }),
        Err(error) if error.is(ErrorKind::Conflict) => Err(taken().caused_by(error)),
        Err(error) => Err(error),
    }
}

impl StartClaim {
    /// Ends the claim. One that cannot be ended expires.
    pub(super) async fn give_up(self) {
        if let Err(error) = self.cells.delete_cell(&self.key, If::Version(self.version)).await {
            tracing::debug!(%error, "the claim to start a saga was left to expire");
        }
    }
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
