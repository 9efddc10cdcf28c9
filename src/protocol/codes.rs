//! Error numbers: how an iperf3 server tells its client what went wrong.

use std::fmt;

use crate::config::messages;
use crate::config::ranges::{self, Range};

/// iperf3's number for a failure (its `i_errno`), stable since version 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(pub i32);

/// One constant and one message per line, so that the two cannot drift apart. What the command line says as
/// well stands with the configuration: of a number outside its range, with the range.
macro_rules! error_codes {
    (
        ranges { $($beyond:ident = $range:ident;)* }
        others { $($name:ident = $number:literal, $text:expr;)* }
    ) => {
        impl ErrorCode {
            $(#[doc = concat!("iperf3's number for what is outside [`ranges::", stringify!($range), "`].")]
            pub const $beyond: Self = Self::beyond(&ranges::$range);)*
            $(#[doc = concat!("iperf3's number ", stringify!($number), ".")] pub const $name: Self = Self($number);)*

            /// iperf3's words for it, without the text of a system error; `None` for a number that never
            /// travels.
            #[must_use]
            pub fn text(self) -> Option<&'static str> {
                match self {
                    $(Self::$beyond => Some(ranges::$range.words),)*
                    $(Self::$name => Some($text),)*
                    _ => None,
                }
            }

            /// Every number with a name.
            #[cfg(test)]
            const NAMED: &'static [Self] = &[$(Self::$beyond,)* $(Self::$name),*];
        }
    };
}

error_codes! {
ranges {
    DURATION = TEST_SECS;
    NUM_STREAMS = STREAMS;
    BLOCK_SIZE = BLOCK_BYTES;
    BUFFER_SIZE = WINDOW_BYTES;
    INTERVAL = REPORT_SECS;
    MSS = MSS_BYTES;
    OMIT = OMIT_SECS;
    BURST = BURST_BLOCKS;
    UDP_BLOCK_SIZE = DATAGRAM_BYTES;
    TOS = TOS;
    PORT = PORT;
    RATE_INTERVAL = AVERAGE_SECS;
    SKEW = SKEW_SECS;
    IDLE_TIMEOUT = IDLE_SECS;
    RECEIVE_TIMEOUT = RECEIVE_TIMEOUT_MS;
    SEND_TIMEOUT = SEND_TIMEOUT_MS;
    FLOW_LABEL = FLOW_LABEL;
    AFFINITY = PROCESSOR;
}
others {
    BOTH_ROLES = 1, messages::BOTH_ROLES;
    NO_ROLE = 2, messages::NO_ROLE;
    SERVER_ONLY = 3, messages::SERVER_ONLY;
    CLIENT_ONLY = 4, messages::CLIENT_ONLY;
    NO_SENDFILE = 11, "this OS does not support sendfile";
    NOT_IMPLEMENTED = 13, "an option you are trying to set is not implemented yet";
    FILE = 14, "unable to open -F file";
    END_CONDITIONS = 16, messages::END_CONDITIONS;
    LOG_FILE = 17, "unable to open log file";
    NO_SCTP = 18, "no SCTP support available";
    CLIENT_PORT = 19, "--bind must be specified to use --cport";
    CLIENT_LOGIN = 22, messages::CLIENT_LOGIN;
    SERVER_LOGIN = 23, messages::SERVER_LOGIN;
    FORMAT = 24, messages::FORMAT;
    REVERSE_BIDIR = 25, messages::REVERSE_BIDIR;
    TOTAL_RATE = 27, "total required bandwidth is larger than server limit";
    ONLY_SENDS = 32, messages::ONLY_SENDS;
    UDP_FILE = 34, messages::UDP_FILE;
    USERS_FILE = 35, "cannot access authorized users file";
    KEEPALIVE_PERIOD = 36, messages::KEEPALIVE_PERIOD;
    MAX_DURATION = 37, "client's requested duration exceeds the server's maximum permitted limit";
    UNIT = 38, "invalid unit value or suffix";
    NO_SKIP_RX_COPY = 39, "this OS does not support --skip-rx-copy";
    DSCP = 40, "bad DSCP value (numeric: 0-63 inclusive, symbolic: one of [af11-13, af21-23, af31-33, af41-43, \
        cs1-7, ef, va, lowdelay, throughput, reliability])";
    NEW_TEST = 100, "unable to create a new test";
    INIT_TEST = 101, "test initialization failed";
    LISTEN = 102, "unable to start listener for connections";
    CONNECT = 103, "unable to connect to server - server may have stopped running or use a different port, \
        firewall issue, etc.";
    ACCEPT = 104, "unable to accept connection from client";
    SEND_COOKIE = 105, "unable to send cookie to server";
    RECV_COOKIE = 106, "unable to receive cookie at server";
    CONTROL_WRITE = 107, "unable to write to the control socket";
    CONTROL_READ = 108, "unable to read from the control socket";
    CONTROL_CLOSED = 109, "control socket has closed unexpectedly";
    UNKNOWN_MESSAGE = 110, "received an unknown control message (ensure other side is iperf3 and not iperf)";
    SEND_MESSAGE = 111, "unable to send control message - port may not be available, the other side may have \
        stopped running, etc.";
    RECV_MESSAGE = 112, "unable to receive control message - port may not be available, the other side may \
        have stopped running, etc.";
    SEND_PARAMS = 113, "unable to send parameters to server";
    RECV_PARAMS = 114, "unable to receive parameters from client";
    PACKAGE_RESULTS = 115, "unable to package results";
    SEND_RESULTS = 116, "unable to send results";
    RECV_RESULTS = 117, "unable to receive results";
    SELECT = 118, "select failed";
    CLIENT_TERMINATED = 119, "the client has terminated";
    SERVER_TERMINATED = 120, "the server has terminated";
    ACCESS_DENIED = 121, "the server is busy running a test. try again later";
    SET_NODELAY = 122, "unable to set TCP/SCTP NODELAY";
    SET_MSS = 123, "unable to set TCP/SCTP MSS";
    SET_BUFFER = 124, "unable to set socket buffer size";
    SET_TOS = 125, "unable to set IP TOS";
    SET_TRAFFIC_CLASS = 126, "unable to set IPv6 traffic class";
    REUSE_ADDRESS = 128, "unable to reuse address on socket";
    NON_BLOCKING = 129, "unable to set socket to non-blocking";
    SET_WINDOW = 130, "unable to set socket window size";
    PROTOCOL = 131, "protocol does not exist";
    DAEMON = 133, "unable to become a daemon";
    CONGESTION = 134, "unable to set TCP_CONGESTION: Supplied congestion control algorithm not supported \
        on this host";
    PID_FILE = 135, "unable to write PID file";
    V6_ONLY = 136, "Unable to set/reset IPV6_V6ONLY";
    SCTP_FRAGMENTS = 137, "unable to set SCTP_DISABLE_FRAGMENTS";
    SCTP_STREAMS = 138, "unable to set SCTP_INIT num of SCTP streams";
    PACING = 140, "unable to set socket pacing";
    BUFFER_SIZE_NOT_SET = 141, "socket buffer size not set correctly";
    AUTHORIZATION = 142, "test authorization failed";
    BIND_DEVICE = 143, "Unable to bind-to-device (check perror, maybe permissions?)";
    RECV_TIMEOUT = 144, "idle timeout for receiving data";
    DONT_FRAGMENT = 145, "unable to set IP Do-Not-Fragment flag";
    NO_BIND_DEVICE = 146, "`<ip>%<dev>` is not supported as system does not support bind to device";
    HOST_DEVICE = 147, "host device name (ip%<dev>) is supported (and required) only for IPv6 link-local address";
    USER_TIMEOUT = 148, "unable to set TCP USER_TIMEOUT";
    CREATE_THREAD = 150, "unable to create thread";
    CANCEL_THREAD = 151, "unable to cancel thread";
    JOIN_THREAD = 152, "unable to join thread";
    CREATE_THREAD_ATTRIBUTES = 153, "unable to create thread attributes";
    DESTROY_THREAD_ATTRIBUTES = 154, "unable to destroy thread attributes";
    KEEPALIVE = 155, "unable to set socket keepalive (SO_KEEPALIVE) option";
    KEEPALIVE_IDLE = 156, "unable to set socket keepalive TCP period (TCP_KEEPIDLE) option";
    KEEPALIVE_INTERVAL = 157, "unable to set/get socket keepalive TCP retry interval (TCP_KEEPINTVL) option";
    KEEPALIVE_COUNT = 158, "unable to set/get socket keepalive TCP number of retries (TCP_KEEPCNT) option";
    SIGNAL_MASK = 159, "unable to change mask of blocked signals";
    DURATION_EXPIRED = 160, "server test duration expired";
    CREATE_STREAM = 200, "unable to create a new stream";
    INIT_STREAM = 201, "unable to initialize stream";
    STREAM_LISTEN = 202, "unable to start stream listener";
    STREAM_CONNECT = 203, "unable to connect stream";
    STREAM_ACCEPT = 204, "unable to accept stream connection";
    STREAM_WRITE = 205, "unable to write to stream socket";
    STREAM_READ = 206, "unable to read from stream socket";
    STREAM_CLOSED = 207, "stream socket has closed unexpectedly";
    STREAM_ID = 208, "stream has an invalid id";
    NEW_TIMER = 300, "unable to create new timer";
    UPDATE_TIMER = 301, "unable to update timer";
}
}

impl ErrorCode {
    /// The number for a parameter that is outside its range: that of the range, or else the one for
    /// parameters that are not understood.
    pub(in crate::protocol) const fn beyond<T>(range: &Range<T>) -> Self {
        match range.code {
            Some(code) => Self(code),
            None => Self::RECV_PARAMS,
        }
    }

    /// All of iperf3's words for it, with those of the system that it puts behind some of them; without a
    /// system error these are empty.
    #[must_use]
    pub fn with_system_words(self, system: &str) -> String {
        if self.has_system_words() { format!("{self}: {system}") } else { self.to_string() }
    }

    fn has_system_words(self) -> bool {
        matches!(
            self.0,
            14 | 17
                | 31..=33
                | 36
                | 100..=108
                | 111..=118
                | 122..=126
                | 128..=130
                | 132
                | 133
                | 135..=138
                | 140
                | 148
                | 150..=153
                | 155..=158
                | 160
                | 200..=206
                | 300
                | 301
        ) || self.text().is_none()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => f.pad(text),
            None => write!(f, "int_errno={}", self.0),
        }
    }
}

/// What follows the state byte [`super::State::ServerError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// What failed.
    pub code: ErrorCode,
    /// The server system's `errno`, 0 for none. A hint at best: servers often send a stale one, and the
    /// numbering is that of their system. `None` when a server of 3.18 or before leaves it out.
    pub os_error: Option<i32>,
}

impl ServerError {
    /// Bytes of a complete payload.
    pub const LEN: usize = 8;

    /// Two signed integers in network byte order.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.code.0.to_be_bytes());
        bytes[4..].copy_from_slice(&self.os_error.unwrap_or(0).to_be_bytes());
        bytes
    }

    /// The payload from what came before the connection closed, or `None` when not even the first integer is
    /// there.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (code, rest) = bytes.split_first_chunk()?;
        let os_error = rest.first_chunk().copied().map(i32::from_be_bytes);
        Some(Self { code: ErrorCode(i32::from_be_bytes(*code)), os_error })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_that_scripts_match() {
        for (code, text) in [
            (27, "total required bandwidth is larger than server limit"),
            (109, "control socket has closed unexpectedly"),
            (119, "the client has terminated"),
            (120, "the server has terminated"),
            (121, "the server is busy running a test. try again later"),
            (142, "test authorization failed"),
            (160, "server test duration expired"),
            (4711, "int_errno=4711"),
            (-1, "int_errno=-1"),
        ] {
            assert_eq!(ErrorCode(code).to_string(), text);
        }
        let connect = ErrorCode::CONNECT.to_string();
        assert!(connect.ends_with("or use a different port, firewall issue, etc."), "{connect}");
    }

    #[test]
    fn numbers_are_unique_and_messages_are_one_line() {
        let mut numbers: Vec<i32> = ErrorCode::NAMED.iter().map(|code| code.0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ErrorCode::NAMED.len());
        for code in ErrorCode::NAMED {
            let text = code.text().unwrap();
            assert!(!text.contains('\n') && !text.contains("  "), "{text}");
        }
    }

    /// As a libiperf 3.22 says it of a server's number and errno.
    #[test]
    fn words_of_the_system_stand_where_iperf3_has_them() {
        for (code, with, without) in [
            (101, "test initialization failed: Connection refused", "test initialization failed: "),
            (27, "total required bandwidth is larger than server limit", ""),
            (127, "unable to set IPv6 flow label", ""),
            (160, "server test duration expired: Connection refused", "server test duration expired: "),
            (4711, "int_errno=4711: Connection refused", "int_errno=4711: "),
        ] {
            assert_eq!(ErrorCode(code).with_system_words("Connection refused"), with);
            let without = if without.is_empty() { with } else { without };
            assert_eq!(ErrorCode(code).with_system_words(""), without);
        }
    }

    #[test]
    fn captured_payloads() {
        let limit = ServerError { code: ErrorCode::TOTAL_RATE, os_error: Some(0) };
        assert_eq!(ServerError::decode(&[0, 0, 0, 0x1b, 0, 0, 0, 0]), Some(limit));
        assert_eq!(limit.encode(), [0, 0, 0, 0x1b, 0, 0, 0, 0]);
        let short = ServerError { code: ErrorCode::AUTHORIZATION, os_error: None };
        assert_eq!(ServerError::decode(&[0, 0, 0, 0x8e]), Some(short));
        assert_eq!(ServerError::decode(&[0, 0, 0, 0x8e, 0, 0]), Some(short));
        assert_eq!(ServerError::decode(&[0, 0, 0]), None);
        assert_eq!(ServerError::decode(&[]), None);
    }

    proptest! {
        #[test]
        fn payloads_round_trip(code: i32, os_error: i32) {
            let error = ServerError { code: ErrorCode(code), os_error: Some(os_error) };
            prop_assert_eq!(ServerError::decode(&error.encode()), Some(error));
        }
    }
}
