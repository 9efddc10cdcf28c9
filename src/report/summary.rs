//! What a text report says at the end of a test.

use crate::config::Flow;
use crate::stats::{CpuUse, Percentiles};
use crate::units::transfer;

use super::escape::escape;
use super::rows::{Rows, SEPARATOR};
use super::totals::CpuPerGigabyte;
use super::{EngineReport, TestEnd};

/// Everything from the separator to the engines.
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
            text += &congestion_lines(flow, end);
        }
    }
    text += &engines("Engine", &end.engines, rows.verbose);
    if let Some(peer) = &end.peer {
        text += &engines("Peer engine", &peer.engines, rows.verbose);
    }
    if rows.verbose {
        text += &cpu_per_gigabyte_line(CpuPerGigabyte::from(end));
    }
    text
}

/// iperf3 shows processor use under a direction in which it sends, then once for each of its own roles.
fn cpu_lines(flow: Flow, own_flows: &[Flow], end: &TestEnd) -> String {
    if flow == Flow::Receive {
        return String::new();
    }
    let uses = |cpu: CpuUse| format!("{:.1}% ({:.1}%u/{:.1}%s)", cpu.total, cpu.user, cpu.system);
    let (local, remote) = (uses(end.cpu_local), uses(end.cpu_remote));
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

/// One line per engine, and with `-V` its details. All strings may come from a peer.
fn engines(label: &str, engines: &[EngineReport], verbose: bool) -> String {
    let mut text = String::new();
    for engine in engines {
        let [flow, used, asked] = [&engine.flow, &engine.used, &engine.asked].map(|name| escape(name));
        text += &format!("{label}: {flow} {used} (asked {asked})");
        if !engine.reason.is_empty() {
            text += &format!(": {}", escape(&engine.reason));
        }
        if !engine.fix.is_empty() {
            text += &format!("; fix: {}", escape(&engine.fix));
        }
        text.push('\n');
        if verbose {
            text += &details(engine);
        }
    }
    text
}

fn details(engine: &EngineReport) -> String {
    let mut text = String::new();
    if let Some(zero_copy) = engine.zero_copy
        && let Some(share) = zero_copy.real_percent()
    {
        let requested = transfer(zero_copy.requested_bytes);
        text += &format!("      Zero-copy: {share:.1}% of {}s not copied", requested.trim_start());
        if zero_copy.outstanding > 0 {
            text += &format!(", {} notifications never came", zero_copy.outstanding);
        }
        text.push('\n');
    }
    let latency = &engine.latency;
    text += &percentiles_line("Round trip", latency.rtt.as_ref());
    text += &percentiles_line("Send completion", latency.completion.as_ref());
    text += &percentiles_line("Buffer release", latency.release.as_ref());
    let limits = (engine.busy_seconds, engine.rwnd_limited_seconds, engine.sndbuf_limited_seconds);
    if let (Some(busy), Some(rwnd), Some(sndbuf)) = limits {
        text += &format!(
            "      Limits: busy {busy:.2} s, rwnd-limited {rwnd:.2} s, sndbuf-limited {sndbuf:.2} s\n"
        );
    }
    text
}

fn percentiles_line(what: &str, times: Option<&Percentiles>) -> String {
    let Some(Percentiles { count, p50_us, p90_us, p99_us, p999_us, max_us }) = times else {
        return String::new();
    };
    format!(
        "      {what}: p50 {p50_us:.1} us, p90 {p90_us:.1} us, p99 {p99_us:.1} us, \
         p99.9 {p999_us:.1} us, max {max_us:.1} us ({count} times)\n"
    )
}

fn cpu_per_gigabyte_line(cpu: CpuPerGigabyte) -> String {
    let value = |seconds: Option<f64>| match seconds {
        Some(seconds) => format!("{seconds:.3} s"),
        None => "not known".to_owned(),
    };
    format!("CPU time per GB: local {}, remote {}\n", value(cpu.local), value(cpu.remote))
}

#[cfg(test)]
mod tests {
    use crate::config::{Direction, Role};
    use crate::report::fixtures;
    use crate::units::RateFormat;

    use super::*;

    fn rows(role: Role, direction: Direction, verbose: bool) -> Rows {
        Rows { role, direction, parallel: 1, verbose, rate_format: RateFormat::Adaptive }
    }

    #[test]
    fn a_verbose_client_tells_everything() {
        let mut end = fixtures::end(Role::Client, Direction::Bidir, 1);
        end.engines = vec![fixtures::sending_engine()];
        end.peer = Some(fixtures::peer());
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
Engine: send uring (asked auto): zero-copy is copied on this path, stepped down from uring-zc
      Zero-copy: 25.0% of 1.00 MBytes not copied, 2 notifications never came
      Round trip: p50 20.0 us, p90 30.0 us, p99 40.0 us, p99.9 50.5 us, max 60.0 us (7 times)
      Limits: busy 2.00 s, rwnd-limited 0.50 s, sndbuf-limited 0.25 s
Peer engine: receive sync (asked auto): io_uring is switched off; fix: sysctl kernel.io_uring_disabled=0
CPU time per GB: local 381.470 s, remote 190.735 s
"
        );
    }

    #[test]
    fn a_peer_cannot_command_the_terminal() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 1);
        let mut peer = fixtures::peer();
        peer.engines[0].reason = "\u{1b}[2J\nEngine: forged".into();
        end.peer = Some(peer);
        end.congestion_remote = Some("b\u{9b}r".into());
        let text = summary(&rows(Role::Client, Direction::Forward, true), &end);
        assert!(text.contains("(asked auto): \\u{1b}[2J\\u{a}Engine: forged; fix: "), "{text}");
        assert!(text.contains("rcv_tcp_congestion b\\u{9b}r\n"), "{text}");
    }

    #[test]
    fn what_is_not_known_is_said_or_left_out() {
        let mut end = fixtures::end(Role::Server, Direction::Forward, 1);
        end.engines.clear();
        assert_eq!(
            summary(&rows(Role::Server, Direction::Forward, true), &end),
            "\
- - - - - - - - - - - - - - - - - - - - - - - - -
Test Complete. Summary Results:
[ ID] Interval           Transfer     Bitrate
[  5] (sender statistics not available)
[  5]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec                  receiver
rcv_tcp_congestion cubic
CPU time per GB: local 762.939 s, remote not known
"
        );
    }
}
