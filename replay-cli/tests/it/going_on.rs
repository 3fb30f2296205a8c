//! Going on with sagas that were interrupted.

#![cfg(unix)]

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
