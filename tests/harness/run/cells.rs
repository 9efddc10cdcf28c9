//! Tables of small tests, run a few at a time.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;

use crate::harness::{Checked, Failure, Permit, heavy, shared};

/// Threads per table. How many cells really run at once is the gate's decision.
const WORKERS: usize = 4;

/// Named cells that can all run at the same time.
#[derive(Default)]
pub struct Cells(VecDeque<(String, Box<dyn FnOnce() -> Checked + Send>)>);

impl Cells {
    /// Adds a cell.
    pub fn add(&mut self, name: impl Into<String>, cell: impl FnOnce() -> Checked + Send + 'static) {
        self.0.push_back((name.into(), Box::new(cell)));
    }

    /// Runs all cells, at least one, and fails with the list of those that failed.
    pub fn run(self) -> Checked {
        self.run_with(shared)
    }

    /// The same for cells that load the machine more than others.
    pub fn run_heavy(self) -> Checked {
        self.run_with(heavy)
    }

    /// Runs all cells at once, under the permit of whoever calls this: they do little but wait for a clock.
    pub fn run_at_once(self) -> Checked {
        let count = self.0.len();
        let failures: Vec<String> = thread::scope(|scope| {
            let run = |(name, cell): (String, Box<dyn FnOnce() -> Checked + Send>)| {
                scope.spawn(move || failure(&name, cell()))
            };
            let threads: Vec<_> = self.0.into_iter().map(run).collect();
            threads.into_iter().filter_map(|thread| thread.join().expect("a cell does not panic")).collect()
        });
        judge(count, &failures)
    }

    fn run_with(self, permit: fn() -> Permit) -> Checked {
        let count = self.0.len();
        let queue = Mutex::new(self.0);
        let failures = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..WORKERS.min(count) {
                scope.spawn(|| {
                    loop {
                        let permit = permit();
                        let next = queue.lock().expect("no cell runs under this lock").pop_front();
                        let Some((name, cell)) = next else { break };
                        let result = cell();
                        drop(permit);
                        let failure = failure(&name, result);
                        failures.lock().expect("no cell runs under this lock").extend(failure);
                    }
                });
            }
        });
        judge(count, &failures.into_inner().expect("no cell runs under this lock"))
    }
}

/// What a cell has to say, if it has failed.
fn failure(name: &str, result: Checked) -> Option<String> {
    result.err().map(|Failure(why)| format!("== {name}\n{why}"))
}

/// The verdict on so many cells.
fn judge(count: usize, failures: &[String]) -> Checked {
    assert!(count > 0, "a table without cells proves nothing");
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure(format!("{} of {count} cells failed\n{}", failures.len(), failures.join("\n"))))
}
