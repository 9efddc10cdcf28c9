//! The program: parse, run, exit.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ringperf::config::cli::{self, Command};
use ringperf::config::{ClientConfig, OutputConfig, OutputFormat, Role, ServerConfig};
use ringperf::control::{run_client, run_loopback, run_server};
use ringperf::error::{RunError, SetupError};
use ringperf::process::{Daemon, Launched, PidFile, launch};
use ringperf::report::{
    JSON_SCHEMA, JsonReporter, JsonStreamReporter, LogFile, Observer, ReportHandle, Reporter, Sink,
    TextReporter, version_text,
};
use ringperf::sys::{error_message, exit_at_signals, has_signal_come, ignore_failed_writes, share_one_heap};

/// The rest of a report may take this long when a signal has ended the run.
const PATIENCE_AFTER_SIGNAL: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    ignore_failed_writes();
    share_one_heap();
    let program = cli::program_name(std::env::args_os().next().as_deref());
    let done = match cli::parse(std::env::args_os()) {
        Ok(Command::Client(config)) => client(&config),
        Ok(Command::Server(config)) if config.daemon => in_background(&config),
        Ok(Command::Server(config)) => server(&config, None),
        Ok(Command::Loopback(config)) => match run_loopback(&config) {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => {
                complain(program, &error.to_string());
                Ok(ExitCode::from(error.exit_code()))
            }
        },
        Ok(Command::JsonSchema) => Ok(print(&mut io::stdout(), JSON_SCHEMA, 0)),
        Ok(Command::Version) => Ok(print(&mut io::stdout(), &version_text(program), 0)),
        Ok(Command::Print(text)) => Ok(print(&mut io::stdout(), &text, 0)),
        Err(usage) if usage.to_stdout => Ok(print(&mut io::stdout(), &usage.text, usage.exit_code)),
        Err(usage) => Ok(print(&mut io::stderr(), &usage.text, usage.exit_code)),
    };
    done.unwrap_or_else(|error| {
        complain(program, &error);
        ExitCode::FAILURE
    })
}

/// What ends the program before there is a report, or instead of one: one line.
type Started = Result<ExitCode, String>;

fn client(config: &ClientConfig) -> Started {
    let output = &config.output;
    let report = start_report(output, |sink| Observer::new(reporter(Role::Client, output, None), sink))?;
    let mut pid_file = None;
    let opened = || create_pid_file(&mut pid_file, config.local.pid_file.as_deref());
    let outcome = run_client(config, &report, opened);
    finish(report, outcome.error, pid_file)
}

/// The launching process waits until the server listens and its files are open, so that its own exit status
/// tells whether there is a server now.
fn in_background(config: &ServerConfig) -> Started {
    match launch().map_err(|error| format!("unable to become a daemon: {}", error_message(&error)))? {
        Launched::Parent(status) => Ok(ExitCode::from(status)),
        Launched::Daemon(daemon) => server(config, Some(daemon)),
    }
}

fn server(config: &ServerConfig, daemon: Option<Daemon>) -> Started {
    let output = config.output.clone();
    // Only tests side by side need to be told apart. With one slot there may be a few lines of another
    // client, and a test that begins while the last words of one before it take long.
    let is_marked = config.limits.tests > 1;
    let make = move |test: Option<u64>, is_beside| {
        reporter(Role::Server, &output, test.filter(|_| is_marked || is_beside))
    };
    let report = start_report(&config.output, |sink| Observer::of_tests(Box::new(make), sink))?;
    let mut pid_file = None;
    let opened = || create_pid_file(&mut pid_file, config.local.pid_file.as_deref());
    let result = run_server(config, &report, opened, || daemon.map_or(Ok(()), Daemon::detach));
    finish(report, result.err(), pid_file)
}

/// The file is there until it is dropped.
fn create_pid_file(file: &mut Option<PidFile>, path: Option<&Path>) -> Result<(), String> {
    *file = path.map(PidFile::create).transpose().map_err(|error| error.to_string())?;
    Ok(())
}

fn start_report(
    output: &OutputConfig,
    observer: impl FnOnce(Sink) -> Observer,
) -> Result<ReportHandle, String> {
    for warning in &output.warnings {
        // A test does not depend on them being read.
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    let sink = match &output.log_file {
        None => Sink::Standard,
        Some(path) => Sink::LogFile(LogFile::open(path).map_err(|error| {
            // iperf3's words for it.
            format!("unable to open log file: {} ({})", error_message(&error), path.display())
        })?),
    };
    ReportHandle::start(vec![observer(sink)])
        .map_err(|error| format!("unable to start the report thread: {}", error_message(&error)))
}

/// What turns events into output, with the number of its test as a mark.
fn reporter(role: Role, output: &OutputConfig, mark: Option<u64>) -> Box<dyn Reporter> {
    let mark = mark.into_iter();
    match output.format {
        OutputFormat::Text => Box::new(mark.fold(TextReporter::new(output), TextReporter::marked)),
        // A document is written whole, and says by itself which test it is about.
        OutputFormat::Json if output.extras => Box::new(JsonReporter::new(role)),
        OutputFormat::Json => Box::new(JsonReporter::new(role).plain()),
        OutputFormat::JsonStream { full } => {
            let reporter = JsonStreamReporter::new(role, full);
            let reporter = if output.extras { reporter } else { reporter.plain() };
            Box::new(mark.fold(reporter, JsonStreamReporter::marked))
        }
    }
}

/// Waits until everything is written. A report that could not be written is a failure; it has been told.
///
/// Its reader may be slow, or a pager that somebody looks at, and is waited for. But a signal ends that at
/// once, and behind a signal there is not much patience.
fn finish(report: ReportHandle, error: Option<RunError>, pid_file: Option<PidFile>) -> Started {
    let status = match error {
        None => 0,
        Some(RunError::Setup(SetupError::NotReady(why))) => return Err(why),
        Some(error) => error.exit_code(),
    };
    // Nothing may end the process before the file is gone, and anything afterwards.
    drop(pid_file);
    exit_at_signals(status).map_err(|error| format!("unable to catch signals: {}", error_message(&error)))?;
    let written =
        if has_signal_come() { report.finish_within(PATIENCE_AFTER_SIGNAL) } else { report.finish() };
    Ok(if written.is_err() { ExitCode::FAILURE } else { ExitCode::from(status) })
}

/// Prints what was asked for, or what is wrong, instead of a test.
fn print(output: &mut dyn Write, text: &str, exit_code: u8) -> ExitCode {
    match output.write_all(text.as_bytes()) {
        Ok(()) => ExitCode::from(exit_code),
        Err(_) => ExitCode::FAILURE,
    }
}

/// One line on standard error, for what comes before or after the report.
fn complain(program: &str, text: &str) {
    // Nothing is left to tell it to when standard error is gone.
    let _ = writeln!(io::stderr(), "{program}: error - {text}");
}
