//! One source against a server, and honest clients beside it: whoever is silent or slow holds nothing that
//! others need.
//!
//! The honest clients are programs that run a whole test, each from an address of its own, one after the
//! other. In a long run none of them tries twice; in a short one, which is judged on machines that are busy
//! with other things, each has a few tries.

use std::io::{ErrorKind, Read};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{LIMIT, PARAMETERS, cookie, of_crowd, request};
use crate::harness::figures::{number_from, tell};
use crate::harness::login::{Login, start_server};
use crate::harness::peer::client::HonestClient;
use crate::harness::peer::wire::{Wire, state};
use crate::harness::{Checked, Failure, Folder, Process, Server, alone, ensure, ours, shared, wait_until};

/// An honest client has its test by then.
const PROMISE: Duration = Duration::from_secs(2);
/// Honest clients of a short run, which has to serve all of them, however slow the machine is ...
const FEW: u64 = 6;
/// ... within so many tries of each.
const TRIES: u32 = 5;
/// Honest clients of a long run, of which one in a hundred may be served later than that, or not at all.
const MANY: u64 = 100;
/// How many clients attack at the same time from the address of the attacker.
const HANDS: usize = 16;

/// What somebody does to a server, again and again.
struct Attack {
    name: &'static str,
    /// Options of the server.
    server: &'static str,
    /// The server knows its users, and the honest clients log in.
    has_users: bool,
    /// Options of the honest clients.
    honest: &'static str,
    /// Connections at a time.
    hands: usize,
    /// Addresses that they come from.
    sources: usize,
    /// What each of them does with a connection that has said its cookie.
    does: fn(&mut Hand) -> Checked,
}

const ATTACKS: &[Attack] = &[
    Attack {
        name: "a cookie, then silence",
        server: "",
        has_users: false,
        honest: "-n 128K",
        hands: 1,
        sources: 1,
        does: Hand::stay,
    },
    Attack {
        name: "four cookies, then silence",
        server: "",
        has_users: false,
        honest: "-n 128K -R",
        hands: 4,
        sources: 1,
        does: Hand::stay,
    },
    Attack {
        name: "a data connection every 9 seconds",
        server: "--public --max-tests 8",
        has_users: false,
        honest: "-n 128K",
        hands: HANDS,
        sources: 1,
        does: |hand| {
            hand.ask(r#"{"tcp":true,"omit":0,"time":10,"parallel":128,"len":131072}"#)?;
            loop {
                hand.open_stream()?;
                hand.stay_for(Duration::from_secs(9))?;
            }
        },
    },
    Attack {
        name: "all of the rate, then silence",
        server: "--public --max-tests 8",
        has_users: false,
        honest: "-n 128K -b 1G",
        hands: HANDS,
        sources: 1,
        does: |hand| hand.run_silently(GREEDY),
    },
    Attack {
        name: "all of the rate of a server with one test at a time, then silence",
        server: "--public",
        has_users: false,
        honest: "-n 128K",
        hands: HANDS,
        sources: 1,
        does: |hand| hand.run_silently(GREEDY),
    },
    Attack {
        name: "a test in which nothing comes",
        server: "",
        has_users: false,
        honest: "-n 128K",
        hands: HANDS,
        sources: 1,
        does: |hand| hand.run_silently(PARAMETERS),
    },
    Attack {
        name: "a short test, then silence instead of results",
        server: "",
        has_users: false,
        honest: "-n 128K",
        hands: 4,
        sources: 1,
        does: |hand| {
            hand.ask(PARAMETERS)?;
            hand.hear(state::CREATE_STREAMS)?;
            hand.open_stream()?;
            hand.hear(state::TEST_START)?;
            hand.hear(state::TEST_RUNNING)?;
            hand.streams[0].send(&[0; 1000])?;
            hand.control()?.send(&[state::TEST_END])?;
            hand.stay()
        },
    },
    Attack {
        name: "set-ups with paths and windows of their own, then silence",
        server: "--max-tests 4",
        has_users: false,
        honest: "-m -w 64K -n 128K",
        hands: HANDS,
        sources: 1,
        does: |hand| {
            hand.ask(r#"{"mptcp":true,"window":16384,"time":10,"parallel":128,"len":1000}"#)?;
            hand.stay()
        },
    },
    Attack {
        name: "no password, from 80 addresses",
        server: "",
        has_users: true,
        honest: "",
        hands: 80,
        sources: 80,
        does: |hand| {
            hand.ask(PARAMETERS)?;
            hand.stay()
        },
    },
];

/// Asks for everything that a public server has, for as long as it gives it.
const GREEDY: &str = r#"{"tcp":true,"omit":0,"time":60,"parallel":1,"len":131072,"bandwidth":10000000000}"#;

#[test]
fn whoever_is_silent_or_slow_keeps_nobody_out() -> Checked {
    let _permit = shared();
    thread::scope(|scope| {
        let run = |attack| scope.spawn(move || under(attack, FEW, TRIES));
        let runs: Vec<_> = ATTACKS.iter().map(|attack| (attack, run(attack))).collect();
        runs.into_iter().try_for_each(|(attack, run)| {
            let served = run.join().map_err(|_| Failure(format!("{}: panicked", attack.name)))??;
            ensure!(
                served.all == FEW,
                "{}: {} of {FEW} served: {}",
                attack.name,
                served.all,
                served.last_words
            );
            Ok(())
        })
    })
}

#[test]
#[ignore = "a hundred clients for each attack: `make soak`"]
fn soak_whoever_is_silent_or_slow_keeps_nobody_out() -> Checked {
    let _permit = alone();
    let tries = number_from("SOAK_ATTACKED", MANY);
    let mut kept_out = Vec::new();
    for attack in ATTACKS {
        let Served { all, in_time, slowest, last_words } = under(attack, tries, 1)?;
        tell(&format!(
            "{}: {all} of {tries} served, {in_time} within {PROMISE:?}, the slowest after {slowest:.2?}",
            attack.name
        ));
        if in_time * 100 < tries * 99 {
            kept_out.push(format!("{}: {in_time} of {tries}: {last_words}", attack.name));
        }
    }
    ensure!(kept_out.is_empty(), "{}", kept_out.join("\n"));
    Ok(())
}

/// A public server gives a set-up fifteen seconds in all, however busy the client looks.
#[test]
fn a_public_server_waits_fifteen_seconds_for_a_set_up() -> Checked {
    let server = Server::start(&ours(), "--public")?;
    let mut hand = Hand::new(Ipv4Addr::LOCALHOST, server.port, Arc::default());
    hand.come()?;
    let began = Instant::now();
    hand.ask(r#"{"tcp":true,"omit":0,"time":10,"parallel":128,"len":131072}"#)?;
    hand.hear(state::CREATE_STREAMS)?;
    // Whatever comes then is the end.
    while hand.stay_for(Duration::from_secs(1)).is_ok() {
        hand.open_stream()?;
    }
    let took = began.elapsed();
    ensure!((15..20).contains(&took.as_secs()), "given up after {took:?}");
    Ok(())
}

/// Whoever leaves in the middle of a set-up again and again fills no log; the failures of others are told.
#[test]
fn one_source_does_not_fill_the_log() -> Checked {
    let folder = Folder::new()?;
    let log = folder.file("log");
    let server = Server::start(&ours(), &format!("-J --logfile {}", log.display()))?;
    let parameters =
        format!(r#"{{"tcp":true,"time":10,"parallel":1,"len":1000,"title":"{}"}}"#, "t".repeat(7000));
    let fail = |from: Ipv4Addr| -> Checked {
        HonestClient::invited(server.port, request(from, &parameters)).map(drop)
    };
    (0..300).try_for_each(|_| fail(of_crowd(120, 0)))?;
    fail(of_crowd(120, 1))?;
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until(LIMIT, || told().contains("\"127.120.0.2\""))?;
    server.process.terminate()?;
    server.finish()?.succeeded()?;
    let (text, of_first) = (told(), told().matches("\"127.120.0.1\"").count());
    ensure!(of_first == 60, "{of_first} failures are told");
    let bytes = text.len();
    ensure!(bytes < 61 * 20_000, "{bytes} bytes");
    let words =
        "127.120.0.1 has had so many failed set-ups within a minute that no more of them are reported";
    ensure!(text.matches(words).count() == 1, "{text}");
    Ok(())
}

/// What has become of the honest clients.
#[derive(Default)]
struct Served {
    all: u64,
    in_time: u64,
    slowest: Duration,
    /// What the last one that was not served has said.
    last_words: String,
}

/// Honest clients at a server that is attacked meanwhile.
fn under(attack: &Attack, clients: u64, tries: u32) -> Checked<Served> {
    let start = if attack.has_users { start_server } else { Server::start };
    let server = start(&ours(), attack.server)?;
    let number = ATTACKS.iter().position(|one| one.name == attack.name).expect("it is one of them");
    let crowd = 100 + u8::try_from(number).expect("few attacks");
    let done = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        for hand in 0..attack.hands {
            let mut hand = Hand::new(of_crowd(crowd, hand % attack.sources), server.port, Arc::clone(&done));
            scope.spawn(move || while !done_with(&mut hand, attack) {});
        }
        let served = honest_ones(attack, (clients, tries), (crowd, server.port));
        done.store(true, Ordering::Relaxed);
        served
    })
}

/// Attacks once more, whatever has become of the last time, unless all is over.
fn done_with(hand: &mut Hand, attack: &Attack) -> bool {
    if hand.come().and_then(|()| (attack.does)(hand)).is_err() {
        // Refused, or sent away.
        thread::yield_now();
    }
    hand.done.load(Ordering::Relaxed)
}

fn honest_ones(attack: &Attack, (clients, tries): (u64, u32), (crowd, port): (u8, u16)) -> Checked<Served> {
    let mut served = Served::default();
    for number in 0..clients {
        // No address of the attackers.
        let own = Ipv4Addr::new(127, crowd, 1, u8::try_from(number % 250 + 1).expect("at most 250"));
        let options = format!("-B {own} {}", attack.honest);
        for _ in 0..tries {
            let command = if attack.has_users {
                Login::RIGHT.command(&ours(), port, &options)?
            } else {
                ours().command(&format!("-c 127.0.0.1 -p {port} {options}"))
            };
            let client = Process::spawn(command)?.finish(LIMIT)?;
            if client.code == Some(0) {
                served.all += 1;
                served.in_time += u64::from(client.elapsed <= PROMISE);
                served.slowest = served.slowest.max(client.elapsed);
                break;
            }
            served.last_words = client.stderr;
        }
    }
    Ok(served)
}

/// One of the connections of an attacker.
struct Hand {
    from: Ipv4Addr,
    port: u16,
    done: Arc<AtomicBool>,
    cookie: [u8; 37],
    control: Option<Wire>,
    streams: Vec<Wire>,
}

impl Hand {
    fn new(from: Ipv4Addr, port: u16, done: Arc<AtomicBool>) -> Self {
        Self { from, port, done, cookie: cookie(), control: None, streams: Vec::new() }
    }

    /// Comes with a new cookie.
    fn come(&mut self) -> Checked {
        (self.control, self.cookie) = (None, cookie());
        self.streams.clear();
        let mut control = Wire::connect_from(self.from, self.port)?;
        control.0.set_read_timeout(Some(Duration::from_millis(100)))?;
        control.send(&self.cookie)?;
        self.control = Some(control);
        Ok(())
    }

    fn control(&mut self) -> Checked<&mut Wire> {
        self.control.as_mut().ok_or_else(|| Failure("not connected".into()))
    }

    /// Reads what the server says until it hangs up.
    fn stay(&mut self) -> Checked {
        self.stay_for(Duration::from_secs(3600))
    }

    /// The same for a time.
    ///
    /// # Errors
    /// It hung up, or all is over.
    fn stay_for(&mut self, time: Duration) -> Checked {
        let began = Instant::now();
        while began.elapsed() < time && !self.done.load(Ordering::Relaxed) {
            match self.control()?.0.read(&mut [0; 64]) {
                Ok(0) => return Err(Failure("sent away".into())),
                Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        ensure!(!self.done.load(Ordering::Relaxed), "all is over");
        Ok(())
    }

    /// Waits for this state.
    fn hear(&mut self, state: u8) -> Checked {
        let (began, done) = (Instant::now(), Arc::clone(&self.done));
        while began.elapsed() < LIMIT && !done.load(Ordering::Relaxed) {
            let mut said = [0];
            match self.control()?.0.read(&mut said) {
                Ok(1) => {
                    ensure!(said == [state], "state {said:?} instead of {state}");
                    return Ok(());
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => break,
            }
        }
        Err(Failure("sent away".into()))
    }

    /// Says which test it wants.
    fn ask(&mut self, parameters: &str) -> Checked {
        self.hear(state::PARAM_EXCHANGE)?;
        self.control()?.send_frame(parameters)
    }

    /// Opens a data connection.
    fn open_stream(&mut self) -> Checked {
        let mut stream = Wire::connect_from(self.from, self.port)?;
        stream.send(&self.cookie)?;
        self.streams.push(stream);
        Ok(())
    }

    /// Goes through the whole set-up of a test with one stream, and is silent then.
    fn run_silently(&mut self, parameters: &str) -> Checked {
        self.ask(parameters)?;
        self.hear(state::CREATE_STREAMS)?;
        self.open_stream()?;
        self.stay()
    }
}
