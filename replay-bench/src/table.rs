//! Results for people: lines, a comparison, the README's table.

use std::{fmt::Write as _, path::Path};

use crate::{
    Outcome,
    report::{Report, Row, Verdict},
};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// A figure with as many digits as mean something.
fn digits(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 10_000.0 {
        let text = format!("{value:.0}");
        let groups: Vec<&str> = text.as_bytes().rchunks(3).rev().filter_map(|chunk| std::str::from_utf8(chunk).ok()).collect();
        groups.join(",")
    } else if magnitude >= 100.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), digits)
}

/// What is to be reached, in words: `must 10 aim 3, ratio 1.5`.
fn targets(row: &Row) -> String {
    let sign = if row.more_is_better { "≥" } else { "≤" };
    let mut parts = Vec::new();
    if let Some(must) = row.must {
        parts.push(format!("must {sign} {}", digits(must)));
    }
    if let Some(aim) = row.aim {
        parts.push(format!("aim {sign} {}", digits(aim)));
    }
    if let Some(ratio) = row.ratio_must {
        parts.push(format!("ratio {sign} {}", digits(ratio)));
    }
    parts.join(", ")
}

/// One row as a line of plain text.
pub(crate) fn line(row: &Row) -> String {
    let median = |measured: Option<crate::report::Measured>| optional(measured.map(|measured| measured.median));
    let best = optional(row.figure.map(|figure| figure.best));
    let spread = row.figure.map_or_else(String::new, |figure| format!("±{:.0}%", figure.spread_percent));
    let mut line = format!(
        "{:<38} {:>10} {:>10} {:<8} {:>6} {:>10} {:>6}  {:<12} {}",
        row.name,
        median(row.figure),
        best,
        row.unit,
        spread,
        median(row.floor),
        optional(row.ratio),
        row.verdict.words(),
        targets(row)
    );
    if let Some(note) = &row.note {
        let _ = write!(line, " ({note})");
    }
    line
}

/// What stands above the lines.
pub(crate) fn heading() -> String {
    let columns = ["figure", "best", "unit", "spread", "floor", "ratio", "verdict"];
    let [figure, best, unit, spread, floor, ratio, verdict] = columns;
    format!("{:<38} {figure:>10} {best:>10} {unit:<8} {spread:>6} {floor:>10} {ratio:>6}  {verdict:<12} targets", "row")
}

/// What stands below the lines: the floors and the machine.
pub(crate) fn footing(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = String::new();
    text.push_str("\nfloors:\n");
    for row in &report.rows {
        if let Some(floor) = &row.floor_is {
            let _ = writeln!(text, "{:<38} {floor}", row.name);
        }
    }
    let _ = writeln!(
        text,
        "\n{} cores, {}, {}, {} MB, SQLite {}",
        machine.cores, machine.cpu, machine.kernel, machine.memory_mb, machine.sqlite
    );
    if report.smoke {
        text.push_str("smoke: every row works; the figures mean nothing\n");
    }
    text
}

/// Each row beside the same one of an earlier run.
pub(crate) fn comparison(base: &Report, now: &Report) -> String {
    let mut text = format!("{:<38} {:>10} {:>10} {:>8}   ratio to the floor\n", "row", "before", "now", "change");
    for row in &now.rows {
        let before = base.rows.iter().find(|before| before.name == row.name);
        let Some((before, (was, is))) = before.and_then(|before| Some((before, before.figure.zip(row.figure)?))) else {
            let _ = writeln!(text, "{:<38} {:>10} {:>10}", row.name, "-", optional(row.figure.map(|figure| figure.median)));
            continue;
        };
        let change = (is.median / was.median - 1.0) * 100.0;
        let _ = writeln!(
            text,
            "{:<38} {:>10} {:>10} {change:>+7.1}%   {} -> {}",
            row.name,
            digits(was.median),
            digits(is.median),
            optional(before.ratio),
            optional(row.ratio)
        );
    }
    text
}

/// The table of the README.
fn markdown(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = String::from("| | figure | floor | ratio | to be reached | |\n|---|--:|--:|--:|---|---|\n");
    for row in report.rows.iter().filter(|row| row.verdict != Verdict::NotMeasured) {
        let cell = |measured: Option<crate::report::Measured>| measured.map_or_else(String::new, |m| digits(m.median));
        let _ = writeln!(
            text,
            "| {}: {} | {} {} | {} | {} | {} | {} |",
            row.name,
            row.what,
            cell(row.figure),
            row.unit,
            cell(row.floor),
            optional(row.ratio),
            targets(row),
            row.verdict.words()
        );
    }
    let _ = writeln!(
        text,
        "\nMedians of {} rounds on {} cores ({}, {}, SQLite {}), {}. What each floor is: `docs/bench/latest.json`.",
        report.rows.iter().filter_map(|row| row.figure).map(|figure| figure.rounds).max().unwrap_or_default(),
        machine.cores,
        machine.cpu,
        machine.kernel,
        machine.sqlite,
        machine.measured_at.format("%Y-%m-%d")
    );
    text
}

/// Puts the table between the markers of the README.
pub(crate) fn update_readme(path: &Path, report: &Report) -> Outcome {
    if report.smoke {
        return Err("the figures of a smoke run do not belong into the README".into());
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let Some(new) = between_markers(&text, &markdown(report)) else {
        return Err(format!("{} lacks the markers {BEGIN} and {END}", path.display()).into());
    };
    Ok(std::fs::write(path, new)?)
}

fn between_markers(text: &str, table: &str) -> Option<String> {
    let start = text.find(BEGIN)? + BEGIN.len();
    let end = start + text[start..].find(END)?;
    Some(format!("{}\n{table}{}", &text[..start], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_replaces_what_is_between_the_markers_and_nothing_else() {
        let text = format!("# A\n{BEGIN}\nold\n{END}\nrest\n");
        assert_eq!(between_markers(&text, "| new |\n").unwrap(), format!("# A\n{BEGIN}\n| new |\n{END}\nrest\n"));
        assert_eq!(between_markers("# A\n", "| new |\n"), None);
    }

    #[test]
    fn a_figure_has_three_digits_or_groups_of_them() {
        let all = [1.234, 12.34, 123.4, 1234.5, 12_345.6, 1_234_567.0].map(digits);
        assert_eq!(all, ["1.23", "12.3", "123", "1234", "12,346", "1,234,567"]);
    }
}
