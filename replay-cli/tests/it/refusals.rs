//! What is refused says so with its exit code, planned or run, and nothing changes.

#![cfg(unix)]

use std::process::Stdio;

use serde_json::json;

use crate::support::*;

fn failed(world: &World) {
    world.write("f.yaml", "name: f\nsteps:\n  - {name: a, shell: 'true'}\n  - {name: b, shell: 'test -e go'}\n");
    world.run(&["start", "f.yaml", "--id", "x"]).exits(1);
}

#[test]
fn a_dry_run_that_is_refused_exits_as_the_run_would() {
    let world = World::new();
    failed(&world);
    world.write("newer.yaml", "name: f\nsteps:\n  - {name: a, shell: 'true'}\n  - {name: c, shell: 'true'}\n");
    world.write("list.json", "[{\"op\": \"replace\", \"path\": \"\", \"value\": [1]}]");
    world.run(&["run", "x", "--from-step", "b", "--replay-key", "k", "--id", "y"]).exits(1);
    let cases: [(&[&str], i32, &str); 5] = [
        (&["--from-step", "a", "--file", "newer.yaml"], 3, "refused"),
        (&["--from-step", "b", "--override-file", "list.json"], 2, "invalid"),
        (&["--from-step", "b", "--id", "x"], 7, "conflict"),
        (&["--from-step", "a", "--replay-key", "k"], 7, "conflict"),
        (&["--from-step", "nothing"], 2, ""),
    ];
    for (options, code, kind) in cases {
        let run = [&["run", "x"][..], options].concat();
        world.run(&run).exits(code);
        let planned = world.run(&[&run[..], &["--dry-run"]].concat()).exits(code);
        if !kind.is_empty() {
            assert_eq!(planned.json()["refusals"][0]["kind"], json!(kind), "{options:?}");
        }
    }
    assert_eq!(world.run(&["sagas", "-o", "ids"]).stdout, "y\nx\n");
}

#[test]
fn a_replay_key_that_a_running_replay_uses_is_a_conflict() {
    let world = World::new();
    let wait = format!("echo b >> at; {}", world.wait_for_gate());
    world.write("s.yaml", &format!("name: s\nsteps:\n  - {{name: a, shell: 'test -e go'}}\n  - {{name: b, shell: '{wait}'}}\n"));
    world.run(&["start", "s.yaml", "--id", "x"]).exits(1);
    world.write("go", "");
    let replay = ["run", "x", "--from-step", "a", "--replay-key", "k"];
    let child = world.command(&replay).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the replay runs", || world.path("at").exists());
    let other = world.run(&replay).exits(7).json();
    assert_eq!((&other["status"], &other["existing"]), (&json!("running"), &json!(true)));
    world.write("gate", "");
    let ran = Ran::from(child.wait_with_output().unwrap()).exits(0);
    assert_eq!(ran.json()["new_saga"], other["new_saga"]);
    assert_eq!(std::fs::read_to_string(world.path("at")).unwrap(), "b\n", "it ran once");
    let after = world.run(&replay).exits(0).json();
    assert_eq!(after["existing"], json!(true));
}
