//! Retransmits, beside those that the kernel has counted in a namespace of its own.

use std::fs;

use super::{counted, integer};
use crate::harness::{
    Cable, Checked, Document, Dropper, Failure, Hook, Namespace, Rule, Way, alone, ensure, ours,
};

/// Segments that were sent again in this namespace so far.
fn sent_again(namespace: &Namespace) -> Checked<u64> {
    namespace.within(|| {
        let table = fs::read_to_string("/proc/thread-self/net/snmp")?;
        let mut lines = table.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
        let names = lines.next().into_iter().flatten();
        let values = lines.next().into_iter().flatten();
        let found = names.zip(values).find(|(name, _)| *name == "RetransSegs");
        found.and_then(|(_, value)| value.parse().ok()).ok_or(Failure(table))
    })
}

#[test]
fn retransmits_are_those_of_the_kernel_and_stand_on_the_side_that_sends() -> Checked {
    let _permit = alone();
    // In bidirectional tests each side has a kernel's counter of its own to be compared with.
    for (way, parallel) in [(Way::Forward, 1), (Way::Forward, 3), (Way::Reverse, 2), (Way::Bidir, 1)] {
        // A cable for each test, so that the kernel's counters are those of the test.
        let cable = Cable::lay(1500, false)?;
        let (sender, receiver) = match way {
            Way::Reverse => (&cable.server, &cable.client),
            Way::Forward | Way::Bidir => (&cable.client, &cable.server),
        };
        let server = cable.start_server(&ours(), "-1 -J -i 0.25")?;
        let _dropper = Dropper::attach_to_segments(receiver, Hook::Ingress, server.port, Rule::Every(500))?;
        let options = format!("-t 1.5 -i 0.25 -C cubic -P {parallel} -J {}", way.option());
        let client = cable.run_client(&ours(), server.port, &options)?;
        client.succeeded()?;
        let server = server.finish()?;
        let check = || {
            let (client, server) = (client.document()?, server.document()?);
            let own = if way == Way::Reverse { &server } else { &client };
            let total = integer(own.at("/end/sum_sent")?, "retransmits");
            let kernel = sent_again(sender)?;
            println!("F7: {way:?} -P {parallel}: {total} retransmits, the kernel has counted {kernel}");
            ensure!(total > 10, "only {total} retransmits");
            is_of_the_kernel(total, kernel)?;
            add_up(own, total)?;
            let told = integer(client.at("/end/sum_sent")?, "retransmits");
            ensure!(told == total, "the server says {total}, its client {told}");
            if way == Way::Bidir {
                let back = integer(client.at("/end/sum_sent_bidir_reverse")?, "retransmits");
                let kernel = sent_again(&cable.server)?;
                is_of_the_kernel(back, kernel)?;
            }
            Ok(())
        };
        check().map_err(|Failure(why)| Failure(format!("{way:?} {parallel}: {why}\n{client}\n{server}")))?;
    }
    Ok(())
}

/// The kernel's are also those of the control connection, and of the moments after the test.
fn is_of_the_kernel(told: u64, kernel: u64) -> Checked {
    let exact = told <= kernel && kernel - told <= 5 + kernel / 20;
    ensure!(exact, "{told} retransmits, the kernel has counted {kernel}");
    Ok(())
}

/// The intervals of a sender have no negative number and add up to the total, for each stream and for all.
fn add_up(sender: &Document, total: u64) -> Checked {
    let of_sums: u64 = retransmits(&counted(sender, |interval| &interval["sum"]))?.iter().sum();
    ensure!(of_sums == total, "the sums of the intervals have {of_sums} of {total}");
    let mut of_streams = 0;
    for (index, stream) in sender.list("/end/streams")?.iter().enumerate() {
        let intervals = counted(sender, |interval| &interval["streams"][index]);
        if stream["sender"]["sender"] == false {
            let told = intervals.iter().any(|interval| interval.get("retransmits").is_some());
            ensure!(!told, "a receiver has retransmits: {intervals:?}");
            continue;
        }
        let own = integer(&stream["sender"], "retransmits");
        let parts: u64 = retransmits(&intervals)?.iter().sum();
        ensure!(parts == own, "stream {index}: {parts} in its intervals, {own} in all");
        of_streams += own;
    }
    ensure!(of_streams == total, "the streams have {of_streams} of {total}");
    Ok(())
}

fn retransmits(intervals: &[&serde_json::Value]) -> Checked<Vec<u64>> {
    let number = |interval: &&serde_json::Value| {
        interval["retransmits"]
            .as_u64()
            .ok_or_else(|| Failure(format!("no number of retransmits: {interval}")))
    };
    intervals.iter().map(number).collect()
}
