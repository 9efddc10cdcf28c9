//! The command line: from its words to a checked configuration.

mod getopt;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Subcommand};

use super::options::{CLIENT_HEADING, Cli, SERVER_HEADING, Task};
use super::resolve::{self, ParameterError};
use super::{ClientConfig, LoopbackConfig, OutputConfig, PROGRAM, ServerConfig};

/// What the program is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Run a test against a server.
    Client(Box<ClientConfig>),
    /// Wait for clients.
    Server(Box<ServerConfig>),
    /// Compare the engines on this machine.
    Loopback(LoopbackConfig),
    /// Print the JSON Schema of the reports.
    JsonSchema,
    /// Print the version.
    Version,
    /// Print this text, a manual page or what a shell needs for completion.
    Print(String),
}

/// Why nothing is to be done: the command line is wrong, or it asks for help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct UsageError {
    /// Complete lines to print.
    pub text: String,
    /// They were asked for and go to standard output; otherwise to standard error.
    pub to_stdout: bool,
    /// What the process exits with: 0 if they were asked for, else 1 as in iperf3.
    pub exit_code: u8,
}

/// What a program that was called by this path calls itself: `iperf3` if that is the file's name, as of a
/// link that stands in for it, and otherwise `ringperf`.
#[must_use]
pub fn program_name(path: Option<&OsStr>) -> &'static str {
    match path.map(Path::new).and_then(Path::file_name) {
        Some(name) if name == "iperf3" => "iperf3",
        _ => PROGRAM,
    }
}

/// The command of a whole command line, the program's name first.
///
/// # Errors
/// An option is unknown, has a bad value, contradicts another or belongs to the other role, or help is asked
/// for.
pub fn parse<I, T>(args: I) -> Result<Command, UsageError>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let program = program_name(args.first().map(OsString::as_os_str));
    let mut definition = definition(program);
    let args = spell_out(&definition, args).map_err(|mistake| UsageError::mistake(program, &mistake))?;
    let matches = match definition.try_get_matches_from_mut(args) {
        Err(error) if error.kind() == ErrorKind::DisplayVersion => return Ok(Command::Version),
        matches => matches.map_err(|error| UsageError::from_parser(program, &error))?,
    };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| UsageError::from_parser(program, &error))?;
    command((program, &definition), &cli, &matches)
        .map_err(|error| UsageError::mistake(program, &error.to_string()))
}

/// The command line with the full names of long options, except that of a subcommand, which is no matter of
/// iperf3's.
fn spell_out(definition: &clap::Command, mut args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    if args.get(1).is_some_and(|word| definition.find_subcommand(word).is_some()) {
        return Ok(args);
    }
    let options = args.split_off(args.len().min(1));
    args.extend(getopt::spell_out(definition, options)?);
    Ok(args)
}

/// The options as the parser knows them.
///
/// An option that has a value takes the next word, whatever that looks like, as getopt_long does.
fn definition(program: &'static str) -> clap::Command {
    let mut usage = format!("{program} -s [OPTIONS]\n       {program} -c HOST [OPTIONS]");
    let mut command = Cli::command().name(program);
    if program == PROGRAM {
        usage += &format!("\n       {program} loopback [ENGINE]... [OPTIONS]");
        command = Task::augment_subcommands(command).subcommand_required(false);
    }
    command.override_usage(usage).mut_args(|option| {
        let takes_the_next_word = option.get_action().takes_values() && !option.is_require_equals_set();
        if takes_the_next_word && !option.is_positional() { option.allow_hyphen_values(true) } else { option }
    })
}

fn command(
    (program, definition): (&'static str, &clap::Command),
    cli: &Cli,
    matches: &ArgMatches,
) -> Result<Command, ParameterError> {
    let task = matches.subcommand().map(|_| Task::from_arg_matches(matches)).transpose();
    match task.expect("the parser knows all subcommands") {
        Some(Task::Loopback(options)) => return Ok(Command::Loopback(resolve::loopback(&options)?)),
        Some(Task::Man { page }) => return Ok(Command::Print(manual(page.as_deref()))),
        Some(Task::Completions { shell }) => return Ok(Command::Print(completions(program, shell))),
        None if cli.both.json_schema => return Ok(Command::JsonSchema),
        None => {}
    }
    match (cli.server.server, &cli.client.client) {
        (true, Some(_)) => Err(ParameterError::BothRoles),
        (false, None) => {
            Err(ParameterError::NoRole(cli.strays.first().map(|word| word.to_string_lossy().into_owned())))
        }
        (true, None) => match given_under(CLIENT_HEADING, definition, matches) {
            Some(option) => Err(ParameterError::ClientOnly(option)),
            None => {
                let mut config = resolve::server(&cli.server, &cli.both, &cli.engine)?;
                called(program, cli, &mut config.output);
                Ok(Command::Server(Box::new(config)))
            }
        },
        (false, Some(host)) => match given_under(SERVER_HEADING, definition, matches) {
            Some(option) => Err(ParameterError::ServerOnly(option)),
            None => {
                let mut config = resolve::client(host, &cli.client, &cli.both, &cli.engine)?;
                called(program, cli, &mut config.output);
                Ok(Command::Client(Box::new(config)))
            }
        },
    }
}

/// By which name the program was called decides what it says: called as iperf3 it is nothing of its own,
/// unless that is asked for.
fn called(program: &'static str, cli: &Cli, output: &mut OutputConfig) {
    output.program = program;
    output.extras = program == PROGRAM || cli.both.ringperf_report;
    if output.extras {
        output.warnings.extend(resolve::ignored(&cli.both, &cli.strays));
    }
}

/// The first option on the command line that stands under this heading of the help, as the user knows it.
fn given_under(heading: &str, definition: &clap::Command, matches: &ArgMatches) -> Option<String> {
    let given = definition.get_arguments().find(|option| {
        let source = matches.value_source(option.get_id().as_str());
        option.get_help_heading() == Some(heading) && source == Some(clap::parser::ValueSource::CommandLine)
    })?;
    let long = format!("--{}", given.get_long()?);
    Some(given.get_short().map_or(long.clone(), |short| format!("-{short} ({long})")))
}

/// The manual page of the program, or of this subcommand.
fn manual(page: Option<&str>) -> String {
    let mut command = definition(PROGRAM);
    command.build();
    let page = page.and_then(|page| command.find_subcommand(page)).unwrap_or(&command);
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone()).render(&mut text).expect("a vector takes all that is written");
    String::from_utf8_lossy(&text).into_owned()
}

/// What completes the options in that shell.
fn completions(program: &'static str, shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut definition(program), program, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

impl UsageError {
    fn from_parser(program: &str, error: &clap::Error) -> Self {
        let text = error.render().to_string();
        if error.exit_code() == 0 {
            return Self { text, to_stdout: true, exit_code: 0 };
        }
        if let Some(text) = unknown_option(error) {
            return Self::mistake(program, &text);
        }
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let says_what =
            |line: &&str| !line.starts_with("Usage:") && !line.starts_with("For more information");
        // A word that belongs to no option could be passed that way, but nothing wants one.
        let helps = |line: &&str| !line.is_empty() && !line.starts_with("tip: to pass");
        let lines: Vec<&str> = text.lines().take_while(says_what).map(str::trim).filter(helps).collect();
        Self::mistake(program, &lines.join("; "))
    }

    /// One line, so that a script's log has the whole story in it.
    fn mistake(program: &str, text: &str) -> Self {
        Self {
            text: format!("{program}: parameter error - {text} (see {program} --help)\n"),
            to_stdout: false,
            exit_code: 1,
        }
    }
}

/// The words of getopt_long(3), and what is spelled alike.
fn unknown_option(error: &clap::Error) -> Option<String> {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join("' or '")),
        _ => None,
    };
    let option = said(ContextKind::InvalidArg).filter(|_| error.kind() == ErrorKind::UnknownArgument)?;
    let words = match option.strip_prefix('-') {
        Some(long) if long.starts_with('-') => format!("unrecognized option '{option}'"),
        Some(letter) => format!("invalid option -- '{letter}'"),
        None => return None,
    };
    let alike = said(ContextKind::SuggestedArg).map(|alike| format!("; did you mean '{alike}'?"));
    Some(words + &alike.unwrap_or_default())
}

#[cfg(test)]
mod tests;
