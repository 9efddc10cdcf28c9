//! The sockets that a server listens on.
//!
//! The first one takes everybody. What a connection must have from its first packet on, it has from the
//! socket that takes it: Multipath TCP, and a window of a fixed size, by which both ends choose its scale. So
//! there are others for these, on the same address (`sys/net/steering.rs`). Each is opened when the first
//! test needs it, and none is closed before the server ends: a listener that is closed resets the connections
//! that it has not handed over, and nobody can know whose they are. All accept all the time, and hand all
//! connections to the same [`Admission`], so one that comes to another socket than it should is admitted as
//! well.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::admission::Admission;
use crate::control::base::limits;
use crate::error::SetupError;
use crate::sys::{
    ListenAddress, Rule, SpareDescriptor, Transport, Who, has_lost_device, is_out_of_descriptors, join,
    listen_on, set_window, steer, unmap,
};

/// The sockets that a server listens on. All copies are one.
#[derive(Clone)]
pub(super) struct ListenerGroup(Rc<Shared>);

struct Shared {
    address: ListenAddress,
    admission: Admission,
    waiting_tests: WaitingTests,
    /// In the order in which they were opened, which is how the kernel numbers them.
    members: RefCell<Vec<Member>>,
    /// SCTP has ports of its own.
    sctp: RefCell<Option<Member>>,
}

struct Member {
    transport: Transport,
    takes: Takes,
    socket: Rc<TcpListener>,
    accepting: Accepting,
}

/// The connections that a listening socket takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    /// Those that no other socket takes.
    Everybody,
    Multipath,
    /// Those of the host that the socket is lent to, with a window of a fixed size; `None` while it is lent
    /// to nobody.
    Host(Option<IpAddr>),
}

/// The tests that wait for data connections. All copies are one.
#[derive(Clone, Default)]
struct WaitingTests(Rc<RefCell<Vec<WaitingTest>>>);

/// The host that a test's data connections come from, and the channel on which it hears why one is lost.
type WaitingTest = (IpAddr, mpsc::UnboundedSender<io::Error>);

/// A listening socket that takes the connections of one host until this is dropped.
pub(super) struct LentMember {
    members: ListenerGroup,
    index: usize,
}

impl ListenerGroup {
    /// Starts to accept from the first socket.
    ///
    /// # Errors
    /// [`SetupError::System`].
    pub(crate) fn start(
        address: ListenAddress,
        first: TcpListener,
        admission: Admission,
    ) -> Result<Self, SetupError> {
        let waiting_tests = WaitingTests::default();
        let first = Member::start(Transport::Tcp, Takes::Everybody, first, (&admission, &waiting_tests))
            .map_err(|source| SetupError::System { what: "taking a descriptor to spare", source })?;
        let members = RefCell::new(vec![first]);
        Ok(Self(Rc::new(Shared { address, admission, waiting_tests, members, sctp: RefCell::default() })))
    }

    /// The address that all of them listen on.
    pub(crate) fn address(&self) -> &ListenAddress {
        &self.0.address
    }

    /// Whether the network device that they listen on was replaced by another one of its name.
    pub(super) fn have_lost_device(&self) -> bool {
        let members = self.0.members.borrow();
        members.first().is_some_and(|first| has_lost_device(&*first.socket, &self.0.address))
    }

    /// Has the connections of a test from `host` come to a socket that is made for them. With `window_bytes`
    /// that holds until the returned value is dropped, and no other test of this host may expect connections
    /// with another window meanwhile.
    ///
    /// # Errors
    /// [`SetupError::StreamListen`], or [`SetupError::BufferSize`] for a window that the kernel does not
    /// give.
    pub(crate) fn prepare(
        &self,
        transport: Transport,
        window_bytes: Option<u32>,
        host: IpAddr,
    ) -> Result<Option<LentMember>, SetupError> {
        match (transport, window_bytes) {
            (Transport::Sctp, _) => self.listen_for_sctp().map(|()| None),
            (Transport::Tcp, None) => Ok(None),
            (Transport::Mptcp, None) => {
                self.find_or_open(transport, Takes::Multipath).and_then(|_| self.steer()).map(|()| None)
            }
            (_, Some(bytes)) => return self.lend(transport, bytes, host).map(Some),
        }
        .map_err(|source| self.failed(source))
    }

    /// A channel that tells why a connection from this host was turned away, whenever one is, until it is
    /// dropped.
    pub(super) fn turned_away(&self, host: IpAddr) -> mpsc::UnboundedReceiver<io::Error> {
        self.0.waiting_tests.add(host)
    }

    /// Closes all sockets. Connections that are being admitted stay.
    pub(crate) async fn close(self) {
        for member in self.0.members.take().into_iter().chain(self.0.sctp.take()) {
            member.accepting.end().await;
        }
    }

    fn failed(&self, source: io::Error) -> SetupError {
        SetupError::StreamListen { address: self.0.address.local.to_string(), source }
    }

    fn lend(&self, transport: Transport, window_bytes: u32, host: IpAddr) -> Result<LentMember, SetupError> {
        let failed = |source| self.failed(source);
        let index = self.find_or_open(transport, Takes::Host(None)).map_err(failed)?;
        {
            let member = &mut self.0.members.borrow_mut()[index];
            let actual = set_window(&*member.socket, window_bytes).map_err(failed)?;
            if actual < window_bytes {
                return Err(SetupError::BufferSize { asked: window_bytes, actual });
            }
            member.takes = Takes::Host(Some(host));
        }
        let lent = LentMember { members: self.clone(), index };
        self.steer().map_err(failed)?;
        Ok(lent)
    }

    fn find_or_open(&self, transport: Transport, takes: Takes) -> io::Result<usize> {
        let mut members = self.0.members.borrow_mut();
        let is_it = |member: &Member| member.transport == transport && member.takes == takes;
        if let Some(index) = members.iter().position(is_it) {
            return Ok(index);
        }
        if members.len() >= limits::LISTENERS {
            return Err(io::Error::other("too many set-ups want one at a time"));
        }
        let before: Vec<&TcpListener> = members.iter().map(|member| &*member.socket).collect();
        let socket = TcpListener::from_std(join(&before, transport, &self.0.address)?)?;
        members.push(Member::start(transport, takes, socket, self.0.helpers())?);
        Ok(members.len() - 1)
    }

    fn listen_for_sctp(&self) -> io::Result<()> {
        let mut sctp = self.0.sctp.borrow_mut();
        if sctp.is_none() {
            let socket = TcpListener::from_std(listen_on(Transport::Sctp, &self.0.address)?)?;
            *sctp = Some(Member::start(Transport::Sctp, Takes::Everybody, socket, self.0.helpers())?);
        }
        Ok(())
    }

    fn steer(&self) -> io::Result<()> {
        let members = self.0.members.borrow();
        // They are closed when a session that ends late gives its own back.
        let Some(first) = members.first() else { return Ok(()) };
        let rules: Vec<Rule> = members
            .iter()
            .enumerate()
            .filter_map(|(index, member)| {
                let who = match member.takes {
                    Takes::Everybody | Takes::Host(None) => return None,
                    Takes::Multipath => Who::Multipath,
                    Takes::Host(Some(host)) => Who::Host(host),
                };
                Some(Rule { who, member: u32::try_from(index).expect("not many") })
            })
            .collect();
        steer(&*first.socket, &rules)
    }
}

impl Shared {
    /// What each accepting task needs.
    fn helpers(&self) -> (&Admission, &WaitingTests) {
        (&self.admission, &self.waiting_tests)
    }
}

impl WaitingTests {
    /// Adds a test that waits for connections from this host, until the returned channel is dropped.
    fn add(&self, host: IpAddr) -> mpsc::UnboundedReceiver<io::Error> {
        let (waiting_test, lost) = mpsc::unbounded_channel();
        let mut waiting_tests = self.0.borrow_mut();
        waiting_tests.retain(|(_, waiting_test)| !waiting_test.is_closed());
        waiting_tests.push((host, waiting_test));
        lost
    }

    /// Tells all tests that wait for connections from one of these hosts why one is lost, and says whether
    /// there is such a test.
    fn lose(&self, hosts: &[IpAddr], why: &io::Error) -> bool {
        let waiting_tests = self.0.borrow();
        let mut losers = waiting_tests
            .iter()
            .filter(|(host, waiting_test)| hosts.contains(host) && !waiting_test.is_closed())
            .peekable();
        let is_lost = losers.peek().is_some();
        let again = || why.raw_os_error().map_or_else(|| why.kind().into(), io::Error::from_raw_os_error);
        // Fails only for those that have just stopped waiting.
        losers.for_each(|(_, waiting_test)| drop(waiting_test.send(again())));
        is_lost
    }
}

impl Drop for LentMember {
    fn drop(&mut self) {
        if let Some(member) = self.members.0.members.borrow_mut().get_mut(self.index) {
            member.takes = Takes::Host(None);
        }
        // If it fails, new connections of this host go on having this window until the rules change again.
        let _ = self.members.steer();
    }
}

impl Member {
    fn start(
        transport: Transport,
        takes: Takes,
        socket: TcpListener,
        (admission, waiting_tests): (&Admission, &WaitingTests),
    ) -> io::Result<Self> {
        let socket = Rc::new(socket);
        let accepting = Accepting::start(Rc::clone(&socket), admission.clone(), waiting_tests.clone())?;
        Ok(Self { transport, takes, socket, accepting })
    }
}

/// The task that accepts from a listener.
struct Accepting(JoinHandle<()>);

impl Accepting {
    fn start(
        listener: Rc<TcpListener>,
        admission: Admission,
        waiting_tests: WaitingTests,
    ) -> io::Result<Self> {
        let spare = SpareDescriptor::take()?;
        Ok(Self(tokio::task::spawn_local(accept_all(listener, (admission, waiting_tests), spare))))
    }

    /// Ends the task, with its reference to the listener.
    async fn end(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept_all(
    listener: Rc<TcpListener>,
    (admission, waiting_tests): (Admission, WaitingTests),
    mut spare: SpareDescriptor,
) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admission.admit(stream, unmap(peer)),
            Err(error) => {
                if is_out_of_descriptors(&error) {
                    let turned_away = spare.turn_away(&*listener, limits::TURNED_AWAY);
                    let hosts: Vec<IpAddr> = turned_away.into_iter().map(|peer| unmap(peer).ip()).collect();
                    // A test that has lost a stream never begins, and its end makes room. Else whoever has
                    // waited longest without a cookie does, unless nobody was there who needs it: the kernel
                    // looks for a descriptor first.
                    if !hosts.is_empty() && !waiting_tests.lose(&hosts, &error) {
                        admission.evict_one();
                    }
                }
                sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doors_are_told_while_they_are_open_and_forgotten_then() {
        let (waiting_tests, [host, other]) =
            (WaitingTests::default(), [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from));
        let why = io::Error::from_raw_os_error(24);
        assert!(!waiting_tests.lose(&[host], &why));
        for _ in 0..1000 {
            drop(waiting_tests.add(host));
        }
        assert!(!waiting_tests.lose(&[host], &why), "nobody waits any more");
        let mut open = waiting_tests.add(host);
        assert_eq!(waiting_tests.0.borrow().len(), 1);
        assert!(!waiting_tests.lose(&[other], &why) && open.try_recv().is_err());
        assert!(waiting_tests.lose(&[other, host], &why));
        assert_eq!(open.try_recv().unwrap().raw_os_error(), Some(24));
    }
}
