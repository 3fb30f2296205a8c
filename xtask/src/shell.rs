//! Running child processes, with failures that can be repeated by hand.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// Why a task ended early, and the exit code that says so to the caller.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 2 }
    }
}

/// A `cargo` command at the root of the workspace.
pub(crate) fn cargo<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// The root of the workspace: the folder above this crate's.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Runs `command` with its output on the terminal; its exit code becomes the failure's.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| could_not_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(failed(command, status)) }
}

/// Runs `command` and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> Outcome<Vec<u8>> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| could_not_start(command, &error))?;
    if output.status.success() { Ok(output.stdout) } else { Err(failed(command, output.status)) }
}

/// Whether `cargo NAME` is installed.
pub(crate) fn has_cargo_command(name: &str) -> bool {
    cargo([name, "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// `command` as it would be typed, with the environment that was set for it.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let variables = command.get_envs().filter_map(|(key, value)| Some((key, value?)));
    let mut words: Vec<String> =
        variables.map(|(key, value)| format!("{}={}", key.to_string_lossy(), quoted(&value.to_string_lossy()))).collect();
    words.push(program);
    words.extend(command.get_args().map(|arg| quoted(&arg.to_string_lossy())));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

pub(crate) fn could_not_start(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("could not start: {}: {error}", line(command)))
}

pub(crate) fn failed(command: &Command, status: ExitStatus) -> Failure {
    // A child that a signal ended has no code of its own.
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Failure { message: format!("failed ({status}): {}", line(command)), code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_pasted_into_a_shell() {
        let mut command = cargo(["nextest", "run", "-E", "not package(=xtask)", "it's"]);
        command.env("REPLAY_TEST_ONLY", "memory,sqlite");
        assert_eq!(line(&command), r"REPLAY_TEST_ONLY=memory,sqlite cargo nextest run -E 'not package(=xtask)' 'it'\''s'");
    }

    #[cfg(unix)]
    #[test]
    fn the_exit_code_of_a_child_is_the_exit_code_of_the_task() {
        let failure = run(Command::new("sh").args(["-c", "exit 7"])).unwrap_err();
        assert_eq!(failure.code, 7);
        assert!(failure.message.ends_with("sh -c 'exit 7'"), "{}", failure.message);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let failure = run(&mut Command::new("no-such-program")).unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(failure.message.starts_with("could not start: no-such-program"), "{}", failure.message);
    }
}
