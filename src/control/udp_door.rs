//! Where a server waits for the UDP streams of its tests.
//!
//! The words that open streams carry no cookie, so they are told apart by their hosts: a test that waits for
//! streams owns the words of its client's address, and there is one such test of a host at a time
//! (`turns.rs`).
//!
//! One socket, the porter's, hears all words that come to an address of the server. A stream gets a socket of
//! its own, which is connected to where the word came from: from then on the kernel lets nobody else's
//! datagrams into it, and none of this client's into the porter's. Until it is connected it is one more
//! socket on the same port, so words for other tests may get into it. They are handed back to the porter.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::socket_options::bind_device;
use super::udp::{FORGOTTEN_MAX, RECEIVE_BUFFER_BYTES, WORD_ROOM, answer, prepare};
use crate::config::{Flow, LocalConfig, TestConfig};
use crate::error::RunError;
use crate::protocol::is_udp_connect;
use crate::sys::{Socket, unmap};

/// Words that may wait for a test. An honest client says the next one when it has heard the answer.
const WORDS_WAITING: usize = 16;

/// All porters of a server: one for each of its addresses at which clients open streams. All copies are one.
#[derive(Clone, Default)]
pub(super) struct Porters(Rc<RefCell<Vec<Weak<Porter>>>>);

/// Hears everybody at one address.
struct Porter {
    address: SocketAddr,
    guests: Rc<Guests>,
    listening: JoinHandle<()>,
}

/// The hosts whose words somebody waits for.
#[derive(Default)]
struct Guests(RefCell<Vec<Guest>>);

/// A test that waits for words.
struct Guest {
    client: IpAddr,
    words: mpsc::Sender<SocketAddr>,
    /// Who has said a word that was nobody's meanwhile: it may be the client, by another way.
    stranger: Rc<Cell<Option<SocketAddr>>>,
}

/// Where one test waits for its streams.
pub(super) struct UdpDoor<'a> {
    local: &'a LocalConfig,
    porter: Rc<Porter>,
    /// The only address whose datagrams count, and the only one that is ever answered.
    client: IpAddr,
    /// Where the words come from.
    words: mpsc::Receiver<SocketAddr>,
    /// Where the streams come from that are there already: a word that is repeated opens no second one.
    opened: Vec<SocketAddr>,
    stranger: Rc<Cell<Option<SocketAddr>>>,
}

impl Porters {
    /// Opens a door for `client` at the address that it has connected its control connection to, so that
    /// answers come from there; the client may be told to come.
    ///
    /// # Errors
    /// [`RunError::UdpListen`], or [`RunError::SocketOption`] when the network device is not there.
    pub(super) fn open_door<'a>(
        &self,
        address: SocketAddr,
        client: IpAddr,
        local: &'a LocalConfig,
    ) -> Result<UdpDoor<'a>, RunError> {
        let porter = self.porter(address, local)?;
        let (sender, words) = mpsc::channel(WORDS_WAITING);
        let stranger = Rc::default();
        let guest = Guest { client, words: sender, stranger: Rc::clone(&stranger) };
        porter.guests.0.borrow_mut().push(guest);
        Ok(UdpDoor { local, porter, client, words, opened: Vec::new(), stranger })
    }

    fn porter(&self, address: SocketAddr, local: &LocalConfig) -> Result<Rc<Porter>, RunError> {
        let mut porters = self.0.borrow_mut();
        porters.retain(|porter| porter.strong_count() > 0);
        let known = porters.iter().filter_map(Weak::upgrade).find(|porter| porter.address == address);
        if let Some(porter) = known {
            return Ok(porter);
        }
        let failed = |source| RunError::UdpListen { address: address.to_string(), source };
        let socket = bind(address, local)?;
        // Who floods the door should not keep the clients out of it.
        socket.grow_receive_buffer(RECEIVE_BUFFER_BYTES);
        let socket = UdpSocket::from_std(socket.into_udp()).map_err(failed)?;
        let guests = Rc::new(Guests::default());
        let listening = tokio::task::spawn_local(listen(socket, Rc::clone(&guests)));
        let porter = Rc::new(Porter { address, guests, listening });
        porters.push(Rc::downgrade(&porter));
        Ok(porter)
    }
}

impl UdpDoor<'_> {
    /// Who was the last to say a word that was nobody's, from another address than the client's.
    pub(super) fn stranger(&self) -> Option<SocketAddr> {
        self.stranger.get().map(unmap)
    }

    /// Waits for the client's next word and answers it, from a socket for this stream alone.
    ///
    /// # Errors
    /// [`RunError::System`] or [`RunError::SocketOption`].
    pub(super) async fn next(&mut self, test: &TestConfig, flow: Flow) -> Result<Socket, RunError> {
        let failed = |source| RunError::System { what: "accepting a UDP stream", source };
        let source = loop {
            let source =
                self.words.recv().await.expect("the porter keeps a sender as long as the door is there");
            if !self.opened.contains(&source) {
                break source;
            }
        };
        self.opened.push(source);
        let socket = bind(self.porter.address, self.local)?;
        socket.connect_udp(source).map_err(failed)?;
        let socket = self.porter.guests.take_back(socket).map_err(failed)?;
        prepare(&socket, test, flow, &source)?;
        // The kernel has room for four bytes; a lost answer is the client's to notice.
        answer(&socket).map_err(failed)?;
        Ok(socket)
    }
}

impl Drop for UdpDoor<'_> {
    fn drop(&mut self) {
        self.porter.guests.0.borrow_mut().retain(|guest| guest.client != self.client);
    }
}

impl Drop for Porter {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Guests {
    /// Sends a word to the test that waits for it; whatever else comes is dropped.
    fn route(&self, word: &[u8], source: SocketAddr) {
        if !is_udp_connect(word) {
            return;
        }
        let guests = self.0.borrow();
        match guests.iter().find(|guest| guest.client == unmap(source).ip()) {
            // A client that says more than it is answered has to say it again.
            Some(guest) => drop(guest.words.try_send(source)),
            None => guests.iter().for_each(|guest| guest.stranger.set(Some(source))),
        }
    }

    /// Empties a socket that is connected now of what has come in before: it may be anybody's, and words of
    /// other tests among it.
    fn take_back(&self, socket: Socket) -> io::Result<Socket> {
        let socket = socket.into_udp();
        let mut word = [0; WORD_ROOM];
        for _ in 0..FORGOTTEN_MAX {
            match socket.recv_from(&mut word) {
                Ok((bytes, source)) => self.route(&word[..bytes], source),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A pending error is forgotten with the rest.
                Err(_) => {}
            }
        }
        Ok(Socket::from_udp(socket))
    }
}

/// Hears all words until nobody waits for any.
async fn listen(socket: UdpSocket, guests: Rc<Guests>) {
    let mut word = [0; WORD_ROOM];
    loop {
        // An error tells of an earlier answer that did not arrive, if anything.
        if let Ok((bytes, source)) = socket.recv_from(&mut word).await {
            guests.route(&word[..bytes], source);
        }
    }
}

fn bind(address: SocketAddr, local: &LocalConfig) -> Result<Socket, RunError> {
    let failed = |source| RunError::UdpListen { address: address.to_string(), source };
    let socket = Socket::new_udp(&address).map_err(failed)?;
    bind_device(&socket, local)?;
    socket.bind(address).map_err(failed)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;
    use crate::protocol::{UDP_CONNECT, UDP_REPLY};

    fn socket_of(client: [u8; 4]) -> std::net::UdpSocket {
        let socket = std::net::UdpSocket::bind(SocketAddr::from((client, 0))).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    fn free_address() -> SocketAddr {
        socket_of([127, 0, 0, 1]).local_addr().unwrap()
    }

    /// Opens the next stream and returns where it leads.
    async fn open(door: &mut UdpDoor<'_>, client: &std::net::UdpSocket) -> Socket {
        let test = TestConfig::default();
        let stream = timeout(Duration::from_secs(5), door.next(&test, Flow::Receive)).await;
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
            let (porters, local, address) = (Porters::default(), LocalConfig::default(), free_address());
            let hosts = [[127, 0, 0, 2], [127, 0, 0, 3]];
            let [mut first, mut second] =
                hosts.map(|host| porters.open_door(address, host.into(), &local).unwrap());
            let stranger = socket_of([127, 0, 0, 4]);
            stranger.send_to(&UDP_CONNECT, address).unwrap();
            let clients = [hosts[0], hosts[1], hosts[0], hosts[1]].map(socket_of);
            for client in clients.iter().rev() {
                // A word that is repeated opens one stream.
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
            for door in [&mut first, &mut second] {
                let test = TestConfig::default();
                let another = timeout(Duration::from_millis(20), door.next(&test, Flow::Send));
                assert!(another.await.is_err(), "nobody else has said anything");
            }
            stranger.set_nonblocking(true).unwrap();
            assert!(stranger.recv(&mut [0; 8]).is_err(), "a stranger is not answered");
        };
        LocalSet::new().run_until(tests).await;
    }

    #[tokio::test]
    async fn a_word_that_strays_into_another_streams_socket_is_not_lost() {
        let tests = async {
            let (porters, local, address) = (Porters::default(), LocalConfig::default(), free_address());
            let [host, other] = [[127, 0, 0, 2], [127, 0, 0, 3]];
            let mut door = porters.open_door(address, host.into(), &local).unwrap();
            let client = socket_of(host);
            // The socket of a stream of another test, between its bind and its connect: it is the newest one.
            let socket = bind(address, &local).unwrap();
            client.send_to(&UDP_CONNECT, address).unwrap();
            let strange = socket_of(other);
            socket.connect_udp(strange.local_addr().unwrap()).unwrap();
            let socket = door.porter.guests.take_back(socket).unwrap();
            assert!(socket.receive_now(&mut [0; 8]).is_err());
            open(&mut door, &client).await;
        };
        LocalSet::new().run_until(tests).await;
    }

    #[tokio::test]
    async fn the_port_is_free_when_the_last_door_is_shut() {
        let tests = async {
            let (porters, local, address) = (Porters::default(), LocalConfig::default(), free_address());
            let door = porters.open_door(address, [127, 0, 0, 2].into(), &local).unwrap();
            assert!(std::net::UdpSocket::bind(address).is_err());
            drop(door);
            tokio::task::yield_now().await;
            assert!(std::net::UdpSocket::bind(address).is_ok());
        };
        LocalSet::new().run_until(tests).await;
    }
}
