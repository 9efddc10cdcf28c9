//! What must not grow: a server after many tests.

use crate::harness::{Checked, Holdings, Server, ensure, ours, run_client, shared};

/// Tests after which a server has seen everything once.
const WARM_UP: u32 = 20;
/// Tests after that.
const TESTS: u32 = 80;
/// More than memory of a server may differ from one look to the next. A leak of a single stream's buffers per
/// test would be many times that.
const TOLERANCE_KIB: u64 = 512;

#[test]
fn a_server_is_the_same_after_many_tests() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    let tests = |count| -> Checked {
        for number in 0..count {
            let options =
                ["-n 1K", "-n 1K -R", "-n 1K -P 4 --bidir", "-u -b 0 -n 14600"][number as usize % 4];
            run_client(&ours(), server.port, options)?.succeeded()?;
        }
        Ok(())
    };
    tests(WARM_UP)?;
    let before = Holdings::at_rest(&server.process)?;
    tests(TESTS)?;
    let after = Holdings::back_at_rest(&server.process, before)?;
    ensure!(after.memory_kib <= before.memory_kib + TOLERANCE_KIB, "{before:?} became {after:?}");
    Ok(())
}
