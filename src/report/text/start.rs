//! What a text report says before the first interval: who tests what with whom.

use crate::config::{Direction, EndCondition, Role, TestConfig};
use crate::report::escape::escape;

use crate::report::system::{rfc_1123, system_info, text_version};
use crate::report::{SessionInfo, TestStart};

/// What `-V` says of the program and the machine.
pub(super) fn version_lines(extras: bool) -> String {
    format!("{}\n{}\n", text_version(extras), system_info())
}

/// Everything up to the streams.
pub(super) fn session_lines(session: &SessionInfo, verbose: bool, extras: bool) -> String {
    let SessionInfo { host, port, cookie, control_mss, user, test, .. } = session;
    let udp = test.protocol.udp().is_some();
    let host = escape(host);
    let mut text = String::new();
    if verbose {
        if session.role == Role::Client {
            text += &format!("{}Control connection MSS {control_mss}\n", version_lines(extras));
            if udp && !test.block.explicit {
                text += &format!("Setting UDP block size to {}\n", test.block.bytes);
            }
        }
        text += &format!("Time: {}\n", rfc_1123(session.time));
    }
    match session.role {
        Role::Client => text += &format!("Connecting to host {host}, port {port}\n"),
        Role::Server => text += &format!("Accepted connection from {host}, port {port}\n"),
    }
    if session.role == Role::Client && test.direction == Direction::Reverse {
        text += &format!("Reverse mode, remote host {host} is sending\n");
    }
    if verbose {
        text += &format!("      Cookie: {cookie}\n");
        if let Some(user) = user {
            text += &format!("      User: {}\n", escape(user));
        }
        text += &match test.socket.mss_bytes {
            _ if udp => String::new(),
            Some(mss) => format!("      TCP MSS: {mss}\n"),
            None => format!("      TCP MSS: {control_mss} (default)\n"),
        };
        if test.pacing.bits_per_second > 0 {
            text += &format!("      Target Bitrate: {}\n", test.pacing.bits_per_second);
        }
    }
    text
}

/// One line per stream, and with `-V` one about the test.
pub(super) fn start_lines(start: &TestStart, test: &TestConfig, verbose: bool) -> String {
    let mut text = String::new();
    for stream in &start.streams {
        let (socket, local, remote) = (stream.socket, stream.local, stream.remote);
        let (local_ip, remote_ip) = (local.ip().to_canonical(), remote.ip().to_canonical());
        let (local_port, remote_port) = (local.port(), remote.port());
        text += &format!(
            "[{socket:3}] local {local_ip} port {local_port} connected to {remote_ip} port {remote_port}\n"
        );
    }
    if verbose {
        let end = match test.end {
            EndCondition::Time(duration) => format!("{} second test", duration.as_secs_f64()),
            EndCondition::Bytes(bytes) => format!("{bytes} bytes to send"),
            EndCondition::Blocks(blocks) => format!("{blocks} blocks to send"),
            EndCondition::Unlimited => "0 second test".to_owned(),
        };
        text += &format!(
            "Starting Test: protocol: {}, {} streams, {} byte blocks, omitting {} seconds, {end}, tos {}\n",
            test.protocol.name(),
            test.parallel,
            test.block.bytes,
            test.omit_secs,
            test.socket.tos
        );
    }
    text
}
