use crate::support::*;

#[test]
fn the_tour_tells_the_whole_story_and_leaves_a_store_where_it_is_asked_to() {
    let world = World::new();
    let ran = world.run(&["demo", "--keep", "tour"]).exits(0);
    for command in ["start", "run", "time-travel", "diff", "history"] {
        assert!(ran.stderr.contains(&format!("$ replay {command} ")), "{}", ran.stderr);
    }
    let typed: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("$ ")).collect();
    assert!(typed.iter().all(|command| !command.contains("tok_")), "a token stands on a command line: {typed:?}");
    assert!(typed.iter().any(|command| command.contains("--override-file corrected-token.json")), "{typed:?}");
    for shown in ["↺ rolled_back", "✔ completed", "↻ run again", "└─ order_123-replayed"] {
        assert!(ran.stdout.contains(shown), "{shown} is not in\n{}", ran.stdout);
    }
    let url = format!("sqlite:{}", world.path("tour/demo.db").display());
    let sagas = world.run(&["sagas", "--storage-url", &url, "-o", "ids"]).exits(0).stdout;
    assert_eq!(sagas, "order_123-replayed\norder_123\n");
    world.run(&["demo", "--keep", "tour"]).exits(7).says(&["earlier tour"]);
}

#[test]
fn the_tour_works_in_another_namespace() {
    let world = World::new();
    let ran = world.command(&["demo"]).env("REPLAY_NAMESPACE", "eu").output().unwrap();
    Ran::from(ran).exits(0);
}
