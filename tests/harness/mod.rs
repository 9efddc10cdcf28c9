//! What the tests share, in reading order: how a test fails, how processes are run, what lies between two
//! ends, who may be at the other end, what is read.

mod failure;

mod run;

mod net;

pub mod peer;

mod read;

pub(crate) use failure::ensure;
pub use failure::{Checked, Failure};
pub use net::*;
pub use read::*;
pub use run::*;
