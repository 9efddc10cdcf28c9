//! Nobody's connection is reset for what others do: not for their set-ups, which need sockets that listen in
//! another way, and not because a server listens for a while without work.

use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::{of_crowd, request};
use crate::harness::figures::{Figures, number_from, tell};
use crate::harness::peer::client::{ClientPoint, HonestClient};
use crate::harness::peer::wire::{Wire, state};
use crate::harness::{Checked, Failure, Server, ensure, ours, shared};

/// Clients that come at the same time.
const THREADS: usize = 3;
/// Runs of fewer clients tell no figures.
const LONG: u64 = 500;
/// An answer that takes longer has been lost.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn nobody_is_reset_beside_tests_with_windows_and_several_paths() -> Checked {
    beside_set_ups(450)
}

#[test]
#[ignore = "20,000 connections: `make soak`"]
fn soak_nobody_is_reset_beside_tests_with_windows_and_several_paths() -> Checked {
    beside_set_ups(number_from("SOAK_CONNECTIONS", 20_000))
}

#[test]
fn nobody_is_reset_by_a_server_that_nobody_came_to() -> Checked {
    beside_idleness(Duration::from_millis(2_200))
}

#[test]
#[ignore = "a minute: `make soak`"]
fn soak_nobody_is_reset_by_a_server_that_nobody_came_to() -> Checked {
    beside_idleness(Duration::from_secs(60))
}

/// So many clients ask whether they may have a test while others go through set-ups without a pause.
fn beside_set_ups(count: u64) -> Checked {
    let _permit = shared();
    let figures = Figures::new("connections beside set-ups of -m and -w", count);
    let server = Server::start(&ours(), "--max-tests 32")?;
    let port = server.port;
    let set_ups = [
        (r#""mptcp":true"#, Protocol::MPTCP),
        (r#""window":16384"#, Protocol::TCP),
        (r#""mptcp":true,"window":65536"#, Protocol::MPTCP),
    ];
    let (done, asked, set_up) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let honest = |thread: usize| {
        let mut answers = Answers::default();
        while asked.fetch_add(1, Ordering::Relaxed) < count {
            let asked = Instant::now();
            answers.note(ask(of_crowd(61, thread), port));
            figures.note(asked.elapsed());
        }
        answers
    };
    let answers = thread::scope(|scope| {
        let busy: Vec<_> = set_ups
            .iter()
            .enumerate()
            .map(|(number, &(parameters, transport))| {
                let (done, set_up) = (&done, &set_up);
                scope.spawn(move || -> Checked {
                    while !done.load(Ordering::Relaxed) {
                        go_through_a_set_up(of_crowd(60, number), port, parameters, transport)?;
                        set_up.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let honest: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || honest(thread))).collect();
        let answers = honest.into_iter().map(|thread| thread.join().expect("it does not panic"));
        let answers = answers.fold(Answers::default(), Answers::and);
        done.store(true, Ordering::Relaxed);
        busy.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))?;
        Ok::<_, Failure>(answers)
    })?;
    let set_up = set_up.into_inner();
    figures.print();
    if count >= LONG {
        tell(&format!("  beside {set_up} set-ups"));
    }
    ensure!(set_up > 20, "only {set_up} set-ups were in the way");
    answers.are_all_good()
}

/// Clients that leave without a word, so nobody has a test, for so long.
fn beside_idleness(time: Duration) -> Checked {
    let _permit = shared();
    let server = Server::start(&ours(), "--idle-timeout 1")?;
    let (port, deadline) = (server.port, Instant::now() + time);
    let answers = thread::scope(|scope| {
        let silent = |thread: usize| {
            let mut answers = Answers::default();
            while Instant::now() < deadline {
                answers.note(leave(of_crowd(62, thread), port));
            }
            answers
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || silent(thread))).collect();
        let answers = threads.into_iter().map(|thread| thread.join().expect("it does not panic"));
        answers.fold(Answers::default(), Answers::and)
    });
    answers.are_all_good()
}

/// What became of connections.
#[derive(Default)]
struct Answers {
    answered: u64,
    failures: Vec<String>,
}

impl Answers {
    fn note(&mut self, answer: Checked) {
        match answer {
            Ok(()) => self.answered += 1,
            Err(Failure(why)) => self.failures.push(why),
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.answered += other.answered;
        self.failures.extend(other.failures);
        self
    }

    fn are_all_good(&self) -> Checked {
        let Self { answered, failures } = self;
        ensure!(*answered > 0, "nobody was answered");
        ensure!(failures.is_empty(), "{} of {answered} failed: {:?}", failures.len(), &failures[..1]);
        Ok(())
    }
}

/// Asks for a test and leaves with the answer, be it that the server is busy.
fn ask(from: Ipv4Addr, port: u16) -> Checked {
    let mut client = HonestClient::reach(port, request(from, "{}"), ClientPoint::Accepted)?;
    client.control.0.set_read_timeout(Some(PATIENCE))?;
    if client.is_admitted()? { client.control.send(&[state::IPERF_DONE]) } else { Ok(()) }
}

/// Connects, says that there is nothing to say, and waits until the server hangs up.
fn leave(from: Ipv4Addr, port: u16) -> Checked {
    let mut client = Wire::connect_from(from, port)?;
    client.0.set_read_timeout(Some(PATIENCE))?;
    client.0.shutdown(Shutdown::Write)?;
    match client.0.read(&mut [0; 16]) {
        Ok(0) => Ok(()),
        other => Err(Failure(format!("{other:?} instead of the end"))),
    }
}

/// A client whose two streams are there, and that leaves then.
fn go_through_a_set_up(from: Ipv4Addr, port: u16, parameters: &str, transport: Protocol) -> Checked {
    let parameters = format!(r#"{{"tcp":true,"time":1,"parallel":2,"len":1000,{parameters}}}"#);
    let request = request(from, &parameters);
    let cookie = request.cookie;
    let mut client = HonestClient::reach(port, request, ClientPoint::Accepted)?;
    // The honest ones may have all the places.
    if !client.is_admitted()? {
        return Ok(());
    }
    client.proceed(ClientPoint::Invited)?;
    let streams = [(); 2].map(|()| -> Checked<Wire> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(transport))?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        let mut stream = Wire::new(socket.into())?;
        stream.send(&cookie)?;
        Ok(stream)
    });
    for stream in &streams {
        ensure!(stream.is_ok(), "no stream");
    }
    client.start()?;
    client.control.send(&[state::IPERF_DONE])
}
