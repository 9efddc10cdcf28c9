//! A client's password: from the environment, or typed at the terminal without being shown.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::SignalFd;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::ClientFlaw;

/// The environment variable that may have the password, as for iperf3.
const VARIABLE: &str = "IPERF3_PASSWORD";
/// The terminal of this session, whatever became of the standard streams.
const TERMINAL: &str = "/dev/tty";

/// Gets the password, which may still be one that cannot be written into a token.
pub(super) fn fetch() -> Result<Vec<u8>, ClientFlaw> {
    if let Some(password) = env::var_os(VARIABLE) {
        return Ok(password.into_vec());
    }
    let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL);
    terminal.and_then(|terminal| ask(&terminal)).map_err(ClientFlaw::NoPassword)
}

/// Asks for one line. The terminal is as it was afterwards, even if a signal ends the process meanwhile.
fn ask(mut terminal: &File) -> io::Result<Vec<u8>> {
    // In this order: a signal that has come takes effect when the terminal is itself again.
    let signals = HeldSignals::new()?;
    let silence = Silence::new(terminal)?;
    terminal.write_all(b"Password: ")?;
    let line = read_line(terminal, &signals);
    drop(silence);
    // The end of the line was not shown either.
    terminal.write_all(b"\n")?;
    line
}

/// The line without its end; a terminal hands out whole lines.
fn read_line(mut terminal: &File, signals: &HeldSignals) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let readable = |file| PollFd::new(file, PollFlags::POLLIN);
        let mut events = [readable(terminal.as_fd()), readable(signals.arrived.as_fd())];
        match poll(&mut events, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            other => other?,
        };
        if events[1].any() == Some(true) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut bytes = [0; 1024];
        let count = terminal.read(&mut bytes)?;
        line.extend_from_slice(&bytes[..count]);
        if count == 0 || line.ends_with(b"\n") {
            let end = line.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(line.len());
            line.truncate(end);
            return Ok(line);
        }
    }
}

/// While this exists, signals that end a process only show that they have come.
struct HeldSignals {
    before: SigSet,
    arrived: SignalFd,
}

impl HeldSignals {
    fn new() -> io::Result<Self> {
        let ending: SigSet =
            [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        let arrived = SignalFd::new(&ending)?;
        let before = ending.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { before, arrived })
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        // Fails for masks that no thread can have, and this one had it.
        let _ = self.before.thread_set_mask();
    }
}

/// While this exists, a terminal does not show what is typed.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ECHONL);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::pty::openpty;

    use super::*;

    fn echoes(terminal: &File) -> bool {
        tcgetattr(terminal).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// Reads what the terminal shows up to this text.
    fn shown_until(screen: &mut File, text: &str) -> String {
        let mut shown = Vec::new();
        while !shown.ends_with(text.as_bytes()) {
            let mut byte = [0];
            screen.read_exact(&mut byte).unwrap();
            shown.push(byte[0]);
        }
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_typed_password_is_not_shown() {
        for (typed, password) in
            [("rossi\n", "rossi"), ("\n", ""), ("r\u{7f}tonta\n", "tonta"), ("ros\u{4}si\n", "rossi")]
        {
            let pair = openpty(None, None).unwrap();
            let (mut screen, terminal) = (File::from(pair.master), File::from(pair.slave));
            assert!(echoes(&terminal));
            let asked = thread::spawn(move || (ask(&terminal), terminal));
            assert_eq!(shown_until(&mut screen, "Password: "), "Password: ");
            screen.write_all(typed.as_bytes()).unwrap();
            let (answer, terminal) = asked.join().unwrap();
            assert_eq!(answer.unwrap(), password.as_bytes());
            assert_eq!(shown_until(&mut screen, "\n"), "\r\n");
            assert!(echoes(&terminal));
        }
    }

    #[test]
    fn no_terminal_no_password() {
        let file = File::open("/dev/null").unwrap();
        assert!(ask(&file).is_err());
    }
}
