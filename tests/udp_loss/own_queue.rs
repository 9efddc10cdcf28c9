//! A queue of the sender's own device that is too short: tc(8) says what it has dropped.

use std::process::Command;

use super::Account;
use crate::harness::{Cable, Cells, Checked, Failure, Finished, ensure, ours, run};

/// More than it passes is asked for, and it is shorter than a socket's send buffer.
const QUEUE: &str = "tbf rate 20mbit burst 10k limit 15k";

#[test]
fn what_the_own_queue_drops_is_told_as_tc_counts_it() -> Checked {
    let mut cells = Cells::default();
    for options in ["--engine sync --no-offload", "--engine uring -P 2", "-R --engine sync"] {
        cells.add(options, move || drops(options));
    }
    cells.run()
}

fn drops(options: &str) -> Checked {
    let cable = Cable::lay(1500, false)?;
    let is_reverse = options.contains("-R");
    let sender = if is_reverse { &cable.server } else { &cable.client };
    sender.queue(QUEUE)?;
    let server = cable.start_server(&ours(), "-1 -J --no-offload")?;
    let client = cable.run_client(&ours(), server.port, &format!("-u -J -t 0.5 -b 50M -l 1000 {options}"))?;
    let server = server.finish()?;
    let told = sender.within(|| {
        let mut command = Command::new("tc");
        command.args(["-s", "qdisc", "show", "dev", "cable", "root"]);
        run(command)
    })?;
    let (own, other) = if is_reverse { (&server, &client) } else { (&client, &server) };
    judge(own, other, &told, options.contains("--no-offload"))
        .map_err(|Failure(why)| Failure(format!("{why}\n{told}\n{client}\n{server}")))
}

/// The client of a reverse test sees nothing of the server's device, so it is told.
#[test]
fn a_client_that_receives_says_what_the_servers_queue_has_dropped() -> Checked {
    let cable = Cable::lay(1500, false)?;
    cable.server.queue(QUEUE)?;
    let server = cable.start_server(&ours(), "-1")?;
    let client = cable.run_client(&ours(), server.port, "-u -R -t 0.5 -b 50M -l 1000")?;
    client.succeeded()?;
    let mut lines = client.stdout.lines().filter(|line| line.starts_with("Queue: "));
    let line = lines.next().unwrap_or_default();
    let is_told = line.starts_with("Queue: the tbf queue of the other end's cable dropped ");
    ensure!(is_told && lines.next().is_none(), "not one line about it\n{client}");
    let server = server.finish()?;
    ensure!(
        server.stdout.contains("Queue: the tbf queue of this end's cable dropped "),
        "not its own\n{server}"
    );
    Ok(())
}

fn judge(own: &Finished, other: &Finished, tc: &Finished, is_exact: bool) -> Checked {
    own.succeeded()?;
    other.succeeded()?;
    let document = own.document()?;
    let queues = document.list("/ringperf/queues")?;
    ensure!(queues.len() == 1, "one device, and not {queues:?}");
    let dropped = document.integer("/ringperf/queues/0/dropped_packets")?;
    let names = (document.text("/ringperf/queues/0/device")?, document.text("/ringperf/queues/0/kind")?);
    ensure!(names == ("cable", "tbf"), "{names:?}");
    let by_tc = tc.stdout.split("(dropped ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    ensure!(dropped > 0 && by_tc == Some(dropped), "{dropped} dropped, tc says {by_tc:?}");
    if is_exact {
        let Account { lost_in_network, .. } = Account::of(&document, 0)?;
        ensure!(
            lost_in_network <= dropped && lost_in_network * 10 >= dropped * 9,
            "{lost_in_network} were lost"
        );
    }
    let others = other.document()?;
    ensure!(others.list("/ringperf/queues")?.is_empty(), "the receiving end has no such queue");
    let told = others.at("/ringperf/peer/queues")?;
    ensure!(told == document.at("/ringperf/queues")?, "the receiving end was told {told:#}");
    ensure!(document.list("/ringperf/peer/queues")?.is_empty(), "nor has it told of one");
    Ok(())
}
