//! What a user meets at the terminal: refusals and interruptions.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrIn};

use crate::harness::peer::server::{HonestServer, Listener, ServerPoint};
use crate::harness::{
    Cable, Cells, Checked, DEVICE, Document, Failure, Finished, Process, Server, alone, ensure, ours, pick,
    run, run_client, start_client,
};

const SECOND: Duration = Duration::from_secs(1);
/// Stands once in each row of a report, after its times.
const ROW: &str = " sec ";

/// Runs a client that must fail, in text mode and in JSON mode; both must say `text`.
fn fails_both_ways(port: u16, options: &str, text: &str) -> Checked {
    let run = run_client(&ours(), port, options)?;
    let line = run.failed_with_one_line()?;
    ensure!(line.contains(text), "{text:?} is not said\n{run}");
    ensure!(!run.stdout.contains("iperf Done."), "a failed test is not done\n{run}");

    let run = run_client(&ours(), port, &format!("{options} -J"))?;
    let (_, error) = run.failed_in_document()?;
    ensure!(error.contains(text), "{text:?} is not said\n{run}");
    ensure!(!error.starts_with("ringperf"), "the text is bare in a document\n{run}");
    Ok(())
}

#[test]
fn a_closed_port_refuses() -> Checked {
    fails_both_ways(pick(), "-t 1", "Connection refused")
}

#[test]
fn a_silent_host_is_given_up_in_time() -> Checked {
    let (listener, _queued) = full_listener()?;
    let port = listener.local_addr()?.port();
    let started = Instant::now();
    fails_both_ways(port, "--connect-timeout 300 -t 1", "unable to connect")?;
    ensure!(started.elapsed() < Duration::from_secs(2), "two attempts took {:?}", started.elapsed());
    Ok(())
}

#[test]
fn only_a_name_takes_a_thread_to_look_it_up() -> Checked {
    for (host, is_name) in [("127.0.0.1", false), ("::1", false), ("localhost", true)] {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/stdout", "-e", "trace=prctl"]).arg(ours().path);
        command.args(["-c", host, "-p", &pick().to_string()]);
        let run = run(command)?;
        let names = |thread| run.stdout.contains(&format!("PR_SET_NAME, \"{thread}\""));
        ensure!(names("report") && names("resolve") == is_name, "{host}\n{run}");
    }
    Ok(())
}

/// A listener that accepts nothing and whose queue is full, so that the kernel leaves new connections
/// unanswered.
fn full_listener() -> Checked<(TcpListener, Vec<TcpStream>)> {
    let nix_error = |error: nix::errno::Errno| Failure(format!("cannot set up a listener: {error}"));
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .map_err(nix_error)?;
    socket::bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).map_err(nix_error)?;
    socket::listen(&socket, Backlog::new(0).map_err(nix_error)?).map_err(nix_error)?;
    let listener = TcpListener::from(socket);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr()?.port()));
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queued.push(stream);
        ensure!(queued.len() < 10, "the queue of a listener with backlog 0 does not fill up");
    }
    Ok((listener, queued))
}

#[test]
fn a_busy_server_refuses_at_once() -> Checked {
    let server = Server::start(&ours(), "-i 0.1")?;
    let running = start_client(&ours(), server.port, "-t 20 -b 10M")?;
    server.process.wait_for_stdout(ROW, 1, 5 * SECOND)?;
    let started = Instant::now();
    fails_both_ways(server.port, "-t 1", "the server is busy running a test. try again later")?;
    ensure!(started.elapsed() < 5 * SECOND, "two refusals took {:?}", started.elapsed());
    drop(running);
    Ok(())
}

#[test]
fn an_unknown_congestion_control_is_an_error() -> Checked {
    let server = Server::start(&ours(), "")?;
    let text = "unable to set TCP_CONGESTION: Supplied congestion control algorithm not supported on this host: \
        nosuch (-C); this kernel has ";
    fails_both_ways(server.port, "-t 1 -C nosuch", text)?;
    let has = fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")?;
    fails_both_ways(server.port, "-t 1 -C nosuch", has.trim())?;
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

#[test]
fn a_port_in_use_is_an_error_that_says_whose_it_is() -> Checked {
    let server = Server::start(&ours(), "")?;
    let run = run(ours().command(&format!("-s -p {}", server.port)))?;
    let line = run.failed_with_one_line()?;
    let holder =
        format!("ringperf (process {}) has the port: end it, or choose another", server.process.id());
    for text in
        ["unable to start listener for connections on ", ": Address already in use; ", holder.as_str()]
    {
        ensure!(line.contains(text), "{text:?} is not said\n{run}");
    }
    Ok(())
}

#[test]
fn an_address_of_somebody_else_is_not_blamed_on_the_server() -> Checked {
    let server = Server::start(&ours(), "")?;
    let text =
        "unable to connect to server from -B 192.0.2.7: Cannot assign requested address; this machine has ";
    fails_both_ways(server.port, "-t 1 -B 192.0.2.7", text)?;
    let run = run(ours().command(&format!("-s -p {} -B 192.0.2.7", pick())))?;
    let line = run.failed_with_one_line()?;
    let text = ": Cannot assign requested address; this machine has ";
    ensure!(line.contains(text) && line.contains("127.0.0.1"), "{text:?} is not said\n{run}");
    Ok(())
}

#[test]
fn a_port_of_the_client_that_is_taken_is_named() -> Checked {
    let server = Server::start(&ours(), "")?;
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = taken.local_addr()?.port();
    let text = format!(
        "unable to connect stream from --cport {port}: Address already in use; another connection has the port"
    );
    fails_both_ways(server.port, &format!("-t 1 --cport {port}"), &text)
}

#[test]
fn a_segment_size_that_the_kernel_refuses_is_named() -> Checked {
    let server = Server::start(&ours(), "")?;
    let text = "unable to set TCP/SCTP MSS, which is 88 to 32767 bytes: -M 20: Invalid argument";
    fails_both_ways(server.port, "-t 1 -M 20", text)?;
    run_client(&ours(), server.port, "-n 1K -M 88")?.succeeded()
}

#[test]
fn a_processor_that_is_not_to_be_had_is_named() -> Checked {
    let text = "unable to set CPU affinity: processor 1023 of -A does not exist or is not one that this process may \
        use, which are 0";
    fails_both_ways(pick(), "-t 1 -A 1023", text)?;
    let run = run(ours().command(&format!("-s -p {} -A 1023", pick())))?;
    let line = run.failed_with_one_line()?;
    ensure!(line.contains(text), "{text:?} is not said\n{run}");
    let server = Server::start(&ours(), "")?;
    fails_both_ways(server.port, "-t 1 -A 0,1023", "unable to set CPU affinity")
}

#[test]
fn a_link_local_address_needs_its_device() -> Checked {
    let cable = Cable::lay(1500, false)?;
    let server = cable.start_server(&ours(), "-6")?;
    let there = "fe80::ff:fe00:2";
    let connect = |host: &str, options: &str| {
        let command = ours().command(&format!("-c {host} -p {} -n 1K {options}", server.port));
        cable.client.within(|| run(command))
    };
    let line = "unable to connect to server: a link-local address needs its network device: ";
    for (host, options, right) in [
        (there, "", format!("-c {there}%{DEVICE}")),
        (cable.server.v6.to_string().as_str(), "-B fe80::ff:fe00:1", format!("-B fe80::ff:fe00:1%{DEVICE}")),
    ] {
        let client = connect(host, options)?;
        let said = client.failed_with_one_line()?;
        ensure!(said.ends_with(&format!("{line}{right}")), "{right:?} is not said\n{client}");
    }
    Ok(())
}

/// script(1) plays the terminal.
#[test]
fn silence_is_explained_at_a_terminal_and_nowhere_else() -> Checked {
    let (listener, _queued) = full_listener()?;
    let port = listener.local_addr()?.port();
    let options = format!("-c 127.0.0.1 -p {port} --connect-timeout 1500");
    let waiting =
        format!("ringperf: waiting for 127.0.0.1, port {port}, to take the connection, 1.5 seconds at most");
    let client = run(ours().command(&options))?;
    client.failed_with_one_line()?;
    let mut script = Command::new("script");
    let line = format!("{} {options}", ours().path.display());
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let client = run(script)?;
    ensure!(client.stdout.contains(&waiting), "{waiting:?} is not said\n{client}");
    ensure!(client.stdout.contains("unable to connect to server"), "no end\n{client}");
    Ok(())
}

/// Wherever a server may fall silent; what a client waits for is said before it gives up.
#[test]
fn each_wait_for_the_server_is_explained() -> Checked {
    const WAITS: [(&str, &str, &str); 8] = [
        ("connected", "", "the server's first answer, 10 seconds"),
        ("params", "", "the server's consent to the parameters, 10 seconds"),
        ("invited", "-u", "the server's answer over UDP, 5 seconds"),
        ("streams", "", "the start of the test, 10 seconds"),
        ("ended", "", "the server's readiness for results, 10 seconds"),
        ("results-read", "", "the server's results, 10 seconds"),
        ("results-read", "--get-server-output", "the server's results, 10 seconds"),
        ("results-sent", "", "the end of the exchange, 10 seconds"),
    ];
    let mut cells = Cells::default();
    for (point, options, waiting) in WAITS {
        cells.add(format!("{point} {options}"), move || {
            let listener = Listener::open()?;
            let port = listener.port;
            let mut script = Command::new("script");
            let line = format!("{} -c 127.0.0.1 -p {port} -t 0.1 {options}", ours().path.display());
            script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
            let client = Process::spawn(script)?;
            let _silent = HonestServer::reach(&listener, ServerPoint::of_name(point)?)?;
            let line = format!("ringperf: waiting for {waiting} at most");
            // Longer than it waits itself, so that it has either said so or ended.
            client.wait_for_stdout(&line, 1, 15 * SECOND)
        });
    }
    cells.run_at_once()
}

/// As nohup(1) starts it.
#[test]
fn a_server_that_is_to_outlive_its_terminal_does() -> Checked {
    let port = pick();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' HUP; exec {} -s -1 -p {port}", ours().path.display())]);
    let server = Process::spawn(shell)?;
    server.wait_for_stdout("Server listening on", 1, 10 * SECOND)?;
    server.hang_up()?;
    run_client(&ours(), port, "-n 1K")?.succeeded()?;
    server.finish(10 * SECOND)?.succeeded()?;

    let server = Server::start(&ours(), "")?;
    server.process.hang_up()?;
    let server = server.finish()?;
    server.succeeded()?;
    ensure!(server.stderr.contains("terminated by signal Hangup(1)"), "no reason\n{server}");
    Ok(())
}

/// A server and a client in the middle of a test that would last long.
struct Running {
    server: Server,
    client: Process,
}

impl Running {
    fn start(server_options: &str, client_options: &str) -> Checked<Self> {
        let server = Server::start(&ours(), &format!("-i 0.1 {server_options}"))?;
        let client = start_client(&ours(), server.port, &format!("-t 20 -i 0.1 {client_options}"))?;
        Ok(Self { server, client })
    }

    /// Interrupts the client and returns how it ended.
    fn interrupt_client(self) -> Checked<(Server, Finished)> {
        let interrupted = Instant::now();
        self.client.interrupt()?;
        let client = self.client.finish(5 * SECOND)?;
        client.succeeded()?;
        client.ended_within(interrupted, 2 * SECOND)?;
        Ok((self.server, client))
    }

    /// Interrupts the server and returns how both ended.
    fn interrupt_server(self) -> Checked<(Finished, Finished)> {
        let interrupted = Instant::now();
        self.server.process.interrupt()?;
        let server = self.server.finish()?;
        server.succeeded()?;
        server.ended_within(interrupted, 2 * SECOND)?;
        let client = self.client.finish(5 * SECOND)?;
        client.ended_within(interrupted, 3 * SECOND)?;
        Ok((server, client))
    }
}

/// A summary without an exchange: what this end counted is there.
fn has_partial_summary(document: &Document) -> Checked {
    ensure!(!document.list("/intervals")?.is_empty(), "no intervals");
    let sent = document.totals()?.sent;
    ensure!(sent > 0, "nothing was sent");
    Ok(())
}

#[test]
fn an_interrupted_client_reports_and_leaves() -> Checked {
    let _permit = alone();
    let running = Running::start("", "")?;
    running.client.wait_for_stdout(ROW, 3, 5 * SECOND)?;
    let (server, client) = running.interrupt_client()?;
    ensure!(client.stdout.contains("sender"), "no summary\n{client}");
    ensure!(client.stderr.contains("interrupt - the client has terminated"), "no reason\n{client}");
    server.process.wait_for_stdout("(test #2)", 1, 5 * SECOND)?;
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

#[test]
fn an_interrupted_client_writes_one_document() -> Checked {
    let _permit = alone();
    let running = Running::start("", "-J")?;
    running.server.process.wait_for_stdout(ROW, 3, 5 * SECOND)?;
    let (server, client) = running.interrupt_client()?;
    let document = client.document()?;
    has_partial_summary(&document)?;
    let error = document.text("/error")?;
    ensure!(error.contains("interrupt - the client has terminated"), "{error:?}");
    server.process.wait_for_stdout("(test #2)", 1, 5 * SECOND)?;
    run_client(&ours(), server.port, "-n 1K")?.succeeded()
}

#[test]
fn an_interrupted_server_reports_and_ends_its_client() -> Checked {
    let _permit = alone();
    let running = Running::start("", "")?;
    running.server.process.wait_for_stdout(ROW, 3, 5 * SECOND)?;
    let (server, client) = running.interrupt_server()?;
    ensure!(server.stdout.contains("receiver"), "no summary\n{server}");
    let line = client.failed_with_one_line()?;
    ensure!(line.contains("the server has terminated"), "no reason\n{client}");
    ensure!(client.stdout.contains("sender"), "no summary\n{client}");
    Ok(())
}

#[test]
fn an_interrupted_server_and_its_client_write_one_document_each() -> Checked {
    let _permit = alone();
    let running = Running::start("-J", "")?;
    running.client.wait_for_stdout(ROW, 3, 5 * SECOND)?;
    let (server, _) = running.interrupt_server()?;
    let document = server.document()?;
    ensure!(!document.list("/intervals")?.is_empty(), "no intervals\n{server}");

    let running = Running::start("", "-J")?;
    running.server.process.wait_for_stdout(ROW, 3, 5 * SECOND)?;
    let (_, client) = running.interrupt_server()?;
    let (document, error) = client.failed_in_document()?;
    has_partial_summary(&document)?;
    ensure!(error.contains("the server has terminated"), "{error:?}");
    Ok(())
}

#[test]
fn an_idle_server_leaves_when_interrupted() -> Checked {
    let server = Server::start(&ours(), "")?;
    let interrupted = Instant::now();
    server.process.interrupt()?;
    let server = server.finish()?;
    server.succeeded()?;
    server.ended_within(interrupted, 3 * SECOND)
}

#[test]
fn a_comparison_without_a_result_is_a_failure() -> Checked {
    let compared = run(ours().command("loopback -t 0.1 -C no_such sync splice"))?;
    let line = compared.failed_with_one_line()?;
    ensure!(line == "ringperf: error - no engine could run; the table says why", "{compared}");
    let rows = compared.stdout.lines().filter(|line| line.contains("       -  ")).count();
    ensure!(rows == 2, "not a row for each engine\n{compared}");
    Ok(())
}
