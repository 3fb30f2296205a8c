//! Which crate may depend on which.

use super::Finding;
use super::tree::Tree;
use crate::workspace::{BACKEND_PREFIX, Package, Workspace};

/// Crates, or the beginnings of their names, that stand for a driver, a command line or a web framework.
const DRIVERS: [&str; 16] = [
    "actix-web",
    "aws-sdk-",
    "axum",
    "clap",
    "hyper",
    "indicatif",
    "libsqlite3-sys",
    "mysql",
    "object_store",
    "postgres",
    "redis",
    "reqwest",
    "rusqlite",
    "sqlx",
    "tokio-postgres",
    "tonic",
];

/// What a crate may depend on in this workspace, apart from its tests.
enum Allowed {
    Only(&'static [&'static str]),
    Backends(&'static [&'static str]),
    Everything,
}

impl Allowed {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "replay-core" | "replay-services" => Self::Only(&[]),
            "xtask" => Self::Only(&["replay-services"]),
            "replay-conformance" | "replay-audit" | "replay-verify" => Self::Only(&["replay-core"]),
            "replay" => Self::Backends(&["replay-core", "replay-audit", "replay-verify"]),
            "replay-cli" | "replay-compliance" | "replay-server" | "replay-worker" => Self::Only(&["replay"]),
            "replay-e2e" | "replay-bench" => Self::Everything,
            _ if is_backend(name) => Self::Only(&["replay-core"]),
            _ if name.starts_with("example-") => Self::Everything,
            _ => return None,
        })
    }

    fn allows(&self, dependency: &str) -> bool {
        match self {
            Self::Only(names) => names.contains(&dependency),
            Self::Backends(others) => is_backend(dependency) || others.contains(&dependency),
            Self::Everything => true,
        }
    }
}

/// `replay-core` knows no driver, no command line and no web framework, at any depth.
pub(super) fn core_names_no_driver(workspace: &Workspace) -> Vec<Finding> {
    let core = workspace.packages.iter().filter(|package| package.name == "replay-core");
    let drivers = core.flat_map(|core| core.transitive.iter().map(move |name| (core, name))).filter(|(_, name)| is_driver(name));
    let say = |name| {
        format!(
            "replay-core gets {name} through its dependencies; drivers belong in a backend crate (`cargo tree -i {name}` shows the way)"
        )
    };
    drivers.map(|(core, name)| Finding::new(manifest(core), 1, say(name))).collect()
}

/// Dependencies between the crates of the workspace go one way, and a backend never sees another backend.
pub(super) fn dependencies_point_down(workspace: &Workspace) -> Vec<Finding> {
    let is_member = |name: &&String| workspace.packages.iter().any(|package| package.name == **name);
    let mut findings = Vec::new();
    for package in &workspace.packages {
        let path = manifest(package);
        let Some(allowed) = Allowed::of(&package.name) else {
            findings.push(Finding::new(
                path,
                1,
                format!("{} has no layer; say in xtask/src/tidy/layers.rs what it may depend on", package.name),
            ));
            continue;
        };
        for name in package.dependencies.iter().filter(is_member).filter(|name| !allowed.allows(name)) {
            findings.push(Finding::new(
                &path,
                1,
                format!("{} must not depend on {name}; ARCHITECTURE.md says what belongs where", package.name),
            ));
        }
        if is_backend(&package.name) {
            for name in package.dev_dependencies.iter().filter(|name| is_backend(name) && **name != package.name) {
                findings.push(Finding::new(
                    &path,
                    1,
                    format!("the tests of one backend must not use another ({name}); move the test to replay-e2e"),
                ));
            }
        }
    }
    findings
}

/// The facade re-exports and opens stores; whatever else it held would be missing where a crate below is used alone.
pub(super) fn facade_only_opens_stores(tree: &Tree) -> Vec<Finding> {
    const EXPECTED: [&str; 4] = ["lib.rs", "open.rs", "open", "tests.rs"];
    let surplus = tree.names_in("replay/src").filter(|name| !EXPECTED.contains(name));
    surplus
        .map(|name| Finding::new(format!("replay/src/{name}"), 1, "the facade only opens stores; move this to replay-core or to a backend"))
        .collect()
}

fn is_backend(name: &str) -> bool {
    name.starts_with(BACKEND_PREFIX)
}

fn is_driver(name: &str) -> bool {
    DRIVERS.iter().any(|driver| {
        name == *driver || name.strip_prefix(driver).is_some_and(|rest| driver.ends_with('-') || rest.starts_with(['-', '_']))
    })
}

fn manifest(package: &Package) -> String {
    format!("{}/Cargo.toml", package.dir)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package { name: name.to_owned(), dir: name.to_owned(), dependencies: set(dependencies), ..Package::default() }
    }

    fn places(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.path.as_str()).collect()
    }

    #[test]
    fn a_driver_below_the_core_is_found_at_any_depth() {
        let core =
            Package { transitive: set(&["serde", "sqlx-core", "aws-sdk-s3", "clap_builder", "hyperlocal"]), ..package("replay-core", &[]) };
        let findings = core_names_no_driver(&Workspace { packages: vec![core], ..Workspace::default() });
        let named: Vec<&str> = findings.iter().filter_map(|finding| finding.message.split(' ').nth(2)).collect();
        assert_eq!(named, ["aws-sdk-s3", "clap_builder", "sqlx-core"], "hyperlocal only begins like a driver");
    }

    #[test]
    fn a_driver_in_a_backend_is_where_it_belongs() {
        let backend = Package { transitive: set(&["rusqlite"]), ..package("replay-storage-sqlite", &[]) };
        assert!(core_names_no_driver(&Workspace { packages: vec![backend], ..Workspace::default() }).is_empty());
    }

    #[test]
    fn a_dependency_that_points_up_or_sideways_is_found() {
        let packages = vec![
            package("replay", &["replay-core", "replay-storage-memory"]),
            package("replay-cli", &["replay", "replay-storage-memory"]),
            package("replay-core", &["serde", "replay"]),
            package("replay-e2e", &["replay-cli", "replay-storage-memory"]),
            package("replay-storage-memory", &["replay-core", "replay-storage-sqlite"]),
            package("replay-storage-sqlite", &["replay-core"]),
        ];
        let findings = dependencies_point_down(&Workspace { packages, ..Workspace::default() });
        assert_eq!(places(&findings), ["replay-cli/Cargo.toml", "replay-core/Cargo.toml", "replay-storage-memory/Cargo.toml"]);
    }

    #[test]
    fn a_backend_that_is_tested_with_another_backend_is_found() {
        let dev_dependencies = set(&["replay-conformance", "replay-storage-memory"]);
        let findings = dependencies_point_down(&Workspace {
            packages: vec![Package { dev_dependencies, ..package("replay-storage-sqlite", &[]) }],
            ..Workspace::default()
        });
        assert_eq!(places(&findings), ["replay-storage-sqlite/Cargo.toml"]);
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        assert_eq!(
            places(&dependencies_point_down(&Workspace { packages: vec![package("replay-extra", &[])], ..Workspace::default() })),
            ["replay-extra/Cargo.toml"]
        );
    }

    #[test]
    fn logic_in_the_facade_is_found() {
        let tree = Tree::of(&[("replay/src/lib.rs", ""), ("replay/src/open.rs", ""), ("replay/src/retry.rs", "")]);
        assert_eq!(places(&facade_only_opens_stores(&tree)), ["replay/src/retry.rs"]);
    }
}
