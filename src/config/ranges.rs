//! The range of each quantity, with what is said of a value outside it and iperf3's number for that.
//!
//! The command line and a client's parameters are held to the same ranges, so a hostile client is held to the
//! rules of a careless user.

/// The values that a quantity may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range<T = u32> {
    /// Smallest value.
    pub min: T,
    /// Largest value.
    pub max: T,
    /// What the command line says of any other value: iperf3's words, with the bounds where these leave them
    /// out.
    pub rule: &'static str,
    /// iperf3's words alone; the rule where iperf3 has no such range.
    pub words: &'static str,
    /// iperf3's number for any other value (its `i_errno`), if it has one.
    pub code: Option<i32>,
}

impl<T: Copy + PartialOrd> Range<T> {
    /// Whether the quantity may have this value.
    #[must_use]
    pub fn contains(&self, value: T) -> bool {
        self.min <= value && value <= self.max
    }

    /// The number as a value of the quantity; `None` if it may not have that.
    #[must_use]
    pub fn value(&self, number: impl TryInto<T>) -> Option<T> {
        number.try_into().ok().filter(|value| self.contains(*value))
    }
}

/// A range that iperf3 has: its number, the bounds, its words, and what these leave out.
macro_rules! iperf3 {
    ($code:literal, $min:expr, $max:expr, $words:literal $(, $bounds:literal)?) => {
        Range { min: $min, max: $max, rule: concat!($words $(, $bounds)?), words: $words, code: Some($code) }
    };
}

/// A range that iperf3 does not have, or has no words for.
const fn own<T: Copy>(min: T, max: T, rule: &'static str) -> Range<T> {
    Range { min, max, rule, words: rule, code: None }
}

/// Milliseconds of a day, as long as the longest test.
const DAY_MS: u64 = 86_400_000;

// What a client tells its server.

/// Seconds of a test as they travel, 0 for one without an end (iperf3's `MAX_TIME`).
pub const TEST_SECS: Range = iperf3!(5, 0, 86_400, "test duration valid values are 0 to 86400 seconds");
/// Streams in one direction (iperf3's `MAX_STREAMS`).
pub const STREAMS: Range = iperf3!(6, 1, 128, "invalid number of parallel streams (min = 1, max = 128)");
/// Bytes of a block that is no datagram (iperf3's `MAX_BLOCKSIZE`).
pub const BLOCK_BYTES: Range = iperf3!(7, 1, 1024 * 1024, "block size too large (maximum = 1048576 bytes)");
/// Bytes of the socket buffer that is asked for, 0 for the system's (iperf3's `MAX_TCP_BUFFER`).
pub const WINDOW_BYTES: Range =
    iperf3!(8, 0, 512 * 1024 * 1024, "socket buffer size too large (maximum = 536870912 bytes)");
/// Bytes of the segment that is asked for, 0 for the system's (iperf3's `MAX_MSS`).
pub const MSS_BYTES: Range = iperf3!(10, 0, 32_767, "TCP MSS too large (maximum = 32767 bytes)");
/// Seconds at the start that are not counted (iperf3's `MAX_OMIT_TIME`).
pub const OMIT_SECS: Range = iperf3!(12, 0, 600, "bogus value for --omit (maximum = 600 seconds)");
/// Blocks that are sent back to back before the rate is looked at (iperf3's `MAX_BURST`).
pub const BURST_BLOCKS: Range = iperf3!(15, 1, 1000, "invalid burst count (maximum = 1000)");
/// Bytes of a UDP datagram, from the header with 64-bit counters on (iperf3's `MIN_UDP_BLOCKSIZE` and
/// `MAX_UDP_BLOCKSIZE`).
pub const DATAGRAM_BYTES: Range =
    iperf3!(20, 16, 65_507, "block size invalid (minimum = 16 bytes, maximum = 65507 bytes)");
/// The whole byte of the type of service.
pub const TOS: Range<u8> = iperf3!(21, 0, 255, "bad TOS value (must be between 0 and 255 inclusive)");
/// An IPv6 flow label, which has 20 bits and is not 0.
pub const FLOW_LABEL: Range =
    iperf3!(127, 1, 0xf_ffff, "unable to set IPv6 flow label", ", which is a number from 1 to 1048575");
/// Number of a processor (iperf3's limit of `-A`).
pub const PROCESSOR: Range =
    iperf3!(132, 0, 1024, "unable to set CPU affinity", ", processors have numbers from 0 to 1024");
/// Bytes, blocks, bits per second and microseconds, all of them signed numbers of 64 bits.
pub const AMOUNT: Range<i64> = own(0, i64::MAX, "the largest number is 9223372036854775807");
/// Bytes of the name of a congestion control (`TCP_CA_NAME_MAX` of linux/net/tcp.h without its NUL).
pub const CONGESTION_BYTES: Range<usize> = own(1, 15, "a congestion control name has 1 to 15 bytes");
/// Bytes of an iperf3's offload buffers, or its word for having such: whatever fits a C `int`.
pub const OFFLOAD_BYTES: Range = own(0, 0x7fff_ffff, "an offload size is 0 to 2147483647 bytes");
/// An iperf3's word for receive offload.
pub const RECEIVE_OFFLOAD: Range = own(0, 1, "receive offload is 0 or 1");

// What stays with whoever types it.

/// Seconds of a test that time ends. A shorter one could not be told from one without an end.
pub const TIMED_SECS: Range<f64> =
    Range { min: 0.001, max: 86_400.0, rule: TEST_SECS.rule, words: TEST_SECS.words, code: TEST_SECS.code };
/// Seconds of each engine in a comparison.
pub const ENGINE_SECS: Range<f64> =
    own(TIMED_SECS.min, TIMED_SECS.max, "each engine can run for 0.001 to 86400 seconds");
/// Seconds between two reports; 0 is none.
pub const REPORT_SECS: Range<f64> =
    iperf3!(9, 0.1, 60.0, "invalid report interval (min = 0.1, max = 60 seconds)");
/// A port that something can be sent to.
pub const PORT: Range<u16> = iperf3!(26, 1, 65_535, "port number must be between 1 and 65535 inclusive");
/// A port to listen on; 0 is any free one.
pub const LISTEN_PORT: Range<u16> = Range { min: 0, ..PORT };
/// Seconds over which a server averages the rate that it limits; 0 is its default.
pub const AVERAGE_SECS: Range<f64> = iperf3!(
    28,
    0.1,
    60.0,
    "invalid time interval for calculating average data rate",
    " (0, or 0.1 to 60 seconds)"
);
/// Seconds by which the clock of a client with a login may differ.
pub const SKEW_SECS: Range = iperf3!(29, 1, u32::MAX, "skew threshold must be a positive number");
/// Seconds without a client before a server looks about.
pub const IDLE_SECS: Range = iperf3!(
    30,
    1,
    86_400,
    "idle timeout parameter is not positive or larger than allowed limit",
    " (86400 seconds)"
);
/// Milliseconds of silence before a receiver gives up.
pub const RECEIVE_TIMEOUT_MS: Range<u64> =
    iperf3!(31, 100, DAY_MS, "receive timeout value is incorrect or not in range", " (100 to 86400000 ms)");
/// Milliseconds of `TCP_USER_TIMEOUT`; 0 leaves it to the system.
pub const SEND_TIMEOUT_MS: Range<u64> =
    iperf3!(33, 0, DAY_MS, "send timeout value is incorrect or not in range", " (0 to 86400000 ms)");
/// Milliseconds for the control connection to come up; 0 is the default.
pub const CONNECT_TIMEOUT_MS: Range<u64> =
    own(0, DAY_MS, "the connect timeout must be between 0 and 86400000 milliseconds");
/// A differentiated services code point (RFC 2474), the upper six bits of the type of service.
pub const DSCP: Range<u8> = own(
    0,
    63,
    "bad DSCP value (numeric: 0-63 inclusive, symbolic: one of [af11-13, af21-23, af31-33, af41-43, cs0-7, \
     ef, va, lowdelay, throughput, reliability])",
);
/// Outgoing streams of an SCTP association; 0 leaves it to the kernel.
pub const SCTP_STREAMS: Range<u16> = own(0, u16::MAX, "an SCTP association has at most 65535 streams");
/// Bytes of the name of a network device (`IFNAMSIZ` of linux/if.h without its NUL).
pub const DEVICE_BYTES: Range<usize> = own(1, 15, "a network device has a name of 1 to 15 bytes");
/// Microseconds of polling a network card. A stream thread that polls hears of nothing else, and so stays
/// within the 20 ms after which it looks up from its waits.
pub const BUSY_POLL_US: Range = own(1, 10_000, "a network card is polled for 1 to 10000 microseconds");
/// Seconds of a keepalive's times (the kernel's `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL`).
pub const KEEPALIVE_SECS: Range = own(0, 32_767, KEEPALIVE_RULE);
/// Probes of a keepalive (the kernel's `MAX_TCP_KEEPCNT`).
pub const KEEPALIVE_PROBES: Range = own(0, 127, KEEPALIVE_RULE);
/// Tests that a server runs side by side. Each has a thread for each of its streams, so many more would be
/// too many for any machine.
pub const TESTS: Range<usize> = own(1, 64, "a server runs 1 to 64 tests side by side");
/// Tests of one source within a minute; 0 is no limit.
pub const TESTS_PER_MINUTE: Range = own(0, 100_000, "the number of tests within a minute is 0 to 100000");
/// Level of debugging. One beyond the last is the last one, as in iperf3.
pub const DEBUG_LEVEL: Range = own(0, u32::MAX, "a debug level is a number from 1 to 4");

const KEEPALIVE_RULE: &str = "keepalive is IDLE/INTERVAL/COUNT, times to 32767 seconds and a count to 127";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_bounds_and_nothing_beyond() {
        let values = |range: &Range<u8>, numbers: [i64; 4]| numbers.map(|number| range.value(number));
        assert_eq!(values(&own(3, 5, ""), [2, 3, 5, 6]), [None, Some(3), Some(5), None]);
        assert_eq!(values(&TOS, [-1, 0, 255, 256]), [None, Some(0), Some(255), None]);
        assert_eq!(values(&TOS, [i64::MIN, i64::MAX, 1 << 32, 1 << 8]), [None; 4]);
        assert!([0.001, 86_400.0].into_iter().all(|secs| TIMED_SECS.contains(secs)));
        let beyond = [0.000_9, 86_400.1, f64::NAN, f64::INFINITY];
        assert!(!beyond.into_iter().any(|secs| TIMED_SECS.contains(secs)));
    }

    #[test]
    fn the_longest_test_is_as_long_as_typed_as_it_is_when_it_travels() {
        assert!(f64::from(TEST_SECS.max).total_cmp(&TIMED_SECS.max).is_eq());
        assert_eq!(u64::from(TEST_SECS.max) * 1000, DAY_MS);
        assert_eq!(TEST_SECS.max, IDLE_SECS.max);
    }
}
