//! A running server, whatever kind it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::folder::{Folder, tail};
use crate::port;
use crate::probe::Probe;
use crate::process::{Launch, Process};
use crate::wait;

/// A server of a test's own: one process, or the three of a Redis Cluster.
///
/// Dropping it ends the processes and removes the folder. All methods block; in async code call them through `spawn_blocking`, or where
/// it does not matter that other tasks wait.
#[derive(Debug)]
pub struct Server {
    url: String,
    version: String,
    nodes: Vec<Node>,
    folder: Folder,
}

#[derive(Debug)]
struct Node {
    port: u16,
    launch: Launch,
    probe: Probe,
    process: Mutex<Process>,
}

/// What a kind of server says about one of its processes.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) launch: Launch,
    pub(crate) probe: Probe,
}

/// How often another port is tried when somebody else was faster.
const ATTEMPTS: usize = 5;

impl Server {
    /// Starts `count` processes on free ports and waits until they answer.
    ///
    /// `plan` says how to start each, given the ports of all and its own index; `url` is made of the ports.
    pub(crate) fn start(
        folder: Folder,
        version: String,
        count: usize,
        plan: impl Fn(&Folder, &[u16], usize) -> Result<Plan>,
        url: impl FnOnce(&[u16]) -> String,
    ) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let ports = port::free(count)?;
            let nodes: Result<Vec<Node>> =
                (0..count).map(|index| Node::start(&folder, ports[index], plan(&folder, &ports, index)?)).collect();
            match nodes.and_then(|nodes| nodes.iter().try_for_each(Node::wait).map(|()| nodes)) {
                Ok(nodes) => return Ok(Self { url: url(&ports), version, nodes, folder }),
                Err(error) if attempt < ATTEMPTS && is_taken(&error) => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The store URL, without a namespace. It may hold a password, which is made anew for every server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The version as the server program gives it.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The port on 127.0.0.1; in a cluster, that of its first node.
    pub fn port(&self) -> u16 {
        self.nodes[0].port
    }

    /// The ports of all nodes.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// The process id; in a cluster, that of its first node. A restart changes it.
    pub fn pid(&self) -> u32 {
        self.nodes[0].process().pid()
    }

    /// The process ids of all nodes.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process().pid()).collect()
    }

    /// The temporary folder: the server's data, its logs and its certificates.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Ends the server with SIGKILL, all nodes of a cluster and all processes of PostgreSQL at once, and waits until they are gone.
    ///
    /// # Errors
    /// If a process is still there after 5 s.
    pub fn kill(&self) -> Result<()> {
        self.each(|node| node.process().kill())
    }

    /// Stops the server with SIGSTOP: connections stay, answers do not come.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn stop(&self) -> Result<()> {
        self.each(|node| node.process().signal("STOP"))
    }

    /// Lets a stopped server go on.
    ///
    /// # Errors
    /// If the signal cannot be sent.
    pub fn cont(&self) -> Result<()> {
        self.each(|node| node.process().signal("CONT"))
    }

    /// Starts the server again on the same ports and with the same data, ended in order first if it still runs; waits until it answers.
    ///
    /// How much of the data is there is what the server promises with its options: all that was acknowledged with `durable(true)`.
    ///
    /// # Errors
    /// If it does not answer within 30 s, with the end of its log.
    pub fn restart(&self) -> Result<()> {
        self.each(|node| node.process().end())?;
        self.each(|node| node.restart(&self.folder))?;
        self.each(|node| node.wait_after_restart(&self.folder))
    }

    /// As [`kill`](Self::kill), but only node number `index` of a cluster, counted from 0.
    ///
    /// # Errors
    /// If the process is still there after 5 s.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn kill_node(&self, index: usize) -> Result<()> {
        self.nodes[index].process().kill()
    }

    /// As [`restart`](Self::restart), but only node number `index` of a cluster, counted from 0.
    ///
    /// # Errors
    /// If it does not answer within 30 s, with the end of its log.
    ///
    /// # Panics
    /// If there is no such node.
    pub fn restart_node(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        node.process().end()?;
        node.restart(&self.folder)?;
        node.wait_after_restart(&self.folder)
    }

    fn each(&self, act: impl Fn(&Node) -> Result<()>) -> Result<()> {
        self.nodes.iter().try_for_each(act)
    }
}

/// The processes end before the folder goes. When we do not come to this, the folder's guard does.
impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process().end();
    }
}

impl Node {
    fn start(folder: &Folder, port: u16, plan: Plan) -> Result<Self> {
        let Plan { launch, probe } = plan;
        let process = launch.start()?;
        folder.list_process(process.pid(), launch.end)?;
        Ok(Self { port, launch, probe, process: Mutex::new(process) })
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        // A panic of another thread leaves the process what it is.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the process has ended, and its id.
    fn state(&self) -> (bool, u32) {
        let mut process = self.process();
        (process.has_ended(), process.pid())
    }

    fn restart(&self, folder: &Folder) -> Result<()> {
        let process = self.launch.start()?;
        folder.list_process(process.pid(), self.launch.end)?;
        *self.process() = process;
        Ok(())
    }

    /// Waits like [`wait`](Self::wait), and starts the process again as long as something that the killed one left is still in use.
    fn wait_after_restart(&self, folder: &Folder) -> Result<()> {
        wait::until(wait::ENDED, "the end of what a killed server left", || match self.wait() {
            Err(error) if is_taken(&error) => self.restart(folder).map(|()| None),
            outcome => outcome.map(Some),
        })
    }

    /// Waits until the server answers as one of its kind.
    fn wait(&self) -> Result<()> {
        let log = &self.launch.log;
        let what = format!("{} on port {}: the first answer", self.launch.program.display(), self.port);
        let ready = wait::until(wait::READY, &what, || {
            // Looked at before asking: an answer may be another server's that has the port.
            let (ended, pid) = self.state();
            match (self.probe.is_ready(self.port, Some(pid)), ended) {
                (_, true) => Err(Error::new(format!("{} ended before it answered", self.launch.program.display()))),
                (true, false) => Ok(Some(())),
                (false, false) => Ok(None),
            }
        });
        ready.map_err(|error| Error::new(format!("{error}; its log ({}) ends with{}", log.display(), tail(log))))
    }
}

fn is_taken(error: &Error) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    text.contains("already in use") || text.contains("still in use")
}

/// A file of `fixtures`, which lies beside this crate.
pub(crate) fn fixture(path: &str) -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path);
    fs::canonicalize(&path).map_err(Error::of(format_args!("cannot find {}", path.display())))
}
