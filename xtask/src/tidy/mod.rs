//! `cargo xtask tidy`: the rules of the repository that no compiler checks.
//!
//! Each rule is a function from the tree or the workspace to findings. It also runs as a test, so that no change gets
//! past the suite without it.

mod documents;
mod layers;
mod manifests;
mod printing;
mod source;
mod tree;

use std::fmt;

use crate::shell::{self, Failure, Outcome};
use crate::stores;
use crate::workspace::Workspace;
use tree::Tree;

/// A broken rule: where, what is wrong and what to do.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From 1.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

pub(crate) fn run() -> Outcome {
    let tree = Tree::load(shell::root())?;
    let workspace = Workspace::load()?;
    for warning in source::grows_long(&tree) {
        println!("{warning}");
    }
    let findings = check(&tree, &workspace);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(Failure::new(format!("cargo xtask tidy: {count} rules are broken in the places above"))),
    }
}

/// Writes the tables that are generated.
pub(crate) fn update() -> Outcome {
    let tree = Tree::load(shell::root())?;
    let text = stores::updated(|path| tree.text(path), tree.folders()).map_err(Failure::new)?;
    let path = shell::root().join(stores::GUIDE);
    std::fs::write(&path, text).map_err(|error| Failure::new(format!("could not write {}: {error}", path.display())))
}

fn check(tree: &Tree, workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(layers::core_names_no_driver(workspace));
    findings.extend(layers::dependencies_point_down(workspace));
    findings.extend(layers::facade_only_opens_stores(tree));
    findings.extend(manifests::everything_shared_is_inherited(tree, workspace));
    findings.extend(manifests::crate_pages_are_readmes(tree, workspace));
    findings.extend(printing::only_programs_print(tree));
    findings.extend(source::too_long(tree));
    findings.extend(source::unfinished(tree));
    findings.extend(source::whitespace(tree));
    findings.extend(documents::changelog_is_open(tree));
    findings.extend(documents::decisions_are_numbered(tree));
    findings.extend(documents::links_resolve(tree));
    findings.extend(documents::stores_are_compared_as_they_are(tree));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tidy_finds_nothing() {
        let tree = Tree::load(shell::root()).unwrap();
        let workspace = Workspace::load().unwrap();
        let findings: Vec<String> = check(&tree, &workspace).iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
    }

    #[test]
    fn a_finding_reads_as_a_place_that_an_editor_can_open() {
        assert_eq!(Finding::new("replay/src/lib.rs", 7, "shorten it").to_string(), "replay/src/lib.rs:7: shorten it");
    }
}
