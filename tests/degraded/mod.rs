//! Kernels that refuse, and hosts that are short of something: io_uring forbidden, missing or failing at one
//! of its calls, no memory to be locked, no descriptors, a process that is halted. `auto` goes on and says
//! why.
//!
//! The refusals are real ones: seccomp filters and resource limits that are put on the child before it
//! starts, and strace, which lets the n-th call fail.

mod engines;
mod halted;
mod interrupted;
mod limits;
mod refused;

use std::process::Command;
use std::time::Duration;

use nix::libc;

use crate::harness::restrict::{
    ALL_OF_IO_URING, PublicCopy, forbid_locked_memory, refuse, refuse_busy_poll, refuse_getrusage,
    refuse_keepalive, refuse_socketpair,
};
use crate::harness::{
    Account, Checked, Document, Process, Program, Server, Way, ensure, ours, pick, run, run_client, run_pair,
    shared, wait_until,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server is done with its last client within `limit`; until then it refuses the next one.
fn serves_within(server: &Server, limit: Duration) -> Checked {
    wait_until(limit, || run_client(&ours(), server.port, "-n 1K").is_ok_and(|client| client.code == Some(0)))
}

/// As a container's seccomp profile does.
fn forbid_io_uring(command: &mut Command) {
    refuse::<ALL_OF_IO_URING, { libc::EPERM }>(command);
}

/// As a kernel built without it does.
fn remove_io_uring(command: &mut Command) {
    refuse::<ALL_OF_IO_URING, { libc::ENOSYS }>(command);
}

#[test]
fn auto_goes_on_where_io_uring_is_forbidden() -> Checked {
    goes_on_without_io_uring(forbid_io_uring, &["EPERM", "not permitted", "forbidden", "denied", "seccomp"])
}

#[test]
fn auto_goes_on_where_io_uring_is_missing() -> Checked {
    goes_on_without_io_uring(remove_io_uring, &["ENOSYS", "not implemented", "no io_uring", "has not"])
}

/// Both ends run without io_uring, in every direction, and each says one of `causes`.
fn goes_on_without_io_uring(prepare: fn(&mut Command), causes: &[&str]) -> Checked {
    let _permit = shared();
    let program = Program { prepare, ..ours() };
    let ways = Way::ALL.map(|way| ["", "-u -b 10M -l 1400"].map(|protocol| (way, protocol)));
    for (way, protocol) in ways.into_iter().flatten() {
        let options = format!("-t 0.3 -J {protocol} {}", way.option());
        let pair = run_pair((&program, "-J"), (&program, &options))?;
        for document in [pair.client.document()?, pair.server.document()?] {
            ensure!(document.totals()?.received > 0 || way != Way::Forward, "nothing was received");
            says_why(&document, causes)?;
        }
        if !protocol.is_empty() {
            pair.client.document()?.accounts()?.iter().try_for_each(Account::is_complete)?;
        }
    }
    Ok(())
}

/// Every engine was left to `auto`, is not one of io_uring, and its reason is one of `causes`.
fn says_why(document: &Document, causes: &[&str]) -> Checked {
    for engine in document.list("/ringperf/engines")? {
        let used = engine["used"].as_str().unwrap_or_default();
        let reason = engine["reason"].as_str().unwrap_or_default();
        ensure!(engine["asked"] == "auto" && !used.starts_with("uring"), "not a fallback: {engine}");
        ensure!(causes.iter().any(|cause| reason.contains(cause)), "no cause in {engine}");
    }
    Ok(())
}

#[test]
fn an_engine_that_was_asked_for_never_falls_back() -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "")?;
    for prepare in [forbid_io_uring, remove_io_uring] {
        let program = Program { prepare, ..ours() };
        for engine in ["uring", "uring-zc"] {
            let client = run_client(&program, server.port, &format!("-t 1 --engine {engine}"))?;
            let line = client.failed_with_one_line()?;
            ensure!(line.contains("io_uring"), "the reason is not said\n{client}");
            ensure!(client.elapsed < Duration::from_secs(3), "took {:?}\n{client}", client.elapsed);
        }
    }
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

#[test]
fn auto_goes_on_where_no_memory_may_be_locked() -> Checked {
    let _permit = shared();
    let copy = PublicCopy::make()?;
    let program = Program { path: copy.path.clone(), prepare: forbid_locked_memory, ..ours() };
    let pair = run_pair((&program, ""), (&program, "-t 0.5 -J"))?;
    let document = pair.client.document()?;
    ensure!(document.totals()?.received > 0, "nothing was received");
    let senders = document.list("/ringperf/engines")?.iter().filter(|engine| engine["flow"] == "send");
    for engine in senders {
        let reason = engine["reason"].as_str().unwrap_or_default().to_lowercase();
        ensure!(reason.contains("memlock") || reason.contains("lock"), "no cause in {engine}");
    }
    Ok(())
}

#[test]
fn an_engine_that_needs_locked_memory_says_so() -> Checked {
    let _permit = shared();
    let copy = PublicCopy::make()?;
    let program = Program { path: copy.path.clone(), prepare: forbid_locked_memory, ..ours() };
    let server = Server::start(&ours(), "")?;
    let client = run_client(&program, server.port, "-t 1 --engine uring-zc")?;
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("memory lock limit"), "the reason is not said\n{client}");
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

/// As in a sandbox that knows few socket options: what nobody has asked for is done without.
#[test]
fn a_test_needs_no_keepalive_that_was_not_asked_for() -> Checked {
    let _permit = shared();
    let program = Program { prepare: refuse_keepalive, ..ours() };
    let pair = run_pair((&program, ""), (&program, "-n 1M -J"))?;
    ensure!(pair.client.document()?.totals()?.received == 1024 * 1024, "{}", pair.client);
    let server = Server::start(&ours(), "")?;
    for (option, expected) in
        [("--cntl-ka=10/1/2", "SO_KEEPALIVE"), ("--snd-timeout 1000", "TCP_USER_TIMEOUT")]
    {
        let client = run_client(&program, server.port, &format!("-n 1M {option}"))?;
        let line = client.failed_with_one_line()?;
        ensure!(line.contains(expected), "the option is not named\n{client}");
    }
    Ok(())
}

/// As in older kernels without CAP_NET_ADMIN. Nobody who does not ask for it notices.
#[test]
fn who_may_not_poll_hears_it_in_one_line_before_anything_is_connected() -> Checked {
    let _permit = shared();
    let poor = Program { prepare: refuse_busy_poll, ..ours() };
    for role in [format!("-c 127.0.0.1 -p {}", pick()), format!("-s -p {}", pick())] {
        let refused = run(poor.command(&format!("{role} --busy-poll 9999")))?;
        let line = refused.failed_with_one_line()?;
        let reason = "unable to poll for 9999 us (SO_BUSY_POLL): Operation not permitted; on this kernel the \
                      longest time without CAP_NET_ADMIN is that of sysctl net.core.busy_read";
        let fix = "; sysctl net.core.busy_read=9999 allows it";
        ensure!(line.contains(reason) && line.ends_with(fix), "{refused}");
    }
    run_pair((&poor, ""), (&poor, "-n 1M")).map(|_| ())
}

/// As in a sandbox that lets nobody ask for processor time: it is not known, at either end, and no number
/// says otherwise.
#[test]
fn processor_time_that_may_not_be_asked_for_is_not_known() -> Checked {
    let _permit = shared();
    let poor = Program { prepare: refuse_getrusage, ..ours() };
    for options in ["-t 0.3", "-t 0.3 -R", "-t 0.3 --bidir", "-t 0.3 -u -b 10M"] {
        for (server, client, unknown, known) in
            [(&ours(), &poor, "host", "remote"), (&poor, &ours(), "remote", "host")]
        {
            let pair = run_pair((server, "-J"), (client, &format!("{options} -J")))?;
            let document = pair.client.document()?;
            for part in ["total", "user", "system"] {
                let of = |end: &str| &document.0["end"]["cpu_utilization_percent"][format!("{end}_{part}")];
                ensure!(of(unknown).is_null() && of(known).is_number(), "{options}\n{}", pair.client);
            }
            let pair = run_pair((server, ""), (client, &format!("{options} -V")))?;
            let text = &pair.client.stdout;
            ensure!(!text.contains("Utilization") || text.contains("not known"), "{}", pair.client);
        }
    }
    Ok(())
}

/// A process that cannot hear of its signals says why in one line.
#[test]
fn a_process_that_may_have_no_pair_of_sockets_says_so() -> Checked {
    let server = Server::start(&ours(), "")?;
    let poor = Program { prepare: refuse_socketpair, ..ours() };
    for options in [
        format!("-s -p {}", pick()),
        format!("-c 127.0.0.1 -p {} -t 1", server.port),
        "loopback -t 0.1".into(),
    ] {
        let failed = run(poor.command(&options))?;
        let line = failed.failed_with_one_line()?;
        ensure!(line.contains("Operation not permitted"), "the reason is not said\n{failed}");
    }
    Ok(())
}

/// As in a container that was put together by hand.
#[test]
fn a_test_needs_no_files_of_the_system() -> Checked {
    let _permit = shared();
    let without = |arguments: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", "mount -t tmpfs none /dev && exec \"$0\" \"$@\""]).arg(ours().path);
        command.args(arguments.split_whitespace());
        command
    };
    let port = pick();
    let server = Process::spawn(without(&format!("-s -1 -p {port}")))?;
    server.wait_for_stdout("Server listening on", 1, PATIENCE)?;
    run(without(&format!("-c 127.0.0.1 -p {port} -n 1M")))?.succeeded()?;
    server.finish(PATIENCE)?.succeeded()
}
