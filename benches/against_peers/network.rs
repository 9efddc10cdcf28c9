//! Network namespaces of our own, so that nothing but the measured programs is on the interface.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{self, Command};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::Outcome;
use super::relay::{self, Relay};
use super::tun::tun;
use super::work::Place;

/// Bytes that a loopback segment may have with BIG TCP.
const BIG_TCP_BYTES: u32 = 524_280;
/// Far longer than a device needs to come up, or a server to listen.
const LIMIT: Duration = Duration::from_secs(10);
/// How often a state of the kernel is looked at that it does not announce.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Time between two looks at the bytes of an interface.
const WATCH_EVERY: Duration = Duration::from_millis(20);

/// The device of each end where there are two namespaces.
const DEVICE: &str = "cable";
/// The server's address there.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);
/// How much longer than wanted a round trip may take, as a share of it.
const ROUND_TRIP_TOLERANCE: f64 = 0.1;

/// The namespaces of one [`Place`]. They are removed when this is dropped.
pub struct Network {
    /// What lies between the two, if that is more than a cable. It ends before its devices are removed.
    relay: Option<Relay>,
    client: Namespace,
    /// `None` where the server lives in the client's.
    server: Option<Namespace>,
    /// The server's address.
    pub host: IpAddr,
    device: &'static str,
}

/// What an interface has carried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    pub bytes: u64,
    pub packets: u64,
}

impl Network {
    pub fn new(place: Place) -> Outcome<Self> {
        let client = Namespace::add("client")?;
        let name = &client.name;
        match place {
            Place::Loopback | Place::LoopbackV6 => {}
            Place::BigTcp => client.within(allow_large_segments)?,
            Place::BigTcpV6 => {
                ip(&format!("-n {name} link set lo gso_max_size {BIG_TCP_BYTES}"))?;
                ip(&format!("-n {name} link set lo gro_max_size {BIG_TCP_BYTES}"))?;
            }
            Place::Veth(mtu) => {
                let server = Namespace::add("server")?;
                ip(&format!(
                    "link add name {DEVICE} netns {name} type veth peer name {DEVICE} netns {}",
                    server.name
                ))?;
                return Self::between(client, server, mtu);
            }
            Place::Distant(round_trip) => {
                let server = Namespace::add("server")?;
                let make = || Ok(tun(DEVICE)?);
                let devices = [client.within(make)?, server.within(make)?];
                let mut network = Self::between(client, server, relay::MTU)?;
                network.relay = Some(Relay::start(devices, round_trip / 2)?);
                network.check_round_trip(round_trip)?;
                return Ok(network);
            }
        }
        let host: IpAddr = match place {
            Place::LoopbackV6 | Place::BigTcpV6 => Ipv6Addr::LOCALHOST.into(),
            _ => Ipv4Addr::LOCALHOST.into(),
        };
        Ok(Self { relay: None, client, server: None, host, device: "lo" })
    }

    /// Two namespaces that have a [`DEVICE`] each.
    fn between(client: Namespace, server: Namespace, mtu: u32) -> Outcome<Self> {
        for (namespace, address) in [(&client, Ipv4Addr::new(10, 78, 0, 1)), (&server, SERVER)] {
            ip(&format!("-n {} addr add {address}/24 dev {DEVICE}", namespace.name))?;
            ip(&format!("-n {} link set {DEVICE} mtu {mtu} up", namespace.name))?;
        }
        Ok(Self { relay: None, client, server: Some(server), host: SERVER.into(), device: DEVICE })
    }

    /// Fails unless the median round trip of datagrams takes as long as it should.
    fn check_round_trip(&self, wanted: Duration) -> Outcome<()> {
        let bind = || Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?);
        let (near, far) = (self.at_client(bind)?, self.at_server(bind)?);
        near.connect((self.host, far.local_addr()?.port()))?;
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(LIMIT))?;
        }
        let mut trips = [Duration::ZERO; 9];
        for trip in &mut trips {
            let start = Instant::now();
            near.send(&[0])?;
            let (_, client) = far.recv_from(&mut [0])?;
            far.send_to(&[0], client)?;
            near.recv(&mut [0])?;
            *trip = start.elapsed();
        }
        trips.sort();
        let median = trips[trips.len() / 2];
        if median < wanted || median > wanted.mul_f64(1.0 + ROUND_TRIP_TOLERANCE) {
            return Err(format!("a round trip takes {median:?} instead of {wanted:?}").into());
        }
        Ok(())
    }

    /// Does something where clients run.
    pub fn at_client<T: Send>(&self, action: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        self.client.within(action)
    }

    /// Does something where servers run.
    pub fn at_server<T: Send>(&self, action: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        self.server.as_ref().unwrap_or(&self.client).within(action)
    }

    /// Everything that has arrived at the interfaces of both ends so far.
    pub fn carried(&self) -> Outcome<Carried> {
        let read = || received(self.device);
        let mut sum = self.client.within(read)?;
        if let Some(server) = &self.server {
            let there = server.within(read)?;
            sum = Carried { bytes: sum.bytes + there.bytes, packets: sum.packets + there.packets };
        }
        Ok(sum)
    }

    /// Looks at what has arrived at the client's interface again and again until `over`.
    pub fn watch(&self, over: &AtomicBool) -> Outcome<Vec<(Instant, u64)>> {
        self.at_client(|| {
            let mut seen = Vec::new();
            while !over.load(Ordering::Relaxed) {
                seen.push((Instant::now(), received(self.device)?.bytes));
                thread::sleep(WATCH_EVERY);
            }
            Ok(seen)
        })
    }

    /// Waits until somebody listens on a TCP port where servers run.
    pub fn wait_for_listener(&self, port: u16) -> Outcome<()> {
        self.at_server(|| {
            let deadline = Instant::now() + LIMIT;
            while !listens(port)? {
                if Instant::now() > deadline {
                    return Err(format!("nobody listens on port {port}").into());
                }
                thread::sleep(LOOK_EVERY);
            }
            Ok(())
        })
    }
}

struct Namespace {
    name: String,
}

impl Namespace {
    /// With loopback up.
    fn add(end: &str) -> Outcome<Self> {
        static NAMESPACES: AtomicU32 = AtomicU32::new(0);
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringperf-bench-{}-{number}-{end}", process::id());
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name };
        ip(&format!("-n {} link set lo up", namespace.name))?;
        Ok(namespace)
    }

    /// Does something in a thread of its own in the namespace; processes that it starts belong there.
    fn within<T: Send>(&self, action: impl FnOnce() -> Outcome<T> + Send) -> Outcome<T> {
        let file = File::open(format!("/run/netns/{}", self.name))?;
        let inside = || {
            setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string())?;
            action().map_err(|error| error.to_string())
        };
        let result = thread::scope(|scope| scope.spawn(inside).join());
        Ok(result.map_err(|_| "a thread in the namespace panicked")??)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // There is nobody to tell if it fails.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// Runs `ip` with these arguments, separated by white space.
fn ip(arguments: &str) -> Outcome<()> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .map_err(|error| format!("ip (of iproute2) is needed: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {arguments}: {} (network namespaces need root)", said.trim()).into())
}

/// Lets loopback of the calling thread's namespace have IPv4 segments of [`BIG_TCP_BYTES`]. An `ip` of before 6.3
/// has no word for it, so this speaks to the kernel itself: one RTM_NEWLINK as rtnetlink(7) has it.
fn allow_large_segments() -> Outcome<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_AND_ACK: u16 = 1 | 4;
    const LOOPBACK_INDEX: i32 = 1;
    // Of linux/if_link.h.
    const IFLA_GSO_IPV4_MAX_SIZE: u16 = 63;
    const IFLA_GRO_IPV4_MAX_SIZE: u16 = 64;
    let mut message = Vec::new();
    // Header: length of all, type, flags, sequence, port.
    message.extend(48_u32.to_ne_bytes());
    message.extend([RTM_NEWLINK, NLM_F_REQUEST_AND_ACK].map(u16::to_ne_bytes).concat());
    message.extend([0_u8; 8]);
    // Family and type of the device, its index, flags and their mask.
    message.extend([0_u8; 4]);
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend([0_u8; 8]);
    for attribute in [IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE] {
        message.extend([8, attribute].map(u16::to_ne_bytes).concat());
        message.extend(BIG_TCP_BYTES.to_ne_bytes());
    }
    let flags = SockFlag::SOCK_CLOEXEC;
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 1024];
    let bytes = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // An acknowledgement is an error of 0, behind its header.
    let error = answer.get(16..20).filter(|_| bytes >= 20).ok_or("a short answer of rtnetlink")?;
    match i32::from_ne_bytes(error.try_into()?) {
        0 => Ok(()),
        error => Err(std::io::Error::from_raw_os_error(-error).into()),
    }
}

/// What has arrived at a device of the calling thread's namespace.
fn received(device: &str) -> Outcome<Carried> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = table.lines().find_map(|line| line.trim().strip_prefix(device)?.strip_prefix(':'));
    let mut fields = line.ok_or("the device has gone")?.split_whitespace();
    let mut next = || fields.next().ok_or("a short line in /proc/net/dev");
    Ok(Carried { bytes: next()?.parse()?, packets: next()?.parse()? })
}

/// Whether a TCP socket listens on that port in the calling thread's namespace.
fn listens(port: u16) -> Outcome<bool> {
    let local = format!(":{port:04X}");
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        // Number, local address, remote address, state; 0A is TCP_LISTEN.
        let table = fs::read_to_string(table)?;
        let listening = |line: &str| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|address| address.ends_with(&local)) && fields.nth(1) == Some("0A")
        };
        if table.lines().any(listening) {
            return Ok(true);
        }
    }
    Ok(false)
}
