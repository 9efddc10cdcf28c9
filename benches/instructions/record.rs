//! The figures that were recorded, and how new ones are judged by them.

use std::fmt::Write;
use std::{fs, io};

/// Where they are.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");

/// How much more than recorded is no regression yet, in percent.
const TOLERANCE_PERCENT: f64 = 5.0;
/// Nor is this much, in instructions: of the smallest figures, one instruction is more than 5 %.
const TOLERANCE_INSTRUCTIONS: f64 = 1.5;
/// The same where another compiler made the recorded program: it may inline other things.
const OTHER_COMPILER_TOLERANCE_PERCENT: f64 = 25.0;

const HEADER: &str = "\
# Instructions per unit of work, as callgrind counts them. `make instructions` compares with these figures,
# `make instructions RECORD=1` writes them.
";
/// In front of the compiler that they were recorded with.
const COMPILER: &str = "# With ";

/// All figures of one compiler.
pub struct Record {
    pub compiler: String,
    pub figures: Vec<Figure>,
}

/// How many instructions a piece of work takes.
pub struct Figure {
    pub name: String,
    /// Per unit.
    pub instructions: f64,
    pub unit: String,
}

impl Record {
    pub fn read() -> Result<Self, String> {
        let text = fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
        let (comments, lines): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('#'));
        let compiler = comments.iter().find_map(|line| line.strip_prefix(COMPILER)).unwrap_or_default();
        let figures =
            lines.into_iter().map(|line| figure(line).ok_or(format!("{FILE}: {line:?} is no figure")));
        Ok(Self { compiler: compiler.to_owned(), figures: figures.collect::<Result<_, _>>()? })
    }

    pub fn write(&self) -> io::Result<()> {
        let mut text = format!("{HEADER}{COMPILER}{}\n", self.compiler);
        for Figure { name, instructions, unit } in &self.figures {
            writeln!(text, "{name:32} {instructions:12.1} per {unit}").expect("a String takes everything");
        }
        fs::write(FILE, text)
    }

    fn find(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

/// A line like `gate/unpaced 12.5 per block`.
fn figure(line: &str) -> Option<Figure> {
    let (name, rest) = line.split_once(' ')?;
    let (instructions, unit) = rest.trim().split_once(" per ")?;
    let instructions = instructions.parse().ok().filter(|&count: &f64| count > 0.0)?;
    Some(Figure { name: name.to_owned(), instructions, unit: unit.to_owned() })
}

/// Prints what deserves to be recorded anew, and returns a line about each thing that is wrong.
pub fn compare(recorded: &Record, counted: &Record) -> Vec<String> {
    let tolerance_percent = tolerance_percent(recorded, counted);
    let mut wrong = Vec::new();
    for Figure { name, instructions, unit } in &counted.figures {
        let Some(before) = recorded.find(name) else {
            wrong.push(format!("{name} is not recorded"));
            continue;
        };
        let more = instructions - before.instructions;
        let percent = 100.0 * more / before.instructions;
        if percent.abs() <= tolerance_percent || more.abs() <= TOLERANCE_INSTRUCTIONS {
            continue;
        }
        let change = format!("{name}: {:.1} became {instructions:.1} per {unit}", before.instructions);
        if more > 0.0 {
            wrong.push(format!("{change}, {percent:.1} % more"));
        } else {
            println!("{change}, {:.1} % fewer: worth recording anew", -percent);
        }
    }
    let lost = recorded.figures.iter().filter(|figure| counted.find(&figure.name).is_none());
    wrong.extend(lost.map(|figure| format!("{} is recorded but there is no such piece", figure.name)));
    wrong
}

fn tolerance_percent(recorded: &Record, counted: &Record) -> f64 {
    if recorded.compiler == counted.compiler {
        return TOLERANCE_PERCENT;
    }
    println!("recorded with {}", recorded.compiler);
    println!("counted with  {}, so {OTHER_COMPILER_TOLERANCE_PERCENT} % are tolerated", counted.compiler);
    OTHER_COMPILER_TOLERANCE_PERCENT
}
