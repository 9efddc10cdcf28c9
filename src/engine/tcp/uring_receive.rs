//! Receives through io_uring: one multishot receive into a few large buffers that go round. Where a trial
//! finds recv(2) to be faster, it takes the receive back and calls that.

use std::io;
use std::time::Duration;

use super::receive_mark::ReceiveMark;
use crate::engine::Engine;
use crate::engine::StreamJob;
use crate::engine::adapt::{Way, Ways};
use crate::engine::payload::memory;
use crate::engine::recorder::Recorder;
use crate::engine::sizes::{RECEIVE_BUFFERS, ring_receive_ways};
use crate::engine::waiting::is_pause;
use crate::sys::uring::{Operation, ReceiveBuffers, ReceiveRing, Ring};
use crate::sys::{Missing, error_message};

/// Longest wait in the kernel, and the longest that bytes below the receive mark stay unseen.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// The loop of one receiving ring.
pub(in crate::engine) struct UringReceive<R> {
    ring: R,
    ways: Ways,
    discard: bool,
}

impl UringReceive<Ring> {
    pub(in crate::engine) fn prepare(job: &StreamJob) -> Result<Self, Missing> {
        let refused = |error| Missing::from(&error);
        let mut ring = job.ring(8)?;
        let mut ways = Ways::new(job, ring_receive_ways(job));
        let bytes = |plain| ways.all().iter().find(|way| way.plain == plain).map(|way| way.bytes);
        let buffer_bytes = bytes(false).expect("a ring is the first way");
        let operation = if job.skip_rx_copy {
            ring.set_receive_memory(memory(ways.bytes())?);
            Operation::Receive
        } else {
            let buffers = ReceiveBuffers::new(RECEIVE_BUFFERS, buffer_bytes).map_err(|error| Missing {
                reason: format!("no memory for receive buffers: {}", error_message(&error)),
                fix: "use fewer streams".to_owned(),
            })?;
            ring.register_buffers(buffers).map_err(refused)?;
            match bytes(true).map(memory).transpose() {
                Ok(scratch) => scratch.into_iter().for_each(|scratch| ring.set_receive_memory(scratch)),
                // What is only tried beside the ring is no reason to do without one.
                Err(_) => ways = ways.only(|way| *way == ways.usual()),
            }
            Operation::ReceiveMultishot
        };
        let ring = ring.enable(&[operation]).map_err(refused)?;
        Ok(Self { ring, ways, discard: job.skip_rx_copy })
    }
}

impl<R: ReceiveRing> UringReceive<R> {
    /// The loop over a ring that has its buffers.
    pub(in crate::engine) fn over(ring: R, job: &StreamJob) -> Self {
        Self { ring, ways: Ways::new(job, ring_receive_ways(job)), discard: job.skip_rx_copy }
    }

    /// Number of completions for which the completion queue had no room.
    pub(in crate::engine) fn overflows(&self) -> u64 {
        self.ring.overflows()
    }

    pub(in crate::engine) fn run(&mut self, job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
        let result = self.receive_all(job, recorder);
        if self.ways.found().is_some_and(|found| found.used.plain) {
            recorder.explain(Engine::Sync, "in turns with io_uring recv(2) brought more".to_owned());
        }
        result
    }

    fn receive_all(&mut self, job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
        let mut mark = ReceiveMark::new(job);
        let mut now = self.ring.now();
        loop {
            recorder.publish();
            let way = self.ways.now();
            mark.allow(way.marked);
            let waits_since = now;
            let before = recorder.bytes();
            let is_over = self.receive(way, recorder);
            now = self.ring.now();
            let received = recorder.bytes() - before;
            if received > 0 {
                recorder.received(received, now);
            }
            // The last bytes and the end may come in one.
            if is_over? {
                return Ok(());
            }
            if received > 0 {
                mark.adapt(now, recorder.bytes());
                self.ways.moved(received, now);
            } else {
                // Where reading is ended while something lies below the mark, the kernel wakes a multishot
                // receive once, for what is left, and not again for the end.
                if job.socket.is_read_out() {
                    recorder.finished_at(waits_since);
                    return Ok(());
                }
                mark.idle();
            }
            if job.stop.is_set() {
                return Ok(());
            }
        }
    }

    /// Waits for bytes and takes them; says whether the peer is done.
    fn receive(&mut self, way: Way, recorder: &mut Recorder) -> io::Result<bool> {
        let in_flight = self.ring.in_flight() > 0;
        match (way.plain, in_flight) {
            (true, false) => return self.receive_plainly(way, recorder),
            // What it has brought by then still comes.
            (true, true) => self.ring.cancel_all(),
            (false, false) => self.arm(way),
            (false, true) => {}
        }
        self.ring.wait(WAIT_MAX)?;
        self.reap(recorder)
    }

    fn receive_plainly(&mut self, way: Way, recorder: &mut Recorder) -> io::Result<bool> {
        match self.ring.receive_plainly(way.bytes, self.discard) {
            Ok(0) => return Ok(true),
            Ok(bytes) => recorder.moved(u64::try_from(bytes).expect("a usize fits a u64")),
            Err(error) if is_pause(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    /// Takes all completions that have come; says whether the peer is done.
    fn reap(&mut self, recorder: &mut Recorder) -> io::Result<bool> {
        while let Some(completion) = self.ring.next_completion() {
            if let Some(buffer) = completion.buffer {
                self.ring.give_back(buffer);
            }
            match u64::try_from(completion.result) {
                Ok(0) => return Ok(true),
                Ok(bytes) => recorder.moved(bytes),
                Err(_) if is_nothing(-completion.result) => {}
                Err(_) => return Err(io::Error::from_raw_os_error(-completion.result)),
            }
        }
        Ok(false)
    }

    fn arm(&mut self, way: Way) {
        if self.discard {
            self.ring.push_receive(way.bytes, true);
        } else {
            self.ring.push_receive_multishot();
        }
    }
}

/// Whether a receive has failed only for now: all buffers were full at once and are given back by then, it
/// was interrupted, or was taken back.
fn is_nothing(errno: i32) -> bool {
    matches!(errno, libc::ENOBUFS | libc::EAGAIN | libc::EINTR | libc::ECANCELED)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::config::{EngineChoice, Flow};
    use crate::engine::{self, Adaptation};
    use crate::sys::Socket;

    /// What is below the receive mark when reading is ended is taken, and then the loop ends.
    #[test]
    fn reading_ends_also_where_something_was_left_below_the_mark() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = Socket::from_stream(listener.accept().unwrap().0);
        far.set_receive_low_water(1000).unwrap();
        let job = StreamJob { asked: EngineChoice::Uring, ..StreamJob::bare(far, Flow::Receive) };
        job.start.open(Instant::now());
        let (sender, ended) = mpsc::channel();
        let stream = job.clone();
        let thread = thread::spawn(move || {
            let exit = engine::run(&stream, &|_| ());
            sender.send(()).unwrap();
            exit
        });
        near.write_all(&[0; 1000]).unwrap();
        // From then on it waits for the next thousand.
        while job.counters.load().bytes < 1000 {
            thread::yield_now();
        }
        near.write_all(&[0; 10]).unwrap();
        job.socket.shutdown(Shutdown::Read);
        let in_time = ended.recv_timeout(Duration::from_secs(5)).is_ok();
        job.socket.shutdown(Shutdown::Both);
        assert_eq!(thread.join().unwrap().totals.bytes, 1010);
        assert!(in_time, "the loop went on although reading was ended");
    }

    /// Bytes are counted once, whichever way they come, and the end is seen on each.
    #[test]
    fn ring_and_plain_calls_take_turns_without_losing_a_byte() {
        const PIECES: usize = 400;
        for last_way in 0..4 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let far = Socket::from_stream(listener.accept().unwrap().0);
            far.set_blocking(Duration::from_millis(20)).unwrap();
            let trial = Arc::new(Adaptation::default());
            let job = StreamJob {
                processors: 2,
                adaptation: Some(Arc::clone(&trial)),
                ..StreamJob::bare(far, Flow::Receive)
            };
            job.start.open(Instant::now());
            let stream = job.clone();
            let thread = thread::spawn(move || engine::run(&stream, &|_| ()));
            for piece in 0..PIECES {
                trial.use_way(piece);
                near.write_all(&[0; 10_000]).unwrap();
            }
            trial.use_way(last_way);
            drop(near);
            let exit = thread.join().unwrap();
            assert!(exit.fault.is_none(), "{:?}", exit.fault);
            assert_eq!(exit.totals.bytes, 10_000 * u64::try_from(PIECES).unwrap());
        }
    }
}
