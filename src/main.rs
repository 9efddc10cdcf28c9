//! The program: parse, run, exit.

use std::io::{self, Write};
use std::process::ExitCode;

use ringperf::config::cli::{self, Command};
use ringperf::config::{OutputConfig, OutputFormat, Role};
use ringperf::control::{run_client, run_loopback, run_server};
use ringperf::error::RunError;
use ringperf::report::{JsonReporter, ReportHandle, Reporter, Sink, TextReporter, version_text};
use ringperf::sys::ignore_broken_pipes;

fn main() -> ExitCode {
    ignore_broken_pipes();
    let program = cli::program_name(std::env::args_os().next().as_deref());
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
                complain(program, &error.to_string());
                ExitCode::from(error.exit_code())
            }
        },
        Ok(Command::Version) => print(&mut io::stdout(), &version_text(program), 0),
        Ok(Command::Print(text)) => print(&mut io::stdout(), &text, 0),
        Err(usage) if usage.to_stdout => print(&mut io::stdout(), &usage.text, usage.exit_code),
        Err(usage) => print(&mut io::stderr(), &usage.text, usage.exit_code),
    }
}

/// Prints what was asked for, or what is wrong, instead of a test.
fn print(output: &mut dyn Write, text: &str, exit_code: u8) -> ExitCode {
    match output.write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(exit_code),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs with a report thread and waits until everything is printed.
fn reported(
    role: Role,
    output: &OutputConfig,
    run: impl FnOnce(&ReportHandle) -> Result<(), RunError>,
) -> ExitCode {
    for warning in &output.warnings {
        // A test does not depend on them being read.
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    let (reporter, sink): (Box<dyn Reporter>, Sink) = match output.format {
        OutputFormat::Text => (Box::new(TextReporter::new(output.verbose, output.rate_format)), Sink::Text),
        OutputFormat::Json | OutputFormat::JsonStream { .. } => {
            (Box::new(JsonReporter::new(role)), Sink::Json)
        }
    };
    let report = match ReportHandle::start(reporter, sink) {
        Ok(report) => report,
        Err(error) => {
            complain(output.program, &format!("unable to start the report thread: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = run(&report);
    if let Err(error) = report.finish() {
        complain(output.program, &format!("unable to write the report: {error}"));
        return ExitCode::FAILURE;
    }
    result.map_or_else(|error| ExitCode::from(error.exit_code()), |()| ExitCode::SUCCESS)
}

/// One line on standard error, for what comes before or after the report.
fn complain(program: &str, text: &str) {
    // Nothing is left to tell it to when standard error is gone.
    let _ = writeln!(io::stderr(), "{program}: error - {text}");
}
