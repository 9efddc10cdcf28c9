//! Reading a peer's JSON as tolerantly as iperf3's own parser does, and no more trustingly than that.
//!
//! Keys are found whatever their case, the first of two equal keys counts, a NUL ends the text, a mark of the
//! byte order may stand in front, strings need not be valid UTF-8, and numbers may be written as fractions.
//! What follows the first value is refused, which iperf3 would overlook: behind a length prefix it can only
//! be damage. docs/COMPATIBILITY.md has a table of all that is decided here.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// How deep values may be nested. Real messages need about six levels.
const DEPTH_MAX: u32 = 64;
/// How many values and ends of arrays a message may have. The document of a server fills its 16 MiB with
/// fewer, and as a tree a value takes far more memory than its two or three bytes of text may have been.
const VALUES_MAX: u32 = 1_000_000;

/// Why a text is no message.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON.
    #[error("not valid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It is JSON, but neither an object nor an array.
    #[error("not a JSON object")]
    NotAnObject,
}

/// The object that a peer's message is. An array counts as an object without keys, as in iperf3.
///
/// # Errors
/// The text is no JSON, is nested deeper than 64 levels, has more than one million values or a number that
/// is not finite, has something behind the value, or is neither an object nor an array.
pub fn parse_object(bytes: &[u8]) -> Result<Object, JsonError> {
    parse_with(bytes, &Cell::new(VALUES_MAX))
}

/// Reads one object or array, and counts `values_left` down to the limit on the number of values.
fn parse_with(bytes: &[u8], values_left: &Cell<u32>) -> Result<Object, JsonError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = text.split(|byte| *byte == 0).next().unwrap_or(&[]);
    let text = String::from_utf8_lossy(text);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let value = Nested { depth: 0, values_left }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    match value {
        Value::Object(object) => Ok(object),
        Value::Array(_) => Ok(Object::default()),
        _ => Err(JsonError::NotAnObject),
    }
}

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that fits.
    Integer(i64),
    /// A whole number from 2^63 to 2^64 - 1.
    Unsigned(u64),
    /// Any other number; always finite.
    Float(f64),
    /// A string, up to its first NUL.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

/// The members of an object as they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// The first member of that name, its case ignored.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Takes a member out, for one that may be large; `null` stays in its place.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let (_, value) = self.0.iter_mut().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(std::mem::replace(value, Value::Null))
    }
}

impl Value {
    /// The number as a whole one, a fraction cut off; `None` for other types and for numbers that do not fit.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Float(number) => truncate(*number),
            _ => None,
        }
    }

    /// As [`Value::integer`], but whatever is 2^63 or more means -1: iperf3 3.12 and 3.13 print negative
    /// integers as unsigned 64-bit ones.
    #[must_use]
    pub fn wrapped_integer(&self) -> Option<i64> {
        match self {
            Self::Unsigned(_) => Some(-1),
            Self::Float(number) if *number >= TWO_TO_63 => Some(-1),
            _ => self.integer(),
        }
    }

    /// The number, always finite; `None` for other types.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "iperf3 reads every number as a double")]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Unsigned(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same as the tree of `serde_json`, for parts that are passed on and not looked into.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(on) => (*on).into(),
            Self::Integer(number) => (*number).into(),
            Self::Unsigned(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Array(elements) => elements.iter().map(Self::to_json).collect(),
            Self::Object(Object(members)) => {
                let mut map = serde_json::Map::new();
                for (key, value) in members {
                    map.entry(key.as_str()).or_insert_with(|| value.to_json());
                }
                map.into()
            }
        }
    }
}

/// 2^63, the first number beyond the signed 64-bit ones; exact as a double.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// The number without its fraction, if what is left fits.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked and the fraction is meant to go")]
fn truncate(number: f64) -> Option<i64> {
    (-TWO_TO_63..TWO_TO_63).contains(&number).then_some(number as i64)
}

/// Reads a value that has this many arrays and objects around it.
struct Nested<'a> {
    depth: u32,
    /// How many more values there may be.
    values_left: &'a Cell<u32>,
}

impl Nested<'_> {
    /// The reader for what is inside the value.
    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("nested deeper than {DEPTH_MAX} levels")));
        }
        let Some(left) = self.values_left.get().checked_sub(1) else {
            return Err(E::custom("too many values"));
        };
        self.values_left.set(left);
        Ok(Self { depth: self.depth + 1, values_left: self.values_left })
    }
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, on: bool) -> Result<Value, E> {
        Ok(Value::Bool(on))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Unsigned(number), Value::Integer))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        if number.is_finite() { Ok(Value::Float(number)) } else { Err(E::custom("number out of range")) }
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(until_nul(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element_seed(self.inner()?)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            members.push((until_nul(&key), map.next_value_seed(self.inner()?)?));
        }
        Ok(Value::Object(Object(members)))
    }
}

/// The text as a C program sees it.
fn until_nul(text: &str) -> String {
    text.split('\0').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value_of(text: &str) -> Option<Value> {
        let object = parse_object(format!("{{\"x\":{text}}}").as_bytes()).ok()?;
        object.get("X").cloned()
    }

    #[test]
    fn integers_in_every_spelling() {
        let wrapped = 18_446_744_073_709_551_615;
        for (text, integer, wrapped_integer) in [
            ("5", Some(5), Some(5)),
            ("-1", Some(-1), Some(-1)),
            ("1.5", Some(1), Some(1)),
            ("-1.9", Some(-1), Some(-1)),
            ("5.0", Some(5), Some(5)),
            ("1e+15", Some(1_000_000_000_000_000), Some(1_000_000_000_000_000)),
            ("9223372036854775807", Some(i64::MAX), Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN), Some(i64::MIN)),
            ("9223372036854775808", None, Some(-1)),
            (&format!("{wrapped}"), None, Some(-1)),
            ("1.8446744073709552e+19", None, Some(-1)),
            ("-1e30", None, None),
            ("\"5\"", None, None),
            ("true", None, None),
            ("null", None, None),
        ] {
            let value = value_of(text).unwrap();
            assert_eq!(value.integer(), integer, "{text}");
            assert_eq!(value.wrapped_integer(), wrapped_integer, "{text}");
        }
        assert_eq!(value_of("3.2276611328125e-05").unwrap().number(), Some(3.227_661_132_812_5e-5));
        assert_eq!(value_of(&format!("{wrapped}")), Some(Value::Unsigned(wrapped)));
    }

    #[test]
    fn the_tolerance_of_iperf3() {
        let read = |bytes: &[u8]| parse_object(bytes).unwrap();
        assert_eq!(read(b"{\"mss\":1,\"MSS\":2}").get("MSS"), Some(&Value::Integer(1)));
        assert_eq!(read(b"[1,{\"time\":5}]"), Object::default());
        assert_eq!(read(b" {} \n"), Object::default());
        assert_eq!(read(b"{}\0garbage"), Object::default());
        assert_eq!(read(b"\xef\xbb\xbf{}"), Object::default());
        assert_eq!(read(b"{\"t\":\"a\xff\"}").get("t").and_then(Value::text), Some("a\u{fffd}"));
        assert_eq!(read(b"{\"t\":\"a\\u0000b\"}").get("t").and_then(Value::text), Some("a"));
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "\0{}",
            "5",
            "\"a\"",
            "null",
            "{",
            "{}{}",
            "{} x",
            "{}\u{feff}",
            "\u{feff}\u{feff}{}",
            "{\"a\":1e999}",
            "{\"a\":-1e999}",
            "{a:1}",
        ] {
            assert!(parse_object(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn nesting_has_a_limit() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse_object(nested(63).as_bytes()).is_ok());
        let error = parse_object(nested(64).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("nested deeper than 64 levels"), "{error}");
    }

    /// The work of reading is a step for each value and one for each byte, whatever the message is made of.
    #[test]
    fn ten_times_the_message_is_ten_times_the_work() {
        let element = r#"{"id":1,"bytes":1,"jitter":0,"a":[null,true,"x"]}"#;
        let mut steps = Vec::new();
        for elements in [600, 6_000, 60_000] {
            let text = format!("{{\"streams\":[{}]}}", vec![element; elements].join(","));
            let left = Cell::new(VALUES_MAX);
            let object = parse_with(text.as_bytes(), &left).unwrap();
            assert!(matches!(object.get("streams"), Some(Value::Array(all)) if all.len() == elements));
            steps.push(VALUES_MAX - left.get() - 1);
        }
        // Eight values, and the end of an array.
        assert_eq!(steps, [600 * 9 + 1, 6_000 * 9 + 1, 60_000 * 9 + 1]);
    }

    #[test]
    fn the_number_of_values_has_a_limit() {
        let limited = |text: &str, values| parse_with(text.as_bytes(), &Cell::new(values));
        for (text, values) in [("[0,0,0]", 4), ("{\"a\":{\"b\":1},\"c\":[]}", 4), ("{}", 0)] {
            assert!(limited(text, values).is_ok(), "{text}");
            if values > 0 {
                let error = limited(text, values - 1).unwrap_err();
                assert!(error.to_string().contains("too many values"), "{error}");
            }
        }
    }

    #[test]
    fn what_is_taken_is_gone() {
        let mut object = parse_object(b"{\"a\":\"x\",\"A\":\"y\"}").unwrap();
        assert_eq!(object.take("A"), Some(Value::Text("x".to_owned())));
        assert_eq!((object.take("a"), object.take("b")), (Some(Value::Null), None));
    }

    #[test]
    fn passing_on_keeps_the_first_of_two_keys() {
        let value = value_of("{\"b\":1,\"a\":[null,true,\"t\",2.5],\"b\":2}").unwrap();
        assert_eq!(value.to_json().to_string(), "{\"b\":1,\"a\":[null,true,\"t\",2.5]}");
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<i32>().prop_map(|n| (f64::from(n) / 8.0).into()),
            "[a-z \"\\\\\n\u{e9}]{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let members = prop::collection::btree_map("[a-z]{1,4}", inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Into::into),
                members.prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_survive(value in any_json()) {
            let text = serde_json::json!({ "x": value }).to_string();
            let object = parse_object(text.as_bytes()).unwrap();
            prop_assert_eq!(object.get("x").map(Value::to_json), Some(value));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_object(&bytes);
        }

        #[test]
        fn arbitrary_json_like_text_never_panics(text in "[\\[\\]{}:,\"0-9a-z.eE+\\\\u -]{0,80}") {
            let _ = parse_object(text.as_bytes());
        }
    }
}
