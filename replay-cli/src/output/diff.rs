//! How a JSON Patch is shown.

use replay::json::{JsonPatch, Pointer};
use serde_json::Value;

use super::Paint;

/// The operations of `patch`, which leads away from `before`, a line or two each.
pub(crate) fn lines(patch: &JsonPatch, before: &Value, paint: Paint) -> String {
    if patch.is_empty() {
        return paint.dim("  the context is the same");
    }
    // Operations count from what those before them left.
    let mut state = before.clone();
    let mut out = Vec::new();
    for operation in patch.operations() {
        let path = operation["path"].as_str().unwrap_or_default();
        let place = if path.is_empty() { "/" } else { path };
        let old = Pointer::parse(path).ok().and_then(|pointer| pointer.get(&state).cloned());
        let (old, new) = (old.as_ref(), operation.get("value"));
        match operation["op"].as_str() {
            Some("add") => out.push(paint.good(format!("  + {place} = {}", short(new)))),
            Some("remove") => out.push(paint.bad(format!("  - {place} = {}", short(old)))),
            Some("replace") => {
                out.push(paint.bad(format!("  - {place} = {}", short(old))));
                out.push(paint.good(format!("  + {place} = {}", short(new))));
            }
            _ => out.push(format!("  ~ {operation}")),
        }
        if let Ok(one) = JsonPatch::from_value(Value::Array(vec![operation.clone()])) {
            // A patch of the library's own applies; if not, later lines show less.
            let _ = one.apply(&mut state);
        }
    }
    out.join("\n")
}

/// The two values next to each other, line by line, with the lines that differ marked.
pub(crate) fn side_by_side(before: &Value, after: &Value, paint: Paint) -> String {
    let (left, right) = (pretty(before), pretty(after));
    let width = (paint.width().saturating_sub(5) / 2).max(20);
    let rows = align(&left, &right).into_iter().map(|(old, new)| {
        let cell = |text: Option<&str>| {
            console::pad_str(&console::truncate_str(text.unwrap_or(""), width, "…"), width, console::Alignment::Left, None).into_owned()
        };
        let (a, b) = (cell(old), cell(new));
        let b = b.trim_end();
        match (old, new) {
            (Some(x), Some(y)) if x == y => format!("{a}   {b}"),
            (Some(_), Some(_)) => format!("{} {} {}", paint.bad(a), paint.warn("│"), paint.good(b)),
            (Some(_), None) => format!("{} {}", paint.bad(a), paint.bad("<")),
            _ => format!("{a} {} {}", paint.good(">"), paint.good(b)),
        }
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// The lines of a value, without the commas at their ends, which would make a line differ because of the one after it.
fn pretty(value: &Value) -> Vec<String> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines().map(|line| line.strip_suffix(',').unwrap_or(line).to_owned()).collect()
}

/// Pairs of lines: the same ones side by side, others paired in order where both sides have some.
fn align<'a>(left: &'a [String], right: &'a [String]) -> Vec<(Option<&'a str>, Option<&'a str>)> {
    const MAX_CELLS: usize = 4_000_000;
    if left.len().saturating_mul(right.len()) > MAX_CELLS {
        let rows = left.len().max(right.len());
        return (0..rows).map(|at| (left.get(at).map(String::as_str), right.get(at).map(String::as_str))).collect();
    }
    // Lengths of the longest common subsequences of the tails.
    let columns = right.len() + 1;
    let mut table = vec![0_u32; (left.len() + 1) * columns];
    for at in (0..left.len()).rev() {
        for to in (0..right.len()).rev() {
            table[at * columns + to] = if left[at] == right[to] {
                table[(at + 1) * columns + to + 1] + 1
            } else {
                table[(at + 1) * columns + to].max(table[at * columns + to + 1])
            };
        }
    }
    let (mut at, mut to) = (0, 0);
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    let mut rows = Vec::new();
    let flush = |removed: &mut Vec<&'a str>, added: &mut Vec<&'a str>, rows: &mut Vec<_>| {
        for index in 0..removed.len().max(added.len()) {
            rows.push((removed.get(index).copied(), added.get(index).copied()));
        }
        removed.clear();
        added.clear();
    };
    while at < left.len() || to < right.len() {
        if at < left.len() && to < right.len() && left[at] == right[to] {
            flush(&mut removed, &mut added, &mut rows);
            rows.push((Some(left[at].as_str()), Some(right[to].as_str())));
            (at, to) = (at + 1, to + 1);
        } else if to == right.len() || (at < left.len() && table[(at + 1) * columns + to] >= table[at * columns + to + 1]) {
            removed.push(left[at].as_str());
            at += 1;
        } else {
            added.push(right[to].as_str());
            to += 1;
        }
    }
    flush(&mut removed, &mut added, &mut rows);
    rows
}

/// A value on one line, cut where it is long.
fn short(value: Option<&Value>) -> String {
    let text = value.map(ToString::to_string).unwrap_or_default();
    console::truncate_str(&text, 200, "…").into_owned()
}

#[cfg(test)]
mod tests {
    use replay::json::diff;
    use serde_json::json;

    use super::*;

    #[test]
    fn each_operation_shows_old_and_new() {
        let (before, after) = (json!({"a": 1, "b": [1, 2], "c": true}), json!({"a": 2, "b": [1], "d": null}));
        let text = lines(&diff(&before, &after), &before, Paint::plain());
        for line in ["  - /a = 1", "  + /a = 2", "  - /b/1 = 2", "  - /c = true", "  + /d = null"] {
            assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn equal_lines_stand_next_to_each_other() {
        let text = side_by_side(&json!({"a": 1, "b": 2}), &json!({"b": 2, "c": 3}), Paint::new(false, 60));
        let row = text.lines().find(|line| line.contains("\"b\"")).unwrap();
        assert_eq!(row.matches("\"b\"").count(), 2, "{text}");
    }
}
