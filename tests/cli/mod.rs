//! The command line and what a run leaves on a terminal, in files and in the background.

mod background;
mod log_file;
mod options;
mod refusals;
mod timestamps;
