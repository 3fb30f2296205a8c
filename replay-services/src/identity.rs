//! Which process a process id means, and signals to it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// When the process `pid` started, in a form that only serves comparison and has no spaces; `None` if it has ended.
///
/// A process id is given to another process after a while. Together with the start time it means one process for good.
pub fn start_of(pid: u32) -> Option<String> {
    if Path::new("/proc/self").exists() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program, in parentheses, may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        return (fields.first() != Some(&"Z")).then(|| fields.get(19).map(ToString::to_string))?;
    }
    let output = Command::new("ps").args(["-o", "stat=", "-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (state, start) = text.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| start.split_ascii_whitespace().collect::<Vec<_>>().join("_"))
}

/// In which processes of which system a process id means the same as here, in a form that only serves comparison and has neither spaces
/// nor hyphens; `None` if the system does not tell.
///
/// Containers may share a folder, but not see each other's processes: to each, all processes of the others look dead.
pub fn scope() -> Option<String> {
    if !Path::new("/proc/self").exists() {
        return Some("host".to_owned());
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let mut hasher = DefaultHasher::new();
    (boot.trim(), namespace).hash(&mut hasher);
    Some(format!("{:016x}", hasher.finish()))
}

/// Whether the process that had `pid` and started at `start` still runs.
pub fn is_alive(pid: u32, start: &str) -> bool {
    start_of(pid).is_some_and(|now| now == start)
}

/// The children of `pid` where the system lists them (Linux), else none.
pub fn children(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |child: &u32| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
        parent == Some(pid)
    };
    pids.filter(is_child).collect()
}

/// Sends a signal, by its name without `SIG`, to processes; one that has ended meanwhile is no error.
pub fn signal(name: &str, pids: &[u32]) -> Result<()> {
    // The shell's own `kill` is there also where the program is not installed.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"signal=$1; shift; for pid; do kill -s "$signal" "$pid" 2>/dev/null; done; :"#, "kill", name]);
    command.args(pids.iter().map(ToString::to_string)).stdin(Stdio::null());
    command.status().map(drop).map_err(Error::of("cannot send a signal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_until_it_ends_even_if_nobody_collects_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let start = start_of(child.id()).unwrap();
        assert!(is_alive(child.id(), &start) && !is_alive(child.id(), "0"));
        assert!(children(std::process::id()).contains(&child.id()));
        signal("KILL", &[child.id()]).unwrap();
        crate::wait::until(crate::wait::ENDED, "dying", || Ok((!is_alive(child.id(), &start)).then_some(()))).unwrap();
        child.wait().unwrap();
        assert_eq!(start_of(child.id()), None);
    }
}
