//! The test itself, which both ends must know.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::number::{amount, seconds, test_time, whole, whole_seconds, within};
use super::socket::socket;
use super::{ParameterError, affinity};
use crate::config::options::{BothOptions, ClientOptions, LengthOption, ParallelOption};
use crate::config::ranges::{
    BLOCK_BYTES, BURST_BLOCKS, DATAGRAM_BYTES, ENGINE_SECS, OMIT_SECS, SCTP_STREAMS, STREAMS, TIMED_SECS,
};
use crate::config::{
    BlockSize, DEFAULT_BLOCK_BYTES, DEFAULT_DATAGRAM_BYTES, DEFAULT_PACING_TIMER_US,
    DEFAULT_SCTP_BLOCK_BYTES, DEFAULT_UDP_BITS_PER_SECOND, Direction, EndCondition, Pacing, Protocol,
    SctpConfig, TestConfig, UdpConfig,
};
use crate::units::{parse_bytes, parse_count, parse_rate};

pub(super) fn test(options: &ClientOptions, both: &BothOptions) -> Result<TestConfig, ParameterError> {
    let protocol = protocol(options, both)?;
    let direction = direction(options)?;
    if options.udp && both.file.is_some() {
        return Err(ParameterError::UdpFile);
    }
    Ok(TestConfig {
        protocol,
        direction,
        parallel: parallel(&options.parallel)?,
        end: end_condition(options, both.file.as_deref().filter(|_| direction != Direction::Reverse))?,
        omit_secs: match options.omit.as_deref() {
            Some(given) => whole_seconds("-O", given, &OMIT_SECS)?,
            None => 0,
        },
        block: block(protocol, &options.length)?,
        pacing: pacing(protocol, options.bitrate.as_deref())?,
        socket: socket(options)?,
        zerocopy: options.zerocopy,
        skip_rx_copy: options.skip_rx_copy,
        repeating_payload: options.repeating_payload,
        title: options.title.as_deref().map(text),
        extra_data: options.extra_data.as_deref().map(text),
        server_output: options.get_server_output,
        server_cpu: affinity(both)?.and_then(|(_, server)| server),
        pacing_timer_us: match options.pacing_timer.as_deref() {
            None => DEFAULT_PACING_TIMER_US,
            given => amount("--pacing-timer", given, parse_count)?,
        },
    })
}

/// It travels in JSON, which has no room for bytes that are no text.
fn text(given: &OsStr) -> String {
    given.to_string_lossy().into_owned()
}

/// Where iperf3 takes the last one of several protocols, they are refused, since only one of them can be
/// meant. As in iperf3, what only one protocol has is taken without it, too, and means nothing there.
fn protocol(options: &ClientOptions, both: &BothOptions) -> Result<Protocol, ParameterError> {
    let streams = sctp_streams(options)?;
    Ok(match (options.udp, options.sctp, both.mptcp) {
        (false, false, false) => Protocol::Tcp,
        (false, false, true) => Protocol::Mptcp,
        (false, true, false) => Protocol::Sctp(SctpConfig { streams }),
        (true, false, false) => Protocol::Udp(UdpConfig {
            counters_64bit: options.udp_counters_64bit,
            gsro: options.gsro,
            dont_fragment: options.dont_fragment,
        }),
        (true, true, _) => return Err(ParameterError::Protocols("-u", "--sctp")),
        (true, false, true) => return Err(ParameterError::Protocols("-u", "-m")),
        (false, true, true) => return Err(ParameterError::Protocols("--sctp", "-m")),
    })
}

fn sctp_streams(options: &ClientOptions) -> Result<u16, ParameterError> {
    within("--nstreams", amount("--nstreams", options.nstreams.as_deref(), parse_count)?, &SCTP_STREAMS)
}

fn direction(options: &ClientOptions) -> Result<Direction, ParameterError> {
    match (options.reverse, options.bidir) {
        (true, true) => Err(ParameterError::ReverseBidir),
        (true, false) => Ok(Direction::Reverse),
        (false, true) => Ok(Direction::Bidir),
        (false, false) => Ok(Direction::Forward),
    }
}

/// As in iperf3, -n 0 and -k 0 are the same as no such option, but -t 0 asks for a test without an end.
///
/// A file that this end sends is sent once if nothing else is asked for. iperf3 takes the size of the file
/// also where it is the one to be written, so that the same command does something else when it is run again.
fn end_condition(options: &ClientOptions, sent: Option<&Path>) -> Result<EndCondition, ParameterError> {
    let time = options.time.given.as_deref();
    let time = match time.map(|given| seconds("-t", given, TIMED_SECS.rule)).transpose()? {
        None => None,
        Some(0.0 | f64::INFINITY) => Some(EndCondition::Unlimited),
        Some(seconds) => Some(EndCondition::Time(test_time("-t", seconds, &TIMED_SECS)?)),
    };
    let bytes = amount("-n", options.bytes.as_deref(), parse_bytes)?;
    let blocks = amount("-k", options.blockcount.as_deref(), parse_count)?;
    match (time, bytes, blocks) {
        (None, 0, 0) => Ok(sent.and_then(file_bytes).map_or(TestConfig::default().end, EndCondition::Bytes)),
        (Some(end), 0, 0) => Ok(end),
        (None, bytes, 0) => Ok(EndCondition::Bytes(bytes)),
        (None, 0, blocks) => Ok(EndCondition::Blocks(blocks)),
        _ => Err(ParameterError::EndConditions),
    }
}

/// Size of a plain file with something in it. Whoever opens the file will tell what is wrong with it.
fn file_bytes(path: &Path) -> Option<u64> {
    let file = fs::metadata(path).ok()?;
    (file.is_file() && file.len() > 0).then_some(file.len())
}

/// A length of 0 asks for the default, as in iperf3. With UDP that is only a first guess: the control
/// connection will tell what one packet holds.
pub(super) fn block(protocol: Protocol, length: &LengthOption) -> Result<BlockSize, ParameterError> {
    let (default, range) = match protocol {
        Protocol::Tcp | Protocol::Mptcp => (DEFAULT_BLOCK_BYTES, &BLOCK_BYTES),
        Protocol::Sctp(_) => (DEFAULT_SCTP_BLOCK_BYTES, &BLOCK_BYTES),
        Protocol::Udp(_) => (DEFAULT_DATAGRAM_BYTES, &DATAGRAM_BYTES),
    };
    Ok(match amount("-l", length.given.as_deref(), parse_bytes)? {
        0 => BlockSize { bytes: default, explicit: false },
        bytes => BlockSize { bytes: within("-l", bytes, range)?, explicit: true },
    })
}

pub(super) fn parallel(option: &ParallelOption) -> Result<u32, ParameterError> {
    option.given.as_deref().map_or(Ok(1), |given| whole("-P", given, &STREAMS))
}

fn pacing(protocol: Protocol, bitrate: Option<&str>) -> Result<Pacing, ParameterError> {
    let Some(bitrate) = bitrate else {
        let bits_per_second = protocol.udp().map_or(0, |_| DEFAULT_UDP_BITS_PER_SECOND);
        return Ok(Pacing { bits_per_second, burst_blocks: 0 });
    };
    let (rate, burst) = bitrate.split_once('/').map_or((bitrate, None), |(rate, burst)| (rate, Some(burst)));
    let burst_blocks = match burst {
        None => 0,
        Some(burst) => whole("-b", burst, &BURST_BLOCKS).map_err(|error| error.of_whole(bitrate))?,
    };
    Ok(Pacing { bits_per_second: amount("-b", Some(rate), parse_rate)?, burst_blocks })
}

/// How long each engine runs in a comparison.
pub(super) fn comparison_time(given: &str) -> Result<Duration, ParameterError> {
    test_time("-t", seconds("-t", given, ENGINE_SECS.rule)?, &ENGINE_SECS)
}
