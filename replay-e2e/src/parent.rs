//! Starting child processes, talking to them, and seeing how they end.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::child::{Ended, Job};

/// A child that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// How to start a child: the program, and what comes before the job on its command line.
#[derive(Debug, Clone)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// Its first arguments.
    pub args: Vec<String>,
}

/// A running child process. It is killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// How a child's life ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Death {
    /// It was killed, as its job said.
    Killed,
    /// It ended by itself and said how its sagas ended.
    Ended(Vec<Ended>),
}

impl Program {
    /// The program at `path`, whose only argument is the job.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), args: Vec::new() }
    }

    /// Starts a child with `job`.
    pub fn start(&self, job: &Job) -> Child {
        let mut command = Command::new(&self.path);
        command.args(&self.args).arg(serde_json::to_string(job).expect("a job is JSON"));
        Child::spawn(command)
    }

    /// Runs a child with `job` to its end.
    ///
    /// # Errors
    /// If it hangs, or ends in another way than by SIGKILL or success.
    pub fn run(&self, job: &Job) -> Result<Death, String> {
        self.start(job).wait()
    }
}

impl Child {
    /// Starts `command`.
    pub fn spawn(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the child starts");
        let output = BufReader::new(process.stdout.take().expect("its output is piped"));
        let input = process.stdin.take().expect("its input is piped");
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { process, input, lines }
    }

    /// The next line that it says; none once it has ended.
    ///
    /// # Errors
    /// If it says nothing for a minute.
    pub fn line(&self) -> Result<Option<String>, String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(format!("child {} hangs", self.process.id())),
        }
    }

    /// Waits for the line `expected`.
    ///
    /// # Errors
    /// If it says another, or nothing.
    pub fn expect(&self, expected: &str) -> Result<(), String> {
        match self.line()? {
            Some(line) if line == expected => Ok(()),
            other => Err(format!("the child was to say `{expected}`, but said {other:?}")),
        }
    }

    /// Writes an empty line to it, so that it goes on. One that is dead hears nothing.
    pub fn go_on(&mut self) {
        let _ = self.input.write_all(b"\n").and_then(|()| self.input.flush());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("the child is there");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it hangs, or ends in another way than by SIGKILL or success.
    pub fn wait(mut self) -> Result<Death, String> {
        let mut ended = Vec::new();
        while let Some(line) = self.line()? {
            ended.push(serde_json::from_str(&line).map_err(|error| format!("the child said {line}: {error}"))?);
        }
        let status = self.process.wait().map_err(|error| error.to_string())?;
        match (status.success(), status.signal()) {
            (true, _) => Ok(Death::Ended(ended)),
            (_, Some(9)) => Ok(Death::Killed),
            _ => Err(format!("the child ended with {status}")),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
