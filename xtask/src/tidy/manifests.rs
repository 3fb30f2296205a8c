//! What every crate of the workspace has in common.

use super::Finding;
use super::tree::Tree;
use crate::workspace::Workspace;

const INHERITED: [&str; 4] = ["version", "edition", "rust-version", "license"];
const CRATE_PAGE: &str = r#"#![doc = include_str!("../README.md")]"#;

/// Version, edition, licence and lints stand once, in the root manifest.
pub(super) fn everything_shared_is_inherited(tree: &Tree, workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let path = format!("{}/Cargo.toml", package.dir);
        let Some(manifest) = tree.text(&path) else { continue };
        let has = |wanted: &str| manifest.lines().any(|line| line.trim() == wanted);
        for key in INHERITED.iter().filter(|key| !has(&format!("{key}.workspace = true"))) {
            findings.push(Finding::new(&path, 1, format!("write `{key}.workspace = true`")));
        }
        if !manifest.contains("[lints]\nworkspace = true") {
            findings.push(Finding::new(&path, 1, "inherit the lints: `[lints]`, then `workspace = true`"));
        }
    }
    findings
}

/// The README of a published crate is its crate page, so that it is written once and its code is compiled.
pub(super) fn crate_pages_are_readmes(tree: &Tree, workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in workspace.packages.iter().filter(|package| package.published) {
        let readme = format!("{}/README.md", package.dir);
        let lib = format!("{}/src/lib.rs", package.dir);
        if !tree.has(&readme) {
            findings.push(Finding::new(&readme, 1, "missing; say what the crate is for, when to use it and when not"));
        } else if !tree.text(&lib).is_some_and(|text| text.contains(CRATE_PAGE)) {
            findings.push(Finding::new(&lib, 1, format!("write `{CRATE_PAGE}`, so that the README is the crate page")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Package;

    const GOOD: &str = "[package]\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
                        license.workspace = true\n\n[lints]\nworkspace = true\n";

    fn workspace(published: bool) -> Workspace {
        Workspace {
            packages: vec![Package { name: "a".to_owned(), dir: "a".to_owned(), published, ..Package::default() }],
            ..Workspace::default()
        }
    }

    fn messages(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_manifest_that_inherits_is_left_alone() {
        assert!(everything_shared_is_inherited(&Tree::of(&[("a/Cargo.toml", GOOD)]), &workspace(true)).is_empty());
    }

    #[test]
    fn an_own_version_and_missing_lints_are_found() {
        let bad =
            GOOD.replace("version.workspace = true\nedition", "version = \"9.0.0\"\nedition").replace("[lints]\nworkspace = true\n", "");
        let findings = everything_shared_is_inherited(&Tree::of(&[("a/Cargo.toml", &bad)]), &workspace(true));
        assert_eq!(
            messages(&findings),
            ["a/Cargo.toml:1: write `version.workspace = true`", "a/Cargo.toml:1: inherit the lints: `[lints]`, then `workspace = true`"]
        );
    }

    #[test]
    fn a_published_crate_without_a_readme_is_found() {
        let tree = Tree::of(&[("a/src/lib.rs", "//! A crate.")]);
        assert_eq!(crate_pages_are_readmes(&tree, &workspace(true))[0].path, "a/README.md");
        assert!(crate_pages_are_readmes(&tree, &workspace(false)).is_empty(), "nobody reads the page of a crate that is not published");
    }

    #[test]
    fn a_readme_that_is_not_the_crate_page_is_found() {
        let tree = |lib| Tree::of(&[("a/README.md", "# a"), ("a/src/lib.rs", lib)]);
        assert_eq!(crate_pages_are_readmes(&tree("//! Something else."), &workspace(true))[0].path, "a/src/lib.rs");
        assert!(crate_pages_are_readmes(&tree(CRATE_PAGE), &workspace(true)).is_empty());
    }
}
