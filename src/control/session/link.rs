//! The control connection: bytes in both directions, each read with a limit and a deadline.
//!
//! One pump task owns all reads and hands chunks on through a channel, so a session can wait for a byte, a
//! timer and a signal at once and drop what it does not need: dropping a read of io_uring would lose control
//! bytes.

use std::future;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};

use crate::control::base::limits;
use crate::control::base::runtime::RuntimeKind;
use crate::error::{PeerError, RunError, SetupError};
use crate::protocol::results::Sieve;
use crate::protocol::{State, parse_object};
use crate::report::DebugLog;
use crate::sys::Socket;

/// Bytes that the pump reads at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks that wait for the session; a peer that sends more is held up by TCP.
const CHUNKS_WAITING: usize = 4;

/// Time until an operation is submitted again in case the kernel has refused it: the first, and the longest.
const SUBMIT_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// The level of `-d` that shows parameters and results ...
const LOG_FRAMES: u8 = 1;
/// ... and the one that shows states.
const LOG_STATES: u8 = 3;

/// A control connection.
pub(super) struct Link {
    transport: ControlStream,
    /// This connection once more, for options and for shutdown(2) from anywhere.
    socket: Socket,
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    unread: Vec<u8>,
    pump: JoinHandle<()>,
    log: DebugLog,
    /// How long the peer may keep it open at the end.
    linger: Duration,
}

/// How bytes get in and out.
#[derive(Clone)]
enum ControlStream {
    Uring(Rc<tokio_uring::net::TcpStream>),
    Plain(Rc<tokio::net::TcpStream>),
}

impl Link {
    /// Takes over a connected stream; what passes on it is told to `log`.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new(stream: TcpStream, runtime: RuntimeKind, log: DebugLog) -> io::Result<Self> {
        let socket = Socket::from_stream(stream.try_clone()?);
        socket.set_no_delay()?;
        let transport = match runtime {
            RuntimeKind::Uring => {
                // An io_uring read of a non-blocking socket fails at once instead of waiting.
                stream.set_nonblocking(false)?;
                ControlStream::Uring(Rc::new(tokio_uring::net::TcpStream::from_std(stream)))
            }
            RuntimeKind::Plain => {
                stream.set_nonblocking(true)?;
                ControlStream::Plain(Rc::new(tokio::net::TcpStream::from_std(stream)?))
            }
        };
        let (sender, chunks) = mpsc::channel(CHUNKS_WAITING);
        let pump = tokio::task::spawn_local(pump(transport.clone(), sender));
        Ok(Self { transport, socket, chunks, unread: Vec::new(), pump, log, linger: limits::LINGER })
    }

    /// Largest segment in bytes; 0 if the system does not say.
    pub(super) fn mss(&self) -> u32 {
        self.socket.mss().unwrap_or(0)
    }

    /// The next state byte, however long it takes. May be dropped and called again without losing anything.
    pub(super) async fn next_state(&mut self, waiting_for: &'static str) -> Result<State, PeerError> {
        self.fill(1, waiting_for).await?;
        let byte = self.unread.remove(0);
        let state = State::from_byte(byte).ok_or(PeerError::UnknownState(byte))?;
        self.log.tell(LOG_STATES, || format!("State received: {byte}-{state}\n"));
        Ok(state)
    }

    /// The next state byte, which must come within `wait`.
    pub(super) async fn state_within(
        &mut self,
        wait: Duration,
        waiting_for: &'static str,
    ) -> Result<State, PeerError> {
        match timeout(wait, self.next_state(waiting_for)).await {
            Ok(state) => state,
            Err(_) => Err(PeerError::Silent { waiting_for, after: wait }),
        }
    }

    /// The next state within `wait`, and no longer than keepalive would have waited for a host that
    /// acknowledges nothing.
    ///
    /// What this end has just said stops the kernel's probes, and its patience begins anew. So a host that is
    /// gone for a while would have twice the time, if nobody looked.
    pub(super) async fn state_of_live_host(
        &mut self,
        wait: Duration,
        waiting_for: &'static str,
    ) -> Result<State, PeerError> {
        let deadline = Instant::now() + wait;
        loop {
            // A connection that cannot be asked is one whose read fails.
            let silence = self.socket.silence().unwrap_or_default();
            let now = Instant::now();
            let look = match limits::HOST_SILENCE.checked_sub(silence) {
                _ if now >= deadline => return Err(PeerError::Silent { waiting_for, after: wait }),
                Some(left) if !left.is_zero() => deadline.min(now + left),
                _ => return Err(PeerError::Control(io::Error::from_raw_os_error(libc::ETIMEDOUT))),
            };
            if let Ok(state) = timeout_at(look.into(), self.next_state(waiting_for)).await {
                return state;
            }
        }
    }

    /// The next state byte, however long it takes, if it is another than `due`, which stays unread and is
    /// made known. May be dropped like [`Self::next_state`].
    pub(super) async fn next_state_but(
        &mut self,
        due: State,
        is_there: &Notify,
        waiting_for: &'static str,
    ) -> Result<State, PeerError> {
        self.fill(1, waiting_for).await?;
        if self.unread.first() == Some(&due.byte()) {
            is_there.notify_one();
            return future::pending().await;
        }
        self.next_state(waiting_for).await
    }

    /// The next byte, which must come within `wait` and stays unread.
    pub(super) async fn peek_within(
        &mut self,
        wait: Duration,
        waiting_for: &'static str,
    ) -> Result<u8, PeerError> {
        match timeout(wait, self.fill(1, waiting_for)).await {
            Ok(filled) => filled.map(|()| self.unread[0]),
            Err(_) => Err(PeerError::Silent { waiting_for, after: wait }),
        }
    }

    /// A length word and as many bytes, at most `most`, which must be there within `wait`.
    pub(super) async fn frame_within(
        &mut self,
        what: &'static str,
        most: u32,
        wait: Duration,
    ) -> Result<Vec<u8>, PeerError> {
        // One deadline for all of it: a peer that drips does not get more time.
        let deadline = Instant::now() + wait;
        let late = |error| late(error, what, wait);
        let bytes = self.length_until(what, most, deadline).await.map_err(late)?;
        let length = usize::try_from(bytes).expect("a u32 fits a usize on Linux");
        let frame = self.bytes_until(length, deadline, what).await.map_err(late)?;
        self.log_received(what, &frame);
        Ok(frame)
    }

    /// A server's results within `wait`, of which `sieve` keeps what may be kept; and whether it left
    /// something out.
    pub(super) async fn results_within(
        &mut self,
        most: u32,
        mut sieve: Sieve,
        wait: Duration,
    ) -> Result<(Vec<u8>, bool), PeerError> {
        let what = "results";
        let deadline = Instant::now() + wait;
        let late = |error| late(error, what, wait);
        let bytes = self.length_until(what, most, deadline).await.map_err(late)?;
        let mut left = usize::try_from(bytes).expect("a u32 fits a usize on Linux");
        while left > 0 {
            let piece = left.min(self.unread.len().max(1));
            let piece = self.bytes_until(piece, deadline, what).await.map_err(late)?;
            sieve.push(&piece).map_err(|_| PeerError::TooLong { what, bytes, most })?;
            left -= piece.len();
        }
        let (frame, has_left_out) = sieve.finish();
        self.log_received(what, &frame);
        Ok((frame, has_left_out))
    }

    /// Whatever the peer still sends until it closes, at most `most` bytes, within `wait`; for the last words
    /// of a peer that may leave some of them out.
    pub(super) async fn rest_within(&mut self, most: usize, wait: Duration) -> Vec<u8> {
        let deadline = Instant::now() + wait;
        match self.bytes_until(most, deadline, "its last words").await {
            Ok(bytes) => bytes,
            // A closed or silent peer is what ends this otherwise.
            Err(_) => std::mem::take(&mut self.unread),
        }
    }

    /// Writes a state byte.
    pub(super) async fn write_state(&mut self, state: State) -> Result<(), PeerError> {
        self.write_states(&[state]).await
    }

    /// Writes state bytes, all at once.
    pub(super) async fn write_states(&mut self, states: &[State]) -> Result<(), PeerError> {
        for state in states {
            self.log.tell(LOG_STATES, || format!("State sent: {}-{state}\n", state.byte()));
        }
        self.write(states.iter().map(|state| state.byte()).collect()).await
    }

    /// Writes a length word and `text`, which is `what`.
    pub(crate) async fn write_frame(&mut self, what: &'static str, text: &str) -> Result<(), RunError> {
        self.log_sent(what, text);
        let length = u32::try_from(text.len()).map_err(|_| {
            let source = io::Error::from(io::ErrorKind::InvalidInput);
            SetupError::System { what: "a message of more than 4 GiB", source }
        })?;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        Ok(self.write(bytes).await?)
    }

    /// Writes bytes; gives the connection up when the peer does not take them in time.
    pub(super) async fn write(&mut self, bytes: Vec<u8>) -> Result<(), PeerError> {
        match timeout(limits::WRITE, self.transport.write_all(bytes)).await {
            Ok(written) => written.map_err(PeerError::Control),
            Err(_) => {
                self.socket.shutdown(Shutdown::Both);
                Err(PeerError::Silent { waiting_for: "room for a control message", after: limits::WRITE })
            }
        }
    }

    /// The end must come soon, since somebody waits for this process to end.
    pub(super) fn hurry(&mut self) {
        self.linger = limits::HURRIED_LINGER;
    }

    /// Ends the connection so that the peer gets everything we wrote: half-close, wait a moment for its end,
    /// close.
    pub(crate) async fn close(mut self) {
        self.socket.shutdown(Shutdown::Write);
        let _ = self.rest_within(limits::LINGER_BYTES, self.linger).await;
        self.socket.shutdown(Shutdown::Both);
        // The shutdown has ended its read, so this is over at once.
        let _ = timeout(self.linger, &mut self.pump).await;
    }

    async fn length_until(
        &mut self,
        what: &'static str,
        most: u32,
        deadline: Instant,
    ) -> Result<u32, PeerError> {
        let word = self.bytes_until(4, deadline, what).await?;
        match u32::from_be_bytes(word.try_into().expect("four bytes were read")) {
            bytes if bytes == 0 || bytes > most => Err(PeerError::TooLong { what, bytes, most }),
            bytes => Ok(bytes),
        }
    }

    async fn bytes_until(
        &mut self,
        bytes: usize,
        deadline: Instant,
        waiting_for: &'static str,
    ) -> Result<Vec<u8>, PeerError> {
        match timeout_at(deadline.into(), self.fill(bytes, waiting_for)).await {
            Ok(filled) => filled?,
            Err(_) => return Err(PeerError::Silent { waiting_for, after: Duration::ZERO }),
        }
        let rest = self.unread.split_off(bytes);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// Shows what has been sent to the peer, on whatever connection.
    pub(super) fn log_sent(&self, what: &'static str, text: &str) {
        self.log.tell(LOG_FRAMES, || format!("send_{what}:\n{}\n", without_token(text)));
    }

    /// Shows what has come from it.
    pub(super) fn log_received(&self, what: &'static str, frame: &[u8]) {
        self.log.tell(LOG_FRAMES, || {
            format!("get_{what}:\n{}\n", without_token(&String::from_utf8_lossy(frame)))
        });
    }

    /// Waits until at least `bytes` bytes are unread. May be dropped at any time: what has come stays.
    async fn fill(&mut self, bytes: usize, waiting_for: &'static str) -> Result<(), PeerError> {
        while self.unread.len() < bytes {
            match self.chunks.recv().await {
                Some(Ok(chunk)) => self.unread.extend_from_slice(&chunk),
                Some(Err(error)) if is_closed(&error) => return Err(PeerError::Closed { waiting_for }),
                Some(Err(error)) => return Err(PeerError::Control(error)),
                None => return Err(PeerError::Closed { waiting_for }),
            }
        }
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Ends the pump's read; otherwise an io_uring read would hold the connection open.
        self.socket.shutdown(Shutdown::Both);
    }
}

impl ControlStream {
    async fn read(&self) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES);
        match self {
            Self::Uring(stream) => {
                let (result, buffer) = submitted(stream.read(buffer)).await;
                result.map(|_| buffer)
            }
            Self::Plain(stream) => loop {
                stream.readable().await?;
                match stream.try_read_buf(&mut buffer) {
                    Ok(_) => return Ok(buffer),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            },
        }
    }

    async fn write_all(&self, bytes: Vec<u8>) -> io::Result<()> {
        match self {
            Self::Uring(stream) => submitted(stream.write_all(bytes)).await.0,
            Self::Plain(stream) => {
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    stream.writable().await?;
                    match stream.try_write(rest) {
                        Ok(written) => rest = &rest[written..],
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        }
    }
}

/// Awaits an operation of io_uring. The runtime submits when its thread goes to sleep, and overlooks that the
/// kernel may refuse that for the moment; so the thread is woken now and then, soon at first, to try again.
async fn submitted<T>(operation: impl Future<Output = T>) -> T {
    let mut operation = std::pin::pin!(operation);
    let mut wait = SUBMIT_AGAIN.0;
    loop {
        match timeout(wait, &mut operation).await {
            Ok(result) => return result,
            Err(_) => wait = (wait * 4).min(SUBMIT_AGAIN.1),
        }
    }
}

/// Reads until the end of the connection; nobody else does.
async fn pump(transport: ControlStream, chunks: mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        match transport.read().await {
            Ok(chunk) if chunk.is_empty() => return,
            Ok(chunk) => {
                if chunks.send(Ok(chunk)).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                // Fails only when the session is gone.
                let _ = chunks.send(Err(error)).await;
                return;
            }
        }
    }
}

/// Says how long the peer had for all of a message.
pub(crate) fn late(error: PeerError, what: &'static str, wait: Duration) -> PeerError {
    match error {
        PeerError::Silent { .. } => PeerError::Silent { waiting_for: what, after: wait },
        other => other,
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), ConnectionReset | BrokenPipe | ConnectionAborted)
}

/// A message as a log may show it: in one line, so that none of it passes for a line of the log's own, and
/// without a token, since whoever reads that in time could log in with it.
fn without_token(message: &str) -> String {
    const KEY: &str = "\"authtoken\"";
    let message = message.replace(['\n', '\r'], " ");
    // Everything behind the key is left out as well: a hostile message may put the token anywhere in its
    // value.
    let literal = message.to_ascii_lowercase().find(KEY).map(|at| at + KEY.len());
    // A key that is spelled another way has an escape in it. What cannot be read may have such a key, too.
    let has_none = || parse_object(message.as_bytes()).is_ok_and(|object| object.get("authtoken").is_none());
    match literal.or_else(|| message.find('\\').filter(|_| !has_none())) {
        None => message,
        Some(end) => format!("{}...", &message[..end]),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;
    use crate::control::base::runtime::block_on;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    #[test]
    fn no_log_shows_a_token() {
        assert_eq!(without_token("{\"tcp\":true}"), "{\"tcp\":true}");
        assert_eq!(without_token("{\nServer listening\r\n}"), "{ Server listening  }");
        let shown = without_token("{\"tcp\":true,\"AuthToken\":\"c2VjcmV0\",\"len\":5}");
        assert_eq!(shown, "{\"tcp\":true,\"AuthToken\"...");
        // However the key is spelled, and in whatever mess it stands.
        let escaped = |at: usize| {
            let (before, rest) = "authToken".split_at(at);
            let (letter, behind) = rest.split_at(1);
            format!("{before}\\u{:04x}{behind}", u32::from(letter.as_bytes()[0]))
        };
        for key in (0..9).map(escaped).chain(["\\u0061uthtoken\\u0000x".to_owned()]) {
            for text in [
                format!("{{\"tcp\":true,\"{key}\":\"c2VjcmV0\",\"len\":5}}"),
                format!("{{\"tcp\":true,\"{key}\":\"c2VjcmV0\""),
                format!("[{{\"{key}\":\"c2VjcmV0\"}}}}]"),
            ] {
                assert!(!without_token(&text).contains("c2Vj"), "{text}");
            }
        }
        // What has an escape and no token is shown.
        let title = "{\"title\":\"a\\u0020b\",\"tcp\":true}";
        assert_eq!(without_token(title), title);
    }

    #[test]
    fn states_and_frames_in_one_segment_are_told_apart() {
        let (mut near, far) = pair();
        near.write_all(&[1, 2, 0, 0, 0, 2, b'{', b'}', 14]).unwrap();
        block_on(|runtime| async move {
            let mut link = Link::new(far, runtime, DebugLog::none()).unwrap();
            let wait = Duration::from_secs(5);
            assert_eq!(link.state_within(wait, "x").await.unwrap(), State::TestStart);
            assert_eq!(link.state_within(wait, "x").await.unwrap(), State::TestRunning);
            assert_eq!(link.frame_within("results", 10, wait).await.unwrap(), b"{}");
            assert_eq!(link.state_within(wait, "x").await.unwrap(), State::DisplayResults);
            drop(near);
            assert!(matches!(link.next_state("more").await, Err(PeerError::Closed { waiting_for: "more" })));
            link.close().await;
        })
        .unwrap();
    }

    #[test]
    fn a_dripping_peer_gets_no_more_time_than_a_silent_one() {
        let (mut near, far) = pair();
        near.write_all(&[0, 0, 0, 9, b'{']).unwrap();
        block_on(|runtime| async move {
            let mut link = Link::new(far, runtime, DebugLog::none()).unwrap();
            let began = Instant::now();
            let wait = Duration::from_millis(100);
            let frame = link.frame_within("results", 10, wait).await;
            assert!(matches!(frame, Err(PeerError::Silent { waiting_for: "results", .. })), "{frame:?}");
            assert!(began.elapsed() < Duration::from_secs(2));
            drop(near);
        })
        .unwrap();
    }

    #[test]
    fn a_length_word_is_checked_before_memory_is_taken() {
        for word in [0_u32, 11, u32::MAX] {
            let (mut near, far) = pair();
            near.write_all(&word.to_be_bytes()).unwrap();
            block_on(|runtime| async move {
                let mut link = Link::new(far, runtime, DebugLog::none()).unwrap();
                let frame = link.frame_within("parameters", 10, Duration::from_secs(5)).await;
                assert!(matches!(frame, Err(PeerError::TooLong { bytes, .. }) if bytes == word), "{frame:?}");
            })
            .unwrap();
        }
    }
}
