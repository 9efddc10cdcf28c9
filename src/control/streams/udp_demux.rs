//! How a server accepts the UDP streams of its tests.
//!
//! A client opens a stream with a *connect*. That of an iperf3 carries no cookie, so it belongs to the test
//! whose client has the address that it comes from, and only one test of a host waits for such connects at a
//! time (`setup_lock.rs`). A ringperf's connect carries the cookie of its test.
//!
//! Connects must come from the host of the control connection. With `--udp-any-source` those with a cookie
//! may come from elsewhere. A client could forge their source address, and that address would then get all
//! that a test sends. So such an address has to echo a challenge before it gets a stream, and never gets more
//! bytes than it sends.
//!
//! One listening socket receives all connects to an address of the server. A stream gets a socket of its own,
//! which is connected to the source of its connect. From then on the kernel delivers datagrams from there to
//! that socket alone, and no others to it. Until it is connected it is one more socket on the same port,
//! which may receive connects of other tests. These are routed to their tests.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::udp::{CONNECT_BUFFER_BYTES, DISCARDED_MAX, RECEIVE_BUFFER_BYTES, answer, prepare};
use crate::config::{Flow, LocalConfig, TestConfig};
use crate::control::base::fixes;
use crate::control::base::socket_options::bind_device;
use crate::error::SetupError;
use crate::protocol::{Cookie, UdpChallenge, UdpConnect};
use crate::sys::{Socket, random_bytes, udp_listener_at, unmap};

/// Most connects that wait for a test. An honest client sends the next one when it has got the reply.
const CONNECTS_WAITING: usize = 16;

/// The listening UDP sockets of a server, one for each of its addresses at which clients open streams. All
/// copies are one.
#[derive(Clone, Default)]
pub(crate) struct UdpListeners(Rc<RefCell<Vec<Weak<UdpListener>>>>);

/// A UDP socket that receives all connects to one address, and the task that routes them.
struct UdpListener {
    address: SocketAddr,
    socket: Rc<UdpSocket>,
    demux: Rc<UdpDemux>,
    listening: JoinHandle<()>,
}

/// The connects that open the streams of a test.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    /// The client's host, which they come from.
    pub(crate) client: IpAddr,
    /// The cookie that they must have; `None` if the client is no ringperf that sends it.
    pub(crate) cookie: Option<Cookie>,
    /// Whether connects with the cookie may come from any address.
    pub(crate) any_source: bool,
}

/// The tests that wait for connects at one address.
#[derive(Default)]
struct UdpDemux(RefCell<Vec<PendingTest>>);

/// A test that waits for connects.
struct PendingTest {
    expected: Expected,
    connects: mpsc::Sender<(UdpConnect, SocketAddr)>,
    /// The source of the last connect that belonged to no test; it may be the client, by another route.
    stranger: Rc<Cell<Option<SocketAddr>>>,
}

/// Accepts the UDP streams of one test.
pub(crate) struct UdpAcceptor<'a> {
    local: &'a LocalConfig,
    listener: Rc<UdpListener>,
    expected: Expected,
    /// The connects of the test, and their sources.
    connects: mpsc::Receiver<(UdpConnect, SocketAddr)>,
    /// The last source on another host than the client's, and the challenge that it has to echo.
    challenged: Option<(SocketAddr, UdpChallenge)>,
    /// The sources of the streams that are open already: a connect that is repeated opens no second stream.
    opened: Vec<SocketAddr>,
    stranger: Rc<Cell<Option<SocketAddr>>>,
}

impl UdpListeners {
    /// Starts to accept the streams of a client at the address that its control connection leads to, so that
    /// replies come from there. The client may be told to open its streams then.
    ///
    /// # Errors
    /// [`SetupError::UdpListen`], or [`SetupError::SocketOption`] when the network device is not there.
    pub(crate) fn open_acceptor<'a>(
        &self,
        address: SocketAddr,
        expected: Expected,
        local: &'a LocalConfig,
    ) -> Result<UdpAcceptor<'a>, SetupError> {
        let listener = self.listener(address, local)?;
        let (sender, connects) = mpsc::channel(CONNECTS_WAITING);
        let stranger = Rc::default();
        let pending = PendingTest { expected, connects: sender, stranger: Rc::clone(&stranger) };
        listener.demux.0.borrow_mut().push(pending);
        Ok(UdpAcceptor {
            local,
            listener,
            expected,
            connects,
            challenged: None,
            opened: Vec::new(),
            stranger,
        })
    }

    fn listener(&self, address: SocketAddr, local: &LocalConfig) -> Result<Rc<UdpListener>, SetupError> {
        let mut udp_listeners = self.0.borrow_mut();
        udp_listeners.retain(|listener| listener.strong_count() > 0);
        let known =
            udp_listeners.iter().filter_map(Weak::upgrade).find(|listener| listener.address == address);
        if let Some(listener) = known {
            return Ok(listener);
        }
        let failed = |source| listen_error(address, source);
        let socket = bind(address, local)?;
        // A flood of datagrams should not keep the clients' connects out.
        socket.grow_receive_buffer(RECEIVE_BUFFER_BYTES);
        let socket = Rc::new(UdpSocket::from_std(socket.into_udp()).map_err(failed)?);
        let demux = Rc::new(UdpDemux::default());
        let listening = tokio::task::spawn_local(listen(Rc::clone(&socket), Rc::clone(&demux)));
        let listener = Rc::new(UdpListener { address, socket, demux, listening });
        udp_listeners.push(Rc::downgrade(&listener));
        Ok(listener)
    }
}

impl UdpAcceptor<'_> {
    /// A sentence about the last source on another host than the client's that tried to open a stream in
    /// vain.
    pub(crate) fn strangers(&self) -> Option<String> {
        let Expected { client, cookie, .. } = self.expected;
        let client = client.to_canonical();
        let unopened = format!("the client at {client} has not opened its UDP streams");
        if let Some((source, _)) = self.challenged.filter(|(source, _)| !self.opened.contains(source)) {
            let other = unmap(source);
            return Some(format!("{unopened}: it tried to from {other}, but nothing gets back to there"));
        }
        let stranger = self.stranger.get().map(unmap)?;
        let (guess, fix) = match cookie {
            Some(_) => ("that is the client, and", "; --udp-any-source lets them in"),
            None => ("if that is the client,", ""),
        };
        Some(format!(
            "{unopened}, but {stranger} tried to and was not heard: {guess} routing or address translation gives its \
             datagrams another address than its control connection{fix}"
        ))
    }

    /// Waits for the client's next connect and replies to it, from a socket for this stream alone.
    ///
    /// # Errors
    /// [`SetupError::System`] or [`SetupError::SocketOption`].
    pub(crate) async fn next(&mut self, test: &TestConfig, flow: Flow) -> Result<Socket, SetupError> {
        let failed = |source| SetupError::System { what: "accepting a UDP stream", source };
        let source = loop {
            let (connect, source) = self
                .connects
                .recv()
                .await
                .expect("the listener keeps a sender as long as the acceptor is there");
            if !self.opened.contains(&source) && self.is_proven(connect, source)? {
                break source;
            }
        };
        self.opened.push(source);
        let socket = bind(self.listener.address, self.local)?;
        socket.connect_udp(source).map_err(failed)?;
        let socket = self.listener.demux.take_back(socket).map_err(failed)?;
        prepare(&socket, (test, self.local), flow, &source)?;
        // The kernel has room for four bytes; a lost reply is the client's to notice.
        answer(&socket).map_err(failed)?;
        Ok(socket)
    }

    /// Whether the sender of this connect receives what is sent to its source. The client's host does, since
    /// it has made a connection. Any other source is sent a challenge that it has to echo.
    fn is_proven(&mut self, connect: UdpConnect, source: SocketAddr) -> Result<bool, SetupError> {
        if self.expected.client == unmap(source).ip() {
            return Ok(true);
        }
        let challenge = match self.challenged {
            Some((challenged, challenge)) if challenged == source => challenge,
            _ => new_challenge()?,
        };
        if matches!(connect, UdpConnect::Named { echo, .. } if challenge.is_met_by(&echo)) {
            return Ok(true);
        }
        self.challenged = Some((source, challenge));
        // A client that gets nothing sends its connect once more.
        let _ = self.listener.socket.try_send_to(&challenge.encode(), source);
        Ok(false)
    }
}

fn new_challenge() -> Result<UdpChallenge, SetupError> {
    let mut random = [0; 8];
    random_bytes(&mut random)
        .map_err(|source| SetupError::System { what: "getting random bytes from the kernel", source })?;
    Ok(UdpChallenge::from_random(random))
}

impl Expected {
    /// Whether a connect of the test may come from `source`.
    fn hears(&self, connect: &UdpConnect, source: IpAddr) -> bool {
        self.client == source || self.any_source && matches!(connect, UdpConnect::Named { .. })
    }
}

impl Drop for UdpAcceptor<'_> {
    fn drop(&mut self) {
        self.listener.demux.0.borrow_mut().retain(|pending| !Rc::ptr_eq(&pending.stranger, &self.stranger));
    }
}

impl Drop for UdpListener {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl UdpDemux {
    /// Hands a connect to the test that waits for it; other datagrams are dropped.
    fn route(&self, datagram: &[u8], source: SocketAddr) {
        let Some(connect) = UdpConnect::decode(datagram) else { return };
        let tests = self.0.borrow();
        let of_connect = || tests.iter().filter(|pending| connect.is_of(pending.expected.cookie.as_ref()));
        match of_connect().find(|pending| pending.expected.hears(&connect, unmap(source).ip())) {
            // A client that sends more connects than it gets replies has to send them again.
            Some(pending) => drop(pending.connects.try_send((connect, source))),
            None => of_connect().for_each(|pending| pending.stranger.set(Some(source))),
        }
    }

    /// Empties a socket that has just been connected of the datagrams that came before, and routes the
    /// connects of other tests among them.
    fn take_back(&self, socket: Socket) -> io::Result<Socket> {
        let socket = socket.into_udp();
        let mut buffer = [0; CONNECT_BUFFER_BYTES];
        for _ in 0..DISCARDED_MAX {
            match socket.recv_from(&mut buffer) {
                Ok((bytes, source)) => self.route(&buffer[..bytes], source),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A pending error is forgotten with the rest.
                Err(_) => {}
            }
        }
        Ok(Socket::from_udp(socket))
    }
}

/// Receives and routes all connects until no test waits for any.
async fn listen(socket: Rc<UdpSocket>, demux: Rc<UdpDemux>) {
    let mut buffer = [0; CONNECT_BUFFER_BYTES];
    loop {
        // An error tells of an earlier answer that did not arrive, if anything.
        if let Ok((bytes, source)) = socket.recv_from(&mut buffer).await {
            demux.route(&buffer[..bytes], source);
        }
    }
}

fn bind(address: SocketAddr, local: &LocalConfig) -> Result<Socket, SetupError> {
    let failed = |source| listen_error(address, source);
    let socket = Socket::new_udp(&address).map_err(failed)?;
    bind_device(&socket, local)?;
    socket.bind(address).map_err(failed)?;
    Ok(socket)
}

fn listen_error(address: SocketAddr, source: io::Error) -> SetupError {
    let fix = fixes::of_listening(unmap(address), &source, udp_listener_at);
    SetupError::UdpListen { address: address.to_string(), source, fix }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;
    use crate::protocol::{UDP_CONNECT, UDP_REPLY};

    fn stock(client: [u8; 4]) -> Expected {
        Expected { client: client.into(), cookie: None, any_source: false }
    }

    fn cookie(random: u8) -> Cookie {
        Cookie::from_random([random; Cookie::LEN - 1])
    }

    fn hears(socket: &std::net::UdpSocket) -> Vec<u8> {
        let mut datagram = [0; 64];
        let bytes = socket.recv(&mut datagram).unwrap();
        datagram[..bytes].to_vec()
    }

    fn hears_nothing(socket: &std::net::UdpSocket) {
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 64]).is_err());
        socket.set_nonblocking(false).unwrap();
    }

    /// Waits until all connects so far are dealt with, and checks that they open no stream.
    async fn nobody_comes(acceptor: &mut UdpAcceptor<'_>) {
        let test = TestConfig::default();
        let another = timeout(Duration::from_millis(20), acceptor.next(&test, Flow::Send));
        assert!(another.await.is_err(), "nobody else has said anything");
    }

    fn socket_of(client: [u8; 4]) -> std::net::UdpSocket {
        let socket = std::net::UdpSocket::bind(SocketAddr::from((client, 0))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    fn free_address() -> SocketAddr {
        socket_of([127, 0, 0, 1]).local_addr().unwrap()
    }

    /// Accepts the next stream and returns its socket.
    async fn open(acceptor: &mut UdpAcceptor<'_>, client: &std::net::UdpSocket) -> Socket {
        let test = TestConfig::default();
        let stream = timeout(Duration::from_secs(5), acceptor.next(&test, Flow::Receive)).await;
        let stream = stream.expect("the word has come").unwrap();
        assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
        let mut answer = [0; 8];
        assert_eq!(client.recv(&mut answer).unwrap(), UDP_REPLY.len());
        assert_eq!(answer[..4], UDP_REPLY);
        stream
    }

    #[tokio::test]
    async fn words_find_the_test_of_their_host() {
        let tests = async {
            let (udp_listeners, local, address) =
                (UdpListeners::default(), LocalConfig::default(), free_address());
            let hosts = [[127, 0, 0, 2], [127, 0, 0, 3]];
            let [mut first, mut second] =
                hosts.map(|host| udp_listeners.open_acceptor(address, stock(host), &local).unwrap());
            let stranger = socket_of([127, 0, 0, 4]);
            stranger.send_to(&UDP_CONNECT, address).unwrap();
            let clients = [hosts[0], hosts[1], hosts[0], hosts[1]].map(socket_of);
            for client in clients.iter().rev() {
                // A connect that is repeated opens one stream.
                client.send_to(&UDP_CONNECT, address).unwrap();
                client.send_to(&UDP_CONNECT, address).unwrap();
            }
            let mut streams = Vec::new();
            for client in [3, 1] {
                streams.push(open(&mut second, &clients[client]).await);
            }
            for client in [2, 0] {
                streams.push(open(&mut first, &clients[client]).await);
            }
            for acceptor in [&mut first, &mut second] {
                nobody_comes(acceptor).await;
            }
            hears_nothing(&stranger);
        };
        LocalSet::new().run_until(tests).await;
    }

    /// All connects come from one host, so nothing but the cookie tells which test they belong to.
    #[tokio::test]
    async fn words_that_name_a_test_find_it() {
        let tests = async {
            let (udp_listeners, local, address) =
                (UdpListeners::default(), LocalConfig::default(), free_address());
            let host = [127, 0, 0, 2];
            let named = |random| Expected { cookie: Some(cookie(random)), ..stock(host) };
            let [mut bare, mut first, mut second] = [stock(host), named(1), named(2)]
                .map(|expected| udp_listeners.open_acceptor(address, expected, &local).unwrap());
            let connects = [None, Some(cookie(1)), Some(cookie(2)), Some(cookie(3))].map(UdpConnect::first);
            let clients = connects.map(|connect| {
                let client = socket_of(host);
                client.send_to(&connect.encode(), address).unwrap();
                client
            });
            for (acceptor, client) in [(&mut second, 2), (&mut first, 1), (&mut bare, 0)] {
                open(acceptor, &clients[client]).await;
                nobody_comes(acceptor).await;
            }
            hears_nothing(&clients[3]);
            // A test that stops waiting does not take those of the same host with it.
            drop(first);
            let client = socket_of(host);
            client.send_to(&connects[2].encode(), address).unwrap();
            open(&mut second, &client).await;
        };
        LocalSet::new().run_until(tests).await;
    }

    #[tokio::test]
    async fn another_address_has_to_know_the_cookie_and_to_repeat_a_challenge() {
        let tests = async {
            let (udp_listeners, local, address) =
                (UdpListeners::default(), LocalConfig::default(), free_address());
            let [host, elsewhere] = [[127, 0, 0, 2], [127, 0, 0, 3]];
            let named = Expected { cookie: Some(cookie(1)), any_source: true, ..stock(host) };
            let mut acceptor = udp_listeners.open_acceptor(address, named, &local).unwrap();
            let [client, other, stranger] = [elsewhere; 3].map(socket_of);
            for connect in [None, Some(cookie(2))].map(UdpConnect::first) {
                stranger.send_to(&connect.encode(), address).unwrap();
            }
            nobody_comes(&mut acceptor).await;
            hears_nothing(&stranger);
            assert_eq!(acceptor.strangers(), None, "nothing tells who that was");

            let first = UdpConnect::first(Some(cookie(1))).encode();
            client.send_to(&first, address).unwrap();
            client.send_to(&first, address).unwrap();
            nobody_comes(&mut acceptor).await;
            let (asked, again) = (hears(&client), hears(&client));
            assert!(asked == again && asked.len() < first.len(), "a word that is repeated changes nothing");
            let said = acceptor.strangers().unwrap();
            assert!(said.contains(&client.local_addr().unwrap().to_string()), "{said}");

            let echo = UdpChallenge::decode(&asked).unwrap();
            let repeated = UdpConnect::Named { cookie: cookie(1), echo }.encode();
            // The challenge of one address does not help another one, nor does another test's cookie.
            other.send_to(&repeated, address).unwrap();
            stranger.send_to(&UdpConnect::Named { cookie: cookie(2), echo }.encode(), address).unwrap();
            nobody_comes(&mut acceptor).await;
            assert_ne!(hears(&other), asked);
            hears_nothing(&stranger);

            client.send_to(&first, address).unwrap();
            nobody_comes(&mut acceptor).await;
            let echo = UdpChallenge::decode(&hears(&client)).unwrap();
            client.send_to(&UdpConnect::Named { cookie: cookie(1), echo }.encode(), address).unwrap();
            open(&mut acceptor, &client).await;
            assert_eq!(acceptor.strangers(), None);
        };
        LocalSet::new().run_until(tests).await;
    }

    #[tokio::test]
    async fn without_the_option_another_address_is_named_and_not_heard() {
        let tests = async {
            let (udp_listeners, local, address) =
                (UdpListeners::default(), LocalConfig::default(), free_address());
            let named = Expected { cookie: Some(cookie(1)), ..stock([127, 0, 0, 2]) };
            let mut acceptor = udp_listeners.open_acceptor(address, named, &local).unwrap();
            let client = socket_of([127, 0, 0, 3]);
            client.send_to(&UdpConnect::first(Some(cookie(1))).encode(), address).unwrap();
            nobody_comes(&mut acceptor).await;
            hears_nothing(&client);
            let said = acceptor.strangers().unwrap();
            let source = client.local_addr().unwrap().to_string();
            assert!(said.contains(&source) && said.contains("--udp-any-source"), "{said}");
        };
        LocalSet::new().run_until(tests).await;
    }

    #[tokio::test]
    async fn a_word_that_strays_into_another_streams_socket_is_not_lost() {
        let tests = async {
            let (udp_listeners, local, address) =
                (UdpListeners::default(), LocalConfig::default(), free_address());
            let [host, other] = [[127, 0, 0, 2], [127, 0, 0, 3]];
            let mut acceptor = udp_listeners.open_acceptor(address, stock(host), &local).unwrap();
            let client = socket_of(host);
            // The socket of a stream of another test, between its bind and its connect: it is the newest one.
            let socket = bind(address, &local).unwrap();
            client.send_to(&UDP_CONNECT, address).unwrap();
            let strange = socket_of(other);
            socket.connect_udp(strange.local_addr().unwrap()).unwrap();
            let socket = acceptor.listener.demux.take_back(socket).unwrap();
            assert!(socket.receive_now(&mut [0; 8]).is_err());
            open(&mut acceptor, &client).await;
        };
        LocalSet::new().run_until(tests).await;
    }

    #[tokio::test]
    async fn the_port_is_free_when_the_last_door_is_shut() {
        let tests = async {
            let (udp_listeners, local, address) =
                (UdpListeners::default(), LocalConfig::default(), free_address());
            let acceptor = udp_listeners.open_acceptor(address, stock([127, 0, 0, 2]), &local).unwrap();
            assert!(std::net::UdpSocket::bind(address).is_err());
            drop(acceptor);
            tokio::task::yield_now().await;
            assert!(std::net::UdpSocket::bind(address).is_ok());
        };
        LocalSet::new().run_until(tests).await;
    }
}
