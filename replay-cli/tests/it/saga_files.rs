//! How steps of saga files run.

#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use serde_json::json;

use crate::support::*;

#[test]
fn a_program_gets_its_input_and_its_output_is_merged() {
    let world = World::new();
    world.script("step.sh", r#"cat > input.json; printf '{"deep": {"b": 2}, "gone": null, "env": "%s %s %s %s"}' "$REPLAY_SAGA_ID" "$REPLAY_STEP" "$REPLAY_ATTEMPT" "$EXTRA""#);
    world.write("s.yaml", "name: s\nsteps:\n  - {name: a, command: [./step.sh], env: {EXTRA: \"{{ context.deep.a }}!\"}}\n");
    std::fs::create_dir(world.path("elsewhere")).unwrap();
    let mut command = world.command(&["start", "../s.yaml", "--id", "x", "--input", r#"{"deep": {"a": 1}, "gone": 1}"#]);
    let ran = Ran::from(command.current_dir(world.path("elsewhere")).output().unwrap()).exits(0);
    assert_eq!(ran.json()["context"], json!({"deep": {"a": 1, "b": 2}, "env": "x a 1 1!"}));
    let input: serde_json::Value = serde_json::from_slice(&std::fs::read(world.path("input.json")).unwrap()).unwrap();
    assert_eq!((&input["saga_id"], &input["step"], &input["attempt"]), (&json!("x"), &json!("a"), &json!(1)));
    assert_eq!(input["context"], json!({"deep": {"a": 1}, "gone": 1}));
    assert!(input["idempotency_key"].as_str().unwrap().starts_with("rk1_"));
}

#[test]
fn exit_code_75_is_tried_again_and_others_are_not() {
    let world = World::new();
    world.script("flaky.sh", "echo x >> tries; [ \"$REPLAY_ATTEMPT\" = 3 ] || exit 75");
    world.write("s.yaml", "name: s\nsteps:\n  - {name: a, command: [./flaky.sh], retry: {max_attempts: 5, initial: 1ms}}\n");
    world.run(&["start", "s.yaml"]).exits(0);
    assert_eq!(std::fs::read_to_string(world.path("tries")).unwrap().lines().count(), 3);
    world.write("s.yaml", "name: s\nsteps:\n  - {name: a, shell: 'echo y >> others; exit 3', retry: {max_attempts: 5, initial: 1ms}}\n");
    world.run(&["start", "s.yaml"]).exits(1);
    assert_eq!(std::fs::read_to_string(world.path("others")).unwrap().lines().count(), 1);
}

#[test]
fn the_end_of_standard_error_becomes_the_error() {
    let world = World::new();
    let ran = world.one_step("x", "head -c 9000 /dev/zero | tr '\\0' a >&2; echo the end >&2; exit 9").exits(1);
    let message = ran.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("exited with 9") && message.len() <= 4096, "{}", message.len());
}

#[test]
fn too_much_output_fails_the_step() {
    let world = World::new();
    let ran = world.one_step("x", "head -c 9000000 /dev/zero").exits(1);
    assert!(ran.json()["error"]["message"].as_str().unwrap().contains("8 MiB"));
}

fn is_running(pid: &str) -> bool {
    // A zombie has ended; whoever reaps it may take its time.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

#[test]
#[cfg(target_os = "linux")]
fn the_whole_process_group_ends_with_the_timeout() {
    let world = World::new();
    world.write("s.yaml", "name: s\nsteps:\n  - {name: a, shell: 'sleep 600 & echo $! > pid; wait', timeout: 2s}\n");
    let ran = world.run(&["start", "s.yaml"]).exits(1);
    assert_eq!(ran.json()["error"]["kind"], "timeout");
    let pid = std::fs::read_to_string(world.path("pid")).unwrap();
    until("what the program left behind has ended", || !is_running(&pid));
}

#[test]
#[cfg(target_os = "linux")]
fn what_a_program_leaves_behind_ends_with_it() {
    let world = World::new();
    world.one_step("x", "sleep 600 & echo $! > pid; exit 0").exits(0);
    let pid = std::fs::read_to_string(world.path("pid")).unwrap();
    until("what the program left behind has ended", || !is_running(&pid));
}

#[test]
#[cfg(target_os = "linux")]
fn a_program_that_left_the_group_does_not_hold_the_step() {
    let world = World::new();
    let ran = world.one_step("x", r#"setsid sh -c 'echo $$ > pid; exec sleep 600' & while [ ! -s pid ]; do :; done; echo '{"a": 1}'"#);
    let pid = std::fs::read_to_string(world.path("pid")).unwrap();
    assert!(is_running(&pid), "the step waited for it");
    let number = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
    assert_eq!(ran.exits(0).json()["context"]["a"], 1);
}

#[test]
fn ctrl_c_stops_at_the_next_step_boundary_and_the_saga_is_resumed() {
    let world = World::new();
    let made = Command::new("mkfifo").arg(world.path("gate")).status().unwrap();
    assert!(made.success());
    world.write("s.yaml", "name: s\nsteps:\n  - {name: a, shell: 'cat gate; echo a >> done'}\n  - {name: b, shell: 'echo b >> done'}\n");
    let mut child = world.command(&["start", "s.yaml", "--id", "x"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Opening the gate for writing waits until the step reads from it.
    let mut gate = std::fs::File::options().write(true).open(world.path("gate")).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Ctrl-C again")));
    gate.write_all(b"{}\n").unwrap();
    drop(gate);
    let rest = std::thread::spawn(move || lines.for_each(drop));
    let ran = Ran::from(child.wait_with_output().unwrap());
    rest.join().unwrap();
    assert_eq!(ran.code, 130, "{ran:?}");
    let interrupted = ran.json();
    assert_eq!((&interrupted["interrupted"], &interrupted["status"]), (&json!(true), &json!("executing")));
    world.run(&["resume", "x"]).exits(0);
    assert_eq!(std::fs::read_to_string(world.path("done")).unwrap(), "a\nb\n");
    world.run(&["resume", "--interrupted"]).exits(0).says(&["no saga is interrupted"]);
}

#[test]
fn a_killed_saga_is_found_and_resumed_without_its_file() {
    let world = World::new();
    assert!(Command::new("mkfifo").arg(world.path("gate")).status().unwrap().success());
    world.write("s.yaml", "name: s\nsteps:\n  - {name: a, shell: 'echo $REPLAY_IDEMPOTENCY_KEY >> a'}\n  - {name: b, shell: 'echo $REPLAY_IDEMPOTENCY_KEY >> b; cat gate'}\n");
    let mut child = world.command(&["start", "s.yaml", "--id", "x"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let gate = std::fs::File::options().write(true).open(world.path("gate")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    drop(gate);
    std::fs::remove_file(world.path("s.yaml")).unwrap();
    std::fs::remove_file(world.path("gate")).unwrap();
    world.write("gate", "{}");
    world.run(&["resume", "--interrupted"]).exits(0);
    assert_eq!(std::fs::read_to_string(world.path("a")).unwrap().lines().count(), 1, "a completed step is not repeated");
    let keys = std::fs::read_to_string(world.path("b")).unwrap();
    let keys: Vec<&str> = keys.lines().collect();
    assert_eq!((keys.len(), keys[0]), (2, keys[1]), "the step in flight runs again with the same key");
}

#[test]
fn an_http_step_stays_on_its_host() {
    let world = World::new();
    let payments = Payments::serve(&world);
    let file = |url: &str, hosts: &str| {
        format!("name: s\nallow_hosts: [{hosts}]\nsteps:\n  - {{name: a, http: {{url: \"{url}\", json: {{token: tok_ok}}}}}}\n")
    };
    world.write("s.yaml", &file("http://{{ context.host }}/charge", "\"example.invalid\""));
    let input = format!(r#"{{"host": "{}"}}"#, payments.address);
    let ran = world.run(&["start", "s.yaml", "--input", r#"{"host": "other.invalid"}"#]).exits(1);
    assert!(ran.json()["error"]["message"].as_str().unwrap().contains("allow_hosts"));
    world.write("s.yaml", &file("http://{{ context.host }}/charge", &format!("\"{}\"", payments.address)));
    world.run(&["start", "s.yaml", "--input", &input]).exits(0);
    world.write("s.yaml", &file("http://{{ context.host }}/charge", ""));
    world.run(&["start", "s.yaml", "--input", &input]).exits(2).says(&["s.yaml:4", "allow_hosts"]);
}

#[test]
fn a_charge_is_made_once_per_idempotency_key() {
    let world = World::new();
    let payments = Payments::serve(&world);
    example_order(&world, &payments.address);
    world.run(&["start", "order.yaml", "--input", "@good-token.json", "--id", "x"]).exits(0);
    let paid = world.run(&["time-travel", "x", "--at", "now", "--key", "payment_id"]).json()["value"].clone();
    let again = world.run(&["run", "x", "--from-step", "charge_payment", "--id", "y"]).exits(0).json();
    assert_eq!(again["context"]["payment_id"], paid, "the inherited key gives the payment that was made");
    let fresh = world.run(&["run", "x", "--from-step", "charge_payment", "--keys", "fresh", "--id", "z"]).exits(0).json();
    assert_ne!(fresh["context"]["payment_id"], paid);
}
