//! The whole story on each store behind a network, by its URL alone, and what a wrong URL is answered with.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use replay_services::{Service, postgres, redis, required_url, tls};
use serde_json::json;

use crate::support::*;

/// Whether the backend of `service` is under test: `cargo xtask test --only` may leave it out, and says so.
fn is_under_test(service: Service) -> bool {
    let backend = service.backend();
    std::env::var("REPLAY_TEST_ONLY").map_or(true, |only| only.split(',').any(|name| name.trim() == backend))
}

fn with(url: &str, option: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{option}")
}

/// A namespace of the test's own on the shared server.
fn own(url: &str) -> String {
    with(url, &format!("namespace=cli-{}-{:012x}", std::process::id(), fastrand::u64(..1 << 48)))
}

/// From the order that fails to its deletion: every command that works on a store.
fn story(service: Service) {
    if !is_under_test(service) {
        return;
    }
    let shared = required_url(service.variable());
    let world = World::at(&own(&shared));
    let payments = Payments::serve(&world);
    example_order(&world, &payments.address);
    let failed = world.run(&["start", "order.yaml", "--input", "@expired-token.json", "--id", "order_123"]).exits(1).json();
    assert_eq!((&failed["status"], &failed["error"]["step"]), (&json!("rolled_back"), &json!("charge_payment")));
    let replay = ["run", "order_123", "--from-step", "charge_payment", "--override", "payment_token=tok_ok", "--id", "again"];
    world.run(&[&replay[..], &["--dry-run"]].concat()).exits(0);
    let replayed = world.run(&[&replay[..], &["--reason", "token renewed"]].concat()).exits(0).json();
    assert_eq!((&replayed["saga_status"], &replayed["new_saga"]), (&json!("completed"), &json!("again")));

    looks(&world);
    moves(&world, &own(&shared));
    world.run(&["gc", "--dry-run"]).exits(0);
    let kept = world.run(&["gc", "--keep", "1", "--yes"]).exits(0).json();
    assert!(kept["records"].as_u64().unwrap() > 0, "{kept}");
    world.run(&["verify-chain", "--all"]).exits(0);
    for id in ["order_123", "again"] {
        world.run(&["delete", id, "--yes"]).exits(0);
        world.run(&["show", id]).exits(4);
    }
    assert_eq!(world.run(&["sagas", "-o", "ids"]).exits(0).stdout, "");
}

fn looks(world: &World) {
    let changes = world.run(&["list-changes", "order_123"]).exits(0).json();
    let at = changes["changes"][1]["created_at"].as_str().unwrap().to_owned();
    let state = world.run(&["time-travel", "order_123", "--at", &at]).exits(0).json();
    assert_eq!(state["completed_steps"], json!(["reserve_inventory"]));
    let difference = world.run(&["diff", "order_123", "--from", "1", "--to", "2"]).exits(0).stdout;
    assert!(difference.contains("/reservation"), "{difference}");
    let runs = world.run(&["diff", "order_123", "again"]).exits(0).stdout;
    assert!(runs.contains("payment_id"), "{runs}");
    let lineage = world.run(&["history", "again"]).exits(0).json();
    assert_eq!(lineage["sagas"][1]["origin"]["saga_id"], json!("order_123"));
    let listed = world.run(&["sagas", "--status", "rolled_back", "-o", "ids"]).exits(0).stdout;
    assert_eq!(listed, "order_123\n");
    world.run(&["checkpoints", "order_123"]).exits(0);
    world.run(&["snapshot", "again", "--label", "seen"]).exits(0);
    world.run(&["verify-chain", "--all"]).exits(0);
    world.run(&["config", "doctor"]).exits(0);
}

/// Exports a history and imports it elsewhere on the same server.
fn moves(world: &World, elsewhere: &str) {
    world.run(&["export", "again", "--to", "again.jsonl"]).exits(0);
    let there = |args: &[&str]| world.run(&[args, &["--storage-url", elsewhere]].concat());
    there(&["import", "again.jsonl", "--trust-definition"]).exits(0);
    there(&["verify-chain", "again"]).exits(0);
    assert_eq!(there(&["export", "again"]).exits(0).stdout, std::fs::read_to_string(world.path("again.jsonl")).unwrap());
    there(&["delete", "again", "--yes"]).exits(0);
}

#[test]
fn the_whole_story_on_redis() {
    story(Service::Redis);
}

#[test]
fn the_whole_story_on_redis_with_tls_and_few_rights() {
    story(Service::RedisTls);
}

#[test]
fn the_whole_story_on_postgres() {
    story(Service::Postgres);
}

#[test]
fn the_whole_story_on_s3() {
    story(Service::S3);
}

/// Starting a saga at `url` ends with 8, what is wrong and what to check, and without showing `secret`.
#[track_caller]
fn refused(url: &str, says: &[&str], secret: &str) {
    let world = world_with_a_step(url);
    for args in [START, &["sagas"]] {
        refused_to(&world, args, says, secret);
    }
}

fn world_with_a_step(url: &str) -> World {
    let world = World::at(url);
    world.write("one.yaml", "name: one\nsteps: [{name: only, shell: \"true\"}]\n");
    world
}

const START: &[&str] = &["start", "one.yaml", "--id", "x"];

#[track_caller]
fn refused_to(world: &World, args: &[&str], says: &[&str], secret: &str) {
    let ran = world.run(args).exits(8).says(says);
    assert!(ran.stderr.lines().any(|line| line.trim_start().starts_with("try ")), "{args:?} does not say what to check: {ran:?}");
    assert!(!format!("{ran:?}").contains(secret), "{args:?} shows the secret: {ran:?}");
}

/// A port of this host that nobody listens on.
fn unused_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `url` with the port of its server, which is the last number of its `host:port`, replaced.
fn nobody_at(url: &str) -> String {
    let at = url.rfind("127.0.0.1:").unwrap() + "127.0.0.1:".len();
    let end = url[at..].find(|c: char| !c.is_ascii_digit()).map_or(url.len(), |len| at + len);
    format!("{}{}{}", &url[..at], unused_port(), &url[end..])
}

/// `url` with another password.
fn other_password(url: &str) -> String {
    let (front, place) = url.rsplit_once('@').unwrap();
    let (front, _) = front.rsplit_once(':').unwrap();
    format!("{front}:hunter2@{place}")
}

#[test]
fn what_is_wrong_with_a_redis_url_is_said() {
    if !is_under_test(Service::Redis) {
        return;
    }
    let (plain, secure) = (required_url(Service::Redis.variable()), required_url(Service::RedisTls.variable()));
    refused(&other_password(&secure), &["password"], "hunter2");
    refused(&nobody_at(&plain), &["check"], "hunter2");
    let (_, place) = secure.rsplit_once('@').unwrap();
    refused(&format!("redis://replay:hunter2@{}", place.split_once('?').unwrap().0), &["rediss:"], "hunter2");
    let other = tls::other_ca().unwrap();
    refused(&format!("{}ca={}", secure.split_once("ca=").unwrap().0, other.display()), &["`ca`"], "hunter2");
}

#[test]
fn a_redis_user_who_may_not_run_scripts_is_told_so() {
    if !is_under_test(Service::Redis) {
        return;
    }
    let server = redis::start(redis::Options::default()).unwrap();
    let mut admin = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    admin.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    admin.write_all(b"ACL SETUSER few on >hunter2 ~replay{* +@all -evalsha -eval\r\n").unwrap();
    let mut answer = [0; 5];
    admin.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
    let world = World::at(&server.url().replacen("://", "://few:hunter2@", 1));
    let ran = world.one_step("x", "true").exits(8).says(&["try "]);
    assert!(!format!("{ran:?}").contains("hunter2"));
}

#[test]
fn what_is_wrong_with_a_postgres_url_is_said() {
    if !is_under_test(Service::Postgres) {
        return;
    }
    let url = required_url(Service::Postgres.variable());
    refused(&other_password(&url), &["password"], "hunter2");
    refused(&nobody_at(&url), &["cannot be reached"], "hunter2");
    let (front, _) = url.split_once('?').unwrap_or((&url, ""));
    let (server, _) = front.rsplit_once('/').unwrap();
    refused(&format!("{server}/nothing_here"), &["database"], "hunter2");
    let other = tls::other_ca().unwrap();
    refused(&format!("{front}?sslmode=verify-ca&sslrootcert={}", other.display()), &["sslrootcert"], "hunter2");
    let plain = postgres::start(postgres::Options::default().settings(&[("ssl", "off")])).unwrap();
    refused(&format!("{}?sslmode=require", plain.url()), &["sslmode"], "hunter2");
}

#[test]
fn a_postgres_user_without_rights_is_told_so() {
    if !is_under_test(Service::Postgres) {
        return;
    }
    let url = required_url(Service::Postgres.variable());
    let role = format!("few_{}_{:012x}", std::process::id(), fastrand::u64(..1 << 48));
    let run = |sql: String| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
            PgConnection::connect(&url).await.unwrap().execute(AssertSqlSafe(sql)).await.unwrap();
        });
    };
    run(format!("CREATE ROLE {role} LOGIN PASSWORD 'hunter2'"));
    let place = url.rsplit_once('@').unwrap().1;
    let few = with(&format!("postgres://{role}:hunter2@{place}"), &format!("schema={role}"));
    // Whoever only looks is told that there is nothing.
    let checked = std::panic::catch_unwind(|| refused_to(&world_with_a_step(&few), START, &["denied"], "hunter2"));
    run(format!("DROP ROLE {role}"));
    checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn what_is_wrong_with_an_s3_url_is_said() {
    if !is_under_test(Service::S3) {
        return;
    }
    let url = required_url(Service::S3.variable());
    refused(&other_password(&url), &["secret"], "hunter2");
    let (front, place) = url.rsplit_once('@').unwrap();
    let (_, options) = place.split_once('?').unwrap();
    refused(&format!("{front}@nothing-here?{options}"), &["bucket"], "hunter2");
    refused(&format!("s3://nobody:hunter2@{place}"), &["try "], "hunter2");
    refused(&nobody_at(&url), &["endpoint"], "hunter2");
    refused(&url.replacen("endpoint=http:", "endpoint=https:", 1), &["TLS"], "hunter2");
}
