//! The `start` object of a document: who tests what with whom.

use serde_json::{Map, Value, json};

use crate::config::{Direction, EndCondition, Role, TestConfig};

use super::rows::{insert, number};
use crate::report::system::{json_version, rfc_1123, since_epoch, system_info};
use crate::report::{ConnectedStream, SessionInfo, TestStart};

/// As much of the object as is known.
///
/// The buffer sizes of a TCP server come earlier than those of others, as in iperf3, where they belong to its
/// listener.
pub(super) fn start(
    role: Role,
    session: Option<&SessionInfo>,
    start: Option<&TestStart>,
    extras: bool,
) -> Value {
    let streams = start.map_or(&[][..], |start| &start.streams);
    let mut object = Map::new();
    insert(&mut object, "connected", streams.iter().map(connected).collect::<Vec<_>>());
    insert(&mut object, "version", json_version(extras));
    insert(&mut object, "system_info", system_info());
    let Some(session) = session else { return Value::Object(object) };
    let buffers_first = role == Role::Server && session.test.protocol.udp().is_none();
    if let (true, Some(start)) = (buffers_first, start) {
        insert_buffer_sizes(&mut object, &session.test, start);
    }
    insert_session(&mut object, session);
    if let (false, Some(start)) = (buffers_first, start) {
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
    let SessionInfo { role, host, port, cookie, time, control_mss, test, .. } = session;
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
        _ if test.protocol.udp().is_some() => {}
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
    let offload = u8::from(test.protocol.udp().is_some_and(|udp| udp.gsro));
    json!({
        "protocol": test.protocol.name(),
        "num_streams": test.parallel,
        "blksize": test.block.bytes,
        "omit": test.omit_secs,
        "duration": number(seconds),
        "bytes": bytes,
        "blocks": blocks,
        "reverse": u8::from(test.direction == Direction::Reverse),
        "tos": test.socket.tos,
        "target_bitrate": test.pacing.bits_per_second,
        "bidir": u8::from(test.direction == Direction::Bidir),
        "fqrate": test.socket.fq_bits_per_second,
        "interval": number(session.interval.unwrap_or_default().as_secs_f64()),
        "gso": offload,
        "gro": offload,
    })
}

#[cfg(test)]
mod tests {
    use crate::config::{Protocol, UdpConfig};
    use crate::report::testing::fixtures::{self, pinned, shape};

    use super::*;

    /// The keys of a real iperf3 3.22, except that its servers say twice what the target is.
    #[test]
    fn udp_tests_have_the_keys_of_iperf3() {
        for (role, peer) in [(Role::Client, "connecting_to"), (Role::Server, "accepted_connection")] {
            let mut test = fixtures::udp_test(Direction::Bidir, 2);
            test.protocol = Protocol::Udp(UdpConfig { gsro: true, ..UdpConfig::default() });
            test.socket.mss_bytes = Some(1400);
            test.socket.tos = 0x20;
            let session = fixtures::session(role, test);
            let document =
                start(role, Some(&session), Some(&fixtures::start(role, Direction::Bidir, 2)), true);
            let expected = format!(
                "{{connected:CONNECTED,version:s,system_info:s,
                timestamp:{{time:s,timesecs:n,timemillisecs:n}},{peer}:{{host:s,port:n}},cookie:s,
                target_bitrate:n,fq_rate:n,BUFFERS,
                test_start:{{protocol:s,num_streams:n,blksize:n,omit:n,duration:n,bytes:n,blocks:n,reverse:n,
                    tos:n,target_bitrate:n,bidir:n,fqrate:n,interval:n,gso:n,gro:n}}}}"
            );
            assert_eq!(shape(&document), pinned(&expected), "{role:?}");
            let test_start = &document["test_start"];
            assert_eq!(test_start["protocol"], "UDP");
            assert_eq!(test_start["tos"], 32);
            assert_eq!((&test_start["gso"], &test_start["gro"]), (&json!(1), &json!(1)));
        }
    }
}
