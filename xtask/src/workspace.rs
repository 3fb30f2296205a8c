//! The workspace as `cargo metadata` describes it, so that no list of crates or features is kept by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::shell::{self, Failure, Outcome};

/// How the name of every backend crate begins.
pub(crate) const BACKEND_PREFIX: &str = "replay-storage-";

#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
}

/// One crate of the workspace.
#[derive(Debug, Default, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The folder below the root, with `/` between its parts.
    pub(crate) dir: String,
    pub(crate) published: bool,
    pub(crate) features: Vec<String>,
    pub(crate) has_binary: bool,
    /// Dependencies that are named in the manifest and that users of the crate get.
    pub(crate) dependencies: BTreeSet<String>,
    /// Dependencies that only the crate's own tests and examples get.
    pub(crate) dev_dependencies: BTreeSet<String>,
    /// Everything that users of the crate get, at any depth.
    pub(crate) transitive: BTreeSet<String>,
}

impl Workspace {
    /// Reads the workspace that xtask belongs to.
    pub(crate) fn load() -> Outcome<Self> {
        let host = host_triple()?;
        // Without a platform, cargo would download what only other platforms need.
        let args = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &host];
        let bytes = shell::output(&mut shell::cargo(args))?;
        let metadata: Value =
            serde_json::from_slice(&bytes).map_err(|error| Failure::new(format!("cargo metadata wrote no valid JSON: {error}")))?;
        Ok(Self::from_metadata(&metadata))
    }

    pub(crate) fn package(&self, name: &str) -> Outcome<&Package> {
        let found = self.packages.iter().find(|package| package.name == name);
        found.ok_or_else(|| Failure::new(format!("the workspace has no crate named {name}")))
    }

    /// The backends that the workspace has, by the name that URLs and features use.
    pub(crate) fn backends(&self) -> Vec<&str> {
        self.packages.iter().filter_map(|package| package.name.strip_prefix(BACKEND_PREFIX)).collect()
    }

    fn from_metadata(metadata: &Value) -> Self {
        let root = text(&metadata["workspace_root"]);
        let members: BTreeSet<&str> = array(&metadata["workspace_members"]).iter().map(text).collect();
        let graph = Graph::new(metadata);
        let packages = array(&metadata["packages"]).iter().filter(|package| members.contains(text(&package["id"])));
        let mut packages: Vec<Package> = packages.map(|package| Package::from_metadata(package, root, &graph)).collect();
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Self { packages, target: text(&metadata["target_directory"]).into() }
    }
}

impl Package {
    fn from_metadata(package: &Value, root: &str, graph: &Graph<'_>) -> Self {
        let manifest = text(&package["manifest_path"]).trim_start_matches(root).replace('\\', "/");
        let dir = manifest.trim_end_matches("Cargo.toml").trim_matches('/').to_owned();
        let (dev, normal): (Vec<&Value>, Vec<&Value>) = array(&package["dependencies"]).iter().partition(|dep| dep["kind"] == "dev");
        let names = |deps: Vec<&Value>| deps.into_iter().map(|dep| text(&dep["name"]).to_owned()).collect();
        Self {
            name: text(&package["name"]).to_owned(),
            dir,
            published: !package["publish"].as_array().is_some_and(Vec::is_empty),
            features: package["features"].as_object().map(|features| features.keys().cloned().collect()).unwrap_or_default(),
            has_binary: array(&package["targets"]).iter().any(|target| array(&target["kind"]).iter().any(|kind| kind == "bin")),
            dependencies: names(normal),
            dev_dependencies: names(dev),
            transitive: graph.reachable(text(&package["id"])),
        }
    }
}

/// Who depends on whom, by package id, without dev-dependencies.
struct Graph<'a> {
    names: BTreeMap<&'a str, &'a str>,
    edges: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Value) -> Self {
        let names = array(&metadata["packages"]).iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
        let shipped = |dep: &&Value| array(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
        let edges = array(&metadata["resolve"]["nodes"]).iter().map(|node| {
            let targets = array(&node["deps"]).iter().filter(shipped).map(|dep| text(&dep["pkg"])).collect();
            (text(&node["id"]), targets)
        });
        Self { names, edges: edges.collect() }
    }

    fn reachable(&self, from: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(id) = open.pop() {
            for &next in self.edges.get(id).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen.into_iter().filter_map(|id| self.names.get(id)).map(|&name| name.to_owned()).collect()
    }
}

fn host_triple() -> Outcome<String> {
    let version = shell::output(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
    let version = String::from_utf8_lossy(&version);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failure::new("rustc -vV names no host platform"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Value {
        serde_json::json!({
            "workspace_root": "/w",
            "target_directory": "/w/target",
            "workspace_members": ["core-id", "sqlite-id"],
            "packages": [
                {"id": "sqlite-id", "name": "replay-storage-sqlite", "manifest_path": "/w/replay-storage-sqlite/Cargo.toml", "publish": null,
                 "features": {}, "targets": [{"kind": ["lib"]}],
                 "dependencies": [{"name": "replay-core", "kind": null}, {"name": "tempfile", "kind": "dev"}]},
                {"id": "core-id", "name": "replay-core", "manifest_path": "/w/replay-core/Cargo.toml", "publish": [],
                 "features": {"a": [], "b": []}, "targets": [{"kind": ["lib"]}, {"kind": ["bin"]}], "dependencies": [{"name": "serde", "kind": null}]},
                {"id": "serde-id", "name": "serde"},
                {"id": "tempfile-id", "name": "tempfile"},
            ],
            "resolve": {"nodes": [
                {"id": "sqlite-id", "deps": [
                    {"pkg": "core-id", "dep_kinds": [{"kind": null}]},
                    {"pkg": "tempfile-id", "dep_kinds": [{"kind": "dev"}]},
                ]},
                {"id": "core-id", "deps": [{"pkg": "serde-id", "dep_kinds": [{"kind": "dev"}, {"kind": null}]}]},
            ]},
        })
    }

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn members_are_read_with_their_folder_features_and_binaries() {
        let workspace = Workspace::from_metadata(&metadata());
        let core = workspace.package("replay-core").unwrap();
        assert_eq!((core.dir.as_str(), core.published, core.has_binary), ("replay-core", false, true));
        assert_eq!(core.features, ["a", "b"]);
        assert_eq!(workspace.packages.len(), 2, "crates outside the workspace are no members");
        assert_eq!(workspace.backends(), ["sqlite"]);
        assert_eq!(workspace.target, PathBuf::from("/w/target"));
    }

    #[test]
    fn what_users_get_is_followed_to_any_depth_and_leaves_out_what_only_tests_need() {
        let workspace = Workspace::from_metadata(&metadata());
        let sqlite = workspace.package("replay-storage-sqlite").unwrap();
        assert_eq!(names(&sqlite.dependencies), ["replay-core"]);
        assert_eq!(names(&sqlite.dev_dependencies), ["tempfile"]);
        assert_eq!(names(&sqlite.transitive), ["replay-core", "serde"]);
    }
}
