//! The receiver of effects: a file that every call of a step adds a line to, and that outlives whoever is killed.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

/// Adds lines to the file at its path.
#[derive(Debug, Clone)]
pub struct Effects(PathBuf);

/// One call of an action or a compensation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The process that called.
    pub pid: u32,
    /// The saga.
    pub saga: String,
    /// The step with its direction: `+charge` was executed, `-charge` compensated.
    pub what: String,
    /// The idempotency key that it was handed.
    pub key: String,
}

impl Effects {
    /// Effects in the file at `path`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(path.as_ref().to_owned())
    }

    /// Adds a line in one write, so that a kill leaves it whole or away. Ids have no white space here.
    pub fn add(&self, saga: &str, what: &str, key: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0).expect("the effects file opens");
        file.write_all(format!("{} {saga} {what} {key}\n", std::process::id()).as_bytes()).expect("the effects file takes a line");
    }

    /// Every line so far.
    pub fn all(&self) -> Vec<Effect> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let parse = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let [pid, saga, what, key] = words[..] else { panic!("not an effect: {line}") };
            Effect { pid: pid.parse().expect("a pid"), saga: saga.into(), what: what.into(), key: key.into() }
        };
        text.lines().map(parse).collect()
    }
}

/// How often each thing was done, by saga and what.
pub fn counts(effects: &[Effect]) -> BTreeMap<(String, String), u32> {
    let mut counts = BTreeMap::new();
    for effect in effects {
        *counts.entry((effect.saga.clone(), effect.what.clone())).or_default() += 1;
    }
    counts
}

/// Checks that one thing always had one key, and two things never the same.
///
/// # Errors
/// What had which keys.
pub fn check_keys(effects: &[Effect]) -> Result<(), String> {
    let mut keys: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    let mut things: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for Effect { saga, what, key, .. } in effects {
        let thing = (saga.as_str(), what.as_str());
        if *keys.entry(key).or_insert(thing) != thing || *things.entry(thing).or_insert(key) != key.as_str() {
            return Err(format!("{what} of {saga} has key {key}, but {:?} and {:?} were seen", keys[key.as_str()], things[&thing]));
        }
    }
    Ok(())
}
