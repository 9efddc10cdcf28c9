//! Every kind of address, at both ends: IPv4, IPv6, IPv4 in IPv6, and those of a link with its device.

use std::sync::Arc;

use crate::harness::{Cable, Cells, Checked, Failure, Finished, Server, ensure, ours, pick_run, run};

/// Short tests, each of another kind.
const TESTS: [&str; 4] =
    ["-n 200K", "-n 200K -R -P 2", "-u -b 20M -l 1000 -n 50K", "-u -b 20M -l 1000 -t 0.2 -R"];

/// How both ends are told their addresses, and the address from which the client must have come.
struct Case {
    server: &'static str,
    client: &'static str,
    from: &'static str,
}

const CASES: [Case; 18] = [
    Case { server: "", client: "-c 127.0.0.1", from: "127.0.0.1" },
    Case { server: "", client: "-c ::1", from: "::1" },
    Case { server: "", client: "-4 -c localhost", from: "127.0.0.1" },
    Case { server: "", client: "-c 127.0.0.77", from: "127.0.0.1" },
    Case { server: "", client: "-c ::ffff:127.0.0.1", from: "127.0.0.1" },
    Case { server: "-4", client: "-c 127.0.0.1", from: "127.0.0.1" },
    Case { server: "-4", client: "-c ::ffff:127.0.0.1", from: "127.0.0.1" },
    Case { server: "-6", client: "-c ::1", from: "::1" },
    Case { server: "-B 127.0.0.1", client: "-c 127.0.0.1", from: "127.0.0.1" },
    Case { server: "-B 127.0.0.5", client: "-c 127.0.0.5", from: "127.0.0.1" },
    Case { server: "-B 127.0.0.1", client: "-c ::ffff:127.0.0.1", from: "127.0.0.1" },
    Case { server: "-B ::1", client: "-c ::1", from: "::1" },
    Case { server: "", client: "-c 127.0.0.1 -B 127.0.0.9", from: "127.0.0.9" },
    Case { server: "", client: "-c ::1 -B ::1", from: "::1" },
    Case { server: "", client: "-c 127.0.0.1 --cport", from: "127.0.0.1" },
    Case { server: "", client: "-c ::1 --cport", from: "::1" },
    Case { server: "", client: "-c 127.0.0.1 -B 127.0.0.8 --cport", from: "127.0.0.8" },
    Case { server: "-B ::1", client: "-c ::1 -B ::1 --cport", from: "::1" },
];

#[test]
fn every_kind_of_address_at_both_ends() -> Checked {
    let mut cells = Cells::default();
    for Case { server, client, from } in CASES {
        for test in TESTS {
            cells.add(format!("{server} / {client} / {test}"), move || {
                let mut client = client.to_owned();
                let port = client.ends_with("--cport").then(|| pick_run(2));
                port.iter().for_each(|port| client.push_str(&format!(" {port}")));
                let server = Server::start(&ours(), &format!("-1 {server}"))?;
                let client = run(ours().command(&format!("{client} -p {} -J {test}", server.port)))?;
                comes_from(&client, from, port)?;
                server.finish()?.succeeded()
            });
        }
    }
    cells.run()?;
    println!("A6: {} kinds of addresses with {} tests each", CASES.len(), TESTS.len());
    Ok(())
}

/// Its streams come from there, and something was received.
fn comes_from(client: &Finished, address: &str, port: Option<u16>) -> Checked {
    let check = || {
        client.succeeded()?;
        let document = client.document()?;
        let local = document.text("/start/connected/0/local_host")?;
        let mapped = format!("::ffff:{address}");
        ensure!(local == address || local == mapped, "it came from {local}, not from {address}");
        if let Some(port) = port {
            let local = document.integer("/start/connected/0/local_port")?;
            ensure!(local == u64::from(port), "it came from port {local} instead of {port}");
        }
        ensure!(document.integer("/end/sum_received/bytes")? > 0, "nothing was received");
        Ok(())
    };
    check().map_err(|Failure(why)| Failure(format!("{why}\n{client}")))
}

/// An address that is only good on a link needs the device behind it, wherever it stands.
#[test]
fn addresses_of_a_link_with_their_device() -> Checked {
    const CLIENT: &str = "fe80::77:1";
    const SERVER: &str = "fe80::77:2";
    let cable = Arc::new(Cable::lay(1500, false)?);
    cable.client.add_address(CLIENT)?;
    cable.server.add_address(SERVER)?;
    let mut cells = Cells::default();
    for (server, client) in [
        (String::new(), format!("-c {SERVER}%cable")),
        (String::new(), format!("-6 -c {SERVER}%cable")),
        (String::new(), format!("-c {SERVER}%cable -B {CLIENT}%cable")),
        (format!("-B {SERVER}%cable"), format!("-c {SERVER}%cable")),
        (format!("-B {SERVER}%cable"), format!("-c {SERVER}%cable -B {CLIENT}%cable --cport")),
        ("--bind-dev cable".to_owned(), format!("-c {SERVER}%cable --bind-dev cable")),
    ] {
        for test in TESTS {
            let (cable, server, client) = (Arc::clone(&cable), server.clone(), client.clone());
            cells.add(format!("{server} / {client} / {test}"), move || {
                let client = if client.ends_with("--cport") { format!("{client} 8000") } else { client };
                let server = cable.start_server(&ours(), &format!("-1 {server}"))?;
                let command = ours().command(&format!("{client} -p {} -J {test}", server.port));
                let client = cable.client.within(|| run(command))?;
                client.succeeded()?;
                let document = client.document()?;
                ensure!(document.integer("/end/sum_received/bytes")? > 0, "nothing was received\n{client}");
                let local = document.text("/start/connected/0/local_host")?;
                ensure!(local.starts_with("fe80::"), "it came from {local}\n{client}");
                server.finish()?.succeeded()
            });
        }
    }
    cells.run()
}
