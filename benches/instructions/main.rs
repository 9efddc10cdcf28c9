//! A regression guard that noise cannot fool: instructions instead of time.
//!
//! `make instructions` counts with callgrind how many instructions each piece of work takes, and compares the
//! figures with those in `benches/instructions.txt`. One that has grown by more than the tolerance is a
//! failure, and so is a piece that is missing on either side. `make instructions RECORD=1` records anew, on
//! purpose: the change of the file belongs to the commit that made the figures change. `cargo bench --bench
//! instructions -- WORD` counts only pieces with that word in their name.
//!
//! Each piece runs twice, with one and with three times as many units, and the difference divided by their
//! number is the figure. So what a process does before and after cancels out.

#![allow(clippy::print_stdout, reason = "it is a program that prints")]

mod pieces;
mod record;

use std::env;
use std::error::Error;
use std::process::{Child, Command, ExitCode, Stdio};

use pieces::{PIECES, Piece};
use record::{Figure, Record};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Tells this program to do a piece of work, under callgrind: name and number of units follow.
const DO: &str = "--do";
/// The longer run does so many times the units of the shorter one.
const LONGER: u64 = 3;

fn main() -> Outcome<ExitCode> {
    // What cargo itself says.
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [DO, name, units] => {
            let piece = PIECES.iter().find(|piece| piece.name == name).ok_or("no such piece")?;
            (piece.run)(units.parse()?);
            Ok(ExitCode::SUCCESS)
        }
        ["--record"] => {
            Record { compiler: compiler()?, figures: count("")? }.write()?;
            println!("recorded in {}", record::FILE);
            Ok(ExitCode::SUCCESS)
        }
        [] => compare(""),
        [word] => compare(word),
        _ => Err("what is wanted is --record, or a word that names of pieces contain".into()),
    }
}

/// Compares what is counted with what is recorded of the pieces with `word` in their name.
fn compare(word: &str) -> Outcome<ExitCode> {
    let mut recorded = Record::read()?;
    recorded.figures.retain(|figure| figure.name.contains(word));
    let counted = Record { compiler: compiler()?, figures: count(word)? };
    if counted.figures.is_empty() {
        println!("no piece has {word:?} in its name");
    }
    let regressions = record::compare(&recorded, &counted);
    for line in &regressions {
        println!("{line}");
    }
    if regressions.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("If that is as it should be: make instructions RECORD=1");
    Ok(ExitCode::FAILURE)
}

/// Counts all pieces with `word` in their name.
fn count(word: &str) -> Outcome<Vec<Figure>> {
    let wanted = PIECES.iter().filter(|piece| piece.name.contains(word));
    wanted
        .map(|piece| {
            // Side by side: what else a machine does changes no count.
            let (shorter, longer) = (start(piece, piece.units)?, start(piece, piece.units * LONGER)?);
            let (shorter, longer) = (collected(shorter)?, collected(longer)?);
            let more = longer.checked_sub(shorter).ok_or("more work took fewer instructions")?;
            let instructions = more as f64 / (piece.units * (LONGER - 1)) as f64;
            println!("{:32} {instructions:12.1} per {}", piece.name, piece.unit);
            Ok(Figure { name: piece.name.into(), instructions, unit: piece.unit.into() })
        })
        .collect()
}

/// Starts one run under callgrind, in an environment that is always the same.
fn start(piece: &Piece, units: u64) -> Outcome<Child> {
    Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe()?)
        .args([DO, piece.name, &units.to_string()])
        .env_clear()
        .envs(env::var_os("PATH").map(|path| ("PATH", path)))
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("valgrind cannot be run ({error}); `make peers` installs it").into())
}

/// Waits for a run and finds the count in what callgrind says.
fn collected(run: Child) -> Outcome<u64> {
    let output = run.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match count {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(format!("a run under callgrind failed ({}):\n{said}", output.status).into()),
    }
}

/// The compiler and the machine that it compiles for, since both change the figures.
fn compiler() -> Outcome<String> {
    let output = Command::new("rustc").arg("-vV").output()?;
    let said = String::from_utf8(output.stdout)?;
    let host =
        said.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc does not name its host")?;
    let version = said.lines().next().ok_or("rustc does not say its version")?;
    Ok(format!("{version} for {host}"))
}
