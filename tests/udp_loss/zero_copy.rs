//! Whether what ringperf says of zero-copy is the truth. Over the cable every datagram that is delivered must
//! be copied, since the receiver may keep it for as long as it likes; one that is dropped on the sender's
//! device is freed as it is. So the sends that were really not copied are those that were dropped.

use std::sync::Arc;

use super::{Account, BYTES, MTU};
use crate::harness::{
    Cable, Cells, Checked, Document, Dropper, Failure, Finished, Hook, Passed, Rule, ensure, ours,
};

/// Datagrams of a test.
const COUNT: u64 = 5000;

#[test]
fn the_sends_that_were_not_copied_are_those_that_were_dropped() -> Checked {
    let cable = Arc::new(Cable::lay(MTU, false)?);
    let mut cells = Cells::default();
    for v6 in ["", "-6"] {
        for rule in [Rule::Nothing, Rule::Every(2), Rule::Every(5), Rule::Number(1)] {
            for together in [false, true] {
                // A burst is one send with offload, and as many sends as datagrams without.
                let options = if together { "-b 100M/20" } else { "-b 100M/20 --no-offload" };
                let cable = Arc::clone(&cable);
                cells.add(format!("{rule:?} {options} {v6}"), move || {
                    check(&cable, &format!("{options} {v6}"), rule, together)
                });
            }
        }
    }
    cells.run()
}

fn check(cable: &Cable, options: &str, rule: Rule, together: bool) -> Checked {
    let server = cable.start_server(&ours(), "-1")?;
    let dropper = Dropper::attach(&cable.client, Hook::Egress, server.port, rule)?;
    let options = format!("-u -J -l {BYTES} -k {COUNT} --engine uring-zc {options}");
    let client = cable.run_client(&ours(), server.port, &options)?;
    let server = server.finish()?;
    let passed = dropper.passed()?;
    compare(passed, together, &client)
        .map_err(|Failure(why)| Failure(format!("{why}\n{passed:?}\n{client}\n{server}")))
}

fn compare(passed: Passed, together: bool, client: &Finished) -> Checked {
    client.succeeded()?;
    let document = client.document()?;
    let Passed { seen, dropped } = passed;
    let account = Account::of(&document, 0)?;
    ensure!((account.sent, account.lost) == (seen, dropped), "{account:?} instead of {passed:?}");
    let zero_copy = ZeroCopy::of(&document)?;
    let not_copied_bytes = zero_copy.requested_bytes - zero_copy.copied_bytes;
    ensure!(not_copied_bytes == dropped * BYTES, "{not_copied_bytes} bytes were not copied: {zero_copy:?}");
    ensure!(
        zero_copy.requested_bytes == COUNT * BYTES,
        "not every send was to be by reference: {zero_copy:?}"
    );
    ensure!(zero_copy.outstanding == 0, "the kernel still holds something: {zero_copy:?}");
    let not_copied = zero_copy.requested_sends - zero_copy.copied_sends;
    if together {
        // A send holds up to 20 datagrams, and after a late wake-up a few less.
        let sends = dropped.div_ceil(20)..=dropped;
        ensure!(sends.contains(&not_copied), "{not_copied} sends were not copied: {zero_copy:?}");
    } else {
        ensure!(zero_copy.requested_sends == COUNT, "a send is not a datagram: {zero_copy:?}");
        ensure!(not_copied == dropped, "{not_copied} sends were not copied: {zero_copy:?}");
    }
    Ok(())
}

/// What a sender says of its zero-copy sends.
#[derive(Debug, PartialEq, Eq)]
struct ZeroCopy {
    requested_sends: u64,
    copied_sends: u64,
    requested_bytes: u64,
    copied_bytes: u64,
    outstanding: u64,
}

impl ZeroCopy {
    fn of(document: &Document) -> Checked<Self> {
        let used = document.text("/ringperf/engines/0/used")?;
        ensure!(used == "uring-zc", "it went on as {used}");
        let number = |key| document.integer(&format!("/ringperf/engines/0/zero_copy/{key}"));
        Ok(Self {
            requested_sends: number("requested_sends")?,
            copied_sends: number("copied_sends")?,
            requested_bytes: number("requested_bytes")?,
            copied_bytes: number("copied_bytes")?,
            outstanding: number("outstanding")?,
        })
    }
}
