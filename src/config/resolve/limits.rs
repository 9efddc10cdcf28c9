//! What a server allows its clients, and the profile for the open internet.

use std::num::NonZeroU32;
use std::time::Duration;

use super::ParameterError;
use super::number::{amount, out_of_range, seconds, whole, whole_seconds};
use crate::config::options::ServerOptions;
use crate::config::ranges::{AVERAGE_SECS, IDLE_SECS, TEST_SECS, TESTS, TESTS_PER_MINUTE};
use crate::config::{RateLimit, ServerLimits};
use crate::units::parse_rate;

/// Time over which a server averages the rate that it limits, as in iperf3.
const DEFAULT_AVERAGE: Duration = Duration::from_secs(5);
/// Longest test of `--public`, in seconds.
const PUBLIC_DURATION_SECS: u32 = 60;
/// Bits per second of all tests of `--public` together.
const PUBLIC_TOTAL: &str = "10G";
/// Tests of `--public` that one source may begin within a minute.
const PUBLIC_TESTS_PER_MINUTE: u32 = 6;

/// Longest set-up of `--public`.
const PUBLIC_SET_UP: Duration = Duration::from_secs(15);

/// The limits of a server. What `--public` asks for gives way to what is asked for by itself.
pub(super) fn limits(options: &ServerOptions) -> Result<ServerLimits, ParameterError> {
    let secs = |secs: u32| Duration::from_secs(secs.into());
    let duration = match options.server_max_duration.as_deref() {
        None if options.public => PUBLIC_DURATION_SECS,
        None => 0,
        Some(given) => whole_seconds("--server-max-duration", given, &TEST_SECS)?,
    };
    let idle = options.idle_timeout.as_deref();
    let idle = idle.map(|given| whole_seconds("--idle-timeout", given, &IDLE_SECS));
    let total = options.total_bitrate_limit.as_deref().or(options.public.then_some(PUBLIC_TOTAL));
    Ok(ServerLimits {
        tests: tests(options)?,
        tests_per_minute: NonZeroU32::new(tests_per_minute(options)?),
        total: rate_limit("--total-bitrate-limit", total)?,
        counted: options.allow_counted || options.public,
        any_source: options.udp_any_source,
        rate: rate_limit("--server-bitrate-limit", options.server_bitrate_limit.as_deref())?,
        duration: (duration != 0).then(|| secs(duration)),
        set_up: if options.public { PUBLIC_SET_UP } else { ServerLimits::SET_UP },
        idle: idle.transpose()?.map(secs),
    })
}

/// A server that leaves after one test has no second one beside it.
fn tests(options: &ServerOptions) -> Result<usize, ParameterError> {
    let tests = match options.max_tests.as_deref() {
        None => 1,
        Some(given) => whole("--max-tests", given, &TESTS)?,
    };
    Ok(if options.one_off { 1 } else { tests })
}

fn tests_per_minute(options: &ServerOptions) -> Result<u32, ParameterError> {
    match options.max_tests_per_minute.as_deref() {
        None if options.public => Ok(PUBLIC_TESTS_PER_MINUTE),
        None => Ok(0),
        Some(given) => whole("--max-tests-per-minute", given, &TESTS_PER_MINUTE),
    }
}

/// A rate of 0 is no limit.
fn rate_limit(option: &'static str, given: Option<&str>) -> Result<Option<RateLimit>, ParameterError> {
    let Some(given) = given else { return Ok(None) };
    let (rate, average) = given.split_once('/').map_or((given, None), |(rate, secs)| (rate, Some(secs)));
    let average = average.map(|average| seconds(option, average, AVERAGE_SECS.rule)).transpose();
    let averaged_over = match average.map_err(|error| error.of_whole(given))? {
        None => DEFAULT_AVERAGE,
        Some(secs) if secs == 0.0 || AVERAGE_SECS.contains(secs) => Duration::from_secs_f64(secs),
        Some(_) => return Err(out_of_range(AVERAGE_SECS.rule, option, given)),
    };
    let bits_per_second = amount(option, Some(rate), parse_rate)?;
    Ok((bits_per_second != 0).then_some(RateLimit { bits_per_second, averaged_over }))
}
