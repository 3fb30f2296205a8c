//! Tests that need a process of their own run themselves again in it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Set in a process that a test started; the folder that it works in.
const FOLDER: &str = "REPLAY_SQLITE_CHILD";

/// The folder that this process was started for, if a test started it.
pub(crate) fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// A command that runs the test `name` (as in `module::name`) of `program` as a child that works in `folder`.
pub(crate) fn run_in(mut command: Command, name: &str, folder: &Path) -> Command {
    command.args([name, "--exact", "--nocapture"]).env(FOLDER, folder);
    command
}

/// This program, as a child.
pub(crate) fn again(name: &str, folder: &Path) -> Command {
    run_in(Command::new(this()), name, folder)
}

/// Where this program is.
pub(crate) fn this() -> PathBuf {
    std::env::current_exe().expect("the path of this program")
}

/// Checks that a child ended well, and shows what it said if it did not.
pub(crate) fn check(output: &Output) {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "the child ended with {}:\n{out}\n{err}", output.status);
    assert!(out.contains("1 passed"), "the child ran no test:\n{out}\n{err}");
}

/// A runtime for a child's work.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}
