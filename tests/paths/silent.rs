//! Where nothing comes any more before a test is over: its time is that of the test, and its rows end where
//! they should.

use std::time::Duration;

use serde_json::Value;

use super::{LIMIT, show};
use crate::harness::{
    Cable, Cells, Checked, Document, Dropper, Failure, Finished, Hook, Rule, Server, ensure, ours, pick_run,
    shared, start_client,
};

/// Every test here is to last so long, ...
const SECONDS: f64 = 2.0;
/// ... and its path falls silent after about half of that.
const ROWS_BEFORE: usize = 6;
const ROW: &str = "-i 0.2";
/// A receiver may be late by this much with its end on a busy machine.
const LATE: f64 = 0.8;
/// ... and begin later than the sender by this much.
const EARLY: f64 = 0.3;

/// A receiver that the payload stops to reach.
#[derive(Clone, Copy, Debug)]
struct Case {
    client: &'static str,
    /// How the receiving end reports.
    interval: &'static str,
    /// It is the client that receives.
    reverse: bool,
    udp: bool,
}

#[test]
fn waiting_for_nothing_is_no_time_and_cuts_none_off() -> Checked {
    let _permit = shared();
    let mut cells = Cells::default();
    for (client, interval, reverse, udp) in [
        ("-u -b 20M", "-i 0", false, true),
        ("-u -b 20M", "", false, true),
        ("-u -b 20M -R", "-i 4", true, true),
        ("-u -b 20M -R", "", true, true),
        ("-u -b 10M -P 2", "-i 0", false, true),
        ("-u -b 10M -P 2 -R", "-i 0", true, true),
        ("-b 20M -R", "", true, false),
        ("-b 20M -R -P 2", "-i 0", true, false),
        ("-b 20M", "-i 0", false, false),
    ] {
        let case = Case { client, interval, reverse, udp };
        cells.add(format!("{case:?}"), move || case.falls_silent());
    }
    cells.run_at_once()
}

impl Case {
    fn falls_silent(self) -> Checked {
        let Self { client, interval, reverse, udp } = self;
        let cable = Cable::lay(1500, false)?;
        let own_port = pick_run(2);
        // The sender's rows tell the time.
        let (at_server, at_client) = if reverse { (ROW, interval) } else { (interval, ROW) };
        let (server_json, client_json) = if reverse { ("", "-J") } else { ("-J", "") };
        let server = cable.start_server(&ours(), &format!("-1 {server_json} {at_server}"))?;
        let options = format!("-t {SECONDS} --cport {own_port} {client} {client_json} {at_client}");
        let client = cable.start_client(&ours(), server.port, &options)?;
        let sender = if reverse { &server.process } else { &client };
        sender.wait_for_stdout(" sec ", ROWS_BEFORE, LIMIT)?;
        // It is the first stream that falls silent, and not the control connection.
        let receiver = if reverse { &cable.client } else { &cable.server };
        let mut dropper = None;
        match (udp, reverse) {
            (true, _) => dropper = Some(Dropper::attach(receiver, Hook::Ingress, own_port, Rule::Every(1))?),
            (false, true) => cable.server.swallow(server.port, own_port)?,
            (false, false) => cable.client.swallow(own_port, server.port)?,
        }
        let client = client.finish(LIMIT)?;
        let server = server.process.finish(LIMIT)?;
        drop(dropper);
        let receiver = if reverse { &client } else { &server };
        self.judge(receiver).map_err(|Failure(why)| Failure(format!("{why}\n{client}\n{server}")))
    }

    fn judge(self, receiver: &Finished) -> Checked {
        let document = receiver.document()?;
        let sum = document.number("/end/sum_received/seconds")?;
        show(&format!("F16: {}: {sum:.2} s", self.client));
        let half = if self.udp { "udp" } else { "receiver" };
        let seconds = |stream: &Value| stream[half]["seconds"].as_f64().unwrap_or(0.0);
        let streams = document.list("/end/streams")?.iter().map(seconds);
        for seconds in streams.chain([sum]) {
            ensure!((SECONDS - EARLY..SECONDS + LATE).contains(&seconds), "{seconds} s instead of {SECONDS}");
        }
        Ok(())
    }
}

/// The client stands still before the end of its test; the server's rows go on.
#[test]
fn a_receiver_has_a_row_at_the_planned_end() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "-1 -i 0.5")?;
    let client = start_client(&ours(), server.port, "-t 1 -b 10M -i 0.5")?;
    server.process.wait_for_stdout(" sec ", 1, LIMIT)?;
    client.pause()?;
    server.process.wait_for_stdout(" sec ", 4, LIMIT)?;
    client.resume()?;
    client.finish(LIMIT)?.succeeded()?;
    let server = server.finish()?;
    let rows = server.stdout.split("- - -").next().unwrap_or_default();
    let spans = rows.lines().filter_map(|row| row.split_whitespace().find_map(|word| word.split_once('-')));
    let spans = spans.filter_map(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)));
    let spans: Vec<(f64, f64)> = spans.collect();
    let is_whole = |(start, end): &(f64, f64)| (0.3..0.7).contains(&(end - start));
    let whole = spans.iter().take(4).all(is_whole);
    ensure!(whole && spans.len() >= 4, "rows {spans:?}\n{server}");
    Ok(())
}

/// What a slow link still holds at the end comes in a row of its own.
#[test]
fn what_comes_behind_the_planned_end_has_its_own_row() -> Checked {
    let _permit = shared();
    let cable = Cable::lay_through("10mbit", Duration::from_secs(2))?;
    let server = cable.start_server(&ours(), "-1")?;
    let client = cable.run_client(&ours(), server.port, "-R -C cubic -t 2 -i 0.5 -J")?;
    client.succeeded()?;
    let document = client.document()?;
    let check = || {
        document.adds_up()?;
        let ends = row_ends(&document)?;
        ensure!(ends.len() == 5, "rows end at {ends:?}");
        ensure!((2.0..2.4).contains(&ends[3]) && ends[4] > ends[3] + 0.05, "rows end at {ends:?}");
        let total = document.number("/end/sum_received/seconds")?;
        let is_last = (total - ends[4]).abs() < 1e-6;
        ensure!(is_last, "the last row ends at {ends:?}, the test at {total}");
        Ok(())
    };
    check().map_err(|Failure(why)| Failure(format!("{why}\n{client}")))
}

fn row_ends(document: &Document) -> Checked<Vec<f64>> {
    let rows = document.list("/intervals")?;
    Ok(rows.iter().filter_map(|row| row["sum"]["end"].as_f64()).collect())
}
