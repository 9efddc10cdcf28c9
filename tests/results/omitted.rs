//! An omitted part is in no sum: bytes, datagrams, losses and rates are those of the time after it.

use std::ops::Range;

use super::{counted, integer};
use crate::harness::{
    Cells, Checked, Document, Failure, Finished, Mischief, Proxy, ProxyPlan, Server, Way, alone, ensure,
    ours, run_client, run_pair,
};

/// What is counted is half of the test, in time and in what moved. If the omitted part counted, it would be
/// all of it, however much of the machine the test got.
const HALF: Range<f64> = 0.3..0.7;

fn is_half(what: &str, counted: f64, whole: f64) -> Checked {
    ensure!(HALF.contains(&(counted / whole)), "{what}: {counted} of {whole} is not half");
    Ok(())
}

/// A sum of the end has half of what its intervals have, and the rate that goes with it.
fn is_of_the_rest(document: &Document, sum: &str) -> Checked {
    let of_intervals = if sum.ends_with("bidir_reverse") { "sum_bidir_reverse" } else { "sum" };
    let end = |key: &str| document.number(&format!("/end/{sum}/{key}"));
    for key in ["bytes", "seconds"] {
        let intervals = document.list("/intervals")?;
        let whole = intervals.iter().filter_map(|interval| interval[of_intervals][key].as_f64()).sum();
        is_half(&format!("{key} of {sum}"), end(key)?, whole)?;
    }
    let (rate, share) = (end("bits_per_second")?, end("bytes")? * 8.0 / end("seconds")?);
    ensure!((0.99..1.01).contains(&(rate / share)), "{sum}: {rate} bit/s instead of {share}");
    Ok(())
}

/// The sums of an end are those of its counted intervals, and there are omitted ones.
fn only_the_rest_counts(document: &Document) -> Checked {
    let all = document.list("/intervals")?;
    let omitted = all.iter().filter(|interval| interval["sum"]["omitted"] == true).count();
    ensure!(omitted >= 2, "{omitted} omitted intervals");
    let first = counted(document, |interval| &interval["sum"]);
    let start = first.first().and_then(|interval| interval["start"].as_f64());
    ensure!(start.is_some_and(|start| start < 0.01), "the counted part begins at {start:?}");
    Ok(())
}

fn sums(way: Way) -> Vec<&'static str> {
    let mut sums = vec!["sum_sent", "sum_received"];
    if way == Way::Bidir {
        sums.extend(["sum_sent_bidir_reverse", "sum_received_bidir_reverse"]);
    }
    sums
}

#[test]
fn tcp_counts_after_the_omitted_part_only() -> Checked {
    let _permit = alone();
    let mut cells = Cells::default();
    for way in Way::ALL {
        for parallel in [1, 2] {
            cells.add(format!("{way:?} {parallel}"), move || {
                let rate = if parallel == 1 { "10M" } else { "5M" };
                let options =
                    format!("-O 1 -t 1 -i 0.25 -l 4K -C cubic -b {rate} -P {parallel} -J {}", way.option());
                let pair = run_pair((&ours(), "-J -i 0.25"), (&ours(), &options))?;
                let document = pair.client.document()?;
                let check = || {
                    document.adds_up()?;
                    only_the_rest_counts(&document)?;
                    pair.server.document()?.adds_up()?;
                    let totals = document.totals()?;
                    // What is under way when the counted part begins counts for the receiver only.
                    let under_way = totals.received.abs_diff(totals.sent);
                    ensure!(under_way < 300_000, "{totals:?}");
                    sums(way).into_iter().try_for_each(|sum| is_of_the_rest(&document, sum))
                };
                with_document(check(), &pair.client)
            });
        }
    }
    cells.run_at_once()
}

/// A tenth of the datagrams is lost, in the omitted part as well.
#[test]
fn losses_are_those_after_the_omitted_part() -> Checked {
    let _permit = alone();
    let mut cells = Cells::default();
    for way in Way::ALL {
        cells.add(format!("{way:?}"), move || {
            let server = Server::start(&ours(), "-1 -J -i 0.25")?;
            let lossy = Mischief { seed: 6, drop_percent: 10, ..Mischief::default() };
            let plan = ProxyPlan { from_client: lossy, from_server: lossy, ..ProxyPlan::default() };
            let proxy = Proxy::start(server.port, plan)?;
            let options = format!("-u -O 1 -t 1 -i 0.25 -l 500 -b 10M -J {}", way.option());
            let client = run_client(&ours(), proxy.port, &options)?;
            client.succeeded()?;
            let check = || losses(&client.document()?, &server.finish()?.document()?, way);
            with_document(check(), &client)
        });
    }
    cells.run_at_once()
}

fn losses(document: &Document, server: &Document, way: Way) -> Checked {
    only_the_rest_counts(document)?;
    document.datagrams_add_up()?;
    document.has_sane_losses()?;
    server.datagrams_add_up()?;
    sums(way).into_iter().try_for_each(|sum| is_of_the_rest(document, sum))?;
    for group in if way == Way::Bidir { vec!["", "_bidir_reverse"] } else { vec![""] } {
        let flow = if way == Way::Reverse || !group.is_empty() { "receive" } else { "send" };
        let of_all = document.list("/ringperf/datagrams")?.iter().find(|account| account["flow"] == flow);
        let of_all = of_all.ok_or_else(|| Failure(format!("no account of what this end did: {flow}")))?;
        let received = document.at(&format!("/end/sum_received{group}"))?;
        for (key, whole) in [("packets", "sent"), ("lost_packets", "lost")] {
            is_half(key, to_f64(integer(received, key)), to_f64(integer(of_all, whole)))?;
        }
        let share = to_f64(integer(received, "lost_packets")) / to_f64(integer(received, "packets"));
        ensure!((0.05..0.2).contains(&share), "{share} instead of a tenth were lost");
    }
    Ok(())
}

fn to_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("a few thousand"))
}

fn with_document(result: Checked, client: &Finished) -> Checked {
    result.map_err(|Failure(why)| Failure(format!("{why}\n{client}")))
}
