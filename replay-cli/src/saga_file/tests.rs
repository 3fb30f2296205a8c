use std::path::{Path, PathBuf};

use replay::{Error, Result};
use serde_json::Value;

use super::{SagaFile, schema};

fn parse(text: &str) -> Result<SagaFile> {
    SagaFile::parse("order.yaml", text, PathBuf::from("."))
}

fn refused(text: &str) -> Error {
    parse(text).expect_err(text)
}

/// The message of the refusal of `text`.
fn message(text: &str) -> String {
    refused(text).detail().unwrap_or_default().to_owned()
}

#[test]
fn every_key_is_taken() {
    let file = parse(
        r#"
name: order
version: 2
description: for people
labels: {customer: /customer_id}
secrets: {KEY: env, OTHER: "env:SOME_VARIABLE"}
allow_hosts: [api.example.com]
strategy: every(3)
retention: 30d
max_snapshots: 10
max_concurrency: 4
steps:
  - name: a
    command: [./a.sh, 1, true]
    env: {X: "{{ context.x }}", N: 5}
    compensate: {shell: "true", retry: {max_attempts: 5}}
  - name: b
    needs: []
    shell: echo
    timeout: 1m30s
  - name: c
    needs: [a, b]
    http:
      method: put
      url: "https://{{ context.host }}/x"
      json: [1, {a: "{{ context.a }}"}]
      headers: {Authorization: "Bearer {{ secrets.KEY }}"}
    save: {id: /id, deep.key: /a/0}
    retry: {max_attempts: 3, initial: 100ms, factor: 1.5, max: 5s, jitter: 0.1, on: [timeout, "5xx", 503, 75]}
    compensate: {http: {url: "http://h/", method: DELETE}}
    pivot: true
"#,
    )
    .unwrap();
    let saga = file.outline_only().unwrap();
    let outline = saga.outline();
    assert_eq!((&**outline.name(), &**outline.version()), ("order", "2"));
    let steps: Vec<_> = outline.steps().iter().map(|step| (&*step.name, step.needs.clone(), step.has_compensation, step.pivot)).collect();
    assert_eq!(steps, [("a", vec![], true, false), ("b", vec![], false, false), ("c", vec![0, 1], true, true)]);
    assert_eq!(saga.policy().strategy.to_string(), "every(3)");
    assert_eq!(saga.policy().max_snapshots, Some(10));
}

#[test]
fn errors_name_file_line_and_column_and_show_the_line() {
    let error = refused("name: order\nsteps:\n  - name: a\n    comand: [x]\n");
    assert!(error.detail().unwrap().starts_with("order.yaml:4:5: there is no key `comand`"), "{error}");
    assert!(error.advice().unwrap().contains("did you mean `command`"), "{error:?}");
    let shown = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(shown, "4 |     comand: [x]\n  |     ^");
    assert!(message("name: order\nsteps:\n  - name: a\n   command: [x\n").starts_with("order.yaml:4:"), "broken YAML");
    assert!(message("name: [\n").starts_with("order.yaml:"));
    assert!(message("name: order\n").contains("`steps` is missing"));
}

#[test]
fn what_makes_no_sense_is_refused_at_its_place() {
    let step = |step: &str| format!("name: o\nsteps:\n  - name: a\n    command: [x]\n  - name: b\n{step}");
    let cases = [
        ("", "does nothing"),
        ("    command: [x]\n    shell: y\n", "does two things"),
        ("    command: []\n", "at least a program"),
        ("    shell: x\n    save: {a: /b}\n", "`save` belongs to http steps"),
        ("    shell: x\n    needs: [c]\n", "no step before this one is named `c`"),
        ("    shell: x\n    timeout: 10\n", "not a duration"),
        ("    shell: x\n    retry: {max_attempts: 0}\n", "at least once"),
        ("    shell: x\n    retry: {max_attempts: 2, on: [timeouts]}\n", "nothing that a step can fail with"),
        ("    shell: x\n    env: {REPLAY_STEP: y}\n", "replay's own"),
        ("    http: {url: \"ftp://h/\"}\n", "http://"),
        ("    http: {url: \"http://{{ context.h }}/\"}\n", "allow_hosts"),
        ("    http: {url: \"http://h/{{ context. }}\"}\n", "order.yaml:6:"),
        ("    http: {url: \"http://h/\", method: FETCH}\n", "not a method"),
        ("    http: {url: \"http://h/\", headers: {Idempotency-Key: x}}\n", "set by replay"),
    ];
    for (text, expected) in cases {
        let found = message(&step(text));
        assert!(found.contains(expected) && found.starts_with("order.yaml:"), "{text}: {found}");
    }
    assert!(message("name: o\nsecrets: {KEY: hunter2}\nsteps: [{name: a, shell: x}]\n").contains("needs a source"));
    assert!(message("name: o\nsteps: []\n").contains("at least one step"));
    assert!(message("name: o\nsteps: [{name: a, shell: x}, {name: a, shell: y}]\n").contains("two steps are named"));
}

#[test]
fn a_secret_in_the_place_of_its_source_is_not_repeated() {
    let error = refused("name: o\nsecrets: {KEY: hunter2}\nsteps: [{name: a, shell: x}]\n");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn hostile_yaml_ends_soon() {
    let bomb = (1..40).fold("a0: &a0 [x]\n".to_owned(), |text, n| format!("{text}a{n}: &a{n} [*a{m}, *a{m}, *a{m}]\n", m = n - 1));
    assert!(parse(&bomb).is_err());
    assert!(parse(&"[".repeat(100_000)).is_err());
    assert!(
        parse(&format!("name: o\nsteps: [{{name: a, http: {{url: 'http://h/', json: {}1{}}}}}]", "[".repeat(5000), "]".repeat(5000)))
            .is_err()
    );
}

/// The keys that the reader accepts where `text` stands, as its complaint about another key lists them.
fn accepted(text: &str) -> Vec<String> {
    let error = refused(text);
    let hint = error.advice().unwrap_or_else(|| panic!("{error:?}")).to_owned();
    let mut keys: Vec<String> = hint.rsplit_once("known: ").unwrap().1.split(", ").map(str::to_owned).collect();
    keys.sort();
    keys
}

fn keys_of(object: &Value) -> Vec<String> {
    let mut keys: Vec<String> = object["properties"].as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

#[test]
fn the_schema_lists_the_keys_that_are_accepted() {
    let schema: Value = serde_json::from_str(schema::TEXT).unwrap();
    assert_eq!(keys_of(&schema), accepted("zzz: 1\n"));
    let places = [
        ("step", "name: o\nsteps: [{zzz: 1}]\n"),
        ("compensate", "name: o\nsteps: [{name: a, shell: x, compensate: {zzz: 1}}]\n"),
        ("http", "name: o\nsteps: [{name: a, http: {zzz: 1}}]\n"),
        ("retry", "name: o\nsteps: [{name: a, shell: x, retry: {zzz: 1}}]\n"),
    ];
    for (definition, text) in places {
        assert_eq!(keys_of(&schema["$defs"][definition]), accepted(text), "{definition}");
    }
}

#[test]
fn the_examples_are_saga_files() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut found = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/order.yaml")];
    for folder in std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        found.extend(files.filter(|path| path.extension().is_some_and(|end| end == "yaml")));
    }
    assert!(found.len() >= 2, "{found:?}");
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap().replace("ADDRESS", "127.0.0.1:1");
        SagaFile::parse(&path.display().to_string(), text, path.parent().unwrap().to_path_buf()).unwrap();
    }
}
