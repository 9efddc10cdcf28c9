//! A network that is away for two seconds: a paced sender makes up for some of it, and never goes at more
//! than twice its rate.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::harness::{Cable, Cells, Checked, Document, Failure, Finished, ensure, ours, wait_until};

/// Bytes of a second at the rate of the tests.
const BYTES_OF_A_SECOND: f64 = 10e6 / 8.0;
/// What may be on its way, or counted an interval later than it came.
const ON_ITS_WAY: f64 = 200e3;
const OUTAGE: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(20);

/// Bytes of the busiest second, and how many of them are more than twice the rate allows. Intervals end a
/// little late on a busy machine, so ten of them are as long as they say.
fn busiest_second(document: &Document) -> Checked<(u64, f64)> {
    let sums = document.list("/intervals")?.iter().map(|interval| &interval["sum"]);
    let intervals: Vec<(u64, f64)> = sums
        .map(|sum| Some((sum["bytes"].as_u64()?, sum["seconds"].as_f64()?)))
        .collect::<Option<_>>()
        .ok_or(Failure("an interval without numbers".to_owned()))?;
    let seconds = intervals.windows(10).map(|ten| {
        let bytes: u64 = ten.iter().map(|(bytes, _)| bytes).sum();
        let allowed = ten.iter().map(|(_, seconds)| 2.0 * BYTES_OF_A_SECOND * seconds).sum::<f64>();
        (bytes, bytes as f64 - allowed)
    });
    seconds.max_by(|one, other| one.1.total_cmp(&other.1)).ok_or(Failure("too short".to_owned()))
}

#[test]
fn what_an_outage_has_held_up_is_made_up_for_within_limits() -> Checked {
    let mut cells = Cells::default();
    let found = Arc::new(Mutex::new(Vec::new()));
    for (options, at_client) in [
        ("-C cubic -w 32K -l 4K", true),
        ("-C cubic -w 32K -l 4K", false),
        ("-C cubic -w 32K -l 4K -R", true),
        ("-C cubic -w 32K -l 4K --engine sync", true),
        ("-u -l 1000", true),
        ("-u -l 1000", false),
        ("-u -l 1000 --engine sync", true),
        ("-u -l 1000 -R", false),
    ] {
        let found = Arc::clone(&found);
        cells.add(format!("{options} {at_client}"), move || {
            let (sent, received) = outlives_an_outage(options, at_client)?;
            let line =
                format!("F11: {options}: in the busiest second {sent} bytes sent, {received} received");
            found.lock().expect("nobody panics under it").push(line);
            Ok(())
        });
    }
    cells.run()?;
    println!("{}", found.lock().expect("nobody panics under it").join("\n"));
    Ok(())
}

/// Bytes that were sent and received in the busiest second.
fn outlives_an_outage(options: &str, at_client: bool) -> Checked<(u64, u64)> {
    let cable = Cable::lay(1500, false)?;
    let server = cable.start_server(&ours(), "-1 -J -i 0.1")?;
    let options = format!("-b 10M -t 5 -i 0.1 -J {options}");
    let client = cable.start_client(&ours(), server.port, &options)?;
    let end = if at_client { &cable.client } else { &cable.server };
    let ran = Instant::now();
    wait_until(LIMIT, || ran.elapsed() >= Duration::from_millis(1200))?;
    end.unplug()?;
    let unplugged = Instant::now();
    wait_until(LIMIT, || unplugged.elapsed() >= OUTAGE)?;
    end.plug()?;
    let client = client.finish(LIMIT)?;
    client.succeeded()?;
    let server = server.finish()?;
    let report = |Failure(why)| Failure(format!("{why}\n{client}\n{server}"));
    check(&options, &client, &server).map_err(report)
}

fn check(options: &str, client: &Finished, server: &Finished) -> Checked<(u64, u64)> {
    let (client, server) = (client.document()?, server.document()?);
    let (sender, receiver) = if options.contains("-R") { (&server, &client) } else { (&client, &server) };
    let ((sent, sent_beyond), (received, received_beyond)) =
        (busiest_second(sender)?, busiest_second(receiver)?);
    ensure!((..=ON_ITS_WAY).contains(&sent_beyond), "{sent} bytes were sent in a second");
    ensure!((..=ON_ITS_WAY).contains(&received_beyond), "{received} bytes were received in a second");
    let silent = receiver.list("/intervals")?.iter().filter(|interval| interval["sum"]["bytes"] == 0).count();
    ensure!(silent >= 10, "the network was there: {silent} intervals without a byte");
    Ok((sent, received))
}
