//! The progress of the streams of a test: bytes moved, faults, and whether the test has all it wants.

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use super::{Stream, Streams};
use crate::config::{Direction, Flow, Role};
use crate::control::base::limits;
use crate::engine;
use crate::error::{PeerError, RunError, SetupError};
use crate::sys::error_message;

impl Streams {
    /// Bytes moved by all streams so far.
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.streams.iter().map(|stream| stream.totals().bytes).sum()
    }

    /// Bytes whose growth shows that the test goes on: those of the receivers as long as some are missing,
    /// else those of all streams.
    pub(crate) fn awaited_bytes(&self) -> u64 {
        let is_due = !self.receive_goal_reached && !self.receive_over && !self.all_stopped(Flow::Receive);
        if is_due { self.received_bytes() } else { self.moved_bytes() }
    }

    /// Bytes that have reached their end: those of [`Self::awaited_bytes`], or, without receivers here, those
    /// that the peer's kernel has acknowledged.
    pub(crate) fn arrived_bytes(&self) -> u64 {
        match self.of(Flow::Receive).next() {
            Some(_) => self.awaited_bytes(),
            None => self.moved_bytes().saturating_sub(self.unacknowledged_bytes()),
        }
    }

    /// Bytes of all senders that the peer's kernel has not acknowledged, or, with UDP, that still wait in
    /// this machine.
    pub(crate) fn unacknowledged_bytes(&self) -> u64 {
        self.of(Flow::Send).map(|stream| stream.socket.unacknowledged_bytes().unwrap_or(0)).sum()
    }

    /// Whether a counted test has sent, and has received, all that it counts.
    pub(crate) fn goal_reached(&self) -> bool {
        let flows = self.test.direction.flows(self.role);
        self.test.goal_bytes().is_some()
            && flows.iter().all(|flow| match flow {
                Flow::Send => self.all_stopped(Flow::Send),
                Flow::Receive => self.is_received(),
            })
    }

    /// Whether each sender has come to the end of its file, which ends a test before its other end
    /// conditions.
    pub(crate) fn file_sent(&self) -> bool {
        self.file.is_some() && self.test.direction == Direction::Forward && self.all_stopped(Flow::Send)
    }

    /// The error of a test whose streams have all ended before its end, at least one of them by a fault.
    ///
    /// A server reports that with UDP, and with a file that cannot be written, of which its client learns
    /// nothing; a client sees by itself that its TCP streams have ended. A server reports no broken
    /// connection: the client is gone, or about to end the test.
    ///
    /// A thread that has panicked ends the test at once, since its counters are lost.
    pub(crate) fn all_lost(&self) -> Option<RunError> {
        if let Some(panic) = &self.panicked {
            return Some(SetupError::Defect(panic.clone()).into());
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
            Some(fault) => Some(PeerError::StreamsLost { reason: error_message(fault) }.into()),
            None if ended_by_peer && !self.enough_came() => {
                Some(PeerError::StreamsLost { reason: "the peer closed them".to_owned() }.into())
            }
            None => None,
        }
    }

    /// The error of a test at whose end no sender has sent a byte, each because of a fault.
    pub(crate) fn nothing_sent(&self) -> Option<RunError> {
        let mut reason = None;
        for stream in self.of(Flow::Send) {
            let exit = stream.exit.as_ref().filter(|exit| exit.totals.bytes == 0)?;
            reason = Some(exit.fault.as_ref()?.to_string());
        }
        reason.map(|reason| PeerError::StreamsLost { reason }.into())
    }

    /// Every different fault of a stream, as a sentence without a full stop.
    pub(crate) fn faults(&self) -> Vec<String> {
        let fault = |stream: &Stream| {
            let fault = stream.exit.as_ref()?.fault.as_ref()?;
            Some(format!("a data connection failed: {}", error_message(fault)))
        };
        let different: BTreeSet<String> = self.streams.iter().filter_map(fault).collect();
        different.into_iter().collect()
    }

    /// Every different warning of a stream.
    pub(crate) fn warnings(&self) -> BTreeSet<String> {
        let exits = self.streams.iter().filter_map(|stream| stream.exit.as_ref());
        exits.flat_map(|exit| exit.warnings.iter().cloned()).collect()
    }

    /// Waits until the receivers get nothing more; for a peer that does not end its connections.
    pub(crate) async fn wait_quiet(&mut self) {
        let deadline = Instant::now() + limits::DRAIN;
        let mut before = None;
        while before != Some(self.received_bytes()) && Instant::now() < deadline {
            before = Some(self.received_bytes());
            self.wait_stopped(Flow::Receive, limits::QUIET).await;
        }
    }

    fn received_bytes(&self) -> u64 {
        self.of(Flow::Receive).map(|stream| stream.totals().bytes).sum()
    }

    /// Whether as many bytes have come, in the omitted part or behind it, as the test counts. Datagrams that
    /// were lost on the way count as well.
    fn enough_came(&self) -> bool {
        let came = |stream: &Stream| {
            let totals = stream.totals();
            let block = u64::from(self.test.block.bytes);
            if self.is_udp() { totals.datagrams.packets.saturating_mul(block) } else { totals.bytes }
        };
        let came = self.of(Flow::Receive).map(came).fold(0, u64::saturating_add);
        self.receive_goal_reached || self.test.goal_bytes().is_some_and(|goal| came >= goal)
    }

    /// Whether the receivers have all that the test counts.
    ///
    /// With an omitted part the sender's end decides, because a sender's omitted part ends at another byte
    /// than a receiver's. Where omitted bytes have come late, the receivers have all that they count before
    /// the sender has finished, which should not be stopped then. Where the receivers have omitted bytes of
    /// the counted part, they never get all that they count.
    fn is_received(&self) -> bool {
        let waits_for_sender = self.test.omit_secs > 0 && !self.is_udp();
        let ended = |stream: &Stream| stream.exit.as_ref().is_some_and(|exit| exit.fault.is_none());
        self.receive_over
            || (self.receive_goal_reached && !waits_for_sender)
            || (waits_for_sender && self.enough_came() && self.of(Flow::Receive).all(ended))
    }

    /// The state of a client's receivers in a counted test with an omitted part, which cannot be sure to get
    /// all that they count.
    pub(crate) fn reception(&self) -> Reception {
        let operations = self.of(Flow::Receive).map(|stream| stream.totals().operations).sum();
        let state = match (self.enough_came(), self.receive_goal_reached) {
            _ if self.is_received() => Awaits::Nothing,
            (_, true) => Awaits::Sender,
            (true, false) if self.is_udp() || !self.peer_is_ringperf => Awaits::Silence,
            _ => Awaits::Bytes,
        };
        Reception { operations, state }
    }

    /// Ends the wait for bytes that the receivers of a counted test still miss.
    pub(crate) fn end_reception(&mut self) {
        self.receive_over = true;
    }
}

/// The state of the receivers of a counted test with an omitted part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reception {
    /// Number of operations of all receivers, whose growth shows that bytes have come.
    pub(crate) operations: u64,
    /// The event that they wait for.
    pub(crate) state: Awaits,
}

/// The event that the receivers of a counted test with an omitted part wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// More bytes.
    Bytes,
    /// More bytes, or a silence: as many have come as the test counts, though some of them too early.
    Silence,
    /// The end of the sender: they have all that they count.
    Sender,
    /// None, since the receivers have all they can get.
    Nothing,
}
