//! What a server does not allow its clients.

use std::time::Duration;

use crate::harness::{Cells, Checked, Finished, Server, debian, ensure, libiperf, ours, run_client, shared};

const TOO_FAST: &str = "total required bandwidth is larger than server limit";
const TOO_LONG: &str = "client's requested duration exceeds the server's maximum permitted limit";

#[test]
fn tests_that_are_too_long_or_have_no_end_are_refused() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--server-max-duration 2")?;
    // 3.12 does not know this number.
    for client in [ours(), libiperf()?] {
        for options in ["-t 3", "-t 2 -O 1", "-t 0", "-n 1M", "-k 10", "-u -t 3"] {
            refused(&run_client(&client, server.port, options)?, TOO_LONG)?;
        }
        run_client(&client, server.port, "-t 1 -O 1")?.succeeded()?;
    }
    let client = run_client(&ours(), server.port, "-t 3 -J")?;
    let (_, error) = client.failed_in_document()?;
    ensure!(error.contains(TOO_LONG), "{client}");
    Ok(())
}

#[test]
fn rates_that_are_too_high_are_refused_before_the_test() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--server-bitrate-limit 10M")?;
    for client in [ours(), libiperf()?, debian()?] {
        for options in ["-b 11M", "-b 6M -P 2", "-b 6M --bidir", "-u -b 11M", "-b 9000000T -P 128"] {
            let client = run_client(&client, server.port, &format!("-t 5 {options}"))?;
            refused(&client, TOO_FAST)?;
            ensure!(client.elapsed < Duration::from_secs(4), "{client}");
        }
        run_client(&client, server.port, "-t 1 -b 5M --bidir")?.succeeded()?;
    }
    Ok(())
}

#[test]
fn rates_that_turn_out_too_high_end_the_test() -> Checked {
    let mut cells = Cells::default();
    for client in [ours(), libiperf()?, debian()?] {
        for options in ["", "-R", "--bidir", "-O 3"] {
            // 3.12 may notice that its connection is closed before it reads why.
            if client.name == "iperf3" && options != "-R" {
                continue;
            }
            let client = client.clone();
            cells.add(format!("{}: {options}", client.name), move || {
                let server = Server::start(&ours(), "--server-bitrate-limit 10M/1 -i 0.5 -1")?;
                let client = run_client(&client, server.port, &format!("-t 10 {options}"))?;
                refused(&client, TOO_FAST)?;
                // Two intervals, and no sooner.
                let range = Duration::from_millis(900)..Duration::from_secs(5);
                ensure!(range.contains(&client.elapsed), "took {:?}\n{client}", client.elapsed);
                let server = server.finish()?;
                ensure!(server.stderr.matches(TOO_FAST).count() == 1, "not told once\n{server}");
                Ok(())
            });
        }
    }
    cells.run()
}

#[test]
fn a_test_within_the_limit_runs_to_its_end() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--server-bitrate-limit 40M/1 -i 0.2")?;
    for options in ["-b 8M --bidir -t 2", "-b 15M -t 2", "-u -b 15M -t 2"] {
        run_client(&ours(), server.port, options)?.succeeded()?;
    }
    Ok(())
}

#[test]
fn a_servers_limit_is_heard_by_our_client() -> Checked {
    let _permit = shared();
    for server in [ours(), libiperf()?] {
        let server = Server::start(&server, "--server-bitrate-limit 10M/1")?;
        for options in ["-b 11M", "-b 0"] {
            let client = run_client(&ours(), server.port, &format!("-t 5 {options}"))?;
            refused(&client, TOO_FAST)?;
        }
    }
    Ok(())
}

/// The client failed, with these words of the server.
fn refused(client: &Finished, words: &str) -> Checked {
    ensure!(client.code.is_some_and(|code| code != 0), "no failure\n{client}");
    // 3.12 does not say whose error it is.
    let told = [format!("SERVER ERROR - {words}"), format!("iperf3: error - {words}")];
    ensure!(told.iter().any(|told| client.stderr.contains(told)), "not told\n{client}");
    Ok(())
}
