//! What all sessions of a server share.

use std::cell::RefCell;

use crate::config::ServerConfig;
use crate::control::base::runtime::RuntimeKind;
use crate::control::serve::budget::Budget;
use crate::control::serve::logins::Logins;
use crate::control::serve::setup_lock::SetupLock;
use crate::control::serve::sources::{Reported, TestRateLimiter};
use crate::control::streams::udp_demux::UdpListeners;

/// What all sessions of a server share.
pub(crate) struct ServerContext {
    pub(crate) config: ServerConfig,
    /// Lets in only those who have a good token; without one everybody comes in.
    pub(crate) logins: Option<Logins>,
    pub(crate) runtime: RuntimeKind,
    pub(crate) budget: Budget,
    pub(crate) test_rates: RefCell<TestRateLimiter>,
    pub(crate) reported: RefCell<Reported>,
    pub(crate) udp_listeners: UdpListeners,
    pub(crate) setup_lock: SetupLock,
}

impl ServerContext {
    pub(crate) fn new(config: &ServerConfig, logins: Option<Logins>, runtime: RuntimeKind) -> Self {
        Self {
            config: config.clone(),
            logins,
            runtime,
            budget: Budget::new(config.limits.total, config.limits.tests),
            test_rates: RefCell::new(TestRateLimiter::new(config.limits.tests_per_minute)),
            reported: RefCell::default(),
            udp_listeners: UdpListeners::default(),
            setup_lock: SetupLock::default(),
        }
    }
}
