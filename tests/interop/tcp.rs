//! ringperf against real iperf3, in both roles: two generations of it, every direction, every end condition,
//! and each option that both know.

use crate::harness::{
    BLOCK_BYTES, Cells, Checked, Document, End, Failure, Pair, Plan, Program, Totals, Way, alone, debian,
    ensure, libiperf, ours, plans, run_pair,
};

/// The end conditions; iperf3 knows whole seconds only.
const ENDS: [End; 3] = [End::Time("1"), End::Mebibytes(5), End::Blocks(40)];

#[test]
fn our_client_with_iperf3_server() -> Checked {
    matrix(&ours(), &debian()?)
}

#[test]
fn iperf3_client_with_our_server() -> Checked {
    matrix(&debian()?, &ours())
}

#[test]
fn our_client_with_libiperf_server() -> Checked {
    matrix(&ours(), &libiperf()?)
}

#[test]
fn libiperf_client_with_our_server() -> Checked {
    matrix(&libiperf()?, &ours())
}

#[test]
fn options_of_our_client_with_iperf3_server() -> Checked {
    options(&ours(), &debian()?)
}

#[test]
fn options_of_iperf3_client_with_our_server() -> Checked {
    options(&debian()?, &ours())
}

#[test]
fn options_of_our_client_with_libiperf_server() -> Checked {
    options(&ours(), &libiperf()?)
}

#[test]
fn options_of_libiperf_client_with_our_server() -> Checked {
    options(&libiperf()?, &ours())
}

/// Every direction, with one stream and with several, until every kind of end.
fn matrix(client: &Program, server: &Program) -> Checked {
    let mut cells = Cells::default();
    for plan in plans(&[1, 4], &ENDS) {
        let (client, server) = (client.clone(), server.clone());
        cells.add(format!("{} -> {}: {plan}", client.name, server.name), move || {
            let pair = run_pair((&server, ""), (&client, &format!("{plan} -J")))?;
            let document = pair.client.document()?;
            check_bytes(&plan, &document, client.name == ours().name)
                .map_err(|Failure(why)| Failure(format!("{why}\n{}", pair.client)))
        });
    }
    cells.run()
}

/// An iperf3 server stops counting when the client says that the test is over, whatever lies unread in its
/// sockets, so a client has to wait until its bytes have arrived. How much the server still leaves unread
/// depends on who else wants the processor, hence not among the other cells.
#[test]
fn our_client_waits_for_its_last_bytes() -> Checked {
    let _permit = alone();
    for server in [debian()?, libiperf()?] {
        for parallel in [1, 4] {
            for end in [End::Mebibytes(5), End::Blocks(40)] {
                let plan = Plan { way: Way::Forward, parallel, end };
                let pair = run_pair((&server, ""), (&ours(), &format!("{plan} -J")))?;
                let Totals { sent, received } = pair.client.document()?.totals()?;
                ensure!(received * 10 >= sent * 9, "{} counted {received} of {sent}: {plan}", server.name);
            }
        }
    }
    Ok(())
}

/// What the protocol promises about the bytes of a test, as the client reports them.
fn check_bytes(plan: &Plan, document: &Document, client_is_ours: bool) -> Checked {
    // One block per stream may have been received whose write was cut short and so never counted by its
    // sender.
    let slack = plan.parallel * BLOCK_BYTES;
    let forward = document.totals()?;
    let mut directions = vec![forward];
    if plan.way == Way::Bidir {
        directions.push(document.totals_back()?);
    }
    for Totals { sent, received } in directions.iter().copied() {
        ensure!(received <= sent + slack, "received {received} of {sent} sent");
        // A goal can be reached in one direction before the other has begun.
        let must_flow = plan.way != Way::Bidir || plan.end.goal().is_none();
        ensure!(!must_flow || (sent > 0 && received > 0), "sent {sent}, received {received}");
    }
    // The server's halves: they are zero unless the results were exchanged.
    let from_server = match plan.way {
        Way::Forward => forward.received,
        Way::Reverse => forward.sent,
        Way::Bidir => directions[0].received + directions[1].sent,
    };
    ensure!(from_server > 0, "nothing from the server in {directions:?}");

    let Some(goal) = plan.end.goal() else { return Ok(()) };
    if client_is_ours && plan.way == Way::Forward {
        let sent = forward.sent;
        ensure!((goal..=goal + slack).contains(&sent), "sent {sent}, but {goal} were asked for");
    }
    // An iperf3 client that receives counts each read as a block, whole or not, so it ends too early where it
    // has little of a processor.
    let counts_parts = !client_is_ours && plan.way != Way::Forward && matches!(plan.end, End::Blocks(_));
    let reached = directions.iter().map(|totals| totals.sent.max(totals.received)).max();
    ensure!(counts_parts || reached >= Some(goal), "neither direction reached {goal}: {directions:?}");
    Ok(())
}

/// An option, and what must be true of the two outputs when it did what it says.
type OptionCell = (&'static str, fn(&Pair) -> Checked);

const OPTIONS: [OptionCell; 14] = [
    ("-J -t 1 -Z", flows),
    ("-J -t 1 -O 1", omits_a_second),
    ("-J -t 1 -w 256K", |pair| has_integer(pair, "/start/sock_bufsize", 256 * 1024)),
    ("-J -t 1 -M 1400", |pair| has_integer(pair, "/start/tcp_mss", 1400)),
    ("-J -t 1 -N", flows),
    ("-J -t 1 -l 64K", |pair| has_integer(pair, "/start/test_start/blksize", 64 * 1024)),
    ("-J -t 1 -b 100M", keeps_the_rate),
    ("-J -t 1 -b 100M/10 -l 16K", keeps_the_rate),
    ("-J -t 1 -C cubic", |pair| has_text(pair, "/end/sender_tcp_congestion", "cubic")),
    ("-J -t 1 -R -C reno", |pair| has_text(pair, "/end/sender_tcp_congestion", "reno")),
    ("-J -t 1 -6", |pair| has_text(pair, "/start/connected/0/remote_host", "::1")),
    ("-J -t 1 --get-server-output", brings_the_servers_rows),
    ("-J -t 1 -i 0.2", has_five_intervals),
    ("-t 1", has_rows),
];

/// Each option on its own.
fn options(client: &Program, server: &Program) -> Checked {
    let mut options = OPTIONS.to_vec();
    if client.skips_rx_copy && server.skips_rx_copy {
        options.push(("-J -t 1 --skip-rx-copy", flows));
        options.push(("-J -t 1 --skip-rx-copy -R", flows));
    }
    let mut cells = Cells::default();
    for (option, check) in options {
        let (client, server) = (client.clone(), server.clone());
        cells.add(format!("{} -> {}: {option}", client.name, server.name), move || {
            let pair = run_pair((&server, ""), (&client, option))?;
            check(&pair).map_err(|Failure(why)| Failure(format!("{why}\n{}\n{}", pair.client, pair.server)))
        });
    }
    cells.run()
}

/// Both ends counted something.
fn flows(pair: &Pair) -> Checked {
    let Totals { sent, received } = pair.client.document()?.totals()?;
    ensure!(sent > 0 && received > 0, "sent {sent}, received {received}");
    Ok(())
}

fn has_integer(pair: &Pair, pointer: &str, expected: u64) -> Checked {
    flows(pair)?;
    let found = pair.client.document()?.integer(pointer)?;
    ensure!(found == expected, "{pointer} is {found} instead of {expected}");
    Ok(())
}

fn has_text(pair: &Pair, pointer: &str, expected: &str) -> Checked {
    flows(pair)?;
    let document = pair.client.document()?;
    let found = document.text(pointer)?;
    ensure!(found == expected, "{pointer} is {found:?} instead of {expected:?}");
    Ok(())
}

/// One second was left out, and the second that counts is the other one.
fn omits_a_second(pair: &Pair) -> Checked {
    flows(pair)?;
    let document = pair.client.document()?;
    let omitted = document.list("/intervals")?.iter().filter(|interval| interval["sum"]["omitted"] == true);
    ensure!(omitted.count() >= 1, "no interval is marked as omitted");
    let seconds = document.number("/end/sum_sent/seconds")?;
    ensure!((0.5..1.5).contains(&seconds), "the counted part lasted {seconds} s instead of 1 s");
    Ok(())
}

fn keeps_the_rate(pair: &Pair) -> Checked {
    let document = pair.client.document()?;
    for sum in ["sum_sent", "sum_received"] {
        let rate = document.number(&format!("/end/{sum}/bits_per_second"))?;
        // Unpaced it would be tens of gigabits. An end that gets no processor when the counting begins counts
        // the same bytes in less time.
        ensure!((50e6..=1e9).contains(&rate), "{sum}: {rate} bit/s instead of 100 Mbit/s");
    }
    Ok(())
}

fn brings_the_servers_rows(pair: &Pair) -> Checked {
    let document = pair.client.document()?;
    let output = document.text("/server_output_text")?;
    ensure!(output.contains("Accepted connection from"), "no session line in {output:?}");
    ensure!(output.contains("receiver"), "no summary row in {output:?}");
    Ok(())
}

fn has_five_intervals(pair: &Pair) -> Checked {
    flows(pair)?;
    let count = pair.client.document()?.list("/intervals")?.len();
    ensure!((4..=6).contains(&count), "{count} intervals of 0.2 s in 1 s");
    Ok(())
}

/// Text mode: a line per stream, the summary of both ends, and the last line.
fn has_rows(pair: &Pair) -> Checked {
    for text in
        ["Connecting to host 127.0.0.1", "connected to 127.0.0.1 port", "sender", "receiver", "iperf Done."]
    {
        ensure!(pair.client.stdout.contains(text), "the client printed no {text:?}");
    }
    for text in ["Accepted connection from 127.0.0.1", "connected to 127.0.0.1 port", "receiver"] {
        ensure!(pair.server.stdout.contains(text), "the server printed no {text:?}");
    }
    Ok(())
}
