//! What is printed, and what the command line deserves to be told before.

use std::ffi::OsString;
use std::time::Duration;

use super::ParameterError;
use super::number::{out_of_range, seconds, whole};
use crate::config::messages::FORMAT;
use crate::config::options::{BothOptions, ClientOptions};
use crate::config::ranges::{DEBUG_LEVEL, REPORT_SECS};
use crate::config::{OutputConfig, OutputFormat};
use crate::units::RateFormat;

/// Level of -d, and the highest there is.
const DEBUG_MAX: u8 = 4;

/// What either role prints.
pub(super) fn output(both: &BothOptions) -> Result<OutputConfig, ParameterError> {
    Ok(OutputConfig {
        format: format(both),
        verbose: both.verbose,
        rate_format: rate_format(both)?,
        interval: interval(both)?,
        log_file: both.logfile.clone(),
        timestamps: both.timestamps.clone(),
        debug: debug(both)?,
        warnings: warnings(both),
        ..OutputConfig::default()
    })
}

/// What a client prints.
pub(super) fn client_output(
    options: &ClientOptions,
    both: &BothOptions,
) -> Result<OutputConfig, ParameterError> {
    let mut output = output(both)?;
    if options.no_fq_socket_pacing {
        output.warnings.insert(0, "--no-fq-socket-pacing is deprecated".to_owned());
    }
    Ok(output)
}

/// As in iperf3, --json-stream-full-output alone asks for nothing.
fn format(options: &BothOptions) -> OutputFormat {
    match (options.json_stream, options.json) {
        (true, _) => OutputFormat::JsonStream { full: options.json_stream_full_output },
        (false, true) => OutputFormat::Json,
        (false, false) => OutputFormat::Text,
    }
}

/// As in iperf3, the first letter counts: `-f Mbits` is `-f M`.
fn rate_format(options: &BothOptions) -> Result<RateFormat, ParameterError> {
    let Some(given) = options.format.as_deref() else { return Ok(RateFormat::default()) };
    let letter = given.chars().next().and_then(RateFormat::from_letter);
    letter.ok_or_else(|| out_of_range(FORMAT, "-f", given))
}

fn interval(options: &BothOptions) -> Result<Option<Duration>, ParameterError> {
    let Some(given) = options.interval.as_deref() else { return Ok(OutputConfig::default().interval) };
    match seconds("-i", given, REPORT_SECS.rule)? {
        0.0 => Ok(None),
        seconds if REPORT_SECS.contains(seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
        _ => Err(out_of_range(REPORT_SECS.rule, "-i", given)),
    }
}

/// A level beyond the last one is the last one, as in iperf3.
fn debug(options: &BothOptions) -> Result<u8, ParameterError> {
    let level = match options.debug.as_deref() {
        None => 0,
        Some(given) => whole("--debug", given, &DEBUG_LEVEL)?,
    };
    let level = u8::try_from(level).map_or(DEBUG_MAX, |level| level.min(DEBUG_MAX));
    Ok(if options.d { DEBUG_MAX } else { level })
}

fn warnings(both: &BothOptions) -> Vec<String> {
    let in_json = format(both) != OutputFormat::Text;
    let mut warnings = Vec::new();
    for (is_given, text) in [
        (in_json && both.format.is_some(), "Report format (-f) flag ignored with JSON output (-J)"),
        (in_json && both.verbose, "Verbose output (-v) may interfere with JSON output (-J)"),
        (
            in_json && (both.d || both.debug.is_some()),
            "Debug output (-d) may interfere with JSON output (-J)",
        ),
    ] {
        if is_given {
            warnings.push(text.to_owned());
        }
    }
    warnings
}

/// What is said of words that belong to no option, and of what -A leaves out. iperf3 says nothing.
pub(in crate::config) fn ignored(both: &BothOptions, strays: &[OsString]) -> impl Iterator<Item = String> {
    let strays = strays.iter().map(|stray| {
        format!("'{}' belongs to no option and is ignored", stray.display().to_string().escape_debug())
    });
    let affinity = both.affinity.as_deref().and_then(|given| given.split_once('/')).map(|(own, rest)| {
        format!(
            "-A {own}/{rest}: what follows the slash is ignored, as by iperf3; the server's processor stands behind \
             a comma"
        )
    });
    affinity.into_iter().chain(strays)
}
