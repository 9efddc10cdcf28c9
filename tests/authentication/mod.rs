//! Who may run a test: with each kind of iperf3, with hand-made tokens, and when something is missing.
//!
//! Keys, hashes and hand-made tokens come from the `openssl` program, independently of the library.

mod logins;
mod mistakes;
mod prompt;
mod tokens;
