//! Child processes that cannot outlive or hang a test.

use std::fmt;
use std::io::Read;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::signals::give_back_signals;
use crate::harness::{Checked, Document, Failure, ensure};

/// A running child whose output is collected as it comes. It is killed when this is dropped.
pub struct Process {
    child: Child,
    watch: Arc<Watch>,
    command: String,
    started: Instant,
}

/// A child that has ended by itself.
pub struct Finished {
    /// The exit status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// All it wrote to standard output.
    pub stdout: String,
    /// All it wrote to standard error.
    pub stderr: String,
    /// From its start to its end.
    pub elapsed: Duration,
    /// When it ended.
    pub ended: Instant,
    command: String,
}

impl Process {
    pub fn spawn(mut command: Command) -> Checked<Self> {
        command.stdin(Stdio::null());
        Self::spawn_as_it_is(command)
    }

    /// The same with a pipe into its standard input.
    pub fn spawn_with_input(mut command: Command) -> Checked<(Self, ChildStdin)> {
        command.stdin(Stdio::piped());
        let mut process = Self::spawn_as_it_is(command)?;
        let input = process.child.stdin.take().expect("it was set to be a pipe");
        Ok((process, input))
    }

    /// The same for a command whose standard output goes where it says, and is not seen here.
    pub fn spawn_with_output(mut command: Command) -> Checked<Self> {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        Self::watch(command)
    }

    fn spawn_as_it_is(mut command: Command) -> Checked<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::watch(command)
    }

    fn watch(mut command: Command) -> Checked<Self> {
        let text = format!("{command:?}").replace('"', "");
        give_back_signals(&mut command);
        let started = Instant::now();
        let mut child = command.spawn().map_err(|error| Failure(format!("cannot start {text}: {error}")))?;
        let watch = Arc::new(Watch::default());
        // The command holds its own copy of a standard output of the caller's choice.
        drop(command);
        let stderr = child.stderr.take().expect("it was set to be a pipe");
        match child.stdout.take() {
            Some(stdout) => collect(stdout, &watch, |seen| &mut seen.stdout),
            None => watch.change(|seen| seen.pipes_closed += 1),
        }
        collect(stderr, &watch, |seen| &mut seen.stderr);
        note_exit(pid(&child), &watch);
        Ok(Self { child, watch, command: text, started })
    }

    /// The kernel's number of the child.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until standard output contains `text` that many times.
    pub fn wait_for_stdout(&self, text: &str, count: usize, limit: Duration) -> Checked {
        let is_there = |seen: &Seen| String::from_utf8_lossy(&seen.stdout).matches(text).count() >= count;
        self.watch.wait(limit, |seen| is_there(seen) || seen.is_over());
        ensure!(self.watch.read(is_there), "not {count} times {text:?} after {limit:?}\n{}", self.so_far());
        Ok(())
    }

    /// Waits until `condition` holds or the child ends; tells whether the child still runs.
    ///
    /// For conditions that nobody announces: they are looked at every few milliseconds.
    pub fn runs_until(&self, limit: Duration, condition: impl Fn() -> bool) -> Checked<bool> {
        let deadline = Instant::now() + limit;
        while !condition() {
            if self.watch.wait(Duration::from_millis(3), |seen| seen.ended.is_some()) {
                return Ok(false);
            }
            ensure!(Instant::now() < deadline, "not ready after {limit:?}\n{}", self.so_far());
        }
        Ok(self.watch.read(|seen| seen.ended.is_none()))
    }

    /// It has not ended.
    pub fn is_running(&self) -> bool {
        self.watch.read(|seen| seen.ended.is_none())
    }

    /// The process's number.
    pub fn pid(&self) -> Pid {
        pid(&self.child)
    }

    /// Sends SIGTERM, as a system that shuts down does.
    pub fn terminate(&self) -> Checked {
        self.signal(Signal::SIGTERM)
    }

    /// Sends SIGHUP, as a terminal that is closed does.
    pub fn hang_up(&self) -> Checked {
        self.signal(Signal::SIGHUP)
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) -> Checked {
        self.signal(Signal::SIGINT)
    }

    /// Lets the child do nothing until [`Self::resume`].
    pub fn pause(&self) -> Checked {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets a paused child go on.
    pub fn resume(&self) -> Checked {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Checked {
        // The child stays a zombie until it is waited for, so the number cannot belong to anybody else.
        kill(pid(&self.child), signal)
            .map_err(|error| Failure(format!("cannot send {signal} to {}: {error}", self.command)))
    }

    /// Waits for the child to end by itself within `limit` from now.
    pub fn finish(mut self, limit: Duration) -> Checked<Finished> {
        let over = self.watch.wait(limit, Seen::is_over);
        ensure!(over, "still running after another {limit:?}\n{}", self.so_far());
        let code = self.child.wait()?.code();
        let finished = self.watch.read(|seen| {
            let ended = seen.ended.expect("it is over");
            Finished {
                code,
                stdout: String::from_utf8_lossy(&seen.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&seen.stderr).into_owned(),
                elapsed: ended - self.started,
                ended,
                command: self.command.clone(),
            }
        });
        // No program here should say that, and no user can make anything of it.
        let says_a_number =
            [&finished.stdout, &finished.stderr].iter().any(|text| text.contains("(os error "));
        ensure!(!says_a_number, "the number of a system's error\n{finished}");
        Ok(finished)
    }

    /// The command and its output up to now, for failure texts.
    pub fn so_far(&self) -> String {
        self.watch.read(|seen| {
            let (out, err) = (String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
            let (out, err) = (shortened(&out), shortened(&err));
            format!("$ {}\n--- stdout\n{out}--- stderr\n{err}---", self.command)
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail for a child that was waited for already, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Exit status 0.
    pub fn succeeded(&self) -> Checked {
        ensure!(self.code == Some(0), "exit status {:?} instead of 0\n{self}", self.code);
        Ok(())
    }

    /// Exit status 1 and exactly one line on standard error, which is returned.
    pub fn failed_with_one_line(&self) -> Checked<&str> {
        ensure!(self.code == Some(1), "exit status {:?} instead of 1\n{self}", self.code);
        let mut lines = self.stderr.lines();
        let line = lines.next().unwrap_or_default();
        ensure!(line.starts_with("ringperf: "), "no line that begins with `ringperf: `\n{self}");
        ensure!(lines.next().is_none(), "more than one line on standard error\n{self}");
        Ok(line)
    }

    /// Exit status 1, nothing on standard error, and one document whose `error` is returned with it.
    pub fn failed_in_document(&self) -> Checked<(Document, String)> {
        ensure!(self.code == Some(1), "exit status {:?} instead of 1\n{self}", self.code);
        ensure!(self.stderr.is_empty(), "something on standard error\n{self}");
        let document = self.document()?;
        let error = document.text("/error")?.to_owned();
        Ok((document, error))
    }

    /// The one JSON document that standard output must be.
    pub fn document(&self) -> Checked<Document> {
        Document::parse(&self.stdout).map_err(|Failure(why)| Failure(format!("{why}\n{self}")))
    }

    /// Ended no later than `limit` after `since`.
    pub fn ended_within(&self, since: Instant, limit: Duration) -> Checked {
        let took = self.ended.saturating_duration_since(since);
        ensure!(took <= limit, "ended {took:?} later instead of at most {limit:?}\n{self}");
        Ok(())
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, elapsed, command, .. } = self;
        let (stdout, stderr) = (shortened(&self.stdout), shortened(&self.stderr));
        write!(
            f,
            "$ {command}\n--- exit status {code:?} after {elapsed:?}; stdout\n{stdout}--- stderr\n{stderr}---"
        )
    }
}

/// A line of a report without the number of its test, which it has where another test is reported as well.
pub fn without_mark(line: &str) -> &str {
    let marked = line.strip_prefix('#').and_then(|rest| rest.split_once(":  "));
    marked.filter(|(mark, _)| mark.bytes().all(|digit| digit.is_ascii_digit())).map_or(line, |(_, rest)| rest)
}

/// Waits until `condition` holds, for what no child of this process announces.
pub fn wait_until(limit: Duration, condition: impl Fn() -> bool) -> Checked {
    let deadline = Instant::now() + limit;
    while !condition() {
        ensure!(Instant::now() < deadline, "not so after {limit:?}");
        thread::park_timeout(Duration::from_millis(3));
    }
    Ok(())
}

/// The beginning and the end of a long output: a document of many intervals would hide everything else.
fn shortened(output: &str) -> String {
    const EDGE_LINES: usize = 40;
    let lines: Vec<&str> = output.lines().collect();
    if lines.len() <= 2 * EDGE_LINES {
        return output.to_owned();
    }
    let (head, tail) = (&lines[..EDGE_LINES], &lines[lines.len() - EDGE_LINES..]);
    format!("{}\n[... {} lines ...]\n{}\n", head.join("\n"), lines.len() - 2 * EDGE_LINES, tail.join("\n"))
}

/// What the watching threads have seen of a child.
#[derive(Default)]
struct Watch {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    pipes_closed: u8,
    ended: Option<Instant>,
}

impl Seen {
    fn is_over(&self) -> bool {
        self.ended.is_some() && self.pipes_closed == 2
    }
}

impl Watch {
    fn read<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().expect("no watcher panics"))
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().expect("no watcher panics"));
        self.changed.notify_all();
    }

    /// Waits at most `limit` for `condition`; tells whether it holds.
    fn wait(&self, limit: Duration, condition: impl Fn(&Seen) -> bool) -> bool {
        let seen = self.seen.lock().expect("no watcher panics");
        let (seen, _) =
            self.changed.wait_timeout_while(seen, limit, |seen| !condition(seen)).expect("no watcher panics");
        condition(&seen)
    }
}

/// Starts a thread that moves `pipe` into its place in [`Seen`].
fn collect(mut pipe: impl Read + Send + 'static, watch: &Arc<Watch>, place: fn(&mut Seen) -> &mut Vec<u8>) {
    let watch = Arc::clone(watch);
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            watch.change(|seen| place(seen).extend_from_slice(&buffer[..count]));
        }
        watch.change(|seen| seen.pipes_closed += 1);
    });
}

/// Starts a thread that notes when the child ends, and leaves it to be waited for by its owner.
fn note_exit(pid: Pid, watch: &Arc<Watch>) {
    let watch = Arc::clone(watch);
    thread::spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {}
        watch.change(|seen| seen.ended = Some(Instant::now()));
    });
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("the kernel's process numbers are positive i32"))
}
