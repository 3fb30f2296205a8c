use replay_services::identity;
use replay_services::postgres::{Options, Server, start};
use std::process::Command;

use crate::{ask, assert_leaves_nothing};

/// A message that asks whether TLS is spoken.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// What `psql` prints for a statement; the server's own programs lie where the server was found.
fn sql(server: &Server, statement: &str) -> String {
    let program = std::fs::read_link(format!("/proc/{}/exe", server.pid())).unwrap().with_file_name("psql");
    let output = Command::new(program).args(["-X", "-A", "-t", "-c", statement, server.url()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_durable_server_keeps_through_sigkill_what_was_committed() {
    let server = start(Options::default().durable(true)).unwrap();
    assert_eq!(sql(&server, "SHOW fsync"), "on");
    sql(&server, "CREATE TABLE kept AS SELECT 7 AS number");
    server.kill().unwrap();
    ask(server.port(), &SSL_REQUEST).unwrap_err();
    server.restart().unwrap();
    assert_eq!(sql(&server, "SELECT number FROM kept"), "7");
    assert_leaves_nothing(server);
}

#[test]
fn by_default_it_is_fast_speaks_tls_and_runs_as_no_superuser_of_the_system() {
    let server = start(Options::default().settings(&[("max_connections", "20")])).unwrap();
    assert_eq!(sql(&server, "SHOW fsync"), "off");
    assert_eq!(sql(&server, "SHOW max_connections"), "20");
    assert_eq!(sql(&server, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t", "psql prefers TLS where it is offered");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(!status.lines().any(|line| line.starts_with("Uid:\t0\t")), "{status}");
    assert_leaves_nothing(server);
}

#[test]
fn a_stopped_server_is_silent_until_it_goes_on() {
    let server = start(Options::default()).unwrap();
    server.stop().unwrap();
    ask(server.port(), &SSL_REQUEST).unwrap_err();
    server.cont().unwrap();
    assert_eq!(sql(&server, "SELECT 1"), "1");
    assert!(identity::start_of(server.pid()).is_some());
    server.kill().unwrap();
    server.restart().unwrap();
    server.stop().unwrap();
    assert_leaves_nothing(server);
}
