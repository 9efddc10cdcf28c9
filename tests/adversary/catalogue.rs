//! The catalogue against both roles: every case of `server.cases` and `client.cases`.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::harness::{
    Checked, Failure, Finished, Holdings, Server, ensure, ours, run_client, shared, start_client,
    without_mark,
};

use super::play::{Play, Victim};
use super::script::{self, Case};
use crate::harness::peer::served::is_served;
use crate::harness::peer::server::Listener;

const SERVER_CASES: &str = include_str!("server.cases");
const CLIENT_CASES: &str = include_str!("client.cases");

/// Cases that take longer than this wait for a clock, side by side.
const QUICK: Duration = Duration::from_secs(4);
/// Quick cases that run at the same time.
const LANES: usize = 4;
/// Longest time of a client behind the end of its case.
const AFTERWARDS: Duration = Duration::from_secs(3);

#[test]
fn the_catalogue_is_large_enough() -> Checked {
    let (servers, clients) = (script::read(SERVER_CASES)?, script::read(CLIENT_CASES)?);
    ensure!(servers.len() + clients.len() >= 150, "{} and {} cases", servers.len(), clients.len());
    let silent = servers.iter().chain(&clients).find(|case| case.why.is_empty() || case.steps.is_empty());
    ensure!(silent.is_none(), "a case does not say why, or does nothing: {silent:?}");
    Ok(())
}

/// Whatever a client does, the server answers as the case says, serves the next one within a second, and in
/// the end has nothing left of it.
#[test]
fn a_server_withstands_its_catalogue() -> Checked {
    run_all(script::read(SERVER_CASES)?, Tormented::start, Tormented::play, Tormented::finish)
}

/// Whatever a server does, the client ends in time and says why, in text and in a document.
#[test]
fn a_client_withstands_its_catalogue() -> Checked {
    run_all(script::read(CLIENT_CASES)?, || Ok(()), |(), case| torment_client(case), Ok)
}

/// Plays the quick cases one after the other in a few lanes, each with a victim of its own, and every slow
/// case side by side with all others.
pub fn run_all<V>(
    cases: Vec<Case>,
    open: impl Fn() -> Checked<V> + Sync,
    play: impl Fn(&V, &Case) -> Checked + Sync,
    close: impl Fn(V) -> Checked + Sync,
) -> Checked {
    ensure!(!cases.is_empty(), "a catalogue without cases proves nothing");
    let (quick, slow): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(|case| case.within <= QUICK);
    let queue = Mutex::new(VecDeque::from(quick));
    let failures = Mutex::new(Vec::new());
    let note = |name: &str, result: Checked| {
        if let Err(Failure(why)) = result {
            failures.lock().expect("nobody panics here").push(format!("== {name}\n{why}"));
        }
    };
    let lane = || -> Checked {
        let victim = open()?;
        loop {
            let Some(case) = queue.lock().expect("nobody panics here").pop_front() else { break };
            let _permit = shared();
            note(&case.name, play(&victim, &case).map_err(|why| because(&case, why)));
        }
        close(victim)
    };
    let alone = |case: &Case| -> Checked {
        let victim = open()?;
        play(&victim, case).map_err(|why| because(case, why))?;
        close(victim)
    };
    thread::scope(|scope| {
        for case in &slow {
            scope.spawn(|| note(&case.name, alone(case)));
        }
        for number in 1..=LANES {
            let (note, lane) = (&note, &lane);
            scope.spawn(move || note(&format!("lane {number}"), lane()));
        }
    });
    let failures = failures.into_inner().expect("nobody panics here");
    ensure!(failures.is_empty(), "{} cases failed\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

fn because(case: &Case, Failure(why): Failure) -> Failure {
    Failure(format!("{}\n{why}", case.why))
}

/// A server, and what it held before the first case.
pub struct Tormented {
    pub server: Server,
    pub before: Holdings,
}

impl Tormented {
    pub fn start() -> Checked<Self> {
        let server = Server::start(&ours(), "")?;
        // It has everything that it needs when it says so.
        server.process.wait_for_stdout("Server listening on", 1, Duration::from_secs(20))?;
        // The sockets that some tests need besides are opened when the first of them comes, and stay. Where
        // the kernel has no Multipath TCP there is none for it.
        for options in ["-n 1K -w 64K", "-n 1K -m"] {
            run_client(&ours(), server.port, options)?;
        }
        let before = Holdings::at_rest(&server.process)?;
        Ok(Self { server, before })
    }

    pub fn play(&self, case: &Case) -> Checked {
        let played = Play::all(Victim::Server(self.server.port), case).map(drop);
        let served = is_served(self.server.port);
        played
            .and(served.map(|_| ()))
            .map_err(|Failure(why)| Failure(format!("{why}\n{}", self.server.process.so_far())))
    }

    /// What it holds when it is done with everybody, which is no descriptor and no thread more than before.
    pub fn at_rest(&self) -> Checked<Holdings> {
        Holdings::back_at_rest(&self.server.process, self.before)
    }

    /// What it holds now; so many guests cost it at most a descriptor each.
    pub fn at_most(&self, guests: u64) -> Checked<Holdings> {
        let now = Holdings::of(&self.server.process)?;
        let most = self.before.files + usize::try_from(guests).expect("a u64 fits a usize") + 2;
        ensure!(now.files <= most, "{:?} has become {now:?} with {guests} guests", self.before);
        Ok(now)
    }

    /// Nothing is left of its guests, and it ends as it should.
    pub fn finish(self) -> Checked {
        self.at_rest()?;
        self.server.process.interrupt()?;
        let server = self.server.finish()?;
        server.succeeded()?;
        speaks_plainly(&server)?;
        ensure!(
            server.stderr.lines().all(|line| without_mark(line).starts_with("ringperf: ")),
            "foreign lines\n{server}"
        );
        Ok(())
    }
}

/// Runs a client against a case, in text and in a document.
fn torment_client(case: &Case) -> Checked {
    thread::scope(|scope| {
        let document = scope.spawn(|| in_document(&client_against(case, " -J")?, case));
        in_text(&client_against(case, "")?, case)?;
        document.join().expect("the other mode does not panic")
    })
}

fn client_against(case: &Case, mode: &str) -> Checked<Finished> {
    let listener = Listener::open()?;
    listener.udp.set_read_timeout(Some(case.within))?;
    let client = start_client(&ours(), listener.port, &format!("{}{mode}", case.client))?;
    let played = Play::all(Victim::Client(&listener), case);
    // What is open stays open until the client is gone.
    let finished = client.finish(AFTERWARDS)?;
    if let Err(Failure(why)) = played {
        return Err(Failure(format!("{why}\n{finished}")));
    }
    speaks_plainly(&finished)?;
    ensure!(finished.code == Some(case.exit), "exit status instead of {}\n{finished}", case.exit);
    Ok(finished)
}

fn in_text(client: &Finished, case: &Case) -> Checked {
    if case.exit == 0 {
        let lines: Vec<&str> = client.stderr.lines().collect();
        let is_due = match (&case.warns, lines.as_slice()) {
            (None, []) => true,
            (Some(warns), [line]) => line.starts_with("ringperf: warning: ") && line.contains(warns),
            _ => false,
        };
        ensure!(is_due, "{:?} on standard error, {:?} is due\n{client}", lines, case.warns);
        return Ok(());
    }
    let line = client.failed_with_one_line()?;
    ensure!(line.contains(&case.says), "{:?} is not said\n{client}", case.says);
    Ok(())
}

fn in_document(client: &Finished, case: &Case) -> Checked {
    if case.exit == 0 {
        let document = client.document()?;
        let warnings = document.list("/ringperf/warnings").cloned().unwrap_or_default();
        let is_due = match (&case.warns, warnings.as_slice()) {
            (None, []) => true,
            (Some(warns), [warning]) => warning.as_str().is_some_and(|text| text.contains(warns)),
            _ => false,
        };
        ensure!(is_due, "{warnings:?} are the warnings, {:?} is due\n{client}", case.warns);
        return Ok(());
    }
    let (_, error) = client.failed_in_document()?;
    // A document has the reason alone, as readers of iperf3's second key find it.
    let says = case.says.strip_prefix("SERVER ERROR").unwrap_or(&case.says);
    let says = says.strip_prefix(" - ").unwrap_or(says);
    ensure!(!error.is_empty() && error.contains(says), "{says:?} is not said\n{client}");
    Ok(())
}

/// No panic, and nothing that a terminal would obey.
pub fn speaks_plainly(process: &Finished) -> Checked {
    for output in [&process.stdout, &process.stderr] {
        ensure!(!output.contains("panicked"), "a panic\n{process}");
        let command = output.chars().find(|one| one.is_control() && !matches!(one, '\n' | '\t'));
        ensure!(command.is_none(), "{command:?} reaches the terminal\n{process}");
        let turns =
            output.chars().any(|one| matches!(one, '\u{200e}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
        ensure!(!turns, "the direction of writing is turned\n{process}");
    }
    Ok(())
}
