//! The loop of all senders that make one system call after the other.

use std::io;
use std::time::Instant;

use super::gate::SendGate;
use super::recorder::Recorder;
use super::waiting::{is_pause, wait_until_open};

/// Sends through `send` whatever the gate grants, `operation_bytes` at a time, until the gate closes.
///
/// `send` gets a number of bytes and the time, and returns how many the kernel took; 0 means that there are
/// no more, and WouldBlock that the socket's timeout is over and it is time to look up. The clock is read
/// twice per grant of the gate, not per operation.
pub(super) fn run(
    operation_bytes: u32,
    gate: &mut SendGate,
    recorder: &mut Recorder,
    mut send: impl FnMut(usize, Instant, &mut Recorder) -> io::Result<usize>,
) -> io::Result<()> {
    gate.widen(u64::from(operation_bytes));
    let mut now = Instant::now();
    while let Some(begun) = wait_until_open(gate, recorder, now) {
        let mut timed = false;
        loop {
            let wanted = gate.take(u64::from(operation_bytes));
            if wanted == 0 {
                break;
            }
            let wanted_bytes = usize::try_from(wanted).expect("at most a u32, which fits a usize on Linux");
            match send(wanted_bytes, begun, recorder) {
                Ok(0) => {
                    gate.give_back(wanted);
                    return Ok(());
                }
                Ok(sent) => {
                    let sent = u64::try_from(sent).expect("a usize fits a u64");
                    recorder.moved(sent);
                    gate.give_back(wanted - sent);
                }
                Err(error) if is_pause(&error) => {
                    gate.give_back(wanted);
                    break;
                }
                Err(error) => return Err(error),
            }
            if !timed {
                timed = true;
                recorder.completed(begun.elapsed());
            }
        }
        recorder.publish();
        now = Instant::now();
        recorder.sample_rtt(now);
    }
    Ok(())
}
