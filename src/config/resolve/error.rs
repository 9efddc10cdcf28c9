//! What is wrong with the options.

use std::net::IpAddr;

use crate::config::messages::{
    BOTH_ROLES, CLIENT_LOGIN, CLIENT_ONLY, END_CONDITIONS, KEEPALIVE_PERIOD, NO_ROLE, ONLY_SENDS,
    REVERSE_BIDIR, SERVER_LOGIN, SERVER_ONLY, UDP_FILE,
};
use crate::config::{EngineChoice, PlacementError};
use crate::units::UnitError;

/// What is wrong with the options, in iperf3's words where it has any, and which option it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(in crate::config) enum ParameterError {
    #[error("{BOTH_ROLES}; drop -s or -c")]
    BothRoles,
    #[error("{NO_ROLE}{}", role_clause(.0))]
    NoRole(Option<String>),
    #[error("'{given}' is no host name or address: write {right}")]
    Host { given: String, right: String },
    #[error("{CLIENT_ONLY}: {0}; drop it, or be a client with -c HOST")]
    ClientOnly(String),
    #[error("{SERVER_ONLY}: {0}; drop it, or be a server with -s")]
    ServerOnly(String),
    #[error("{END_CONDITIONS}")]
    EndConditions,
    #[error("{REVERSE_BIDIR}; drop -R or --bidir")]
    ReverseBidir,
    #[error("a test has one protocol; drop {0} or {1}")]
    Protocols(&'static str, &'static str),
    #[error("-Z sends with sendfile(2), but --engine {0} does not; drop one of them")]
    ZerocopyEngine(EngineChoice),
    #[error("UDP tests run on the engines auto, uring-zc, uring and sync, not on {0}: {1} {0}")]
    UdpEngine(EngineChoice, &'static str),
    #[error("{ONLY_SENDS}; drop --rcv-timeout, or use -R or --bidir")]
    ReceiveTimeout,
    #[error("{UDP_FILE}; drop -F or -u")]
    UdpFile,
    #[error("the address of {0} {1} is not one of the IP version asked for; drop -4 or -6")]
    AddressFamily(&'static str, IpAddr),
    #[error("{option} '{host}' is no address of this machine: {reason}")]
    Address { option: &'static str, host: String, reason: String },
    #[error("sockets are bound to one device only, not to {0} and {1}")]
    Devices(String, String),
    #[error("{KEEPALIVE_PERIOD}: --cntl-ka={0}")]
    Keepalive(String),
    #[error("{CLIENT_LOGIN}; {0} is missing (the password is read from $IPERF3_PASSWORD or the terminal)")]
    Login(&'static str),
    #[error("{SERVER_LOGIN}; {0} is missing")]
    Authentication(&'static str),
    #[error("-A and {0} both say where the streams of one end run; drop one of them")]
    PlacementConflict(&'static str),
    #[error("{source}: {option} {given}")]
    Placement { option: &'static str, given: String, source: PlacementError },
    #[error("{source} (option {option})")]
    Unit { option: &'static str, source: UnitError },
    #[error("{option} takes {kind}, and '{given}' is none: {rule}{}", did_you_mean(option, *meant))]
    NoNumber {
        option: &'static str,
        /// What the option takes, with its article.
        kind: &'static str,
        given: String,
        rule: &'static str,
        /// The number that says what was given.
        meant: Option<f64>,
    },
    #[error("{rule}: {option} {given}")]
    Range { rule: &'static str, option: &'static str, given: String },
}

impl ParameterError {
    /// This mistake in a number that is only a part of `text`: the whole is what the user sees.
    pub(super) fn of_whole(mut self, text: &str) -> Self {
        if let Self::NoNumber { given, .. } | Self::Range { given, .. } = &mut self {
            text.clone_into(given);
        }
        self
    }
}

/// What a first word is meant to say that belongs to no option.
fn role_clause(stray: &Option<String>) -> String {
    match stray.as_deref() {
        None => String::new(),
        Some("server") => "; did you mean -s?".to_owned(),
        Some("client") => "; did you mean -c HOST?".to_owned(),
        Some(host) => format!("; did you mean -c {}?", host.escape_debug()),
    }
}

fn did_you_mean(option: &str, meant: Option<f64>) -> String {
    meant.map(|number| format!("; did you mean {option} {number}?")).unwrap_or_default()
}
