//! Numbers as iperf3's documents have them.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::{to_f64, to_u64};

/// A finite number that need not be whole. A whole one is written without a fraction, as iperf3 does.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Deserialize)]
#[serde(from = "f64")]
pub struct Number(f64);

impl Number {
    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl From<f64> for Number {
    /// What is no number is 0.
    fn from(value: f64) -> Self {
        Self(if value.is_finite() { value } else { 0.0 })
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match to_u64(self.0) {
            Some(whole) if to_f64(whole) == self.0 => serializer.serialize_u64(whole),
            _ => serializer.serialize_f64(self.0),
        }
    }
}

/// Reads a count of what is missing, which is 0 where iperf3 lets it fall below: what comes late is taken off
/// the loss of its interval, also if it was counted in an earlier one. 3.12 and 3.13 write -1 as 2^64 - 1.
pub(super) fn read_lost<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    match number.as_i64() {
        Some(lost) => Ok(Some(u64::try_from(lost).unwrap_or(0))),
        None if number.is_u64() => Ok(Some(0)),
        None => Err(D::Error::custom(format_args!("{number} is no whole number"))),
    }
}

/// Reads the share of what is missing, which falls below zero with its count.
pub(super) fn read_lost_percent<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Number>, D::Error> {
    let percent = Option::<Number>::deserialize(deserializer)?;
    Ok(percent.map(|percent| Number(percent.0.max(0.0))))
}

#[cfg(test)]
impl schemars::JsonSchema for Number {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Number".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "minimum": 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_have_no_fraction() {
        let values = [0.0, 1.0, 0.5, 2.5e10, f64::NAN].map(Number::from);
        assert_eq!(serde_json::to_string(&values).unwrap(), "[0,1,0.5,25000000000,0]");
        let large = [9_007_199_254_740_993.0, 18_446_744_073_709_549_568.0, 1.5e20, 1e-7].map(Number::from);
        let text = serde_json::to_string(&large).unwrap();
        assert_eq!(text, "[9007199254740992,18446744073709549568,1.5e+20,1e-7]");
        assert_eq!(serde_json::from_str::<[Number; 4]>(&text).unwrap(), large);
    }

    #[test]
    fn a_loss_is_not_below_zero() {
        let read = |text: &str| read_lost(&mut serde_json::Deserializer::from_str(text)).ok();
        for (text, lost) in [
            ("7", Some(Some(7))),
            ("null", Some(None)),
            ("-1", Some(Some(0))),
            ("9223372036854775807", Some(Some(u64::MAX / 2))),
            ("9223372036854775808", Some(Some(0))),
            ("18446744073709551615", Some(Some(0))),
            ("1.5", None),
            ("\"7\"", None),
        ] {
            assert_eq!(read(text), lost, "{text}");
        }
        let read = |text: &str| read_lost_percent(&mut serde_json::Deserializer::from_str(text)).ok();
        for (text, percent) in [
            ("0.5", Some(Some(Number(0.5)))),
            ("-0.5", Some(Some(Number(0.0)))),
            ("null", Some(None)),
            ("[]", None),
        ] {
            assert_eq!(read(text), percent, "{text}");
        }
    }
}
