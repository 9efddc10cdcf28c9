//! Signals that end a run.

use std::future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::sys::{ignores_hangup, note_signals};

/// What ends a run from outside, as events of the control thread.
pub(crate) enum Signals {
    /// SIGINT, SIGTERM and SIGHUP, with iperf3's names for them.
    Caught([(Option<Signal>, &'static str); 3]),
    /// Another thread says so.
    Until(oneshot::Receiver<()>),
    /// The server of this session does, with the name of its signal.
    Told(watch::Receiver<Option<&'static str>>),
    /// Nothing does.
    Ignored,
}

impl Signals {
    /// From now on these signals come here instead of ending the process. SIGHUP stays ignored if it is,
    /// since that is what nohup(1) is for; iperf3 catches it all the same.
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

    /// Signals are somebody else's matter.
    pub(crate) fn ignore() -> Self {
        Self::Ignored
    }

    /// The other end of the channel stands for them.
    pub(crate) fn until(stopped: oneshot::Receiver<()>) -> Self {
        Self::Until(stopped)
    }

    /// The server tells its sessions.
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

/// The next signal of a kind, which never comes if nobody waits for it.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => future::pending().await,
    }
}
