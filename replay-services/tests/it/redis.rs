use replay_services::redis::{Options, start};

use crate::{ask, assert_leaves_nothing};

#[test]
fn a_durable_server_keeps_through_sigkill_what_it_acknowledged() {
    let server = start(Options::default().durable(true)).unwrap();
    assert_eq!(server.url(), format!("redis://127.0.0.1:{}/0", server.port()));
    assert_eq!(ask(server.port(), b"SET word kept\r\n").unwrap(), "+OK");
    let first = server.pid();
    server.kill().unwrap();
    ask(server.port(), b"PING\r\n").unwrap_err();
    server.restart().unwrap();
    assert_ne!(server.pid(), first);
    assert_eq!(ask(server.port(), b"SET word new NX GET\r\n").unwrap(), "$4", "the old word has four letters");
    assert_leaves_nothing(server);
}

#[test]
fn a_stopped_server_is_silent_until_it_goes_on() {
    let server = start(Options::default()).unwrap();
    server.stop().unwrap();
    ask(server.port(), b"PING\r\n").unwrap_err();
    server.cont().unwrap();
    assert_eq!(ask(server.port(), b"PING\r\n").unwrap(), "+PONG");
    server.stop().unwrap();
    assert_leaves_nothing(server);
}

#[test]
fn settings_reach_the_server() {
    let server = start(Options::default().settings(&[("maxmemory", "3mb"), ("maxmemory-policy", "noeviction")])).unwrap();
    let mut write = |number: u32| ask(server.port(), format!("SET {number} {}\r\n", "x".repeat(50_000)).as_bytes()).unwrap();
    let answers: Vec<String> = (0..80).map(&mut write).collect();
    assert_eq!(answers[0], "+OK");
    assert!(answers[79].starts_with("-OOM"), "{}", answers[79]);
    assert_leaves_nothing(server);
}

#[test]
fn with_tls_there_is_nothing_to_read_without_it() {
    let server = start(Options::default().tls(true).durable(true)).unwrap();
    let url = server.url();
    assert!(url.starts_with("rediss://replay:") && url.contains("/0?ca=/") && url.ends_with("ca.crt"), "{url}");
    assert!(!ask(server.port(), b"PING\r\n").is_ok_and(|answer| answer.contains("PONG")));
    server.restart().unwrap();
    assert_leaves_nothing(server);
}

#[test]
fn the_nodes_of_a_cluster_work_together_and_one_can_be_killed() {
    let server = start(Options::default().cluster(true).durable(true)).unwrap();
    let ports = server.ports();
    assert_eq!(server.url(), format!("redis+cluster://127.0.0.1:{},127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1], ports[2]));
    // The key "a" belongs to slot 15495, which the third node has.
    assert_eq!(ask(ports[2], b"SET a 1\r\n").unwrap(), "+OK");
    assert_eq!(ask(ports[0], b"SET a 1\r\n").unwrap(), format!("-MOVED 15495 127.0.0.1:{}", ports[2]));
    server.kill_node(2).unwrap();
    ask(ports[2], b"PING\r\n").unwrap_err();
    server.restart_node(2).unwrap();
    assert_eq!(ask(ports[2], b"APPEND a 2\r\n").unwrap(), ":2");
    assert_leaves_nothing(server);
}
