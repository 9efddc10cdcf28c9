//! The path stops passing anything on between the end of a test and the last message about it, in the middle
//! of a message or before it: both ends say what they know, and leave.

use std::time::{Duration, Instant};

use super::{LIMIT, says_what_it_knows, served_after, show};
use crate::harness::peer::bridge::{Bridge, Share};
use crate::harness::{Cells, Checked, Failure, Finished, Server, ensure, ours, shared, start_client};

/// Ten seconds for the answer that does not come, and the time to end streams and connections.
const GIVEN_UP: Duration = Duration::from_secs(16);
/// A server that was not told of the end waits for the client's own end of the test as well.
const OVERDUE: Duration = Duration::from_secs(22);

/// Numbers of the messages behind the start of a test, in the bridge's count: TEST_END, EXCHANGE_RESULTS, the
/// client's results, the server's, DISPLAY_RESULTS and IPERF_DONE.
const TEST_END: usize = 7;
const CLIENT_RESULTS: usize = 9;
const SERVER_RESULTS: usize = 10;
const IPERF_DONE: usize = 12;

#[test]
fn an_exchange_that_breaks_off_is_given_up_at_both_ends() -> Checked {
    let _permit = shared();
    let mut cells = Cells::default();
    let ways = ["", "-R -J", "--bidir"];
    for point in TEST_END..=IPERF_DONE {
        let halves = (CLIENT_RESULTS..=SERVER_RESULTS).contains(&point).then_some(Share::Half);
        for share in [Some(Share::Nothing), halves].into_iter().flatten() {
            let way = ways[point % ways.len()];
            let name = format!("{share:?} of message {point} of a test {way:?}");
            cells.add(name, move || breaks_off(point, share, way));
        }
    }
    cells.run_at_once()
}

fn breaks_off(point: usize, share: Share, way: &str) -> Checked {
    let server = Server::start(&ours(), "")?;
    let bridge = Bridge::breaking_down(server.port, point, share)?;
    let client = start_client(&ours(), bridge.port, &format!("-t 0.5 -b 10M -i 0.2 {way}"))?;
    bridge.wait()?;
    let since = Instant::now();
    let limit = if point == TEST_END { OVERDUE } else { GIVEN_UP };
    let free = served_after(since, limit, server.port)
        .map_err(|Failure(why)| Failure(format!("{why}\n{}", server.process.so_far())))?;
    let client = client.finish(LIMIT)?;
    let left = client.ended.saturating_duration_since(since);
    show(&format!(
        "D4: {share:?} of message {point}: the server is free after {free:.1?}, the client after {left:.1?}"
    ));
    client.ended_within(since, GIVEN_UP)?;
    knows(&client, point)?;
    says_what_it_knows(&server)
}

/// The client has results of its own, and those of the server if they have come.
fn knows(client: &Finished, point: usize) -> Checked {
    let is_complete = point == IPERF_DONE;
    ensure!(client.code == Some(i32::from(!is_complete)), "exit status {:?}\n{client}", client.code);
    let (sent, received) = if client.stdout.starts_with('{') {
        let totals = client.document()?.totals()?;
        (totals.sent, totals.received)
    } else {
        ensure!(client.stdout.contains("- - -"), "no summary\n{client}");
        let bytes = |end: &str| {
            let row = client.stdout.lines().find(|row| row.trim_end().ends_with(end));
            u64::from(row.is_some_and(|row| !row.contains(" 0.00 Bytes")))
        };
        (bytes("sender"), bytes("receiver"))
    };
    let knows_own = sent > 0 || received > 0;
    let knows_both = sent > 0 && received > 0;
    ensure!(knows_own, "nothing was measured\n{client}");
    ensure!(knows_both || point <= SERVER_RESULTS, "the server's results are not shown\n{client}");
    Ok(())
}
