//! How long and how much a peer may take. Nothing waits for a peer without one of these.

use std::time::Duration;

use crate::config::Keepalive;

/// Time in which a connection must have sent its cookie.
pub(crate) const ADMISSION: Duration = Duration::from_secs(10);
/// Most connections of one source whose cookie has not come; its oldest one is closed when another comes.
pub(crate) const WAITING_OF_A_SOURCE: usize = 32;
/// Most refused connections that are read out before they are closed; the oldest is aborted when another
/// comes.
pub(crate) const LEAVING_CONNECTIONS: usize = 256;
/// Most refused logins whose answer is still held back; beyond that one of them gets none.
pub(crate) const WAITING_REFUSALS: usize = 256;
/// Most sockets that listen on a server's address; none is closed before the server ends
/// or its device is lost.
pub(crate) const LISTENERS: usize = 64;
/// Most set-ups of all sources together, which hold no slot.
pub(crate) const SET_UPS: usize = 256;
/// Most set-ups of one source, beyond as many as the server has slots.
pub(crate) const SET_UPS_OF_A_SOURCE: usize = 16;
/// Time after which a test that has a slot and has moved nothing makes room for one whose streams are there.
pub(crate) const FIRST_BYTE: Duration = Duration::from_secs(1);
/// Time between two checks whether a test has moved its first byte.
pub(crate) const FIRST_BYTE_CHECK: Duration = Duration::from_millis(10);
/// Time between two checks whether a test still moves.
pub(crate) const MOVING_CHECK: Duration = Duration::from_millis(200);
/// Longest time that a test may stand still when others want its slot, however long it has moved before.
pub(crate) const STILL_MAX: Duration = Duration::from_secs(10);
/// Time for which a client that was told that the server is busy counts as waiting.
pub(crate) const WAITS: Duration = Duration::from_secs(5);
/// Set-ups and tests in a row that a source may have without moving a byte before it has to wait.
pub(crate) const FRUITLESS_FREE: u32 = 3;
/// First time that a source waits after set-ups and tests that moved nothing; each further one doubles it.
pub(crate) const FRUITLESS_WAIT: Duration = Duration::from_secs(1);
/// Longest time that a source waits after set-ups and tests that moved nothing.
pub(crate) const FRUITLESS_WAIT_MAX: Duration = Duration::from_secs(60);
/// Time after the last set-up or test that moved nothing in which a source's count of them is kept.
pub(crate) const FRUITLESS_MEMORY: Duration = Duration::from_secs(600);
/// Most failed set-ups of one source that are reported within a minute.
pub(crate) const FAILURES_TOLD: u32 = 60;
/// Most tests of one source that are reported within a minute.
pub(crate) const TESTS_TOLD: u32 = 2000;
/// Most connections that are accepted and closed at once when the process has no descriptors left.
pub(crate) const TURNED_AWAY: usize = 256;
/// Pause after a failed accept before the next one.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest time that a set-up waits for another one of the same host to let go of what both need.
pub(crate) const SETUP_LOCK: Duration = Duration::from_secs(5);
/// Time in which the next step of a set-up, or its next stream, must come.
pub(crate) const SET_UP: Duration = Duration::from_secs(10);
/// Time between a login and its refusal, whatever the reason, so that guessing is slow and the time tells
/// nothing. It is far more than judging takes.
pub(crate) const REFUSED_LOGIN: Duration = Duration::from_secs(1);
/// Time in which a login must be judged. It takes milliseconds unless a file system does not answer.
pub(crate) const LOGIN: Duration = Duration::from_secs(2);
/// Most logins that wait to be judged.
pub(crate) const WAITING_LOGINS: usize = SET_UPS;
/// Time in which a data connection must be made.
pub(crate) const STREAM_CONNECT: Duration = Duration::from_secs(10);
/// Time in which all data connections of a client must be made, however many they are.
pub(crate) const ALL_STREAMS: Duration = Duration::from_secs(120);
/// Time in which a server must reply to the connect of a UDP stream.
pub(crate) const UDP_REPLY: Duration = Duration::from_secs(5);
/// Time between two connects to an iperf3, where it takes no harm from a repetition.
pub(crate) const UDP_REPEAT: Duration = Duration::from_secs(1);
/// Time between two connects to a ringperf, which knows a repetition.
pub(crate) const UDP_REPEAT_TO_RINGPERF: Duration = Duration::from_millis(250);
/// Time in which a reply still counts after the network has said that the port is closed, since anybody can
/// say that.
pub(crate) const UDP_REFUSED: Duration = Duration::from_millis(500);
/// Time between two looks of a server for connects that are repeated because its reply was lost.
pub(crate) const UDP_ANSWER_AGAIN: Duration = Duration::from_millis(250);
/// Time in which the reason of a server that has failed arrives, if it has sent one.
pub(crate) const FAILURE_REASON: Duration = Duration::from_millis(100);
/// Silence after which a counted UDP test is over: its last datagrams were lost.
pub(crate) const UDP_QUIET: Duration = Duration::from_secs(5);
/// Silence after which a counted test with an omitted part is over at a receiver that has got as many bytes
/// as were asked for, though some of them too early to count.
pub(crate) const COUNTED_QUIET: Duration = Duration::from_millis(500);
/// Time that a receiver that has got all it counts leaves the sender to finish.
pub(crate) const THROUGH: Duration = Duration::from_millis(500);
/// Time in which the answer to a message at the end of a test must be complete.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);
/// Time in which a server's own report must be written to be sent to a client that wants it.
pub(crate) const OWN_OUTPUT: Duration = Duration::from_secs(2);
/// Time in which two ringperfs exchange their parts at the end of a test, connecting included.
pub(crate) const PART: Duration = Duration::from_secs(5);
/// Longest time that bytes under way at the end of a test may take to arrive.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);
/// Time in which a stream thread must end once its socket is shut down.
pub(crate) const THREAD_EXIT: Duration = Duration::from_secs(3);
/// Time after which a control message that cannot be written is given up.
pub(crate) const WRITE: Duration = Duration::from_secs(10);
/// Longest time that a peer may keep a finished control connection open.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// Longest time that a peer may keep a finished control connection open after a signal, when everything must
/// be over within a second.
pub(crate) const HURRIED_LINGER: Duration = Duration::from_millis(200);
/// Time after a signal in which all control connections of a server are closed, whatever is still unsent.
pub(crate) const CLOSES_AFTER_SIGNAL: Duration = Duration::from_millis(500);
/// Most bytes that are read and discarded at the end of a connection.
pub(crate) const LINGER_BYTES: usize = 64 * 1024;
/// Longest time that a client may be late with the end of its own test.
pub(crate) const OVERDUE: Duration = Duration::from_secs(15);
/// Silence after which a test in which this end only sends is over. A receiver waits as long as
/// `--rcv-timeout` says.
pub(crate) const STALL: Duration = Duration::from_secs(120);
/// Keepalive probes of a control connection whose host does not answer.
pub(super) const KEEPALIVE: Keepalive =
    Keepalive { idle_secs: Some(5), interval_secs: Some(2), count: Some(3) };
/// Time after which a control connection whose bytes stay unacknowledged is given up.
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time without an acknowledgement after which a host is gone. Keepalive gives up at that moment too, but
/// its probes stop as soon as anything is under way.
pub(crate) const HOST_SILENCE: Duration = Duration::from_secs(11);
/// Silence after which nothing more is expected once a test is over.
pub(crate) const QUIET: Duration = Duration::from_millis(100);
/// Most connections of all sources whose cookie has not come; the oldest one is closed when another comes.
pub(crate) const WAITING_CONNECTIONS: usize = 256;

/// Most bytes of parameters (iperf3's limit since 3.18).
pub(crate) const PARAMS_BYTES: u32 = 8 * 1024;
/// Most bytes of the part that a ringperf adds at the end of a test.
pub(crate) const PART_BYTES: u32 = 1024 * 1024;
/// Most bytes of a server's own report that a client keeps if it has asked for it.
pub(crate) const SERVER_REPORT_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of results with a server's report in them, of which the client keeps
/// [`SERVER_REPORT_BYTES`] at most. A larger length is a state that a server sends instead of results.
pub(crate) const SERVER_RESULTS_BYTES: u32 = 1024 * 1024 * 1024;

/// Most bytes of results of `streams` streams without a server's report.
pub(crate) fn results_bytes(streams: u32) -> u32 {
    64 * 1024 + 1024 * streams
}
