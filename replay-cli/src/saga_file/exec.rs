//! Running a program: its input, its output within limits, and the end of its whole process group.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use replay::{Clock, Error, Result, SystemClock};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command as Process},
};

use super::model::Command;

/// How much a program may write to standard output, in bytes.
pub(super) const MAX_OUTPUT_BYTES: usize = 8 << 20;
/// How much of the end of standard error is told, in bytes.
pub(super) const STDERR_TAIL_BYTES: usize = 4096;
const CHUNK_BYTES: usize = 4096;
/// How long the output of a program that has ended is waited for, if something else keeps it open.
const DRAIN: Duration = Duration::from_secs(1);

/// What a program left behind.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// At most one byte more than [`MAX_OUTPUT_BYTES`].
    pub(super) stdout: Vec<u8>,
    /// At most [`STDERR_TAIL_BYTES`] and what the caller wanted beside them.
    pub(super) stderr_tail: Vec<u8>,
    /// Whether something else kept the output open, so that it was not read to its end.
    pub(super) is_cut: bool,
}

/// Where the program of `command` is: one with a slash in its name is relative to `dir`, others are found on the PATH.
fn program(command: &Command, dir: &Path) -> PathBuf {
    let name = Path::new(&command.argv[0]);
    if name.components().count() > 1 { dir.join(name) } else { name.to_path_buf() }
}

/// Checks that a step's program exists.
///
/// # Errors
/// `Invalid`, naming the step and where the program was looked for.
pub(super) fn check_program(command: &Command, dir: &Path, step: &str) -> Result<()> {
    let program = program(command, dir);
    let missing = |place: String, hint: &str| {
        let message = format!("the command `{}` of step `{step}` does not exist", command.argv[0]);
        Err(Error::invalid("check commands", message).hint(hint).with("looked_in", place))
    };
    if program.components().count() > 1 {
        if program.is_file() {
            return Ok(());
        }
        return missing(program.display().to_string(), "a command with a slash is relative to the folder of the saga file");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let suffix = std::env::consts::EXE_SUFFIX;
    let found = std::env::split_paths(&path).any(|folder| {
        let file = folder.join(&program);
        file.is_file() || (!suffix.is_empty() && folder.join(format!("{}{suffix}", program.display())).is_file())
    });
    if found { Ok(()) } else { missing("PATH".to_owned(), "install it, or write ./ before a program beside the saga file") }
}

/// Runs `command` in `dir` with `input` on standard input, and keeps `beside` bytes more of standard error than are told.
///
/// When it ends, or this future is dropped, whatever is left of its process group is killed.
///
/// # Errors
/// If it cannot be started, or its output cannot be read.
pub(super) async fn run(command: &Command, dir: &Path, env: &[(String, String)], input: Vec<u8>, beside: usize) -> io::Result<Ended> {
    let mut process = Process::new(program(command, dir));
    process.args(&command.argv[1..]).current_dir(dir).envs(env.iter().map(|(name, value)| (name, value)));
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    #[cfg(unix)]
    process.process_group(0);
    let mut child = spawn(&mut process).await?;
    let mut group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut out, mut err, mut is_cut) = (Vec::new(), VecDeque::new(), false);
    let status = {
        let mut pipes = pin!(async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // A program that does not read its input may close it early; what counts is how it ends.
                    let _ = stdin.write_all(&input).await;
                }
            };
            let ((), stdout, stderr) = tokio::join!(write, head(stdout, &mut out), tail(stderr, &mut err, STDERR_TAIL_BYTES + beside));
            stdout.and(stderr)
        });
        let mut wait = pin!(child.wait());
        let mut drained = None;
        let status = loop {
            tokio::select! {
                status = &mut wait => break status,
                result = &mut pipes, if drained.is_none() => drained = Some(result),
            }
        };
        // Whoever it left behind would keep its output open.
        group.kill();
        if let Some(result) = drained {
            result?;
        } else {
            // One that has left the process group still does, and must not hold the step.
            tokio::select! {
                result = &mut pipes => result?,
                () = SystemClock.sleep(DRAIN) => is_cut = true,
            }
        }
        status?
    };
    Ok(Ended { status, stdout: out, stderr_tail: err.into(), is_cut })
}

/// Starts the program. A file that was written a moment ago may still be open for writing elsewhere (`ETXTBSY`), for instance in a
/// process that another thread is just starting; that passes at once.
async fn spawn(process: &mut Process) -> io::Result<Child> {
    for _ in 0..20 {
        match process.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => tokio::task::yield_now().await,
            other => return other,
        }
    }
    process.spawn()
}

/// Reads into `bytes`, so that what was read is there even if this is dropped.
async fn head(from: Option<impl AsyncRead + Unpin>, bytes: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut chunk = [0; CHUNK_BYTES];
    while bytes.len() <= MAX_OUTPUT_BYTES {
        let wanted = (MAX_OUTPUT_BYTES + 1 - bytes.len()).min(CHUNK_BYTES);
        match from.read(&mut chunk[..wanted]).await? {
            0 => break,
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(())
}

/// Reads to the end and keeps the last `limit` bytes in `kept`, as [`head`] does.
async fn tail(from: Option<impl AsyncRead + Unpin>, kept: &mut VecDeque<u8>, limit: usize) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        kept.extend(&chunk[..count]);
        kept.drain(..kept.len().saturating_sub(limit));
    }
}

/// A program's process group, killed when this is dropped.
struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

impl Group {
    #[cfg(unix)]
    fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        Self { leader }
    }

    #[cfg(not(unix))]
    fn of(_: &Child) -> Self {
        Self {}
    }

    fn kill(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.leader.take() {
            // An error means that nobody is left.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
