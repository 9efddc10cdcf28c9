//! The report for people, and for scripts that read iperf3's rows.

use crate::config::{Direction, EndCondition, Role};
use crate::units::RateFormat;

use super::escape::escape_lines;
use super::rows::{Rows, SEPARATOR};
use super::summary::summary;
use super::system::{TEXT_VERSION, rfc_1123, system_info};
use super::{Interval, Reporter, RunEvent, ServerOutput, SessionInfo, TestEnd, TestStart, json};

/// Most bytes of a test's text that a server keeps for a client that asks for it.
const MAX_RECORD_BYTES: usize = 8 * 1024 * 1024;

/// Turns events into iperf3's text. Warnings and errors are not part of it: they go to standard error.
#[derive(Debug)]
pub struct TextReporter {
    verbose: bool,
    rate_format: RateFormat,
    test: Option<Test>,
}

/// What has to be remembered while a test runs.
#[derive(Debug)]
struct Test {
    session: SessionInfo,
    rows: Rows,
    header_printed: bool,
    ended: bool,
    failed: bool,
    /// What was printed so far, at a server whose client asked for it.
    record: String,
}

impl TextReporter {
    /// A reporter that has printed nothing yet.
    #[must_use]
    pub fn new(verbose: bool, rate_format: RateFormat) -> Self {
        Self { verbose, rate_format, test: None }
    }

    fn listening(&self, port: u16, test_number: u64) -> String {
        let rule = "-".repeat(59);
        let version = if self.verbose { version_lines() } else { String::new() };
        format!("{version}{rule}\nServer listening on {port} (test #{test_number})\n{rule}\n")
    }

    fn session(&mut self, session: &SessionInfo) -> String {
        let rows = Rows {
            role: session.role,
            direction: session.test.direction,
            parallel: session.test.parallel,
            verbose: self.verbose,
            rate_format: self.rate_format,
        };
        self.test = Some(Test {
            session: session.clone(),
            rows,
            header_printed: false,
            ended: false,
            failed: false,
            record: String::new(),
        });
        session_lines(session, self.verbose)
    }
}

impl Reporter for TextReporter {
    fn event(&mut self, event: &RunEvent) -> String {
        let text = match event {
            RunEvent::Listening { port, test_number } => return self.listening(*port, *test_number),
            RunEvent::Session(session) => self.session(session),
            RunEvent::Done => return self.test.take().map_or_else(String::new, Test::done),
            RunEvent::Start(_)
            | RunEvent::Interval(_)
            | RunEvent::OmitOver
            | RunEvent::End(_)
            | RunEvent::ServerOutput(_)
            | RunEvent::Warning(_)
            | RunEvent::Error(_) => String::new(),
        };
        let Some(test) = &mut self.test else { return text };
        let text = text + &test.event(event);
        test.record(&text);
        match event {
            RunEvent::ServerOutput(_) => text,
            _ => test.titled(&text),
        }
    }

    fn server_output(&self) -> ServerOutput {
        ServerOutput::Text(self.test.as_ref().map_or_else(String::new, |test| test.record.clone()))
    }
}

impl Test {
    fn event(&mut self, event: &RunEvent) -> String {
        match event {
            RunEvent::Start(start) => self.start(start),
            RunEvent::Interval(interval) => self.interval(interval),
            RunEvent::OmitOver if self.rows.verbose && self.session.interval.is_none() => {
                "Finished omit period, starting real test\n".to_owned()
            }
            RunEvent::End(end) => self.end(end),
            RunEvent::ServerOutput(output) => self.server_output(output),
            RunEvent::Error(_) => {
                self.failed = true;
                String::new()
            }
            RunEvent::Listening { .. }
            | RunEvent::Session(_)
            | RunEvent::OmitOver
            | RunEvent::Warning(_)
            | RunEvent::Done => String::new(),
        }
    }

    fn start(&self, start: &TestStart) -> String {
        let mut text = String::new();
        for stream in &start.streams {
            let (socket, local, remote) = (stream.socket, stream.local, stream.remote);
            let (local_ip, remote_ip) = (local.ip().to_canonical(), remote.ip().to_canonical());
            let (local_port, remote_port) = (local.port(), remote.port());
            text += &format!(
                "[{socket:3}] local {local_ip} port {local_port} \
                 connected to {remote_ip} port {remote_port}\n"
            );
        }
        if self.rows.verbose {
            let test = &self.session.test;
            let end = match test.end {
                EndCondition::Time(duration) => format!("{} second test", duration.as_secs_f64()),
                EndCondition::Bytes(bytes) => format!("{bytes} bytes to send"),
                EndCondition::Blocks(blocks) => format!("{blocks} blocks to send"),
                EndCondition::Unlimited => "0 second test".to_owned(),
            };
            text += &format!(
                "Starting Test: protocol: {}, {} streams, {} byte blocks, \
                 omitting {} seconds, {end}, tos 0\n",
                test.protocol.name(),
                test.parallel,
                test.block.bytes,
                test.omit_secs
            );
        }
        text
    }

    fn interval(&mut self, interval: &Interval) -> String {
        let above = if !self.header_printed {
            self.header_printed = true;
            self.rows.interval_header(interval)
        } else if self.rows.parallel > 1 {
            SEPARATOR.to_owned()
        } else {
            String::new()
        };
        above + &self.rows.interval(interval)
    }

    fn end(&mut self, end: &TestEnd) -> String {
        self.ended = true;
        summary(&self.rows, end)
    }

    /// Only the empty line above is this end's own and carries the title; the rest is the server's.
    fn server_output(&self, output: &ServerOutput) -> String {
        let block = match output {
            ServerOutput::Text(text) => format!("Server output:\n{}\n", escape_lines(text)),
            ServerOutput::Json(document) => format!("Server JSON output:\n{}", json::print(document)),
        };
        self.titled("\n") + &block
    }

    fn done(self) -> String {
        match self.session.role {
            Role::Client if self.ended && !self.failed => self.titled("\niperf Done.\n"),
            Role::Client | Role::Server => String::new(),
        }
    }

    /// Puts the title in front of each line, at a client that has one.
    fn titled(&self, text: &str) -> String {
        match (&self.session.test.title, self.session.role) {
            (Some(title), Role::Client) => {
                text.split_inclusive('\n').map(|line| format!("{title}:  {line}")).collect()
            }
            (Some(_), Role::Server) | (None, _) => text.to_owned(),
        }
    }

    /// Keeps whole events only, so that a record that is full ends with a complete line.
    fn record(&mut self, text: &str) {
        let wanted = self.session.role == Role::Server && self.session.test.server_output;
        if wanted && self.record.len() + text.len() <= MAX_RECORD_BYTES {
            self.record += text;
        }
    }
}

fn version_lines() -> String {
    format!("{TEXT_VERSION}\n{}\n", system_info())
}

/// Everything up to the streams.
fn session_lines(session: &SessionInfo, verbose: bool) -> String {
    let SessionInfo { host, port, cookie, control_mss, test, .. } = session;
    let udp = test.protocol.udp().is_some();
    let mut text = String::new();
    if verbose {
        if session.role == Role::Client {
            text += &format!("{}Control connection MSS {control_mss}\n", version_lines());
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{Pacing, TestConfig};
    use crate::report::fixtures;

    use super::*;

    /// All that is printed for a test of two seconds.
    fn run(reporter: &mut TextReporter, session: SessionInfo, last: Vec<RunEvent>) -> String {
        let (role, direction) = (session.role, session.test.direction);
        let parallel = session.test.parallel;
        let mut events = vec![
            RunEvent::Session(Box::new(session)),
            RunEvent::Start(Box::new(fixtures::start(role, direction, parallel))),
            RunEvent::Interval(fixtures::interval(role, direction, parallel, 0)),
            RunEvent::Warning("not in the text".into()),
            RunEvent::Interval(fixtures::interval(role, direction, parallel, 1)),
            RunEvent::End(Box::new(fixtures::end(role, direction, parallel))),
        ];
        events.extend(last);
        events.iter().map(|event| reporter.event(event)).collect()
    }

    fn reporter(verbose: bool) -> TextReporter {
        TextReporter::new(verbose, RateFormat::Adaptive)
    }

    #[test]
    fn a_client_with_two_streams_and_a_title() {
        let test = TestConfig { parallel: 2, title: Some("ttl".into()), ..TestConfig::default() };
        let output = ServerOutput::Text("Accepted\u{1b}[m\n".into());
        let last = vec![RunEvent::ServerOutput(output), RunEvent::Done];
        let session = fixtures::session(Role::Client, test);
        assert_eq!(
            run(&mut reporter(false), session, last),
            "\
ttl:  Connecting to host 127.0.0.1, port 5201
ttl:  [  5] local 127.0.0.1 port 40001 connected to 127.0.0.1 port 5201
ttl:  [  6] local 127.0.0.1 port 40002 connected to 127.0.0.1 port 5201
ttl:  [ ID] Interval           Transfer     Bitrate         Retr  Cwnd
ttl:  [  5]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec    1   1.12 MBytes       
ttl:  [  6]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec    1   1.12 MBytes       
ttl:  [SUM]   0.00-1.00   sec  1.25 MBytes  10.5 Mbits/sec    2             
ttl:  - - - - - - - - - - - - - - - - - - - - - - - - -
ttl:  [  5]   1.00-2.00   sec   640 KBytes  5.24 Mbits/sec    1   1.12 MBytes       
ttl:  [  6]   1.00-2.00   sec   640 KBytes  5.24 Mbits/sec    1   1.12 MBytes       
ttl:  [SUM]   1.00-2.00   sec  1.25 MBytes  10.5 Mbits/sec    2             
ttl:  - - - - - - - - - - - - - - - - - - - - - - - - -
ttl:  [ ID] Interval           Transfer     Bitrate         Retr
ttl:  [  5]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec    2            sender
ttl:  [  5]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec                  receiver
ttl:  [  6]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec    2            sender
ttl:  [  6]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec                  receiver
ttl:  [SUM]   0.00-2.00   sec  2.50 MBytes  10.5 Mbits/sec    4             sender
ttl:  [SUM]   0.00-2.00   sec  2.50 MBytes  10.5 Mbits/sec                  receiver
ttl:  Engine: send sync (asked sync)
ttl:  
Server output:
Accepted\\u{1b}[m

ttl:  
ttl:  iperf Done.
"
        );
    }

    #[test]
    fn a_verbose_reverse_client() {
        let mut test = TestConfig { direction: Direction::Reverse, omit_secs: 1, ..TestConfig::default() };
        test.pacing = Pacing { bits_per_second: 5_000_000, burst_blocks: 0 };
        test.socket.mss_bytes = Some(1400);
        let text = run(&mut reporter(true), fixtures::session(Role::Client, test), vec![RunEvent::Done]);
        let expected = format!(
            "\
ringperf {} (iperf 3.21 protocol)
{}
Control connection MSS 32768
Time: Tue, 24 Nov 2026 07:44:30 GMT
Connecting to host 127.0.0.1, port 5201
Reverse mode, remote host 127.0.0.1 is sending
      Cookie: {}
      TCP MSS: 1400
      Target Bitrate: 5000000
[  5] local 127.0.0.1 port 40001 connected to 127.0.0.1 port 5201
Starting Test: protocol: TCP, 1 streams, 131072 byte blocks, omitting 1 seconds, 10 second test, tos 0
[ ID] Interval           Transfer     Bitrate
[  5]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec                  
[  5]   1.00-2.00   sec   640 KBytes  5.24 Mbits/sec                  
- - - - - - - - - - - - - - - - - - - - - - - - -
Test Complete. Summary Results:
[ ID] Interval           Transfer     Bitrate         Retr
[  5]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec    2            sender
[  5]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec                  receiver
snd_tcp_congestion bbr
rcv_tcp_congestion cubic
Engine: send sync (asked sync)
CPU time per GB: local 762.939 s, remote 381.470 s

iperf Done.
",
            env!("CARGO_PKG_VERSION"),
            system_info(),
            fixtures::COOKIE,
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_verbose_udp_client() {
        let mut test = fixtures::udp_test(Direction::Forward, 1);
        test.pacing = Pacing { bits_per_second: 1_048_576, burst_blocks: 0 };
        test.socket.mss_bytes = Some(1400);
        for explicit in [true, false] {
            test.block.explicit = explicit;
            let setting = if explicit { "" } else { "Setting UDP block size to 1024\n" };
            let mut client = reporter(true);
            let session = fixtures::session(Role::Client, test.clone());
            let start = fixtures::start(Role::Client, Direction::Forward, 1);
            let text = client.event(&RunEvent::Session(Box::new(session)))
                + &client.event(&RunEvent::Start(Box::new(start)));
            let expected = format!(
                "\
Control connection MSS 32768
{setting}Time: Tue, 24 Nov 2026 07:44:30 GMT
Connecting to host 127.0.0.1, port 5201
      Cookie: {}
      Target Bitrate: 1048576
[  5] local 127.0.0.1 port 40001 connected to 127.0.0.1 port 5201
Starting Test: protocol: UDP, 1 streams, 1024 byte blocks, omitting 0 seconds, 10 second test, tos 0
",
                fixtures::COOKIE
            );
            assert_eq!(text, version_lines() + &expected);
        }
    }

    #[test]
    fn a_server_keeps_what_it_printed_for_a_client_that_asks() {
        let mut server = reporter(false);
        let banner = server.event(&RunEvent::Listening { port: 5201, test_number: 3 });
        let rule = "-".repeat(59);
        assert_eq!(banner, format!("{rule}\nServer listening on 5201 (test #3)\n{rule}\n"));

        let test = TestConfig { server_output: true, title: Some("ttl".into()), ..TestConfig::default() };
        let text = run(&mut server, fixtures::session(Role::Server, test), vec![]);
        assert_eq!(
            text,
            "\
Accepted connection from 127.0.0.1, port 40000
[  5] local 127.0.0.1 port 5201 connected to 127.0.0.1 port 40001
[ ID] Interval           Transfer     Bitrate
[  5]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec                  
[  5]   1.00-2.00   sec   640 KBytes  5.24 Mbits/sec                  
- - - - - - - - - - - - - - - - - - - - - - - - -
[ ID] Interval           Transfer     Bitrate
[  5]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec                  receiver
Engine: send sync (asked sync)
"
        );
        assert_eq!(server.server_output(), ServerOutput::Text(text));
        assert_eq!(server.event(&RunEvent::Done), "");
        assert_eq!(server.server_output(), ServerOutput::Text(String::new()));

        run(&mut server, fixtures::session(Role::Server, TestConfig::default()), vec![]);
        assert_eq!(server.server_output(), ServerOutput::Text(String::new()));
    }

    #[test]
    fn a_record_that_is_full_ends_with_a_whole_line() {
        let mut server = reporter(false);
        let test = TestConfig { server_output: true, parallel: 128, ..TestConfig::default() };
        server.event(&RunEvent::Session(Box::new(fixtures::session(Role::Server, test))));
        let interval = RunEvent::Interval(fixtures::interval(Role::Server, Direction::Forward, 128, 0));
        let printed: usize = (0..1000).map(|_| server.event(&interval).len()).sum();
        assert!(printed > MAX_RECORD_BYTES);
        let ServerOutput::Text(record) = server.server_output() else { panic!("not text") };
        assert!(record.len() <= MAX_RECORD_BYTES && record.len() > MAX_RECORD_BYTES / 2);
        assert!(record.ends_with('\n'));
    }

    #[test]
    fn a_failed_test_is_not_done() {
        let failed = vec![RunEvent::Error("the server has terminated".into()), RunEvent::Done];
        let session = || fixtures::session(Role::Client, TestConfig::default());
        let mut client = reporter(false);
        assert!(run(&mut client, session(), failed).ends_with("Engine: send sync (asked sync)\n"));
        assert!(run(&mut client, session(), vec![RunEvent::Done]).ends_with("\n\niperf Done.\n"));
        let refused = RunEvent::Error("connection refused".into());
        assert_eq!(client.event(&refused) + &client.event(&RunEvent::Done), "");
    }

    #[test]
    fn the_end_of_the_omit_period_is_told_where_no_rows_show_it() {
        for (verbose, interval, told) in [(true, None, true), (true, Some(1), false), (false, None, false)] {
            let mut client = reporter(verbose);
            let mut session = fixtures::session(Role::Client, TestConfig::default());
            session.interval = interval.map(Duration::from_secs);
            client.event(&RunEvent::Session(Box::new(session)));
            let line = if told { "Finished omit period, starting real test\n" } else { "" };
            assert_eq!(client.event(&RunEvent::OmitOver), line);
        }
    }

    #[test]
    fn a_servers_document_is_printed_whole() {
        let mut client = reporter(false);
        let session = fixtures::session(Role::Client, TestConfig::default());
        client.event(&RunEvent::Session(Box::new(session)));
        let output = ServerOutput::Json(serde_json::json!({"start": {}, "end": "\u{9b}"}));
        assert_eq!(
            client.event(&RunEvent::ServerOutput(output)),
            "\nServer JSON output:\n{\n\t\"start\": {},\n\t\"end\": \"\\u009b\"\n}\n"
        );
    }
}
