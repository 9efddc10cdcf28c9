//! What this end lacks for a run.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::with_system_words;
use crate::auth::AuthError;
use crate::config::EngineChoice;
use crate::protocol::{ErrorCode, ParamsTooLong};
use crate::report::Unwritten;
use crate::sys::{Missing, error_message, with_fix};

/// What keeps this end from running a test: this machine, this command line, or a bug in this program.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An engine that was asked for by name cannot run here.
    #[error("engine {choice} cannot run here: {}{}", missing.reason, fix_clause(missing))]
    Engine {
        /// The engine asked for.
        choice: EngineChoice,
        /// What it lacks.
        missing: Missing,
    },
    /// The stream threads of this end have not prepared their engines in time.
    #[error("this machine did not have the engines of all streams ready within {} seconds; it may be overloaded", .0.as_secs())]
    EnginesLate(Duration),
    /// Of all engines that were to be compared none could run.
    #[error("no engine could run; the table says why")]
    NoEngine,
    /// The host name has no address.
    #[error("unable to find an address of {host}: {}", error_message(source))]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// What the user wants connections to come from is not to be had.
    #[error("{} from {from}: {}{}", attempt(*code), error_message(source), clause(fix))]
    From {
        /// iperf3's number for what fails by it.
        code: ErrorCode,
        /// The option and what it says.
        from: String,
        /// The system's answer.
        source: io::Error,
        /// What would be right; empty if that is not known.
        fix: String,
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
    /// This end is not set up for authentication.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The own parameters do not fit.
    #[error(transparent)]
    ParamsTooLong(#[from] ParamsTooLong),
    /// The server cannot receive over UDP.
    #[error("{} on {address}, UDP: {}{}", ErrorCode::LISTEN, with_fix(source), clause(fix))]
    UdpListen {
        /// Address and port.
        address: String,
        /// Why.
        source: io::Error,
        /// What would be right; empty if that is not known.
        fix: String,
    },
    /// The server cannot listen for the data connections of a test.
    #[error("{} on {address}: {}", ErrorCode::STREAM_LISTEN, with_fix(source))]
    StreamListen {
        /// Address and port.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The server had no descriptor left for a data connection of the test.
    #[error("{}: {}", ErrorCode::STREAM_ACCEPT, with_fix(.0))]
    StreamAccept(#[source] io::Error),
    /// The congestion control that was asked for is not to be had.
    #[error("{}: {name} (-C); {fix}", ErrorCode::CONGESTION)]
    Congestion {
        /// Its name.
        name: String,
        /// The system's answer.
        source: io::Error,
        /// What there is.
        fix: String,
    },
    /// An option of a socket was refused.
    #[error("{what}: {}", error_message(source))]
    SocketOption {
        /// What was to be set.
        what: String,
        /// The number that a client is told.
        code: ErrorCode,
        /// The system's answer.
        source: io::Error,
    },
    /// The data sockets may not poll the network card as long as `--busy-poll` says.
    #[error("unable to poll for {micros} us (SO_BUSY_POLL): {}; {fix}", error_message(source))]
    BusyPoll {
        /// How long it was to be, in microseconds.
        micros: u32,
        /// The system's answer.
        source: io::Error,
        /// What helps.
        fix: String,
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
    #[error("{code}: this kernel has no {name} ({})", error_message(source))]
    NoProtocol {
        /// Its name.
        name: &'static str,
        /// The number that a client is told.
        code: ErrorCode,
        /// The system's answer.
        source: io::Error,
    },
    /// The processor that was asked for is not to be had.
    #[error("{}: {}", ErrorCode::AFFINITY, error_message(.0))]
    Affinity(#[source] io::Error),
    /// A processor that was asked for by `--cpus`, or by a client, is not to be had.
    #[error(
        "{}: processor {cpu} of {option} does not exist or is not one that this process may use, which are \
         {allowed}",
        ErrorCode::AFFINITY
    )]
    ProcessorUnavailable {
        /// Its number.
        cpu: u32,
        /// The option that asks for it.
        option: &'static str,
        /// The processors that may be used, as a list.
        allowed: String,
    },
    /// The file of `-F` cannot be opened.
    #[error("{}: {} ({})", ErrorCode::FILE, error_message(source), path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A panic. It has ended the session that it happened in and nothing else.
    #[error("a bug in ringperf has ended the test ({0}); please report it")]
    Defect(String),
    /// The server cannot listen.
    #[error("{} on {address}: {}{}", ErrorCode::LISTEN, error_message(source), clause(fix))]
    Listen {
        /// Address and port.
        address: String,
        /// Why.
        source: io::Error,
        /// What would be right; empty if that is not known.
        fix: String,
    },
    /// The report cannot be written, which has been told already.
    #[error(transparent)]
    Unwritten(#[from] Unwritten),
    /// What was to happen before the test or the first client did not. It is told by whoever wanted it.
    #[error("{0}")]
    NotReady(String),
    /// Something that always works did not.
    #[error("{what}: {}", with_fix(source))]
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl SetupError {
    /// As [`super::RunError::in_iperf3s_words`].
    pub(super) fn in_iperf3s_words(&self) -> String {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        match self {
            Self::Resolve { source, .. } => {
                let words = error_message(source);
                // The standard library says first what it tried.
                let words = words.rsplit_once(": ").map_or(words.as_str(), |(_, words)| words);
                ErrorCode::CONNECT.with_system_words(words)
            }
            Self::From { code, source, .. } | Self::SocketOption { code, source, .. } => {
                with_system_words(*code, source)
            }
            Self::Zone { .. } => with_system_words(ErrorCode::CONNECT, &invalid()),
            Self::Listen { source, .. } | Self::UdpListen { source, .. } => {
                with_system_words(ErrorCode::LISTEN, source)
            }
            Self::StreamListen { source, .. } => with_system_words(ErrorCode::STREAM_LISTEN, source),
            Self::StreamAccept(source) => with_system_words(ErrorCode::STREAM_ACCEPT, source),
            Self::Congestion { .. } => ErrorCode::CONGESTION.to_string(),
            Self::BufferSize { .. } => ErrorCode::BUFFER_SIZE_NOT_SET.to_string(),
            Self::NoProtocol { code, .. } => code.to_string(),
            Self::Affinity(source) => with_system_words(ErrorCode::AFFINITY, source),
            Self::ProcessorUnavailable { .. } => with_system_words(ErrorCode::AFFINITY, &invalid()),
            Self::File { source, .. } => with_system_words(ErrorCode::FILE, source),
            Self::Engine { .. }
            | Self::EnginesLate(_)
            | Self::NoEngine
            | Self::Auth(_)
            | Self::ParamsTooLong(_)
            | Self::BusyPoll { .. }
            | Self::Defect(_)
            | Self::Unwritten(_)
            | Self::NotReady(_)
            | Self::System { .. } => self.to_string(),
        }
    }

    /// As [`super::RunError::code_for_client`].
    pub(super) fn code_for_client(&self) -> Option<ErrorCode> {
        match self {
            Self::Engine { .. } | Self::BusyPoll { .. } | Self::Defect(_) | Self::System { .. } => {
                Some(ErrorCode::INIT_TEST)
            }
            // A client that has asked for an engine takes INIT_TEST for the word that there is none of it.
            Self::EnginesLate(_) => Some(ErrorCode::INIT_STREAM),
            Self::UdpListen { .. } | Self::StreamListen { .. } => Some(ErrorCode::STREAM_LISTEN),
            Self::StreamAccept(_) => Some(ErrorCode::STREAM_ACCEPT),
            Self::SocketOption { code, .. } | Self::NoProtocol { code, .. } => Some(*code),
            Self::Congestion { .. } => Some(ErrorCode::CONGESTION),
            Self::BufferSize { .. } => Some(ErrorCode::BUFFER_SIZE_NOT_SET),
            Self::Affinity(_) | Self::ProcessorUnavailable { .. } => Some(ErrorCode::AFFINITY),
            Self::File { .. } => Some(ErrorCode::FILE),
            // Clients have these, or servers that have no client yet.
            Self::NoEngine
            | Self::Resolve { .. }
            | Self::From { .. }
            | Self::Zone { .. }
            | Self::Auth(_)
            | Self::ParamsTooLong(_)
            | Self::Listen { .. }
            | Self::Unwritten(_)
            | Self::NotReady(_) => None,
        }
    }
}

fn fix_clause(missing: &Missing) -> String {
    if missing.fix.is_empty() { String::new() } else { format!("; to fix it: {}", missing.fix) }
}

/// What was tried, without the guesses that iperf3 adds to a refused connection.
fn attempt(code: ErrorCode) -> &'static str {
    let words = code.text().unwrap_or_default();
    words.split_once(" - ").map_or(words, |(attempt, _)| attempt)
}

fn clause(fix: &str) -> String {
    if fix.is_empty() { String::new() } else { format!("; {fix}") }
}

/// The device of an example, and the others there are.
fn devices_clause(devices: &[String]) -> String {
    match devices {
        [] => "DEVICE (no device of this machine has such an address)".to_owned(),
        [device] => device.clone(),
        [device, others @ ..] => format!("{device}, or one of {}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_is_given_a_device_that_has_one() {
        let address = "fe80::1".parse().unwrap();
        for (devices, end) in [
            (vec![], "-c fe80::1%DEVICE (no device of this machine has such an address)"),
            (vec!["eth0"], "-c fe80::1%eth0"),
            (vec!["eth0", "lo", "tap"], "-c fe80::1%eth0, or one of lo, tap"),
        ] {
            let devices = devices.into_iter().map(str::to_owned).collect();
            let text = SetupError::Zone { option: "-c", address, devices }.to_string();
            assert!(
                text.ends_with(&format!("a link-local address needs its network device: {end}")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_stall_of_this_machine_is_not_said_to_be_the_peers() {
        let late = SetupError::EnginesLate(Duration::from_secs(10));
        assert_eq!(
            late.to_string(),
            "this machine did not have the engines of all streams ready within 10 seconds; it may be overloaded"
        );
        // A client takes INIT_TEST for the word that there is no such engine.
        assert_eq!(late.code_for_client(), Some(ErrorCode::INIT_STREAM));
    }
}
