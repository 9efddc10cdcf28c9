//! Signals that end a run.

use std::future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::sys::{ignores_hangup, note_signals};

/// Sources of the event that ends a run from outside, as the control thread sees them.
pub(crate) enum Signals {
    /// SIGINT, SIGTERM and SIGHUP, with iperf3's names for them.
    Caught([(Option<Signal>, &'static str); 3]),
    /// Another thread ends the run by this channel.
    Until(oneshot::Receiver<()>),
    /// The server of this session ends it, and tells the name of the signal that it got.
    Told(watch::Receiver<Option<&'static str>>),
    /// Nothing ends the run.
    Ignored,
}

impl Signals {
    /// Has SIGINT, SIGTERM and SIGHUP come here instead of ending the process. SIGHUP stays ignored if it is
    /// ignored already, since that is what nohup(1) is for; iperf3 catches it all the same.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn catch() -> io::Result<Self> {
        note_signals()?;
        let caught = [
            (Some(signal(SignalKind::interrupt())?), "Interrupt(2)"),
            (Some(signal(SignalKind::terminate())?), "Terminated(15)"),
            ((!ignores_hangup()).then(|| signal(SignalKind::hangup())).transpose()?, "Hangup(1)"),
        ];
        Ok(Self::Caught(caught))
    }

    /// Signals that never come, since another part of the process handles them.
    pub(crate) fn ignore() -> Self {
        Self::Ignored
    }

    /// One signal, SIGTERM, when the other end of the channel sends or is dropped.
    pub(crate) fn until(stopped: oneshot::Receiver<()>) -> Self {
        Self::Until(stopped)
    }

    /// The signals of the server, which tells its sessions over this channel.
    pub(crate) fn told_by(server: watch::Receiver<Option<&'static str>>) -> Self {
        Self::Told(server)
    }

    /// Waits for a signal and returns its name in iperf3's words.
    pub(crate) async fn recv(&mut self) -> &'static str {
        match self {
            Self::Caught([interrupt, terminate, hangup]) => tokio::select! {
                () = next(&mut interrupt.0) => interrupt.1,
                () = next(&mut terminate.0) => terminate.1,
                () = next(&mut hangup.0) => hangup.1,
            },
            Self::Until(stopped) => {
                // A sender that is gone means the same.
                let _ = stopped.await;
                *self = Self::Ignored;
                "Terminated(15)"
            }
            Self::Told(server) => {
                let told = server.wait_for(Option::is_some).await.ok().and_then(|name| *name);
                match told {
                    Some(name) => name,
                    // The server itself is gone, and its sessions go with it.
                    None => future::pending().await,
                }
            }
            Self::Ignored => future::pending().await,
        }
    }
}

/// Waits for the next signal of a kind; for ever if that kind is not caught.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => future::pending().await,
    }
}
