//! What a client does not know of a test whose results were not exchanged is null, and not the 0 that iperf3
//! writes: nothing of it was measured.

use serde_json::Value;

use crate::config::Flow;

/// What a span says besides when it begins.
const SPAN: [&str; 4] = ["end", "seconds", "bytes", "bits_per_second"];
/// What only a receiver of datagrams counts.
const LOSS: [&str; 4] = ["jitter_ms", "lost_packets", "lost_percent", "out_of_order"];
const REMOTE: [&str; 3] = ["remote_total", "remote_user", "remote_system"];
const TRUE: Value = Value::Bool(true);

/// Takes the peer's half out of an `end` object of a client. `flows` is what it does in the first and in the
/// second group of sums.
pub(super) fn forget_peer(end: &mut Value, flows: &[Flow]) {
    for stream in end.get_mut("streams").and_then(Value::as_array_mut).into_iter().flatten() {
        let sends = ["/udp/sender", "/sender/sender"].iter().any(|flag| stream.pointer(flag) == Some(&TRUE));
        let (in_one, half, of_file) = match sends {
            true => (&LOSS, "receiver", ["received", "percent_received"]),
            false => (&SPAN, "sender", ["sent", "percent_sent"]),
        };
        forget(stream, "udp", in_one);
        forget(stream, half, &SPAN);
        forget(stream, "diskfile", &of_file);
    }
    for (flow, group) in flows.iter().zip(["", "_bidir_reverse"]) {
        let (in_one, half) = match flow {
            Flow::Send => (&LOSS, "sum_received"),
            Flow::Receive => (&SPAN, "sum_sent"),
        };
        forget(end, &format!("sum{group}"), in_one);
        let half = format!("{half}{group}");
        for keys in [&SPAN[..], &LOSS, &["packets"]] {
            forget(end, &half, keys);
        }
    }
    forget(end, "cpu_utilization_percent", &REMOTE);
}

/// Makes those of the keys null that a member of an object has.
fn forget(object: &mut Value, member: &str, keys: &[&str]) {
    let Some(members) = object.get_mut(member).and_then(Value::as_object_mut) else { return };
    for key in keys {
        if let Some(value) = members.get_mut(*key) {
            *value = Value::Null;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Direction, Role};
    use crate::report::json::rows;
    use crate::report::testing::fixtures;

    const NULL: Value = Value::Null;

    /// The `end` of a client in which nothing of its peer is known.
    fn forgotten(end: &crate::report::TestEnd, direction: Direction) -> Value {
        let flows = direction.flows(Role::Client);
        let mut value = rows::end(flows, end);
        forget_peer(&mut value, flows);
        value
    }

    #[test]
    fn of_tcp_the_own_half_stays() {
        let end = fixtures::end(Role::Client, Direction::Bidir, 1);
        let whole = rows::end(Direction::Bidir.flows(Role::Client), &end);
        let value = forgotten(&end, Direction::Bidir);
        for (own, peer) in [
            ("/streams/0/sender", "/streams/0/receiver"),
            ("/streams/1/receiver", "/streams/1/sender"),
            ("/sum_sent", "/sum_received"),
            ("/sum_received_bidir_reverse", "/sum_sent_bidir_reverse"),
        ] {
            assert_eq!(value.pointer(own), whole.pointer(own), "{own}");
            let peer = value.pointer(peer).unwrap();
            assert_eq!((&peer["bytes"], &peer["bits_per_second"], &peer["end"]), (&NULL, &NULL, &NULL));
            assert_eq!(peer["start"], 0);
        }
        assert_eq!(value["cpu_utilization_percent"]["remote_total"], NULL);
        assert!(value["cpu_utilization_percent"]["host_total"].is_number());
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&value), keys(&whole), "no key comes or goes");
    }

    #[test]
    fn of_datagrams_a_sender_knows_no_loss_and_a_receiver_not_what_was_sent() {
        let end = fixtures::udp_end(Role::Client, Direction::Forward, 1);
        let sender = forgotten(&end, Direction::Forward);
        for object in [&sender["sum"], &sender["streams"][0]["udp"]] {
            assert_eq!((&object["lost_packets"], &object["jitter_ms"]), (&NULL, &NULL));
            assert_eq!(object["packets"], 1280);
        }
        assert_eq!(sender["sum_received"]["packets"], NULL);
        assert_eq!(sender["sum_sent"]["packets"], 1280);

        let end = fixtures::udp_end(Role::Client, Direction::Reverse, 1);
        let receiver = forgotten(&end, Direction::Reverse);
        assert_eq!(receiver["sum_sent"]["packets"], NULL);
        assert_eq!(receiver["sum"]["bytes"], NULL);
        assert_eq!(receiver["sum_received"]["lost_packets"], 4);
    }

    #[test]
    fn of_a_file_nobody_knows_what_has_arrived() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 1);
        end.file = Some(crate::report::FileReport { name: "f".into(), bytes: Some(1 << 20) });
        let file = &forgotten(&end, Direction::Forward)["streams"][0]["diskfile"];
        assert_eq!((&file["received"], &file["percent_received"]), (&NULL, &NULL));
        assert_eq!((&file["size"], file["sent"].is_u64()), (&json!(1 << 20), true));
    }
}
