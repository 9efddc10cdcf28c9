//! `ringperf loopback`: every engine on this machine, client and server in one process, over the real
//! protocol.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::server::Server;
use super::session::context::ServerContext;
use crate::config::{
    ClientConfig, EndCondition, EngineChoice, Family, LocalConfig, LoopbackConfig, OutputConfig,
    ServerConfig, SocketConfig, TestConfig,
};
use crate::control::base::limits;
use crate::control::base::runtime::block_on;
use crate::control::base::signals::Signals;
use crate::control::session::client::run_client;
use crate::error::{RunError, SetupError};
use crate::report::{Comparison, Observer, ReportHandle, Sink};
use crate::sys::start_thread;

/// Time between two steps of the progress bar.
const STEP: Duration = Duration::from_millis(100);

/// Runs each engine once against a server of its own and prints a comparison.
///
/// # Errors
/// What keeps any test from running, the signal that ended them, or [`SetupError::NoEngine`]. A single engine
/// that cannot run is a row of the comparison and no error.
pub fn run_loopback(config: &LoopbackConfig) -> Result<(), RunError> {
    let engines = if config.engines.is_empty() { EngineChoice::ALL.to_vec() } else { config.engines.clone() };
    let server = LoopbackServer::start(config.family)?;
    let mut comparison = Comparison::start(&engines, config.seconds);
    for engine in engines {
        let collector = comparison.collector(engine);
        let observer = Observer::new(Box::new(collector.clone()), Sink::Nowhere);
        let report = ReportHandle::start(vec![observer])
            .map_err(|source| SetupError::System { what: "starting the report thread", source })?;
        let result = run_client(&client_config(config, engine, server.port), &report, || Ok(()));
        // Nothing is written anywhere, so this cannot fail.
        let _ = report.finish();
        match result {
            Err(error) if error.is_interrupted() => {
                comparison.finish(config);
                return Err(error);
            }
            Err(error) => comparison.failed(engine, &error.to_string()),
            Ok(()) => comparison.done(engine, &collector),
        }
    }
    let has_result = comparison.finish(config);
    server.stop()?;
    if has_result { Ok(()) } else { Err(SetupError::NoEngine.into()) }
}

/// The embedded server.
pub(super) struct LoopbackServer {
    pub(super) port: u16,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl LoopbackServer {
    pub(super) fn start(family: Family) -> Result<Self, RunError> {
        let failed = |source| SetupError::System { what: "starting the embedded server", source };
        let (stop, stopped) = oneshot::channel();
        let (listening, port) = mpsc::channel();
        let thread = start_thread("server", move || serve(family, stopped, &listening)).map_err(failed)?;
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

    fn stop(self) -> Result<(), SetupError> {
        // Fails only when the server is gone already.
        let _ = self.stop.send(());
        let failed = |source| SetupError::System { what: "the embedded server", source };
        self.thread.join().map_err(|_| failed(io::Error::other("it panicked")))?.map_err(failed)
    }
}

fn serve(
    family: Family,
    stopped: oneshot::Receiver<()>,
    listening: &mpsc::Sender<Result<u16, RunError>>,
) -> io::Result<()> {
    let address = if family == Family::V6 { [0, 0, 0, 0, 0, 0, 0, 1].into() } else { [127, 0, 0, 1].into() };
    let config = ServerConfig {
        port: 0,
        local: LocalConfig { family, bind: Some(address), ..LocalConfig::default() },
        output: OutputConfig { interval: None, ..OutputConfig::default() },
        ..ServerConfig::default()
    };
    // Nobody hears of its tests.
    let report = ReportHandle::start(Vec::new())?;
    let served = block_on(|runtime| {
        let (config, report) = (&config, &report);
        async move {
            let server =
                Server::new(ServerContext::new(config, None, runtime), report, Signals::until(stopped));
            let tell = |port| {
                // Fails only when nobody waits any more.
                let _ = listening.send(Ok(port));
                Ok(())
            };
            server.serve(|| Ok(()), tell).await
        }
    })?;
    match served {
        Err(error) if !error.is_interrupted() => drop(listening.send(Err(error))),
        _ => {}
    }
    report.finish().map_err(io::Error::other)
}

fn client_config(config: &LoopbackConfig, engine: EngineChoice, port: u16) -> ClientConfig {
    let test = TestConfig {
        end: EndCondition::Time(config.seconds),
        parallel: config.parallel,
        block: config.block,
        socket: SocketConfig { congestion: config.congestion.clone(), ..SocketConfig::default() },
        ..TestConfig::default()
    };
    ClientConfig {
        port,
        local: LocalConfig { family: config.family, engine, ..LocalConfig::default() },
        connect_timeout: limits::SET_UP,
        peer_engine: Some(engine),
        output: OutputConfig { interval: Some(STEP), ..OutputConfig::default() },
        ..ClientConfig::new(if config.family == Family::V6 { "::1" } else { "127.0.0.1" }, test)
    }
}
