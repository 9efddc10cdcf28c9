//! Attackers, as data: a [`catalogue`] of cases in the files `server.cases` and `client.cases`, whose
//! language is in [`script`].
//!
//! A case is played by [`play`], with [`honest`] peers as far as it wants them. [`sweep`] makes cases of
//! every byte in every state, [`malformed`] spoils good conversations from [`transcript`], and [`soak`] is
//! about many clients. What is called `soak_...` is long, has a short version beside it, and is run by
//! `make soak`.

pub mod bridge;
mod catalogue;
mod endings;
pub mod honest;
mod malformed;
mod names;
pub mod play;
mod points;
pub mod random;
pub mod report;
mod script;
mod soak;
mod sweep;
mod transcript;

use std::net::TcpListener;

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;

use crate::harness::{Checked, Failure};

/// A client that leaves early must not leave its peer in accept for ever.
fn limit_accept(listener: &TcpListener) -> Checked {
    setsockopt(listener, sockopt::ReceiveTimeout, &TimeVal::new(10, 0))
        .map_err(|error| Failure(format!("cannot limit accept: {error}")))
}
