//! What a user can have forgotten, said in one line before anything is connected.

use super::keys::{Login, folder};
use crate::harness::{Checked, Server, ensure, ours, pick, run};

#[test]
fn clients_that_cannot_log_in_do_not_connect() -> Checked {
    let long: &str = "passwordpasswordpasswordpasswordpasswordpasswordpasswordpasswordpasswordpasswordpassword\
        passwordpasswordpasswordpasswordpasswordpasswordpasswordpasswordpasswordpasswordpasswordpassword";
    // Nobody listens there, and who tries says so.
    let port = pick();
    for (login, text) in [
        (Login { key: "nonexistent.pem", ..Login::RIGHT }, "nonexistent.pem: No such file"),
        (Login { key: "users.csv", ..Login::RIGHT }, "has no public key in PEM"),
        (Login { key: "private.pem", ..Login::RIGHT }, "has no public key in PEM (BEGIN PUBLIC KEY)"),
        (Login { key: "small-public.pem", ..Login::RIGHT }, "is no valid RSA key of 2048 to 8192 bits"),
        (Login { password: "", ..Login::RIGHT }, "a password has at least one character and no blanks"),
        (Login { password: "ros si", ..Login::RIGHT }, "a password has at least one character"),
        (Login { password: long, ..Login::RIGHT }, "but this key and padding encrypt at most 214"),
    ] {
        let client = login.run(&ours(), port, "")?;
        let line = client.failed_with_one_line()?;
        ensure!(line.contains("you must specify a username, password, and path to a valid"), "{client}");
        ensure!(line.contains(text), "no {text:?}\n{client}");
    }
    Ok(())
}

/// setsid(1) takes the terminal away, if there is one.
#[test]
fn no_password_and_nobody_to_ask() -> Checked {
    let with_password = Login::RIGHT.command(&ours(), pick(), "")?;
    let mut command = std::process::Command::new("setsid");
    command.arg("--wait").arg(with_password.get_program()).args(with_password.get_args());
    command.env_remove("IPERF3_PASSWORD");
    let client = run(command)?;
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("no password; set IPERF3_PASSWORD, or run ringperf on a terminal"), "{client}");
    Ok(())
}

#[test]
fn servers_that_could_let_nobody_in_do_not_start() -> Checked {
    let folder = folder()?;
    let folder = folder.display();
    for (key, users, text) in [
        ("nonexistent.pem", "users.csv", "nonexistent.pem: No such file"),
        ("public.pem", "users.csv", "has no RSA private key in PEM without a passphrase"),
        ("small-private.pem", "users.csv", "is no valid RSA key of 2048 to 8192 bits"),
        ("private.pem", "nonexistent.csv", "nonexistent.csv: No such file"),
        ("private.pem", ".", "cannot read the users in"),
    ] {
        let port = pick();
        let files = format!("--rsa-private-key-path {folder}/{key} --authorized-users-path {folder}/{users}");
        let server = run(ours().command(&format!("-s -p {port} {files}")))?;
        let line = server.failed_with_one_line()?;
        ensure!(line.contains("you must specify a path to a valid RSA private key and a user"), "{server}");
        ensure!(line.contains(text), "no {text:?}\n{server}");
        ensure!(!server.stdout.contains("listening"), "it has listened\n{server}");
    }
    Ok(())
}

/// A user who is struck off the list while the server runs.
#[test]
fn the_users_are_read_for_each_test() -> Checked {
    let folder = folder()?;
    let users = folder.join("changing.csv");
    std::fs::copy(folder.join("users.csv"), &users)?;
    let (folder, path) = (folder.display(), users.display());
    let files = format!("--rsa-private-key-path {folder}/private.pem --authorized-users-path {path}");
    let server = Server::start(&ours(), &files)?;
    Login::RIGHT.run(&ours(), server.port, "")?.succeeded()?;
    std::fs::write(&users, "")?;
    let client = Login::RIGHT.run(&ours(), server.port, "")?;
    ensure!(client.failed_with_one_line()?.contains("test authorization failed"), "{client}");
    Ok(())
}
