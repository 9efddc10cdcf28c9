//! A kernel that does everything at once and in full: what the loops cost by themselves.
//!
//! With it nothing but ringperf's own instructions is left of a test, and these can be counted.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Flow;
use crate::engine::recorder::Recorder;
use crate::engine::tcp::{UringReceive, UringSend};
use crate::engine::udp::{Layout, Stamper, UdpUringReceive, UdpUringSend};
use crate::engine::{ByteGoal, Engine, EngineUse, StopToken, StreamExit, StreamJob, UdpJob, null};
use crate::sys::Message;
use crate::sys::uring::{AnyRing, Completion, ReceiveRing, SendRing, Token};

/// Receive buffers of a ring: as many as a real one has for large messages.
const BUFFERS: u16 = 16;
/// Bytes of one receive of a TCP stream.
const RECEIVED_BYTES: usize = 256 * 1024;

/// Runs the loop of an engine until it has moved `bytes` bytes, or the last message that reaches beyond them.
/// Nothing goes through the socket of the job, which is only asked about itself. The job's goal, start gate
/// and stop token are left alone. Engines that make one call after the other have their common loop run.
///
/// Ignores pacing pauses: a wait is over at once.
#[must_use]
pub fn run(job: &StreamJob, engine: Engine, bytes: u64) -> StreamExit {
    let stop = StopToken::default();
    let reached = stop.clone();
    let goal = ByteGoal::new(bytes, move || reached.set());
    goal.arm();
    let job = &StreamJob { goal: Some(Arc::new(goal)), stop, ..job.clone() };

    let start = Instant::now();
    let mut gate = job.gate(start);
    let mut recorder = Recorder::new(job, EngineUse::new(job.asked, engine, "no kernel", None), start);
    let over_a_ring = matches!(engine, Engine::Uring | Engine::UringZc);
    let zero_copy = engine == Engine::UringZc;
    let result = match (job.flow, job.udp) {
        (Flow::Send, None) if over_a_ring => {
            let mut engine = UringSend::over(NullSendRing::default(), job, zero_copy);
            let result = engine.run(&mut gate, &mut recorder);
            engine.release_all(&mut recorder);
            result
        }
        (Flow::Send, Some(udp)) if over_a_ring => {
            let layout = Layout::new(job, udp.offload);
            let ring = NullSendRing::with_slots(layout.slots(zero_copy), layout.slot_bytes());
            let mut engine = UdpUringSend::over(ring, job, udp, layout, zero_copy);
            let result = engine.run(job, &mut gate, &mut recorder);
            engine.release_all(&mut recorder);
            result
        }
        (Flow::Receive, None) if over_a_ring => {
            UringReceive::over(NullReceiveRing::of_bytes(bytes), job).run(job, &mut recorder)
        }
        (Flow::Receive, Some(udp)) if over_a_ring => {
            let ring = NullReceiveRing::of_datagrams(bytes, job, udp);
            UdpUringReceive::over(ring, job, udp, BUFFERS).run(job, &mut recorder)
        }
        _ => null::run(job, &mut gate, &mut recorder),
    };
    recorder.into_exit(Instant::now(), result.err(), None)
}

/// Every send is done when it is pushed.
#[derive(Default)]
struct NullSendRing {
    slots: Vec<Vec<u8>>,
    posted: VecDeque<Completion>,
    in_flight: u32,
}

impl NullSendRing {
    fn with_slots(count: u32, slot_bytes: usize) -> Self {
        Self { slots: (0..count).map(|_| vec![0; slot_bytes]).collect(), ..Self::default() }
    }

    /// A send by reference has its notification right behind the result.
    fn done(&mut self, bytes: u32, token: Token, zero_copy: bool) {
        self.in_flight += 1;
        let result = Completion { token, result: as_result(bytes), more: zero_copy, ..Completion::default() };
        self.posted.push_back(result);
        if zero_copy {
            self.posted.push_back(Completion { token, notification: true, ..Completion::default() });
        }
    }
}

impl AnyRing for NullSendRing {
    fn wait_for(&mut self, _completions: usize, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }

    fn next_completion(&mut self) -> Option<Completion> {
        let completion = self.posted.pop_front()?;
        self.in_flight -= u32::from(!completion.more);
        Some(completion)
    }

    fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn cancel_all(&mut self) {}
}

impl SendRing for NullSendRing {
    fn push_send(&mut self, bytes: u32, number: usize) {
        self.done(bytes, Token::Send(number), false);
    }

    fn push_send_zc(&mut self, bytes: u32, number: usize) {
        self.done(bytes, Token::Send(number), true);
    }

    fn push_send_slot(&mut self, slot: usize, bytes: u32, zero_copy: bool, _linked: bool) {
        self.done(bytes, Token::SendSlot(slot), zero_copy);
    }

    fn is_busy(&self, _slot: usize) -> bool {
        false
    }

    fn slot_mut(&mut self, slot: usize) -> Option<&mut [u8]> {
        Some(&mut self.slots[slot])
    }
}

/// Every free buffer is full after a wait, until enough has come.
struct NullReceiveRing {
    /// It stands still but for waits in which nothing comes, so that a loop makes the same steps each time.
    now: Instant,
    left: u64,
    message_bytes: usize,
    segment_bytes: usize,
    /// What the buffers of datagrams hold.
    buffers: Vec<Vec<u8>>,
    stamper: Option<Stamper>,
    free: Vec<u16>,
    posted: VecDeque<Completion>,
    armed: Option<Armed>,
}

/// A receive that waits.
#[derive(Clone, Copy)]
enum Armed {
    Once,
    Multishot,
}

impl NullReceiveRing {
    fn of_bytes(left: u64) -> Self {
        Self {
            now: Instant::now(),
            left,
            message_bytes: RECEIVED_BYTES,
            segment_bytes: RECEIVED_BYTES,
            buffers: Vec::new(),
            stamper: None,
            free: (0..BUFFERS).collect(),
            posted: VecDeque::new(),
            armed: None,
        }
    }

    /// Datagrams in order, as many per message as a sender would send together.
    fn of_datagrams(left: u64, job: &StreamJob, udp: UdpJob) -> Self {
        let layout = Layout::new(job, udp.offload);
        Self {
            message_bytes: layout.slot_bytes(),
            segment_bytes: layout.datagram_bytes,
            buffers: vec![vec![0; layout.slot_bytes()]; BUFFERS.into()],
            stamper: Some(Stamper::new(udp, layout.datagram_bytes)),
            ..Self::of_bytes(left)
        }
    }

    /// Something comes, into a buffer unless it is discarded.
    fn come(&mut self, buffer: Option<u16>) {
        if let (Some(stamper), Some(buffer)) = (&mut self.stamper, buffer) {
            stamper.stamp(&mut self.buffers[usize::from(buffer)]);
        }
        let bytes = u32::try_from(self.message_bytes).expect("at most a receive buffer");
        self.left = self.left.saturating_sub(bytes.into());
        let (result, more) = (as_result(bytes), buffer.is_some());
        let token = Token::Receive;
        self.posted.push_back(Completion { token, result, more, buffer, ..Completion::default() });
    }
}

impl AnyRing for NullReceiveRing {
    fn now(&self) -> Instant {
        self.now
    }

    fn pause(&mut self, time: Duration) {
        self.now += time;
    }

    fn wait_for(&mut self, _completions: usize, timeout: Duration) -> io::Result<()> {
        match self.armed {
            Some(Armed::Once) if self.left > 0 => {
                self.armed = None;
                self.come(None);
            }
            Some(Armed::Multishot) => {
                while self.left > 0
                    && let Some(buffer) = self.free.pop()
                {
                    self.come(Some(buffer));
                }
            }
            _ => {}
        }
        if self.posted.is_empty() {
            self.now += timeout;
        }
        Ok(())
    }

    fn next_completion(&mut self) -> Option<Completion> {
        self.posted.pop_front()
    }

    fn in_flight(&self) -> u32 {
        u32::from(self.armed.is_some())
    }

    fn cancel_all(&mut self) {
        self.armed = None;
    }
}

impl ReceiveRing for NullReceiveRing {
    fn push_receive(&mut self, _most: u32, _discard: bool) {
        self.armed = Some(Armed::Once);
    }

    fn push_receive_multishot(&mut self) {
        self.armed = Some(Armed::Multishot);
    }

    fn receive_plainly(&mut self, _most: u32, _discard: bool) -> io::Result<usize> {
        unreachable!("nothing is tried over a ring that is none")
    }

    fn push_receive_messages(&mut self, _discard: bool) {
        self.armed = Some(Armed::Multishot);
    }

    fn message(&self, completion: &Completion) -> Option<Message<'_>> {
        let payload = &self.buffers[usize::from(completion.buffer?)];
        Some(Message {
            payload,
            bytes: payload.len(),
            segment_bytes: self.segment_bytes,
            socket_drops: None,
            arrived: None,
        })
    }

    fn give_back(&mut self, buffer: u16) {
        self.free.push(buffer);
    }
}

fn as_result(bytes: u32) -> i32 {
    i32::try_from(bytes).expect("an operation has at most a few MiB")
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::config::{BlockSize, EngineChoice, Protocol, UdpConfig};
    use crate::sys::Socket;

    const BLOCK_BYTES: u32 = 1000;
    /// More than fits at once into any ring, and a whole number of messages.
    const BLOCKS: u64 = 65 * 16 * 10;

    fn job(flow: Flow, udp: Option<UdpJob>) -> StreamJob {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(socket.local_addr().unwrap()).unwrap();
        StreamJob {
            asked: EngineChoice::UringZc,
            protocol: udp.map_or(Protocol::Tcp, |_| Protocol::Udp(UdpConfig::default())),
            udp,
            block: BlockSize { bytes: BLOCK_BYTES, explicit: true },
            ..StreamJob::bare(Socket::from_udp(socket), flow)
        }
    }

    fn udp() -> Option<UdpJob> {
        Some(UdpJob { counters_64bit: false, offload: true })
    }

    fn moved(job: &StreamJob, engine: Engine) -> StreamExit {
        let bytes = BLOCKS * u64::from(BLOCK_BYTES);
        let exit = run(job, engine, bytes);
        assert!(exit.fault.is_none(), "{:?}", exit.fault);
        let beyond = exit.totals.bytes.checked_sub(bytes).expect("at least what was wanted");
        let message = if job.flow == Flow::Receive { RECEIVED_BYTES } else { 1 };
        assert!(beyond < u64::try_from(message).unwrap(), "{beyond} bytes too many");
        exit
    }

    #[test]
    fn every_loop_moves_what_was_wanted_and_ends() {
        for engine in [Engine::Uring, Engine::UringZc, Engine::Sync] {
            let exit = moved(&job(Flow::Send, None), engine);
            assert_eq!(
                (exit.totals.operations, exit.completion.percentiles().is_some()),
                (BLOCKS, true),
                "{engine:?}"
            );
        }
        for discard in [false, true] {
            let job = StreamJob { skip_rx_copy: discard, ..job(Flow::Receive, None) };
            moved(&job, Engine::Uring);
        }
        moved(&job(Flow::Receive, None), Engine::Sync);
    }

    #[test]
    fn sends_by_reference_are_all_released_uncopied() {
        for udp in [None, udp()] {
            let zero_copy = moved(&job(Flow::Send, udp), Engine::UringZc).zero_copy.unwrap();
            assert_eq!(zero_copy.requested_bytes, BLOCKS * u64::from(BLOCK_BYTES));
            assert_eq!((zero_copy.copied_bytes, zero_copy.outstanding), (0, 0));
        }
    }

    #[test]
    fn datagrams_are_numbered_and_counted_in_order() {
        let sent = moved(&job(Flow::Send, udp()), Engine::Uring).totals.datagrams;
        assert_eq!(sent.packets, BLOCKS);
        let received = moved(&job(Flow::Receive, udp()), Engine::Uring).totals.datagrams;
        assert_eq!((received.packets, received.received), (BLOCKS, BLOCKS));
        assert_eq!((received.errors, received.out_of_order, received.foreign), (0, 0, 0));
    }
}
