//! The question before what cannot be taken back, on a terminal.

#![cfg(target_os = "linux")]

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    process::{Child, Stdio},
};

use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Termios, tcgetattr},
};

use crate::support::*;

/// A terminal: the side that a person sees, and the one that a program has.
struct Terminal {
    person: File,
    program: File,
}

impl Terminal {
    fn open() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let path = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
        let program = OpenOptions::new().read(true).write(true).open(path).unwrap();
        Self { person: person.into(), program }
    }

    fn modes(&self) -> Termios {
        tcgetattr(&self.program).unwrap()
    }

    fn run(&self, world: &World, args: &[&str]) -> Child {
        let end = || Stdio::from(self.program.try_clone().unwrap());
        world.command(args).stdin(end()).stderr(end()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Reads until `text` is on the screen; gives all that is there.
    fn wait_for(&mut self, text: &str) -> String {
        let (mut screen, mut bytes) = (String::new(), [0; 1024]);
        while !screen.contains(text) {
            let len = self.person.read(&mut bytes).unwrap();
            screen.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
        screen
    }
}

fn world() -> World {
    let world = World::new();
    world.one_step("x", "false").exits(1);
    world
}

#[test]
fn ctrl_c_at_the_question_exits_130_and_changes_nothing() {
    for command in [&["delete", "x"][..], &["gc", "--keep", "1"], &["run", "--where", "name=one", "--from-step", "only"]] {
        let (world, mut terminal) = (world(), Terminal::open());
        let before = terminal.modes();
        let child = terminal.run(&world, command);
        let shown = terminal.wait_for("[y/N] ");
        let asking = terminal.modes();
        let expected = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        assert!(asking.local_modes.contains(expected), "the terminal itself makes a signal of Ctrl-C");
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let shown = shown + &terminal.wait_for("nothing was done");
        assert!(!shown.contains("\u{1b}[?25l") && !shown.contains("stopping after"), "{shown:?}");
        let ran = Ran::from(child.wait_with_output().unwrap()).exits(130);
        assert_eq!(ran.stdout, "");
        assert_eq!(terminal.modes().local_modes, before.local_modes);
        assert_eq!(world.run(&["sagas", "-o", "ids"]).stdout, "x\n");
        assert_eq!(world.run(&["list-changes", "x"]).json()["changes"].as_array().unwrap().len(), 3);
    }
}

#[test]
fn only_yes_is_yes() {
    let (world, mut terminal) = (world(), Terminal::open());
    for (answer, code) in [("\n", 3), ("no\n", 3), ("\u{4}", 3), ("Y\n", 0)] {
        let child = terminal.run(&world, &["delete", "x"]);
        terminal.wait_for("[y/N] ");
        terminal.person.write_all(answer.as_bytes()).unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, code, "{answer:?}");
    }
    assert_eq!(world.run(&["sagas", "-o", "ids"]).stdout, "");
}
