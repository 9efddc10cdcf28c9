//! How long and how much a peer may take. Nothing waits for a peer without one of these.

use std::time::Duration;

use crate::config::Keepalive;

/// A connection must have sent its cookie by then.
pub(crate) const ADMISSION: Duration = Duration::from_secs(10);
/// Connections without a cookie from one source; its oldest goes when another comes.
pub(crate) const WAITING_OF_A_SOURCE: usize = 32;
/// Refused connections that are read out before they are closed; the oldest goes when another comes.
pub(crate) const LEAVING_CONNECTIONS: usize = 256;
/// Refused logins that have not heard of it yet; with more of them one hears nothing at all.
pub(crate) const WAITING_REFUSALS: usize = 256;
/// Sockets that listen on a server's address, which stay as long as it does.
pub(crate) const LISTENERS: usize = 64;
/// Set-ups of all sources, which hold no slot ...
pub(crate) const SET_UPS: usize = 256;
/// ... and those of one source beyond the slots of the server.
pub(crate) const SET_UPS_OF_A_SOURCE: usize = 16;
/// A test that has a slot and has moved nothing by then makes room for one whose streams are there.
pub(crate) const FIRST_BYTE: Duration = Duration::from_secs(1);
/// How often it is looked whether something has moved, at first ...
pub(crate) const FIRST_BYTE_LOOK: Duration = Duration::from_millis(10);
/// ... and later.
pub(crate) const MOVING_LOOK: Duration = Duration::from_millis(200);
/// A test that has moved for longer than that may stand still for so long, when others want its slot.
pub(crate) const STILL_MAX: Duration = Duration::from_secs(10);
/// Who was told that the server is busy may be waiting for so long.
pub(crate) const WAITS: Duration = Duration::from_secs(5);
/// Set-ups and tests that brought nothing, one after the other, after which a source has to wait ...
pub(crate) const FRUITLESS_FREE: u32 = 3;
/// ... first for so long, then twice as long each time ...
pub(crate) const FRUITLESS_WAIT: Duration = Duration::from_secs(1);
/// ... but no longer than this.
pub(crate) const FRUITLESS_WAIT_MAX: Duration = Duration::from_secs(60);
/// They are forgotten when there was none for so long.
pub(crate) const FRUITLESS_MEMORY: Duration = Duration::from_secs(600);
/// Failed set-ups of one source that are reported within a minute ...
pub(crate) const FAILURES_TOLD: u32 = 60;
/// ... and tests that began.
pub(crate) const TESTS_TOLD: u32 = 2000;
/// Connections that are turned away at once when the process has no descriptors left ...
pub(crate) const TURNED_AWAY: usize = 256;
/// ... and how long it is before the next attempt to accept one.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A set-up that has to wait for another one of the same client, or of the same kind, gives up then.
pub(crate) const TURN: Duration = Duration::from_secs(5);
/// The next step of the set-up, or the next stream, must be there by then.
pub(crate) const SET_UP: Duration = Duration::from_secs(10);
/// A client that a server does not let in hears of it this long after it has asked, whatever the reason. It
/// is far more than judging takes.
pub(crate) const REFUSED_LOGIN: Duration = Duration::from_secs(1);
/// A login must be judged by then, which takes milliseconds unless a file system does not answer ...
pub(crate) const LOGIN: Duration = Duration::from_secs(2);
/// ... and so many may wait for it.
pub(crate) const WAITING_LOGINS: usize = SET_UPS;
/// A data connection must be made by then.
pub(crate) const STREAM_CONNECT: Duration = Duration::from_secs(10);
/// A client's data connections must all be made by then, however many they are.
pub(crate) const ALL_STREAMS: Duration = Duration::from_secs(120);
/// The answer to the first word of a UDP stream must be there by then ...
pub(crate) const UDP_REPLY: Duration = Duration::from_secs(5);
/// ... and the word is repeated this often where an iperf3 takes no harm from it ...
pub(crate) const UDP_REPEAT: Duration = Duration::from_secs(1);
/// ... and this often to a ringperf, which knows a repetition.
pub(crate) const UDP_REPEAT_TO_RINGPERF: Duration = Duration::from_millis(250);
/// When the network says that the port is closed the answer may still come so long: anybody can say that.
pub(crate) const UDP_REFUSED: Duration = Duration::from_millis(500);
/// A server looks this often for words that come again, because its answer was lost.
pub(crate) const UDP_ANSWER_AGAIN: Duration = Duration::from_millis(250);
/// A failed server's reason, if it has sent one, is there by then.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(100);
/// A counted UDP test is over when nothing came for this long: its last datagrams were lost.
pub(crate) const UDP_QUIET: Duration = Duration::from_secs(5);
/// A counted test with an omitted part is over at a receiver that has got as much as was asked for, though
/// some of it too early to count, when nothing came for this long ...
pub(crate) const COUNTED_QUIET: Duration = Duration::from_millis(500);
/// ... and one that has got all of it leaves the sender so long to be through.
pub(crate) const THROUGH: Duration = Duration::from_millis(500);
/// The answer to a message at the end of a test must be complete by then.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// A server's own report must have been written by then to be sent to a client that wants it.
pub(crate) const OWN_OUTPUT: Duration = Duration::from_secs(2);
/// What two ringperfs add at the end, connecting included, must be told by then.
pub(crate) const PART: Duration = Duration::from_secs(5);
/// What is still under way when a test ends may take this long to arrive.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);
/// A stream thread must be gone by then once its socket is shut.
pub(crate) const THREAD_EXIT: Duration = Duration::from_secs(3);
/// A control message that cannot be written by then is given up.
pub(crate) const WRITE: Duration = Duration::from_secs(10);
/// A peer may keep a finished control connection open this long.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// A peer may keep a finished control connection open this long after a signal, when everything must be over
/// within a second.
pub(crate) const HURRIED_LINGER: Duration = Duration::from_millis(200);
/// All control connections of a server are over by then, whatever they still had to say.
pub(crate) const FAREWELLS_AFTER_SIGNAL: Duration = Duration::from_millis(500);
/// Bytes that are read and thrown away at the end of a connection.
pub(crate) const LINGER_BYTES: usize = 64 * 1024;
/// A client may be late by this much with the end of its own test.
pub(crate) const OVERDUE: Duration = Duration::from_secs(15);
/// A test in which this end only sends, and nothing moves for this long, is over. What a receiver waits is
/// `--rcv-timeout`.
pub(crate) const STALL: Duration = Duration::from_secs(120);
/// A control connection whose host does not answer is probed after this much silence ...
pub(super) const KEEPALIVE: Keepalive =
    Keepalive { idle_secs: Some(5), interval_secs: Some(2), count: Some(3) };
/// ... and given up when bytes stay unacknowledged for this long.
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A host that has acknowledged nothing for this long is gone. It is when keepalive gives up, whose probes
/// stop as soon as anything is under way.
pub(crate) const HOST_SILENCE: Duration = Duration::from_secs(11);
/// What comes in after the end of a test is over when nothing came for this long.
pub(crate) const QUIET: Duration = Duration::from_millis(100);
/// Connections without a cookie, of all sources; the oldest goes when another comes.
pub(crate) const WAITING_CONNECTIONS: usize = 256;

/// Most bytes of parameters (iperf3's limit since 3.18).
pub(crate) const PARAMS_BYTES: u32 = 8 * 1024;
/// Most bytes of what a ringperf adds at the end of a test.
pub(crate) const PART_BYTES: u32 = 1024 * 1024;
/// Most bytes of a server's own report at a client that has asked for it ...
pub(crate) const SERVER_REPORT_BYTES: usize = 16 * 1024 * 1024;
/// ... and of results with a report, of which the client keeps no more than that. A longer length is none: it
/// is what a server says instead of results.
pub(crate) const SERVER_RESULTS_BYTES: u32 = 1024 * 1024 * 1024;

/// Most bytes of other results.
pub(crate) fn results_bytes(streams: u32) -> u32 {
    64 * 1024 + 1024 * streams
}
