//! Tests of bytes and of blocks move what was asked for, no block more, and end then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{BLOCK_BYTES, Cells, Checked, Failure, Pair, Way, ensure, ours, run_pair};

/// Bytes of a datagram.
const DATAGRAM_BYTES: u64 = 1400;
/// Bytes of a block where there are many of them.
const SMALL_BYTES: u64 = 1024;

/// What the cells have found together.
#[derive(Default)]
struct Found {
    /// Most that was received beyond what was asked for.
    excess_bytes: AtomicU64,
    /// Longest time of a client besides that of its test, in milliseconds.
    besides_ms: AtomicU64,
}

/// One counted test.
#[derive(Clone, Copy, Debug)]
struct Case {
    way: Way,
    parallel: u64,
    is_udp: bool,
    /// What is asked for: `-n` or `-k`, and the block it is counted in.
    amount: &'static str,
    asked_bytes: u64,
    block_bytes: u64,
}

#[test]
fn what_was_asked_for_is_moved_and_no_block_more() -> Checked {
    let mut cells = Cells::default();
    let found = Arc::new(Found::default());
    for way in Way::ALL {
        for parallel in [1, 4] {
            for is_udp in [false, true] {
                let block = if is_udp { DATAGRAM_BYTES } else { BLOCK_BYTES };
                for (amount, asked_bytes, block_bytes) in [
                    ("-n 1", 1, block),
                    ("-n 1K", 1024, block),
                    ("-n 1M", 1 << 20, block),
                    ("-n 5M", 5 << 20, block),
                    ("-k 1", block, block),
                    ("-k 1K", 1024 * SMALL_BYTES, SMALL_BYTES),
                    ("-k 20K", 20 * 1024 * SMALL_BYTES, SMALL_BYTES),
                ] {
                    let case = Case { way, parallel, is_udp, amount, asked_bytes, block_bytes };
                    let found = Arc::clone(&found);
                    cells.add(format!("{case:?}"), move || case.check(&found));
                }
            }
        }
    }
    cells.run()?;
    println!(
        "F5: at most {} bytes more than asked for; the ends took {} ms besides their test",
        found.excess_bytes.load(Ordering::Relaxed),
        found.besides_ms.load(Ordering::Relaxed)
    );
    Ok(())
}

impl Case {
    fn check(&self, found: &Found) -> Checked {
        let Self { way, parallel, is_udp, amount, block_bytes, .. } = *self;
        // A receiver's buffer holds a second of this rate, so no datagram is lost.
        let protocol = if is_udp { "-u -b 100M" } else { "" };
        let parallel = format!("-P {parallel}");
        let options = format!("{protocol} {amount} -l {block_bytes} {parallel} {} -J", way.option());
        let pair = run_pair((&ours(), "-J"), (&ours(), &options))?;
        self.compare(&pair, found)
            .map_err(|Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server)))
    }

    fn compare(&self, pair: &Pair, found: &Found) -> Checked {
        let document = pair.client.document()?;
        for document in [&document, &pair.server.document()?] {
            if self.is_udp { document.datagrams_add_up()? } else { document.adds_up()? }
        }
        let due = self.asked_bytes.div_ceil(self.block_bytes) * self.block_bytes;
        let mut directions = vec![(self.way != Way::Reverse, document.totals()?)];
        if self.way == Way::Bidir {
            directions.push((false, document.totals_back()?));
        }
        for (client_sends, totals) in directions {
            if client_sends {
                ensure!(totals.sent == due, "{} bytes were sent instead of {due}", totals.sent);
                let lossless = self.is_udp || totals.received == due;
                ensure!(lossless, "{} bytes were received instead of {due}", totals.received);
                continue;
            }
            // A server goes on until its client has seen enough; what is under way then has its limits.
            let counted = if self.is_udp { totals.sent } else { totals.received };
            ensure!(counted >= due, "{counted} bytes instead of {due}: {totals:?}");
            let most = due + self.parallel * self.block_bytes;
            ensure!(self.is_udp || totals.received <= most, "{totals:?} instead of {due}");
            found.excess_bytes.fetch_max(totals.received.saturating_sub(due), Ordering::Relaxed);
        }
        let seconds =
            document.number("/end/sum_received/seconds")?.max(document.number("/end/sum_sent/seconds")?);
        let besides = pair.client.elapsed.saturating_sub(Duration::from_secs_f64(seconds));
        let besides_ms = u64::try_from(besides.as_millis()).unwrap_or(u64::MAX);
        found.besides_ms.fetch_max(besides_ms, Ordering::Relaxed);
        ensure!(besides < Duration::from_secs(3), "it took {besides:?} besides its test");
        Ok(())
    }
}
