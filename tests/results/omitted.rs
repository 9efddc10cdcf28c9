//! An omitted part is in no sum: bytes, datagrams, losses and rates are those of the time after it.

use std::ops::Range;

use super::{counted, integer};
use crate::harness::{
    Cells, Checked, Document, Failure, Finished, Mischief, Proxy, ProxyPlan, Server, Way, alone, ensure,
    ours, run_client, run_pair,
};

const RATE: f64 = 10e6;

/// If the omitted part counted, it would be twice as much, or half. An end that gets no processor for a while
/// when the counting begins or ends counts a little more or less.
const ALMOST: Range<f64> = 0.7..1.4;

fn has_the_rate(document: &Document, sum: &str) -> Checked {
    let rate = document.number(&format!("/end/{sum}/bits_per_second"))?;
    ensure!(ALMOST.contains(&(rate / RATE)), "{sum}: {rate} bit/s instead of {RATE}");
    Ok(())
}

/// The sums of an end are those of its counted intervals, and there are omitted ones.
fn only_the_rest_counts(document: &Document) -> Checked {
    let all = document.list("/intervals")?;
    let omitted = all.iter().filter(|interval| interval["sum"]["omitted"] == true).count();
    ensure!(omitted >= 2, "{omitted} omitted intervals");
    let seconds = document.number("/end/sum_sent/seconds")?;
    ensure!(ALMOST.contains(&seconds), "{seconds} s were counted instead of one");
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
                    sums(way).into_iter().try_for_each(|sum| has_the_rate(&document, sum))
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
    for group in if way == Way::Bidir { vec!["", "_bidir_reverse"] } else { vec![""] } {
        has_the_rate(document, &format!("sum_sent{group}"))?;
        let received = document.at(&format!("/end/sum_received{group}"))?;
        let (lost, packets) = (integer(received, "lost_packets"), integer(received, "packets"));
        // Two and a half thousand datagrams, of which a tenth is lost.
        ensure!((130..400).contains(&lost) && (1800..3400).contains(&packets), "{lost} of {packets}");
        let rate = received["bits_per_second"].as_f64().unwrap_or(0.0);
        let share = f64::from(u32::try_from(packets - lost).unwrap_or(0)) * 500.0 * 8.0;
        ensure!(ALMOST.contains(&(rate / share)), "{rate} bit/s, {lost} of {packets} lost");
    }
    Ok(())
}

fn with_document(result: Checked, client: &Finished) -> Checked {
    result.map_err(|Failure(why)| Failure(format!("{why}\n{client}")))
}
