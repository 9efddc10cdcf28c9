//! The report for people, and for scripts that read iperf3's rows.

use std::io::{self, Write};

use crate::config::{OutputConfig, Role};
use crate::stats::TcpInterval;
use crate::units::RateFormat;

use super::own_lines::{harmless_to_readers, own_lines};
use super::rows::{Rows, SEPARATOR};
use super::stamp::Stamp;
use super::start::{session_lines, start_lines, version_lines};
use super::summary::summary;
use crate::report::escape::{escape, escape_lines, push_lines};
use crate::report::json;
use crate::report::{
    ERROR, FailureText, Interval, Introduction, RECORD_BYTES_MAX, Reporter, RunEvent, ServerOutput,
    SessionInfo, TestEnd,
};

/// The level of `-d` that shows what TCP says of each interval.
const DEBUG_TCP: u8 = 4;
/// What a client puts in front of what a server says of its failure.
const SERVER_ERROR: &str = "SERVER ERROR - ";

/// Turns events into iperf3's text. Warnings and errors are not part of it: they go to standard error.
#[derive(Debug)]
pub struct TextReporter {
    program: &'static str,
    /// What iperf3 does not say is said as well.
    extras: bool,
    verbose: bool,
    rate_format: RateFormat,
    stamp: Option<Stamp>,
    debug: u8,
    /// Number of the test that this is about, where several run side by side.
    mark: Option<u64>,
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
    /// What is said of the test when everything that iperf3 says is printed.
    own_lines: String,
    /// What was printed so far, at a server whose client asked for it.
    record: String,
}

impl TextReporter {
    /// A reporter that has printed nothing yet.
    #[must_use]
    pub fn new(output: &OutputConfig) -> Self {
        Self {
            program: output.program,
            extras: output.extras,
            verbose: output.verbose,
            rate_format: output.rate_format,
            stamp: output.timestamps.as_deref().map(Stamp::new),
            debug: output.debug,
            mark: None,
            test: None,
        }
    }

    /// This reporter with the number of its test in front of each line, for tests side by side.
    #[must_use]
    pub fn marked(self, test: u64) -> Self {
        Self { mark: Some(test), ..self }
    }

    fn listening(&self, port: u16, test_number: u64) -> String {
        let rule = "-".repeat(59);
        let version = if self.verbose { version_lines(self.extras) } else { String::new() };
        format!("{version}{rule}\nServer listening on {port} (test #{test_number})\n{rule}\n")
    }

    fn session(&mut self, session: &SessionInfo) -> String {
        let rows = Rows {
            role: session.role,
            direction: session.test.direction,
            parallel: session.test.parallel,
            verbose: self.verbose,
            rate_format: self.rate_format,
            has_rate: session.has_rate,
        };
        self.test = Some(Test {
            session: session.clone(),
            rows,
            header_printed: false,
            ended: false,
            failed: false,
            own_lines: String::new(),
            record: String::new(),
        });
        session_lines(session, self.verbose, self.extras)
    }

    /// Puts in front of each line the time, and at a client the title.
    fn prefixed(&self, text: &str) -> String {
        let title = self.test.as_ref().and_then(Test::title);
        match title {
            Some(title) => {
                let titled: String =
                    text.split_inclusive('\n').map(|line| format!("{title}:  {line}")).collect();
                self.stamped(&titled)
            }
            None => self.stamped(text),
        }
    }

    /// Puts the number of the test in front of each line, as a client does it with a title.
    fn with_mark(&self, text: String) -> String {
        match self.mark {
            Some(mark) => text.split_inclusive('\n').map(|line| format!("#{mark}:  {line}")).collect(),
            None => text,
        }
    }

    fn stamped(&self, text: &str) -> String {
        match &self.stamp {
            Some(stamp) => {
                let stamp = stamp.now();
                text.split_inclusive('\n').map(|line| format!("{stamp}{line}")).collect()
            }
            None => text.to_owned(),
        }
    }

    /// Why there is no result, on standard error.
    fn failure(&self, failure: &FailureText) -> String {
        let line =
            |introduction: &str, words: &str| format!("{}: {introduction}{}\n", self.program, escape(words));
        let words = if self.extras { &failure.full } else { &failure.plain };
        match &failure.introduction {
            Introduction::Bare => line("", words),
            Introduction::Error => line(ERROR, words),
            Introduction::ServerError { .. } if self.extras => line(SERVER_ERROR, words),
            Introduction::ServerError { announcement } => {
                line(SERVER_ERROR, announcement) + &line(ERROR, words)
            }
        }
    }

    /// All lines that an event gives.
    fn lines(&mut self, event: &RunEvent) -> String {
        let text = match event {
            RunEvent::Listening { port, test_number } => self.listening(*port, *test_number),
            RunEvent::Session(session) => self.session(session),
            RunEvent::Interval(interval) if self.debug >= DEBUG_TCP => tcp_details(interval),
            RunEvent::Debug(text) => escape_lines(text),
            RunEvent::Start(_)
            | RunEvent::Interval(_)
            | RunEvent::OmitOver
            | RunEvent::End(_)
            | RunEvent::Peer(_)
            | RunEvent::ServerOutput(_)
            | RunEvent::Warning(_)
            | RunEvent::CommonWarning(_)
            | RunEvent::Error(_)
            | RunEvent::Done => String::new(),
        };
        let mut text = text + &self.test.as_mut().map_or_else(String::new, |test| test.event(event));
        // Behind everything that has a fixed place for those who read iperf3's text.
        if let (RunEvent::Done, Some(test), true) = (event, &self.test, self.extras) {
            text += &test.own_lines;
        }
        let text = self.prefixed(&text);
        let text = match event {
            RunEvent::ServerOutput(output) => with_server_output(text, output),
            _ => text,
        };
        let also = match (event, &self.test) {
            (RunEvent::End(_), Some(test)) if test.session.extras_in_output => self.prefixed(&test.own_lines),
            _ => String::new(),
        };
        if let Some(test) = &mut self.test {
            test.record(&text);
            test.record(&also);
        }
        if matches!(event, RunEvent::Done) {
            self.test = None;
        }
        // Not in what a client gets: there is no other test in it.
        self.with_mark(text)
    }
}

impl Reporter for TextReporter {
    fn event(&mut self, event: &RunEvent, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.lines(event).as_bytes())
    }

    fn complaint(&self, event: &RunEvent) -> String {
        let program = self.program;
        let text = match event {
            RunEvent::Warning(text) if self.extras => {
                format!("{program}: warning: {}\n", harmless_to_readers(&escape(text)))
            }
            RunEvent::CommonWarning(text) => format!("warning: {}\n", escape(text)),
            RunEvent::Error(failure) => self.failure(failure),
            _ => return String::new(),
        };
        self.with_mark(self.stamped(&text))
    }

    fn server_output(&self) -> Option<ServerOutput> {
        let record = self.test.as_ref().map(|test| test.record.clone());
        Some(ServerOutput::Text(record.unwrap_or_default()))
    }
}

impl Test {
    fn event(&mut self, event: &RunEvent) -> String {
        match event {
            RunEvent::Start(start) => start_lines(start, &self.session.test, self.rows.verbose),
            RunEvent::Interval(interval) => self.interval(interval),
            RunEvent::OmitOver if self.rows.verbose && self.session.interval.is_none() => {
                "Finished omit period, starting real test\n".to_owned()
            }
            RunEvent::End(end) => self.end(end),
            // The empty line above it is this end's own and has its prefix; the rest is the server's.
            RunEvent::ServerOutput(_) => "\n".to_owned(),
            RunEvent::Done => self.done(),
            RunEvent::Error(_) => {
                self.failed = true;
                String::new()
            }
            RunEvent::Listening { .. }
            | RunEvent::Session(_)
            | RunEvent::OmitOver
            | RunEvent::Peer(_)
            | RunEvent::Warning(_)
            | RunEvent::CommonWarning(_)
            | RunEvent::Debug(_) => String::new(),
        }
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
        self.own_lines = own_lines(&self.rows, end);
        summary(&self.rows, end)
    }

    fn done(&self) -> String {
        match self.session.role {
            Role::Client if self.ended && !self.failed => "\niperf Done.\n".to_owned(),
            Role::Client | Role::Server => String::new(),
        }
    }

    /// What stands in front of each line, at a client that has one.
    fn title(&self) -> Option<&str> {
        self.session.test.title.as_deref().filter(|_| self.session.role == Role::Client)
    }

    /// Keeps whole events only, so that a record that is full ends with a complete line.
    fn record(&mut self, text: &str) {
        let wanted = self.session.role == Role::Server && self.session.test.server_output;
        if wanted && self.record.len() + text.len() <= RECORD_BYTES_MAX {
            self.record += text;
        }
    }
}

/// What the server had to say, below the empty line that separates it. It may be long, and is copied once.
fn with_server_output(mut text: String, output: &ServerOutput) -> String {
    match output {
        ServerOutput::Text(lines) => {
            text += "Server output:\n";
            push_lines(&mut text, lines);
            text.push('\n');
        }
        ServerOutput::Json(document) => {
            text += "Server JSON output:\n";
            text += &json::print(document);
        }
    }
    text
}

/// What TCP says of each sender, above the rows of an interval.
fn tcp_details(interval: &Interval) -> String {
    let details = interval.streams.iter().filter_map(|stream| Some((stream.socket, stream.tcp?)));
    let line = |(socket, tcp): (i32, TcpInterval)| {
        format!(
            "[{socket:3}] tcpi_snd_cwnd {} snd_wnd {} rtt {} rttvar {} pmtu {} reordering {}\n",
            tcp.snd_cwnd_bytes, tcp.snd_wnd_bytes, tcp.rtt_us, tcp.rttvar_us, tcp.pmtu_bytes, tcp.reordering
        )
    };
    details.map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::{Direction, Pacing, TestConfig};
    use crate::report::system::system_info;
    use crate::report::testing::fixtures::{self, printed};

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
        events.iter().map(|event| printed(reporter, event)).collect()
    }

    fn reporter(verbose: bool) -> TextReporter {
        TextReporter::new(&OutputConfig { verbose, ..OutputConfig::default() })
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
ttl:  
Server output:
Accepted\\u{1b}[m

ttl:  
ttl:  iperf Done.
ttl:  Engine: send sync (asked sync)
"
        );
    }

    #[test]
    fn a_verbose_reverse_client() {
        let mut test = TestConfig { direction: Direction::Reverse, omit_secs: 1, ..TestConfig::default() };
        test.pacing = Pacing { bits_per_second: 5_000_000, burst_blocks: 0 };
        test.socket.tos = 0x20;
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
Starting Test: protocol: TCP, 1 streams, 131072 byte blocks, omitting 1 seconds, 10 second test, tos 32
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

iperf Done.
Engine: send sync (asked sync)
CPU time per GB: local 762.939 s, remote 381.470 s
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
            let text = printed(&mut client, &RunEvent::Session(Box::new(session)))
                + &printed(&mut client, &RunEvent::Start(Box::new(start)));
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
            assert_eq!(text, version_lines(true) + &expected);
        }
    }

    #[test]
    fn a_server_keeps_what_it_printed_for_a_client_that_asks() {
        let mut server = reporter(false);
        let banner = printed(&mut server, &RunEvent::Listening { port: 5201, test_number: 3 });
        let rule = "-".repeat(59);
        assert_eq!(banner, format!("{rule}\nServer listening on 5201 (test #3)\n{rule}\n"));

        let test = TestConfig { server_output: true, title: Some("ttl".into()), ..TestConfig::default() };
        let text = run(&mut server, fixtures::session(Role::Server, test.clone()), vec![]);
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
"
        );
        let own = "Engine: send sync (asked sync)\n";
        assert_eq!(server.server_output(), Some(ServerOutput::Text(text.clone())));
        assert_eq!(printed(&mut server, &RunEvent::Done), own);
        assert_eq!(server.server_output(), Some(ServerOutput::Text(String::new())));

        let mut curious = fixtures::session(Role::Server, test);
        curious.extras_in_output = true;
        run(&mut server, curious, vec![]);
        assert_eq!(server.server_output(), Some(ServerOutput::Text(text + own)));

        run(&mut server, fixtures::session(Role::Server, TestConfig::default()), vec![]);
        assert_eq!(server.server_output(), Some(ServerOutput::Text(String::new())));
    }

    #[test]
    fn a_record_that_is_full_ends_with_a_whole_line() {
        let mut server = reporter(false);
        let test = TestConfig { server_output: true, parallel: 128, ..TestConfig::default() };
        printed(&mut server, &RunEvent::Session(Box::new(fixtures::session(Role::Server, test))));
        let interval = RunEvent::Interval(fixtures::interval(Role::Server, Direction::Forward, 128, 0));
        let printed: usize = (0..1000).map(|_| printed(&mut server, &interval).len()).sum();
        assert!(printed > RECORD_BYTES_MAX);
        let Some(ServerOutput::Text(record)) = server.server_output() else { panic!("not text") };
        assert!(record.len() <= RECORD_BYTES_MAX && record.len() > RECORD_BYTES_MAX / 2);
        assert!(record.ends_with('\n'));
    }

    #[test]
    fn a_failed_test_is_not_done() {
        let failed = vec![RunEvent::Error("the server has terminated".into()), RunEvent::Done];
        let session = || fixtures::session(Role::Client, TestConfig::default());
        let mut client = reporter(false);
        let text = run(&mut client, session(), failed);
        assert!(text.ends_with(" receiver\nEngine: send sync (asked sync)\n"), "{text}");
        let text = run(&mut client, session(), vec![RunEvent::Done]);
        assert!(text.ends_with("\n\niperf Done.\nEngine: send sync (asked sync)\n"), "{text}");
        let refused = RunEvent::Error("connection refused".into());
        assert_eq!(printed(&mut client, &refused) + &printed(&mut client, &RunEvent::Done), "");
    }

    #[test]
    fn errors_have_the_words_in_front_that_iperf3_has() {
        let client = reporter(false);
        let server_error = || Introduction::ServerError { announcement: "full, errno: 9".into() };
        for (words, introduction, expected) in [
            (
                "the server has terminated",
                Introduction::Error,
                "ringperf: error - the server has terminated\n",
            ),
            ("the client has terminated", Introduction::Bare, "ringperf: the client has terminated\n"),
            ("interrupt - stopped", Introduction::Bare, "ringperf: interrupt - stopped\n"),
            ("full\u{1b}", server_error(), "ringperf: SERVER ERROR - full\\u{1b}\n"),
            // Whatever the words are: a server may send the number of any of them.
            (
                "the client has terminated",
                server_error(),
                "ringperf: SERVER ERROR - the client has terminated\n",
            ),
            ("interrupt - stopped", Introduction::Error, "ringperf: error - interrupt - stopped\n"),
        ] {
            let failure = FailureText::new(words, introduction);
            assert_eq!(client.complaint(&RunEvent::Error(failure)), expected);
        }
        assert_eq!(client.complaint(&RunEvent::Warning("w\n".into())), "ringperf: warning: w\\u{a}\n");
        assert_eq!(client.complaint(&RunEvent::CommonWarning("w".into())), "warning: w\n");
        assert_eq!(client.complaint(&RunEvent::Done), "");
    }

    #[test]
    fn called_as_iperf3_nothing_is_said_that_iperf3_does_not_say() {
        let output = OutputConfig {
            program: "iperf3",
            extras: false,
            verbose: true,
            timestamps: Some("now ".into()),
            ..OutputConfig::default()
        };
        let mut client = TextReporter::new(&output);
        let session = fixtures::session(Role::Client, TestConfig::default());
        let text = run(&mut client, session, vec![RunEvent::Done]);
        assert!(text.starts_with("now iperf 3.21\nnow Linux "), "{text}");
        assert!(text.ends_with("\nnow rcv_tcp_congestion bbr\nnow \nnow iperf Done.\n"), "{text}");
        assert_eq!(client.complaint(&RunEvent::Warning("w".into())), "");
        assert_eq!(client.complaint(&RunEvent::CommonWarning("w".into())), "now warning: w\n");
        let failure = FailureText {
            full: "full (it says why)".into(),
            plain: "full".into(),
            introduction: Introduction::ServerError { announcement: "full, errno: 9".into() },
        };
        assert_eq!(
            client.complaint(&RunEvent::Error(failure)),
            "now iperf3: SERVER ERROR - full, errno: 9\nnow iperf3: error - full\n"
        );
    }

    #[test]
    fn no_warning_is_taken_for_a_result() {
        let warning = RunEvent::Warning("1 Mbits/sec receiver".into());
        assert_eq!(reporter(false).complaint(&warning), "ringperf: warning: 1 Mb-its/sec r-eceiver\n");
    }

    #[test]
    fn a_stamp_stands_before_the_title_and_before_errors() {
        let output = OutputConfig { timestamps: Some("now ".into()), ..OutputConfig::default() };
        let mut client = TextReporter::new(&output);
        let test = TestConfig { title: Some("ttl".into()), ..TestConfig::default() };
        printed(&mut client, &RunEvent::Session(Box::new(fixtures::session(Role::Client, test))));
        let output = ServerOutput::Text("row\n".into());
        assert_eq!(
            printed(&mut client, &RunEvent::ServerOutput(output)),
            "now ttl:  \nServer output:\nrow\n\n"
        );
        let error = RunEvent::Error("lost".into());
        assert_eq!(client.complaint(&error), "now ringperf: error - lost\n");
    }

    #[test]
    fn debugging_shows_a_peers_words_escaped_and_at_its_highest_level_tcp() {
        for (debug, lines) in [(3, 0), (4, 1)] {
            let mut client = TextReporter::new(&OutputConfig { debug, ..OutputConfig::default() });
            let text = printed(&mut client, &RunEvent::Debug("get_results:\n\u{1b}{}\n".into()));
            assert_eq!(text, "get_results:\n\\u{1b}{}\n");
            let session = fixtures::session(Role::Client, TestConfig::default());
            printed(&mut client, &RunEvent::Session(Box::new(session)));
            let interval = fixtures::interval(Role::Client, Direction::Forward, 1, 0);
            let text = printed(&mut client, &RunEvent::Interval(interval));
            assert_eq!(text.matches("[  5] tcpi_snd_cwnd 1178694 ").count(), lines, "{text}");
        }
    }

    #[test]
    fn the_end_of_the_omit_period_is_told_where_no_rows_show_it() {
        for (verbose, interval, told) in [(true, None, true), (true, Some(1), false), (false, None, false)] {
            let mut client = reporter(verbose);
            let mut session = fixtures::session(Role::Client, TestConfig::default());
            session.interval = interval.map(Duration::from_secs);
            printed(&mut client, &RunEvent::Session(Box::new(session)));
            let line = if told { "Finished omit period, starting real test\n" } else { "" };
            assert_eq!(printed(&mut client, &RunEvent::OmitOver), line);
        }
    }

    #[test]
    fn a_servers_document_is_printed_whole() {
        let mut client = reporter(false);
        let session = fixtures::session(Role::Client, TestConfig::default());
        printed(&mut client, &RunEvent::Session(Box::new(session)));
        let output = ServerOutput::Json("{\"start\":{},\"end\":\"\u{9b}\"}".into());
        assert_eq!(
            printed(&mut client, &RunEvent::ServerOutput(output)),
            "\nServer JSON output:\n{\n\t\"start\": {},\n\t\"end\": \"\\u009b\"\n}\n"
        );
    }
}
