//! What can go wrong with a run, whose fault it was, and what the process exits with.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::{AuthError, Refusal};
use crate::config::{EngineChoice, Placement};
use crate::protocol::{ErrorCode, ParamsError, ParamsTooLong, ResultsError, ServerError, State};
use crate::report::{FailureText, Introduction, Unwritten};
use crate::sys::{Missing, plain, with_way_out};

/// Who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This machine or this command line.
    Local,
    /// The other end, or the network between.
    Peer,
    /// Nobody: a signal ended the run.
    Interrupted,
}

/// Why a run, or one session of a server, ended without a complete result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An engine that was asked for by name cannot run here.
    #[error("engine {choice} cannot run here: {}{}", missing.reason, fix_clause(missing))]
    Engine {
        /// The engine asked for.
        choice: EngineChoice,
        /// What it lacks.
        missing: Missing,
    },
    /// Of all engines that were to be compared none could run.
    #[error("no engine could run; the table says why")]
    NoEngine,
    /// The host name has no address.
    #[error("unable to find an address of {host}: {}", plain(source))]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// No control connection.
    #[error("{}: {} ({address})", ErrorCode::CONNECT, with_way_out(source))]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// What the user wants connections to come from is not to be had.
    #[error("{} from {from}: {}{}", attempt(*code), plain(source), clause(way_out))]
    From {
        /// iperf3's number for what fails by it.
        code: ErrorCode,
        /// The option and what it says.
        from: String,
        /// The system's answer.
        source: io::Error,
        /// What would be right; empty if that is not known.
        way_out: String,
    },
    /// The server's address is one of those that every network device has, and no device is named.
    #[error(
        "unable to connect to server: a link-local address needs its network device: {option} {address}%{}",
        devices_clause(devices)
    )]
    Zone {
        /// The option that has it.
        option: &'static str,
        /// The address.
        address: IpAddr,
        /// Devices that have such addresses.
        devices: Vec<String>,
    },
    /// The server runs another test.
    #[error("{}", ErrorCode::ACCESS_DENIED)]
    Busy,
    /// The server says that it failed.
    #[error("SERVER ERROR - {}", reason(.0))]
    Server(ServerError),
    /// The server cannot run the engine that it was asked for.
    #[error(
        "the server cannot run --peer-engine {0}; its own output says why, and --peer-engine auto lets it choose"
    )]
    PeerEngine(EngineChoice),
    /// The control connection ended without the protocol's words.
    #[error("{} (while waiting for {waiting_for})", ErrorCode::CONTROL_CLOSED)]
    Closed {
        /// What should have come; behind a semicolon why it may not have.
        waiting_for: &'static str,
    },
    /// A client that a server had a test with is gone.
    #[error("the client has unexpectedly closed the connection (while waiting for {waiting_for})")]
    ClientGone {
        /// What should have come.
        waiting_for: &'static str,
    },
    /// The peer is there but does not say what it should.
    #[error("the peer did not send {} within {} seconds; {}", due(waiting_for), .after.as_secs(), why_not(waiting_for))]
    Silent {
        /// What should have come; behind a semicolon why it may not have.
        waiting_for: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// The control connection failed.
    #[error("{}: {}", ErrorCode::CONTROL_READ, plain(.0))]
    Control(#[source] io::Error),
    /// A byte that is no state: the other end speaks something else.
    #[error("{code}: byte {0}", code = ErrorCode::UNKNOWN_MESSAGE)]
    UnknownState(u8),
    /// A state that has no place here.
    #[error("the peer sent {state} where {} was due", due(waiting_for))]
    Unexpected {
        /// What came.
        state: State,
        /// What should have come; behind a semicolon why it may not have.
        waiting_for: &'static str,
    },
    /// A length word that no sane peer sends.
    #[error("the peer announced {what} of {bytes} bytes; at most {most} are read")]
    TooLong {
        /// Parameters or results.
        what: &'static str,
        /// The length it announced.
        bytes: u32,
        /// The limit.
        most: u32,
    },
    /// The server was ended by a signal.
    #[error("{}", ErrorCode::SERVER_TERMINATED)]
    ServerTerminated,
    /// The client was ended by a signal.
    #[error("{}", ErrorCode::CLIENT_TERMINATED)]
    ClientTerminated,
    /// A signal ended this process.
    #[error("interrupt - the {role} has terminated by signal {signal}")]
    Interrupted {
        /// "client" or "server".
        role: &'static str,
        /// For example "Interrupt(2)".
        signal: &'static str,
    },
    /// This end is not set up for authentication.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The client is nobody who may run a test here. The client itself hears only the first three words.
    #[error("{} for the client at {client}: {refusal}", ErrorCode::AUTHORIZATION)]
    Unauthorized {
        /// Where it is.
        client: IpAddr,
        /// Why.
        refusal: Refusal,
    },
    /// The own parameters do not fit.
    #[error(transparent)]
    ParamsTooLong(#[from] ParamsTooLong),
    /// The client's parameters are refused.
    #[error("the client's parameters are refused: {0}")]
    Params(#[from] ParamsError),
    /// The peer's results make no sense.
    #[error("{code}: {0}", code = ErrorCode::RECV_RESULTS)]
    Results(#[from] ResultsError),
    /// The peer's results name a stream that does not exist.
    #[error("the peer's results name stream {0}, which does not exist")]
    StreamId(u32),
    /// A data connection could not be made.
    #[error("{}: {} ({address})", ErrorCode::STREAM_CONNECT, with_way_out(source))]
    StreamConnect {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The server did not answer the first word of a UDP stream.
    #[error(
        "the server ({server}) did not answer over UDP within {} seconds; a firewall may block UDP port {}, or the \
         datagram was lost, or it came to the server from another address than the control connection (policy \
         routing, carrier NAT; the server's own output says so): let UDP through, or try again",
        .after.as_secs(), .server.port()
    )]
    UdpSilent {
        /// Where the word was sent to.
        server: SocketAddr,
        /// How long the answer had.
        after: Duration,
    },
    /// The server's host says that nothing listens there.
    #[error(
        "the server ({server}) refuses UDP port {}; a firewall may block it, or it is not forwarded to the server",
        .server.port()
    )]
    UdpClosed {
        /// Where the word was sent to.
        server: SocketAddr,
    },
    /// The client has not opened its next UDP stream.
    #[error(
        "no UDP datagram came from the client within {} seconds; a firewall may block UDP, or the datagram was lost",
        .after.as_secs()
    )]
    UdpNoClient {
        /// How long the client had.
        after: Duration,
    },
    /// The server cannot receive over UDP.
    #[error("{} on {address}, UDP: {}{}", ErrorCode::LISTEN, with_way_out(source), clause(way_out))]
    UdpListen {
        /// Address and port.
        address: String,
        /// Why.
        source: io::Error,
        /// What would be right; empty if that is not known.
        way_out: String,
    },
    /// The server cannot listen for the data connections of a test.
    #[error("{} on {address}: {}", ErrorCode::STREAM_LISTEN, with_way_out(source))]
    StreamListen {
        /// Address and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The server had no descriptor left for a data connection of the test.
    #[error("{}: {}", ErrorCode::STREAM_ACCEPT, with_way_out(.0))]
    StreamAccept(#[source] io::Error),
    /// The congestion control that was asked for is not to be had.
    #[error("{}: {name} (-C); {way_out}", ErrorCode::CONGESTION)]
    Congestion {
        /// Its name.
        name: String,
        /// The system's answer.
        source: io::Error,
        /// What there is.
        way_out: String,
    },
    /// An option of a socket was refused.
    #[error("{what}: {}", plain(source))]
    SocketOption {
        /// What was to be set.
        what: String,
        /// The number that a client is told.
        code: ErrorCode,
        /// The system's answer.
        source: io::Error,
    },
    /// The data sockets may not poll the network card as long as `--busy-poll` says.
    #[error("unable to poll for {micros} us (SO_BUSY_POLL): {}; {way_out}", plain(source))]
    BusyPoll {
        /// How long it was to be, in microseconds.
        micros: u32,
        /// The system's answer.
        source: io::Error,
        /// What helps.
        way_out: String,
    },
    /// The kernel gave smaller buffers than asked for.
    #[error(
        "{}: asked for {asked} bytes, the kernel gave {actual}; raise sysctl net.core.wmem_max and rmem_max",
        ErrorCode::BUFFER_SIZE_NOT_SET
    )]
    BufferSize {
        /// Bytes asked for.
        asked: u32,
        /// Bytes that the kernel reports.
        actual: u32,
    },
    /// The kernel lacks the protocol that the streams are made of.
    #[error("{code}: this kernel has no {name} ({})", plain(source))]
    NoProtocol {
        /// Its name.
        name: &'static str,
        /// The number that a client is told.
        code: ErrorCode,
        /// The system's answer.
        source: io::Error,
    },
    /// The processor that was asked for is not to be had.
    #[error("{}: {}", ErrorCode::AFFINITY, plain(.0))]
    Affinity(#[source] io::Error),
    /// A processor that was asked for by `--cpus`, or by a client, is not to be had.
    #[error(
        "{}: processor {cpu} of {option} does not exist or is not one that this process may use, which are \
         {allowed}",
        ErrorCode::AFFINITY
    )]
    Place {
        /// Its number.
        cpu: u32,
        /// The option that asks for it.
        option: &'static str,
        /// The processors that may be used, as a list.
        allowed: String,
    },
    /// The server cannot run its streams on the processors that it was asked for.
    #[error("the server cannot run its streams on --peer-cpus {0}; its own output says why")]
    PeerCpus(Placement),
    /// The file of `-F` cannot be opened.
    #[error("{}: {} ({})", ErrorCode::FILE, plain(source), path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A client wants a test over UDP from a server that reads or writes a file.
    #[error("{}", ErrorCode::UDP_FILE)]
    FileOverUdp,
    /// The client's test is longer than the server allows, or has no known end.
    #[error("{}", ErrorCode::MAX_DURATION)]
    TooLongTest,
    /// The client asks for a higher rate than the server allows, or has reached one.
    #[error("{}", ErrorCode::TOTAL_RATE)]
    RateLimit,
    /// The client has another test whose streams must be there first.
    #[error(
        "another test of the same client was still being set up {} seconds later, and their streams cannot be told \
         apart", .0.as_secs()
    )]
    NoTurn(Duration),
    /// Nothing has moved in the client's test for so long, and another client has taken its slot.
    #[error(
        "nothing was transferred for {:.1} seconds, and another client was waiting", .0.as_secs_f64()
    )]
    Displaced(Duration),
    /// A client's exchange of results goes on and on, and others need what it holds.
    #[error("the exchange of results took too long, and other clients were waiting")]
    Evicted,
    /// A panic. It has ended the session that it happened in and nothing else.
    #[error("a bug in ringperf has ended the test ({0}); please report it")]
    Defect(String),
    /// A source has had as many tests as it may have.
    #[error("the client at {client} was turned away: it has had {most} tests within a minute")]
    TooManyTests {
        /// Where it is.
        client: IpAddr,
        /// What `--max-tests-per-minute` allows.
        most: u32,
    },
    /// All data connections died before the test was over.
    #[error("all data connections ended before the test was over: {reason}")]
    StreamsLost {
        /// How the last of them ended.
        reason: String,
    },
    /// Nothing moved for too long.
    #[error("{}: nothing was transferred for {} seconds", ErrorCode::RECV_TIMEOUT, .0.as_secs_f64())]
    Stalled(Duration),
    /// The client let the time of its own test pass.
    #[error("{}", ErrorCode::DURATION_EXPIRED)]
    Overdue,
    /// The server cannot listen.
    #[error("{} on {address}: {}{}", ErrorCode::LISTEN, plain(source), clause(way_out))]
    Listen {
        /// Address and port.
        address: String,
        /// Why.
        source: io::Error,
        /// What would be right; empty if that is not known.
        way_out: String,
    },
    /// The report cannot be written, which has been told already.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// What was to happen before the test or the first client did not. It is told by whoever wanted it.
    #[error("{0}")]
    NotReady(String),
    /// Something that always works did not.
    #[error("{what}: {}", with_way_out(source))]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl RunError {
    /// Whose fault it was.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Interrupted { .. } => Fault::Interrupted,
            Self::Engine { .. }
            | Self::NoEngine
            | Self::Resolve { .. }
            | Self::From { .. }
            | Self::Zone { .. }
            | Self::Congestion { .. }
            | Self::Auth(_)
            | Self::ParamsTooLong(_)
            | Self::SocketOption { .. }
            | Self::BusyPoll { .. }
            | Self::BufferSize { .. }
            | Self::Listen { .. }
            | Self::UdpListen { .. }
            | Self::Unwritten(_)
            | Self::NotReady(_)
            | Self::StreamListen { .. }
            | Self::StreamAccept(_)
            | Self::NoProtocol { .. }
            | Self::Affinity(_)
            | Self::Place { .. }
            | Self::File { .. }
            | Self::Defect(_)
            | Self::System { .. } => Fault::Local,
            _ => Fault::Peer,
        }
    }

    /// What the process exits with: 0 after a signal, as iperf3 since 3.19, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(self.fault() != Fault::Interrupted)
    }

    /// What iperf3 says of the same, to the letter; of what it does not know, the same as `Display`.
    #[must_use]
    pub fn in_iperf3s_words(&self) -> String {
        let with = |code: ErrorCode, source: &io::Error| code.with_system_words(&plain(source));
        match self {
            Self::Resolve { source, .. } => {
                let words = plain(source);
                // The standard library says first what it tried.
                let words = words.rsplit_once(": ").map_or(words.as_str(), |(_, words)| words);
                ErrorCode::CONNECT.with_system_words(words)
            }
            Self::Connect { source, .. } => with(ErrorCode::CONNECT, source),
            Self::Zone { .. } => with(ErrorCode::CONNECT, &io::Error::from_raw_os_error(libc::EINVAL)),
            Self::Congestion { .. } => ErrorCode::CONGESTION.to_string(),
            Self::Place { .. } => with(ErrorCode::AFFINITY, &io::Error::from_raw_os_error(libc::EINVAL)),
            Self::Server(said) => said.code.with_system_words(&words_of(said)),
            Self::Closed { .. } => ErrorCode::CONTROL_CLOSED.to_string(),
            Self::ClientGone { .. } => "the client has unexpectedly closed the connection".to_owned(),
            Self::Control(source) => with(ErrorCode::RECV_MESSAGE, source),
            Self::UnknownState(_) => ErrorCode::UNKNOWN_MESSAGE.to_string(),
            Self::StreamConnect { source, .. } => with(ErrorCode::STREAM_CONNECT, source),
            Self::Listen { source, .. } | Self::UdpListen { source, .. } => with(ErrorCode::LISTEN, source),
            Self::StreamListen { source, .. } => with(ErrorCode::STREAM_LISTEN, source),
            Self::StreamAccept(source) => with(ErrorCode::STREAM_ACCEPT, source),
            Self::SocketOption { code, source, .. } | Self::From { code, source, .. } => with(*code, source),
            Self::NoProtocol { code, .. } => code.to_string(),
            Self::BufferSize { .. } => ErrorCode::BUFFER_SIZE_NOT_SET.to_string(),
            Self::Affinity(source) => with(ErrorCode::AFFINITY, source),
            Self::File { source, .. } => with(ErrorCode::FILE, source),
            Self::Stalled(_) => ErrorCode::RECV_TIMEOUT.to_string(),
            Self::StreamId(_) => ErrorCode::STREAM_ID.to_string(),
            Self::Results(_) => ErrorCode::RECV_RESULTS.to_string(),
            Self::Unauthorized { .. } => ErrorCode::AUTHORIZATION.to_string(),
            Self::Params(error) => error.code().to_string(),
            other => other.to_string(),
        }
    }

    /// The number by which a server tells its client; `None` when the client is not to be told.
    #[must_use]
    pub fn code_for_client(&self) -> Option<ErrorCode> {
        match self {
            Self::Engine { .. } | Self::BusyPoll { .. } | Self::System { .. } | Self::Defect(_) => {
                Some(ErrorCode::INIT_TEST)
            }
            Self::NoTurn(_) | Self::Displaced(_) | Self::Evicted => Some(ErrorCode::ACCESS_DENIED),
            Self::UdpListen { .. } | Self::StreamListen { .. } => Some(ErrorCode::STREAM_LISTEN),
            Self::UdpNoClient { .. } | Self::StreamAccept(_) => Some(ErrorCode::STREAM_ACCEPT),
            Self::Silent { .. } => Some(ErrorCode::RECV_MESSAGE),
            Self::UnknownState(_) | Self::Unexpected { .. } => Some(ErrorCode::UNKNOWN_MESSAGE),
            Self::TooLong { what: "parameters", .. } => Some(ErrorCode::RECV_PARAMS),
            Self::TooLong { .. } => Some(ErrorCode::RECV_RESULTS),
            Self::ClientTerminated => Some(ErrorCode::CLIENT_TERMINATED),
            Self::Params(error) => Some(error.code()),
            Self::Results(error) => Some(error.code()),
            Self::StreamId(_) => Some(ErrorCode::STREAM_ID),
            Self::SocketOption { code, .. } | Self::NoProtocol { code, .. } => Some(*code),
            Self::Congestion { .. } => Some(ErrorCode::CONGESTION),
            Self::Affinity(_) | Self::Place { .. } => Some(ErrorCode::AFFINITY),
            Self::File { .. } => Some(ErrorCode::FILE),
            Self::FileOverUdp => Some(ErrorCode::UDP_FILE),
            Self::TooLongTest => Some(ErrorCode::MAX_DURATION),
            Self::RateLimit => Some(ErrorCode::TOTAL_RATE),
            Self::BufferSize { .. } => Some(ErrorCode::BUFFER_SIZE_NOT_SET),
            Self::Stalled(_) => Some(ErrorCode::RECV_TIMEOUT),
            Self::Unauthorized { .. } => Some(ErrorCode::AUTHORIZATION),
            Self::Overdue => Some(ErrorCode::DURATION_EXPIRED),
            Self::StreamsLost { .. } => Some(ErrorCode::STREAM_WRITE),
            _ => None,
        }
    }
}

/// What iperf3 says first of a server's failure.
fn announcement(said: &ServerError) -> String {
    let words = words_of(said);
    let reason = said.code.with_system_words(&words);
    let errno = if words.is_empty() { String::new() } else { format!(", errno: {words}") };
    reason + &errno
}

/// The system's words for the server's `errno`; none without one.
fn words_of(said: &ServerError) -> String {
    match said.os_error {
        None | Some(0) => String::new(),
        Some(number) => plain(&io::Error::from_raw_os_error(number)),
    }
}

impl From<&RunError> for FailureText {
    fn from(error: &RunError) -> Self {
        let plain = error.in_iperf3s_words();
        match error {
            RunError::Server(said) => {
                let introduction = Introduction::ServerError { announcement: announcement(said) };
                Self { full: reason(said), plain, introduction }
            }
            RunError::Interrupted { .. } | RunError::ClientGone { .. } | RunError::ClientTerminated => {
                Self { full: error.to_string(), plain, introduction: Introduction::Bare }
            }
            _ => Self { full: error.to_string(), plain, introduction: Introduction::Error },
        }
    }
}

fn fix_clause(missing: &Missing) -> String {
    if missing.fix.is_empty() { String::new() } else { format!("; to fix it: {}", missing.fix) }
}

/// What should have come, without why it may not have.
pub(crate) fn due(waiting_for: &str) -> &str {
    waiting_for.split_once("; ").map_or(waiting_for, |(due, _)| due)
}

/// Why it may not have come.
fn why_not(waiting_for: &str) -> &str {
    waiting_for.split_once("; ").map_or("it may be hung or unreachable", |(_, why)| why)
}

/// What was tried, without the guesses that iperf3 adds to a refused connection.
fn attempt(code: ErrorCode) -> &'static str {
    let words = code.text().unwrap_or_default();
    words.split_once(" - ").map_or(words, |(attempt, _)| attempt)
}

fn clause(way_out: &str) -> String {
    if way_out.is_empty() { String::new() } else { format!("; {way_out}") }
}

/// The device of an example, and the others there are.
fn devices_clause(devices: &[String]) -> String {
    match devices {
        [] => "DEVICE (no device of this machine has such an address)".to_owned(),
        [device] => device.clone(),
        [device, others @ ..] => format!("{device}, or one of {}", others.join(", ")),
    }
}

/// What a server says of its failure. Its `errno` is often a stale one, so it is only mentioned.
fn reason(said: &ServerError) -> String {
    match said.os_error {
        Some(number) if number != 0 => format!("{} (server's errno {number})", said.code),
        _ => said.code.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_scripts_match_keep_iperf3s_words() {
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let connect = RunError::Connect { address: "127.0.0.1, port 5201".to_owned(), source: refused };
        assert_eq!(
            connect.to_string(),
            "unable to connect to server - server may have stopped running or use a different port, firewall \
             issue, etc.: Connection refused (127.0.0.1, port 5201)"
        );
        assert_eq!(RunError::Busy.to_string(), "the server is busy running a test. try again later");
        let limit = ServerError { code: ErrorCode::TOTAL_RATE, os_error: Some(9) };
        assert_eq!(
            RunError::Server(limit).to_string(),
            "SERVER ERROR - total required bandwidth is larger than server limit (server's errno 9)"
        );
    }

    #[test]
    fn called_as_iperf3_nothing_is_added_to_its_words() {
        let refused = || io::Error::from_raw_os_error(libc::ECONNREFUSED);
        let connect = "unable to connect to server - server may have stopped running or use a different port, \
            firewall issue, etc.";
        let gai = "failed to lookup address information: Name or service not known";
        let said = |code, errno| RunError::Server(ServerError { code, os_error: Some(errno) });
        for (error, plain) in [
            (
                RunError::Connect { address: "h, port 1".to_owned(), source: refused() },
                format!("{connect}: Connection refused"),
            ),
            (
                RunError::Resolve { host: "h".to_owned(), source: io::Error::other(gai) },
                format!("{connect}: Name or service not known"),
            ),
            (
                said(ErrorCode::TOTAL_RATE, 9),
                "total required bandwidth is larger than server limit".to_owned(),
            ),
            (said(ErrorCode::INIT_TEST, 111), "test initialization failed: Connection refused".to_owned()),
            (
                RunError::Closed { waiting_for: "results" },
                "control socket has closed unexpectedly".to_owned(),
            ),
            (RunError::Stalled(Duration::from_secs(1)), "idle timeout for receiving data".to_owned()),
            (RunError::Busy, "the server is busy running a test. try again later".to_owned()),
            (
                RunError::From {
                    code: ErrorCode::CONNECT,
                    from: "-B 10.0.0.1".to_owned(),
                    source: io::Error::from_raw_os_error(libc::EADDRNOTAVAIL),
                    way_out: "this machine has 127.0.0.1".to_owned(),
                },
                format!("{connect}: Cannot assign requested address"),
            ),
        ] {
            assert_eq!(FailureText::from(&error).plain, plain);
        }
        for (errno, full, announcement) in [
            (
                9,
                "total required bandwidth is larger than server limit (server's errno 9)",
                "total required bandwidth is larger than server limit, errno: Bad file descriptor",
            ),
            (
                0,
                "total required bandwidth is larger than server limit",
                "total required bandwidth is larger than server limit",
            ),
        ] {
            let limit = FailureText::from(&said(ErrorCode::TOTAL_RATE, errno));
            let introduction = Introduction::ServerError { announcement: announcement.to_owned() };
            assert_eq!((limit.full.as_str(), limit.introduction), (full, introduction));
        }
    }

    #[test]
    fn what_says_by_itself_who_has_ended_the_test_is_not_introduced() {
        for (error, introduction) in [
            (RunError::Interrupted { role: "server", signal: "Interrupt(2)" }, Introduction::Bare),
            (RunError::ClientGone { waiting_for: "results" }, Introduction::Bare),
            (RunError::ClientTerminated, Introduction::Bare),
            (RunError::ServerTerminated, Introduction::Error),
            (RunError::Closed { waiting_for: "results" }, Introduction::Error),
            (RunError::RateLimit, Introduction::Error),
        ] {
            let failure = FailureText::from(&error);
            assert_eq!((failure.introduction, failure.full), (introduction, error.to_string()));
        }
    }

    #[test]
    fn hints_stand_behind_the_sentence() {
        let waiting_for = "the server's first answer; it may be busy";
        let after = Duration::from_secs(10);
        for (error, text) in [
            (
                RunError::Silent { waiting_for, after },
                "the peer did not send the server's first answer within 10 seconds; it may be busy",
            ),
            (
                RunError::Silent { waiting_for: "results", after },
                "the peer did not send results within 10 seconds; it may be hung or unreachable",
            ),
            (
                RunError::Unexpected { state: State::TestEnd, waiting_for },
                "the peer sent TEST_END where the server's first answer was due",
            ),
            (
                RunError::Closed { waiting_for },
                "control socket has closed unexpectedly (while waiting for the server's first answer; it may be \
                 busy)",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_link_local_address_is_given_a_device_that_has_one() {
        let address = "fe80::1".parse().unwrap();
        for (devices, end) in [
            (vec![], "-c fe80::1%DEVICE (no device of this machine has such an address)"),
            (vec!["eth0"], "-c fe80::1%eth0"),
            (vec!["eth0", "lo", "tap"], "-c fe80::1%eth0, or one of lo, tap"),
        ] {
            let devices = devices.into_iter().map(str::to_owned).collect();
            let text = RunError::Zone { option: "-c", address, devices }.to_string();
            assert!(
                text.ends_with(&format!("a link-local address needs its network device: {end}")),
                "{text}"
            );
        }
    }

    #[test]
    fn only_a_signal_is_no_failure() {
        assert_eq!(RunError::Interrupted { role: "client", signal: "Interrupt(2)" }.exit_code(), 0);
        assert_eq!(RunError::Busy.exit_code(), 1);
        assert_eq!(RunError::Busy.fault(), Fault::Peer);
    }
}
