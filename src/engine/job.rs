//! What a stream thread is given, and what it gives back.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{Adaptation, ByteGoal, Engine, SendGate};
use crate::config::{BlockSize, EngineChoice, Flow, Pacing, Protocol, Tuning};
use crate::stats::{Counters, CpuTime, Departures, Latency, Processors, SharedCounters, ZeroCopy};
use crate::sys::uring::RingBuilder;
use crate::sys::{Missing, Socket};

/// One stream, ready to be run.
#[derive(Clone, Debug)]
pub struct StreamJob {
    /// The connected socket, in blocking mode with short timeouts.
    pub socket: Arc<Socket>,
    /// Send or receive.
    pub flow: Flow,
    /// The engine asked for.
    pub asked: EngineChoice,
    /// What carries the payload.
    pub protocol: Protocol,
    /// Senders read the payload from it, to its end, and receivers write it there.
    pub file: Option<Arc<File>>,
    /// What only a UDP stream has; `None` on a TCP stream.
    pub udp: Option<UdpJob>,
    /// Bytes of one block, and whether each block must stay an operation of its own. With UDP a block is a
    /// datagram.
    pub block: BlockSize,
    /// Streams that this process runs in the same test; they share the memory lock limit.
    pub streams: u32,
    /// Processors that these share.
    pub processors: u32,
    /// Application pacing.
    pub pacing: Pacing,
    /// The user fixed the socket buffers, so the kernel does not grow them.
    pub window_fixed: bool,
    /// Bytes at which this direction ends, shared by its streams.
    pub goal: Option<Arc<ByteGoal>>,
    /// Bytes that all streams of this direction move in the whole test, where that is known beforehand.
    pub whole_bytes: Option<u64>,
    /// How long a sender sends; `None` leaves the end to somebody else.
    pub duration: Option<Duration>,
    /// Receivers let the kernel discard.
    pub skip_rx_copy: bool,
    /// Sizes that are fixed.
    pub tuning: Tuning,
    /// What all streams of the direction try out together; `None` where nothing is tried.
    pub adaptation: Option<Arc<Adaptation>>,
    /// Microseconds for which waits poll the network card; the socket is told already.
    pub busy_poll: Option<u32>,
    /// Senders send digits instead of random bytes.
    pub repeating_payload: bool,
    /// The totals that others may read meanwhile.
    pub counters: Arc<SharedCounters>,
    /// When to begin.
    pub start: Arc<StartGate>,
    /// When to give up.
    pub stop: StopToken,
}

/// What only a UDP stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpJob {
    /// Sequence numbers have 64 bits instead of 32.
    pub counters_64bit: bool,
    /// The kernel may cut large sends into datagrams and put received ones together.
    pub offload: bool,
}

impl StreamJob {
    /// A job with nothing asked for: one TCP stream over the best engine, without a pace and without an end,
    /// whose gate and stop token are its own. What a caller wants otherwise it sets.
    #[must_use]
    pub fn bare(socket: Socket, flow: Flow) -> Self {
        Self {
            socket: Arc::new(socket),
            flow,
            asked: EngineChoice::Auto,
            protocol: Protocol::Tcp,
            file: None,
            udp: None,
            block: BlockSize::default(),
            streams: 1,
            processors: 1,
            pacing: Pacing::default(),
            window_fixed: false,
            goal: None,
            whole_bytes: None,
            duration: None,
            skip_rx_copy: false,
            tuning: Tuning::default(),
            adaptation: None,
            busy_poll: None,
            repeating_payload: false,
            counters: Arc::new(SharedCounters::default()),
            start: Arc::new(StartGate::default()),
            stop: StopToken::default(),
        }
    }

    /// A ring for its socket.
    pub(super) fn ring(&self, entries: u32) -> Result<RingBuilder, Missing> {
        let refused = |error| Missing::from(&error);
        let mut ring = RingBuilder::new(Arc::clone(&self.socket), entries).map_err(refused)?;
        if let Some(micros) = self.busy_poll {
            ring.busy_poll(micros).map_err(refused)?;
        }
        Ok(ring)
    }

    /// A ring for a sender, which may want to send by reference.
    pub(super) fn sending_ring(&self, entries: u32, zero_copy: bool) -> Result<RingBuilder, Missing> {
        let ring = self.ring(entries)?;
        if zero_copy && !ring.has_zero_copy_sends().map_err(|error| Missing::from(&error))? {
            return Err(Missing::send_zc());
        }
        Ok(ring)
    }

    /// The gate for a sender that began at `start`.
    #[must_use]
    pub fn gate(&self, start: Instant) -> SendGate {
        SendGate::new(self, start)
    }
}

/// What a stream tells while it lives.
#[derive(Debug)]
pub enum Notice {
    /// Its set-up is over, well or not.
    Ready(Result<(), Missing>),
    /// It has moved its last byte.
    Stopped,
}

/// Holds all streams of a test until all are ready.
#[derive(Debug, Default)]
pub struct StartGate {
    decision: Mutex<Option<Option<Instant>>>,
    decided: Condvar,
}

impl StartGate {
    /// Lets everybody go. `start` is the zero of the test's time.
    pub fn open(&self, start: Instant) {
        self.decide(Some(start));
    }

    /// Sends everybody home, unless the gate was opened before.
    pub fn cancel(&self) {
        self.decide(None);
    }

    /// Waits for the decision: the start, or `None` when there will be no test.
    #[must_use]
    pub fn wait(&self) -> Option<Instant> {
        let mut decision = self.decision.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(start) = *decision {
                return start;
            }
            decision = self.decided.wait(decision).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn decide(&self, start: Option<Instant>) {
        let mut decision = self.decision.lock().unwrap_or_else(PoisonError::into_inner);
        decision.get_or_insert(start);
        // Whoever wakes up wants the lock.
        drop(decision);
        self.decided.notify_all();
    }
}

/// Tells streams to stop. All copies are one token.
#[derive(Clone, Debug, Default)]
pub struct StopToken {
    stopped: Arc<OnceLock<Instant>>,
}

impl StopToken {
    /// Every stream that holds the token ends at its next look, at the latest after its next kernel wait.
    pub fn set(&self) {
        self.set_at(Instant::now());
    }

    /// Sets the token as of `moment`, in the caller's time.
    pub(super) fn set_at(&self, moment: Instant) {
        self.stopped.get_or_init(|| moment);
    }

    /// Since when it is over.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.stopped.get().copied()
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.stopped.get().is_some()
    }
}

/// Which engine ran, and why that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineUse {
    /// The choice asked for.
    pub asked: EngineChoice,
    /// The engine that ran in the end.
    pub used: Engine,
    /// Why; one sentence without a full stop.
    pub reason: String,
    /// What the user can do about it; empty if nothing.
    pub fix: String,
}

impl EngineUse {
    /// `missing` is what a better engine, or this one at its best, would have needed.
    pub(super) fn new(asked: EngineChoice, used: Engine, reason: &str, missing: Option<Missing>) -> Self {
        match missing {
            Some(missing) => Self { asked, used, reason: missing.reason, fix: missing.fix },
            None => Self { asked, used, reason: reason.to_owned(), fix: String::new() },
        }
    }
}

/// Everything a stream has counted.
#[derive(Debug)]
pub struct StreamExit {
    /// Exact totals.
    pub totals: Counters,
    /// When its loop ended, or was told to.
    pub finished: Instant,
    /// When the last bytes that count came to a receiver.
    pub last_received: Option<Instant>,
    /// The engine.
    pub engine: EngineUse,
    /// What became of zero-copy sends; `None` for engines that copy from the start.
    pub zero_copy: Option<ZeroCopy>,
    /// Smoothed round-trip times, read about every ten milliseconds on senders.
    pub rtt: Latency,
    /// From submission to completion of sends.
    pub completion: Latency,
    /// From submission of zero-copy sends to the release of their buffers.
    pub release: Latency,
    /// How a UDP sender spread its datagrams over time.
    pub departures: Departures,
    /// Where the thread has run, looked at about every ten milliseconds while something moved.
    pub processors: Processors,
    /// Processor time of the stream's thread.
    pub cpu: Option<CpuTime>,
    /// Why it ended before its time.
    pub fault: Option<io::Error>,
    /// What the user should know besides.
    pub warnings: Vec<String>,
}

impl StreamExit {
    /// The exit of a stream whose thread has panicked; what it has moved is not known.
    #[must_use]
    pub fn panicked(asked: EngineChoice) -> Self {
        let fault = io::Error::other("its thread panicked, which is a bug in ringperf");
        Self { fault: Some(fault), ..Self::never_started(asked) }
    }

    /// The exit of a stream that moved nothing.
    pub(super) fn never_started(asked: EngineChoice) -> Self {
        Self {
            totals: Counters::default(),
            finished: Instant::now(),
            last_received: None,
            engine: EngineUse::new(asked, Engine::Null, "the test did not start", None),
            zero_copy: None,
            rtt: Latency::default(),
            completion: Latency::default(),
            release: Latency::default(),
            departures: Departures::default(),
            processors: Processors::default(),
            cpu: Some(CpuTime::default()),
            fault: None,
            warnings: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_decision_stands() {
        let gate = StartGate::default();
        let start = Instant::now();
        gate.open(start);
        gate.cancel();
        assert_eq!(gate.wait(), Some(start));
        let gate = StartGate::default();
        gate.cancel();
        assert_eq!(gate.wait(), None);
    }

    #[test]
    fn every_waiting_stream_is_let_go() {
        let gate = Arc::new(StartGate::default());
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let gate = Arc::clone(&gate);
                std::thread::spawn(move || gate.wait())
            })
            .collect();
        let start = Instant::now();
        gate.open(start);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), Some(start));
        }
    }
}
