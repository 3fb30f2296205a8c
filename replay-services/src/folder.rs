//! A server's folder, and the guard that removes it when its owner is gone.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Once;

use crate::error::{Error, Result};
use crate::identity;
use crate::port::random;

const GUARD: &str = include_str!("guard.sh");
/// Once a process.
static SWEEP: Once = Once::new();
const PREFIX: &str = "replay-svc-";

/// A temporary folder for a server, and a guard: a small process that waits for our end, whatever that is (also SIGKILL), to end the
/// servers that are listed in the folder and to remove it. Dropping the folder has the guard do the same and waits for it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    guard: Child,
    /// The guard reads from it until it is closed, which the system does for a process that dies.
    alive: Option<ChildStdin>,
}

impl Folder {
    /// Makes a folder for a server of this `kind`. The first one of a process sweeps what the dead left behind, guards included.
    pub(crate) fn create(kind: &str) -> Result<Self> {
        let pid = std::process::id();
        let start = identity::start_of(pid).ok_or_else(|| Error::new("cannot find out when this process started"))?;
        let scope = identity::scope();
        let named = scope.as_deref().unwrap_or("unknown");
        let path = root().join(format!("{PREFIX}{pid}-{start}-{named}-{kind}-{:08x}", random() & 0xffff_ffff));
        let doing = || format!("cannot make the folder {}", path.display());
        DirBuilder::new().mode(0o700).create(&path).map_err(Error::of(doing()))?;
        let uid = fs::symlink_metadata(&path).map_err(Error::of(doing()))?.uid();
        // The user that a server of root's runs as has to pass, but not to look around.
        let mode = if uid == 0 { 0o711 } else { 0o700 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(Error::of(doing()))?;
        let mut guard = guard(&path).stdin(Stdio::piped()).spawn().map_err(Error::of("cannot start the guard of a server's folder"))?;
        let alive = guard.stdin.take();
        // Who cannot tell whose processes he sees cannot tell who is dead.
        SWEEP.call_once(|| scope.iter().for_each(|scope| sweep(&root(), uid, scope)));
        Ok(Self { path, guard, alive })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lists a process for the guard, which ends it with `signal`.
    pub(crate) fn list_process(&self, pid: u32, signal: &str) -> Result<()> {
        // One that has ended already needs no guard.
        let Some(start) = identity::start_of(pid) else { return Ok(()) };
        self.append("pids", &format!("{pid} {start} {signal}\n"))
    }

    /// Lists a container for the guard, which removes it with `engine`.
    pub(crate) fn list_container(&self, engine: &str, container: &str) -> Result<()> {
        self.append("containers", &format!("{engine} {container}\n"))
    }

    fn append(&self, name: &str, line: &str) -> Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(self.path.join(name));
        file.and_then(|mut file| file.write_all(line.as_bytes())).map_err(Error::of("cannot list a server for its guard"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.alive.take());
        // A guard that was killed leaves its folder to the next sweep.
        let _ = self.guard.wait();
    }
}

fn guard(folder: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", GUARD, "guard"]).arg(folder);
    // A group of its own: Ctrl-C and the end of a test run go to groups.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command
}

/// Where folders are made: the system's temporary folder, if every user may pass through to it.
fn root() -> PathBuf {
    let wanted = std::env::temp_dir();
    let passable = wanted.ancestors().all(|part| fs::metadata(part).is_ok_and(|data| data.mode() & 0o1 != 0 || data.uid() != 0));
    if passable { wanted } else { PathBuf::from("/tmp") }
}

/// Ends the servers and removes the folders that processes of this user left in `root` when they died together with their guards. What is
/// of another `scope` is not ours to judge.
fn sweep(root: &Path, uid: u32, scope: &str) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(Owner::of) else { continue };
        // Another user's folder could list any process, for us to end.
        let ours = entry.metadata().is_ok_and(|data| data.is_dir() && data.uid() == uid);
        if ours && owner.scope == scope && !identity::is_alive(owner.pid, owner.start) {
            let _ = guard(&entry.path()).status();
        }
    }
}

/// The process that a folder's name says made it.
struct Owner<'a> {
    pid: u32,
    start: &'a str,
    scope: &'a str,
}

impl<'a> Owner<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        Some(Self { pid: parts.next()?.parse().ok()?, start: parts.next()?, scope: parts.next()? })
    }
}

/// The last lines of a server's log, as an addition to an error.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let mut tail = String::new();
    for line in &lines[lines.len().saturating_sub(15)..] {
        let _ = write!(tail, "\n    {line}");
    }
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_container_left_is_not_swept() {
        let root = std::env::temp_dir().join(format!("replay-sweep-{:016x}", random()));
        fs::create_dir(&root).unwrap();
        let (pid, start) = (std::process::id(), identity::start_of(std::process::id()).unwrap());
        let folder = |name: &str| {
            let path = root.join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let dead = folder("replay-svc-1-1-here-redis-0");
        let alive = folder(&format!("replay-svc-{pid}-{start}-here-redis-0"));
        let others = ["replay-svc-1-1-there-redis-0", "replay-svc-1-1-redis-0", "replay-svc-1-1"].map(folder);
        sweep(&root, crate::private::user(), "here");
        assert!(!dead.exists());
        assert!(alive.exists() && others.iter().all(|path| path.exists()));
        fs::remove_dir_all(&root).unwrap();
    }
}
