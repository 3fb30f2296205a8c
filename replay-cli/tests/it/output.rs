//! What is printed, in which form, and where.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::*;

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[track_caller]
fn has_keys(value: &Value, expected: &str) {
    assert_eq!(keys(value), expected.split(' ').collect::<BTreeSet<_>>());
}

const SNAPSHOT: &str = "saga_id sequence saga_name saga_version fingerprint phase status step_name step_index next_steps completed_steps \
                        compensated_steps context labels error external_refs created_at retention_until origin actor digest prev_digest";

#[test]
fn the_fields_of_json_are_stable() {
    let world = World::new();
    let run = world.one_step("a", "echo '{\"x\": 1}'").exits(0).json();
    has_keys(
        &run,
        "schema saga_id saga_name status interrupted sequence error steps uncompensated missing_captures context started_at duration_ms",
    );
    has_keys(&run["steps"][0], "name disposition attempts started_at duration_ms");
    assert_eq!(run["schema"], "replay.run/v1");
    let json = |args: &[&str]| world.run(args).exits(0).json();
    has_keys(&json(&["show", "a@1"]), &format!("schema {SNAPSHOT}"));
    has_keys(&json(&["show", "a"]), &format!("schema timeline {SNAPSHOT}"));
    has_keys(&json(&["time-travel", "a", "--at", "now"]), &format!("schema at {SNAPSHOT}"));
    let sagas = json(&["sagas"]);
    has_keys(&sagas, "schema next_cursor sagas");
    has_keys(
        &sagas["sagas"][0],
        "saga_id saga_name saga_version fingerprint status sequence step_name started_at updated_at labels error origin runner",
    );
    let changes = json(&["list-changes", "a"]);
    has_keys(&changes, "schema saga_id next_cursor changes");
    has_keys(&json(&["diff", "a", "--from", "1", "--to", "2"]), "schema from to completed no_longer_completed compensated context");
    has_keys(&json(&["checkpoints", "a"]), "schema saga_id checkpoints");
    let replay = json(&["run", "a", "--from-step", "only", "--id", "b"]);
    has_keys(
        &replay,
        "schema replay_id original new_saga status saga_status existing interrupted error plan steps context duration_ms warnings",
    );
    has_keys(&json(&["diff", "a", "b"]), "schema a b start first steps end");
    has_keys(&json(&["history", "a"]), "schema saga_id sagas");
    has_keys(&json(&["verify-chain", "a"]), "schema valid chains");
    has_keys(&json(&["gc", "--dry-run"]), "schema dry_run records bytes sagas more");
    has_keys(&json(&["config", "show"]), "schema settings");
    has_keys(&json(&["config", "doctor"]), "schema ok checks");
}

#[test]
fn every_form_is_printed() {
    let world = World::new();
    world.one_step("a", "true");
    world.one_step("b", "true");
    let form = |form: &str| world.run(&["sagas", "--output", form]).exits(0).stdout;
    assert_eq!(form("ids"), "b\na\n");
    let lines: Vec<Value> = form("jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["schema"], &lines[0]["saga_id"]), (2, &"replay.saga/v1".into(), &"b".into()));
    assert!(form("yaml").contains("schema: replay.sagas/v1"));
    assert!(form("text").lines().all(|line| line.split('\t').count() == 7));
    let table = form("table");
    assert!(table.starts_with("ID ") && table.contains("✔ completed"), "{table}");
    assert_eq!(world.run(&["sagas", "--format", "ids"]).stdout, "b\na\n", "--format is another word for --output");
}

#[test]
fn data_goes_to_standard_output_and_everything_else_to_standard_error() {
    let world = World::new();
    let ran = world.one_step("a", "echo noise >&2").exits(0);
    assert!(ran.json().is_object());
    assert!(ran.stderr.contains("only"), "the step is told: {}", ran.stderr);
    let quiet = world.run(&["start", "one.yaml", "--id", "q", "--quiet"]).exits(0);
    assert!(quiet.stderr.is_empty(), "{}", quiet.stderr);
    let error = world.run(&["show", "nobody"]).exits(4);
    assert!(error.stdout.is_empty() && !error.stderr.is_empty());
}

#[test]
fn colour_is_for_terminals_unless_it_is_asked_for() {
    let world = World::new();
    let plain = world.one_step("a", "true");
    assert!(!plain.stderr.contains('\u{1b}') && !plain.stdout.contains('\u{1b}'));
    let coloured = world.run(&["sagas", "-o", "table", "--color", "always"]).exits(0);
    assert!(coloured.stdout.contains("\u{1b}["));
    assert!(!world.run(&["show", "nobody", "-o", "table"]).stderr.contains('\u{1b}'));
}

#[test]
fn listings_are_paged_with_a_cursor() {
    let world = World::new();
    for n in 0..5 {
        world.one_step(&format!("s{n}"), "true");
    }
    let mut seen = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut args = vec!["sagas", "--limit", "2"];
        args.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor]));
        let page = world.run(&args).exits(0).json();
        seen.extend(page["sagas"].as_array().unwrap().iter().map(|saga| saga["saga_id"].as_str().unwrap().to_owned()));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["s4", "s3", "s2", "s1", "s0"]);
}

#[test]
fn completions_the_manual_and_the_schema_are_printed() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = world.run(&["completions", shell]).exits(0).stdout;
        assert!(script.contains("time-travel"), "{shell}");
    }
    let page = world.run(&["man"]).exits(0).stdout;
    assert!(page.starts_with(".ie") || page.contains(".TH replay"), "{page}");
    world.run(&["man", "--out", "man"]).exits(0);
    assert!(world.path("man/replay-time-travel.1").exists());
    let schema: Value = serde_json::from_str(&world.run(&["schema"]).exits(0).stdout).unwrap();
    assert_eq!(schema["title"], "replay saga file");
    let help = world.run(&["--help"]).exits(0).stdout;
    assert!(help.contains("Exit codes") && help.contains("replay demo"));
}

#[test]
#[cfg(unix)]
fn a_program_cannot_steer_the_terminal() {
    let world = World::new();
    let ran = world.one_step("x", r"printf '\033]0;title\007\033[2Jmessage' >&2; exit 1").exits(1);
    let shown = world.run(&["show", "x", "--output", "table"]).exits(0);
    let coloured = world.run(&["show", "x", "--output", "table", "--color", "always"]).exits(0);
    assert!(ran.stderr.contains(r"\u{1b}[2Jmessage"), "{}", ran.stderr);
    for text in [&ran.stderr, &shown.stdout] {
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    }
    assert!(shown.stdout.contains("message") && coloured.stdout.contains("message"), "{shown:?}");
    assert!(!coloured.stdout.contains("\u{1b}[2J") && !coloured.stdout.contains("\u{1b}]"), "{coloured:?}");
}

#[test]
fn resume_says_that_a_program_may_still_run() {
    let help = World::new().run(&["resume", "--help"]).exits(0).stdout;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("may still run") && help.contains("idempotency key"), "{help}");
}
