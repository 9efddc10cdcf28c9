//! What lies between two ends: paths that take their time.
//!
//! [`delayed`] has a relay of TCP connections in this process.

mod delayed;
mod relay;

use std::time::Duration;

/// Far longer than anything here takes; reached only when something hangs.
const LIMIT: Duration = Duration::from_secs(40);

/// Prints a figure that a test has measured.
#[expect(clippy::print_stdout, reason = "it belongs to the output of the test that calls this")]
fn show(figure: &str) {
    println!("{figure}");
}
