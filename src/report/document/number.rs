//! Numbers as iperf3's documents have them.

use serde::{Deserialize, Serialize, Serializer};

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
}
