//! Numbers as options have them: a plain one, one with a unit letter, seconds, milliseconds, one of C.
//!
//! iperf3 takes the digits at the front of a plain number and ignores the rest. What changes nothing may
//! stand there here, too: blanks and a plus in front, a fraction of zeros, the word for seconds. A text that
//! is no number is refused, since its author meant something else than what iperf3 makes of it: `-t 10m`
//! would be ten seconds, and `-t abc` a test without an end.

use std::fmt::Display;
use std::time::Duration;

use super::ParameterError;
use crate::config::ranges::{AMOUNT, Range};
use crate::units::UnitError;

/// What a text is not that should be a plain number.
const WHOLE: &str = "a whole number";

/// A plain number of that range.
pub(super) fn whole<T>(option: &'static str, given: &str, range: &Range<T>) -> Result<T, ParameterError>
where
    T: Copy + PartialOrd + TryFrom<i128>,
{
    let number = integer(given, 10).ok_or_else(|| no_number(WHOLE, range.rule, option, given))?;
    range.value(number).ok_or_else(|| out_of_range(range.rule, option, given))
}

/// A number of that range as C writes it: `0x10`, `020` and `16` are the same.
pub(super) fn c_number<T>(option: &'static str, given: &str, range: &Range<T>) -> Result<T, ParameterError>
where
    T: Copy + PartialOrd + TryFrom<i128>,
{
    let number = integer(given, 0).ok_or_else(|| no_number(WHOLE, range.rule, option, given))?;
    range.value(number).ok_or_else(|| out_of_range(range.rule, option, given))
}

/// The number that strtol(3) reads with this base, if all of the text belongs to it or is a fraction of
/// zeros. More digits than there is room for are some number beyond every range.
fn integer(text: &str, base: u32) -> Option<i128> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (digits, radix) = match (base, digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"))) {
        (0, Some(digits)) => (digits, 16),
        (0, None) if digits.starts_with('0') => (digits, 8),
        _ => (digits, 10),
    };
    let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    let is_whole = fraction.bytes().all(|digit| digit == b'0');
    (is_number && is_whole)
        .then(|| i128::from_str_radix(digits, radix).map_or(i128::MAX, |number| sign * number))
}

/// A number with a unit letter, 0 when the option is not given.
pub(super) fn amount(
    option: &'static str,
    given: Option<&str>,
    parse: fn(&str) -> Result<u64, UnitError>,
) -> Result<u64, ParameterError> {
    let Some(given) = given else { return Ok(0) };
    let value = parse(given).map_err(|source| ParameterError::Unit { option, source })?;
    match AMOUNT.value(value) {
        Some(_) => Ok(value),
        None => Err(out_of_range(AMOUNT.rule, option, given)),
    }
}

/// A number with a unit letter that was read already, of that range.
pub(super) fn within<T>(option: &'static str, value: u64, range: &Range<T>) -> Result<T, ParameterError>
where
    T: Copy + PartialOrd + TryFrom<u64>,
{
    range.value(value).ok_or_else(|| out_of_range(range.rule, option, value))
}

/// A number of seconds with a fraction; the word for them may follow it. `inf` is infinite.
pub(super) fn seconds(option: &'static str, given: &str, rule: &'static str) -> Result<f64, ParameterError> {
    const INFINITE: [&str; 2] = ["inf", "infinity"];
    let time = Time::split(given);
    if INFINITE.contains(&given.trim().to_ascii_lowercase().as_str()) {
        return Ok(f64::INFINITY);
    }
    let number = time.number.parse().ok().filter(|number: &f64| time.unit == Some(1.0) && !number.is_nan());
    number.ok_or_else(|| time.mistaken(("a number of seconds", 1.0), rule, option, given))
}

/// A time of that range of seconds.
pub(super) fn test_time(
    option: &'static str,
    seconds: f64,
    range: &Range<f64>,
) -> Result<Duration, ParameterError> {
    if range.contains(seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(out_of_range(range.rule, option, seconds))
    }
}

/// A whole number of seconds of that range; the word for them may follow it.
pub(super) fn whole_seconds(option: &'static str, given: &str, range: &Range) -> Result<u32, ParameterError> {
    let time = Time::split(given);
    let number = integer(time.number, 10).filter(|_| time.unit == Some(1.0));
    let number =
        number.ok_or_else(|| time.mistaken(("a whole number of seconds", 1.0), range.rule, option, given))?;
    range.value(number).ok_or_else(|| out_of_range(range.rule, option, given))
}

/// A whole number of milliseconds of that range; `ms` may follow it.
pub(super) fn millis(
    option: &'static str,
    given: &str,
    range: &Range<u64>,
) -> Result<Duration, ParameterError> {
    const KIND: (&str, f64) = ("a whole number of milliseconds", 0.001);
    let time = Time::split(given);
    let is_millis = time.unit == Some(0.001) || time.word.is_empty();
    let number = integer(time.number, 10).filter(|_| is_millis);
    let number = number.ok_or_else(|| time.mistaken(KIND, range.rule, option, given))?;
    let millis = range.value(number).ok_or_else(|| out_of_range(range.rule, option, given))?;
    Ok(Duration::from_millis(millis))
}

/// A port of that range, if one is given.
pub(super) fn port(
    option: &'static str,
    given: Option<&str>,
    range: &Range<u16>,
) -> Result<Option<u16>, ParameterError> {
    given.map(|given| whole(option, given, range)).transpose()
}

pub(super) fn out_of_range(rule: &'static str, option: &'static str, given: impl Display) -> ParameterError {
    ParameterError::Range { rule, option, given: given.to_string() }
}

pub(super) fn no_number(
    kind: &'static str,
    rule: &'static str,
    option: &'static str,
    given: &str,
) -> ParameterError {
    ParameterError::NoNumber { option, kind, given: given.to_owned(), rule, meant: None }
}

/// A number, and the word for a unit of time behind it.
struct Time<'a> {
    number: &'a str,
    word: &'a str,
    /// Seconds of one of them; `None` for a word that is no such unit.
    unit: Option<f64>,
}

impl<'a> Time<'a> {
    fn split(given: &'a str) -> Self {
        let given = given.trim();
        let number = given.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let word = &given[number.len()..];
        let unit = match word {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => Some(1.0),
            "ms" | "msec" => Some(0.001),
            "us" | "usec" => Some(0.000_001),
            "m" | "min" | "mins" | "minute" | "minutes" => Some(60.0),
            "h" | "hour" | "hours" => Some(3600.0),
            "d" | "day" | "days" => Some(86_400.0),
            _ => None,
        };
        Self { number: number.trim_end(), word, unit }
    }

    /// That this is no number of units of so many seconds, and which one is as long, if one is.
    fn mistaken(
        &self,
        (kind, wanted_unit): (&'static str, f64),
        rule: &'static str,
        option: &'static str,
        given: &str,
    ) -> ParameterError {
        let number = self.number.parse::<f64>().ok().filter(|number| number.is_finite());
        let meant = self.unit.filter(|unit| !self.word.is_empty() && *unit > 0.0).zip(number);
        let meant = meant.map(|(unit, number)| number * (unit / wanted_unit));
        ParameterError::NoNumber { option, kind, given: given.to_owned(), rule, meant }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range<T>(min: T, max: T) -> Range<T> {
        Range { min, max, rule: "rule", words: "rule", code: None }
    }

    #[test]
    fn numbers_of_c() {
        let read = |text| c_number("-S", text, &range(0_u8, 255)).ok();
        for (text, number) in [
            ("0", 0),
            ("52", 52),
            ("064", 52),
            ("0x34", 52),
            ("0XfF", 255),
            (" 7", 7),
            ("+1", 1),
            ("16.0", 16),
            ("0x10.", 16),
        ] {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in ["", "0x", "08", "256", "0x100", "-1", "0x-1", "0+7", "5x", "1.5", "abc", "+-1"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn plain_numbers() {
        let read = |text| whole("-P", text, &range(1_u32, 128));
        for (text, number) in [("2", 2), ("2.0", 2), ("+2", 2), (" 2 ", 2), ("2.", 2), ("010", 10)] {
            assert_eq!(read(text), Ok(number), "{text}");
        }
        let digits = "9".repeat(200);
        for text in ["0", "-1", "129", "4294967297", digits.as_str()] {
            assert_eq!(read(text), Err(out_of_range("rule", "-P", text)), "{text}");
        }
        for text in ["", "2x", "2.5", "0x2", "1e2", "abc", "64B", "1K"] {
            assert_eq!(read(text), Err(no_number(WHOLE, "rule", "-P", text)), "{text}");
        }
        assert_eq!(read("2x").unwrap_err().to_string(), "-P takes a whole number, and '2x' is none: rule");
    }

    #[test]
    fn units_of_time() {
        assert_eq!(seconds("-t", "2.5", ""), Ok(2.5));
        for text in ["2.5s", "2.5sec", "2.5 seconds", "+2.5s", " 2.5 s "] {
            assert_eq!(seconds("-t", text, ""), Ok(2.5), "{text}");
        }
        assert_eq!(seconds("-t", "Inf", ""), Ok(f64::INFINITY));
        for text in ["3s", "3.0", "3 s"] {
            assert_eq!(whole_seconds("-O", text, &range(0, 9)), Ok(3), "{text}");
        }
        for text in ["250ms", "250.0"] {
            let time = millis("--rcv-timeout", text, &range(0, 999));
            assert_eq!(time, Ok(Duration::from_millis(250)), "{text}");
        }
        for text in ["", "s", "2ss", "2 s x", "1,5", "10x", "nans", "-infs"] {
            for error in [
                seconds("-t", text, "rule").unwrap_err(),
                whole_seconds("-t", text, &range(0, 9)).unwrap_err(),
                millis("-t", text, &range(0, 9)).unwrap_err(),
            ] {
                let error = error.to_string();
                let none = format!("and '{text}' is none: rule");
                assert!(error.starts_with("-t takes a ") && error.ends_with(&none), "{text}: {error}");
            }
        }
    }

    #[test]
    fn what_was_meant_is_said() {
        for (error, meant) in [
            (seconds("-t", "10m", "rule"), "did you mean -t 600?"),
            (seconds("-t", "1.5h", "rule"), "did you mean -t 5400?"),
            (seconds("-t", "500ms", "rule"), "did you mean -t 0.5?"),
            (whole_seconds("-t", "2min", &range(0, 9)).map(f64::from), "did you mean -t 120?"),
            (millis("-t", "2s", &range(0, 9)).map(|time| time.as_secs_f64()), "did you mean -t 2000?"),
        ] {
            let error = error.unwrap_err().to_string();
            assert!(error.ends_with(&format!("rule; {meant}")), "{error}");
        }
    }
}
