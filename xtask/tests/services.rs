//! `cargo xtask services` as a person and as a signal see it. The server is our own S3 server, since that needs nothing installed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use replay_services::{identity, s3};

const ONLY: [&str; 2] = ["--only", "s3-s3s"];

/// An xtask with temporary folders of its own, so that it meets nobody else's servers.
struct Xtask {
    temporary: PathBuf,
}

impl Xtask {
    fn new(test: &str) -> Self {
        let temporary = std::env::temp_dir().join(format!("xtask-{}-{test}", std::process::id()));
        fs::create_dir(&temporary).unwrap();
        Self { temporary }
    }

    fn command(&self, args: &[&str]) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_xtask"));
        let mut command = Command::new(program);
        command.arg("services").args(args).env("TMPDIR", &self.temporary).env_remove("XDG_RUNTIME_DIR").stdin(Stdio::null());
        command.env_remove("REPLAY_TEST_S3_URL").env("REPLAY_TEST_SERVICES", "native");
        command.env(s3::PROGRAM_VARIABLE, program.with_file_name("s3-server"));
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What `up` prints to set, after the `=`.
    fn up(&self) -> String {
        let output = self.run(&["up", ONLY[0], ONLY[1]]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.lines().count(), 1, "{text}");
        text.trim().strip_prefix("export REPLAY_TEST_S3_URL=").unwrap().trim_matches('\'').to_owned()
    }

    fn status(&self) -> String {
        String::from_utf8(self.run(&["status"]).stdout).unwrap()
    }

    /// The folders of servers, and the processes that are listed in them.
    fn servers(&self) -> Vec<(PathBuf, Vec<u32>)> {
        let folders = fs::read_dir(&self.temporary).unwrap().map(|entry| entry.unwrap().path());
        let folders = folders.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("replay-svc-") && path.is_dir());
        let pids = |folder: &Path| {
            let list = fs::read_to_string(folder.join("pids")).unwrap_or_default();
            list.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
        };
        folders.map(|folder| (folder.clone(), pids(&folder))).collect()
    }

    /// Waits until neither the folders nor the processes are there any more.
    fn assert_gone(&self, servers: &[(PathBuf, Vec<u32>)]) {
        assert!(!servers.is_empty() && servers.iter().all(|(_, pids)| !pids.is_empty()), "{servers:?}");
        until("the servers are gone", || {
            let left = servers.iter().any(|(folder, pids)| folder.exists() || pids.iter().any(|&pid| identity::start_of(pid).is_some()));
            !left && self.servers().is_empty()
        });
    }
}

impl Drop for Xtask {
    fn drop(&mut self) {
        self.run(&["down"]);
        fs::remove_dir_all(&self.temporary).unwrap();
    }
}

/// Looks again and again: nothing tells us when another process's child ends.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn port(url: &str) -> u16 {
    let (_, rest) = url.split_once("127.0.0.1:").unwrap();
    rest.split('&').next().unwrap().parse().unwrap()
}

fn signal(child: &Child, name: &str) {
    identity::signal(name, &[child.id()]).unwrap();
}

#[test]
fn what_is_up_stays_until_it_is_down_and_up_twice_is_up_once() {
    let xtask = Xtask::new("up");
    let url = xtask.up();
    TcpStream::connect(("127.0.0.1", port(&url))).unwrap();
    assert_eq!(xtask.up(), url);
    let status = xtask.status();
    assert!(status.contains("s3-s3s           running, native, s3s-fs") && !status.contains("replay-secret"), "{status}");
    assert!(status.contains("postgres         not running"), "{status}");
    let servers = xtask.servers();
    assert!(xtask.run(&["down"]).status.success());
    xtask.assert_gone(&servers);
    assert!(xtask.status().lines().all(|line| line.ends_with("not running")), "{}", xtask.status());
}

#[test]
fn a_supervisor_that_is_killed_leaves_nothing_and_up_starts_again() {
    let xtask = Xtask::new("killed");
    let url = xtask.up();
    let servers = xtask.servers();
    let owner = servers[0].0.file_name().unwrap().to_str().unwrap().split('-').nth(2).unwrap().parse().unwrap();
    identity::signal("KILL", &[owner]).unwrap();
    xtask.assert_gone(&servers);
    assert_ne!(xtask.up(), url);
}

#[test]
fn what_a_dead_process_and_its_guard_left_is_swept_at_the_next_start() {
    let xtask = Xtask::new("swept");
    let mut server = Command::new("sleep").arg("600").spawn().unwrap();
    let folder = xtask.temporary.join(format!("replay-svc-1-1-{}-redis-0", identity::scope().unwrap()));
    // To a container, whoever runs in another one looks dead.
    let foreign = xtask.temporary.join("replay-svc-1-1-0123456789abcdef-redis-0");
    fs::create_dir(&folder).unwrap();
    fs::create_dir(&foreign).unwrap();
    fs::write(folder.join("pids"), format!("{} {} TERM\n", server.id(), identity::start_of(server.id()).unwrap())).unwrap();
    // Its process id has gone to somebody else.
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    fs::OpenOptions::new().append(true).open(folder.join("pids")).map(|file| list_with_wrong_start(file, &other)).unwrap();
    xtask.up();
    assert!(!folder.exists() && foreign.exists());
    assert!(!server.wait().unwrap().success());
    assert!(identity::start_of(other.id()).is_some());
    other.kill().unwrap();
    other.wait().unwrap();
}

fn list_with_wrong_start(mut file: fs::File, other: &Child) {
    use std::io::Write;
    writeln!(file, "{} 1 KILL", other.id()).unwrap();
}

/// Starts `services run` with a command that says its URL and then runs until it is ended.
fn running(xtask: &Xtask) -> (Child, String) {
    let mut command = xtask.command(&["run", ONLY[0], ONLY[1], "--", "sh", "-c", "echo $REPLAY_TEST_S3_URL; exec sleep 600"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

#[test]
fn a_command_gets_the_urls_and_its_exit_code_is_ours() {
    let xtask = Xtask::new("run");
    let output = xtask.run(&["run", ONLY[0], ONLY[1], "--", "sh", "-c", "echo $REPLAY_TEST_S3_URL $REPLAY_TEST_REDIS_URL; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("s3://") && TcpStream::connect(("127.0.0.1", port(said.trim()))).is_err(), "{said}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("s3-s3s           native, s3s-fs"));
    assert!(xtask.servers().is_empty());
}

#[test]
fn a_url_of_the_environment_is_used_as_it_is() {
    let xtask = Xtask::new("given");
    let mut command = xtask.command(&["run", ONLY[0], ONLY[1], "--", "sh", "-c", "echo $REPLAY_TEST_S3_URL"]);
    let output = command.env("REPLAY_TEST_S3_URL", "s3://bucket").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "s3://bucket\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("s3-s3s           environment"));
}

#[test]
fn signals_end_the_command_and_the_servers() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let xtask = Xtask::new(name);
        let (mut child, url) = running(&xtask);
        assert!(url.starts_with("s3://"), "{url}");
        let servers = xtask.servers();
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        xtask.assert_gone(&servers);
    }
}

#[test]
fn even_sigkill_leaves_nothing() {
    let xtask = Xtask::new("sigkill");
    let (mut child, _) = running(&xtask);
    let servers = xtask.servers();
    let command = identity::children(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    xtask.assert_gone(&servers);
    until("the command is gone", || command.iter().all(|&pid| identity::start_of(pid).is_none()));
}

#[test]
fn a_server_that_cannot_be_had_is_named_with_what_to_do() {
    let xtask = Xtask::new("missing");
    let mut command = xtask.command(&["run", ONLY[0], ONLY[1], "--", "true"]);
    let output = command.env(s3::PROGRAM_VARIABLE, "/no/such/program").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("s3-server has not been built") && said.contains("--only sqlite,memory"), "{said}");
}

#[test]
fn a_link_in_the_place_of_its_folder_is_refused_and_its_target_untouched() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let xtask = Xtask::new("planted");
    xtask.status();
    let home = fs::read_dir(&xtask.temporary).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
    fs::remove_dir(&home).unwrap();
    let target = xtask.temporary.join("target");
    fs::create_dir(&target).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(target.join("lock"), "precious").unwrap();
    symlink(&target, &home).unwrap();
    for command in ["status", "down"] {
        let output = xtask.run(&[command]);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("replay-services-"), "{output:?}");
    }
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_to_string(target.join("lock")).unwrap(), "precious");
}
