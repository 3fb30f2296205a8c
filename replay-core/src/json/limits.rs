//! Limits on nesting: checked on the text, before anything is parsed.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// The deepest nesting of arrays and objects that is parsed, in levels: 1,024.
pub const MAX_DEPTH: usize = 1_024;

/// The depth that any stack has room for: the limit that `serde_json` has of itself.
const ORDINARY_DEPTH: usize = 128;

/// The stack for deeper text: 32 KiB for each of [`MAX_DEPTH`] levels, of which only what is used takes memory.
const DEEP_STACK_BYTES: usize = MAX_DEPTH << 15;

/// Refuses JSON text whose arrays and objects nest deeper than `max_depth` levels. Allocates and parses nothing.
///
/// `[]` has one level, a scalar none. The text need not be well-formed: whatever a parser makes of its beginning, it
/// has not gone deeper than this says.
///
/// # Errors
/// `LimitExceeded` with the byte offset of the bracket that is too deep.
pub fn check_depth(text: &[u8], max_depth: usize) -> Result<()> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = end_of_string(text, at),
            b'[' | b'{' => {
                depth += 1;
                if depth > max_depth {
                    return Err(Error::new(ErrorKind::LimitExceeded, "parse")
                        .message(format!("the JSON nests deeper than {max_depth} levels"))
                        .hint("flatten the value, or keep the deep part as a string")
                        .with("offset", at));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The offset of the quote that ends the string begun at `start`, or the length of the text.
fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Parses JSON text of up to [`MAX_DEPTH`] levels.
///
/// Of two members with one key the later stays, and an escaped lone surrogate is no text: what must come back byte
/// for byte is kept as bytes.
///
/// # Errors
/// `LimitExceeded` if it nests deeper, `Invalid` with line and column if it is not JSON.
pub fn parse_value(text: &[u8]) -> Result<Value> {
    parse_as(text)
}

/// Parses JSON text of up to [`MAX_DEPTH`] levels into a `T`, where `serde_json`'s own limit is 128.
///
/// Text deeper than that is parsed on a thread with a large stack, since a level may take several KiB of it in builds
/// without optimisation. The text of a value may be in the cause (as in `invalid type: string "…"`), never in the message.
///
/// # Errors
/// `LimitExceeded` if it nests deeper, `Invalid` with line and column if it is not JSON or does not fit `T`, `Internal` if no
/// thread can be had.
pub fn parse_as<T: DeserializeOwned + Send>(text: &[u8]) -> Result<T> {
    if check_depth(text, ORDINARY_DEPTH).is_ok() {
        return parse(text);
    }
    check_depth(text, MAX_DEPTH)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("deep-json".to_owned()).stack_size(DEEP_STACK_BYTES);
        let parsing = thread.spawn_scoped(scope, || parse(text));
        let parsing =
            parsing.map_err(|error| Error::new(ErrorKind::Internal, "parse").message("no thread can be started").caused_by(error))?;
        parsing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    // The depth was checked, so the parser's own limit, which is below it, is not needed.
    deserializer.disable_recursion_limit();
    T::deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value)).map_err(not_json)
}

fn not_json(error: serde_json::Error) -> Error {
    let message = if error.is_data() { "the JSON does not have the expected shape" } else { "the text is not JSON" };
    Error::invalid("parse", message).with("line", error.line()).with("column", error.column()).caused_by(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::testing, *};

    fn depth_of(text: &str) -> usize {
        (0..=2 * MAX_DEPTH).find(|max| check_depth(text.as_bytes(), *max).is_ok()).unwrap()
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        assert_eq!(depth_of("1"), 0);
        assert_eq!(depth_of("[]"), 1);
        assert_eq!(depth_of(r#"{"[[[": ["\"[[", "\\", [1], "\u005b["]}"#), 3);
        assert_eq!(depth_of(r#"[[],[],{"a":{}}]"#), 3);
        assert_eq!(depth_of(r#"["unclosed [[["#), 1);
        assert_eq!(depth_of("\"\\"), 0);
        assert_eq!(depth_of("]]]]["), 1);
    }

    #[test]
    fn text_beyond_the_limit_is_refused_with_its_offset() {
        let error = check_depth(b"[ [ [", 2).unwrap_err();
        assert!(error.is(ErrorKind::LimitExceeded));
        assert_eq!(error.fact("offset"), Some("4"));
        let text = "[".repeat(1_000_000);
        assert!(parse_value(text.as_bytes()).unwrap_err().is(ErrorKind::LimitExceeded));
    }

    #[test]
    fn the_deepest_text_is_parsed_on_a_small_stack() {
        testing::on_small_stack(|| {
            for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
                let text = format!("{}1{}", open.repeat(MAX_DEPTH), close.repeat(MAX_DEPTH));
                let value = parse_value(text.as_bytes()).unwrap();
                let expected = if open == "[" { testing::nested_arrays() } else { testing::nested_objects() };
                assert!(super::super::tree::is_same(&value, &expected));
                let deeper = format!("{open}{text}{close}");
                assert!(parse_value(deeper.as_bytes()).unwrap_err().is(ErrorKind::LimitExceeded));
            }
        });
    }

    #[test]
    fn what_is_not_json_is_named_by_line_and_column() {
        let error = parse_value(b"{\n  \"a\": tru }").unwrap_err();
        assert_eq!((error.fact("line"), error.fact("column")), (Some("2"), Some("11")));
        assert!(parse_value(b"1 2").unwrap_err().is(ErrorKind::Invalid));
        assert!(parse_value(br#""\ud800""#).is_err());
        let error = parse_as::<Vec<u8>>(br#"["hunter2"]"#).unwrap_err();
        assert!(error.is(ErrorKind::Invalid) && !error.to_string().contains("hunter2"));
    }

    #[test]
    fn numbers_are_read_exactly() {
        for text in ["0.30000000000000004", "1e308", "-0.0", "9223372036854775808", "18446744073709551615", "5e-324"] {
            let value = parse_value(text.as_bytes()).unwrap();
            assert_eq!(value.to_string().parse::<f64>().unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits());
        }
    }

    proptest! {
        #[test]
        fn the_depth_of_text_is_the_depth_of_the_value(value in testing::value()) {
            let depth = depth_of(&value.to_string());
            prop_assert!(!super::super::tree::is_deeper_than(&value, depth));
            prop_assert!(depth == 0 || super::super::tree::is_deeper_than(&value, depth - 1));
            prop_assert_eq!(parse_value(value.to_string().as_bytes()).unwrap(), value);
        }
    }
}
