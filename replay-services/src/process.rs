//! A server as a child process that cannot outlive us.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;

use crate::error::{Error, Result};
use crate::find;
use crate::identity;
use crate::user::User;
use crate::wait;

/// How to start a server.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(&'static str, String)>,
    /// Where it starts.
    pub(crate) dir: PathBuf,
    /// Where what it says goes, behind what is there.
    pub(crate) log: PathBuf,
    /// Whom it runs as; none means as we do.
    pub(crate) user: Option<User>,
    /// The signal, without `SIG`, that has it end in order and soon.
    pub(crate) end: &'static str,
}

impl Launch {
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Messages are looked for in logs, so they have to be in English.
        command.args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value))).env("LC_ALL", "C").current_dir(&self.dir);
        let mut command = tied(&command, self.end);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        // A group of its own: Ctrl-C is for tests to react to, with their servers still there.
        command.stdin(Stdio::null()).process_group(0);
        command
    }

    pub(crate) fn start(&self) -> Result<Process> {
        let doing = || format!("cannot start {}", self.program.display());
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(Error::of(doing()))?;
        let mut command = self.command();
        command.stdout(log.try_clone().map_err(Error::of(doing()))?).stderr(log);
        let (child, hold) = spawn(command).map_err(Error::of(doing()))?;
        Ok(Process { child, end: self.end, _hold: hold })
    }
}

/// `command` so that the system sends it `signal` (without `SIG`) when the thread that spawned it ends, where `setpriv` is installed (Linux);
/// elsewhere as it is.
///
/// Of what was set for `command` the arguments, the environment and the folder are kept, not where its output goes.
pub fn tied(command: &Command, signal: &str) -> Command {
    let mut tied = match find::on_path("setpriv") {
        Some(setpriv) => {
            let mut tied = Command::new(setpriv);
            tied.args(["--pdeathsig", signal, "--"]).arg(command.get_program());
            tied
        }
        None => Command::new(command.get_program()),
    };
    tied.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(name, value),
            None => tied.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        tied.current_dir(dir);
    }
    tied
}

/// Spawns from a thread that lives as long as the returned sender: the system ties a child's life to the thread that made it, and a
/// test's threads come and go.
fn spawn(mut command: Command) -> std::io::Result<(Child, Sender<()>)> {
    let (give, take) = mpsc::channel();
    let (hold, held) = mpsc::channel();
    thread::Builder::new().name("holds a server".to_owned()).spawn(move || {
        if give.send(command.spawn()).is_ok() {
            // Ends with an error as soon as the sender is dropped.
            let _ = held.recv();
        }
    })?;
    let child = take.recv().map_err(std::io::Error::other)??;
    Ok((child, hold))
}

/// A child that we have not collected, so that its process id means nobody else.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    end: &'static str,
    _hold: Sender<()>,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal to the server and its children (PostgreSQL has one per connection), the server first.
    pub(crate) fn signal(&mut self, name: &str) -> Result<()> {
        if self.has_ended() {
            return Ok(());
        }
        let mut pids = vec![self.pid()];
        pids.extend(identity::children(self.pid()));
        identity::signal(name, &pids)
    }

    /// Ends the server and its children at once, without a chance to write anything more.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let children = identity::children(self.pid());
        self.signal("KILL")?;
        let _ = self.child.wait();
        let gone = || children.iter().all(|&child| identity::start_of(child).is_none());
        wait::until(wait::ENDED, "the end of a killed server's children", || Ok(gone().then_some(())))
    }

    /// Asks the server to end, and kills it if it takes longer than 5 s.
    pub(crate) fn end(&mut self) -> Result<()> {
        if self.has_ended() {
            return Ok(());
        }
        identity::signal(self.end, &[self.pid()])?;
        // One that was stopped sees the signal only when it goes on.
        self.signal("CONT")?;
        let ended = wait::until(wait::ENDED, "the end of a server", || Ok(self.has_ended().then_some(())));
        ended.or_else(|_| self.kill())
    }
}
