//! Copying sagas from one store to another.

use serde_json::json;

use crate::support::*;

#[test]
fn sagas_are_copied_with_their_definitions_and_logs_and_copying_again_finds_them_there() {
    let world = World::new();
    world.one_step("x", "true").exits(0);
    world.one_step("y", "exit 1");
    world.run(&["run", "x", "--from-step", "only", "--id", "z"]).exits(0);
    let other = format!("sqlite:{}", world.path("other.db").display());
    let copy = |args: &[&str]| world.run(&[&["copy", &world.url(), &other], args].concat());
    let there = |args: &[&str]| world.run(&[args, &["--storage-url", &other]].concat());
    let dry = copy(&["--dry-run"]).exits(0).json();
    assert_eq!((&dry["schema"], &dry["copied"], &dry["dry_run"]), (&json!("replay.copy/v1"), &json!(3), &json!(true)));
    assert!(!world.path("other.db").exists(), "a dry run makes no store");
    let some = copy(&["--where", "status=completed", "--verify"]).exits(0).json();
    assert_eq!((&some["copied"], &some["log_entries"]), (&json!(2), &json!(2)));
    assert_eq!(some["verified"], some["records"]);
    let rest = copy(&[]).exits(0).json();
    assert_eq!((&rest["copied"], &rest["unchanged"]), (&json!(1), &json!(2)));
    for args in [&["sagas"][..], &["export", "x"], &["export", "y"], &["history", "x"], &["show", "z"]] {
        assert_eq!(there(args).exits(0).stdout, world.run(args).exits(0).stdout, "{args:?}");
    }
    there(&["run", "y", "--from-step", "only", "--id", "again"]).exits(1);
    there(&["verify-chain", "--all"]).exits(0);
}

#[test]
fn a_copy_overwrites_no_other_history_and_says_where_they_part() {
    let world = World::new();
    world.one_step("x", "true").exits(0);
    world.one_step("y", "true").exits(0);
    let other = format!("sqlite:{}", world.path("other.db").display());
    world.run(&["start", "one.yaml", "--id", "x", "--storage-url", &other]).exits(0);
    let before = world.run(&["export", "x", "--storage-url", &other]).stdout;
    let ran = world.run(&["copy", &world.url(), &other]).exits(7).says(&["x", "snapshot 1 differs"]);
    let report = ran.json();
    assert_eq!((&report["copied"], &report["refused"]), (&json!(1), &json!(1)));
    assert_eq!((&report["refusals"][0]["saga_id"], &report["refusals"][0]["sequence"]), (&json!("x"), &json!(1)));
    assert_eq!(world.run(&["export", "x", "--storage-url", &other]).stdout, before);
}

#[test]
fn a_copy_onto_itself_and_a_store_that_is_none_are_refused() {
    let world = World::new();
    world.one_step("x", "true").exits(0);
    world.run(&["copy", &world.url(), &world.url()]).exits(2).says(&["same store"]);
    world.run(&["copy", &world.url(), "sqlitee:x.db"]).exits(2).says(&["sqlite:"]);
    world.run(&["copy", &world.url(), "memory:", "--where", "stat=failed"]).exits(2).says(&["status"]);
    world.run(&["delete", "x", "--yes"]).exits(0);
    world.run(&["copy", &world.url(), "memory:"]).exits(0).says(&["no saga"]);
}

#[test]
fn a_copy_from_a_mistyped_path_is_an_error_and_makes_no_store() {
    let world = World::new();
    world.one_step("x", "true").exits(0);
    let (mistyped, other) =
        (format!("sqlite:{}", world.path("mistyped.db").display()), format!("sqlite:{}", world.path("other.db").display()));
    for options in [&[][..], &["--dry-run"]] {
        let copy = [&["copy", &mistyped, &other][..], options].concat();
        world.run(&copy).exits(8).says(&["there is no database file", "mistyped.db", "store=FROM"]);
    }
    let nowhere = format!("sqlite:{}", world.path("missing/other.db").display());
    world.run(&["copy", &world.url(), &nowhere, "--dry-run"]).exits(8).says(&["does not exist", "store=TO"]);
    assert!(!world.path("mistyped.db").exists() && !world.path("other.db").exists());
}

#[test]
fn a_dry_run_into_a_store_that_is_there_counts_what_it_has() {
    let world = World::new();
    world.one_step("x", "true").exits(0);
    let other = format!("sqlite:{}", world.path("other.db").display());
    let copy = |args: &[&str]| world.run(&[&["copy", &world.url(), &other], args].concat());
    copy(&["--dry-run"]).exits(0).says(&["TO is not there yet"]);
    copy(&[]).exits(0);
    let dry = copy(&["--dry-run"]).exits(0).json();
    assert_eq!((&dry["copied"], &dry["unchanged"]), (&json!(0), &json!(1)));
}

#[test]
fn stores_are_named_by_profiles_and_files_so_that_passwords_stay_off_the_command_line() {
    let world = World::new();
    world.one_step("x", "true").exits(0);
    world.write(
        "replay.toml",
        "[profiles.old]\nstorage_url = \"sqlite:replay.db\"\n[profiles.eu]\nstorage_url = \"sqlite:eu.db\"\nnamespace = \"eu\"\n[profiles.none]\n",
    );
    assert_eq!(world.run(&["copy", "old", "eu"]).exits(0).json()["copied"], json!(1));
    let eu = |namespace: &str| {
        let url = format!("sqlite:{}", world.path("eu.db").display());
        world.run(&["sagas", "-o", "ids", "--storage-url", &url, "--namespace", namespace]).exits(0).stdout
    };
    assert_eq!((eu("eu").as_str(), eu("default").as_str()), ("x\n", ""), "a profile has its namespace");
    world.write("archive.url", "sqlite:archive.db\n");
    assert_eq!(world.run(&["copy", "eu", "@archive.url"]).exits(0).json()["copied"], json!(1));
    assert!(world.path("archive.db").exists());
    world.run(&["copy", "old", "eus"]).exits(2).says(&["did you mean `eu`", "store=TO"]);
    world.run(&["copy", "none", "eu"]).exits(2).says(&["names no store", "store=FROM"]);
    world.run(&["copy", "old", "@nothing.url"]).exits(2).says(&["nothing.url cannot be read"]);
    // Nothing listens at this port.
    world.write("redis.url", "redis://:hunter2@127.0.0.1:1/?retry_ms=1\n");
    world.write("wrong.url", "hunter2 hunter2\n");
    for (file, code) in [("@redis.url", 8), ("@wrong.url", 2)] {
        let ran = world.run(&["copy", file, "old"]).exits(code).says(&["store=FROM"]);
        assert!(!ran.stderr.contains("hunter2") && !ran.stdout.contains("hunter2"), "{ran:?}");
    }
}
