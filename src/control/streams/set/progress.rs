//! How the streams of a test get on: what they have moved, what has become of them, whether that is enough.

use std::collections::BTreeSet;
use std::io;
use std::time::Instant;

use super::{Stream, Streams};
use crate::config::{Direction, Flow, Role};
use crate::control::base::limits;
use crate::engine;
use crate::error::{PeerError, RunError, SetupError};
use crate::sys::plain;

impl Streams {
    /// Bytes moved by all streams so far.
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.streams.iter().map(|stream| stream.totals().bytes).sum()
    }

    /// Bytes that somebody waits for: those of the receivers as long as some are due, else all.
    pub(crate) fn awaited_bytes(&self) -> u64 {
        let is_due = !self.receive_goal_reached && !self.receive_over && !self.all_stopped(Flow::Receive);
        if is_due { self.received_bytes() } else { self.moved_bytes() }
    }

    /// Bytes that have come to where they should: those that somebody waits for, or, of a peer that only
    /// receives, what its kernel has taken.
    pub(crate) fn arrived_bytes(&self) -> u64 {
        match self.of(Flow::Receive).next() {
            Some(_) => self.awaited_bytes(),
            None => self.moved_bytes().saturating_sub(self.unacknowledged_bytes()),
        }
    }

    /// Bytes of all senders that have not left: that the peer's kernel has not acknowledged, or, with UDP,
    /// that wait in this machine.
    pub(crate) fn unacknowledged_bytes(&self) -> u64 {
        self.of(Flow::Send).map(|stream| stream.socket.unacknowledged_bytes().unwrap_or(0)).sum()
    }

    /// Whether all that the test is about has been sent, and has been received.
    pub(crate) fn goal_reached(&self) -> bool {
        let flows = self.test.direction.flows(self.role);
        self.test.goal_bytes().is_some()
            && flows.iter().all(|flow| match flow {
                Flow::Send => self.all_stopped(Flow::Send),
                Flow::Receive => self.is_received(),
            })
    }

    /// Whether each sender has come to the end of its file, which ends a test whatever else would.
    pub(crate) fn file_sent(&self) -> bool {
        self.file.is_some() && self.test.direction == Direction::Forward && self.all_stopped(Flow::Send)
    }

    /// Why no stream is left, when the test is not over yet: all have ended, at least one by a fault.
    ///
    /// A client learns from its TCP streams what has become of those at the server. Of UDP streams it does
    /// not, and not of a file that cannot be written, so there a server tells. That a connection is broken is
    /// no such news: the client is gone, or about to say that it goes.
    ///
    /// A thread that has panicked ends the test at once: what it has counted is not known any more.
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
            Some(fault) => Some(PeerError::StreamsLost { reason: plain(fault) }.into()),
            None if ended_by_peer && !self.enough_came() => {
                Some(PeerError::StreamsLost { reason: "the peer closed them".to_owned() }.into())
            }
            None => None,
        }
    }

    /// Why none of the senders could send anything, at the end of a test.
    pub(crate) fn nothing_sent(&self) -> Option<RunError> {
        let mut reason = None;
        for stream in self.of(Flow::Send) {
            let exit = stream.exit.as_ref().filter(|exit| exit.totals.bytes == 0)?;
            reason = Some(exit.fault.as_ref()?.to_string());
        }
        reason.map(|reason| PeerError::StreamsLost { reason }.into())
    }

    /// Every different way in which a stream has failed, with the stream's descriptor.
    pub(crate) fn faults(&self) -> Vec<String> {
        let fault = |stream: &Stream| {
            let fault = stream.exit.as_ref()?.fault.as_ref()?;
            Some(format!("a data connection failed: {}", plain(fault)))
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

    /// Whether as much has come, in the omitted part or behind it, as the counted part is about. Of datagrams
    /// those that were lost on the way count as well.
    fn enough_came(&self) -> bool {
        let came = |stream: &Stream| {
            let totals = stream.totals();
            let block = u64::from(self.test.block.bytes);
            if self.is_udp() { totals.datagrams.packets.saturating_mul(block) } else { totals.bytes }
        };
        let came = self.of(Flow::Receive).map(came).fold(0, u64::saturating_add);
        self.receive_goal_reached || self.test.goal_bytes().is_some_and(|goal| came >= goal)
    }

    /// Whether the receivers have what the test is about.
    ///
    /// A sender's omitted part ends at another byte than the receiver's. Where bytes of it have come late,
    /// the receivers have all that they count before the sender is through; it should not be stopped then.
    /// And where they have left out bytes of the counted part, they never get what they want. So with an
    /// omitted part it is the sender's end that tells.
    fn is_received(&self) -> bool {
        let waits_for_sender = self.test.omit_secs > 0 && !self.is_udp();
        let ended = |stream: &Stream| stream.exit.as_ref().is_some_and(|exit| exit.fault.is_none());
        self.receive_over
            || (self.receive_goal_reached && !waits_for_sender)
            || (waits_for_sender && self.enough_came() && self.of(Flow::Receive).all(ended))
    }

    /// How far the receivers of a client are, where they cannot be sure to get all that they want.
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

    /// The receivers of a counted test get nothing more.
    pub(crate) fn end_reception(&mut self) {
        self.receive_over = true;
    }
}

/// How far the receivers of a counted test with an omitted part are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reception {
    /// Operations of all receivers, which tell when something has come.
    pub(crate) operations: u64,
    /// What they wait for.
    pub(crate) state: Awaits,
}

/// What the receivers of a counted test with an omitted part wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// More bytes.
    Bytes,
    /// More bytes, or a silence: as many have come as the test is about, though some of them too early.
    Silence,
    /// The end of the sender: they have all that they count.
    Sender,
    /// It is over.
    Nothing,
}
