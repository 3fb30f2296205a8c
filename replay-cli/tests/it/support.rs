//! A folder with a store of its own, and the program run in it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_replay");

/// A folder, and a store in it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    /// A store elsewhere, in the place of the one in the folder.
    url: Option<String>,
}

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The data as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Checks that the remarks hold each of `texts`.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
        }
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url: None }
    }

    /// A folder whose store is at `url`.
    pub(crate) fn at(url: &str) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url: Some(url.to_owned()) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Writes a program of the shell.
    #[cfg(unix)]
    pub(crate) fn script(&self, name: &str, body: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write(name, &format!("#!/bin/sh\n{body}\n"));
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The program, to be run in the folder with its store and nothing else of this process's settings.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        for name in ["REPLAY_STORAGE_URL", "REPLAY_NAMESPACE", "REPLAY_PROFILE", "REPLAY_CONFIG", "NO_COLOR", "TRACEPARENT"] {
            command.env_remove(name);
        }
        command.env("HOME", self.folder.path()).env("XDG_DATA_HOME", self.path("data")).env("XDG_CONFIG_HOME", self.path("config"));
        command.env("REPLAY_STORAGE_URL", self.url()).env("USER", "tester").current_dir(self.folder.path()).args(args);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone().unwrap_or_else(|| format!("sqlite:{}", self.path("replay.db").display()))
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Shell text that waits until there is a file `gate`, or until the folder is gone because its test has ended.
    pub(crate) fn wait_for_gate(&self) -> String {
        format!("while test -d {} && ! test -e gate; do sleep 0.02; done", self.folder.path().display())
    }

    /// Starts a saga of one shell step named `only` as `id`.
    pub(crate) fn one_step(&self, id: &str, shell: &str) -> Ran {
        self.write("one.yaml", &format!("name: one\nsteps:\n  - name: only\n    shell: |\n      {shell}\n"));
        self.run(&["start", "one.yaml", "--id", id])
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The payment service of the examples, at an address of its own.
pub(crate) struct Payments {
    server: Child,
    pub(crate) address: String,
}

impl Payments {
    pub(crate) fn serve(world: &World) -> Self {
        let mut server =
            world.command(&["demo", "--payment-server", "127.0.0.1:0"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let address = first.split("http://").nth(1).unwrap().split(';').next().unwrap().to_owned();
        // Whoever writes into a pipe that nobody reads would stop in the end.
        std::thread::spawn(move || lines.for_each(drop));
        Self { server, address }
    }
}

impl Drop for Payments {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

/// Puts the example order into `world`, with its payments at `address`.
pub(crate) fn example_order(world: &World, address: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/orders");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        std::fs::copy(&path, world.path(name)).unwrap();
    }
    let order = std::fs::read_to_string(world.path("order.yaml")).unwrap();
    world.write("order.yaml", &order.replace("127.0.0.1:9000", address));
}
