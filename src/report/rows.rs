//! The rows of the text report: headers, intervals, totals.

use crate::config::{Direction, Flow, Role};
use crate::units::{RateFormat, rate, transfer};

use super::totals::{Halves, Span, sum_retransmits};
use super::{Interval, IntervalStream, StreamEnd, TestEnd};

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
}

impl Rows {
    /// The header above the first interval.
    pub(super) fn interval_header(&self, interval: &Interval) -> String {
        let knows_tcp = interval.streams.iter().any(|stream| stream.tcp.is_some());
        self.header(if knows_tcp { "         Retr  Cwnd" } else { "" })
    }

    /// The header above the totals.
    pub(super) fn summary_header(&self, end: &TestEnd) -> String {
        let knows_retransmits = end.streams.iter().any(|stream| Halves::from(stream).retransmits.is_some());
        self.header(if knows_retransmits { "         Retr" } else { "" })
    }

    /// All rows of one interval.
    pub(super) fn interval(&self, interval: &Interval) -> String {
        let tail = if interval.omitted { "(omitted)" } else { "" };
        let mut text = String::new();
        for &flow in self.direction.flows(self.role) {
            let streams = interval.streams.iter().filter(|stream| stream.flow == flow);
            for stream in streams.clone() {
                let columns = interval_columns(stream, tail);
                text += &self.row(&name(stream.socket), flow, Span::from(stream), &columns);
            }
            if self.parallel > 1 {
                let retransmits = streams.clone().map(|stream| stream.tcp.map(|tcp| tcp.retransmits));
                let columns = columns(sum_retransmits(retransmits), SUM_GAP, tail);
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
            text += &self.halves(&name(stream.socket), flow, Halves::from(stream), STREAM_GAP);
        }
        if self.parallel > 1 {
            text += &self.halves(SUM, flow, Halves::sum(&streams), SUM_GAP);
        }
        text
    }

    /// The sender's and the receiver's row. A server prints only what it counted itself.
    fn halves(&self, name: &str, flow: Flow, halves: Halves, gap: usize) -> String {
        let knows = |half: Flow| self.role == Role::Client || flow == half;
        let unknown = |half: &str| match self.verbose {
            true => format!("[{name}] ({half} statistics not available)\n"),
            false => String::new(),
        };
        let sender = match knows(Flow::Send) {
            true => self.row(name, flow, halves.sent, &columns(halves.retransmits, gap, "sender")),
            false => unknown("sender"),
        };
        let receiver = match knows(Flow::Receive) {
            true => self.row(name, flow, halves.received, &columns(None, gap, "receiver")),
            false => unknown("receiver"),
        };
        sender + &receiver
    }

    fn header(&self, more_columns: &str) -> String {
        let role = if self.direction == Direction::Bidir { "[Role]" } else { "" };
        format!("[ ID]{role} Interval           Transfer     Bitrate{more_columns}\n")
    }

    fn row(&self, name: &str, flow: Flow, span: Span, columns: &str) -> String {
        let tag = self.tag(flow);
        let Span { start, end, bytes } = span;
        let transfer = transfer(bytes);
        let rate = rate(span.bits_per_second(), self.rate_format);
        format!("[{name}]{tag} {start:6.2}-{end:<6.2} sec  {transfer}s  {rate}s/sec{columns}\n")
    }

    /// Which way a row's bytes flow, in tests where that is not the same for all.
    fn tag(&self, flow: Flow) -> &'static str {
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

/// Blanks between the retransmits and the word after them, in a stream's total.
const STREAM_GAP: usize = 12;

/// The same in every row that is a sum: iperf3 has one more there.
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

fn interval_columns(stream: &IntervalStream, tail: &str) -> String {
    match stream.tcp {
        Some(tcp) => format!("  {:3}   {}s       {tail}", tcp.retransmits, transfer(tcp.snd_cwnd_bytes)),
        None => columns(None, STREAM_GAP, tail),
    }
}

#[cfg(test)]
mod tests {
    use crate::report::fixtures;
    use crate::units::Scale;

    use super::*;

    fn rows(role: Role, direction: Direction, parallel: u32) -> Rows {
        Rows { role, direction, parallel, verbose: false, rate_format: RateFormat::Adaptive }
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
    fn the_bitrate_has_the_unit_that_was_asked_for() {
        let interval = fixtures::interval(Role::Server, Direction::Forward, 1, 1);
        let rate_format = RateFormat::Bytes(Scale::Kilo);
        let rows = Rows { rate_format, ..rows(Role::Server, Direction::Forward, 1) };
        assert_eq!(
            rows.interval(&interval),
            "[  5]   1.00-2.00   sec   640 KBytes   640 KBytes/sec                  \n"
        );
    }
}
