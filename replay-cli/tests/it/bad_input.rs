//! Bad input gets a clear error with its exit code, and loses nothing.

use crate::support::*;

fn failed(world: &World) {
    world.write(
        "two.yaml",
        "name: two\nsteps:\n  - {name: reserve_inventory, shell: \"true\"}\n  - {name: charge_payment, shell: exit 1}\n",
    );
    world.run(&["start", "two.yaml", "--id", "order_123", "--set", "n=1"]).exits(1);
}

#[test]
fn an_unknown_saga_is_not_found_with_a_suggestion() {
    let world = World::new();
    failed(&world);
    for command in
        [vec!["show", "order_132"], vec!["resume", "order_132"], vec!["run", "order_132", "--from-step", "x"], vec!["history", "order_132"]]
    {
        world.run(&command).exits(4).says(&["did you mean `order_123`"]);
    }
    world.run(&["show", "order_123@99"]).exits(4).says(&["no snapshot 99"]);
}

#[test]
fn an_unknown_step_is_a_usage_error_with_a_suggestion() {
    let world = World::new();
    failed(&world);
    world.run(&["run", "order_123", "--from-step", "charge_paymnet"]).exits(2).says(&["did you mean `charge_payment`"]);
}

#[test]
fn a_malformed_override_runs_nothing() {
    let world = World::new();
    failed(&world);
    world.run(&["run", "order_123", "--from-step", "charge_payment", "--override", "novalue"]).exits(2).says(&["no `=`", "key=value"]);
    world.run(&["run", "order_123", "--override", "n.deep=1"]).exits(2);
    world.write("bad.json", "{\"a\": }");
    world.run(&["run", "order_123", "--override-file", "bad.json"]).exits(2).says(&["bad.json:1:7"]);
    assert_eq!(world.run(&["sagas", "-o", "ids"]).stdout, "order_123\n");
}

#[test]
fn a_context_of_the_wrong_type_is_refused() {
    let world = World::new();
    failed(&world);
    world.write("list.json", "[{\"op\": \"replace\", \"path\": \"\", \"value\": [1]}]");
    world.run(&["run", "order_123", "--from-step", "charge_payment", "--override-file", "list.json"]).exits(2).says(&["does not fit"]);
    world.run(&["start", "two.yaml", "--input", "[1]"]).exits(2).says(&["not a JSON object"]);
    world.run(&["start", "two.yaml", "--input", "{\"a\": "]).exits(2).says(&["not JSON"]);
    world.run(&["start", "two.yaml", "--input", "@missing.json"]).exits(2).says(&["missing.json cannot be read"]);
    assert_eq!(world.run(&["sagas", "-o", "ids"]).stdout, "order_123\n");
}

#[test]
fn broken_yaml_names_file_line_and_column() {
    let world = World::new();
    world.write("broken.yaml", "name: x\nsteps:\n  - name: a\n    comand: [x]\n");
    world.run(&["start", "broken.yaml"]).exits(2).says(&["broken.yaml:4:5", "did you mean `command`"]);
    world.write("broken.yaml", "name: x\nsteps: [\n");
    world.run(&["start", "broken.yaml"]).exits(2).says(&["broken.yaml:"]);
    world.run(&["start", "missing.yaml"]).exits(2).says(&["missing.yaml cannot be read"]);
    world.run(&["start", "no_such_saga"]).exits(4).says(&["neither a file nor a saga"]);
}

#[test]
fn a_missing_command_is_found_before_anything_runs() {
    let world = World::new();
    world.write("missing.yaml", "name: x\nsteps:\n  - {name: a, shell: touch ran}\n  - {name: b, command: [./nothing.sh]}\n");
    world.run(&["start", "missing.yaml"]).exits(2).says(&["./nothing.sh", "step `b`"]);
    world.write("missing.yaml", "name: x\nsteps:\n  - {name: b, command: [no-such-program-anywhere]}\n");
    world.run(&["start", "missing.yaml"]).exits(2).says(&["no-such-program-anywhere", "PATH"]);
    assert!(!world.path("ran").exists());
    assert!(world.run(&["sagas", "-o", "ids"]).stdout.is_empty());
}

#[test]
fn output_that_is_no_object_fails_the_step_by_name() {
    for (shell, expected) in
        [("echo '[1]'", "printed an array"), ("echo hello", "did not print a JSON object"), ("echo '{\"a\": 1} x'", "did not print")]
    {
        let world = World::new();
        let ran = world.one_step("x", shell).exits(1);
        let error = ran.json()["error"].clone();
        assert_eq!(error["step"], "only");
        assert!(error["message"].as_str().unwrap().contains(expected), "{error}");
        world.run(&["show", "x"]).exits(0);
    }
}

#[test]
fn a_store_url_with_a_typo_names_what_there_is() {
    let world = World::new();
    world.run(&["sagas", "--storage-url", "sqllite:x.db"]).exits(2).says(&["did you mean `sqlite:`"]);
    world.run(&["sagas", "--storage-url", "sqlite:x.db?durabilty=full"]).exits(2).says(&["durability"]);
    world.run(&["sagas", "--storage-url", "x.db"]).exits(2).says(&["no scheme"]);
}

#[test]
fn a_store_that_cannot_be_used_is_a_clear_error() {
    let world = World::new();
    world.write("replay.db", "this is no database, whatever its name says; it is longer than a header of one hundred bytes would be, too");
    world.run(&["sagas"]).exits(2).says(&["not a SQLite database", "nothing was changed"]);
    let doctor = world.run(&["config", "doctor"]).exits(2).json();
    assert_eq!((&doctor["ok"], &doctor["checks"][1]["ok"]), (&false.into(), &false.into()));
    world.run(&["sagas", "--storage-url", "sqlite:/no/such/folder/x.db"]).exits(8).says(&["config doctor"]);
}

#[test]
fn a_typo_on_the_command_line_gets_a_suggestion() {
    let world = World::new();
    world.run(&["strat", "x.yaml"]).exits(2).says(&["start"]);
    world.run(&["sagas", "--status", "compleated"]).exits(2).says(&["completed"]);
    world.run(&["run"]).exits(2);
    world.run(&["run", "--where", "stauts=failed"]).exits(2).says(&["did you mean `status`"]);
    world.run(&["run", "--where", ","]).exits(2).says(&["empty"]);
    world.one_step("fine", "true").exits(0);
    world.run(&["run", "--where", "name=one", "--yes"]).exits(0).says(&["no saga matches"]);
    world.run(&["run", "--where", "status=completed", "--yes"]).exits(2).says(&["did not fail", "--from-step"]);
}

#[test]
fn an_id_that_is_in_use_is_a_conflict_and_the_same_start_is_not() {
    let world = World::new();
    failed(&world);
    world.run(&["start", "two.yaml", "--id", "order_123", "--set", "n=2"]).exits(7).says(&["in use"]);
    let same = world.run(&["start", "two.yaml", "--id", "order_123", "--set", "n=1"]).exits(1).json();
    assert_eq!(same["steps"].as_array().unwrap().len(), 0, "its result is given, and nothing runs");
}

#[test]
fn a_saga_that_has_ended_is_not_resumed() {
    let world = World::new();
    failed(&world);
    world.run(&["resume", "order_123"]).exits(3).says(&["has ended", "replay show order_123"]);
    world.run(&["cancel", "order_123", "--reason", "x"]).exits(3);
}
