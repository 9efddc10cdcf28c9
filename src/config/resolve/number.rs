//! Numbers as options have them: a plain one, one with a unit letter, seconds, milliseconds, one of C.
//!
//! iperf3 takes the digits at the front of a plain number and ignores the rest. A text that is no number is
//! refused here, since its author meant something else than what iperf3 makes of it: `-t 10m` would be ten
//! seconds, and `-t abc` a test without an end.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::ParameterError;
use crate::config::MAX_TIME_SECS;
use crate::units::UnitError;

/// A plain number of that range.
pub(super) fn whole(
    option: &'static str,
    given: &str,
    range: RangeInclusive<u32>,
    rule: &'static str,
) -> Result<u32, ParameterError> {
    let number = given.trim().parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| out_of_range(rule, option, given))
}

/// A number of that range as C writes it: `0x10`, `020` and `16` are the same.
pub(super) fn c_number(
    option: &'static str,
    given: &str,
    range: RangeInclusive<u32>,
    rule: &'static str,
) -> Result<u32, ParameterError> {
    let text = given.trim().to_ascii_lowercase();
    let number = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(digits), _) => from_digits(digits, 16),
        (None, Some(digits)) if !digits.is_empty() => from_digits(digits, 8),
        _ => from_digits(&text, 10),
    };
    number.filter(|number| range.contains(number)).ok_or_else(|| out_of_range(rule, option, given))
}

/// Without the sign that the standard library would take.
fn from_digits(digits: &str, radix: u32) -> Option<u32> {
    if digits.starts_with(['+', '-']) { None } else { u32::from_str_radix(digits, radix).ok() }
}

/// A number with a unit letter, 0 when the option is not given. The protocol has signed numbers of 64 bits.
pub(super) fn amount(
    option: &'static str,
    given: Option<&str>,
    parse: fn(&str) -> Result<u64, UnitError>,
) -> Result<u64, ParameterError> {
    let Some(given) = given else { return Ok(0) };
    let value = parse(given).map_err(|source| ParameterError::Unit { option, source })?;
    match i64::try_from(value) {
        Ok(_) => Ok(value),
        Err(_) => Err(out_of_range("the largest number is 9223372036854775807", option, given)),
    }
}

/// A number with a unit letter that was read already, of that range.
pub(super) fn within(
    option: &'static str,
    value: u64,
    range: RangeInclusive<u32>,
    rule: &'static str,
) -> Result<u32, ParameterError> {
    match u32::try_from(value) {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(out_of_range(rule, option, value)),
    }
}

/// A number of seconds with a fraction; an `s` may follow it.
pub(super) fn seconds(option: &'static str, given: &str, rule: &'static str) -> Result<f64, ParameterError> {
    without_unit(given, "s").parse().map_err(|_| out_of_range(rule, option, given))
}

/// A time of at least `min` seconds and at most that of the longest test.
pub(super) fn test_time(
    option: &'static str,
    seconds: f64,
    min: f64,
    rule: &'static str,
) -> Result<Duration, ParameterError> {
    if (min..=f64::from(MAX_TIME_SECS)).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(out_of_range(rule, option, seconds))
    }
}

/// A whole number of seconds of that range; an `s` may follow it.
pub(super) fn whole_seconds(
    option: &'static str,
    given: &str,
    range: RangeInclusive<u32>,
    rule: &'static str,
) -> Result<u32, ParameterError> {
    whole(option, without_unit(given, "s"), range, rule).map_err(|_| out_of_range(rule, option, given))
}

/// A whole number of milliseconds of that range; `ms` may follow it.
pub(super) fn millis(
    option: &'static str,
    given: &str,
    range: RangeInclusive<u32>,
    rule: &'static str,
) -> Result<Duration, ParameterError> {
    match whole(option, without_unit(given, "ms"), range, rule) {
        Ok(millis) => Ok(Duration::from_millis(millis.into())),
        Err(_) => Err(out_of_range(rule, option, given)),
    }
}

/// A port; 0 is one if `min` is.
pub(super) fn port(
    option: &'static str,
    given: Option<&str>,
    min: u16,
) -> Result<Option<u16>, ParameterError> {
    const RULE: &str = "port number must be between 1 and 65535 inclusive";
    let Some(given) = given else { return Ok(None) };
    match given.trim().parse() {
        Ok(port) if port >= min => Ok(Some(port)),
        _ => Err(out_of_range(RULE, option, given)),
    }
}

pub(super) fn out_of_range(rule: &'static str, option: &'static str, given: impl Display) -> ParameterError {
    ParameterError::Range { rule, option, given: given.to_string() }
}

fn without_unit<'a>(given: &'a str, unit: &str) -> &'a str {
    let given = given.trim();
    given.strip_suffix(unit).unwrap_or(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_c() {
        let read = |text| c_number("-S", text, 0..=255, "").ok();
        for (text, number) in [("0", 0), ("52", 52), ("064", 52), ("0x34", 52), ("0XfF", 255), (" 7", 7)] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in ["", "0x", "08", "256", "0x100", "-1", "+1", "0x-1", "0+7", "5x", "1.5", "abc"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn units_of_time() {
        assert_eq!(seconds("-t", "2.5", ""), Ok(2.5));
        assert_eq!(seconds("-t", "2.5s", ""), Ok(2.5));
        assert_eq!(whole_seconds("-O", "3s", 0..=9, ""), Ok(3));
        assert_eq!(millis("--rcv-timeout", "250ms", 0..=999, ""), Ok(Duration::from_millis(250)));
        for text in ["", "s", "2m", "2ss", "2 s x", "1,5"] {
            assert_eq!(seconds("-t", text, "rule"), Err(out_of_range("rule", "-t", text)), "{text}");
            assert_eq!(
                whole_seconds("-O", text, 0..=9, "rule"),
                Err(out_of_range("rule", "-O", text)),
                "{text}"
            );
        }
        assert_eq!(millis("-X", "2s", 0..=9, "rule"), Err(out_of_range("rule", "-X", "2s")));
    }
}
