//! The main job: an order whose charge fails, and its replay with a corrected token.

use serde_json::json;

use crate::support::*;

fn failed_order(world: &World, payments: &Payments) -> Ran {
    example_order(world, &payments.address);
    world.run(&["start", "order.yaml", "--input", "@expired-token.json", "--id", "order_123"])
}

#[test]
fn an_order_whose_charge_fails_is_rolled_back_and_replayed_with_a_corrected_token() {
    let world = World::new();
    let payments = Payments::serve(&world);
    let failed = failed_order(&world, &payments).exits(1);
    assert_eq!((&failed.json()["status"], &failed.json()["error"]["step"]), (&json!("rolled_back"), &json!("charge_payment")));
    let before = world.run(&["export", "order_123"]).exits(0).stdout;

    let args = ["run", "order_123", "--from-step", "charge_payment", "--override", "payment_token=tok_ok"];
    let plan = world.run(&[&args[..], &["--dry-run"]].concat()).exits(0).json();
    let planned: Vec<_> = plan["steps"].as_array().unwrap().iter().map(|step| (step["name"].clone(), step["action"].clone())).collect();
    assert_eq!(
        json!(planned),
        json!([["reserve_inventory", "run_again"], ["charge_payment", "run"], ["ship_order", "run"]]),
        "the reservation that the rollback released is made again"
    );
    assert_eq!(world.run(&["sagas", "-o", "ids"]).stdout, "order_123\n", "a dry run makes no saga");

    let replayed = world.run(&[&args[..], &["--id", "again", "--reason", "token renewed"]].concat()).exits(0).json();
    assert_eq!((&replayed["saga_status"], &replayed["new_saga"]), (&json!("completed"), &json!("again")));
    assert!(replayed["context"]["payment_id"].as_str().unwrap().starts_with("pay_"));
    assert_eq!(replayed["context"]["released"], json!(false));
    assert_eq!(world.run(&["export", "order_123"]).stdout, before, "the original is what it was");

    let lineage = world.run(&["history", "again"]).exits(0).json();
    assert_eq!(lineage["sagas"][1]["origin"]["saga_id"], json!("order_123"));
    let tree = world.run(&["history", "again", "-o", "table"]).stdout;
    assert!(tree.contains("└─ again") && tree.contains("token renewed") && tree.contains("tester"), "{tree}");
    assert!(!tree.contains("tok_ok"), "a token in an override is redacted");
    world.run(&["verify-chain", "--all"]).exits(0);
}

#[test]
fn the_state_between_two_steps_is_shown() {
    let world = World::new();
    let payments = Payments::serve(&world);
    failed_order(&world, &payments);
    let changes = world.run(&["list-changes", "order_123"]).exits(0).json();
    let at = changes["changes"][1]["created_at"].as_str().unwrap().to_owned();
    let state = world.run(&["time-travel", "order_123", "--at", &at]).exits(0).json();
    assert_eq!(state["completed_steps"], json!(["reserve_inventory"]));
    assert!(state["context"]["reservation"].as_str().unwrap().starts_with("res-rk1_"));
    let key = world.run(&["time-travel", "order_123", "--at", &at, "--key", "released"]).exits(0).json();
    assert_eq!((&key["found"], &key["value"]), (&json!(true), &json!(false)));
    let missing = world.run(&["time-travel", "order_123", "--at", &at, "--key", "/nothing/here"]).exits(0).json();
    assert_eq!((&missing["found"], &missing["value"]), (&json!(false), &json!(null)));
    world.run(&["time-travel", "order_123", "--at", "2020-01-01"]).exits(4).says(&["no time zone; taken as 2020-01-01", "oldest snapshot"]);
}

#[test]
fn a_replay_that_is_forced_to_fail_compensates_what_was_skipped_too() {
    let world = World::new();
    let payments = Payments::serve(&world);
    example_order(&world, &payments.address);
    world.run(&["start", "order.yaml", "--input", "@good-token.json", "--id", "good"]).exits(0);
    let args = ["run", "good", "--from-step", "charge_payment", "--force-failure", "--id", "rehearsal", "--keys", "fresh"];
    let rehearsed = world.run(&args).exits(1).json();
    assert_eq!(rehearsed["saga_status"], json!("rolled_back"));
    assert_eq!(rehearsed["context"]["released"], json!(true));
}

#[test]
fn many_orders_are_replayed_in_one_command_and_each_only_once() {
    let world = World::new();
    let payments = Payments::serve(&world);
    example_order(&world, &payments.address);
    for n in 0..5 {
        world.run(&["start", "order.yaml", "--input", "@expired-token.json", "--id", &format!("order_{n}")]).exits(1);
    }
    let filter = "status=rolled_back,step=charge_payment,since=1h";
    let args = ["run", "--where", filter, "--override", "payment_token=tok_ok", "--replay-key", "outage"];
    let refused = world.run(&args).exits(2);
    refused.says(&["5 sagas to be replayed", "nobody to ask", "--yes"]);
    let plan = world.run(&[&args[..], &["--dry-run"]].concat()).exits(0).json();
    assert_eq!((&plan["dry_run"], plan["replays"].as_array().unwrap().len()), (&json!(true), 5));
    let args = [&args[..], &["--yes"]].concat();
    let first = world.run(&args).exits(0).json();
    assert_eq!((&first["replayed"], &first["failed"]), (&json!(5), &json!(0)));
    let again = world.run(&args).exits(0).json();
    assert!(again["replays"].as_array().unwrap().iter().all(|replay| replay["existing"] == json!(true)), "{again}");
    assert_eq!(world.run(&["sagas", "-o", "ids", "--status", "completed"]).stdout.lines().count(), 5);
}

#[test]
fn a_newer_definition_is_refused_unless_allowed_and_then_recorded() {
    let world = World::new();
    world.write("v1.yaml", "name: s\nsteps:\n  - {name: a, shell: \"true\"}\n  - {name: b, shell: exit 1}\n");
    world.run(&["start", "v1.yaml", "--id", "s1"]).exits(1);
    world.write(
        "v2.yaml",
        "name: s\nsteps:\n  - {name: a, shell: \"true\"}\n  - {name: b, shell: \"true\"}\n  - {name: c, shell: exit 3}\n",
    );
    let args = ["run", "s1", "--from-step", "b", "--file", "v2.yaml", "--id", "s2"];
    world.run(&args).exits(3).says(&["definition has changed", "added=c"]);
    let replayed = world.run(&[&args[..], &["--allow-definition-change"]].concat()).exits(1).json();
    assert_eq!(replayed["error"]["step"], json!("c"));
    let again = world.run(&["run", "s2", "--from-step", "c", "--force-failure", "--id", "s3"]).exits(1).json();
    assert_eq!(again["error"]["kind"], json!("forced"), "the newer definition is found without a file");
}
