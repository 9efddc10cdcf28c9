//! What only ringperf says in a text: which engines ran, where time was spent, what became of datagrams.
//!
//! Programs find iperf3's rows by words that these have, so no line of ringperf's own has one of them:
//! [`harmless_to_readers`] is what all of them pass, with whatever a peer has put into them.

use crate::config::Flow;
use crate::protocol::{
    BusyPollReport, EngineReport, InterruptShare, PacingReport, ProcessorReport, ProcessorShare, QueueReport,
    SizesReport,
};
use crate::stats::Percentiles;
use crate::units::{RateFormat, rate, transfer};

use super::rows::Rows;
use crate::report::escape::escape;
use crate::report::totals::{CpuPerGigabyte, PEER_UNKNOWN, sum_known};
use crate::report::{DatagramReport, TestEnd};

/// Most streams whose processors are told.
const LISTED_STREAMS: usize = 8;

/// What readers of iperf3's text look for, in any case.
const READERS_WORDS: [&str; 6] = ["sender", "receiver", "bits/sec", "sum", "connected", "error"];

/// `text` with a hyphen in each word that readers of iperf3's text look for, so that they find none here.
///
/// Ringperf's own wording does without them. This is for the words of peers and systems.
pub(super) fn harmless_to_readers(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let begins_word = |at: usize| READERS_WORDS.iter().any(|word| lower[at..].starts_with(word));
    let mut harmless = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        harmless.push(character);
        if begins_word(at) {
            harmless.push('-');
        }
    }
    harmless
}

/// All lines about a test that is over.
pub(super) fn own_lines(rows: &Rows, end: &TestEnd) -> String {
    let mut text = String::new();
    if end.peer_unknown {
        text += &format!("Peer: {PEER_UNKNOWN}\n");
    }
    text += &engines("Engine", &end.engines, rows);
    if let Some(peer) = &end.peer {
        text += &engines("Peer engine", &peer.engines, rows);
    }
    for &flow in rows.direction.flows(rows.role) {
        text += &datagrams_line(rows.tag(flow), flow, &end.datagrams);
    }
    text += &queue_lines("this end", &end.queues);
    if let Some(peer) = &end.peer {
        text += &queue_lines("the other end", &peer.queues);
    }
    if rows.verbose {
        text += &cpu_per_gigabyte_line(CpuPerGigabyte::from(end));
    }
    harmless_to_readers(&text)
}

/// One line per engine, one about its pacing where there was a rate, and with `-V` its details.
/// All strings may come from a peer.
fn engines(label: &str, engines: &[EngineReport], rows: &Rows) -> String {
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
        if let Some(placement) = &engine.placement {
            text += &format!("      Placement: {}\n", escape(placement));
        }
        if let Some(busy_poll) = &engine.busy_poll {
            text += &busy_poll_line(busy_poll);
        }
        if let Some(pacing) = &engine.pacing
            && (rows.verbose || pacing.target_bits_per_second > 0.0)
        {
            text += &pacing_line(pacing, rows.rate_format);
        }
        if rows.verbose {
            text += &details(engine);
        }
    }
    text
}

fn busy_poll_line(busy_poll: &BusyPollReport) -> String {
    let BusyPollReport { asked_us, set_us, streams, napi_streams } = busy_poll;
    let set = set_us.map_or("set or not is not known".to_owned(), |micros| format!("{micros} us set"));
    let effect = match napi_streams {
        Some(0) => "no effect: nothing came in through a NAPI that could be polled (as on loopback and veth)"
            .to_owned(),
        Some(of_napi) => format!("{of_napi} of {streams} streams have a NAPI that can be polled"),
        None => "whether there is anything to poll is not known".to_owned(),
    };
    format!("      Busy polling: {asked_us} us asked, {set}, {effect}\n")
}

fn pacing_line(pacing: &PacingReport, format: RateFormat) -> String {
    let PacingReport { target_bits_per_second, achieved_bits_per_second, .. } = pacing;
    // Not "bits/sec", which is what the last row of a test is looked for by.
    let rate = |bits_per_second: f64| format!("{}/s", rate(bits_per_second, format).trim_start());
    let target = match *target_bits_per_second {
        target if target > 0.0 => rate(target),
        _ => "none".to_owned(),
    };
    let mut text = format!(
        "      Pacing: target {target}, achieved {}, {} bursts of {:.1} datagrams (largest {})",
        rate(*achieved_bits_per_second),
        pacing.bursts,
        pacing.burst_mean,
        pacing.burst_max
    );
    if let Some(Percentiles { p50_us, p99_us, max_us, .. }) = pacing.inter_departure {
        text += &format!(", apart p50 {p50_us:.1} us, p99 {p99_us:.1} us, max {max_us:.1} us");
    }
    text.push('\n');
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
    text += &engine.sizes.as_ref().map_or_else(String::new, sizes_line);
    text += &processors_line(&engine.processors);
    text += &interrupts_line(&engine.processors);
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

/// What was moved at a time, and what else was tried.
fn sizes_line(sizes: &SizesReport) -> String {
    let way = |bytes: u32, marked: Option<bool>, plain: Option<bool>| {
        let size = transfer(u64::from(bytes));
        let mark = match marked {
            None => "",
            Some(true) => " with a receive mark",
            Some(false) => " without a receive mark",
        };
        let call = if plain == Some(true) { " by recv(2)" } else { "" };
        format!("{}s at a time{call}{mark}", size.trim_start())
    };
    let mut text = format!("      Sizes: {}", way(sizes.bytes, sizes.marked, sizes.plain));
    for other in &sizes.others {
        let share = other
            .rate_share
            .map_or_else(|| "not tried".to_owned(), |share| format!("{share:.2} of its rate"));
        text += &format!("; {}: {share}", way(other.bytes, other.marked, other.plain));
    }
    text.push('\n');
    text
}

/// Only queues that have dropped something: a device tells of all who sent through it, not of this test.
fn queue_lines(whose: &str, queues: &[QueueReport]) -> String {
    let dropping = queues.iter().filter_map(|queue| Some((queue, queue.dropped_packets.filter(|&n| n > 0)?)));
    let line = |(QueueReport { device, kind, .. }, dropped): (&QueueReport, u64)| {
        let (device, kind) = (escape(device), escape(kind));
        format!(
            "Queue: the {kind} queue of {whose}'s {device} dropped {dropped} packets meanwhile; those of this \
             test count as lost in the network; fix: a lower -b, or a longer queue\n"
        )
    };
    dropping.map(line).collect()
}

/// The streams of one direction together. What this end cannot know is said to be not known, or is left out
/// if it is a detail.
fn datagrams_line(tag: &str, flow: Flow, streams: &[DatagramReport]) -> String {
    let flow = match flow {
        Flow::Send => "send",
        Flow::Receive => "receive",
    };
    let streams: Vec<&DatagramReport> = streams.iter().filter(|stream| stream.flow == flow).collect();
    if streams.is_empty() {
        return String::new();
    }
    let sum = |pick: fn(&DatagramReport) -> Option<u64>| sum_known(streams.iter().copied().map(pick));
    let needed = |name: &str, count: Option<u64>| match count {
        Some(count) => format!("{name} {count}"),
        None => format!("{name} not known"),
    };
    let detail = |name: &str, count: Option<u64>| count.map(|count| format!("{name} {count}"));
    let (lost, in_socket) = (sum(|stream| stream.lost), sum(|stream| stream.lost_in_socket));
    let places =
        [detail("network", sum(|stream| stream.lost_in_network)), detail("receiving socket", in_socket)];
    let mut lost_text = needed("lost", lost);
    if lost != Some(0) && places.iter().any(Option::is_some) {
        lost_text += &format!(" ({})", places.into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    let foreign = sum(|stream| stream.foreign).filter(|&count| count > 0);
    let parts = [
        Some(needed("sent", sum(|stream| stream.sent))),
        Some(needed("received", sum(|stream| stream.received))),
        Some(lost_text),
        detail("duplicates", sum(|stream| stream.duplicates)),
        detail("reordered", sum(|stream| stream.reordered)),
        detail("foreign", foreign),
    ];
    let hint = match in_socket {
        Some(1..) => "; fix: a larger -w, which net.core.rmem_max of the receiving end must allow",
        Some(0) | None => "",
    };
    format!("Datagrams{tag}: {}{hint}\n", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// Where each stream was most of the time; a document has the rest of many streams.
fn processors_line(streams: &[ProcessorReport]) -> String {
    let seen = streams.iter().filter_map(|stream| {
        let ProcessorReport { id, looks, moves, distinct, .. } = stream;
        let &ProcessorShare { cpu, percent } = stream.shares.first()?;
        let elsewhere = match (distinct, moves) {
            (0..=1, _) => String::new(),
            (distinct, moves) => format!(", {distinct} processors, {moves} moves"),
        };
        Some(format!("stream {id} on {cpu} ({percent:.0}% of {looks} looks{elsewhere})"))
    });
    line_of_streams("Processors", seen.collect())
}

/// The streams that were where the interrupts of the network card are served, if any was.
fn interrupts_line(streams: &[ProcessorReport]) -> String {
    let met = streams.iter().filter_map(|stream| {
        let InterruptShare { processor_percent, core_percent } = stream.interrupts?;
        let place = match (processor_percent > 0.0, core_percent > processor_percent) {
            (true, false) => format!("processor ({processor_percent:.0}% of the looks)"),
            (true, true) => format!("processor ({processor_percent:.0}%) or core ({core_percent:.0}%)"),
            (false, true) => format!("core ({core_percent:.0}% of the looks)"),
            (false, false) => return None,
        };
        Some(format!("stream {} shared their {place}", stream.id))
    });
    line_of_streams("Card's interrupts", met.collect())
}

fn line_of_streams(what: &str, mut streams: Vec<String>) -> String {
    if streams.is_empty() {
        return String::new();
    }
    if let Some(more @ 1..) = streams.len().checked_sub(LISTED_STREAMS) {
        streams.truncate(LISTED_STREAMS);
        streams.push(format!("and {more} more"));
    }
    format!("      {what}: {}\n", streams.join(", "))
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
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Direction, Role};
    use crate::report::testing::fixtures;

    fn rows(role: Role, direction: Direction, verbose: bool) -> Rows {
        Rows { role, direction, parallel: 1, verbose, rate_format: RateFormat::Adaptive, has_rate: true }
    }

    fn has_readers_word(text: &str) -> bool {
        let lower = text.to_lowercase();
        READERS_WORDS.iter().any(|word| lower.contains(word))
    }

    proptest! {
        #[test]
        fn no_reader_finds_its_word(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::sample::select(READERS_WORDS.to_vec()).prop_map(str::to_owned),
                    prop::sample::select(READERS_WORDS.to_vec()).prop_map(str::to_uppercase),
                    "[a-z/]{0,4}",
                    ".{0,2}",
                ],
                0..8,
            )
        ) {
            let text = parts.concat();
            let harmless = harmless_to_readers(&text);
            prop_assert!(!has_readers_word(&harmless), "{} of {}", harmless, text);
            prop_assert!(has_readers_word(&text) || harmless == text);
            prop_assert_eq!(harmless.replace('-', ""), text.replace('-', ""));
        }
    }

    #[test]
    fn words_that_share_letters_are_parted_too() {
        let cases = [
            ("Receiverror", "R-eceive-rror"),
            ("a checksum", "a checks-um"),
            ("é bits/SECsUm", "é b-its/SECs-Um"),
            ("bits/second", "b-its/second"),
            ("sending end", "sending end"),
        ];
        for (text, harmless) in cases {
            assert_eq!(harmless_to_readers(text), harmless);
        }
    }

    #[test]
    fn a_verbose_client_tells_everything() {
        let mut end = fixtures::end(Role::Client, Direction::Bidir, 1);
        end.engines = vec![fixtures::sending_engine()];
        end.peer = Some(fixtures::peer());
        assert_eq!(
            own_lines(&rows(Role::Client, Direction::Bidir, true), &end),
            "\
Engine: send uring (asked auto): zero-copy is copied on this path, stepped down from uring-zc
      Zero-copy: 25.0% of 1.00 MBytes not copied, 2 notifications never came
      Sizes: 1.00 MBytes at a time; 128 KBytes at a time: 0.75 of its rate
      Processors: stream 1 on 3 (98% of 200 looks, 2 processors, 4 moves)
      Round trip: p50 20.0 us, p90 30.0 us, p99 40.0 us, p99.9 50.5 us, max 60.0 us (7 times)
      Limits: busy 2.00 s, rwnd-limited 0.50 s, sndbuf-limited 0.25 s
Peer engine: receive sync (asked auto): io_uring is switched off; fix: sysctl kernel.io_uring_disabled=0
CPU time per GB: local 381.470 s, remote 190.735 s
"
        );
    }

    #[test]
    fn a_udp_client_tells_what_became_of_its_datagrams() {
        let mut end = fixtures::udp_end(Role::Client, Direction::Bidir, 1);
        end.engines[0].pacing = Some(fixtures::pacing());
        end.datagrams = vec![fixtures::datagrams(1, "send"), fixtures::datagrams(3, "receive")];
        assert_eq!(
            own_lines(&rows(Role::Client, Direction::Bidir, true), &end),
            "\
Engine: send sync (asked sync)
      Pacing: target 10.0 Mbit/s, achieved 9.99 Mbit/s, 850 bursts of 1.5 datagrams (largest 4), \
              apart p50 800.0 us, p99 810.5 us, max 900.0 us
Datagrams[TX-C]: sent 1280, received 1276, lost 4 (network 3, receiving socket 1), duplicates 2, \
                 reordered 5; fix: a larger -w, which net.core.rmem_max of the receiving end must allow
Datagrams[RX-C]: sent 1280, received 1276, lost 4 (network 3, receiving socket 1), duplicates 2, \
                 reordered 5; fix: a larger -w, which net.core.rmem_max of the receiving end must allow
CPU time per GB: local 382.067 s, remote 191.033 s
"
        );
    }

    #[test]
    fn a_peer_can_neither_command_the_terminal_nor_mislead_a_reader() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 1);
        let mut peer = fixtures::peer();
        peer.engines[0].reason = "\u{1b}[2J\nEngine: 1 Gbits/sec receiver".into();
        end.peer = Some(peer);
        let text = own_lines(&rows(Role::Client, Direction::Forward, true), &end);
        let line = "(asked auto): \\u{1b}[2J\\u{a}Engine: 1 Gb-its/sec r-eceiver; fix: ";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_server_that_has_no_engine_says_only_what_its_time_was() {
        let mut end = fixtures::end(Role::Server, Direction::Forward, 1);
        end.engines.clear();
        assert_eq!(
            own_lines(&rows(Role::Server, Direction::Forward, true), &end),
            "CPU time per GB: local 762.939 s, remote not known\n"
        );
    }

    #[test]
    fn a_queue_is_named_when_it_has_dropped_something() {
        let queue = |dropped_packets| QueueReport {
            device: "eth0".to_owned(),
            kind: "tbf".to_owned(),
            dropped_packets,
        };
        for whose in ["this end", "the other end"] {
            assert_eq!(queue_lines(whose, &[queue(Some(0)), queue(None)]), "");
            let line = queue_lines(whose, &[queue(Some(7))]);
            let begin = format!("Queue: the tbf queue of {whose}'s eth0 dropped 7 packets");
            assert!(line.starts_with(&begin), "{line}");
            assert_eq!(harmless_to_readers(&line), line, "none of the words of iperf3's rows");
        }
    }

    #[test]
    fn datagrams_are_added_up_as_far_as_they_are_known() {
        let known = fixtures::datagrams(1, "send");
        let line = |streams: &[DatagramReport]| datagrams_line("", Flow::Send, streams);
        let clean = DatagramReport {
            received: Some(1280),
            lost: Some(0),
            lost_in_network: Some(0),
            lost_in_socket: Some(0),
            ..known.clone()
        };
        let sender_alone =
            DatagramReport { id: 3, flow: "send".into(), sent: Some(20), ..DatagramReport::default() };
        let receiver_alone = DatagramReport {
            sent: None,
            lost: None,
            lost_in_network: None,
            foreign: Some(9),
            ..known.clone()
        };
        let no_places = DatagramReport { lost_in_network: None, lost_in_socket: None, ..known.clone() };
        let fix = "; fix: a larger -w, which net.core.rmem_max of the receiving end must allow";
        let cases = [
            (vec![], String::new()),
            (vec![fixtures::datagrams(1, "receive")], String::new()),
            (vec![clean.clone()], "sent 1280, received 1280, lost 0, duplicates 2, reordered 5".into()),
            (
                vec![clean, known.clone()],
                format!(
                    "sent 2560, received 2556, lost 4 (network 3, receiving socket 1), duplicates 4, \
                     reordered 10{fix}"
                ),
            ),
            (vec![known, sender_alone], "sent 1300, received not known, lost not known".into()),
            (
                vec![receiver_alone],
                format!(
                    "sent not known, received 1276, lost not known (receiving socket 1), duplicates 2, \
                     reordered 5, foreign 9{fix}"
                ),
            ),
            (vec![no_places], "sent 1280, received 1276, lost 4, duplicates 2, reordered 5".into()),
        ];
        for (streams, expected) in cases {
            let expected = if expected.is_empty() { expected } else { format!("Datagrams: {expected}\n") };
            assert_eq!(line(&streams), expected);
        }
    }

    #[test]
    fn pacing_is_told_where_a_rate_was_asked_for_or_everything_is() {
        let mut engine = fixtures::sending_engine();
        let mut told = |verbose: bool, target_bits_per_second: f64| {
            let pacing = PacingReport { target_bits_per_second, inter_departure: None, ..fixtures::pacing() };
            engine.pacing = Some(pacing);
            let rows = rows(Role::Client, Direction::Forward, verbose);
            let text = engines("Engine", std::slice::from_ref(&engine), &rows);
            text.lines().find(|line| line.contains("Pacing")).map(str::to_owned)
        };
        let end = "achieved 9.99 Mbit/s, 850 bursts of 1.5 datagrams (largest 4)";
        assert_eq!(told(false, 0.0), None);
        assert_eq!(told(true, 0.0), Some(format!("      Pacing: target none, {end}")));
        assert_eq!(told(false, 1e6), Some(format!("      Pacing: target 1.00 Mbit/s, {end}")));
    }

    #[test]
    fn processors_of_many_streams_are_told_in_part() {
        let share = |cpu, percent| ProcessorShare { cpu, percent };
        let still = ProcessorReport {
            id: 1,
            looks: 100,
            distinct: 1,
            shares: vec![share(0, 100.0)],
            ..ProcessorReport::default()
        };
        assert_eq!(processors_line(&[]), "");
        assert_eq!(processors_line(&[ProcessorReport::default()]), "");
        let moved = ProcessorReport {
            id: 3,
            moves: 7,
            distinct: 2,
            shares: vec![share(5, 62.5), share(0, 37.5)],
            ..still.clone()
        };
        assert_eq!(
            processors_line(&[still.clone(), moved]),
            "      Processors: stream 1 on 0 (100% of 100 looks), stream 3 on 5 (62% of 100 looks, 2 processors, \
             7 moves)\n"
        );
        let line = processors_line(&vec![still.clone(); 8]);
        assert_eq!((line.matches("stream 1 on 0").count(), line.contains("more")), (8, false), "{line}");
        let line = processors_line(&vec![still; 128]);
        assert_eq!(line.matches("stream 1 on 0").count(), 8, "{line}");
        assert!(line.ends_with("looks), and 120 more\n"), "{line}");
    }

    #[test]
    fn streams_beside_the_cards_interrupts_are_told() {
        let stream = |id, processor_percent, core_percent| ProcessorReport {
            id,
            interrupts: Some(InterruptShare { processor_percent, core_percent }),
            ..fixtures::processors()
        };
        assert_eq!(interrupts_line(&[fixtures::processors(), stream(1, 0.0, 0.0)]), "");
        assert_eq!(
            interrupts_line(&[
                stream(1, 98.0, 98.0),
                stream(3, 0.0, 0.0),
                stream(4, 0.0, 7.4),
                stream(5, 2.0, 50.0)
            ]),
            "      Card's interrupts: stream 1 shared their processor (98% of the looks), stream 4 shared their \
             core (7% of the looks), stream 5 shared their processor (2%) or core (50%)\n"
        );
        let line = interrupts_line(&vec![stream(1, 100.0, 100.0); 10]);
        assert!(line.ends_with("looks), and 2 more\n"), "{line}");
    }

    #[test]
    fn what_became_of_busy_polling_is_told() {
        let line = |set_us, napi_streams| {
            busy_poll_line(&BusyPollReport { asked_us: 50, set_us, streams: 4, napi_streams })
        };
        assert_eq!(
            line(Some(50), Some(0)),
            "      Busy polling: 50 us asked, 50 us set, no effect: nothing came in through a NAPI that could be \
             polled (as on loopback and veth)\n"
        );
        assert_eq!(
            line(Some(20), Some(3)),
            "      Busy polling: 50 us asked, 20 us set, 3 of 4 streams have a NAPI that can be polled\n"
        );
        assert_eq!(
            line(None, None),
            "      Busy polling: 50 us asked, set or not is not known, whether there is anything to poll is not \
             known\n"
        );
    }

    #[test]
    fn how_near_was_understood_is_told_without_being_asked() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 1);
        end.engines[0].placement = Some("near: lo has no card".into());
        let text = own_lines(&rows(Role::Client, Direction::Forward, false), &end);
        assert!(text.contains(")\n      Placement: near: lo has no card\n"), "{text}");
    }
}
