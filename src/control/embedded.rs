//! A server in a thread of this process, for clients of this process.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::server::{Server, load_logins};
use super::session::context::ServerContext;
use crate::config::ServerConfig;
use crate::control::base::limits;
use crate::control::base::runtime::block_on;
use crate::control::base::signals::Signals;
use crate::error::{RunError, SetupError};
use crate::report::ReportHandle;
use crate::sys::start_thread;

/// A server that runs beside its clients and reports nothing. It ends when it is finished or dropped.
pub struct EmbeddedServer {
    port: u16,
    /// The end of this channel is the end of the server.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl EmbeddedServer {
    /// Starts a server and waits until it listens. What its configuration says of its output, of a file with
    /// the number of the process and of the background has no effect.
    ///
    /// # Errors
    /// Why it does not listen.
    pub fn start(config: ServerConfig) -> Result<Self, RunError> {
        let failed = |source| SetupError::System { what: "starting the embedded server", source };
        let (stop, stopped) = oneshot::channel();
        let (listening, port) = mpsc::channel();
        let thread = start_thread("server", move || serve(&config, stopped, &listening)).map_err(failed)?;
        match port.recv_timeout(limits::SET_UP) {
            Ok(Ok(port)) => Ok(Self { port, stop, thread }),
            Ok(Err(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => Err(failed(io::ErrorKind::TimedOut.into()).into()),
            Err(RecvTimeoutError::Disconnected) => Err(failed(match thread.join() {
                Ok(Err(error)) => error,
                _ => io::Error::other("it has ended"),
            })
            .into()),
        }
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server and waits until it has said its last words. A server that is dropped ends as well, but
    /// nobody waits for it.
    ///
    /// # Errors
    /// [`SetupError::System`] if its thread has failed.
    pub fn finish(self) -> Result<(), SetupError> {
        drop(self.stop);
        let failed = |source| SetupError::System { what: "the embedded server", source };
        self.thread.join().map_err(|_| failed(io::Error::other("it panicked")))?.map_err(failed)
    }
}

fn serve(
    config: &ServerConfig,
    stopped: oneshot::Receiver<()>,
    listening: &mpsc::Sender<Result<u16, RunError>>,
) -> io::Result<()> {
    // Nobody hears of its tests.
    let report = ReportHandle::start(Vec::new())?;
    let served = block_on(|runtime| {
        let report = &report;
        async move {
            let context = ServerContext::new(config, load_logins(config)?, runtime);
            let server = Server::new(context, report, Signals::until(stopped));
            let tell = |port| {
                // Fails only when nobody waits any more.
                let _ = listening.send(Ok(port));
                Ok(())
            };
            server.serve(|| Ok(()), tell).await
        }
    })?;
    report.finish().map_err(io::Error::other)?;
    match served {
        // Who started it waits for this, or for the end of the thread if it listened already.
        Err(error) if !error.is_interrupted() => {
            listening.send(Err(error)).map_err(|unsent| io::Error::other(unsent.0.expect_err("it was one")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::config::Family;

    fn start() -> EmbeddedServer {
        EmbeddedServer::start(ServerConfig::on_loopback(Family::V4)).unwrap()
    }

    #[test]
    fn it_listens_as_long_as_it_is_there() {
        let server = start();
        let mut client = TcpStream::connect((Family::V4.loopback(), server.port())).unwrap();
        server.finish().unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let heard = client.read(&mut [0]).map_err(|error| error.kind());
        assert!(matches!(heard, Ok(0) | Err(io::ErrorKind::ConnectionReset)), "{heard:?}");
    }

    #[test]
    fn one_that_is_dropped_ends_by_itself() {
        let EmbeddedServer { port: _, stop, thread } = start();
        // As when all of it is dropped, but its thread can still be waited for.
        drop(stop);
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn why_it_does_not_listen_is_an_error_at_once() {
        let first = start();
        let config = ServerConfig { port: first.port(), ..ServerConfig::on_loopback(Family::V4) };
        let Err(error) = EmbeddedServer::start(config) else { panic!("the port is taken") };
        assert!(matches!(error, RunError::Setup(SetupError::Listen { .. })), "{error:?}");
        first.finish().unwrap();
    }
}
