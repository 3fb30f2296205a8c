//! Libraries do not print: what they have to say goes to their caller or to `tracing`.

use super::Finding;
use super::tree::Tree;

/// Crates that are programs, or that print the results they exist for.
const PROGRAMS: [&str; 4] = ["replay-bench/", "replay-cli/", "replay-e2e/", "xtask/"];
const MACROS: [&str; 5] = ["println!(", "print!(", "eprintln!(", "eprint!(", "dbg!("];
const LINTS: [&str; 3] = ["clippy::print_stdout", "clippy::print_stderr", "clippy::dbg_macro"];

/// Clippy finds the same in the crates that it is run on; this also finds where somebody switched it off.
pub(super) fn only_programs_print(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts(".rs").filter(|(path, _)| is_library_code(path)) {
        for (number, line) in (1..).zip(text.lines()).take_while(|(_, line)| line.trim() != "#[cfg(test)]") {
            if line.trim_start().starts_with("//") {
                continue;
            }
            if let Some(name) = MACROS.iter().find(|name| calls(line, name)) {
                findings.push(Finding::new(path, number, format!("`{name}…)` in a library; return it, or use `tracing`")));
            }
            if let Some(lint) = LINTS.iter().find(|lint| line.contains(*lint)) {
                findings.push(Finding::new(path, number, format!("{lint} is switched off in a library; only programs print")));
            }
        }
    }
    findings
}

fn is_library_code(path: &str) -> bool {
    let is_program = PROGRAMS.iter().any(|program| path.starts_with(program));
    let is_own_program = path.split('/').any(|part| matches!(part, "tests" | "examples" | "benches" | "bin" | "build.rs" | "tests.rs"));
    !is_program && !is_own_program
}

/// Whether `line` calls the macro itself and not one whose name ends like it.
fn calls(line: &str, name: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| !line[..at].ends_with(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        only_programs_print(&Tree::of(&[(path, text)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_library_that_prints_is_found_once_a_line() {
        assert_eq!(lines("replay-core/src/lib.rs", "let a = 1;\n    eprintln!(\"{a}\");\nstd::print!(\"\");\n"), [2, 3]);
    }

    #[test]
    fn a_library_that_switches_the_lint_off_is_found() {
        assert_eq!(lines("replay-core/src/lib.rs", "#![allow(clippy::print_stdout, reason = \"\")]\n"), [1]);
    }

    #[test]
    fn programs_tests_and_documentation_may_print() {
        for path in ["replay-cli/src/lib.rs", "examples/custom_store.rs", "replay-core/tests/it/main.rs", "replay/src/tests.rs"] {
            assert!(lines(path, "println!();\n").is_empty(), "{path}");
        }
        assert!(lines("replay-core/src/lib.rs", "/// println!(\"{x}\");\n#[cfg(test)]\nmod tests {\n    println!();\n}\n").is_empty());
    }

    #[test]
    fn a_macro_whose_name_only_ends_like_one_that_prints_is_left_alone() {
        assert!(lines("replay-core/src/lib.rs", "my_println!(1);\n").is_empty());
    }
}
