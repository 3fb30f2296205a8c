//! A secret is handed to steps and found nowhere else.

#![cfg(unix)]

use std::path::Path;

use crate::support::*;

const CANARY: &str = "canary-7f3a9c-hunter2";

fn files_under(folder: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            files_under(&entry, found);
        } else if entry.is_file() && entry.file_name().is_none_or(|name| name != "got") {
            found.push(std::fs::read(&entry).unwrap());
        }
    }
}

fn holds_canary(bytes: &[u8]) -> bool {
    bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes())
}

#[test]
fn a_secret_reaches_its_step_and_nothing_else() {
    let world = World::new();
    let payments = Payments::serve(&world);
    world.write(
        "s.yaml",
        &format!(
            r#"
name: s
secrets: {{KEY: "env:CANARY_VARIABLE"}}
steps:
  - name: takes
    shell: 'printf %s "$KEY" > got; tr "\0" " " < /proc/$$/cmdline > argv'
  - name: refused
    http: {{url: "http://{0}/charge?key={{{{ secrets.KEY }}}}", json: {{token: "{{{{ secrets.KEY }}}}"}}, headers: {{Authorization: "Bearer {{{{ secrets.KEY }}}}"}}}}
    compensate: {{shell: "true"}}
"#,
            payments.address
        ),
    );
    world.write(
        "leaky.yaml",
        "name: l\nsecrets: {KEY: \"env:CANARY_VARIABLE\"}\nsteps:\n  - {name: a, shell: 'echo \"my key is $KEY\" >&2; exit 1'}\n",
    );
    world.write(
        "echo.yaml",
        "name: e\nsecrets: {KEY: \"env:CANARY_VARIABLE\"}\nsteps:\n  - {name: a, shell: 'echo \"{\\\"k\\\": \\\"$KEY\\\"}\"'}\n",
    );
    let run = |args: &[&str]| Ran::from(world.command(args).env("CANARY_VARIABLE", CANARY).output().unwrap());
    let mut outputs = Vec::new();
    for (file, id) in [("s.yaml", "s"), ("leaky.yaml", "l"), ("echo.yaml", "e")] {
        outputs.push(run(&["start", file, "--id", id]).exits(1));
        outputs.push(run(&["show", id]).exits(0));
        outputs.push(run(&["export", id]).exits(0));
        outputs.push(run(&["run", id, "--id", &format!("{id}2")]).exits(1));
        outputs.push(run(&["history", id, "-o", "table"]).exits(0));
    }
    assert_eq!(std::fs::read_to_string(world.path("got")).unwrap(), CANARY, "the step got it");
    for ran in &outputs {
        assert!(!holds_canary(ran.stdout.as_bytes()) && !holds_canary(ran.stderr.as_bytes()), "{ran:?}");
    }
    assert!(outputs.iter().any(|ran| ran.stdout.contains("my key is [redacted]")), "what was taken out is marked");
    assert!(outputs.iter().any(|ran| ran.stdout.contains("printed the secret KEY")));
    let mut files = Vec::new();
    files_under(&world.path("."), &mut files);
    assert!(files.len() > 3 && !files.iter().any(|bytes| holds_canary(bytes)));
}

#[test]
fn a_secret_that_is_not_set_stops_the_start() {
    let world = World::new();
    world.write("s.yaml", "name: s\nsecrets: {NO_SUCH_SECRET_HERE: env}\nsteps:\n  - {name: a, shell: touch ran}\n");
    world.run(&["start", "s.yaml"]).exits(2).says(&["NO_SUCH_SECRET_HERE", "nothing has been run"]);
    assert!(!world.path("ran").exists());
}

#[test]
fn a_secret_across_a_cut_leaves_no_part() {
    let world = World::new();
    let secret = format!("{CANARY}-{CANARY}");
    let start = |shell: &str, id: &str| {
        world.write(
            "s.yaml",
            &format!("name: s\nsecrets: {{KEY: \"env:CANARY_VARIABLE\"}}\nsteps:\n  - name: a\n    shell: |\n      {shell}\n"),
        );
        Ran::from(world.command(&["start", "s.yaml", "--id", id]).env("CANARY_VARIABLE", &secret).output().unwrap()).exits(1)
    };
    for (id, shell) in [("stdout", r#"printf '%070d%s' 0 "$KEY""#), ("stderr", r#"printf 'begin %s%04086d' "$KEY" 0 >&2; exit 1"#)] {
        let message = start(shell, id).json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(!message.contains("canary") && !message.contains("hunter2"), "{id}: {message}");
        assert!(message.contains("00000"), "{id}: {message}");
    }
}
