//! What a user can have forgotten, said in one line before anything is connected.

use std::fs::{self, File};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::harness::login::{Login, folder};
use crate::harness::{Checked, Holdings, Process, Server, ensure, ours, pick, run};

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
    // As large as a disk may be, and without a byte on it.
    File::create(folder.join("huge.csv"))?.set_len(1 << 30)?;
    let folder = folder.display();
    for (key, users, text) in [
        ("private.pem", "huge.csv", "it is larger than 16777216 bytes"),
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
        ensure!(server.elapsed < Duration::from_secs(2), "it took {:?}\n{server}", server.elapsed);
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

/// Whatever becomes of the file, the test that runs is not touched, the next client hears yes or no, and the
/// server stays small and there.
#[test]
fn the_users_may_change_in_any_way_while_a_test_runs() -> Checked {
    let folder = folder()?;
    let good = fs::read_to_string(folder.join("users.csv"))?;
    let users = folder.join("running.csv");
    fs::write(&users, &good)?;
    let files = format!(
        "--rsa-private-key-path {}/private.pem --authorized-users-path {} --max-tests 2",
        folder.display(),
        users.display()
    );
    let server = Server::start(&ours(), &files)?;
    Login::RIGHT.run(&ours(), server.port, "")?.succeeded()?;
    let before = Holdings::at_rest(&server.process)?;
    let running = Process::spawn(Login::RIGHT.command(&ours(), server.port, "-b 100K -l 1000")?)?;
    running.wait_for_stdout("connected to", 1, Duration::from_secs(10))?;
    let gone = folder.join("gone.csv");
    let no_comma = good.replace(',', " ");
    let windows = good.replace('\n', "\r\n");
    for (name, is_let_in, change) in [
        ("missing", false, &(|| fs::rename(&users, &gone)) as &dyn Fn() -> std::io::Result<()>),
        ("huge", false, &|| File::create(&users)?.set_len(1 << 30)),
        ("without a comma", false, &|| fs::write(&users, &no_comma)),
        ("of Windows", true, &|| fs::write(&users, &windows)),
        ("empty", false, &|| fs::write(&users, "")),
        ("a pipe that nobody writes", false, &|| {
            fs::remove_file(&users)?;
            Ok(mkfifo(&users, Mode::S_IRWXU)?)
        }),
        ("a file again", true, &|| {
            fs::remove_file(&users)?;
            fs::write(&users, &good)
        }),
        ("half written", false, &|| fs::write(&users, &good[..good.len() / 3])),
        ("good again", true, &|| fs::write(&users, &good)),
    ] {
        change()?;
        let client = Login::RIGHT.run(&ours(), server.port, "")?;
        if is_let_in {
            client.succeeded()?;
        } else {
            let line = client.failed_with_one_line()?;
            ensure!(line.contains("test authorization failed"), "{name}\n{client}");
        }
        ensure!(client.elapsed < Duration::from_secs(4), "{name}: it took {:?}\n{client}", client.elapsed);
    }
    running.finish(Duration::from_secs(20))?.succeeded()?;
    let after = Holdings::at_rest(&server.process)?;
    println!(
        "I8: {} KiB became {} KiB, with a file of 1 GiB in between",
        before.memory_kib, after.memory_kib
    );
    ensure!(after.memory_kib < before.memory_kib + 20 * 1024, "{before:?} became {after:?}");
    Ok(())
}
