//! Amounts and rates: read from the command line, printed in rows.

use thiserror::Error;

/// Unit of the bitrate column (`-f`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RateFormat {
    /// Bits, scaled to the value.
    #[default]
    Adaptive,
    /// Bits in powers of 1000, always at this scale (`k`, `m`, `g`, `t`).
    Bits(Scale),
    /// Bytes in powers of 1024, always at this scale (`K`, `M`, `G`, `T`).
    Bytes(Scale),
}

/// A fixed scale of [`RateFormat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// 1000 or 1024.
    Kilo,
    /// 1000 or 1024 squared.
    Mega,
    /// Cubed.
    Giga,
    /// To the fourth power.
    Tera,
}

impl RateFormat {
    /// The format that a letter after `-f` selects: lower case for bits, upper case for bytes.
    #[must_use]
    pub fn from_letter(letter: char) -> Option<Self> {
        let scale = Scale::from_letter(letter)?;
        Some(if letter.is_ascii_uppercase() { Self::Bytes(scale) } else { Self::Bits(scale) })
    }
}

impl Scale {
    fn from_letter(letter: char) -> Option<Self> {
        match letter.to_ascii_lowercase() {
            'k' => Some(Self::Kilo),
            'm' => Some(Self::Mega),
            'g' => Some(Self::Giga),
            't' => Some(Self::Tera),
            _ => None,
        }
    }

    /// How often the step (1000 or 1024) is multiplied with itself.
    fn power(self) -> usize {
        match self {
            Self::Kilo => 1,
            Self::Mega => 2,
            Self::Giga => 3,
            Self::Tera => 4,
        }
    }
}

/// Why a text is no amount.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnitError {
    /// It does not begin with a number, or something else than K, M, G or T and what is counted follows it.
    #[error("invalid unit value or suffix: '{given}'; {right}")]
    Invalid {
        /// The text.
        given: String,
        /// What would be right instead.
        right: String,
    },
    /// It does not fit into 64 bits.
    #[error("value is too large: '{0}'; at most 9223372036854775807 fits")]
    TooLarge(String),
}

/// Reads a plain amount in powers of 1024: `128K`, `1.5m`. A fraction of a unit is dropped.
///
/// Numbers are those of C's strtod(3), as in iperf3: blanks and a plus may stand before them, and `0x400` is
/// hexadecimal. Nothing stands behind the letter.
///
/// # Errors
/// When the text is no such amount or does not fit.
pub fn parse_count(text: &str) -> Result<u64, UnitError> {
    let (amount, rest) = leading_amount(text, 1024)?;
    if rest.is_empty() { amount.value(text) } else { Err(amount.without(rest, text)) }
}

/// Reads an amount of bytes, which is an amount as that of [`parse_count`] with a word for bytes behind the
/// letter if need be: `16KB`, `1.5MByte`, `64KiB` are the same as `16K`, `1.5M`, `64K`.
///
/// # Errors
/// When the text is no such amount, also when it counts bits, or does not fit.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (amount, rest) = leading_amount(text, 1024)?;
    match rest.to_ascii_lowercase().as_str() {
        "" | "b" | "ib" | "byte" | "bytes" => amount.value(text),
        "bit" | "bits" | "ibit" | "ibits" | "bps" => {
            let right = format!(
                "it counts bytes, and '{}' is an eighth of that many bits",
                amount.scaled(1000, 0.125),
            );
            Err(UnitError::Invalid { given: text.to_owned(), right })
        }
        _ => Err(amount.without(rest, text)),
    }
}

/// Reads a rate in powers of 1000, in the grammar of [`parse_count`] with a word for bits per second behind
/// the letter if need be: `10Mbps` and `10Mbit` are the same as `10M`.
///
/// # Errors
/// When the text is no such rate, also when it counts bytes, or does not fit.
pub fn parse_rate(text: &str) -> Result<u64, UnitError> {
    let (amount, rest) = leading_amount(text, 1000)?;
    let unit = rest.trim_end_matches("/sec").trim_end_matches("/s");
    match (unit, unit.to_ascii_lowercase().as_str()) {
        ("" | "b" | "bps", _) | (_, "bit" | "bits") => amount.value(text),
        (_, word @ ("b" | "bps" | "byte" | "bytes" | "ib" | "ibps" | "ibyte" | "ibytes")) => {
            let bits = if word.starts_with('i') { amount.scaled(1024, 8.0) } else { amount.eightfold() };
            let right = format!("it counts bits, and '{bits}' is that many bytes per second");
            Err(UnitError::Invalid { given: text.to_owned(), right })
        }
        _ => Err(amount.without(rest, text)),
    }
}

/// An amount of bytes in powers of 1024, four characters wide: `1.25 MByte`. Rows append the plural's `s`.
#[must_use]
pub fn transfer(bytes: u64) -> String {
    print(to_f64(bytes), 1024.0, None, "Byte")
}

/// A rate as in the bitrate column: `10.5 Mbit`. Rows append `s/sec`.
#[must_use]
pub fn rate(bits_per_second: f64, format: RateFormat) -> String {
    match format {
        RateFormat::Adaptive => print(bits_per_second, 1000.0, None, "bit"),
        RateFormat::Bits(scale) => print(bits_per_second, 1000.0, Some(scale), "bit"),
        RateFormat::Bytes(scale) => print(bits_per_second / 8.0, 1024.0, Some(scale), "Byte"),
    }
}

/// Bits per second of so many bytes in so many seconds; zero where no time has passed.
#[must_use]
pub fn bits_per_second(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { 8.0 * to_f64(bytes) / seconds } else { 0.0 }
}

/// Prints like iperf3's `unit_snprintf` (units.c), with its factors in its order of rounding.
fn print(value: f64, step: f64, fixed: Option<Scale>, unit: &str) -> String {
    const PREFIXES: [&str; 5] = ["", "K", "M", "G", "T"];
    let mut power = 0;
    let mut left = value;
    let mut factor = 1.0;
    while fixed.map_or(left >= step && power + 1 < PREFIXES.len(), |scale| power < scale.power()) {
        power += 1;
        left /= step;
        factor /= step;
    }
    let number = value * factor;
    let decimals = match number {
        _ if number < 9.995 => 2,
        _ if number < 99.95 => 1,
        _ => 0,
    };
    format!("{number:4.decimals$} {}{unit}", PREFIXES[power])
}

/// A number, and the letter that stood behind it.
struct Amount<'a> {
    /// As it was given, without blanks and signs.
    number: &'a str,
    /// A letter that is one of [`Scale`].
    letter: Option<char>,
    /// 1000 or 1024.
    step: u32,
}

impl Amount<'_> {
    /// The whole of it. A number without a fraction keeps all its digits.
    fn value(&self, text: &str) -> Result<u64, UnitError> {
        let factor = self.factor(self.step);
        let value = match self.integer() {
            Some(number) => u64::try_from(number.saturating_mul(factor)).ok(),
            None => to_u64(self.fraction() * to_f64(u64::try_from(factor).unwrap_or(u64::MAX))),
        };
        value.ok_or_else(|| UnitError::TooLarge(text.to_owned()))
    }

    fn integer(&self) -> Option<u128> {
        match self.number.get(..2) {
            Some("0x" | "0X") => u128::from_str_radix(&self.number[2..], 16).ok(),
            _ => self.number.parse().ok(),
        }
    }

    /// Infinite where the number has more digits than fit anywhere.
    fn fraction(&self) -> f64 {
        self.number.parse().unwrap_or(f64::INFINITY)
    }

    fn factor(&self, step: u32) -> u128 {
        let power = self.letter.and_then(Scale::from_letter).map_or(0, Scale::power);
        (0..power).fold(1, |factor, _| factor * u128::from(step))
    }

    /// This number times `by`, read with another step between the letters, as a plain number.
    fn scaled(&self, step: u32, by: f64) -> String {
        let factor = to_f64(u64::try_from(self.factor(step)).unwrap_or(u64::MAX));
        format!("{:.0}", self.approximate() * factor * by)
    }

    /// Eight times as much, with the same letter.
    fn eightfold(&self) -> String {
        format!("{}{}", self.approximate() * 8.0, self.letter.map(String::from).unwrap_or_default())
    }

    fn approximate(&self) -> f64 {
        self.integer().map_or_else(|| self.fraction(), |number| number.to_string().parse().unwrap_or(0.0))
    }

    /// That nothing should stand behind it.
    fn without(&self, rest: &str, text: &str) -> UnitError {
        let letter = self.letter.map(String::from).unwrap_or_default();
        let right = format!("did you mean '{}{letter}', without '{rest}'?", self.number);
        UnitError::Invalid { given: text.to_owned(), right }
    }
}

/// The amount that a text begins with, and what follows it.
fn leading_amount(text: &str, step: u32) -> Result<(Amount<'_>, &str), UnitError> {
    let start = text.trim_start();
    let start = start.strip_prefix('+').unwrap_or(start);
    let (number, suffix) = start.split_at(number_length(start));
    let letter = suffix.chars().next();
    let is_scale = letter.is_none_or(|letter| Scale::from_letter(letter).is_some());
    let digits = number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")).unwrap_or(number);
    let has_digit = digits.bytes().any(|byte| byte.is_ascii_hexdigit());
    if !has_digit || !is_scale {
        let right = "a number is wanted, with K, M, G or T directly behind it if need be".to_owned();
        return Err(UnitError::Invalid { given: text.to_owned(), right });
    }
    Ok((Amount { number, letter, step }, &suffix[letter.map_or(0, char::len_utf8)..]))
}

/// Bytes of the number that `text` begins with: hexadecimal digits, or digits, a fraction, an exponent. There
/// is no sign.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| text.bytes().skip(from).take_while(u8::is_ascii_digit).count();
    let byte_is = |at: usize, set: &[u8]| text.as_bytes().get(at).is_some_and(|byte| set.contains(byte));
    if byte_is(0, b"0") && byte_is(1, b"xX") {
        return 2 + text.bytes().skip(2).take_while(u8::is_ascii_hexdigit).count();
    }
    let mut length = digits(0);
    if byte_is(length, b".") {
        length += 1 + digits(length + 1);
    }
    if byte_is(length, b"eE") {
        let sign = usize::from(byte_is(length + 1, b"+-"));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length
}

/// A count as a number to divide, exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "for display, where a few digits count")]
pub(crate) fn to_f64(value: u64) -> f64 {
    value as f64
}

/// A number as a count, its fraction cut off; `None` if it is negative, too large or none at all.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
pub(crate) fn to_u64(value: f64) -> Option<u64> {
    const TWO_TO_THE_64: f64 = 18_446_744_073_709_551_616.0;
    (0.0..TWO_TO_THE_64).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_read_in_powers_of_1024_and_rates_in_powers_of_1000() {
        let cases = [
            ("0", 0, 0),
            ("131072", 131_072, 131_072),
            ("1K", 1024, 1000),
            ("1k", 1024, 1000),
            ("1.5M", 1_572_864, 1_500_000),
            (".5m", 524_288, 500_000),
            ("2.g", 2_147_483_648, 2_000_000_000),
            ("1T", 1_099_511_627_776, 1_000_000_000_000),
            ("1e6", 1_000_000, 1_000_000),
            ("1e+2K", 102_400, 100_000),
            ("0.9", 0, 0),
            ("+1K", 1024, 1000),
            (" 1K", 1024, 1000),
            ("0x400", 1024, 1024),
            ("0X10k", 16_384, 16_000),
            ("0017", 17, 17),
            ("9223372036854775807", 9_223_372_036_854_775_807, 9_223_372_036_854_775_807),
            ("18446744073709551615", u64::MAX, u64::MAX),
        ];
        for (text, bytes, rate) in cases {
            assert_eq!(parse_count(text), Ok(bytes), "{text}");
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
    }

    #[test]
    fn what_is_counted_may_be_named() {
        for text in ["16KB", "16Kb", "16KiB", "16KByte", "16kbytes"] {
            assert_eq!(parse_bytes(text), Ok(16_384), "{text}");
        }
        for text in ["10Mb", "10Mbps", "10mbit", "10MBit", "10Mbits", "10Mbits/sec", "10Mbit/s", "10Mb/s"] {
            assert_eq!(parse_rate(text), Ok(10_000_000), "{text}");
        }
    }

    /// What is refused, and what must be said that would be right.
    #[test]
    fn what_is_counted_is_not_mistaken() {
        for (text, right) in [
            ("10GB", "'80G' is that many bytes per second"),
            ("10GBps", "'80G' is that many"),
            ("1.5MByte/s", "'12M' is that many"),
            ("1GiB", "'8589934592' is that many"),
            ("1KiBps", "'8192' is that many"),
            ("10Gxyz", "did you mean '10G', without 'xyz'?"),
            ("10Mé", "did you mean '10M', without 'é'?"),
            ("10Q", "a number is wanted, with K, M, G or T"),
            ("10é", "a number is wanted, with K, M, G or T"),
            ("10B", "a number is wanted, with K, M, G or T"),
        ] {
            let error = parse_rate(text).unwrap_err().to_string();
            let words = format!("invalid unit value or suffix: '{text}'; ");
            assert!(error.starts_with(&words) && error.contains(right), "{text}: {error}");
        }
        for (text, right) in [
            ("1Kx", "did you mean '1K', without 'x'?"),
            ("64Kfoo", "did you mean '64K', without 'foo'?"),
            ("100Mbit", "'12500000' is an eighth"),
            ("8Kbps", "'1000' is an eighth"),
        ] {
            let error = parse_bytes(text).unwrap_err().to_string();
            assert!(error.contains(right), "{text}: {error}");
        }
        let error = parse_count("1KB").unwrap_err().to_string();
        assert!(error.contains("did you mean '1K', without 'B'?"), "{error}");
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in
            ["", ".", "K", "abc", "1Q", "0x", "-1", "-0", "+", "++1", "nan", "inf", "1e", "1 K", "0xg"]
        {
            let is_invalid =
                matches!(parse_bytes(text), Err(UnitError::Invalid { given, .. }) if given == text);
            assert!(is_invalid, "{text}");
        }
        let digits = "9".repeat(400);
        for text in ["18446744073709551616", "16777216T", "1e400", "1e300T", "0x1ffffffffffffffff", &digits] {
            assert_eq!(parse_bytes(text), Err(UnitError::TooLarge(text.to_owned())), "{text}");
        }
    }

    /// Bytes, and how iperf3 prints that many.
    #[test]
    fn transfers_look_as_in_iperf3() {
        let cases = [
            (0, "0.00 Byte"),
            (9, "9.00 Byte"),
            (10, "10.0 Byte"),
            (1023, "1023 Byte"),
            (1024, "1.00 KByte"),
            (655_360, " 640 KByte"),
            (1_047_728, "1023 KByte"),
            (1_310_720, "1.25 MByte"),
            (1_178_694, "1.12 MByte"),
            (2_946_236_416, "2.74 GByte"),
            (10_725_883_085, "9.99 GByte"),
            (10_733_000_000, "10.0 GByte"),
            (1 << 52, "4096 TByte"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(transfer(bytes), expected, "{bytes}");
        }
    }

    /// Bits per second, the letter after `-f`, and how iperf3 prints that.
    #[test]
    fn rates_look_as_in_iperf3() {
        let cases = [
            (0.0, 'a', "0.00 bit"),
            (999.4, 'a', " 999 bit"),
            (491_000.0, 'a', " 491 Kbit"),
            (5_240_000.0, 'a', "5.24 Mbit"),
            (9_995_001.0, 'a', "10.0 Mbit"),
            (99_949_999.0, 'a', "99.9 Mbit"),
            (23_541_852_510.5, 'a', "23.5 Gbit"),
            (2.5e16, 'a', "25000 Tbit"),
            (10_469_376.0, 'k', "10469 Kbit"),
            (10_469_376.0, 'm', "10.5 Mbit"),
            (10_469_376.0, 'g', "0.01 Gbit"),
            (10_469_376.0, 't', "0.00 Tbit"),
            (10_469_376.0, 'K', "1278 KByte"),
            (10_469_376.0, 'M', "1.25 MByte"),
            (10_469_376.0, 'G', "0.00 GByte"),
            (1e14, 'T', "11.4 TByte"),
        ];
        for (value, letter, expected) in cases {
            let format = RateFormat::from_letter(letter).unwrap_or_default();
            assert_eq!(rate(value, format), expected, "{value} {letter}");
        }
    }

    #[test]
    fn format_letters() {
        assert_eq!(RateFormat::from_letter('k'), Some(RateFormat::Bits(Scale::Kilo)));
        assert_eq!(RateFormat::from_letter('T'), Some(RateFormat::Bytes(Scale::Tera)));
        for letter in ['a', 'b', 'A', 'x', '1'] {
            assert_eq!(RateFormat::from_letter(letter), None, "{letter}");
        }
    }

    #[test]
    fn no_time_is_no_rate() {
        assert_eq!(bits_per_second(1000, 0.0).to_string(), "0");
        assert_eq!(bits_per_second(1000, 2.0).to_string(), "4000");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,12}") {
            if let Ok(bytes) = parse_bytes(&text) {
                prop_assert!(text.bytes().any(|byte| byte.is_ascii_digit()));
                let rate = parse_rate(&text);
                prop_assert!(parse_count(&text).is_err() || rate.is_ok_and(|rate| rate <= bytes));
            }
        }

        /// Three digits or more are right, and the unit is the largest that leaves something before the
        /// point.
        #[test]
        fn what_is_printed_is_what_there_is(value in prop_oneof![0_u64..2_000_000, any::<u64>()]) {
            let printed = transfer(value);
            let (number, unit) = printed.trim_start().split_once(' ').unwrap();
            prop_assert!(number.len() <= 5 || unit == "TByte", "{printed}");
            let factor = match unit {
                "Byte" => 1.0,
                "KByte" => 1024.0,
                "MByte" => 1024.0 * 1024.0,
                "GByte" => 1024.0 * 1024.0 * 1024.0,
                "TByte" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
                other => panic!("{other}"),
            };
            let number: f64 = number.parse().unwrap();
            prop_assert!((number * factor - to_f64(value)).abs() <= 0.0051 * to_f64(value), "{printed}");
            prop_assert!(number >= 1.0 || factor == 1.0, "{printed}");
            prop_assert!(number < 1024.5 || unit == "TByte", "{printed}");
        }

        #[test]
        fn whole_numbers_keep_their_value(value: u64) {
            prop_assert_eq!(parse_bytes(&value.to_string()), Ok(value));
        }
    }
}
