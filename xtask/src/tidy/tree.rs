//! The files of the repository, read once for all rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::shell::{Failure, Outcome};

/// Hidden folders that belong to the repository; all others belong to tools.
const HIDDEN: [&str; 4] = [".cargo", ".ci", ".config", ".github"];
const TEXT: [&str; 8] = ["rs", "toml", "md", "yaml", "yml", "sql", "sh", "json"];

#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The text files by path from the root, with `/` between its parts.
    texts: BTreeMap<String, String>,
    /// Every file and folder, whatever is in it.
    paths: BTreeSet<String>,
}

impl Tree {
    pub(crate) fn load(root: &Path) -> Outcome<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")
            .map_err(|error| Failure::new(format!("could not read the repository at {}: {error}", root.display())))?;
        Ok(tree)
    }

    /// Walks folders rather than asking git, since the sources may have come without a repository around them.
    fn read_folder(&mut self, folder: &Path, prefix: &str) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                // Cargo marks its output folders, whatever they are called, with this file.
                let is_output = entry.path().join("CACHEDIR.TAG").exists();
                if (name.starts_with('.') && !HIDDEN.contains(&name.as_str())) || is_output {
                    continue;
                }
                self.read_folder(&entry.path(), &format!("{path}/"))?;
            } else if is_text(&path) {
                let bytes = fs::read(entry.path())?;
                self.texts.insert(path.clone(), String::from_utf8_lossy(&bytes).into_owned());
            }
            self.paths.insert(path);
        }
        Ok(())
    }

    /// The text of the file at `path`, if there is such a file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// The text files whose names end in `extension`, which includes its dot; `""` stands for all.
    pub(crate) fn texts<'a>(&'a self, extension: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.texts.iter().filter(move |(path, _)| path.ends_with(extension)).map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// The names of what lies directly in `folder`.
    pub(crate) fn names_in(&self, folder: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{folder}/");
        self.paths.iter().filter_map(move |path| path.strip_prefix(&prefix)).filter(|name| !name.contains('/'))
    }

    /// The names of the folders at the root.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &str> {
        let tops: BTreeSet<&str> = self.paths.iter().filter_map(|path| path.split_once('/')).map(|(top, _)| top).collect();
        tops.into_iter()
    }

    /// A tree of the given files, for testing rules.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for &(path, text) in files {
            let parents = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
            tree.paths.extend(parents);
            tree.paths.insert(path.to_owned());
            tree.texts.insert(path.to_owned(), text.to_owned());
        }
        tree
    }
}

/// Whether people edit the file as text. What lies in `fixtures` or `golden` folders is data and stays as it is.
fn is_text(path: &str) -> bool {
    let is_data = path.split('/').any(|part| part == "fixtures" || part == "golden");
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    !is_data && (path == ".ci/run" || extension.is_some_and(|extension| TEXT.contains(&extension)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_foreign_file_types_are_not_read_as_text() {
        for path in ["replay/src/lib.rs", "README.md", ".ci/run", "replay-storage-sqlite/migrations/0001_init.sql"] {
            assert!(is_text(path), "{path}");
        }
        for path in ["fixtures/a.json", "replay-core/tests/golden/v1.json", "Cargo.lock", "docs/plot.svg"] {
            assert!(!is_text(path), "{path}");
        }
    }

    #[test]
    fn the_repository_is_read_without_its_build_output_and_tool_folders() {
        let tree = Tree::load(crate::shell::root()).unwrap();
        assert!(tree.has("xtask/src") && tree.text("xtask/src/main.rs").is_some() && tree.text(".ci/run").is_some());
        assert!(!tree.has(".git/HEAD") && !tree.has("target/CACHEDIR.TAG"));
        assert!(tree.names_in("xtask").any(|name| name == "Cargo.toml"));
    }
}
