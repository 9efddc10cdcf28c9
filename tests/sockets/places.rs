//! Where packets go and how they are marked, and on which processor an end runs.

use std::fs;

use super::{LIMIT, count, processors, shows};
use crate::harness::{
    Cable, Cells, Checked, Process, Server, ensure, libiperf, ours, run_client, run_pair, shared,
    start_client,
};

#[test]
fn both_ends_mark_what_they_send() -> Checked {
    let mut cells = Cells::default();
    for (server, client) in [(ours(), ours()), (libiperf()?, ours()), (ours(), libiperf()?)] {
        for options in ["-P 2", "-R -P 2", "-u -P 2", "-u -R -P 2", "-6 -P 2", "-6 -u -P 2", "-m -P 2"] {
            // A libiperf server cannot set the mark on its listener for Multipath TCP.
            if server.name != ours().name && options.contains("-m") {
                continue;
            }
            let (server, client) = (server.clone(), client.clone());
            cells.add(format!("{} -> {}: {options}", client.name, server.name), move || {
                let marked = if options.contains("-6") { "tclass:0x48" } else { "tos:0x48" };
                shows((&server, ""), (&client, &format!("-S 72 {options}")), |seen| count(seen, marked) == 4)
            });
        }
    }
    cells.run()
}

#[test]
fn a_flow_label_is_leased() -> Checked {
    let _permit = shared();
    for options in ["", "-u", "-R", "-P 2"] {
        let label = 0x12345;
        let client = format!("-6 -L {label} {options}");
        shows((&ours(), ""), (&ours(), &client), |_| {
            let leases = fs::read_to_string("/proc/net/ip6_flowlabel").unwrap_or_default();
            leases.lines().any(|lease| lease.starts_with("12345 "))
        })?;
    }
    let server = Server::start(&ours(), "")?;
    let client = run_client(&ours(), server.port, "-L 5 -t 1")?;
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("unable to set IPv6 flow label"), "{client}");
    // iperf3 does not look at it in UDP tests over IPv4.
    run_client(&ours(), server.port, "-L 5 -t 1 -u")?.succeeded()
}

#[test]
fn each_end_can_be_bound_to_a_device() -> Checked {
    let _permit = shared();
    for options in ["", "-u", "-m"] {
        // The control connection and the stream: at the client, at the server, at both.
        let all = if options == "-u" { 1 } else { 2 };
        shows((&ours(), ""), (&ours(), &format!("--bind-dev lo {options}")), |seen| {
            count(seen, "%lo:") >= all && count(seen, "") > count(seen, "%lo:")
        })?;
        shows((&ours(), "--bind-dev lo"), (&ours(), options), |seen| count(seen, "%lo:") >= all)?;
    }
    let server = Server::start(&ours(), "")?;
    let client = run_client(&ours(), server.port, "--bind-dev nosuch -t 1")?;
    ensure!(client.failed_with_one_line()?.contains("nosuch: No such device"), "{client}");
    let refused = Process::spawn(ours().command("-s -p 9 --bind-dev nosuch"))?.finish(LIMIT)?;
    ensure!(refused.failed_with_one_line()?.contains("nosuch: No such device"), "{refused}");
    Ok(())
}

#[test]
fn a_device_is_the_only_way_in_and_out() -> Checked {
    let _permit = shared();
    let cable = Cable::lay(1500, false)?;
    for options in ["-t 0.5", "-t 0.5 -u", "-t 0.5 -R -6"] {
        let server = cable.start_server(&ours(), "--bind-dev cable -1")?;
        cable.run_client(&ours(), server.port, &format!("{options} --bind-dev cable"))?.succeeded()?;
        server.finish()?.succeeded()?;
    }
    let server = cable.start_server(&ours(), "--bind-dev lo")?;
    let client = cable.run_client(&ours(), server.port, "-t 0.5")?;
    ensure!(client.failed_with_one_line()?.contains("Connection refused"), "{client}");
    let server = cable.start_server(&ours(), "")?;
    let client = cable.run_client(&ours(), server.port, "-t 0.5 --bind-dev lo --connect-timeout 500")?;
    client.failed_with_one_line().map(|_| ())
}

#[test]
fn both_ends_run_where_the_client_says() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    let anywhere = processors(&server.process, "ringperf")?;
    let client = start_client(&ours(), server.port, "-A 0,0 -P 2 -t 20 -b 1M -l 1K")?;
    let are_pinned = || {
        let both = [
            (&client, &["ringperf", "stream-1", "stream-3"][..]),
            (&server.process, &["stream-1", "stream-3"]),
        ];
        let are_on_0 = |process: &Process, threads: &[&str]| {
            threads.iter().all(|thread| processors(process, thread).is_ok_and(|list| list == "0"))
        };
        both.into_iter().all(|(process, threads)| are_on_0(process, threads))
    };
    // The thread that serves everybody is there for no longer than it takes to start the others.
    let is_free = || processors(&server.process, "ringperf").is_ok_and(|list| list == anywhere);
    ensure!(client.runs_until(LIMIT, || are_pinned() && is_free())?, "{}", client.so_far());
    client.interrupt()?;
    client.finish(LIMIT)?;
    server.process.wait_for_stdout("Server listening", 2, LIMIT)?;
    let after = processors(&server.process, "ringperf")?;
    ensure!(after == anywhere, "the server runs on {after} instead of {anywhere} now");

    let client = run_client(&ours(), server.port, "-A 1000 -t 1")?;
    ensure!(client.failed_with_one_line()?.contains("unable to set CPU affinity"), "{client}");
    for peer in [ours(), libiperf()?] {
        let client = run_client(&peer, server.port, "-A 0,1000 -t 1")?;
        ensure!(client.code != Some(0), "{client}");
        ensure!(client.stderr.contains("SERVER ERROR - unable to set CPU affinity"), "{client}");
    }
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

#[test]
fn libiperf_pins_its_server_for_our_client() -> Checked {
    let _permit = shared();
    run_pair((&libiperf()?, ""), (&ours(), "-A 0,0 -t 1"))?;
    let server = Server::start(&libiperf()?, "")?;
    let client = run_client(&ours(), server.port, "-A 0,1000 -t 1")?;
    ensure!(client.stderr.contains("SERVER ERROR - unable to set CPU affinity"), "{client}");
    Ok(())
}

#[test]
fn the_control_connection_has_the_keepalive_asked_for() -> Checked {
    let _permit = shared();
    // Probes begin within the time that is told, and not long before it.
    let waits = |seen: &[String], first: &str| count(seen, &format!("timer:(keepalive,{first}"));
    shows((&ours(), "--cntl-ka=100/10/2"), (&ours(), "--cntl-ka=3000/10/2"), |seen| {
        waits(seen, "1min3") + waits(seen, "1min2") == 1 && waits(seen, "49min") + waits(seen, "50min") == 1
    })?;
    Ok(())
}
