//! The members of a request, each checked when it is looked up.

use super::ParamsError;
use crate::config::ranges::{AMOUNT, Range};
use crate::protocol::{ErrorCode, Object, Value};

/// The members of a request.
pub(super) struct ParamKeys(pub(super) Object);

impl ParamKeys {
    /// A boolean of which only the presence counts.
    pub(super) fn flag(&self, key: &'static str) -> Result<bool, ParamsError> {
        match self.0.get(key) {
            None => Ok(false),
            Some(Value::Bool(_)) => Ok(true),
            Some(_) => Err(ParamsError::Type { key, expected: "a boolean" }),
        }
    }

    /// A number of which only the presence counts.
    pub(super) fn number_present(&self, key: &'static str) -> Result<bool, ParamsError> {
        Ok(self.integer(key)?.is_some())
    }

    /// A number that means on unless it is 0.
    pub(super) fn switch(&self, key: &'static str) -> Result<bool, ParamsError> {
        Ok(self.integer(key)?.is_some_and(|value| value != 0))
    }

    /// A number of any size that must not be negative; 0 if it is absent.
    pub(super) fn count(&self, key: &'static str) -> Result<u64, ParamsError> {
        Ok(self.number(key, &AMOUNT)?.unwrap_or(0).unsigned_abs())
    }

    /// A number of that range, if it is there.
    pub(super) fn number<T>(&self, key: &'static str, range: &Range<T>) -> Result<Option<T>, ParamsError>
    where
        T: Copy + PartialOrd + TryFrom<i64> + Into<i64>,
    {
        let Some(value) = self.integer(key)? else { return Ok(None) };
        let out_of_range = || ParamsError::Range {
            key,
            value,
            min: range.min.into(),
            max: range.max.into(),
            code: ErrorCode::beyond(range),
        };
        range.value(value).map(Some).ok_or_else(out_of_range)
    }

    fn integer(&self, key: &'static str) -> Result<Option<i64>, ParamsError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        value.integer().map(Some).ok_or(ParamsError::Type { key, expected: "a number that fits in 64 bits" })
    }

    pub(super) fn text(&self, key: &'static str) -> Result<Option<String>, ParamsError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        let text = value.text().ok_or(ParamsError::Type { key, expected: "a string" })?;
        Ok(Some(text.to_owned()))
    }
}
