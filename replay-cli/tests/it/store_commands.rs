//! What acts on stores: pruning, deleting, checking, moving, configuring.

use serde_json::json;

use crate::support::*;

#[test]
fn a_history_is_exported_and_imported_with_its_digests() {
    let world = World::new();
    world.one_step("x", "echo '{\"a\": 1}'").exits(0);
    let exported = world.run(&["export", "x"]).exits(0).stdout;
    world.run(&["export", "x", "--to", "x.jsonl"]).exits(0);
    assert_eq!(std::fs::read_to_string(world.path("x.jsonl")).unwrap(), exported);
    let other = format!("sqlite:{}", world.path("other.db").display());
    let there = |args: &[&str]| world.run(&[args, &["--storage-url", &other]].concat());
    there(&["import", "x.jsonl"]).exits(0).says(&["--trust-definition"]);
    there(&["verify-chain", "x"]).exits(0);
    there(&["run", "x", "--from-step", "only"]).exits(4).says(&["definition is not in the store", "--file"]);
    there(&["run", "x", "--from-step", "only", "--file", "one.yaml"]).exits(0);
    let other = format!("sqlite:{}", world.path("trusting.db").display());
    let there = |args: &[&str]| world.run(&[args, &["--storage-url", &other]].concat());
    there(&["import", "x.jsonl", "--trust-definition"]).exits(0);
    there(&["import", "x.jsonl", "--trust-definition"]).exits(0);
    assert_eq!(there(&["export", "x"]).exits(0).stdout, exported);
    there(&["verify-chain", "x"]).exits(0);
    there(&["run", "x", "--from-step", "only"]).exits(0);
    let edited = exported.replacen("\"digest\":\"", "\"digest\":\"0", 1).replacen("0\",", "\",", 1);
    assert_ne!(edited, exported);
    world.write("edited.jsonl", &edited);
    assert_ne!(there(&["import", "edited.jsonl"]).code, 0);
    world.write("broken.jsonl", "{\"schema\": \"replay.export.snapshot/v1\"}\n");
    there(&["import", "broken.jsonl"]).exits(2).says(&["broken.jsonl:1"]);
    let lines: Vec<&str> = exported.lines().collect();
    world.write("gap.jsonl", &[lines[0], lines[lines.len() - 1]].join("\n"));
    let fresh = format!("sqlite:{}", world.path("fresh.db").display());
    world.run(&["import", "gap.jsonl", "--storage-url", &fresh]).exits(7);
}

#[test]
fn a_diverging_history_is_refused() {
    let world = World::new();
    world.one_step("x", "true");
    world.run(&["export", "x", "--to", "x.jsonl"]).exits(0);
    let other = format!("sqlite:{}", world.path("other.db").display());
    world.run(&["start", "one.yaml", "--id", "x", "--storage-url", &other]).exits(0);
    world.run(&["import", "x.jsonl", "--storage-url", &other]).exits(7).says(&["another history"]);
}

#[test]
fn damage_in_the_store_is_found_with_exit_code_6() {
    let world = World::new();
    world.one_step("x", "echo '{\"canary\": \"untouched\"}'").exits(0);
    world.run(&["verify-chain", "--all"]).exits(0);
    let database = rusqlite::Connection::open(world.path("replay.db")).unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    database.close().unwrap();
    let mut bytes = std::fs::read(world.path("replay.db")).unwrap();
    let mut edited = 0;
    for at in 0..bytes.len() - 9 {
        if &bytes[at..at + 9] == b"untouched" {
            bytes[at..at + 9].copy_from_slice(b"tampered!");
            edited += 1;
        }
    }
    assert!(edited > 0, "the context is stored as text");
    std::fs::write(world.path("replay.db"), bytes).unwrap();
    let found = world.run(&["verify-chain", "x"]).exits(6).json();
    assert_eq!((&found["valid"], &found["chains"][0]["valid"]), (&json!(false), &json!(false)));
    world.run(&["verify-chain", "--all", "-o", "ids"]).exits(6);
    world.run(&["verify-chain", "nobody"]).exits(4);
}

#[test]
fn a_fork_whose_original_is_gone_or_replaced_is_valid() {
    let world = World::new();
    world.one_step("x", "true").exits(0);
    world.run(&["run", "x", "--from-step", "only", "--id", "y"]).exits(0);
    let origin = |world: &World| {
        let found = world.run(&["verify-chain", "y"]).exits(0).json();
        found["chains"][0]["origin"].as_str().unwrap().to_owned()
    };
    assert_eq!(origin(&world), "holds");
    world.run(&["delete", "x", "--yes"]).exits(0);
    assert_eq!(origin(&world), "not_here");
    world.run(&["start", "one.yaml", "--id", "x", "--set", "other=1"]).exits(0);
    assert_eq!(origin(&world), "not_here");
    world.run(&["verify-chain", "--all"]).exits(0);
}

#[test]
fn expired_snapshots_are_removed_and_counted_first() {
    let world = World::new();
    world.write("s.yaml", "name: s\nretention: 1ms\nsteps:\n  - {name: a, shell: \"true\"}\n  - {name: b, shell: \"true\"}\n");
    world.run(&["start", "s.yaml", "--id", "x"]).exits(0);
    let counted = world.run(&["gc", "--dry-run"]).exits(0).json();
    assert!(counted["records"].as_u64().unwrap() > 0, "{counted}");
    let removed = world.run(&["gc"]).exits(0).json();
    assert_eq!((&removed["records"], &removed["dry_run"]), (&counted["records"], &json!(false)));
    let kept = world.run(&["start", "s.yaml", "--id", "y", "--retention", "30d"]).exits(0).json();
    world.run(&["gc", "--keep", "1"]).exits(2).says(&["--yes"]);
    assert_eq!(world.run(&["gc", "--keep", "1", "--yes"]).exits(0).json()["records"], json!(kept["sequence"].as_u64().unwrap() - 1));
    world.run(&["gc", "--keep", "0"]).exits(2);
}

#[test]
fn deleting_needs_a_yes_where_nobody_can_be_asked() {
    let world = World::new();
    world.one_step("x", "true");
    world.run(&["delete", "x"]).exits(2).says(&["--yes"]);
    world.run(&["show", "x"]).exits(0);
    world.run(&["delete", "x", "--yes"]).exits(0);
    world.run(&["show", "x"]).exits(4);
    world.run(&["delete", "x", "--yes"]).exits(4);
}

#[test]
fn a_manual_snapshot_carries_its_name() {
    let world = World::new();
    world.one_step("x", "true");
    let captured = world.run(&["snapshot", "x", "--label", "before-audit"]).exits(0).json();
    let snapshot = world.run(&["show", &format!("x@{}", captured["sequence"])]).exits(0).json();
    assert_eq!((&snapshot["labels"]["snapshot"], &snapshot["phase"]), (&json!("before-audit"), &json!("manual")));
}

#[test]
fn namespaces_never_see_each_other() {
    let world = World::new();
    world.one_step("x", "true");
    assert_eq!(world.run(&["sagas", "--namespace", "a&b", "-o", "ids"]).exits(0).stdout, "");
    world.run(&["start", "one.yaml", "--id", "x", "--namespace", "a&b"]).exits(0);
    assert_eq!(world.run(&["sagas", "--namespace", "a&b", "-o", "ids"]).stdout, "x\n");
}

#[test]
fn settings_come_from_the_nearest_place_and_say_so() {
    let world = World::new();
    world.write("replay.toml", "storage_url = \"memory:\"\n[profiles.eu]\nstorage_url = \"sqlite:eu.db\"\nnamespace = \"eu\"\n");
    let show = |args: &[&str], env: bool| {
        let mut command = world.command(&[&["config", "show"], args].concat());
        if !env {
            command.env_remove("REPLAY_STORAGE_URL");
        }
        Ran::from(command.output().unwrap()).exits(0).json()["settings"][0].clone()
    };
    assert!(show(&["--storage-url", "sqlite:given.db"], true)["source"].as_str().unwrap().contains("--storage-url"));
    assert_eq!(show(&["--storage", "memory"], true)["source"], json!("--storage"));
    assert!(show(&[], true)["source"].as_str().unwrap().contains("REPLAY_STORAGE_URL"));
    assert_eq!(show(&[], false)["value"], json!("memory:"));
    let eu = show(&["--profile", "eu"], false);
    assert_eq!(eu["value"], json!(format!("sqlite:{}", world.path("eu.db").display())), "beside the file, not in the working folder");
    assert!(eu["source"].as_str().unwrap().contains("profiles.eu.storage_url"), "{eu}");
    world.run(&["config", "show", "--profile", "eus"]).exits(2).says(&["did you mean `eu`"]);
    world.write("replay.toml", "storage_ulr = \"memory:\"\n");
    world.run(&["config", "show"]).exits(2).says(&["replay.toml:1:1", "storage_url"]);
}

#[test]
fn each_kind_of_store_alone_means_its_usual_place() {
    let world = World::new();
    let shown = |kind: &str| world.run(&["config", "show", "--storage", kind]).exits(0).json()["settings"][0]["value"].clone();
    assert_eq!([shown("memory"), shown("redis"), shown("postgres")], ["memory:", "redis://127.0.0.1:6379", "postgres://"]);
    assert!(shown("sqlite").as_str().unwrap().ends_with("replay.db"));
    world.run(&["sagas", "--storage", "s3"]).exits(2).says(&["--storage-url s3://bucket"]);
    world.run(&["sagas", "--storage", "mysql"]).exits(2);
    // Nothing listens at this port.
    let mut command = world.command(&["sagas", "--storage", "postgres"]);
    let ran = Ran::from(command.env("PGHOST", "127.0.0.1").env("PGPORT", "1").output().unwrap());
    ran.exits(8).says(&["127.0.0.1:1", "--storage"]);
}

#[test]
fn without_any_setting_the_store_is_in_the_users_data_folder() {
    let world = World::new();
    world.write("one.yaml", "name: one\nsteps: [{name: a, shell: \"true\"}]\n");
    let ran = world.command(&["start", "one.yaml"]).env_remove("REPLAY_STORAGE_URL").output().unwrap();
    Ran::from(ran).exits(0);
    let found = [world.path("data/replay/replay.db"), world.path("Library/Application Support/replay/replay.db")];
    assert!(found.iter().any(|path| path.exists()));
}

#[test]
fn a_mistyped_path_is_an_error_that_names_it_and_makes_no_file() {
    let world = World::new();
    world.one_step("x", "true").exits(0);
    let url = format!("sqlite:{}", world.path("mistyped.db").display());
    let commands: [&[&str]; 18] = [
        &["sagas"],
        &["show", "x"],
        &["history", "x"],
        &["checkpoints", "x"],
        &["list-changes", "x"],
        &["time-travel", "x", "--at", "1h"],
        &["diff", "x", "--from", "1", "--to", "2"],
        &["verify-chain", "--all"],
        &["export", "x"],
        &["config", "doctor"],
        &["resume", "x"],
        &["resume", "--interrupted"],
        &["cancel", "x", "--reason", "y"],
        &["run", "x", "--from-step", "only", "--dry-run"],
        &["run", "--where", "name=one", "--yes"],
        &["snapshot", "x"],
        &["gc", "--dry-run"],
        &["delete", "x", "--yes"],
    ];
    for command in commands {
        world.run(&[command, &["--storage-url", &url]].concat()).exits(8).says(&["there is no database file", "mistyped.db"]);
        assert!(!world.path("mistyped.db").exists(), "{command:?}");
    }
    world.run(&["start", "one.yaml", "--id", "x", "--storage-url", &url]).exits(0);
    world.run(&["show", "x", "--storage-url", &url]).exits(0);
}

#[test]
fn the_store_by_default_is_made_when_it_is_first_looked_at() {
    let world = World::new();
    let ran: Ran = world.command(&["sagas", "-o", "ids"]).env_remove("REPLAY_STORAGE_URL").output().unwrap().into();
    assert_eq!(ran.exits(0).stdout, "");
}

#[test]
fn the_lifecycle_of_a_bucket_is_printed_without_asking_a_server() {
    let world = World::new();
    let printed = world.run(&["config", "lifecycle", "--storage-url", "s3://bucket/orders?region=eu-west-1"]).exits(0).stdout;
    let rules: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(rules["Rules"][0]["Filter"]["Prefix"], "orders/");
    world.run(&["config", "lifecycle"]).exits(2).says(&["s3://bucket"]);
}
