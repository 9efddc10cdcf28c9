//! Who a connection belongs to: a new test, a stream of one that is being set up, or nobody.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::sync::mpsc;

use super::limits;
use super::sources::Source;
use crate::protocol::Cookie;
use crate::sys::Socket;

/// What a server is doing, as far as a new connection is concerned. All copies are one.
#[derive(Clone)]
pub(super) struct Router(Rc<RefCell<State>>);

struct State {
    /// Tests that may run side by side.
    slots: usize,
    tests: Vec<Test>,
    /// Where a login was refused that has not heard of it yet.
    refused: Vec<Source>,
    next_id: u64,
}

/// A test, from its first cookie to its end.
struct Test {
    id: u64,
    cookie: Cookie,
    /// Where its streams go while it waits for them.
    streams: Option<mpsc::Sender<Accepted>>,
}

/// A data connection.
pub(super) struct Accepted {
    /// Grows with each connection that the server accepts, of whatever kind.
    pub(super) number: u64,
    pub(super) socket: Socket,
}

/// The slot of one test; free again when this is dropped.
pub(super) struct Slot {
    router: Router,
    id: u64,
}

/// An admitted control connection.
pub(super) struct Control {
    pub(super) socket: Socket,
    pub(super) cookie: Cookie,
    pub(super) peer: SocketAddr,
    pub(super) slot: Rc<Slot>,
}

/// Where a connection goes.
pub(super) enum Destination {
    Control(Slot),
    Stream(mpsc::Sender<Accepted>),
    Nowhere,
}

/// The streams of a test come in here until this is dropped.
pub(super) struct Streams {
    accepted: mpsc::Receiver<Accepted>,
    router: Router,
    id: u64,
}

/// A source whose login was refused has no other test until this is dropped.
pub(super) struct Penalty {
    router: Router,
    source: Source,
}

impl Router {
    /// No test runs yet; `slots` of them may run side by side.
    pub(super) fn new(slots: usize) -> Self {
        Self(Rc::new(RefCell::new(State { slots, tests: Vec::new(), refused: Vec::new(), next_id: 0 })))
    }

    /// Whether a cookie would make no difference: no test has a place, and none waits for streams.
    pub(super) fn is_closed(&self) -> bool {
        let state = self.0.borrow();
        state.is_full() && state.tests.iter().all(|test| test.streams.is_none())
    }

    /// Where a connection with this cookie goes. A slot is taken for a new test.
    pub(super) fn destination(&self, cookie: &Cookie, source: Source) -> Destination {
        let mut state = self.0.borrow_mut();
        if let Some(test) = state.tests.iter().find(|test| test.cookie.matches(cookie)) {
            // A second test with the cookie of a first one could not be told from its streams.
            return test.streams.clone().map_or(Destination::Nowhere, Destination::Stream);
        }
        if state.is_full() || state.refused.contains(&source) {
            return Destination::Nowhere;
        }
        state.next_id += 1;
        let id = state.next_id;
        state.tests.push(Test { id, cookie: *cookie, streams: None });
        Destination::Control(Slot { router: self.clone(), id })
    }

    fn set_streams(&self, id: u64, streams: Option<mpsc::Sender<Accepted>>) {
        if let Some(test) = self.0.borrow_mut().tests.iter_mut().find(|test| test.id == id) {
            test.streams = streams;
        }
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.tests.len() >= self.slots || self.refused.len() >= limits::WAITING_REFUSALS
    }
}

impl Slot {
    /// From now on connections with the cookie of this test are its streams, of which there are `count`.
    pub(super) fn expect_streams(&self, count: usize) -> Streams {
        let (streams, accepted) = mpsc::channel(count);
        self.router.set_streams(self.id, Some(streams));
        Streams { accepted, router: self.router.clone(), id: self.id }
    }

    /// From now on this source has no other test.
    pub(super) fn penalize(&self, source: Source) -> Penalty {
        self.router.0.borrow_mut().refused.push(source);
        Penalty { router: self.router.clone(), source }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.router.0.borrow_mut().tests.retain(|test| test.id != self.id);
    }
}

impl Streams {
    /// The next data connection of the test, in the order of the cookies.
    pub(super) async fn next(&mut self) -> Accepted {
        self.accepted.recv().await.expect("the router keeps a sender until this is dropped")
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.router.set_streams(self.id, None);
    }
}

impl Drop for Penalty {
    fn drop(&mut self) {
        let refused = &mut self.router.0.borrow_mut().refused;
        if let Some(index) = refused.iter().position(|source| *source == self.source) {
            refused.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(first: u8) -> Cookie {
        Cookie::from_wire([first; Cookie::LEN])
    }

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    fn slot(router: &Router, number: u8) -> Option<Slot> {
        match router.destination(&cookie(number), source(number)) {
            Destination::Control(slot) => Some(slot),
            Destination::Stream(_) | Destination::Nowhere => None,
        }
    }

    #[test]
    fn as_many_tests_run_as_there_are_slots() {
        let router = Router::new(2);
        let first = slot(&router, 1).unwrap();
        assert!(slot(&router, 1).is_none(), "the same cookie");
        let second = slot(&router, 2).unwrap();
        assert!(router.is_closed() && slot(&router, 3).is_none());
        drop(first);
        assert!(!router.is_closed());
        assert!(slot(&router, 3).is_some());
        drop(second);
    }

    #[test]
    fn streams_find_their_own_test_as_long_as_it_waits_for_them() {
        let router = Router::new(2);
        let (first, second) = (slot(&router, 1).unwrap(), slot(&router, 2).unwrap());
        let leads_to = |number| match router.destination(&cookie(number), source(9)) {
            Destination::Stream(streams) => Some(streams),
            Destination::Control(_) | Destination::Nowhere => None,
        };
        assert!(leads_to(1).is_none() && leads_to(2).is_none());
        let door = first.expect_streams(1);
        let other = second.expect_streams(1);
        assert!(!router.is_closed());
        assert!(!leads_to(1).unwrap().same_channel(&leads_to(2).unwrap()));
        assert!(leads_to(3).is_none());
        drop((door, other));
        assert!(leads_to(1).is_none() && router.is_closed());
    }

    #[test]
    fn a_refused_login_holds_up_nobody_but_its_source() {
        let router = Router::new(1);
        let refused = slot(&router, 1).unwrap();
        let penalty = refused.penalize(source(1));
        drop(refused);
        assert!(slot(&router, 1).is_none());
        assert!(slot(&router, 2).is_some());
        drop(penalty);
        assert!(slot(&router, 1).is_some());
    }

    #[test]
    fn too_many_refused_logins_hold_up_everybody() {
        let router = Router::new(1);
        let penalties: Vec<Penalty> =
            (0..limits::WAITING_REFUSALS).map(|_| slot(&router, 1).unwrap().penalize(source(3))).collect();
        assert!(slot(&router, 2).is_none());
        drop(penalties);
        assert!(slot(&router, 2).is_some());
    }
}
