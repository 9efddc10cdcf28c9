//! Connections that nobody knows yet: their cookies are read side by side, each with a deadline, and there
//! are never more of them than a cap for each source and one for all allow.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::router::{Accepted, Control, Destination, Router};
use super::sources::{Source, eviction_victim};
use crate::control::base::limits;
use crate::protocol::{Cookie, State};
use crate::sys::{Socket, receive_now};

/// Admits connections. All copies are one.
#[derive(Clone)]
pub(super) struct Admission {
    pub(crate) router: Router,
    controls: mpsc::UnboundedSender<Control>,
    waiting: Rc<RefCell<VecDeque<Waiting>>>,
    leaving: Rc<RefCell<VecDeque<AbortHandle>>>,
    /// Connections up to now.
    count: Rc<Cell<u64>>,
}

/// A connection whose cookie has not come yet.
struct Waiting {
    source: Source,
    /// Dropped to end it.
    stay: oneshot::Sender<()>,
}

impl Admission {
    /// Admits connections to the tests of `router`. A client that wants a new test is sent to `controls`.
    pub(crate) fn new(router: Router, controls: mpsc::UnboundedSender<Control>) -> Self {
        Self { router, controls, waiting: Rc::default(), leaving: Rc::default(), count: Rc::default() }
    }

    /// Reads the cookie of a new connection and routes it, in a task of its own that holds up nobody.
    pub(crate) fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let number = self.count.get() + 1;
        self.count.set(number);
        if self.router.is_closed() {
            self.refuse(stream);
            return;
        }
        let source = Source::of(peer.ip());
        self.make_room(source);
        let (stay, leave) = oneshot::channel();
        self.waiting.borrow_mut().push_back(Waiting { source, stay });
        let admission = self.clone();
        tokio::task::spawn_local(async move {
            let mut cookie = Reading::default();
            let is_read = tokio::select! {
                biased;
                read = timeout(limits::ADMISSION, cookie.read(&stream)) => matches!(read, Ok(Ok(()))),
                () = admission.router.closes() => {
                    admission.refuse(stream);
                    return;
                }
                // Others need its place. What has come by now still counts: a cookie may have arrived
                // together with many others.
                _ = leave => cookie.take(&stream, true).is_ok(),
            };
            // Silent, dripping or gone: nobody to talk to.
            if is_read {
                admission.route(stream, (number, peer), &Cookie::from_wire(cookie.bytes));
            }
        });
    }

    /// Closes one of the connections that wait, of the source that has most of them; if none waits, ends a
    /// set-up.
    pub(super) fn evict_one(&self) {
        self.forget_admitted();
        let mut waiting = self.waiting.borrow_mut();
        match eviction_victim(waiting.iter().map(|one| (one.source, 1))) {
            Some(goes) => drop(waiting.remove(goes)),
            None => drop(self.router.evict_one()),
        }
    }

    /// Says "busy" and closes so that the answer is not lost: unread bytes would turn the close into a reset.
    pub(crate) fn refuse(&self, stream: TcpStream) {
        let mut leaving = self.leaving.borrow_mut();
        leaving.retain(|task| !task.is_finished());
        if leaving.len() >= limits::LEAVING_CONNECTIONS
            && let Some(oldest) = leaving.pop_front()
        {
            oldest.abort();
        }
        // A fresh connection has room for a byte; a peer that is gone needs none.
        if let Ok(stream) = stream.into_std() {
            let socket = Socket::from_stream(stream);
            let _ = socket.send(&[State::AccessDenied.byte()]);
            leaving.push_back(tokio::task::spawn_local(read_out(socket)).abort_handle());
        }
    }

    fn make_room(&self, source: Source) {
        self.forget_admitted();
        let mut waiting = self.waiting.borrow_mut();
        let of_source = || waiting.iter().filter(|one| one.source == source).count();
        let goes = if of_source() >= limits::WAITING_OF_A_SOURCE {
            waiting.iter().position(|one| one.source == source)
        } else if waiting.len() >= limits::WAITING_CONNECTIONS {
            eviction_victim(waiting.iter().map(|one| (one.source, 1)))
        } else {
            None
        };
        goes.map(|index| waiting.remove(index));
    }

    fn forget_admitted(&self) {
        self.waiting.borrow_mut().retain(|one| !one.stay.is_closed());
    }

    /// Hands a connection to the test that its cookie belongs to.
    fn route(&self, stream: TcpStream, (number, peer): (u64, SocketAddr), cookie: &Cookie) {
        let destination = self.router.destination(cookie, Source::of(peer.ip()));
        if matches!(destination, Destination::Nowhere) {
            self.refuse(stream);
            return;
        }
        let Ok(socket) = stream.into_std().map(Socket::from_stream) else { return };
        match destination {
            // Fails only for more streams than the test has, or when the session has given up.
            Destination::Stream(streams) => drop(streams.try_send(Accepted { number, socket })),
            // There are never more of them than set-ups; it fails only when the server ends.
            Destination::Control(entry) => {
                let entry = Rc::new(entry);
                drop(self.controls.send(Control { socket, cookie: *cookie, peer, entry }));
            }
            Destination::Nowhere => {}
        }
    }
}

/// A cookie of which some bytes have been read.
struct Reading {
    bytes: [u8; Cookie::LEN],
    filled: usize,
}

impl Default for Reading {
    fn default() -> Self {
        Self { bytes: [0; Cookie::LEN], filled: 0 }
    }
}

impl Reading {
    /// Waits for the whole cookie.
    async fn read(&mut self, stream: &TcpStream) -> io::Result<()> {
        let mut is_first_look = true;
        loop {
            // The first look needs no word of the runtime that there is something.
            match self.take(stream, std::mem::replace(&mut is_first_look, false)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.readable().await?,
                taken => return taken,
            }
        }
    }

    /// Takes the bytes that have come, and none beyond the cookie, since payload or the next message follows.
    ///
    /// # Errors
    /// WouldBlock when there is less.
    fn take(&mut self, stream: &TcpStream, directly: bool) -> io::Result<()> {
        while self.filled < self.bytes.len() {
            let room = &mut self.bytes[self.filled..];
            let count = if directly {
                receive_now(stream, room)?
            } else {
                stream.try_io(Interest::READABLE, || receive_now(stream, room))?
            };
            match count {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.filled += count,
            }
        }
        Ok(())
    }
}

/// Half-closes a connection and reads what its peer has still sent, within limits.
async fn read_out(socket: Socket) {
    socket.shutdown(Shutdown::Write);
    let Ok(stream) = TcpStream::from_std(socket.into_stream()) else { return };
    let drained = async {
        let mut buffer = [0; 1024];
        let mut left = limits::LINGER_BYTES;
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = timeout(limits::LINGER, drained).await;
}
