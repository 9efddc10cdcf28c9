//! How the streams of a test get on: what they have moved, what has become of them, whether that is enough.

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use super::super::limits;
use super::{Stream, Streams};
use crate::config::{Direction, Flow, Role};
use crate::engine;
use crate::error::RunError;
use crate::report::{Interval, IntervalStream};
use crate::sys::plain;

impl Streams {
    /// Bytes moved by all streams so far.
    pub(in crate::control) fn moved_bytes(&self) -> u64 {
        self.streams.iter().map(|stream| stream.totals().bytes).sum()
    }

    /// Bytes that somebody waits for: those of the receivers as long as some are due, else all.
    pub(in crate::control) fn awaited_bytes(&self) -> u64 {
        let is_due = !self.receive_goal_reached && !self.all_stopped(Flow::Receive);
        if is_due { self.received_bytes() } else { self.moved_bytes() }
    }

    /// Bytes of all senders that have not left: that the peer's kernel has not acknowledged, or, with UDP,
    /// that wait in this machine.
    pub(in crate::control) fn unacknowledged_bytes(&self) -> u64 {
        self.of(Flow::Send).map(|stream| stream.socket.unacknowledged_bytes().unwrap_or(0)).sum()
    }

    /// Whether all that the test is about has been sent, and has been received.
    pub(in crate::control) fn goal_reached(&self) -> bool {
        let flows = self.test.direction.flows(self.role);
        self.test.goal_bytes().is_some()
            && flows.iter().all(|flow| match flow {
                Flow::Send => self.all_stopped(Flow::Send),
                Flow::Receive => self.receive_goal_reached,
            })
    }

    /// Whether each sender has come to the end of its file, which ends a test whatever else would.
    pub(in crate::control) fn file_sent(&self) -> bool {
        self.file.is_some() && self.test.direction == Direction::Forward && self.all_stopped(Flow::Send)
    }

    /// Why no stream is left, when the test is not over yet: all have ended, at least one by a fault.
    ///
    /// A client learns from its TCP streams what has become of those at the server. Of UDP streams it does
    /// not, and not of a file that cannot be written, so there a server tells. That a connection is broken is
    /// no such news: the client is gone, or about to say that it goes.
    ///
    /// A thread that has panicked ends the test at once: what it has counted is not known any more.
    pub(in crate::control) fn all_lost(&self) -> Option<RunError> {
        if let Some(panic) = &self.panicked {
            return Some(RunError::Defect(panic.clone()));
        }
        let is_told = self.role == Role::Client || self.is_udp() || self.file.is_some();
        let is_news = |fault: &&io::Error| self.role == Role::Client || !engine::is_disconnect(fault);
        let all_ended = self.streams.iter().all(|stream| stream.exit.is_some());
        let mut faults = self.streams.iter().filter_map(|stream| stream.exit.as_ref()?.fault.as_ref());
        let ended_by_peer = self.role == Role::Client && self.test.direction == Direction::Reverse;
        if !is_told || !all_ended || self.streams.is_empty() {
            return None;
        }
        match faults.rfind(is_news) {
            Some(fault) => Some(RunError::StreamsLost { reason: plain(fault) }),
            None if ended_by_peer && !self.receive_goal_reached => {
                Some(RunError::StreamsLost { reason: "the peer closed them".to_owned() })
            }
            None => None,
        }
    }

    /// Why none of the senders could send anything, at the end of a test.
    pub(in crate::control) fn nothing_sent(&self) -> Option<RunError> {
        let mut reason = None;
        for stream in self.of(Flow::Send) {
            let exit = stream.exit.as_ref().filter(|exit| exit.totals.bytes == 0)?;
            reason = Some(exit.fault.as_ref()?.to_string());
        }
        reason.map(|reason| RunError::StreamsLost { reason })
    }

    /// Every different way in which a stream has failed, with the stream's descriptor.
    pub(in crate::control) fn faults(&self) -> Vec<String> {
        let fault = |stream: &Stream| {
            let fault = stream.exit.as_ref()?.fault.as_ref()?;
            Some(format!("a data connection failed: {}", plain(fault)))
        };
        let different: BTreeSet<String> = self.streams.iter().filter_map(fault).collect();
        different.into_iter().collect()
    }

    /// Every different warning of a stream.
    pub(in crate::control) fn warnings(&self) -> BTreeSet<String> {
        let exits = self.streams.iter().filter_map(|stream| stream.exit.as_ref());
        exits.flat_map(|exit| exit.warnings.iter().cloned()).collect()
    }

    /// Waits until the receivers get nothing more; for a peer that does not end its connections.
    pub(in crate::control) async fn wait_quiet(&mut self) {
        let deadline = Instant::now() + limits::DRAIN;
        let mut before = None;
        while before != Some(self.received_bytes()) && Instant::now() < deadline {
            before = Some(self.received_bytes());
            self.wait_stopped(Flow::Receive, limits::QUIET).await;
        }
    }

    /// Closes an interval.
    pub(in crate::control) fn interval(&mut self, now: Instant, omitted: bool) -> Interval {
        self.sample(omitted, |_| now)
    }

    /// The interval since the last tick, each stream up to the moment at which it ended.
    pub(super) fn last_interval(&mut self) -> Interval {
        let now = Instant::now();
        self.sample(false, |stream| stream.exit.as_ref().map_or(now, |exit| exit.finished))
    }

    fn received_bytes(&self) -> u64 {
        self.of(Flow::Receive).map(|stream| stream.totals().bytes).sum()
    }

    fn sample(&mut self, omitted: bool, end: impl Fn(&Stream) -> Instant) -> Interval {
        let streams = self.streams.iter_mut().map(|stream| {
            // A stream that ended before the last tick has nothing more, and no time runs backwards.
            let end = end(stream).max(stream.sampler.started() + stream.sampler.elapsed());
            let tcp = stream.tcp_sample();
            let sample = stream.sampler.interval(end, stream.totals(), tcp.as_ref());
            IntervalStream {
                socket: stream.connected.socket,
                flow: stream.connected.flow,
                start: sample.start,
                end: sample.end,
                bytes: sample.bytes,
                tcp: sample.tcp,
                udp: self.test.protocol.udp().map(|_| sample.udp),
            }
        });
        Interval { omitted, streams: streams.collect() }
    }
}
