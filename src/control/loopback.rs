//! `ringperf loopback`: every engine on this machine, client and server in one process, over the real
//! protocol.

use std::time::Duration;

use super::embedded::EmbeddedServer;
use crate::config::{
    ClientConfig, EndCondition, EngineChoice, LocalConfig, LoopbackConfig, OutputConfig, ServerConfig,
    SocketConfig, TestConfig,
};
use crate::control::base::limits;
use crate::control::session::client::run_client;
use crate::error::{RunError, SetupError};
use crate::report::{Comparison, Observer, ReportHandle, Sink};

/// Time between two steps of the progress bar.
const STEP: Duration = Duration::from_millis(100);

/// Runs each engine once against a server of its own and prints a comparison.
///
/// # Errors
/// What keeps any test from running, the signal that ended them, or [`SetupError::NoEngine`]. A single engine
/// that cannot run is a row of the comparison and no error.
pub fn run_loopback(config: &LoopbackConfig) -> Result<(), RunError> {
    let engines = if config.engines.is_empty() { EngineChoice::ALL.to_vec() } else { config.engines.clone() };
    let server = EmbeddedServer::start(ServerConfig::on_loopback(config.family))?;
    let mut comparison = Comparison::start(&engines, config.seconds);
    for engine in engines {
        let observer = Observer::new(Box::new(comparison.progress(engine)), Sink::Nowhere);
        let report = ReportHandle::start(vec![observer])
            .map_err(|source| SetupError::System { what: "starting the report thread", source })?;
        let outcome = run_client(&client_config(config, engine, server.port()), &report, || Ok(()));
        // Nothing is written anywhere, so this cannot fail.
        let _ = report.finish();
        match outcome.into_result() {
            Err(error) if error.is_interrupted() => {
                comparison.finish(config);
                return Err(error);
            }
            result => comparison.add(engine, result.map_err(|error| error.to_string())),
        }
    }
    let has_result = comparison.finish(config);
    server.finish()?;
    if has_result { Ok(()) } else { Err(SetupError::NoEngine.into()) }
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
        ..ClientConfig::new(config.family.loopback().to_string(), test)
    }
}
