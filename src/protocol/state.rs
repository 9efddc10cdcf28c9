//! State bytes: the one-byte messages that move a test along.

use std::fmt;

/// What one side announces to the other. Only the values that really travel are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Server: all streams are there; set the clocks to zero.
    TestStart,
    /// Server: move data now.
    TestRunning,
    /// Client: the end condition is reached.
    TestEnd,
    /// Server: send your parameters.
    ParamExchange,
    /// Server: open the streams.
    CreateStreams,
    /// Server: a signal ends me.
    ServerTerminate,
    /// Client: a signal ends me.
    ClientTerminate,
    /// Server: send your results, then read mine.
    ExchangeResults,
    /// Server: you have all there is.
    DisplayResults,
    /// Client: finished, or given up; a server takes it at any time.
    IperfDone,
    /// Server: busy with another client, or a data connection with a wrong cookie.
    AccessDenied,
    /// Server: something failed; two 32-bit numbers follow, see [`super::ServerError`].
    ServerError,
    /// Server: I am a ringperf, as you are; see [`super::ServerHello`]. No iperf3 has this state, and none
    /// ever gets it.
    Hello,
}

impl State {
    /// Every state.
    const ALL: [Self; 13] = [
        Self::TestStart,
        Self::TestRunning,
        Self::TestEnd,
        Self::ParamExchange,
        Self::CreateStreams,
        Self::ServerTerminate,
        Self::ClientTerminate,
        Self::ExchangeResults,
        Self::DisplayResults,
        Self::IperfDone,
        Self::AccessDenied,
        Self::ServerError,
        Self::Hello,
    ];

    /// The byte on the wire. The two negative values of iperf3 are two's complement.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::TestStart => 1,
            Self::TestRunning => 2,
            Self::TestEnd => 4,
            Self::ParamExchange => 9,
            Self::CreateStreams => 10,
            Self::ServerTerminate => 11,
            Self::ClientTerminate => 12,
            Self::ExchangeResults => 13,
            Self::DisplayResults => 14,
            Self::IperfDone => 16,
            Self::AccessDenied => 0xff,
            Self::ServerError => 0xfe,
            Self::Hello => b'R',
        }
    }

    /// The state of that byte; `None` for a value that nobody sends.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.byte() == byte)
    }

    /// Its name for messages, which is iperf3's where it has one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TestStart => "TEST_START",
            Self::TestRunning => "TEST_RUNNING",
            Self::TestEnd => "TEST_END",
            Self::ParamExchange => "PARAM_EXCHANGE",
            Self::CreateStreams => "CREATE_STREAMS",
            Self::ServerTerminate => "SERVER_TERMINATE",
            Self::ClientTerminate => "CLIENT_TERMINATE",
            Self::ExchangeResults => "EXCHANGE_RESULTS",
            Self::DisplayResults => "DISPLAY_RESULTS",
            Self::IperfDone => "IPERF_DONE",
            Self::AccessDenied => "ACCESS_DENIED",
            Self::ServerError => "SERVER_ERROR",
            Self::Hello => "RINGPERF_HELLO",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_bytes_of_the_protocol_are_states() {
        let known: Vec<u8> = (0..=255).filter(|byte| State::from_byte(*byte).is_some()).collect();
        assert_eq!(known, [1, 2, 4, 9, 10, 11, 12, 13, 14, 16, b'R', 0xfe, 0xff]);
        for byte in known {
            assert_eq!(State::from_byte(byte).map(State::byte), Some(byte));
        }
    }

    #[test]
    fn refusals_are_the_negative_ones() {
        assert_eq!(State::AccessDenied.byte(), 255);
        assert_eq!(State::ServerError.byte(), 254);
        assert_eq!(State::ServerError.to_string(), "SERVER_ERROR");
    }
}
