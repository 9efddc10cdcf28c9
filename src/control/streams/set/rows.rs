//! The rows of a test: the bytes that each stream has moved in an interval, and when each stream ended.

use std::time::{Duration, Instant};

use super::{Stream, Streams, planned};
use crate::config::Flow;
use crate::report::{Interval, IntervalStream};
use crate::stats::{Counters, TcpSample};

/// When the flow of data was over at this end, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlowEnd {
    at: Instant,
    /// Whether the test came to its end, and was not ended by a failure or a signal.
    regular: bool,
}

/// The totals and the TCP_INFO of all streams at one moment, in the order of the streams.
type Snapshot = Vec<(Counters, Option<TcpSample>)>;

/// Totals that become a row of their own if the test goes on until `until`.
#[derive(Debug)]
pub(super) struct HeldRow {
    at: Instant,
    until: Instant,
    snapshot: Snapshot,
}

impl Streams {
    /// Notes that the flow of data is over now, at its regular end or not. Only the first call counts.
    pub(crate) fn note_over(&mut self, regular: bool) {
        self.over.get_or_insert_with(|| FlowEnd { at: Instant::now(), regular });
    }

    /// Closes an interval of all streams at `now` and returns it.
    pub(crate) fn interval(&mut self, now: Instant, omitted: bool) -> Interval {
        let snapshot = self.snapshot();
        self.close_interval(&snapshot, omitted, |_| now)
    }

    /// Holds back the row that ends now, at the planned end of the test. If the test is over before `until`,
    /// its last row goes on to its end instead.
    pub(crate) fn hold_row(&mut self, until: Instant) {
        self.held = Some(HeldRow { at: Instant::now(), until, snapshot: self.snapshot() });
    }

    /// Closes the interval that was held back, if there is one, and returns it.
    pub(crate) fn held_row(&mut self) -> Option<Interval> {
        let HeldRow { at, snapshot, .. } = self.held.take()?;
        Some(self.close_interval(&snapshot, false, |_| at))
    }

    /// The intervals since the last tick, each stream up to the moment at which it ended.
    pub(super) fn last_intervals(&mut self) -> Vec<Interval> {
        self.find_zeros();
        let ends: Vec<Instant> = self.streams.iter().map(|stream| self.end_of(stream)).collect();
        for (stream, end) in self.streams.iter_mut().zip(ends) {
            stream.ended = Some(end);
            // A stream that has not come to its counted part has nothing that counts.
            stream.sampler.set_zero(stream.totals());
        }
        let mut rows = Vec::new();
        let until = self.held.as_ref().map(|held| held.until);
        if self.streams.iter().any(|stream| stream.ended > until) {
            rows.extend(self.held_row());
        }
        let now = Instant::now();
        let snapshot = self.snapshot();
        rows.push(self.close_interval(&snapshot, false, |stream| stream.ended.unwrap_or(now)));
        rows
    }

    /// Whether the threads of this flow decide behind which byte their counted part begins. Receivers of
    /// datagrams do not: they count by sequence numbers, of which they may have missed any.
    pub(super) fn decides_zero(&self, flow: Flow) -> bool {
        match flow {
            Flow::Send => self.send_goal.is_some(),
            Flow::Receive => self.receive_goal.is_some() && !self.is_udp(),
        }
    }

    /// The moment at which a stream has ended, when all have.
    ///
    /// A test with a duration lasts that long for all of its streams, also for those that have nothing to do
    /// any more, and goes on until the last byte where that comes later. A test of a number of bytes lasts
    /// until the last one has come.
    fn end_of(&self, stream: &Stream) -> Instant {
        let over = self.over.map_or_else(Instant::now, |over| over.at);
        let own = last_moment(stream);
        let rest = match planned(&self.test) {
            Some(planned) => Some(over.min(self.began + planned)),
            None if stream.connected.flow == Flow::Send => None,
            None if self.test.goal_bytes().is_some() && self.over.is_some_and(|over| over.regular) => {
                self.of(Flow::Receive).filter_map(last_moment).max()
            }
            None => Some(over),
        };
        own.max(rest).unwrap_or(over).max(stream.sampler.started())
    }

    /// Tells the samplers behind which byte the counted part begins, as far as the threads have decided it.
    fn find_zeros(&mut self) {
        // All datagrams that a sender makes are of one size, and what else counts them has a zero already.
        let datagram_bytes = self.test.protocol.udp().map(|_| u64::from(self.test.block.bytes));
        for stream in &mut self.streams {
            let Some(bytes) = stream.counters.counts_from() else { continue };
            let mut totals = Counters { bytes, ..Counters::default() };
            totals.datagrams.packets = datagram_bytes.map_or(0, |datagram| bytes / datagram);
            stream.sampler.set_zero(totals);
        }
    }

    fn snapshot(&self) -> Snapshot {
        self.streams.iter().map(|stream| (stream.totals(), stream.tcp_sample())).collect()
    }

    fn close_interval(
        &mut self,
        snapshot: &Snapshot,
        omitted: bool,
        end: impl Fn(&Stream) -> Instant,
    ) -> Interval {
        let is_udp = self.is_udp();
        self.find_zeros();
        let streams = self.streams.iter_mut().zip(snapshot).map(|(stream, (totals, tcp))| {
            // A stream that ended before the last tick has nothing more, and no time runs backwards.
            let end = end(stream).max(stream.sampler.started() + stream.sampler.elapsed());
            let sample = stream.sampler.interval(end, *totals, tcp.as_ref());
            IntervalStream {
                socket: stream.connected.socket,
                flow: stream.connected.flow,
                start: sample.start,
                end: sample.end,
                bytes: sample.bytes,
                tcp: sample.tcp,
                udp: is_udp.then_some(sample.udp),
            }
        });
        Interval { omitted, streams: streams.collect() }
    }
}

impl Stream {
    /// Length of its counted part, up to its end or to the last interval.
    pub(crate) fn elapsed(&self) -> Duration {
        let ended = self.ended.map(|ended| ended.saturating_duration_since(self.sampler.started()));
        ended.unwrap_or_else(|| self.sampler.elapsed())
    }
}

/// The moment at which a sender's loop ended, or the last byte came to a receiver.
fn last_moment(stream: &Stream) -> Option<Instant> {
    let exit = stream.exit.as_ref()?;
    match stream.connected.flow {
        Flow::Send => Some(exit.finished),
        Flow::Receive => exit.last_received,
    }
}
