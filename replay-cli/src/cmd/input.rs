//! Reading what was given on the command line, in a file, or on standard input.

use std::{collections::BTreeMap, io::Read, path::Path};

use replay::{
    Error, Result,
    json::{self, Override},
};
use serde_json::{Map, Value};

/// The JSON value that `text` is, or that is in the file behind `@`, or on standard input for `-`.
///
/// # Errors
/// `Invalid` if it cannot be read or is not JSON.
pub(super) fn value(text: &str) -> Result<Value> {
    let (bytes, place) = match (text, text.strip_prefix('@')) {
        ("-", _) => (stdin()?, "standard input".to_owned()),
        (_, Some(path)) => (file(Path::new(path))?, path.to_owned()),
        _ => (text.as_bytes().to_vec(), "the input".to_owned()),
    };
    parse(&bytes, &place)
}

/// The JSON value in a file, or on standard input for `-`.
///
/// # Errors
/// `Invalid` if it cannot be read or is not JSON.
pub(super) fn value_in(path: &Path) -> Result<Value> {
    if path == Path::new("-") { parse(&stdin()?, "standard input") } else { parse(&file(path)?, &path.display().to_string()) }
}

fn parse(bytes: &[u8], place: &str) -> Result<Value> {
    json::parse_value(bytes).map_err(|error| {
        let at = match (error.fact("line"), error.fact("column")) {
            (Some(line), Some(column)) => format!(":{line}:{column}"),
            _ => String::new(),
        };
        Error::invalid("read input", format!("{place}{at} is not JSON"))
            .hint("write JSON as in '{\"customer\": 17}', @file.json, or - for standard input")
            .caused_by(error)
    })
}

/// The first context: `input`, an object, with `assignments` on top.
///
/// # Errors
/// `Invalid` for what is not JSON, or not an object where nothing else will do.
pub(super) fn context(input: Option<&str>, assignments: &[String]) -> Result<Value> {
    let mut context = input.map_or_else(|| Ok(Value::Object(Map::new())), value)?;
    Override::from_assignments(assignments)?.apply(&mut context)?;
    Ok(context)
}

/// Takes `key=value` pairs.
///
/// # Errors
/// `Invalid` for what has no `=`.
pub(super) fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>> {
    let split = |pair: &String| {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Error::invalid("read label", format!("`{pair}` is not a label")).hint("write key=value, as in customer=c-17"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    pairs.iter().map(split).collect()
}

/// The bytes on standard input.
///
/// # Errors
/// `Invalid` if they cannot be read.
pub(super) fn stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|error| Error::invalid("read input", "standard input cannot be read").caused_by(error))?;
    Ok(bytes)
}

/// The bytes of a file.
///
/// # Errors
/// `Invalid` if they cannot be read.
pub(super) fn file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::invalid("read input", format!("{} cannot be read", path.display())).caused_by(error))
}
