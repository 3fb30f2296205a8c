//! The canonical form of a value: one text for one value, so that a digest over it means something.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::{MAX_DEPTH, pointer};
use crate::{Digest, Error, ErrorKind, Result};

/// The largest magnitude of an integer that has a canonical form: 2^53.
///
/// RFC 8785 writes every number as an IEEE 754 double; beyond this, two integers would share one text.
pub const MAX_CANONICAL_INTEGER: u64 = 1 << 53;

/// `value` in the canonical form of RFC 8785: keys by UTF-16 code units, numbers as ECMAScript writes them, no white space.
///
/// # Errors
/// - `Invalid` for an integer beyond ±2^53, which would be rounded; the fact `pointer` names the place.
/// - `LimitExceeded` beyond [`MAX_DEPTH`] levels.
///
/// # Sources
/// RFC 8785 (JCS), RFC 7493 §2.2 (integers of I-JSON).
pub fn to_canonical(value: &Value) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    write(&mut out, value, 0).map_err(Refusal::into_error)?;
    Ok(out)
}

/// The SHA-256 digest of `value`'s canonical form.
///
/// # Errors
/// As [`to_canonical`].
pub fn canonical_digest(value: &Value) -> Result<Digest> {
    Ok(Digest::of(&to_canonical(value)?))
}

/// Why a value has no canonical form. The tokens of its place are gathered on the way out, innermost first.
struct Refusal {
    error: Error,
    tokens: Vec<String>,
}

type Written = Result<(), Refusal>;

impl Refusal {
    fn new(error: Error) -> Self {
        Self { error, tokens: Vec::new() }
    }

    fn inside(mut self, token: String) -> Self {
        self.tokens.push(token);
        self
    }

    fn into_error(self) -> Error {
        let mut place = String::new();
        for token in self.tokens.iter().rev() {
            pointer::push_token(&mut place, token);
        }
        self.error.with("pointer", place)
    }
}

fn write(out: &mut Vec<u8>, value: &Value, depth: usize) -> Written {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => return write_number(out, number),
        Value::String(text) => return write_string(out, text),
        Value::Array(_) | Value::Object(_) if depth == MAX_DEPTH => {
            return Err(Refusal::new(
                Error::new(ErrorKind::LimitExceeded, "canonicalise").message(format!("the value nests deeper than {MAX_DEPTH} levels")),
            ));
        }
        Value::Array(items) => return write_array(out, items, depth + 1),
        Value::Object(members) => return write_object(out, members, depth + 1),
    }
    Ok(())
}

fn write_array(out: &mut Vec<u8>, items: &[Value], depth: usize) -> Written {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if let Err(refusal) = write(out, item, depth) {
            return Err(refusal.inside(index.to_string()));
        }
    }
    out.push(b']');
    Ok(())
}

fn write_object(out: &mut Vec<u8>, members: &Map<String, Value>, depth: usize) -> Written {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_unstable_by(by_utf16);
    out.push(b'{');
    for (index, (key, item)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, key)?;
        out.push(b':');
        if let Err(refusal) = write(out, item, depth) {
            return Err(refusal.inside(key.clone()));
        }
    }
    out.push(b'}');
    Ok(())
}

/// UTF-16 puts characters beyond U+FFFF before those from U+E000 on; UTF-8 does not.
fn by_utf16(a: &(&String, &Value), b: &(&String, &Value)) -> Ordering {
    let (a, b) = (a.0, b.0);
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// `serde_json` escapes what RFC 8785 §3.2.2.2 wants escaped, in the same way.
fn write_string(out: &mut Vec<u8>, text: &str) -> Written {
    serde_json::to_writer(out, text).map_err(internal)
}

fn write_number(out: &mut Vec<u8>, number: &Number) -> Written {
    let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    if let Some(magnitude) = magnitude {
        if magnitude > MAX_CANONICAL_INTEGER {
            let error = Error::invalid("canonicalise", format!("the integer {number} is beyond 2^53 and would be rounded"));
            return Err(Refusal::new(error.hint("write it as a string")));
        }
        return serde_json::to_writer(out, number).map_err(internal);
    }
    match number.as_f64() {
        Some(float) if float.is_finite() => out.extend_from_slice(ryu_js::Buffer::new().format_finite(float).as_bytes()),
        _ => return Err(Refusal::new(Error::invalid("canonicalise", format!("the number {number} is not a finite double")))),
    }
    Ok(())
}

fn internal(error: serde_json::Error) -> Refusal {
    Refusal::new(Error::new(ErrorKind::Internal, "canonicalise").caused_by(error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{
        super::{parse_value, testing},
        *,
    };

    fn canonical(text: &str) -> String {
        String::from_utf8(to_canonical(&parse_value(text.as_bytes()).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn the_example_of_rfc_8785_is_written_as_it_says() {
        let text = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
                        \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(canonical(text), expected);
    }

    #[test]
    fn keys_are_sorted_by_utf16_code_units() {
        let text = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
                       "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
        let canonical = canonical(text);
        let order = ["Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew"].map(|word| canonical.find(word).unwrap());
        assert!(order.is_sorted(), "{canonical}");
    }

    #[test]
    fn numbers_are_written_as_ecmascript_does() {
        // The samples of RFC 8785, appendix B.
        for (bits, expected) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let number = Number::from_f64(f64::from_bits(bits)).unwrap();
            assert_eq!(String::from_utf8(to_canonical(&Value::Number(number)).unwrap()).unwrap(), expected);
        }
        assert_eq!(canonical("[-0, -0.0, 1.0, 10e-1]"), "[0,0,1,1]");
    }

    #[test]
    fn an_integer_that_would_be_rounded_is_refused_by_its_place() {
        assert_eq!(canonical("[9007199254740992, -9007199254740992]"), "[9007199254740992,-9007199254740992]");
        for wrong in [json!(9_007_199_254_740_993_u64), json!(-9_007_199_254_740_993_i64), json!(u64::MAX), json!(i64::MIN)] {
            let error = to_canonical(&json!({"a/b": [0, wrong]})).unwrap_err();
            assert!(error.is(ErrorKind::Invalid));
            assert_eq!(error.fact("pointer"), Some("/a~1b/1"));
        }
    }

    #[test]
    fn equal_values_have_one_digest() {
        let a = parse_value(br#"{"b": 1.0, "a": "\u0041"}"#).unwrap();
        assert_eq!(canonical_digest(&a).unwrap(), canonical_digest(&json!({"a": "A", "b": 1})).unwrap());
        assert_eq!(canonical_digest(&a).unwrap(), Digest::of(br#"{"a":"A","b":1}"#));
    }

    #[test]
    fn the_deepest_value_fits_a_small_stack_and_a_deeper_one_is_refused() {
        testing::on_small_stack(|| {
            for value in [testing::nested_objects(), testing::nested_arrays()] {
                assert_eq!(to_canonical(&value).unwrap(), value.to_string().into_bytes());
                let error = to_canonical(&json!([Value::Null, Value::Array(vec![value])])).unwrap_err();
                assert!(error.is(ErrorKind::LimitExceeded));
            }
        });
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_reference_crate(value in testing::value()) {
            match to_canonical(&value) {
                Ok(ours) => {
                    prop_assert_eq!(&ours, &serde_json_canonicalizer::to_vec(&value).unwrap());
                    // A float between 2^53 and 2^64 is written without a fraction, so it reads as an integer.
                    if let Ok(again) = to_canonical(&parse_value(&ours).unwrap()) {
                        prop_assert_eq!(ours, again);
                    }
                }
                Err(error) => prop_assert!(error.is(ErrorKind::Invalid)),
            }
        }
    }
}
