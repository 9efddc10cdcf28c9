//! Clients and servers of every kind, with right and wrong users, passwords, keys and paddings.

use std::time::Duration;

use crate::harness::login::{Login, Padding, folder, start_server};
use crate::harness::{Checked, Finished, Program, Server, debian, ensure, libiperf, ours, run_client};

/// iperf3's words for a refusal.
const REFUSED: &str = "test authorization failed";

#[test]
fn ringperf_and_ringperf() -> Checked {
    good_logins_come_in_and_bad_ones_do_not((&ours(), Padding::Oaep), (&ours(), Padding::Oaep))
}

#[test]
fn ringperf_and_ringperf_with_the_old_padding() -> Checked {
    good_logins_come_in_and_bad_ones_do_not((&ours(), Padding::Pkcs1), (&ours(), Padding::Pkcs1))
}

#[test]
fn a_new_iperf3_logs_in_to_ringperf() -> Checked {
    good_logins_come_in_and_bad_ones_do_not((&ours(), Padding::Oaep), (&libiperf()?, Padding::Oaep))
}

#[test]
fn ringperf_logs_in_to_a_new_iperf3() -> Checked {
    good_logins_come_in_and_bad_ones_do_not((&libiperf()?, Padding::Oaep), (&ours(), Padding::Oaep))
}

/// The program knows no other padding, so it takes no option for it.
#[test]
fn an_old_iperf3_logs_in_to_ringperf() -> Checked {
    good_logins_come_in_and_bad_ones_do_not((&ours(), Padding::Pkcs1), (&debian()?, Padding::Oaep))
}

#[test]
fn ringperf_logs_in_to_an_old_iperf3() -> Checked {
    good_logins_come_in_and_bad_ones_do_not((&debian()?, Padding::Oaep), (&ours(), Padding::Pkcs1))
}

#[test]
fn the_paddings_are_not_mixed_up() -> Checked {
    let server = start_server(&ours(), "")?;
    is_refused(&server, &Login::RIGHT.run(&debian()?, server.port, "")?)?;
    is_refused(&server, &Login::RIGHT.run(&ours(), server.port, "--use-pkcs1-padding")?)?;
    logged(&server, "the token is for another key or padding; iperf3 before 3.17 needs --use-pkcs1-padding")?;
    Login::RIGHT.run(&ours(), server.port, "")?.succeeded()?;
    let server = start_server(&ours(), "--use-pkcs1-padding")?;
    is_refused(&server, &Login::RIGHT.run(&ours(), server.port, "")?)
}

#[test]
fn who_does_not_log_in_does_not_come_in() -> Checked {
    for client in [ours(), libiperf()?, debian()?] {
        let server = start_server(&ours(), "")?;
        is_refused(&server, &run_client(&client, server.port, "-n 64K")?)?;
        logged(&server, "no token; the client needs --username and --rsa-public-key-path")?;
    }
    for server in [libiperf()?, debian()?] {
        let server = start_server(&server, "")?;
        let client = run_client(&ours(), server.port, "-n 64K")?;
        let line = client.failed_with_one_line()?;
        ensure!(line.contains("it may want a --username") || line.contains(REFUSED), "{client}");
    }
    Ok(())
}

#[test]
fn a_server_that_does_not_ask_takes_everybody() -> Checked {
    let server = Server::start(&ours(), "")?;
    for client in [ours(), libiperf()?, debian()?] {
        Login::RIGHT.run(&client, server.port, "")?.succeeded()?;
    }
    Ok(())
}

#[test]
fn every_direction_and_protocol_logs_in() -> Checked {
    let server = start_server(&ours(), "-V")?;
    for options in ["-R", "--bidir -P 2", "-u", "-u -R"] {
        Login::RIGHT.run(&ours(), server.port, options)?.succeeded()?;
    }
    logged(&server, "      User: mario\n")
}

/// Otherwise anybody could end a server that waits for its one client.
#[test]
fn a_refused_login_is_not_the_one_test_of_a_one_off_server() -> Checked {
    let server = start_server(&ours(), "-1")?;
    is_refused(&server, &Login { password: "wrong", ..Login::RIGHT }.run(&ours(), server.port, "")?)?;
    is_refused(&server, &run_client(&ours(), server.port, "-n 64K")?)?;
    Login::RIGHT.run(&ours(), server.port, "")?.succeeded()?;
    server.finish()?.succeeded()
}

#[test]
fn refusals_in_documents() -> Checked {
    let server = start_server(&ours(), "-1 -J")?;
    let wrong = Login { password: "wrong", ..Login::RIGHT };
    let client = wrong.run(&ours(), server.port, "-J")?;
    let (_, error) = client.failed_in_document()?;
    ensure!(error == "test authorization failed", "{error}");
    Login::RIGHT.run(&ours(), server.port, "-J")?.succeeded()?;
    let server = server.finish()?;
    server.succeeded()?;
    let error = r#""error": "error - test authorization failed for the client at 127.0.0.1: wrong password (user \"mario\")""#;
    let stdout = server.stdout.replace(":\t", ": ");
    ensure!(stdout.contains(error), "no {error}\n{server}");
    Ok(())
}

#[test]
fn the_older_form_of_a_private_key() -> Checked {
    let folder = folder()?;
    let folder = folder.display();
    let files = format!(
        "--rsa-private-key-path {folder}/traditional.pem --authorized-users-path {folder}/users.csv -1"
    );
    let server = Server::start(&ours(), &files)?;
    Login::RIGHT.run(&libiperf()?, server.port, "")?.succeeded()?;
    server.finish()?.succeeded()
}

fn good_logins_come_in_and_bad_ones_do_not(
    (server, server_padding): (&Program, Padding),
    (client, client_padding): (&Program, Padding),
) -> Checked {
    let option = |padding| if padding == Padding::Pkcs1 { "--use-pkcs1-padding" } else { "" };
    let is_ours = server.name == "ringperf";
    let server = start_server(server, option(server_padding))?;
    let options = option(client_padding);
    Login::RIGHT.run(client, server.port, options)?.succeeded()?;
    for (login, reason) in [
        (Login { user: "wario", ..Login::RIGHT }, "unknown user (user \"wario\")"),
        (Login { user: "luigi", ..Login::RIGHT }, "wrong password (user \"luigi\")"),
        (Login { password: "rossi1", ..Login::RIGHT }, "wrong password (user \"mario\")"),
        (Login { key: "other-public.pem", ..Login::RIGHT }, "the token is for another key or padding"),
    ] {
        is_refused(&server, &login.run(client, server.port, options)?)?;
        if is_ours {
            logged(&server, &format!("{REFUSED} for the client at 127.0.0.1: {reason}"))?;
        }
    }
    Login::RIGHT.run(client, server.port, options)?.succeeded()
}

/// The client failed, with iperf3's words where the server has sent them.
fn is_refused(server: &Server, client: &Finished) -> Checked {
    ensure!(client.code != Some(0), "the client was let in\n{client}\n{}", server.process.so_far());
    // The new iperf3 has lost its words and closes the connection.
    let words = [REFUSED, "control socket has closed unexpectedly"];
    let says = |words: &str| client.stdout.contains(words) || client.stderr.contains(words);
    ensure!(words.into_iter().any(says), "it was not told why\n{client}\n{}", server.process.so_far());
    Ok(())
}

/// The server writes this, at the latest a moment later.
pub fn logged(server: &Server, text: &str) -> Checked {
    let is_there = || server.process.so_far().contains(text);
    server.process.runs_until(Duration::from_secs(5), is_there)?;
    ensure!(is_there(), "no {text:?}\n{}", server.process.so_far());
    Ok(())
}
