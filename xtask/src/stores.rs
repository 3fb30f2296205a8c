//! The table of stores in the guide: what each says of itself in code, and what was measured.
//!
//! Capabilities are read from the text of each backend's `fn capabilities`, which its conformance run pins: building every backend
//! for a table would take minutes.

use serde_json::Value;

const BEGIN: &str = "<!-- stores:begin -->";
const END: &str = "<!-- stores:end -->";
/// Where the table stands.
pub(crate) const GUIDE: &str = "docs/guide/choose-a-store.md";
/// The figures of the last measurement.
pub(crate) const FIGURES: &str = "docs/bench/latest.json";
/// What a crate that is a backend is called, before its name.
const BACKEND: &str = "replay-storage-";
const CAPABILITIES: &str = "fn capabilities(";

/// The figures that stores are compared by: heading, and the names of the rows, after the store's, of which the first is taken that
/// was measured.
const COMPARED: [(&str, &[&str]); 4] = [
    ("a step alone, 1 KB", &["step-alone", "step-1kb"]),
    ("64 sagas at once", &["at-once-64"]),
    ("the state at an instant", &["state-at-10000", "state-of-10000", "state-among-1000000", "state-at"]),
    ("a history of 1,000", &["history-1000"]),
];

/// What a backend says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
struct Facts {
    durable: bool,
    shared: bool,
    native_expiry: bool,
    sql: bool,
    max_record_bytes: Option<u64>,
}

/// The guide's text with the table as it should be, made of the repository's files: `text` gives one by path, and `crates` are the
/// names of the folders at the root.
pub(crate) fn updated<'a>(text: impl Fn(&str) -> Option<&'a str>, crates: impl Iterator<Item = &'a str>) -> Result<String, String> {
    let guide = text(GUIDE).ok_or_else(|| format!("{GUIDE} is missing"))?;
    let figures: Value = serde_json::from_str(text(FIGURES).ok_or_else(|| format!("{FIGURES} is missing"))?)
        .map_err(|error| format!("{FIGURES} is no JSON: {error}"))?;
    let mut stores = Vec::new();
    for folder in crates.filter(|folder| folder.starts_with(BACKEND)) {
        // A backend of the same shape as the others has it in one of these.
        let mut code = ["store.rs", "snapshots.rs"].into_iter().filter_map(|file| text(&format!("{folder}/src/{file}")));
        let facts = code.find(|code| code.contains(CAPABILITIES)).and_then(facts);
        let facts = facts.ok_or_else(|| format!("{folder}: its `{CAPABILITIES}…)` cannot be read; teach it to xtask/src/stores.rs"))?;
        stores.push((&folder[BACKEND.len()..], facts));
    }
    let start = guide.find(BEGIN).ok_or_else(|| format!("{GUIDE} lacks {BEGIN}"))? + BEGIN.len();
    let end = start + guide[start..].find(END).ok_or_else(|| format!("{GUIDE} lacks {END}"))?;
    Ok(format!("{}\n{}{}", &guide[..start], table(&stores, &figures), &guide[end..]))
}

/// What the body of `fn capabilities` in `code` sets; none for calls that this does not know.
fn facts(code: &str) -> Option<Facts> {
    let body = code.split_once(CAPABILITIES)?.1.split_once("\n    }")?.0;
    let mut facts = Facts::default();
    for call in body.split(".with_").skip(1) {
        let (name, rest) = call.split_once('(')?;
        let argument = rest.split_once(')')?.0;
        match (name, argument) {
            ("durable", "true") => facts.durable = true,
            ("shared", "true") => facts.shared = true,
            ("native_expiry", "true") => facts.native_expiry = true,
            ("sql", "true") => facts.sql = true,
            ("max_record_bytes", constant) => facts.max_record_bytes = Some(number(code, constant)?),
            _ => return None,
        }
    }
    Some(facts)
}

/// The value of a constant: a number, a shifted one, or that less another.
fn number(code: &str, constant: &str) -> Option<u64> {
    let value = code.split_once(&format!("const {constant}: u64 = "))?.1.split_once(';')?.0.replace(['(', ')', '_', ' '], "");
    let (value, less) = value.split_once('-').unwrap_or((&value, "0"));
    let (value, shift) = value.split_once("<<").unwrap_or((value, "0"));
    let bytes = value.parse::<u64>().ok()?.checked_shl(shift.parse().ok()?)?;
    bytes.checked_sub(less.parse().ok()?)
}

fn table(stores: &[(&str, Facts)], figures: &Value) -> String {
    let said = "| store | survives its process | several processes | expires by itself | contexts by SQL | largest record |";
    let headings = COMPARED.map(|(heading, _)| format!(" {heading} |")).concat();
    let mut lines = vec![format!("{said}{headings}"), format!("|---|---|---|---|---|---|{}", "---|".repeat(COMPARED.len()))];
    for (name, facts) in stores {
        let mut cells = vec![format!("[{name}](../../{BACKEND}{name}/README.md)")];
        cells.extend([facts.durable, facts.shared, facts.native_expiry, facts.sql].map(|is| if is { "yes" } else { "no" }.to_owned()));
        cells.push(facts.max_record_bytes.map_or_else(|| "the engine's limits".to_owned(), size));
        cells.extend(COMPARED.iter().map(|(_, rows)| figure(name, rows, figures)));
        lines.push(format!("| {} |", cells.join(" | ")));
    }
    let machine = &figures["machine"];
    let text = |field: &str| machine[field].as_str().unwrap_or("unknown").to_owned();
    lines.push(String::new());
    lines.push(format!(
        "Figures: medians on {} cores ({}, {}), {}; in brackets the store's setting.",
        machine["cores"],
        text("cpu"),
        text("kernel"),
        text("measured_at").split('T').next().unwrap_or_default()
    ));
    lines.join("\n") + "\n"
}

/// The first of `rows` that was measured, at each setting of the store.
fn figure(store: &str, rows: &[&str], figures: &Value) -> String {
    let all = figures["rows"].as_array().map_or(&[][..], Vec::as_slice);
    for wanted in rows {
        let shown: Vec<String> = all.iter().filter_map(|row| shown(store, wanted, row)).collect();
        if !shown.is_empty() {
            return shown.join(", ");
        }
    }
    "not measured".to_owned()
}

fn shown(store: &str, wanted: &str, row: &Value) -> Option<String> {
    let (subject, name) = row["name"].as_str()?.split_once('/')?;
    let setting = subject.strip_prefix(store)?;
    let setting = setting.strip_prefix('-').map(|setting| format!(" ({setting})")).or_else(|| setting.is_empty().then(String::new))?;
    let value = row["figure"]["median"].as_f64().filter(|_| name == wanted)?;
    Some(format!("{} {}{setting}", digits(value), row["unit"].as_str()?))
}

/// Three digits, or thousands in groups.
fn digits(value: f64) -> String {
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    let text = format!("{value:.decimals$}");
    if value < 10_000.0 {
        return text;
    }
    let groups: Vec<&str> = text.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes >= 1_000_000_000 { format!("{} GB", bytes / 1_000_000_000) } else { format!("{} MiB", bytes.div_ceil(MIB)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "pub(crate) const MOST: u64 = (512 << 20) - 1024;\n    fn capabilities(&self) -> Capabilities {\n        \
                        let known = Capabilities::default().with_durable(true);\n        known.with_sql(true).with_max_record_bytes(MOST)\n    }\n";
    const ROWS: &str = r#"{"machine": {"cores": 2, "cpu": "C", "kernel": "K", "measured_at": "2026-11-21T01:00:00Z"}, "rows": [
        {"name": "a-full/step-alone", "unit": "µs", "figure": {"median": 263.4}},
        {"name": "a-normal/step-alone", "unit": "µs", "figure": {"median": 9.444}},
        {"name": "ab/at-once-64", "unit": "steps/s", "figure": {"median": 50654.4}}]}"#;

    #[test]
    fn a_backend_is_known_by_its_code() {
        let facts = facts(CODE).unwrap();
        assert_eq!(facts, Facts { durable: true, sql: true, max_record_bytes: Some((512 << 20) - 1024), ..Facts::default() });
    }

    #[test]
    fn a_capability_that_the_table_does_not_know_is_no_row_with_a_hole() {
        assert_eq!(facts(&CODE.replace("with_sql", "with_magic")), None);
        assert_eq!(facts(&CODE.replace("const MOST", "const OTHER")), None);
    }

    #[test]
    fn figures_are_found_by_store_and_setting() {
        let figures = serde_json::from_str(ROWS).unwrap();
        assert_eq!(figure("a", &["step-alone"], &figures), "263 µs (full), 9.44 µs (normal)");
        assert_eq!(figure("ab", &["nothing", "at-once-64"], &figures), "50,654 steps/s");
        assert_eq!(figure("a", &["at-once-64"], &figures), "not measured");
    }

    #[test]
    fn the_table_stands_between_its_marks_and_the_rest_stays() {
        let guide = format!("# A\n{BEGIN}\nold\n{END}\nrest\n");
        let text = |path: &str| match path {
            GUIDE => Some(guide.as_str()),
            FIGURES => Some(ROWS),
            "replay-storage-a/src/store.rs" => Some(CODE),
            _ => None,
        };
        let new = updated(text, ["replay-storage-a", "replay-core"].into_iter()).unwrap();
        assert!(
            new.starts_with(&format!("# A\n{BEGIN}\n| store |"))
                && new.ends_with(&format!("2026-11-21; in brackets the store's setting.\n{END}\nrest\n")),
            "{new}"
        );
        let row =
            "| [a](../../replay-storage-a/README.md) | yes | no | no | yes | 512 MiB | 263 µs (full), 9.44 µs (normal) | not measured |";
        assert!(new.contains(row), "{new}");
        assert!(updated(text, ["replay-storage-b"].into_iter()).unwrap_err().contains("replay-storage-b"));
    }
}
