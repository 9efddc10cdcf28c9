//! No kernel at all: what counting, gate and reports cost by themselves.

use std::io;
use std::time::{Duration, Instant};

use super::StreamJob;
use super::blocking;
use super::gate::SendGate;
use super::recorder::Recorder;
use super::waiting::is_pause;
use crate::config::Flow;

/// Time between two looks at the socket, where the end of a test becomes visible.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Operations between two looks at the clock.
const OPERATIONS_PER_LOOK: u32 = 1024;

/// Counts blocks as fast as it can.
pub(super) fn run(job: &StreamJob, gate: &mut SendGate, recorder: &mut Recorder) -> io::Result<()> {
    match job.flow {
        Flow::Send => {
            gate.widen(u64::from(job.block.bytes) * u64::from(OPERATIONS_PER_LOOK));
            blocking::run(job.block.bytes, gate, recorder, |bytes, _, _| Ok(bytes))
        }
        Flow::Receive => receive(job, recorder),
    }
}

/// Pretends that a block comes with every turn, up to the goal if there is one, until the peer ends the
/// connection.
fn receive(job: &StreamJob, recorder: &mut Recorder) -> io::Result<()> {
    let block = u64::from(job.block.bytes);
    let mut next_look = Instant::now();
    recorder.count_exactly();
    loop {
        for _ in 0..OPERATIONS_PER_LOOK {
            recorder.moved(block);
            if recorder.reach(block) == 0 {
                std::thread::sleep(LOOK_EVERY);
                break;
            }
        }
        recorder.publish();
        let now = Instant::now();
        recorder.look_around(now);
        if now >= next_look {
            next_look = now + LOOK_EVERY;
            match job.socket.receive_now(&mut [0; 64]) {
                Ok(0) => return Ok(()),
                Err(error) if !is_pause(&error) => return Err(error),
                _ => {}
            }
            if job.stop.is_set() {
                return Ok(());
            }
        }
    }
}
