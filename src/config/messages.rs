//! What iperf3 says of mistakes on its command line, word for word, since scripts look for it. Where a number
//! is out of its range, the words are in [`ranges`](super::ranges).

/// -s and -c.
pub const BOTH_ROLES: &str = "cannot be both server and client";
/// Neither -s nor -c.
pub const NO_ROLE: &str = "must either be a client (-c) or server (-s)";
/// An option of a server, given to a client.
pub const SERVER_ONLY: &str = "some option you are trying to set is server only";
/// An option of a client, given to a server.
pub const CLIENT_ONLY: &str = "some option you are trying to set is client only";
/// Several of -t, -n and -k.
pub const END_CONDITIONS: &str = "only one test end condition (-t, -n, -k) may be specified";
/// A part of a client's login.
pub const CLIENT_LOGIN: &str = "you must specify a username, password, and path to a valid RSA public key";
/// A part of what a server needs to let users in.
pub const SERVER_LOGIN: &str =
    "you must specify a path to a valid RSA private key and a user credential file";
/// -f with another letter.
pub const FORMAT: &str = "bad format specifier (valid formats are in the set [kmgtKMGT])";
/// -R and --bidir.
pub const REVERSE_BIDIR: &str = "cannot be both reverse and bidirectional";
/// --rcv-timeout where nothing is received.
pub const ONLY_SENDS: &str = "client receive timeout is valid only in receiving mode";
/// -F and -u.
pub const UDP_FILE: &str = "cannot transfer file using UDP";
/// --cntl-ka with probes that take longer than the silence before them.
pub const KEEPALIVE_PERIOD: &str =
    "control connection Keepalive period should be larger than the full retry period (interval * count)";
