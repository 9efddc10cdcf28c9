//! The report for programs: one document per test, with iperf3's keys.

use std::io::{self, Write};

use crate::config::Role;

use super::collected::Collected;
use super::print::Printing;
use crate::report::escape::{escape, escape_lines};
use crate::report::{Reporter, RunEvent, ServerOutput, SessionInfo};

/// Collects the events of a test and prints its document when the test is done.
///
/// Documents come once and whole, however long a test is: they have no end before, and those who read a
/// growing log file rely on it.
#[derive(Debug)]
pub struct JsonReporter {
    role: Role,
    extras: bool,
    collected: Collected,
}

impl JsonReporter {
    /// A reporter that has seen nothing yet.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self { role, extras: true, collected: Collected::new(role, true) }
    }

    /// This reporter without what iperf3 does not say.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { extras: false, collected: Collected::new(self.role, false), ..self }
    }

    /// What is known of the test that runs.
    pub(super) fn collected(&self) -> &Collected {
        &self.collected
    }

    /// Adds an event to what is known of the test that runs.
    pub(super) fn add(&mut self, event: &RunEvent) {
        self.collected.add(event);
    }

    /// Takes out what is known of the test that runs, so that the next test has nothing of it.
    pub(super) fn take(&mut self) -> Collected {
        std::mem::replace(&mut self.collected, Collected::new(self.role, self.extras))
    }

    /// The test that has a control connection.
    pub(super) fn session(&self) -> Option<&SessionInfo> {
        self.collected.session()
    }
}

impl Reporter for JsonReporter {
    fn event(&mut self, event: &RunEvent, out: &mut dyn Write) -> io::Result<()> {
        match event {
            RunEvent::Done => Printing::new(self.take()).write_to(out),
            _ => {
                self.add(event);
                Ok(())
            }
        }
    }

    /// What `-d` shows, and what iperf3 warns of, must not stand between documents.
    fn complaint(&self, event: &RunEvent) -> String {
        match event {
            RunEvent::Debug(text) => escape_lines(text),
            // Without a place for it in the document it goes where iperf3 says it.
            RunEvent::CommonWarning(text) if !self.extras => format!("warning: {}\n", escape(text)),
            _ => String::new(),
        }
    }

    fn server_output(&self) -> Option<ServerOutput> {
        Some(ServerOutput::Json(self.collected.measurements()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::config::{Direction, EndCondition, TestConfig};
    use crate::report::system::system_info;
    use crate::report::testing::fixtures::{self, pinned, printed, shape};
    use crate::report::{FailureText, Introduction};

    use super::*;

    /// The document of a test of two seconds.
    fn run(role: Role, test: TestConfig, last: Vec<RunEvent>) -> Value {
        let (direction, parallel) = (test.direction, test.parallel);
        let mut events = vec![
            RunEvent::Listening { port: 5201, test_number: 1 },
            RunEvent::Session(Box::new(fixtures::session(role, test))),
            RunEvent::Start(Box::new(fixtures::start(role, direction, parallel))),
            RunEvent::Interval(fixtures::interval(role, direction, parallel, 0)),
            RunEvent::Interval(fixtures::interval(role, direction, parallel, 1)),
            RunEvent::End(Box::new(fixtures::end(role, direction, parallel))),
        ];
        events.extend(last);
        finish(&mut JsonReporter::new(role), &events)
    }

    /// Nothing is printed before the test is done, and then everything.
    fn finish(reporter: &mut JsonReporter, events: &[RunEvent]) -> Value {
        for event in events {
            assert_eq!(printed(reporter, event), "");
        }
        let text = printed(reporter, &RunEvent::Done);
        assert!(text.ends_with("}\n"), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn test(direction: Direction, parallel: u32) -> TestConfig {
        TestConfig { direction, parallel, ..TestConfig::default() }
    }

    const CLIENT_START: &str = "{connected:CONNECTED,version:s,system_info:s,
        timestamp:{time:s,timesecs:n,timemillisecs:n},connecting_to:{host:s,port:n},cookie:s,
        tcp_mss_default:n,target_bitrate:n,fq_rate:n,BUFFERS,
        test_start:{protocol:s,num_streams:n,blksize:n,omit:n,duration:n,bytes:n,blocks:n,reverse:n,tos:n,
            target_bitrate:n,bidir:n,fqrate:n,interval:n,gso:n,gro:n}}";
    const SERVER_START: &str = "{connected:CONNECTED,version:s,system_info:s,BUFFERS,
        timestamp:{time:s,timesecs:n,timemillisecs:n},accepted_connection:{host:s,port:n},cookie:s,
        tcp_mss_default:n,target_bitrate:n,fq_rate:n,
        test_start:{protocol:s,num_streams:n,blksize:n,omit:n,duration:n,bytes:n,blocks:n,reverse:n,tos:n,
            target_bitrate:n,bidir:n,fqrate:n,interval:n,gso:n,gro:n}}";

    const SENDING: &str = "[{streams:[{socket:n,SPAN,TCP,omitted:b,sender:b}],
        sum:{SPAN,retransmits:n,omitted:b,sender:b}}]";
    const RECEIVING: &str = "[{streams:[{socket:n,SPAN,omitted:b,sender:b}],sum:{SPAN,omitted:b,sender:b}}]";
    const SENDING_FIRST: &str = "[{
        streams:[{socket:n,SPAN,TCP,omitted:b,sender:b}|{socket:n,SPAN,omitted:b,sender:b}],
        sum:{SPAN,retransmits:n,omitted:b,sender:b},sum_bidir_reverse:{SPAN,omitted:b,sender:b}}]";
    const RECEIVING_FIRST: &str = "[{
        streams:[{socket:n,SPAN,omitted:b,sender:b}|{socket:n,SPAN,TCP,omitted:b,sender:b}],
        sum:{SPAN,omitted:b,sender:b},sum_bidir_reverse:{SPAN,retransmits:n,omitted:b,sender:b}}]";

    const KNOWN: &str = "{sender:{socket:n,SPAN,TOTALS,sender:b},receiver:{socket:n,SPAN,sender:b}}";
    const UNKNOWN: &str = "{sender:{socket:n,SPAN,sender:b},receiver:{socket:n,SPAN,sender:b}}";
    const KNOWN_SUMS: &str = "sum_sent:{SPAN,retransmits:n,sender:b},sum_received:{SPAN,sender:b}";
    const UNKNOWN_SUMS: &str = "sum_sent:{SPAN,sender:b},sum_received:{SPAN,sender:b}";
    const REVERSE_SUMS: &str = "sum_sent_bidir_reverse:{SPAN,retransmits:n,sender:b},
        sum_received_bidir_reverse:{SPAN,sender:b}";
    const BOTH_NAMES: &str = "sender_tcp_congestion:s,receiver_tcp_congestion:s";

    /// The keys of real iperf3 3.22 documents of the same tests, in the same order.
    #[test]
    fn documents_have_the_keys_of_iperf3() {
        let client_end = format!("{{streams:[{KNOWN}],{KNOWN_SUMS},CPU,{BOTH_NAMES}}}");
        let client_bidir_end = format!("{{streams:[{KNOWN}],{KNOWN_SUMS},{REVERSE_SUMS},CPU,{BOTH_NAMES}}}");
        let server_end = format!("{{streams:[{UNKNOWN}],{UNKNOWN_SUMS},CPU,receiver_tcp_congestion:s}}");
        let server_reverse_end = format!("{{streams:[{KNOWN}],{KNOWN_SUMS},CPU,sender_tcp_congestion:s}}");
        let server_bidir_end = format!(
            "{{streams:[{UNKNOWN}|{KNOWN}],{UNKNOWN_SUMS},{REVERSE_SUMS},CPU,sender_tcp_congestion:s}}"
        );
        let cases = [
            (Role::Client, Direction::Forward, SENDING, client_end.as_str()),
            (Role::Client, Direction::Reverse, RECEIVING, &client_end),
            (Role::Client, Direction::Bidir, SENDING_FIRST, &client_bidir_end),
            (Role::Server, Direction::Forward, RECEIVING, &server_end),
            (Role::Server, Direction::Reverse, SENDING, &server_reverse_end),
            (Role::Server, Direction::Bidir, RECEIVING_FIRST, &server_bidir_end),
        ];
        for (role, direction, intervals, end) in cases {
            for parallel in [1, 2] {
                let document = run(role, test(direction, parallel), vec![]);
                let start = if role == Role::Client { CLIENT_START } else { SERVER_START };
                assert_eq!(shape(&document["start"]), pinned(start), "{role:?} {direction:?}");
                assert_eq!(shape(&document["intervals"]), pinned(intervals), "{role:?} {direction:?}");
                assert_eq!(shape(&document["end"]), pinned(end), "{role:?} {direction:?}");
                let keys: Vec<_> = document.as_object().unwrap().keys().collect();
                assert_eq!(keys, ["start", "intervals", "end", "ringperf"]);
            }
        }
    }

    /// Every byte of a document with everything in it, as it was when documents were printed by `serde_json`.
    #[test]
    fn the_recorded_document() {
        let (role, direction) = (Role::Client, Direction::Bidir);
        let config = TestConfig {
            title: Some("t\u{9b}\"\\é速\n".into()),
            extra_data: Some("{\"a\":[1,2]}".into()),
            server_output: true,
            ..test(direction, 1)
        };
        let mut end = fixtures::end(role, direction, 1);
        end.engines = vec![fixtures::sending_engine()];
        end.peer = Some(fixtures::peer());
        let output =
            json!({"start": {}, "intervals": [[], [1, 2.5, {"a": null}]], "end": "\u{9b}x\\\"{[,:]}"});
        let interval = |second| RunEvent::Interval(fixtures::interval(role, direction, 1, second));
        let mut reporter = JsonReporter::new(role);
        for event in [
            RunEvent::Session(Box::new(fixtures::session(role, config))),
            RunEvent::Start(Box::new(fixtures::start(role, direction, 1))),
            interval(0),
            interval(1),
            interval(2),
            RunEvent::End(Box::new(end)),
            RunEvent::ServerOutput(ServerOutput::Json(output.to_string())),
        ] {
            assert_eq!(printed(&mut reporter, &event), "");
        }
        let version = env!("CARGO_PKG_VERSION");
        let text = printed(&mut reporter, &RunEvent::Done)
            .replace(&Value::from(system_info()).to_string(), "\"SYSTEM\"")
            .replace(&format!("(ringperf {version})"), "(ringperf VERSION)")
            .replace(&format!("\n\t\t\"version\": \"{version}\""), "\n\t\t\"version\": \"VERSION\"");
        assert_eq!(text, include_str!("recorded_document.json"));
    }

    #[test]
    fn values_of_a_bidirectional_client() {
        let document = run(Role::Client, test(Direction::Bidir, 2), vec![]);
        let start = &document["start"];
        assert_eq!(start["version"], format!("iperf 3.21 (ringperf {})", env!("CARGO_PKG_VERSION")));
        assert_eq!(
            start["timestamp"],
            json!({"time": "Tue, 24 Nov 2026 07:44:30 GMT", "timesecs": 1_795_506_270_u64,
                "timemillisecs": 1_795_506_270_948_u64})
        );
        assert_eq!(start["connecting_to"], json!({"host": "127.0.0.1", "port": 5201}));
        assert_eq!(start["connected"][3]["socket"], 8);
        assert_eq!(start["test_start"]["bidir"], 1);
        assert_eq!(start["test_start"]["duration"], 10);
        assert_eq!(
            document["intervals"][1]["sum"],
            json!({"start": 1, "end": 2, "seconds": 1, "bytes": 1_310_720, "bits_per_second": 10_485_760,
                "retransmits": 2, "omitted": false, "sender": true})
        );
        assert_eq!(
            document["intervals"][0]["streams"][0],
            json!({"socket": 5, "start": 0, "end": 1, "seconds": 1, "bytes": 655_360,
                "bits_per_second": 5_242_880, "retransmits": 1, "snd_cwnd": 1_178_694, "snd_wnd": 233_472,
                "rtt": 23, "rttvar": 5, "pmtu": 65_535, "reorder": 3, "omitted": false, "sender": true})
        );
        let end = &document["end"];
        assert_eq!(end["sum_sent_bidir_reverse"]["retransmits"], 4);
        assert_eq!(end["sum_received_bidir_reverse"]["sender"], false);
        assert_eq!(end["streams"][2]["sender"]["retransmits"], 2);
        assert_eq!(end["streams"][2]["sender"]["max_snd_cwnd"], 0);
        assert_eq!(end["cpu_utilization_percent"]["remote_system"], 20);
        assert_eq!(end["sender_tcp_congestion"], "cubic");
        assert_eq!(end["receiver_tcp_congestion"], "bbr");
    }

    #[test]
    fn parameters_are_those_of_the_test() {
        let mut config = test(Direction::Reverse, 1);
        config.end = EndCondition::Blocks(30);
        config.socket.mss_bytes = Some(1200);
        config.socket.window_bytes = Some(65_536);
        config.socket.fq_bits_per_second = 7;
        config.pacing.bits_per_second = 50_000_000;
        let start = &run(Role::Server, config, vec![])["start"];
        assert_eq!((&start["tcp_mss"], &start["sock_bufsize"]), (&json!(1200), &json!(65_536)));
        assert_eq!(start.get("tcp_mss_default"), None);
        let test_start = &start["test_start"];
        let expected =
            [("duration", 0), ("bytes", 0), ("blocks", 30), ("reverse", 1), ("bidir", 0), ("fqrate", 7)];
        for (key, value) in expected {
            assert_eq!(test_start[key], value, "{key}");
        }
        assert_eq!(test_start["target_bitrate"], 50_000_000);
        assert_eq!(test_start["interval"].to_string(), "1");
    }

    #[test]
    fn what_comes_with_a_test_has_its_place() {
        let config = TestConfig {
            title: Some("a\u{9b}".into()),
            extra_data: Some("b".into()),
            ..test(Direction::Forward, 1)
        };
        let last = vec![
            RunEvent::Warning("w".into()),
            RunEvent::ServerOutput(ServerOutput::Text("rows\n".into())),
            RunEvent::Error(FailureText::new("interrupt - stop", Introduction::Bare)),
        ];
        let document = run(Role::Client, config, last);
        let keys: Vec<_> = document.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["start", "intervals", "end", "title", "extra_data", "server_output_text", "error", "ringperf"]
        );
        assert_eq!(document["title"], "a\u{9b}");
        assert_eq!(document["server_output_text"], "rows\n");
        assert_eq!(document["ringperf"]["warnings"], json!(["w"]));
    }

    #[test]
    fn what_only_ringperf_knows() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 1);
        end.engines = vec![fixtures::sending_engine()];
        end.peer = Some(fixtures::peer());
        let known = finish(&mut JsonReporter::new(Role::Client), &[RunEvent::End(Box::new(end))]);
        let percentiles = "{count:n,p50_us:n,p90_us:n,p99_us:n,p999_us:n,max_us:n}";
        let engine = |zero_copy: &str, rtt: &str, limit: &str, processors: &str, sizes: &str| {
            format!(
                "{{flow:s,asked:s,used:s,reason:s,fix:s,operations:n,zero_copy:{zero_copy},
                latency:{{rtt:{rtt},completion:null,release:null}},pacing:null,
                busy_seconds:{limit},rwnd_limited_seconds:{limit},sndbuf_limited_seconds:{limit},
                processors:[{processors}],sizes:{sizes}}}"
            )
        };
        let sending = engine(
            "{requested_bytes:n,copied_bytes:n,outstanding:n,requested_sends:n,copied_sends:n}",
            percentiles,
            "n",
            "{id:n,placed:n,looks:n,moves:n,distinct:n,shares:[{cpu:n,percent:n}]}",
            "{bytes:n,marked:null,plain:null,others:[{bytes:n,marked:null,plain:null,rate_share:n}]}",
        );
        let receiving = engine("null", "null", "null", "", "null");
        let expected = format!(
            "{{version:s,engines:[{sending}],
            peer:{{version:s,cpu_user_seconds:n,cpu_system_seconds:n,engines:[{receiving}],datagrams:[],queues:[]}},datagrams:[],queues:[],
            cpu_seconds:{{local_user:n,local_system:n,remote_user:n,remote_system:n}},
            cpu_seconds_per_gb:{{local:n,remote:n}},warnings:[]}}"
        );
        assert_eq!(shape(&known["ringperf"]), pinned(&expected));

        let warned = finish(&mut JsonReporter::new(Role::Client), &[RunEvent::Warning("w".into())]);
        let expected = "{version:s,engines:[],peer:null,datagrams:[],queues:[],
            cpu_seconds:{local_user:null,local_system:null,remote_user:null,remote_system:null},
            cpu_seconds_per_gb:{local:null,remote:null},warnings:[s]}";
        assert_eq!(shape(&warned["ringperf"]), pinned(expected));
    }

    #[test]
    fn a_test_that_never_began_still_has_a_document() {
        let cases = [
            (Role::Client, Introduction::Error, "the server has terminated", "the server has terminated"),
            (Role::Client, Introduction::Bare, "interrupt - stopped", "interrupt - stopped"),
            (Role::Server, Introduction::Bare, "the client has terminated", "the client has terminated"),
            (Role::Server, Introduction::Error, "idle for too long", "error - idle for too long"),
            (Role::Server, Introduction::Bare, "interrupt - stopped", "interrupt - stopped"),
        ];
        for (role, introduction, words, text) in cases {
            let failure = FailureText::new(words, introduction);
            let document = finish(&mut JsonReporter::new(role), &[RunEvent::Error(failure)]);
            let expected = "{start:{connected:[],version:s,system_info:s},intervals:[],end:{},error:s}";
            assert_eq!(shape(&document), expected);
            assert_eq!(document["error"], text);
        }
    }

    #[test]
    fn a_reporter_forgets_a_test_that_is_done() {
        let mut server = JsonReporter::new(Role::Server);
        let session = fixtures::session(Role::Server, test(Direction::Forward, 1));
        let events = [RunEvent::Session(Box::new(session)), RunEvent::Warning("w".into())];
        assert_ne!(finish(&mut server, &events)["start"].get("cookie"), None);
        assert_eq!(finish(&mut server, &[])["start"].get("cookie"), None);
    }

    #[test]
    fn a_client_that_asks_gets_the_measurements() {
        let mut server = JsonReporter::new(Role::Server);
        let mut session = fixtures::session(Role::Server, test(Direction::Forward, 1));
        session.test = Arc::new(TestConfig { title: Some("t".into()), ..test(Direction::Forward, 1) });
        server.add(&RunEvent::Session(Box::new(session)));
        server.add(&RunEvent::End(Box::new(fixtures::end(Role::Server, Direction::Forward, 1))));
        let Some(ServerOutput::Json(text)) = server.server_output() else { panic!("not a document") };
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), ["start", "intervals", "end"]);
        assert_eq!(document["end"]["sum_received"]["bytes"], 1_310_720);
    }

    #[test]
    fn debugging_does_not_get_into_the_document() {
        let mut reporter = JsonReporter::new(Role::Client);
        let debug = RunEvent::Debug("State change\u{1b}\n".into());
        assert_eq!(reporter.complaint(&debug), "State change\\u{1b}\n");
        assert_eq!(printed(&mut reporter, &debug), "");
    }
}
