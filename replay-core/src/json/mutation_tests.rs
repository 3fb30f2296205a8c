//! Random damage to well-formed inputs: every parser answers, none panics.

use fastrand::Rng;
use serde_json::Value;

use super::{JsonPatch, MAX_DEPTH, Override, Pointer, check_depth, parse_value};

const INPUTS: u32 = 100_000;

const PIECES: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\\",
    "\\u",
    "\\ud800",
    ":",
    ",",
    "/",
    "~",
    "~0",
    "~1",
    "-",
    ".",
    "=",
    "null",
    "1e999",
    "-0",
    "op",
    "add",
    "path",
    "value",
    "from",
    "/-",
    "/0",
    "\0",
    "é",
    "😀",
    "[[[[[[[[",
    "18446744073709551616",
];

/// A copy of one of `seeds` with up to 6 pieces of it removed, changed, repeated or put in.
fn mutated(rng: &mut Rng, seeds: &[&str]) -> Vec<u8> {
    let mut bytes = seeds[rng.usize(..seeds.len())].as_bytes().to_vec();
    for _ in 0..rng.usize(1..=6) {
        let at = rng.usize(..=bytes.len());
        let end = (at + rng.usize(..8)).min(bytes.len());
        match rng.u8(..4) {
            0 => drop(bytes.drain(at..end)),
            1 => bytes.extend_from_within(at..end),
            2 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            _ => drop(bytes.splice(at..at, PIECES[rng.usize(..PIECES.len())].bytes())),
        }
    }
    bytes
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn no_damaged_pointer_panics() {
    let mut rng = Rng::with_seed(1);
    let document = serde_json::json!({"a": {"b/c": [1, {"": 2}]}, "items": [0, 1]});
    for _ in 0..INPUTS {
        let text = text(&mutated(&mut rng, &["/a/b~1c/1/", "items.0.price", "", "/items/-", "/a/~0~1"]));
        if let Ok(pointer) = Pointer::parse(&text) {
            assert_eq!(Pointer::parse(&pointer.to_string()).unwrap(), pointer);
            let mut changed = document.clone();
            let done = pointer.set(&mut changed, Value::from(7));
            assert!(done.is_ok() || changed == document);
            pointer.remove(&mut changed);
        }
    }
}

#[test]
fn no_damaged_patch_panics() {
    let mut rng = Rng::with_seed(2);
    let seeds = [
        r#"[{"op":"add","path":"/a/0","value":{"x":1}},{"op":"remove","path":"/b"}]"#,
        r#"[{"op":"move","from":"/a/0","path":"/b/c"},{"op":"copy","from":"","path":"/b/d"}]"#,
        r#"[{"op":"test","path":"/a","value":[1]},{"op":"replace","path":"/a/0","value":null}]"#,
    ];
    let document = serde_json::json!({"a": [1], "b": {"c": 1}});
    let mut applied = 0;
    for _ in 0..INPUTS {
        let Ok(value) = parse_value(&mutated(&mut rng, &seeds)) else { continue };
        let Ok(patch) = JsonPatch::from_value(value) else { continue };
        let mut changed = document.clone();
        let done = patch.apply(&mut changed);
        assert!(done.is_ok() || changed == document);
        applied += u32::from(done.is_ok());
    }
    assert!(applied > 0, "some inputs must reach the end");
}

#[test]
fn no_damaged_assignment_panics() {
    let mut rng = Rng::with_seed(3);
    let document = serde_json::json!({"a": {"b": 1}, "items": [0, 1]});
    for _ in 0..INPUTS {
        let seeds = ["a.b={\"c\":[1,null]}", "/items/-=5", "payment_token=tok_ok", "items.0=null", "a=\"\\u00e9\""];
        let texts = [text(&mutated(&mut rng, &seeds)), text(&mutated(&mut rng, &seeds))];
        if let Ok(change) = Override::from_assignments(&texts) {
            let mut changed = document.clone();
            let done = change.apply(&mut changed);
            assert!(done.is_ok() || changed == document);
        }
    }
}

#[test]
fn no_damaged_text_is_parsed_deeper_than_the_scanner_saw() {
    let mut rng = Rng::with_seed(4);
    let seeds = [r#"{"a":[1,-2.5e3,"x\"y\\",{"b":null}],"c":"\ud83d\ude00"}"#, r"[[[[[1]]]]]", r#""plain""#, "[true,false,{}]"];
    let mut parsed = 0;
    for _ in 0..INPUTS {
        let bytes = mutated(&mut rng, &seeds);
        let depth = (0..=MAX_DEPTH).find(|max| check_depth(&bytes, *max).is_ok()).unwrap();
        if let Ok(value) = parse_value(&bytes) {
            assert!(!super::tree::is_deeper_than(&value, depth));
            parsed += 1;
        }
    }
    assert!(parsed > 1000, "only {parsed} inputs were JSON");
}
