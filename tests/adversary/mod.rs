//! Attackers, as data: a [`catalogue`] of cases in the files `server.cases` and `client.cases`, whose
//! language is in [`script`].
//!
//! A case is played by [`play`], with honest peers as far as it wants them. [`sweep`] makes cases of
//! every byte in every state, [`malformed`] spoils good conversations from [`transcript`], and [`soak`] is
//! about many clients. What is called `soak_...` is long, has a short version beside it, and is run by
//! `make soak`.

mod catalogue;
mod endings;
mod malformed;
mod names;
mod play;
mod points;
mod script;
mod soak;
mod sweep;
mod transcript;
