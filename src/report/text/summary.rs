//! What a text report says at the end of a test.

use crate::config::Flow;
use crate::stats::CpuUse;

use super::rows::{Rows, SEPARATOR};
use crate::report::TestEnd;
use crate::report::escape::escape;
use crate::report::totals::is_udp;

/// Everything from the separator to the last total.
pub(super) fn summary(rows: &Rows, end: &TestEnd) -> String {
    let mut text = SEPARATOR.to_owned();
    if rows.verbose {
        text += "Test Complete. Summary Results:\n";
    }
    text += &rows.summary_header(end);
    let flows = rows.direction.flows(rows.role);
    for &flow in flows {
        text += &rows.totals(flow, end);
        if rows.verbose {
            text += &cpu_lines(flow, flows, end);
            if !is_udp(end) {
                text += &congestion_lines(flow, end);
            }
        }
    }
    text
}

/// iperf3 shows processor use under a direction in which it sends, then once for each of its own roles.
fn cpu_lines(flow: Flow, own_flows: &[Flow], end: &TestEnd) -> String {
    if flow == Flow::Receive {
        return String::new();
    }
    let uses = |cpu: Option<CpuUse>| match cpu {
        Some(CpuUse { total, user, system }) => format!("{total:.1}% ({user:.1}%u/{system:.1}%s)"),
        None => "not known".to_owned(),
    };
    let remote = uses(end.cpu_remote.filter(|_| !end.peer_unknown));
    let local = uses(end.cpu_local);
    let mut text = format!("CPU Utilization: local/sender {local}, remote/receiver {remote}\n");
    if own_flows.contains(&Flow::Receive) {
        text += &format!("CPU Utilization: local/receiver {local}, remote/sender {remote}\n");
    }
    text
}

fn congestion_lines(flow: Flow, end: &TestEnd) -> String {
    let (local, remote) = (&end.congestion_local, &end.congestion_remote);
    let (sender, receiver) = match flow {
        Flow::Send => (local, remote),
        Flow::Receive => (remote, local),
    };
    let line = |side: &str, name: &Option<String>| match name {
        Some(name) => format!("{side}_tcp_congestion {}\n", escape(name)),
        None => String::new(),
    };
    line("snd", sender) + &line("rcv", receiver)
}

#[cfg(test)]
mod tests {
    use crate::config::{Direction, Role};
    use crate::report::testing::fixtures;
    use crate::report::text::own_lines::own_lines;
    use crate::units::RateFormat;

    use super::*;

    #[test]
    fn what_is_not_known_has_no_row() {
        for (direction, own, other) in
            [(Direction::Forward, "sender", "receiver"), (Direction::Reverse, "receiver", "sender")]
        {
            let mut end = fixtures::end(Role::Client, direction, 1);
            (end.exchanged, end.peer_unknown) = (false, true);
            let text = summary(&rows(Role::Client, direction, false), &end);
            let has = |word: &str| text.lines().any(|line| line.ends_with(word));
            assert!(has(own) && !has(other), "{text}");
            let own_lines = own_lines(&rows(Role::Client, direction, false), &end);
            assert!(
                own_lines.starts_with("Peer: what the other end has measured is not known"),
                "{own_lines}"
            );
            end.peer_unknown = false;
            let text = summary(&rows(Role::Client, direction, false), &end);
            assert!(text.lines().any(|line| line.ends_with(other)), "{text}");
        }
    }

    fn rows(role: Role, direction: Direction, verbose: bool) -> Rows {
        Rows { role, direction, parallel: 1, verbose, rate_format: RateFormat::Adaptive, has_rate: true }
    }

    #[test]
    fn a_verbose_client() {
        let end = fixtures::end(Role::Client, Direction::Bidir, 1);
        assert_eq!(
            summary(&rows(Role::Client, Direction::Bidir, true), &end),
            "\
- - - - - - - - - - - - - - - - - - - - - - - - -
Test Complete. Summary Results:
[ ID][Role] Interval           Transfer     Bitrate         Retr
[  5][TX-C]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec    2            sender
[  5][TX-C]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec                  receiver
CPU Utilization: local/sender 50.0% (10.0%u/40.0%s), remote/receiver 25.0% (5.0%u/20.0%s)
CPU Utilization: local/receiver 50.0% (10.0%u/40.0%s), remote/sender 25.0% (5.0%u/20.0%s)
snd_tcp_congestion cubic
rcv_tcp_congestion bbr
[  6][RX-C]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec    2            sender
[  6][RX-C]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec                  receiver
snd_tcp_congestion bbr
rcv_tcp_congestion cubic
"
        );
    }

    #[test]
    fn a_verbose_udp_client() {
        let mut end = fixtures::udp_end(Role::Client, Direction::Bidir, 1);
        // No congestion control is named, whatever a peer says.
        end.congestion_remote = Some("bbr".into());
        assert_eq!(
            summary(&rows(Role::Client, Direction::Bidir, true), &end),
            "\
- - - - - - - - - - - - - - - - - - - - - - - - -
Test Complete. Summary Results:
[ ID][Role] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams
[  5][TX-C]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec  0.000 ms  0/1280 (0%)  sender
[  5][TX-C]   0.00-2.00   sec  1.25 MBytes  5.23 Mbits/sec  0.250 ms  4/1280 (0.31%)  receiver
CPU Utilization: local/sender 50.0% (10.0%u/40.0%s), remote/receiver 25.0% (5.0%u/20.0%s)
CPU Utilization: local/receiver 50.0% (10.0%u/40.0%s), remote/sender 25.0% (5.0%u/20.0%s)
[  6][RX-C]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec  0.000 ms  0/1280 (0%)  sender
[  6][RX-C]   0.00-2.00   sec  1.25 MBytes  5.23 Mbits/sec  0.750 ms  4/1280 (0.31%)  receiver
"
        );
    }

    #[test]
    fn a_peer_cannot_command_the_terminal() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 1);
        end.congestion_remote = Some("b\u{9b}r".into());
        let text = summary(&rows(Role::Client, Direction::Forward, true), &end);
        assert!(text.contains("rcv_tcp_congestion b\\u{9b}r\n"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_said_or_left_out() {
        let end = fixtures::end(Role::Server, Direction::Forward, 1);
        assert_eq!(
            summary(&rows(Role::Server, Direction::Forward, true), &end),
            "\
- - - - - - - - - - - - - - - - - - - - - - - - -
Test Complete. Summary Results:
[ ID] Interval           Transfer     Bitrate
[  5] (sender statistics not available)
[  5]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec                  receiver
rcv_tcp_congestion cubic
"
        );
    }
}
