//! Windows of a fixed size (`-w`): both ends have chosen their scale when the first packets meet, so a server
//! must know of them before.

use super::{count, shows};
use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::request::Request;
use crate::harness::peer::wire::COOKIE;
use crate::harness::{
    Cable, Cells, Checked, Failure, Finished, Program, Server, debian, ensure, libiperf, ours, run_client,
    run_pair, shared,
};

/// A window that was set too late moves a tenth of that within a second.
const BYTES_MIN: u64 = 2 << 20;

#[test]
fn a_window_has_the_scale_that_it_has_at_every_server() -> Checked {
    let _permit = shared();
    for server in [ours(), debian()?, libiperf()?] {
        for more in ["", "-R", "-6"] {
            let client = format!("-w 16K {more}");
            shows((&server, ""), (&ours(), &client), |seen| count(seen, "wscale:0,0") == 2)?;
        }
    }
    Ok(())
}

#[test]
fn a_small_window_is_no_standstill() -> Checked {
    let mut cells = Cells::default();
    for client in [ours(), debian()?, libiperf()?] {
        for options in ["-w 4K", "-w 16K", "-w 4K -6", "-w 4K -P 2", "-w 16K -R"] {
            let client = client.clone();
            cells.add(format!("{}: {options}", client.name), move || {
                let server = Server::start(&ours(), "-1")?;
                moves_enough(&run_client(&client, server.port, &format!("-t 1 -J {options}"))?)
            });
        }
    }
    cells.run()
}

#[test]
fn a_small_window_is_no_standstill_with_large_packets() -> Checked {
    let _permit = shared();
    let cable = Cable::lay(9000, false)?;
    let server = cable.start_server(&ours(), "")?;
    let run = |client: &Program, window: &str| {
        moves_enough(&cable.run_client(client, server.port, &format!("-t 1 -J -w {window}"))?)
    };
    run(&debian()?, "16K")?;
    run(&libiperf()?, "4K")
}

/// What a report tells of the buffers is what they were before there was a connection, as iperf3 does.
#[test]
fn buffers_are_told_as_iperf3_tells_them() -> Checked {
    let _permit = shared();
    let told = |program: &Program, options: &str| {
        let pair = run_pair((program, "-J"), (program, options))?;
        let of = |end: &Finished, key: &str| end.document()?.integer(&format!("/start/{key}"));
        let pairs = [&pair.client, &pair.server]
            .map(|end| -> Checked<(u64, u64)> { Ok((of(end, "sndbuf_actual")?, of(end, "rcvbuf_actual")?)) });
        let [client, server] = pairs;
        Ok::<_, Failure>((client?, server?))
    };
    for options in ["", "-R", "-w 64K", "-m", "-m -w 64K -R", "-P 2"] {
        let options = format!("-n 1M -J {options}");
        let (ours, theirs) = (told(&ours(), &options)?, told(&libiperf()?, &options)?);
        ensure!(ours == theirs, "{options}: {ours:?}, where iperf3 tells {theirs:?}");
    }
    Ok(())
}

fn moves_enough(client: &Finished) -> Checked {
    let received = client.document()?.totals()?.received;
    ensure!(received >= BYTES_MIN, "{received} bytes\n{client}");
    Ok(())
}

/// A window that the kernel does not give is an error before the test.
#[test]
fn a_window_that_is_too_large_is_refused() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    let mut client = asked(server.port, *COOKIE, r#""window":536870912"#)?;
    let code = client.control.read_server_error()?;
    ensure!(code == 141, "error {code} instead of 141");
    Ok(())
}

/// Only their host tells whose connections get a window, so what else the host sets up waits for its turn.
#[test]
fn a_window_is_for_the_host_that_asked_for_it() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--max-tests 8")?;
    let mut slow = asked(server.port, *COOKIE, r#""window":16384"#)?;
    slow.proceed(ClientPoint::Invited)?;
    let others = [r#""omit":0"#, r#""window":65536"#, r#""mptcp":true"#];
    let mut waiting = Vec::new();
    for (number, parameters) in others.iter().enumerate() {
        let mut cookie = *COOKIE;
        cookie[0] = b'A' + u8::try_from(number).expect("three");
        waiting.push(asked(server.port, cookie, parameters)?);
    }
    // Those of other hosts are not held up, whatever they want.
    for options in ["-n 1M", "-n 1K -w 64K", "-n 1K -m", "-n 1K -m -w 64K"] {
        run_client(&ours(), server.port, &format!("-B 127.0.0.2 {options}"))?.succeeded()?;
    }
    for mut client in waiting {
        let code = client.control.read_server_error()?;
        ensure!(code == 121, "error {code} instead of 121");
    }
    drop(slow);
    run_client(&ours(), server.port, "-n 1M")?.succeeded()
}

/// A client that has said what it wants.
fn asked(port: u16, cookie: [u8; 37], parameters: &str) -> Checked<HonestClient> {
    let parameters = format!(r#"{{"tcp":true,"time":1,"parallel":1,"len":1000,{parameters}}}"#);
    let request = Request { cookie, ..Request::from(parameters.as_str()) };
    HonestClient::reach(port, request, ClientPoint::Asked)
}
