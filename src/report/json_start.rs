//! The `start` object of a document: who tests what with whom.

use serde_json::{Map, Value, json};

use crate::config::{Direction, EndCondition, Role, TestConfig};

use super::json::{insert, number};
use super::system::{JSON_VERSION, rfc_1123, since_epoch, system_info};
use super::{ConnectedStream, SessionInfo, TestStart};

/// As much of the object as is known.
///
/// A server's buffer sizes come earlier than a client's, as in iperf3, where they belong to its listener.
pub(super) fn start(role: Role, session: Option<&SessionInfo>, start: Option<&TestStart>) -> Value {
    let streams = start.map_or(&[][..], |start| &start.streams);
    let mut object = Map::new();
    insert(&mut object, "connected", streams.iter().map(connected).collect::<Vec<_>>());
    insert(&mut object, "version", JSON_VERSION);
    insert(&mut object, "system_info", system_info());
    let Some(session) = session else { return Value::Object(object) };
    if let (Role::Server, Some(start)) = (role, start) {
        insert_buffer_sizes(&mut object, &session.test, start);
    }
    insert_session(&mut object, session);
    if let (Role::Client, Some(start)) = (role, start) {
        insert_buffer_sizes(&mut object, &session.test, start);
    }
    if start.is_some() {
        insert(&mut object, "test_start", test_start(session));
    }
    Value::Object(object)
}

/// One element of `connected`.
fn connected(stream: &ConnectedStream) -> Value {
    json!({
        "socket": stream.socket,
        "local_host": stream.local.ip().to_canonical().to_string(),
        "local_port": stream.local.port(),
        "remote_host": stream.remote.ip().to_canonical().to_string(),
        "remote_port": stream.remote.port(),
    })
}

fn insert_buffer_sizes(object: &mut Map<String, Value>, test: &TestConfig, start: &TestStart) {
    insert(object, "sock_bufsize", test.socket.window_bytes.unwrap_or(0));
    insert(object, "sndbuf_actual", start.sndbuf_actual);
    insert(object, "rcvbuf_actual", start.rcvbuf_actual);
}

/// From the control connection to the rates.
fn insert_session(object: &mut Map<String, Value>, session: &SessionInfo) {
    let SessionInfo { role, host, port, cookie, time, control_mss, interval: _, test } = session;
    let since_epoch = since_epoch(*time);
    let milliseconds = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    let timestamp = json!({
        "time": rfc_1123(*time),
        "timesecs": since_epoch.as_secs(),
        "timemillisecs": milliseconds,
    });
    insert(object, "timestamp", timestamp);
    let peer = match role {
        Role::Client => "connecting_to",
        Role::Server => "accepted_connection",
    };
    insert(object, peer, json!({ "host": host, "port": port }));
    insert(object, "cookie", cookie.as_str());
    match test.socket.mss_bytes {
        Some(mss) => insert(object, "tcp_mss", mss),
        None => insert(object, "tcp_mss_default", *control_mss),
    }
    insert(object, "target_bitrate", test.pacing.bits_per_second);
    insert(object, "fq_rate", test.socket.fq_bits_per_second);
}

/// The parameters of the test.
fn test_start(session: &SessionInfo) -> Value {
    let test = &session.test;
    let (seconds, bytes, blocks) = match test.end {
        EndCondition::Time(duration) => (duration.as_secs_f64(), 0, 0),
        EndCondition::Bytes(bytes) => (0.0, bytes, 0),
        EndCondition::Blocks(blocks) => (0.0, 0, blocks),
        EndCondition::Unlimited => (0.0, 0, 0),
    };
    json!({
        "protocol": "TCP",
        "num_streams": test.parallel,
        "blksize": test.block.bytes,
        "omit": test.omit_secs,
        "duration": number(seconds),
        "bytes": bytes,
        "blocks": blocks,
        "reverse": u8::from(test.direction == Direction::Reverse),
        "tos": 0,
        "target_bitrate": test.pacing.bits_per_second,
        "bidir": u8::from(test.direction == Direction::Bidir),
        "fqrate": test.socket.fq_bits_per_second,
        "interval": number(session.interval.unwrap_or_default().as_secs_f64()),
        "gso": 0,
        "gro": 0,
    })
}
