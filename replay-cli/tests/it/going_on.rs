//! Going on with sagas that were interrupted.

#![cfg(unix)]

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::json;

use crate::support::*;

/// A definition whose step `b` kills the command as long as there is no file `go`.
const DIES: &str =
    "name: s\nsteps:\n  - {name: a, shell: 'echo a >> ran'}\n  - {name: b, shell: 'echo b >> ran; test -e go || kill -9 $PPID'}\n";

#[test]
fn the_replay_log_says_how_a_resumed_replay_ended() {
    for which in ["x2", "--interrupted"] {
        let world = World::new();
        world.write("s.yaml", DIES);
        world.write("go", "");
        world.run(&["start", "s.yaml", "--id", "x"]).exits(0);
        std::fs::remove_file(world.path("go")).unwrap();
        world.run(&["run", "x", "--from-step", "b", "--id", "x2"]).exits(-1);
        world.write("go", "");
        world.run(&["resume", which]).exits(0);
        // What the log itself says is seen once the new saga no longer tells.
        world.run(&["delete", "x2", "--yes"]).exits(0);
        let history = world.run(&["history", "x"]).exits(0).json();
        assert!(history.to_string().contains("\"success\""), "{history}");
    }
}

#[test]
fn a_newer_definition_that_a_saga_goes_on_with_is_recorded() {
    let world = World::new();
    world.write("s.yaml", DIES);
    world.run(&["start", "s.yaml", "--id", "x"]).exits(-1);
    let newer = "name: s\nsteps:\n  - {name: a, shell: 'false'}\n  - {name: b, shell: 'true'}\n  - {name: c, shell: 'exit 3'}\n";
    world.write("newer.yaml", newer);
    let resumed = world.run(&["resume", "x", "--file", "newer.yaml", "--allow-definition-change"]).exits(1).json();
    assert_eq!(resumed["error"]["step"], json!("c"));
    let again = world.run(&["run", "x", "--from-step", "c", "--id", "y"]).exits(1).json();
    assert_eq!(again["error"]["step"], json!("c"), "the newer definition is found without its file");
}

fn failed(world: &World, id: &str) {
    world.write("f.yaml", "name: f\nsteps:\n  - {name: a, shell: 'true'}\n  - {name: b, shell: 'test -e go'}\n");
    world.run(&["start", "f.yaml", "--id", id]).exits(1);
}

#[test]
fn a_batch_leaves_out_what_has_not_failed_unless_it_is_named() {
    let world = World::new();
    failed(&world, "f1");
    world.write("go", "");
    world.run(&["start", "f.yaml", "--id", "ok"]).exits(0);
    let plan = world.run(&["run", "--where", "name=f", "--from-step", "b", "--dry-run"]).exits(0).json();
    assert_eq!((plan["replays"].as_array().unwrap().len(), &plan["replays"][0]["original"]), (1, &json!("f1")));
    assert_eq!(plan["left_out"], json!([{"reason": "completed", "count": 1}]));
    let table = world.run(&["run", "--where", "name=f", "--from-step", "b", "--dry-run", "-o", "table"]).exits(0);
    assert!(table.stdout.contains("1 could be replayed, 0 failed; left out: 1 completed"), "{}", table.stdout);
    let none = world.run(&["run", "--where", "name=f,id-prefix=ok", "--dry-run", "-o", "table"]).exits(0);
    assert!(none.stdout.contains("nothing was replayed; left out: 1 completed"), "{}", none.stdout);
    world.run(&["run", "--where", "name=f,status=completed", "--yes"]).exits(2).says(&["--from-step"]);
    let named = world.run(&["run", "--where", "name=f,status=completed", "--from-step", "b", "--dry-run"]).exits(0).json();
    assert_eq!(named["replays"][0]["original"], json!("ok"));
    assert_eq!(world.run(&["sagas", "-o", "ids"]).stdout.lines().count(), 2);
}

#[test]
fn a_batch_that_is_run_again_does_not_count_its_own_sagas() {
    let world = World::new();
    failed(&world, "f1");
    failed(&world, "f2");
    let batch = ["run", "--where", "name=f", "--from-step", "b", "--limit", "2", "--replay-key", "k", "--yes"];
    let originals = |ran: Ran| {
        let replays = ran.json()["replays"].clone();
        let mut ids: Vec<String> = replays.as_array().unwrap().iter().map(|one| one["original"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(originals(world.run(&batch).exits(1)), ["f1", "f2"]);
    let again = world.run(&batch).exits(1);
    assert_eq!(again.json()["left_out"], json!([{"reason": "made_by_this_batch", "count": 2}]));
    assert_eq!(originals(again), ["f1", "f2"]);
    let first = world.run(&["run", "--where", "name=f,id-prefix=f", "--from-step", "b", "--limit", "1", "--dry-run"]).json();
    assert_eq!(first["left_out"], json!([{"reason": "over_limit", "count": 1}]));
    assert_eq!(world.run(&["sagas", "-o", "ids"]).stdout.lines().count(), 4);
}

#[test]
fn ctrl_c_lets_the_replays_of_a_batch_stop_at_a_boundary() {
    let world = World::new();
    let wait = world.wait_for_gate();
    let steps = format!(
        "  - {{name: a, shell: 'test -e on'}}\n  - {{name: b, shell: '{wait}; echo b >> ran'}}\n  - {{name: c, shell: 'echo c >> ran'}}\n"
    );
    world.write("s.yaml", &format!("name: s\nsteps:\n{steps}"));
    for id in ["x1", "x2", "x3"] {
        world.run(&["start", "s.yaml", "--id", id]).exits(1);
    }
    world.write("on", "");
    let args = ["run", "--where", "name=s,step=a", "--concurrency", "2", "--replay-key", "k", "--yes"];
    let mut child = world.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("3 sagas to be replayed")));
    until("two replays are at b", || world.run(&["sagas", "--step", "b", "-o", "ids"]).stdout.lines().count() == 2);
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(lines.any(|line| line.unwrap().contains("Ctrl-C again")));
    world.write("gate", "");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(rest.iter().any(|line| line.contains("go on with --replay-key k")), "{rest:?}");
    let report = ran.json();
    assert_eq!((&report["replay_key"], &report["left"], &report["failed"]), (&json!("k"), &json!(3), &json!(0)));
    let interrupted: Vec<bool> = report["replays"].as_array().unwrap().iter().map(|one| one["interrupted"] == json!(true)).collect();
    assert_eq!(interrupted, [true, true], "{report}");
    assert_eq!(std::fs::read_to_string(world.path("ran")).unwrap(), "b\nb\n", "steps that ran were not dropped");
    world.run(&args).exits(0);
    let ran = std::fs::read_to_string(world.path("ran")).unwrap();
    assert_eq!((ran.matches('b').count(), ran.matches('c').count()), (3, 3), "each step ran once for each saga");
}

/// Three sagas that fail at `a`; once there is a file `on` their replays come to `b`, where the one with this number waits for a file `gate`.
fn three_of_which_waits(world: &World, number: u32) {
    let wait = world.wait_for_gate();
    let b = format!("echo b >> ran; case $(wc -l < ran) in *{number}) {wait};; esac");
    world.write("s.yaml", &format!("name: s\nsteps:\n  - {{name: a, shell: 'test -e on'}}\n  - {{name: b, shell: '{b}'}}\n"));
    for id in ["x1", "x2", "x3"] {
        world.run(&["start", "s.yaml", "--id", id]).exits(1);
    }
    world.write("on", "");
}

fn ran(world: &World) -> usize {
    std::fs::read_to_string(world.path("ran")).map_or(0, |ran| ran.lines().count())
}

#[test]
fn a_quiet_batch_that_is_stopped_at_once_tells_its_key_and_what_it_has_done() {
    let world = World::new();
    three_of_which_waits(&world, 2);
    let batch = ["run", "--where", "name=s,step=a", "--concurrency", "1", "--yes", "--quiet"];
    let mut child = world.command(&batch).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the second replay is at b", || ran(&world) == 2);
    // Two signals at once may be taken for one, so there may have to be more.
    until("it is stopped at once", || {
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
        child.try_wait().unwrap().is_some()
    });
    let stopped = Ran::from(child.wait_with_output().unwrap()).exits(130);
    let report = stopped.json();
    let key = report["replay_key"].as_str().unwrap();
    assert!(stopped.stderr.starts_with("error: ") && stopped.stderr.contains(&format!("go on with --replay-key {key}")), "{stopped:?}");
    assert_eq!((&report["replayed"], &report["failed"], &report["left"]), (&json!(1), &json!(0), &json!(2)));
    let rest = world.run(&[&batch[..], &["--replay-key", key]].concat()).exits(0).json();
    assert_eq!((&rest["replayed"], &rest["left"], &rest["replay_key"]), (&json!(3), &json!(0), &json!(key)));
    assert_eq!(world.run(&["sagas", "-o", "ids"]).stdout.lines().count(), 6, "each saga was replayed once");
}

#[test]
fn a_batch_that_has_nothing_left_when_it_is_interrupted_exits_as_it_would() {
    let world = World::new();
    three_of_which_waits(&world, 1);
    let batch = ["run", "--where", "name=s,id-prefix=x1", "--yes"];
    let mut child = world.command(&batch).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the replay is at b", || ran(&world) == 1);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    assert!(lines.any(|line| line.unwrap().contains("Ctrl-C again")));
    world.write("gate", "");
    lines.for_each(|line| drop(line.unwrap()));
    let report = Ran::from(child.wait_with_output().unwrap()).exits(0).json();
    assert_eq!((&report["replayed"], &report["left"]), (&json!(1), &json!(0)));
}
