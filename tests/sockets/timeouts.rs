//! Who waits how long: receivers for bytes, kernels for acknowledgements, servers for clients.

use std::fs;
use std::time::{Duration, Instant};

use super::LIMIT;
use crate::harness::peer::client::HonestClient;
use crate::harness::peer::wire::{COOKIE, Wire, state};
use crate::harness::{
    Cable, Checked, DEVICE, Process, Server, ensure, libiperf, ours, run_client, run_pair, shared,
    start_client,
};

/// What iperf3 says when nothing came.
const SILENCE: &str = "idle timeout for receiving data";

#[test]
fn a_receiving_server_gives_a_silent_client_up() -> Checked {
    let _permit = shared();
    for client in [ours(), libiperf()?] {
        for way in ["", "--bidir", "-u"] {
            let server = Server::start(&ours(), "--rcv-timeout 500")?;
            let client = start_client(&client, server.port, &format!("-t 20 -b 10M {way}"))?;
            await_test(&server)?;
            client.pause()?;
            let since = Instant::now();
            let told = || server.process.so_far().matches(SILENCE).count() == 1;
            ensure!(server.process.runs_until(LIMIT, told)?, "{}", server.process.so_far());
            let took = since.elapsed();
            ensure!(took < Duration::from_secs(4), "took {took:?}\n{}", server.process.so_far());
            client.resume()?;
            let client = client.finish(LIMIT)?;
            ensure!(client.code != Some(0), "{client}");
        }
    }
    Ok(())
}

#[test]
fn a_receiving_client_gives_a_silent_server_up() -> Checked {
    let _permit = shared();
    for server in [ours(), libiperf()?] {
        for way in ["-R", "--bidir", "-u -R"] {
            let server = Server::start(&server, "")?;
            let client =
                start_client(&ours(), server.port, &format!("-t 20 -b 10M --rcv-timeout 500 {way}"))?;
            let is_running = || client.so_far().contains(" sec ");
            ensure!(client.runs_until(LIMIT, is_running)?, "{}", client.so_far());
            server.process.pause()?;
            let since = Instant::now();
            let client = client.finish(LIMIT)?;
            ensure!(client.code == Some(1) && client.stderr.contains(SILENCE), "{client}");
            client.ended_within(since, Duration::from_secs(5))?;
            server.process.resume()?;
        }
    }
    Ok(())
}

#[test]
fn a_server_waits_for_streams_no_longer_than_for_bytes() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--rcv-timeout 300")?;
    for (number, (parameters, code)) in (1..).zip([
        (r#"{"tcp":true,"time":1,"parallel":1,"len":1000}"#, Some(144)),
        (r#"{"udp":true,"time":1,"parallel":1,"len":1000}"#, Some(144)),
        (r#"{"tcp":true,"time":1,"parallel":1,"len":1000,"bidirectional":true}"#, Some(144)),
        (r#"{"tcp":true,"time":1,"parallel":1,"len":1000,"reverse":true}"#, None),
    ]) {
        server.process.wait_for_stdout("Server listening", number, LIMIT)?;
        let mut client = HonestClient::invited(server.port, parameters)?;
        let since = Instant::now();
        if let Some(code) = code {
            let told = client.control.read_server_error()?;
            ensure!(told == code, "{parameters}: error {told} instead of {code}");
            ensure!(since.elapsed() < Duration::from_secs(3), "{parameters}: took {:?}", since.elapsed());
        } else {
            // A server that will only send has nothing to wait for.
            client.open()?;
            client.control.expect_state(state::TEST_START)?;
        }
    }
    Ok(())
}

#[test]
fn who_only_sends_waits_for_nothing() -> Checked {
    // Blocks come further apart than the sender's own limit, which is none.
    run_pair((&ours(), "--rcv-timeout 100"), (&ours(), "-R -t 1 -b 1M -l 100K")).map(|_| ())
}

#[test]
fn unacknowledged_bytes_end_a_test() -> Checked {
    let _permit = shared();
    let cable = Cable::lay(1500, false)?;
    let server = cable.start_server(&ours(), "")?;
    let host = cable.server.v4;
    let options = format!("-c {host} -p {} -t 20 -b 10M --snd-timeout 1000", server.port);
    let client = cable.client.within(|| Process::spawn(ours().command(&options)))?;
    await_test(&server)?;
    cable.server.unplug()?;
    let since = Instant::now();
    let client = client.finish(LIMIT)?;
    ensure!(client.code == Some(1) && client.stderr.contains("timed out"), "{client}");
    // Without the option it would be the control connection that notices, after ten seconds and more.
    client.ended_within(since, Duration::from_secs(8))
}

#[test]
fn a_one_off_server_that_nobody_comes_to_leaves() -> Checked {
    let _permit = shared();
    for options in ["--idle-timeout 1 -1", "--idle-timeout 1 -1 -J"] {
        let server = Server::start(&ours(), options)?.finish()?;
        server.succeeded()?;
        ensure!(server.elapsed < Duration::from_secs(5), "{server}");
        ensure!(server.stderr.is_empty(), "{server}");
    }
    Ok(())
}

#[test]
fn an_idle_server_stays_as_it_is() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--idle-timeout 1")?;
    let first = listener(server.port);
    ensure!(first.is_some(), "nobody listens");
    // Connected, but its cookie takes longer than the server's patience.
    let mut control = Wire::connect(server.port)?;
    control.send(&COOKIE[..20])?;
    let since = Instant::now();
    let is_over = || since.elapsed() > Duration::from_millis(2_500);
    ensure!(server.process.runs_until(LIMIT, is_over)?, "{}", server.process.so_far());
    ensure!(listener(server.port) == first, "another socket listens");
    control.send(&COOKIE[20..])?;
    control.expect_state(state::PARAM_EXCHANGE)?;
    control.send(&[state::IPERF_DONE])?;
    control.wait_for_close()?;
    for peer in [ours(), libiperf()?] {
        run_client(&peer, server.port, "-t 1")?.succeeded()?;
    }
    // It says so no more than iperf3 does.
    let output = server.process.so_far();
    ensure!(output.matches("(test #1)").count() == 1, "{output}");
    Ok(())
}

/// A socket knows its device by a number, and another device of the same name has another one.
#[test]
fn an_idle_server_finds_its_device_again() -> Checked {
    let _permit = shared();
    let cable = Cable::lay(1500, false)?;
    let server = cable.start_server(&ours(), &format!("--idle-timeout 1 --bind-dev {DEVICE}"))?;
    for options in ["-n 1K", "-n 1K -m", "-n 1K -w 64K"] {
        cable.run_client(&ours(), server.port, options)?.succeeded()?;
    }
    let listens = || cable.server.within(|| Ok(listener(server.port)));
    let first = listens()?;
    cable.replace(1500)?;
    let is_another = || listens().is_ok_and(|now| now.is_some() && now != first);
    ensure!(server.process.runs_until(LIMIT, is_another)?, "{}", server.process.so_far());
    for options in ["-n 1K", "-n 1K -m", "-n 1K -w 64K"] {
        cable.run_client(&ours(), server.port, options)?.succeeded()?;
    }
    Ok(())
}

/// Waits until a test runs at that server.
fn await_test(server: &Server) -> Checked {
    server.process.wait_for_stdout("connected to", 1, LIMIT)?;
    server.process.wait_for_stdout(" sec ", 1, LIMIT)
}

/// What the kernel calls the socket that listens on that port.
fn listener(port: u16) -> Option<String> {
    let table = fs::read_to_string("/proc/thread-self/net/tcp6").ok()?;
    let is_it = |row: &&str| row.contains(&format!(":{port:04X} ")) && row.contains(" 0A ");
    table.lines().find(is_it)?.split_whitespace().nth(9).map(str::to_owned)
}
