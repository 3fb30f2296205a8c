//! Rules on the text of files, whatever it means.

use super::Finding;
use super::tree::Tree;

/// From here on a Rust file is worth a look.
const LONG: usize = 400;
/// From here on it has to be split.
const TOO_LONG: usize = 600;

/// Marks of unfinished or switched-off code, with what to do; put together here so that this file holds none.
const UNFINISHED: [(&str, &str); 4] = [
    (concat!("to", "do!("), "finish it, or leave the whole feature out"),
    (concat!("unimpl", "emented!("), "finish it, or leave the whole feature out"),
    (concat!("FIX", "ME"), "mend it now"),
    (concat!("#[ig", "nore"), "a test runs or says why not; a long one belongs in `cargo xtask soak`"),
];

/// Files that have begun to do more than one thing; not findings, since some things are long.
pub(super) fn grows_long(tree: &Tree) -> Vec<Finding> {
    longer_than(tree, LONG)
        .filter(|(_, lines)| *lines <= TOO_LONG)
        .map(|(path, lines)| Finding::new(path, lines, format!("warning: {lines} lines; past {TOO_LONG} it has to be split")))
        .collect()
}

pub(super) fn too_long(tree: &Tree) -> Vec<Finding> {
    longer_than(tree, TOO_LONG).map(|(path, lines)| Finding::new(path, lines, format!("{lines} lines; split it by topic"))).collect()
}

pub(super) fn unfinished(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts(".rs") {
        for (number, line) in numbered(text) {
            let marks = UNFINISHED.iter().filter(|(mark, _)| line.contains(mark));
            findings.extend(marks.map(|(mark, advice)| Finding::new(path, number, format!("`{mark}`: {advice}"))));
        }
    }
    findings
}

pub(super) fn whitespace(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts("") {
        for (number, line) in numbered(text) {
            if line.contains('\t') {
                findings.push(Finding::new(path, number, "a tab; indent with spaces, and write \\t in strings"));
            }
            if line.ends_with([' ', '\r']) {
                findings.push(Finding::new(path, number, "space at the end of the line; remove it"));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            findings.push(Finding::new(path, text.lines().count(), "the last line has no end; add one"));
        }
    }
    findings
}

fn longer_than(tree: &Tree, limit: usize) -> impl Iterator<Item = (&str, usize)> {
    tree.texts(".rs").map(|(path, text)| (path, text.lines().count())).filter(move |(_, lines)| *lines > limit)
}

/// Lines with their numbers, from 1; only the line feed is taken off.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.split_terminator('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_first_a_warning_and_then_a_finding() {
        let of = |lines: usize| Tree::of(&[("a.rs", &"x\n".repeat(lines))]);
        assert_eq!((grows_long(&of(400)).len(), too_long(&of(400)).len()), (0, 0));
        assert_eq!((grows_long(&of(401)).len(), too_long(&of(401)).len()), (1, 0));
        assert_eq!((grows_long(&of(601)).len(), too_long(&of(601)).len()), (0, 1));
    }

    #[test]
    fn a_long_document_is_no_finding() {
        assert!(too_long(&Tree::of(&[("a.md", &"x\n".repeat(601))])).is_empty());
    }

    #[test]
    fn every_mark_of_unfinished_code_is_found_with_its_line() {
        let code = UNFINISHED.map(|(mark, _)| ["fine", mark, ""].join("\n")).concat();
        let lines: Vec<usize> = unfinished(&Tree::of(&[("a.rs", &code)])).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 4, 6, 8]);
    }

    #[test]
    fn tabs_and_spaces_at_the_end_of_lines_are_found() {
        let findings = whitespace(&Tree::of(&[("a.md", "good\n\tbad\nbad \nbad\r\n"), ("b.toml", "no end")]));
        let lines: Vec<(&str, usize)> = findings.iter().map(|finding| (finding.path.as_str(), finding.line)).collect();
        assert_eq!(lines, [("a.md", 2), ("a.md", 3), ("a.md", 4), ("b.toml", 1)]);
    }
}
