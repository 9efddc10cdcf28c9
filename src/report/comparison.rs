//! The comparison of engines: a progress bar while they run, a table at the end.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::escape::escape;
use super::totals::{CpuPerGigabyte, Halves};
use super::{Reporter, RunEvent, TestEnd};
use crate::config::{EngineChoice, LoopbackConfig};
use crate::units::to_f64;

/// A reporter that prints nothing and keeps the last result.
#[derive(Clone, Default)]
pub struct Collector {
    end: Arc<Mutex<Option<TestEnd>>>,
    progress: Option<ProgressBar>,
}

impl Collector {
    fn take(&self) -> Option<TestEnd> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Reporter for Collector {
    fn event(&mut self, event: &RunEvent, _: &mut dyn Write) -> io::Result<()> {
        match event {
            RunEvent::Interval(interval) => {
                if let (Some(progress), Some(stream)) = (&self.progress, interval.streams.first()) {
                    progress.inc(milliseconds(stream.end.saturating_sub(stream.start)));
                }
            }
            RunEvent::End(end) => {
                *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(TestEnd::clone(end));
            }
            _ => {}
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

    /// The reporter for the next engine.
    #[must_use]
    pub fn collector(&self, engine: EngineChoice) -> Collector {
        self.progress.set_message(engine.to_string());
        Collector { end: Arc::default(), progress: Some(self.progress.clone()) }
    }

    /// The engine has run.
    pub fn done(&mut self, engine: EngineChoice, collector: &Collector) {
        let result = collector.take().ok_or_else(|| "it ended without a result".to_owned());
        self.rows.push(Row { engine, result });
    }

    /// The engine could not run.
    pub fn failed(&mut self, engine: EngineChoice, reason: &str) {
        self.rows.push(Row { engine, result: Err(reason.to_owned()) });
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
    use crate::report::testing::fixtures;

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
