//! The rows of the text report: headers, intervals, totals.

use crate::config::{Direction, Flow, Role};
use crate::stats::UdpInterval;
use crate::units::{RateFormat, rate, transfer};

use crate::report::escape::escape;
use crate::report::totals::{Halves, Loss, Span, is_udp, own_half, sum_retransmits, sum_udp_intervals};
use crate::report::{FileReport, Interval, IntervalStream, StreamEnd, TestEnd};

/// The line between two intervals of several streams, and before the summary.
pub(super) const SEPARATOR: &str = "- - - - - - - - - - - - - - - - - - - - - - - - -\n";

/// How the rows of one test look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) role: Role,
    pub(super) direction: Direction,
    /// Streams per direction; sums are printed if there are several.
    pub(super) parallel: u32,
    pub(super) verbose: bool,
    pub(super) rate_format: RateFormat,
    /// See [`SessionInfo::has_rate`](super::SessionInfo::has_rate).
    pub(super) has_rate: bool,
}

impl Rows {
    /// The header above the first interval.
    pub(super) fn interval_header(&self, interval: &Interval) -> String {
        let has = |what: fn(&IntervalStream) -> bool| interval.streams.iter().any(what);
        let only_sends = !self.direction.flows(self.role).contains(&Flow::Receive);
        self.header(match has(|stream| stream.udp.is_some()) {
            true if only_sends => "         Total Datagrams",
            true => LOSS_HEADER,
            false if has(|stream| stream.tcp.is_some()) => "         Retr  Cwnd",
            false => "",
        })
    }

    /// The header above the totals.
    pub(super) fn summary_header(&self, end: &TestEnd) -> String {
        let knows_retransmits = end.streams.iter().any(|stream| Halves::from(stream).retransmits.is_some());
        self.header(match is_udp(end) {
            true => LOSS_HEADER,
            false if knows_retransmits => "         Retr",
            false => "",
        })
    }

    /// All rows of one interval.
    pub(super) fn interval(&self, interval: &Interval) -> String {
        let tail = if interval.omitted { "(omitted)" } else { "" };
        let mut text = String::new();
        for &flow in self.direction.flows(self.role) {
            let streams = interval.streams.iter().filter(|stream| stream.flow == flow);
            for stream in streams.clone() {
                let columns = self.interval_columns(stream, tail);
                text += &self.row(&name(stream.socket), flow, Span::from(stream), &columns);
            }
            if self.parallel > 1 {
                let retransmits = streams.clone().map(|stream| stream.tcp.map(|tcp| tcp.retransmits));
                let columns = match sum_udp_intervals(streams.clone().filter_map(|stream| stream.udp)) {
                    Some(udp) => self.udp_columns(flow, udp, tail),
                    None => columns(sum_retransmits(retransmits), SUM_GAP, tail),
                };
                text += &self.row(SUM, flow, Span::sum(streams.map(Span::from)), &columns);
            }
        }
        text
    }

    /// The totals of the streams of one direction.
    pub(super) fn totals(&self, flow: Flow, end: &TestEnd) -> String {
        let streams: Vec<&StreamEnd> = end.streams.iter().filter(|stream| stream.flow == flow).collect();
        let mut text = String::new();
        for &stream in &streams {
            let file = end.file.as_ref().map_or_else(String::new, |file| file_line(file, stream));
            text += &self.halves(&name(stream.socket), flow, Halves::from(stream), (end, &file));
        }
        if self.parallel > 1 {
            text += &self.halves(SUM, flow, Halves::sum(&streams), (end, ""));
        }
        text
    }

    /// The sender's row, what stands below it, and the receiver's row. A server prints only what it counted
    /// itself, and so does a client that knows no more.
    fn halves(&self, name: &str, flow: Flow, halves: Halves, (end, file): (&TestEnd, &str)) -> String {
        let is_sum = name == SUM;
        let gap = if is_sum { SUM_GAP } else { STREAM_GAP };
        // iperf3 does not say of the sums of a UDP test what is missing.
        let says_unknown = self.verbose && !(is_sum && halves.udp.is_some());
        let row = |half: Flow, word: &str, span: Span, columns: &str| {
            if (self.role == Role::Client && !end.peer_unknown) || flow == half {
                self.row(name, flow, span, columns)
            } else if says_unknown {
                format!("[{name}] ({word} statistics not available)\n")
            } else {
                String::new()
            }
        };
        let (sender, receiver) = match halves.udp {
            Some(udp) => (
                loss_columns(Loss::at_sender(udp), "sender"),
                loss_columns(Loss::at_receiver(udp), "receiver"),
            ),
            None => (columns(halves.retransmits, gap, "sender"), columns(None, gap, "receiver")),
        };
        let between = match halves.udp {
            Some(udp) if !is_sum && udp.out_of_order > 0 => {
                self.out_of_order(flow, halves.received, udp.out_of_order)
            }
            _ => String::new(),
        };
        row(Flow::Send, "sender", halves.sent, &sender)
            + &between
            + file
            + &row(Flow::Receive, "receiver", halves.received, &receiver)
    }

    /// iperf3 calls it a sum, though it stands above the row of the stream that it is about.
    fn out_of_order(&self, flow: Flow, Span { start, end, .. }: Span, count: u64) -> String {
        let tag = self.tag(flow);
        format!("[{SUM}]{tag} {start:4.1}-{end:4.1} sec  {count} datagrams received out-of-order\n")
    }

    fn interval_columns(&self, stream: &IntervalStream, tail: &str) -> String {
        match (stream.udp, stream.tcp) {
            (Some(udp), _) => self.udp_columns(stream.flow, udp, tail),
            (None, Some(tcp)) => {
                let window = transfer(tcp.snd_cwnd_bytes);
                format!("  {:3}   {window}s       {tail}", tcp.retransmits)
            }
            (None, None) => columns(None, STREAM_GAP, tail),
        }
    }

    /// In bidir tests a sender's count stands below the counts of receivers.
    fn udp_columns(&self, flow: Flow, udp: UdpInterval, tail: &str) -> String {
        let gap = if self.direction == Direction::Bidir { 12 } else { 2 };
        match flow {
            Flow::Send => format!("{:gap$}{}  {tail}", "", udp.packets),
            Flow::Receive => loss_columns(Loss::from(udp), tail),
        }
    }

    fn header(&self, more_columns: &str) -> String {
        let role = if self.direction == Direction::Bidir { "[Role]" } else { "" };
        format!("[ ID]{role} Interval           Transfer     Bitrate{more_columns}\n")
    }

    fn row(&self, name: &str, flow: Flow, span: Span, columns: &str) -> String {
        let tag = self.tag(flow);
        let Span { start, end, bytes } = span;
        let transfer = transfer(bytes);
        let rate = self.rate(span);
        format!("[{name}]{tag} {start:6.2}-{end:<6.2} sec  {transfer}s  {rate}s/sec{columns}\n")
    }

    fn rate(&self, span: Span) -> String {
        if self.has_rate {
            return rate(span.bits_per_second(), self.rate_format);
        }
        rate(0.0, self.rate_format).replacen("0.00", "   -", 1)
    }

    /// Which way a row's bytes flow, in tests where that is not the same for all.
    pub(super) fn tag(&self, flow: Flow) -> &'static str {
        match (self.direction, self.role, flow) {
            (Direction::Forward | Direction::Reverse, _, _) => "",
            (Direction::Bidir, Role::Client, Flow::Send) => "[TX-C]",
            (Direction::Bidir, Role::Client, Flow::Receive) => "[RX-C]",
            (Direction::Bidir, Role::Server, Flow::Send) => "[TX-S]",
            (Direction::Bidir, Role::Server, Flow::Receive) => "[RX-S]",
        }
    }
}

const SUM: &str = "SUM";

const LOSS_HEADER: &str = "         Jitter    Lost/Total Datagrams";

/// Blanks between the retransmits and the word after them, in a stream's total.
const STREAM_GAP: usize = 12;

/// Blanks between the retransmits and the word after them in a row that is a sum: iperf3 has one more there.
const SUM_GAP: usize = 13;

fn name(socket: i32) -> String {
    format!("{socket:3}")
}

/// What follows the bitrate, without congestion window.
fn columns(retransmits: Option<u64>, gap: usize, tail: &str) -> String {
    match retransmits {
        Some(count) => format!("  {count:3}{:gap$}{tail}", ""),
        None => format!("{:18}{tail}", ""),
    }
}

/// What of a file this end has moved. iperf3 calls it sent at both ends.
fn file_line(file: &FileReport, stream: &StreamEnd) -> String {
    let moved = own_half(stream).bytes;
    let name = escape(&file.name);
    match file.bytes.zip(file.percent(moved)) {
        Some((size, percent)) => {
            format!("        Sent {} / {} ({percent}%) of {name}\n", transfer(moved), transfer(size))
        }
        None => format!("        Sent {} of {name}\n", transfer(moved)),
    }
}

fn loss_columns(loss: Loss, tail: &str) -> String {
    let jitter_ms = 1000.0 * loss.jitter_seconds;
    let total = loss.packets;
    let share = match (loss.lost, loss.percent()) {
        (Some(lost), Some(percent)) => format!("{lost}/{total} ({}%)", two_digits(percent)),
        _ => format!("Unknown/{total}"),
    };
    format!("  {jitter_ms:5.3} ms  {share}  {tail}")
}

/// Prints like C's `%.2g`: 0, 0.045, 1.2, 10, and `1e+02` from 99.5 on.
fn two_digits(value: f64) -> String {
    let rounded = format!("{value:.1e}");
    let Some((digits, exponent)) = rounded.split_once('e') else { return rounded };
    let Ok(exponent) = exponent.parse::<i32>() else { return rounded };
    let without_zeros = |number: &str| match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => number.to_owned(),
    };
    match usize::try_from(1 - exponent) {
        Ok(decimals @ 0..=5) => without_zeros(&format!("{value:.decimals$}")),
        Ok(_) => format!("{}e-{:02}", without_zeros(digits), exponent.abs()),
        Err(_) => format!("{}e+{exponent:02}", without_zeros(digits)),
    }
}

#[cfg(test)]
mod tests {
    use crate::report::testing::fixtures;
    use crate::units::Scale;

    use super::*;

    fn rows(role: Role, direction: Direction, parallel: u32) -> Rows {
        Rows { role, direction, parallel, verbose: false, rate_format: RateFormat::Adaptive, has_rate: true }
    }

    #[test]
    fn intervals_of_both_directions() {
        let mut interval = fixtures::interval(Role::Client, Direction::Bidir, 2, 0);
        let rows = rows(Role::Client, Direction::Bidir, 2);
        assert_eq!(
            rows.interval_header(&interval) + &rows.interval(&interval),
            "\
[ ID][Role] Interval           Transfer     Bitrate         Retr  Cwnd
[  5][TX-C]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec    1   1.12 MBytes       
[  6][TX-C]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec    1   1.12 MBytes       
[SUM][TX-C]   0.00-1.00   sec  1.25 MBytes  10.5 Mbits/sec    2             
[  7][RX-C]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec                  
[  8][RX-C]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec                  
[SUM][RX-C]   0.00-1.00   sec  1.25 MBytes  10.5 Mbits/sec                  
"
        );
        interval.omitted = true;
        assert_eq!(
            rows.interval(&interval).lines().skip(2).take(2).collect::<Vec<_>>(),
            [
                "[SUM][TX-C]   0.00-1.00   sec  1.25 MBytes  10.5 Mbits/sec    2             (omitted)",
                "[  7][RX-C]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec                  (omitted)",
            ]
        );
    }

    #[test]
    fn a_receiver_has_no_tcp_columns() {
        let interval = fixtures::interval(Role::Client, Direction::Reverse, 1, 0);
        let rows = rows(Role::Client, Direction::Reverse, 1);
        assert_eq!(rows.interval_header(&interval), "[ ID] Interval           Transfer     Bitrate\n");
    }

    #[test]
    fn a_server_prints_its_own_half() {
        let end = fixtures::end(Role::Server, Direction::Bidir, 2);
        let rows = rows(Role::Server, Direction::Bidir, 2);
        let text = rows.totals(Flow::Receive, &end) + &rows.totals(Flow::Send, &end);
        assert_eq!(
            text,
            "\
[  5][RX-S]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec                  receiver
[  6][RX-S]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec                  receiver
[SUM][RX-S]   0.00-2.00   sec  2.50 MBytes  10.5 Mbits/sec                  receiver
[  7][TX-S]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec    2            sender
[  8][TX-S]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec    2            sender
[SUM][TX-S]   0.00-2.00   sec  2.50 MBytes  10.5 Mbits/sec    4             sender
"
        );
        let verbose = Rows { verbose: true, ..rows }.totals(Flow::Receive, &end);
        let absent: Vec<_> = verbose.lines().step_by(2).collect();
        assert_eq!(
            absent,
            [
                "[  5] (sender statistics not available)",
                "[  6] (sender statistics not available)",
                "[SUM] (sender statistics not available)",
            ]
        );
    }

    #[test]
    fn a_udp_sender_counts_datagrams() {
        let mut interval = fixtures::udp_interval(Role::Client, Direction::Forward, 2, 0);
        interval.omitted = true;
        let rows = rows(Role::Client, Direction::Forward, 2);
        assert_eq!(
            rows.interval_header(&interval) + &rows.interval(&interval),
            "\
[ ID] Interval           Transfer     Bitrate         Total Datagrams
[  5]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec  640  (omitted)
[  6]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec  640  (omitted)
[SUM]   0.00-1.00   sec  1.25 MBytes  10.5 Mbits/sec  1280  (omitted)
"
        );
    }

    #[test]
    fn a_udp_receiver_shows_jitter_and_loss() {
        let interval = fixtures::udp_interval(Role::Client, Direction::Reverse, 2, 1);
        let rows = rows(Role::Client, Direction::Reverse, 2);
        assert_eq!(
            rows.interval_header(&interval) + &rows.interval(&interval),
            "\
[ ID] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams
[  5]   1.00-2.00   sec   638 KBytes  5.23 Mbits/sec  0.250 ms  2/640 (0.31%)  
[  6]   1.00-2.00   sec   638 KBytes  5.23 Mbits/sec  0.750 ms  2/640 (0.31%)  
[SUM]   1.00-2.00   sec  1.25 MBytes  10.5 Mbits/sec  0.500 ms  4/1280 (0.31%)  
"
        );
    }

    #[test]
    fn udp_in_both_directions() {
        let interval = fixtures::udp_interval(Role::Server, Direction::Bidir, 1, 0);
        let mut end = fixtures::udp_end(Role::Server, Direction::Bidir, 1);
        // Whatever the system says of TCP, it is not shown.
        for stream in &mut end.streams {
            stream.tcp = Some(crate::stats::TcpSummary::default());
        }
        let rows = Rows { verbose: true, ..rows(Role::Server, Direction::Bidir, 1) };
        let totals = rows.totals(Flow::Receive, &end) + &rows.totals(Flow::Send, &end);
        assert_eq!(
            rows.interval_header(&interval)
                + &rows.interval(&interval)
                + &rows.summary_header(&end)
                + &totals,
            "\
[ ID][Role] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams
[  5][RX-S]   0.00-1.00   sec   638 KBytes  5.23 Mbits/sec  0.250 ms  2/640 (0.31%)  
[  6][TX-S]   0.00-1.00   sec   640 KBytes  5.24 Mbits/sec            640  
[ ID][Role] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams
[  5] (sender statistics not available)
[  5][RX-S]   0.00-2.00   sec  1.25 MBytes  5.23 Mbits/sec  0.250 ms  4/1280 (0.31%)  receiver
[  6][TX-S]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec  0.000 ms  0/1280 (0%)  sender
[  6] (receiver statistics not available)
"
        );
    }

    #[test]
    fn udp_totals_of_both_ends_with_what_came_out_of_order_and_what_is_not_known() {
        let mut end = fixtures::udp_end(Role::Client, Direction::Reverse, 2);
        end.streams[0].udp.as_mut().unwrap().out_of_order = 13;
        end.streams[1].udp.as_mut().unwrap().lost = None;
        let rows = Rows { verbose: true, ..rows(Role::Client, Direction::Reverse, 2) };
        assert_eq!(
            rows.summary_header(&end) + &rows.totals(Flow::Receive, &end),
            "\
[ ID] Interval           Transfer     Bitrate         Jitter    Lost/Total Datagrams
[  5]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec  0.000 ms  0/1280 (0%)  sender
[SUM]  0.0- 2.0 sec  13 datagrams received out-of-order
[  5]   0.00-2.00   sec  1.25 MBytes  5.23 Mbits/sec  0.250 ms  4/1280 (0.31%)  receiver
[  6]   0.00-2.00   sec  1.25 MBytes  5.24 Mbits/sec  0.000 ms  0/1280 (0%)  sender
[  6]   0.00-2.00   sec  1.25 MBytes  5.23 Mbits/sec  0.750 ms  Unknown/1280  receiver
[SUM]   0.00-2.00   sec  2.50 MBytes  10.5 Mbits/sec  0.000 ms  0/2560 (0%)  sender
[SUM]   0.00-2.00   sec  2.49 MBytes  10.5 Mbits/sec  0.500 ms  Unknown/2560  receiver
"
        );
        let server = Rows { role: Role::Server, ..rows };
        let text = server.totals(Flow::Receive, &fixtures::udp_end(Role::Server, Direction::Forward, 2));
        let not_available = text.lines().filter(|line| line.contains("not available"));
        assert_eq!(
            not_available.collect::<Vec<_>>(),
            ["[  5] (sender statistics not available)", "[  6] (sender statistics not available)"]
        );
        assert!(text.contains("[SUM]   0.00-2.00   sec  2.49 MBytes"), "{text}");
    }

    #[test]
    fn a_file_stands_below_the_row_of_the_sender() {
        let file = |bytes, name: &str| Some(FileReport { name: name.into(), bytes: Some(bytes) });
        let mut end = fixtures::end(Role::Client, Direction::Forward, 2);
        end.file = file(2_621_440, "in\u{1b}.dat");
        let text = rows(Role::Client, Direction::Forward, 2).totals(Flow::Send, &end);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "        Sent 1.25 MByte / 2.50 MByte (50%) of in\\u{1b}.dat");
        assert_eq!(lines[4], lines[1]);
        assert_eq!((lines.len(), text.matches("Sent").count()), (8, 2));

        let mut end = fixtures::end(Role::Server, Direction::Forward, 1);
        end.file = file(0, "out");
        let text = rows(Role::Server, Direction::Forward, 1).totals(Flow::Receive, &end);
        assert!(text.starts_with("        Sent 1.25 MByte / 0.00 Byte (100%) of out\n[  5] "), "{text}");
        end.file = Some(FileReport { name: "/dev/stdin".into(), bytes: None });
        let text = rows(Role::Server, Direction::Forward, 1).totals(Flow::Receive, &end);
        assert!(text.starts_with("        Sent 1.25 MByte of /dev/stdin\n[  5] "), "{text}");
    }

    #[test]
    fn percentages_have_two_digits_like_those_of_c() {
        let cases = [
            (0.0, "0"),
            (100.0, "1e+02"),
            (99.5, "1e+02"),
            (99.4, "99"),
            (74.2, "74"),
            (10.0, "10"),
            (9.96, "10"),
            (9.94, "9.9"),
            (5.0, "5"),
            (4.84, "4.8"),
            (0.31, "0.31"),
            (0.045, "0.045"),
            (0.04, "0.04"),
            (0.000_12, "0.00012"),
            (0.000_099_9, "0.0001"),
            (0.000_012_3, "1.2e-05"),
            (0.000_01, "1e-05"),
        ];
        for (value, expected) in cases {
            assert_eq!(two_digits(value), expected, "{value}");
        }
    }

    #[test]
    fn the_bitrate_has_the_unit_that_was_asked_for() {
        let interval = fixtures::interval(Role::Server, Direction::Forward, 1, 1);
        let rate_format = RateFormat::Bytes(Scale::Kilo);
        let rows = Rows { rate_format, ..rows(Role::Server, Direction::Forward, 1) };
        assert_eq!(
            rows.interval(&interval),
            "[  5]   1.00-2.00   sec   640 KBytes   640 KBytes/sec                  \n"
        );
        assert_eq!(
            Rows { has_rate: false, ..rows }.interval(&interval),
            "[  5]   1.00-2.00   sec   640 KBytes     - KBytes/sec                  \n"
        );
    }
}
