//! Finding the number that JSON cannot hold.
//!
//! `serde_json` writes NaN and infinities as `null`, so a context would silently change. [`Finite`] serialises nothing but looks at
//! every number on the way, and names the place of the first that is not finite.

use std::fmt::{self, Display};

use serde::ser::{self, Serialize};

/// The JSON pointer of the first NaN or infinite number in `value`, if there is one.
pub(super) fn find_not_finite<T: Serialize + ?Sized>(value: &T) -> Option<String> {
    let mut finite = Finite::default();
    match value.serialize(&mut finite) {
        Err(NotFinite) if finite.found => Some(finite.path),
        _ => None,
    }
}

#[derive(Default)]
struct Finite {
    path: String,
    found: bool,
}

#[derive(Debug)]
struct NotFinite;

impl Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not finite")
    }
}

impl std::error::Error for NotFinite {}

impl ser::Error for NotFinite {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

type Walked = Result<(), NotFinite>;

impl Finite {
    fn number(&mut self, finite: bool) -> Walked {
        self.found = !finite;
        if finite { Ok(()) } else { Err(NotFinite) }
    }

    /// Walks into a part; the path keeps the part's name only if the number is in there.
    fn part<T: Serialize + ?Sized>(&mut self, name: &dyn Display, value: &T) -> Walked {
        let len = self.path.len();
        let name = name.to_string().replace('~', "~0").replace('/', "~1");
        self.path.push('/');
        self.path.push_str(&name);
        value.serialize(&mut *self)?;
        self.path.truncate(len);
        Ok(())
    }
}

/// Walks the parts of a sequence, a map or a struct.
struct Parts<'a> {
    walk: &'a mut Finite,
    index: usize,
    key: String,
}

impl<'a> Parts<'a> {
    fn of(walk: &'a mut Finite) -> Self {
        Self { walk, index: 0, key: String::new() }
    }

    fn next<T: Serialize + ?Sized>(&mut self, value: &T) -> Walked {
        self.index += 1;
        self.walk.part(&(self.index - 1), value)
    }
}

macro_rules! leaves {
    ($($method:ident($($kind:ty)?),)+) => {
        $(fn $method(self, $(_: $kind)?) -> Walked { Ok(()) })+
    };
}

macro_rules! enter {
    ($($method:ident($($kind:ty),*) -> $parts:ident,)+) => {
        $(fn $method(self, $(_: $kind),*) -> Result<Self::$parts, NotFinite> { Ok(Parts::of(self)) })+
    };
}

impl<'a> ser::Serializer for &'a mut Finite {
    type Ok = ();
    type Error = NotFinite;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Parts<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    leaves! {
        serialize_bool(bool), serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128), serialize_char(char),
        serialize_str(&str), serialize_bytes(&[u8]), serialize_none(), serialize_unit(), serialize_unit_struct(&'static str),
    }

    enter! {
        serialize_seq(Option<usize>) -> SerializeSeq,
        serialize_tuple(usize) -> SerializeTuple,
        serialize_tuple_struct(&'static str, usize) -> SerializeTupleStruct,
        serialize_map(Option<usize>) -> SerializeMap,
        serialize_struct(&'static str, usize) -> SerializeStruct,
    }

    fn serialize_f32(self, value: f32) -> Walked {
        self.number(value.is_finite())
    }

    fn serialize_f64(self, value: f64) -> Walked {
        self.number(value.is_finite())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Walked {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Walked {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Walked {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(self, _: &'static str, _: u32, variant: &'static str, value: &T) -> Walked {
        self.part(&variant, value)
    }

    fn serialize_tuple_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Parts<'a>, NotFinite> {
        self.path.push('/');
        self.path.push_str(variant);
        Ok(Parts::of(self))
    }

    fn serialize_struct_variant(self, _: &'static str, _: u32, variant: &'static str, _: usize) -> Result<Parts<'a>, NotFinite> {
        self.path.push('/');
        self.path.push_str(variant);
        Ok(Parts::of(self))
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Walked {
        Ok(())
    }
}

/// Takes the name of an enum's variant off the path again.
fn leave_variant(parts: &mut Parts<'_>) {
    let len = parts.walk.path.rfind('/').unwrap_or(0);
    parts.walk.path.truncate(len);
}

macro_rules! indexed {
    ($($kind:ident::$method:ident $(then $leave:ident)?,)+) => {
        $(impl ser::$kind for Parts<'_> {
            type Ok = ();
            type Error = NotFinite;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Walked {
                self.next(value)
            }

            #[allow(unused_mut, reason = "only variants change it")]
            fn end(mut self) -> Walked {
                $($leave(&mut self);)?
                Ok(())
            }
        })+
    };
}

indexed! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field then leave_variant,
}

macro_rules! named {
    ($($kind:ident $(then $leave:ident)?,)+) => {
        $(impl ser::$kind for Parts<'_> {
            type Ok = ();
            type Error = NotFinite;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Walked {
                self.walk.part(&key, value)
            }

            #[allow(unused_mut, reason = "only variants change it")]
            fn end(mut self) -> Walked {
                $($leave(&mut self);)?
                Ok(())
            }
        })+
    };
}

named! { SerializeStruct, SerializeStructVariant then leave_variant, }

impl ser::SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = NotFinite;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Walked {
        self.key = match serde_json::to_value(key) {
            Ok(serde_json::Value::String(text)) => text,
            Ok(other) => other.to_string(),
            Err(_) => String::new(),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Walked {
        let key = std::mem::take(&mut self.key);
        self.walk.part(&key, value)
    }

    fn end(self) -> Walked {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::find_not_finite;

    #[derive(Serialize)]
    enum Shape {
        Circle { radius: f64 },
        Pair(f64, f64),
        Unit,
    }

    #[test]
    fn the_first_number_that_is_not_finite_is_named() {
        assert_eq!(find_not_finite(&[1.0, f64::NAN]).as_deref(), Some("/1"));
        assert_eq!(find_not_finite(&BTreeMap::from([("a/b", Some(f32::INFINITY))])).as_deref(), Some("/a~1b"));
        let shapes = [Shape::Unit, Shape::Circle { radius: 1.0 }, Shape::Pair(0.0, 1.0), Shape::Pair(0.0, f64::NEG_INFINITY)];
        assert_eq!(find_not_finite(&shapes).as_deref(), Some("/3/Pair/1"));
        assert_eq!(find_not_finite(&shapes[..3]), None);
        assert_eq!(find_not_finite("text"), None);
    }
}
