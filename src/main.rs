//! The program: parse, run, exit.

use std::io::{self, Write};
use std::process::ExitCode;

use ringperf::config::cli::{self, Command};
use ringperf::config::{OutputConfig, OutputFormat, Role};
use ringperf::control::{run_client, run_loopback, run_server};
use ringperf::error::RunError;
use ringperf::report::{JsonReporter, ReportHandle, Reporter, Sink, TextReporter};
use ringperf::sys::ignore_broken_pipes;

fn main() -> ExitCode {
    ignore_broken_pipes();
    match cli::parse(std::env::args_os()) {
        Ok(Command::Client(config)) => {
            reported(Role::Client, &config.output, |report| run_client(&config, report))
        }
        Ok(Command::Server(config)) => {
            reported(Role::Server, &config.output, |report| run_server(&config, report))
        }
        Ok(Command::Loopback(config)) => match run_loopback(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error.to_string());
                ExitCode::from(error.exit_code())
            }
        },
        Err(usage) => {
            let written = if usage.to_stdout {
                io::stdout().write_all(usage.text.as_bytes())
            } else {
                io::stderr().write_all(usage.text.as_bytes())
            };
            ExitCode::from(if written.is_ok() { usage.exit_code } else { 1 })
        }
    }
}

/// Runs with a report thread and waits until everything is printed.
fn reported(
    role: Role,
    output: &OutputConfig,
    run: impl FnOnce(&ReportHandle) -> Result<(), RunError>,
) -> ExitCode {
    let (reporter, sink): (Box<dyn Reporter>, Sink) = match output.format {
        OutputFormat::Text => (Box::new(TextReporter::new(output.verbose, output.rate_format)), Sink::Text),
        OutputFormat::Json | OutputFormat::JsonStream { .. } => {
            (Box::new(JsonReporter::new(role)), Sink::Json)
        }
    };
    let report = match ReportHandle::start(reporter, sink) {
        Ok(report) => report,
        Err(error) => {
            complain(&format!("unable to start the report thread: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = run(&report);
    if let Err(error) = report.finish() {
        complain(&format!("unable to write the report: {error}"));
        return ExitCode::FAILURE;
    }
    result.map_or_else(|error| ExitCode::from(error.exit_code()), |()| ExitCode::SUCCESS)
}

/// One line on standard error, for what comes before or after the report.
fn complain(text: &str) {
    // Nothing is left to tell it to when standard error is gone.
    let _ = writeln!(io::stderr(), "ringperf: error - {text}");
}
