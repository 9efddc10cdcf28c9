//! What all sessions of a server share.

use std::cell::RefCell;

use crate::config::ServerConfig;
use crate::control::base::runtime::RuntimeKind;
use crate::control::serve::budget::Budget;
use crate::control::serve::logins::Logins;
use crate::control::serve::sources::{Reported, Visits};
use crate::control::serve::turns::Turns;
use crate::control::streams::udp_door::Porters;

/// What all sessions of a server share.
pub(crate) struct ServerContext {
    pub(crate) config: ServerConfig,
    /// Lets in only those who have a good token; without one everybody comes in.
    pub(crate) logins: Option<Logins>,
    pub(crate) runtime: RuntimeKind,
    pub(crate) budget: Budget,
    pub(crate) visits: RefCell<Visits>,
    pub(crate) reported: RefCell<Reported>,
    pub(crate) porters: Porters,
    pub(crate) turns: Turns,
}

impl ServerContext {
    pub(crate) fn new(config: &ServerConfig, logins: Option<Logins>, runtime: RuntimeKind) -> Self {
        Self {
            config: config.clone(),
            logins,
            runtime,
            budget: Budget::new(config.limits.total, config.limits.tests),
            visits: RefCell::new(Visits::new(config.limits.tests_per_minute)),
            reported: RefCell::default(),
            porters: Porters::default(),
            turns: Turns::default(),
        }
    }
}
