//! Rules on the documents of the repository.

use super::Finding;
use super::tree::Tree;
use crate::stores;

const DECISIONS: &str = "docs/adr";

/// Whoever makes a change that users see finds a place to write it down.
pub(super) fn changelog_is_open(tree: &Tree) -> Vec<Finding> {
    let is_open = tree.text("CHANGELOG.md").is_some_and(|text| text.lines().any(|line| line.trim() == "## [Unreleased]"));
    if is_open { Vec::new() } else { vec![Finding::new("CHANGELOG.md", 1, "has no section `## [Unreleased]`; add it")] }
}

/// Decisions are `NNNN-title.md`, counted from 1 without gaps, so that a number names one of them for good.
pub(super) fn decisions_are_numbered(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut next = 1;
    for name in tree.names_in(DECISIONS).filter(|name| *name != "README.md") {
        let path = format!("{DECISIONS}/{name}");
        match number_of(name) {
            None => findings.push(Finding::new(path, 1, "name it NNNN-title.md")),
            Some(number) if number != next => {
                findings.push(Finding::new(path, 1, format!("is number {number}, but {next:04} comes next; renumber it")));
                next = number + 1;
            }
            Some(_) => next += 1,
        }
    }
    findings
}

fn number_of(name: &str) -> Option<u32> {
    let (number, title) = name.split_once('-')?;
    let is_titled = title.strip_suffix(".md").is_some_and(|title| !title.is_empty());
    (number.len() == 4 && is_titled).then(|| number.parse().ok())?
}

/// Links between files lead somewhere. Links into code (`crate::Type`) are checked by rustdoc.
pub(super) fn links_resolve(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts(".md") {
        let mut fence = None;
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(mark)) {
                fence = match fence {
                    None => Some(mark),
                    Some(open) if open == mark => None,
                    open => open,
                };
            } else if fence.is_none() {
                let dead =
                    targets(&without_code(line)).into_iter().filter(|target| is_relative(target) && !tree.has(&resolve(path, target)));
                findings.extend(
                    dead.map(|target| Finding::new(path, number, format!("the link to {target} leads nowhere; mend it or take it out"))),
                );
            }
        }
    }
    findings
}

/// The guide's table of stores is the one that code and figures give.
pub(super) fn stores_are_compared_as_they_are(tree: &Tree) -> Vec<Finding> {
    let finding = |message: String| vec![Finding::new(stores::GUIDE, 1, message)];
    match stores::updated(|path| tree.text(path), tree.folders()) {
        Ok(text) if tree.text(stores::GUIDE) == Some(&text) => Vec::new(),
        Ok(_) => finding("its table of stores is stale; run `cargo xtask tidy --update`".to_owned()),
        Err(error) => finding(error),
    }
}

/// `line` without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Where the links of a line lead: `[text](target)` and `[name]: target`.
fn targets(line: &str) -> Vec<String> {
    let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let definition = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target.trim());
    inline.chain(definition).map(|target| target.trim_matches(['<', '>']).to_owned()).collect()
}

fn is_relative(target: &str) -> bool {
    let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
    let is_code = target.contains("::") || target.starts_with(['`', '#']);
    !(target.is_empty() || is_elsewhere || is_code)
}

/// `target` as a path from the root, when it stands in the file `from`; a leading `/` means the root.
fn resolve(from: &str, target: &str) -> String {
    let target = target.split(['#', '?']).next().unwrap_or_default();
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { from.split('/').collect() };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changelog_that_is_closed_or_missing_is_found() {
        assert!(changelog_is_open(&Tree::of(&[("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n")])).is_empty());
        assert_eq!(changelog_is_open(&Tree::of(&[("CHANGELOG.md", "## [1.0.0]\n")])).len(), 1);
        assert_eq!(changelog_is_open(&Tree::default()).len(), 1);
    }

    #[test]
    fn a_gap_a_repetition_and_a_wrong_name_among_decisions_are_found() {
        let found = |names: &[&str]| {
            let paths: Vec<String> = names.iter().map(|name| format!("docs/adr/{name}")).collect();
            let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "")).collect();
            decisions_are_numbered(&Tree::of(&files)).into_iter().map(|finding| finding.path).collect::<Vec<_>>()
        };
        assert!(found(&["0001-a.md", "0002-b.md", "README.md"]).is_empty());
        assert_eq!(found(&["0001-a.md", "0003-c.md", "0004-d.md"]), ["docs/adr/0003-c.md"]);
        assert_eq!(found(&["0001-a.md", "0001-b.md"]), ["docs/adr/0001-b.md"]);
        assert_eq!(found(&["0001-a.md", "note.md", "2-b.md"]), ["docs/adr/2-b.md", "docs/adr/note.md"]);
    }

    #[test]
    fn a_dead_link_is_found_with_its_line() {
        let text = "[a](guide/a.md#top) [up](../README.md)\n\n[gone](guide/gone.md)\n[ref]: guide/missing.md\n";
        let findings = links_resolve(&Tree::of(&[("docs/index.md", text), ("docs/guide/a.md", ""), ("README.md", "")]));
        let lines: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [3, 4], "{findings:?}");
    }

    #[test]
    fn a_table_of_stores_that_is_stale_is_found() {
        let with = |guide: &str| {
            Tree::of(&[
                (stores::GUIDE, guide),
                (stores::FIGURES, r#"{"machine": {"cores": 2}, "rows": []}"#),
                ("replay-storage-a/src/store.rs", "    fn capabilities(&self) -> Capabilities {\n        Capabilities::default()\n    }\n"),
            ])
        };
        let stale = with("<!-- stores:begin -->\n<!-- stores:end -->\n");
        assert!(stores_are_compared_as_they_are(&stale)[0].message.contains("--update"));
        let fresh = stores::updated(|path| stale.text(path), stale.folders()).unwrap();
        assert_eq!(stores_are_compared_as_they_are(&with(&fresh)), []);
        assert!(stores_are_compared_as_they_are(&Tree::of(&[]))[0].message.contains("missing"));
    }

    #[test]
    fn links_to_folders_other_sites_headings_and_code_are_left_alone() {
        let text = "[a](guide) [b](https://example.com/x.md) [c](#top) [d](crate::Store) [e](mailto:a@example.com)\n";
        assert!(links_resolve(&Tree::of(&[("docs/index.md", text), ("docs/guide/a.md", "")])).is_empty());
    }

    #[test]
    fn what_looks_like_a_link_inside_code_is_left_alone() {
        let text = "`[a](b.md)`\n```text\n[a](b.md)\n```\n~~~\n```\n[a](b.md)\n~~~\n";
        assert!(links_resolve(&Tree::of(&[("README.md", text)])).is_empty());
    }
}
