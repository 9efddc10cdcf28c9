//! The comparison of engines: a progress bar while they run, a table at the end.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::escape::escape;
use super::totals::{CpuPerGigabyte, Halves};
use super::{Reporter, RunEvent, TestEnd};
use crate::config::{EngineChoice, LoopbackConfig};
use crate::units::to_f64;

/// Writes nothing and moves a progress bar on with each interval.
pub struct Progress(ProgressBar);

impl Reporter for Progress {
    fn event(&mut self, event: &RunEvent, _: &mut dyn Write) -> io::Result<()> {
        if let RunEvent::Interval(interval) = event
            && let Some(stream) = interval.streams.first()
        {
            self.0.inc(milliseconds(stream.end.saturating_sub(stream.start)));
        }
        Ok(())
    }
}

/// A comparison that is being made.
pub struct Comparison {
    progress: ProgressBar,
    rows: Vec<Row>,
}

/// What became of one engine.
struct Row {
    engine: EngineChoice,
    result: Result<TestEnd, String>,
}

impl Comparison {
    /// Shows the progress of a comparison in which each engine runs for `each`. The bar goes to standard
    /// error, and only if that is a terminal.
    #[must_use]
    pub fn start(engines: &[EngineChoice], each: Duration) -> Self {
        let count = u32::try_from(engines.len()).unwrap_or(u32::MAX);
        let progress = ProgressBar::new(milliseconds(each.saturating_mul(count)));
        let style = ProgressStyle::with_template("{msg:10} [{bar:40}] {percent:>3} %");
        progress.set_style(style.expect("the template is a constant").progress_chars("=> "));
        Self { progress, rows: Vec::new() }
    }

    /// Shows the progress of the next engine.
    #[must_use]
    pub fn progress(&self, engine: EngineChoice) -> Progress {
        self.progress.set_message(engine.to_string());
        Progress(self.progress.clone())
    }

    /// Adds what the engine has come to, or why it could not run.
    pub fn add(&mut self, engine: EngineChoice, result: Result<TestEnd, String>) {
        self.rows.push(Row { engine, result });
    }

    /// Prints the table, and tells whether there is a result in it.
    pub fn finish(self, config: &LoopbackConfig) -> bool {
        self.progress.finish_and_clear();
        let text = table(&self.rows, config);
        // Nobody is left to be told when standard output is gone.
        let _ = io::stdout().lock().write_all(text.as_bytes());
        self.rows.iter().any(|row| row.result.is_ok())
    }
}

fn table(rows: &[Row], config: &LoopbackConfig) -> String {
    let mut text = format!(
        "ringperf {} on loopback: {} stream(s), {} s each, blocks of {} bytes, congestion control {}\n\n",
        env!("CARGO_PKG_VERSION"),
        config.parallel,
        config.seconds.as_secs_f64(),
        config.block.bytes,
        congestion(rows),
    );
    text += "Engine      Gbit/s  CPU-s/GB sender  CPU-s/GB receiver  Not copied  p99 completion  Ran\n";
    for row in rows {
        text += &match &row.result {
            Ok(end) => line(row.engine, end),
            Err(reason) => format!("{:<10}       -  {}\n", row.engine, escape(reason)),
        };
    }
    text += "\nNot copied: share of the zero-copy bytes that the kernel really sent without copying them. On\n\
             loopback it copies all of them, so engines that copy at once win here; on a network card it is\n\
             the other way round. null moves nothing, so it has no rate: it shows what counting and reporting\n\
             cost. A congestion control that paces, such as bbr, limits every engine alike:\n\
             `ringperf loopback -C cubic`.\n";
    text
}

fn line(engine: EngineChoice, end: &TestEnd) -> String {
    if engine == EngineChoice::Null {
        return null_line(end);
    }
    let streams: Vec<_> = end.streams.iter().collect();
    let received = Halves::sum(&streams).received;
    let cpu = CpuPerGigabyte::from(end);
    let per_gigabyte = |cost: Option<f64>| cost.map_or("-".to_owned(), |cost| format!("{cost:.3}"));
    let sender = end.engines.first();
    let not_copied = sender
        .and_then(|engine| engine.zero_copy?.real_percent())
        .map_or("-".to_owned(), |share| format!("{share:.0} %"));
    let completion = sender
        .and_then(|engine| engine.latency.completion)
        .map_or("-".to_owned(), |latency| format!("{:.0} us", latency.p99_us));
    let ran = sender.map_or("-".to_owned(), |engine| format!("{}: {}", engine.used, escape(&engine.reason)));
    format!(
        "{engine:<10}{:>8.1}{:>17}{:>19}{not_copied:>12}{completion:>16}  {ran}\n",
        received.bits_per_second() / 1e9,
        per_gigabyte(cpu.local),
        per_gigabyte(cpu.remote),
    )
}

/// Nothing was moved, so what was counted is no rate, and no price of a gigabyte either.
fn null_line(end: &TestEnd) -> String {
    let nothing = "-";
    let operations = end.engines.first().map_or(0, |engine| engine.operations);
    let seconds: f64 = end.streams.iter().map(|stream| stream.sent.seconds).sum();
    let cost = match operations {
        0 => "no operation".to_owned(),
        count => format!("{:.1} ns per operation", seconds * 1e9 / to_f64(count)),
    };
    format!(
        "{:<10}{nothing:>8}{nothing:>17}{nothing:>19}{nothing:>12}{nothing:>16}  {cost}\n",
        EngineChoice::Null
    )
}

fn congestion(rows: &[Row]) -> String {
    let used = rows.iter().find_map(|row| row.result.as_ref().ok()?.congestion_local.clone());
    used.map_or("unknown".to_owned(), |name| escape(&name))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BlockSize, Direction, Family, Role};
    use crate::report::testing::fixtures::{self, printed};

    #[test]
    fn the_bar_moves_by_the_time_of_each_interval() {
        let comparison =
            Comparison::start(&[EngineChoice::Sync, EngineChoice::Uring], Duration::from_secs(3));
        let mut progress = comparison.progress(EngineChoice::Sync);
        let interval =
            |second| RunEvent::Interval(fixtures::interval(Role::Client, Direction::Forward, 2, second));
        for event in [interval(0), RunEvent::OmitOver, interval(1), RunEvent::Done] {
            assert_eq!(printed(&mut progress, &event), "");
        }
        assert_eq!((comparison.progress.position(), comparison.progress.length()), (2000, Some(6000)));
        assert_eq!(comparison.progress.message(), "sync");
    }

    fn config() -> LoopbackConfig {
        LoopbackConfig {
            engines: Vec::new(),
            seconds: Duration::from_millis(1500),
            parallel: 1,
            congestion: None,
            block: BlockSize::default(),
            family: Family::V4,
        }
    }

    #[test]
    fn an_engine_that_moves_nothing_has_no_rate() {
        let mut end = fixtures::end(Role::Client, Direction::Forward, 2);
        end.engines[0].operations = 2_000_000_000;
        let rows =
            [EngineChoice::Sync, EngineChoice::Null].map(|engine| Row { engine, result: Ok(end.clone()) });
        let text = table(&rows, &config());
        let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line("sync ").split_whitespace().nth(1), Some("0.0"));
        let words: Vec<_> = line("null ").split_whitespace().collect();
        assert_eq!(words, ["null", "-", "-", "-", "-", "-", "2.0", "ns", "per", "operation"]);
        end.engines.clear();
        let text = table(&[Row { engine: EngineChoice::Null, result: Ok(end) }], &config());
        assert!(text.contains(" -  no operation\n"), "{text}");
    }

    #[test]
    fn an_engine_that_cannot_run_is_a_row_with_its_reason() {
        let rows = [Row { engine: EngineChoice::UringZc, result: Err("no SEND_ZC\u{1b}[2J".to_owned()) }];
        let text = table(&rows, &config());
        assert!(text.starts_with("ringperf "), "{text}");
        assert!(text.contains("1 stream(s), 1.5 s each, blocks of 131072 bytes, congestion control unknown"));
        assert!(text.contains("uring-zc         -  no SEND_ZC\\u{1b}[2J\n"), "{text}");
    }
}
