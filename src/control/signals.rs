//! Signals that end a run.

use std::future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::sys::note_signals;

/// What ends a run from outside, as events of the control thread.
pub(super) enum Signals {
    /// SIGINT, SIGTERM and SIGHUP, with iperf3's names for them.
    Caught([(Signal, &'static str); 3]),
    /// Another thread says so.
    Until(oneshot::Receiver<()>),
    /// The server of this session does, with the name of its signal.
    Told(watch::Receiver<Option<&'static str>>),
    /// Nothing does.
    Ignored,
}

impl Signals {
    /// From now on these signals come here instead of ending the process.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn catch() -> io::Result<Self> {
        note_signals()?;
        let caught = [
            (signal(SignalKind::interrupt())?, "Interrupt(2)"),
            (signal(SignalKind::terminate())?, "Terminated(15)"),
            (signal(SignalKind::hangup())?, "Hangup(1)"),
        ];
        Ok(Self::Caught(caught))
    }

    /// Signals are somebody else's matter.
    pub(super) fn ignore() -> Self {
        Self::Ignored
    }

    /// The other end of the channel stands for them.
    pub(super) fn until(stopped: oneshot::Receiver<()>) -> Self {
        Self::Until(stopped)
    }

    /// The server tells its sessions.
    pub(super) fn told_by(server: watch::Receiver<Option<&'static str>>) -> Self {
        Self::Told(server)
    }

    /// Waits for a signal and returns its name in iperf3's words.
    pub(super) async fn recv(&mut self) -> &'static str {
        match self {
            Self::Caught([interrupt, terminate, hangup]) => tokio::select! {
                _ = interrupt.0.recv() => interrupt.1,
                _ = terminate.0.recv() => terminate.1,
                _ = hangup.0.recv() => hangup.1,
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
