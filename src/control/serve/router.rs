//! Routes each connection to its owner: a new test, a test that is being set up, or nobody. Which test gets a
//! slot is decided in `slots.rs`.

use std::cell::RefCell;
use std::future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout_at;

use super::slots::{Entered, Slots, Verdict};
use super::sources::{Source, eviction_victim};
use crate::control::base::limits;
use crate::protocol::Cookie;
use crate::sys::Socket;

/// The tests of a server, as far as new connections are concerned. All copies are one.
#[derive(Clone)]
pub(crate) struct Router(Rc<Shared>);

struct Shared {
    state: RefCell<RouterState>,
    /// Notified when a test that waits for a slot may get it.
    changed: Notify,
}

struct RouterState {
    slots: Slots,
    tests: Vec<Test>,
    /// Sources whose login was refused and that have not heard of it yet, the oldest first.
    refused: Vec<Refused>,
    next_id: u64,
}

/// A test, from its first cookie to its end.
struct Test {
    id: u64,
    cookie: Cookie,
    /// The channel for its streams while it waits for them.
    streams: Option<mpsc::Sender<Accepted>>,
    /// Notified when it has to make room.
    has_to_go: Rc<Notify>,
}

/// A source whose login was refused, which gets no test for a while.
struct Refused {
    source: Source,
    /// Dropped when another source needs its place.
    _stay: oneshot::Sender<()>,
    id: u64,
}

/// A data connection.
pub(crate) struct Accepted {
    /// Counts all connections that the server accepts, of any kind, in the order in which they come.
    pub(crate) number: u64,
    pub(crate) socket: Socket,
}

/// A test's registration at the router, until this is dropped.
pub(crate) struct Entry {
    router: Router,
    id: u64,
    has_to_go: Rc<Notify>,
}

/// The server is busy with other tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// An admitted control connection.
pub(crate) struct Control {
    pub(crate) socket: Socket,
    pub(crate) cookie: Cookie,
    pub(crate) peer: SocketAddr,
    pub(crate) entry: Rc<Entry>,
}

/// The owner of a new connection.
pub(crate) enum Destination {
    Control(Entry),
    Stream(mpsc::Sender<Accepted>),
    Nowhere,
}

/// Receives the data connections of one test until this is dropped.
pub(crate) struct IncomingStreams {
    accepted: mpsc::Receiver<Accepted>,
    router: Router,
    id: u64,
}

/// Keeps a source whose login was refused from having another test, until this is dropped.
pub(crate) struct Penalty {
    router: Router,
    id: u64,
    leave: oneshot::Receiver<()>,
}

impl Router {
    /// A router without tests, of which `slots` may run side by side.
    pub(crate) fn new(slots: usize) -> Self {
        let state =
            RouterState { slots: Slots::new(slots), tests: Vec::new(), refused: Vec::new(), next_id: 0 };
        Self(Rc::new(Shared { state: RefCell::new(state), changed: Notify::new() }))
    }

    /// Whether every new connection is refused whatever its cookie: all slots are taken, and no test waits
    /// for connections.
    pub(crate) fn is_closed(&self) -> bool {
        let state = self.0.state.borrow();
        state.slots.are_full(Instant::now()) && state.tests.iter().all(|test| test.streams.is_none())
    }

    /// Waits until [`Self::is_closed`].
    pub(crate) async fn closes(&self) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_closed() {
                return;
            }
            changed.await;
        }
    }

    /// Whether a test has a slot.
    pub(crate) fn runs_a_test(&self) -> bool {
        !self.0.state.borrow().slots.are_empty()
    }

    /// Finds the owner of a connection with this cookie; a new test is registered.
    pub(crate) fn destination(&self, cookie: &Cookie, source: Source) -> Destination {
        let mut state = self.0.state.borrow_mut();
        let state = &mut *state;
        if let Some(test) = state.tests.iter().find(|test| test.cookie.matches(cookie)) {
            // A second test with the cookie of a first one could not be told from its streams.
            let Some(streams) = test.streams.clone() else { return Destination::Nowhere };
            state.slots.add_connection(test.id);
            return Destination::Stream(streams);
        }
        if state.refused.iter().any(|refused| refused.source == source) {
            return Destination::Nowhere;
        }
        let id = state.new_id();
        match state.slots.enter(id, source, Instant::now()) {
            Entered::Refused => Destination::Nowhere,
            Entered::In { evicted } => {
                evicted.into_iter().for_each(|evicted| state.send_away(evicted));
                let has_to_go = Rc::new(Notify::new());
                let test = Test { id, cookie: *cookie, streams: None, has_to_go: Rc::clone(&has_to_go) };
                state.tests.push(test);
                Destination::Control(Entry { router: self.clone(), id, has_to_go })
            }
        }
    }

    /// Gives no further test a slot; all set-ups hear that the server is busy.
    pub(crate) fn close(&self) {
        let mut state = self.0.state.borrow_mut();
        let gone = state.slots.close();
        gone.into_iter().for_each(|id| state.send_away(id));
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Ends a set-up for want of descriptors, and says whether there was one.
    pub(super) fn evict_one(&self) -> bool {
        let mut state = self.0.state.borrow_mut();
        let evicted = state.slots.evict();
        evicted.into_iter().for_each(|evicted| state.send_away(evicted));
        evicted.is_some()
    }

    fn set_streams(&self, id: u64, streams: Option<mpsc::Sender<Accepted>>) {
        if let Some(test) = self.0.state.borrow_mut().tests.iter_mut().find(|test| test.id == id) {
            test.streams = streams;
        }
    }
}

impl RouterState {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn send_away(&self, id: u64) {
        if let Some(test) = self.tests.iter().find(|test| test.id == id) {
            test.has_to_go.notify_one();
        }
    }
}

impl Entry {
    /// Takes connections with the cookie of this test as its streams from now on; there are `count` of them.
    pub(crate) fn expect_streams(&self, count: usize) -> IncomingStreams {
        let (streams, accepted) = mpsc::channel(count);
        self.router.set_streams(self.id, Some(streams));
        IncomingStreams { accepted, router: self.router.clone(), id: self.id }
    }

    /// Waits for one of the server's slots when all streams are there, which takes
    /// [`FIRST_BYTE`](limits::FIRST_BYTE) at most for each test that makes room.
    ///
    /// Returns the moment at which it got the slot.
    ///
    /// # Errors
    /// [`Busy`] when all slots are taken by tests of other clients.
    pub(crate) async fn take_slot(&self) -> Result<Instant, Busy> {
        loop {
            let changed = self.router.0.changed.notified();
            tokio::pin!(changed);
            // Whatever happens from here on is not missed.
            changed.as_mut().enable();
            let now = Instant::now();
            let verdict = self.router.0.state.borrow_mut().slots.decide(self.id, now);
            match verdict {
                Verdict::Takes => return Ok(now),
                Verdict::Busy => return Err(Busy),
                Verdict::Displaces(other) => self.router.0.state.borrow().send_away(other),
                Verdict::Waits(None) => changed.await,
                Verdict::Waits(Some(moment)) => drop(timeout_at(moment.into(), changed).await),
            }
        }
    }

    /// Notes that bytes have moved in this test, so that it keeps its slot. Its client has asked for pauses
    /// of up to `pause` between them.
    pub(crate) fn note_moving(&self, pause: Duration) {
        self.router.0.state.borrow_mut().slots.moves(self.id, pause, Instant::now());
        self.router.0.changed.notify_waiters();
    }

    /// Notes that the streams of this test are over, so that it may lose its slot if its last messages take
    /// long. `has_moved` says whether any byte has moved.
    pub(crate) fn note_ending(&self, has_moved: bool) {
        self.router.0.state.borrow_mut().slots.ends(self.id, has_moved, Instant::now());
        self.router.0.changed.notify_waiters();
    }

    /// Waits until this test has to make room for another one.
    pub(crate) async fn has_to_go(&self) {
        self.has_to_go.notified().await;
    }

    /// Whether all slots of the server are taken by tests that go on.
    pub(crate) fn is_beside_a_full_server(&self) -> bool {
        self.router.0.state.borrow().slots.are_full(Instant::now())
    }

    /// Does not hold it against the source of this test that it moves nothing.
    pub(crate) fn excuse(&self) {
        self.router.0.state.borrow_mut().slots.excuse(self.id);
    }

    /// Keeps this source from having another test. When the answers to too many refused logins are held back,
    /// the oldest one of the source that has most of them is dropped.
    pub(crate) fn penalize(&self, source: Source) -> Penalty {
        // Logins have a count of their own.
        self.excuse();
        let mut state = self.router.0.state.borrow_mut();
        if state.refused.len() >= limits::WAITING_REFUSALS {
            let goes = eviction_victim(state.refused.iter().map(|refused| (refused.source, 1)));
            goes.map(|goes| state.refused.remove(goes));
        }
        let (stay, leave) = oneshot::channel();
        let id = state.new_id();
        state.refused.push(Refused { source, _stay: stay, id });
        Penalty { router: self.router.clone(), id, leave }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.router.0.state.borrow_mut();
        state.tests.retain(|test| test.id != self.id);
        state.slots.leave(self.id, Instant::now());
        drop(state);
        self.router.0.changed.notify_waiters();
    }
}

impl IncomingStreams {
    /// The next data connection of the test, in the order of the cookies.
    pub(crate) async fn next(&mut self) -> Accepted {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The test is gone from the router, and nothing comes any more.
            None => future::pending().await,
        }
    }
}

impl Drop for IncomingStreams {
    fn drop(&mut self) {
        self.router.set_streams(self.id, None);
    }
}

impl Penalty {
    /// Waits until another source needs its place.
    pub(crate) async fn is_cut_short(&mut self) {
        // The sender says nothing; it is dropped.
        let _ = (&mut self.leave).await;
    }
}

impl Drop for Penalty {
    fn drop(&mut self) {
        self.router.0.state.borrow_mut().refused.retain(|refused| refused.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The output of a future that is ready at once.
    fn now<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn take_slot(entry: &Entry) -> Option<Result<(), Busy>> {
        now(pin!(entry.take_slot())).map(|taken| taken.map(|_| ()))
    }

    fn cookie(first: u8) -> Cookie {
        Cookie::from_wire([first; Cookie::LEN])
    }

    fn source(last: u8) -> Source {
        Source::of([192, 0, 2, last].into())
    }

    fn enter(router: &Router, number: u8) -> Option<Entry> {
        match router.destination(&cookie(number), source(number)) {
            Destination::Control(entry) => Some(entry),
            Destination::Stream(_) | Destination::Nowhere => None,
        }
    }

    /// Registers a test that runs.
    fn run(router: &Router, number: u8) -> Option<Entry> {
        let entry = enter(router, number)?;
        take_slot(&entry).expect("nobody has to be waited for").ok()?;
        entry.note_moving(Duration::ZERO);
        Some(entry)
    }

    #[test]
    fn as_many_tests_run_as_there_are_slots() {
        let router = Router::new(2);
        let first = run(&router, 1).unwrap();
        assert!(enter(&router, 1).is_none(), "the same cookie");
        let waiting = enter(&router, 4).unwrap();
        let second = run(&router, 2).unwrap();
        assert!(router.is_closed() && router.runs_a_test() && enter(&router, 3).is_none());
        assert_eq!(take_slot(&waiting), Some(Err(Busy)));
        drop(first);
        assert!(!router.is_closed());
        assert!(run(&router, 3).is_some());
        drop((second, waiting));
        assert!(!router.runs_a_test());
    }

    #[test]
    fn streams_find_their_own_test_as_long_as_it_waits_for_them() {
        let router = Router::new(2);
        let (first, second) = (run(&router, 1).unwrap(), run(&router, 2).unwrap());
        let leads_to = |number| match router.destination(&cookie(number), source(9)) {
            Destination::Stream(streams) => Some(streams),
            Destination::Control(_) | Destination::Nowhere => None,
        };
        assert!(leads_to(1).is_none() && leads_to(2).is_none());
        let incoming = first.expect_streams(1);
        let other = second.expect_streams(1);
        assert!(!router.is_closed());
        assert!(!leads_to(1).unwrap().same_channel(&leads_to(2).unwrap()));
        assert!(leads_to(3).is_none());
        drop((incoming, other));
        assert!(leads_to(1).is_none() && router.is_closed());
    }

    #[tokio::test]
    async fn a_slot_that_becomes_free_goes_to_one_that_waits() {
        let router = Router::new(1);
        let first = enter(&router, 1).unwrap();
        assert_eq!(take_slot(&first), Some(Ok(())));
        let second = enter(&router, 2).unwrap();
        let mut waits = Box::pin(second.take_slot());
        assert!(now(waits.as_mut()).is_none());
        drop(first);
        assert!(now(waits.as_mut()).is_some_and(|taken| taken.is_ok()));
    }

    #[test]
    fn a_refused_login_holds_up_nobody_but_its_source() {
        let router = Router::new(1);
        let refused = enter(&router, 1).unwrap();
        let penalty = refused.penalize(source(1));
        drop(refused);
        assert!(enter(&router, 1).is_none());
        assert!(enter(&router, 2).is_some());
        drop(penalty);
        assert!(enter(&router, 1).is_some());
    }

    #[test]
    fn of_too_many_refused_logins_the_oldest_hears_nothing() {
        let router = Router::new(1);
        let refuse = |source| enter(&router, 1).unwrap().penalize(source);
        let mut penalties: Vec<Penalty> = (0..limits::WAITING_REFUSALS).map(|_| refuse(source(3))).collect();
        assert!(now(pin!(penalties[0].is_cut_short())).is_none());
        penalties.push(refuse(source(4)));
        assert!(now(pin!(penalties[0].is_cut_short())).is_some());
        assert!(now(pin!(penalties[1].is_cut_short())).is_none());
        assert!(enter(&router, 2).is_some(), "nobody else is held up");
        drop(penalties);
        assert!(enter(&router, 3).is_some());
    }
}
