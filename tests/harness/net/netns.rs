//! Two network namespaces joined by a cable, or by one through others, for what loopback cannot show: real
//! devices, MTUs and losses.
//!
//! Threads and processes are put into a namespace by [`Namespace::within`]; a child stays in that of the
//! thread that has started it.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use crate::harness::{Checked, Failure, Finished, Process, Program, Server, ensure, run};

/// The name of the device in each namespace.
pub const DEVICE: &str = "cable";

/// Far longer than a device needs to come up, or a client to end.
const LIMIT: Duration = Duration::from_secs(20);

/// A veth pair with a namespace at each end. Everything is removed when this is dropped.
pub struct Cable {
    /// Where clients run.
    pub client: Namespace,
    /// Where servers run.
    pub server: Namespace,
    /// What the cable leads through, if anything.
    middle: Vec<Namespace>,
}

impl Cable {
    /// Lays a cable for packets of up to `mtu` bytes.
    ///
    /// With `single_segments` both devices refuse super-packets, so that the sending kernel cuts them into
    /// datagrams before they reach the other end.
    pub fn lay(mtu: u32, single_segments: bool) -> Checked<Self> {
        let (client, server) = Self::ends()?;
        ip(&format!("link add {} type veth peer {}", client.device(), server.device()))?;
        Self { client, server, middle: Vec::new() }.plug_in(mtu, single_segments)
    }

    /// Lays a cable through a switch that passes `rate`, as tc understands it, in each direction, and holds
    /// what comes at a higher one for so long before it loses the rest.
    ///
    /// A queue at an end itself would hold up its senders before it is full.
    pub fn lay_through(rate: &str, queue: Duration) -> Checked<Self> {
        let (client, server) = Self::ends()?;
        let middle = Namespace::add(3)?;
        let name = &middle.name;
        ip(&format!("-n {name} link add switch type bridge"))?;
        ip(&format!("-n {name} link set switch up"))?;
        for (port, end) in [("left", &client), ("right", &server)] {
            ip(&format!("link add {} type veth peer name {port} netns {name}", end.device()))?;
            ip(&format!("-n {name} link set {port} master switch up"))?;
            let queue = format!("tbf rate {rate} burst 32k latency {}ms", queue.as_millis());
            let mut command = Command::new("tc");
            command.args(["-n", name, "qdisc", "add", "dev", port, "root"]).args(queue.split_whitespace());
            run(command)?.succeeded()?;
        }
        Self { client, server, middle: vec![middle] }.plug_in(1500, false)
    }

    /// Lays a cable for packets of 1500 bytes through two routers, between which only `mtu` bytes pass.
    pub fn lay_routed(mtu: u32) -> Checked<Self> {
        let (client, server) = Self::ends()?;
        let (left, right) = (Namespace::add(3)?, Namespace::add(4)?);
        for (router, end) in [(&left, &client), (&right, &server)] {
            let near = format!("name near netns {} address {}", router.name, router.near_mac());
            ip(&format!("link add {} type veth peer {near}", end.device()))?;
        }
        let far = |router: &Namespace| format!("name far netns {} address {}", router.name, router.mac);
        ip(&format!("link add {} type veth peer {}", far(&left), far(&right)))?;
        left.route(&client, &right, &server)?;
        right.route(&server, &left, &client)?;
        for (router, end, peer) in [(&left, &client, &server), (&right, &server, &client)] {
            end.configure(1500, false, peer, &router.near_mac())?;
            end.wait_until_up()?;
        }
        let cable = Self { client, server, middle: vec![left, right] };
        cable.narrow(mtu)?;
        Ok(cable)
    }

    /// Lets only packets of up to `mtu` bytes pass between the routers from now on.
    pub fn narrow(&self, mtu: u32) -> Checked {
        self.middle.iter().try_for_each(|router| ip(&format!("-n {} link set far mtu {mtu} up", router.name)))
    }

    /// Takes the cable away and lays another one, with devices of the same names and addresses.
    pub fn replace(&self, mtu: u32) -> Checked {
        let Self { client, server, .. } = self;
        ip(&format!("-n {} link del {DEVICE}", server.name))?;
        ip(&format!("link add {} type veth peer {}", client.device(), server.device()))?;
        self.configure(mtu, false)
    }

    fn ends() -> Checked<(Namespace, Namespace)> {
        if let Some(why) = obstacle() {
            return Err(Failure(format!("no network namespaces: {why}")));
        }
        Ok((Namespace::add(1)?, Namespace::add(2)?))
    }

    fn plug_in(self, mtu: u32, single_segments: bool) -> Checked<Self> {
        self.configure(mtu, single_segments)?;
        Ok(self)
    }

    fn configure(&self, mtu: u32, single_segments: bool) -> Checked {
        let Self { client, server, .. } = self;
        client.configure(mtu, single_segments, server, &server.mac)?;
        server.configure(mtu, single_segments, client, &client.mac)?;
        client.wait_until_up()?;
        server.wait_until_up()
    }

    /// Starts a server in its namespace.
    pub fn start_server(&self, program: &Program, options: &str) -> Checked<Server> {
        self.server.within(|| Server::start(program, options))
    }

    /// Runs a client in its namespace to its end, over the family that `options` ask for.
    pub fn run_client(&self, program: &Program, port: u16, options: &str) -> Checked<Finished> {
        self.start_client(program, port, options)?.finish(LIMIT)
    }

    /// Starts a client in its namespace, over the family that `options` ask for.
    pub fn start_client(&self, program: &Program, port: u16, options: &str) -> Checked<Process> {
        let wants_v6 = options.split_whitespace().any(|option| option == "-6");
        let host = if wants_v6 { IpAddr::V6(self.server.v6) } else { IpAddr::V4(self.server.v4) };
        let command = program.command(&format!("-c {host} -p {port} {options}"));
        self.client.within(|| Process::spawn(command))
    }
}

/// Why no namespaces can be made here; `None` if they can.
pub fn obstacle() -> Option<String> {
    if !fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        return Some("only root can make them".to_owned());
    }
    match Command::new("ip").arg("-V").output() {
        Ok(_) => None,
        Err(error) => Some(format!("iproute2 is not installed: ip: {error}")),
    }
}

/// One end of a [`Cable`].
pub struct Namespace {
    name: String,
    /// Its address.
    pub v4: Ipv4Addr,
    /// Its address.
    pub v6: Ipv6Addr,
    /// The hardware address of its device.
    mac: String,
}

impl Namespace {
    /// A new namespace whose addresses end in `host`.
    fn add(host: u8) -> Checked<Self> {
        static NAMESPACES: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringperf-{}-{}", process::id(), NAMESPACES.fetch_add(1, Ordering::Relaxed));
        ip(&format!("netns add {name}"))?;
        let v6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, host.into());
        let mac = format!("02:00:00:00:00:{host:02x}");
        Ok(Self { name, v4: Ipv4Addr::new(10, 77, 0, host), v6, mac })
    }

    /// Does something in a thread of its own inside the namespace. The sockets that it makes and the
    /// processes that it starts belong there for good.
    pub fn within<T: Send>(&self, action: impl FnOnce() -> Checked<T> + Send) -> Checked<T> {
        let file = File::open(format!("/run/netns/{}", self.name))?;
        let inside = || {
            setns(file, CloneFlags::CLONE_NEWNET)
                .map_err(|error| Failure(format!("cannot enter {}: {error}", self.name)))?;
            action()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Gives the device one more address, which can be used at once.
    pub fn add_address(&self, address: &str) -> Checked {
        ip(&format!("-n {} addr add {address}/64 dev {DEVICE} nodad", self.name))
    }

    /// Has this end's datagrams come from another address than its connections, which is returned, as
    /// policy routing does and carrier NAT looks like.
    pub fn split_sources(&self, to: &Self) -> Checked<[IpAddr; 2]> {
        const TABLE: &str = "77";
        let [.., host] = self.v4.octets();
        let v4 = Ipv4Addr::new(10, 77, 0, 100 + host);
        let v6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x100 + u16::from(host));
        let name = &self.name;
        ip(&format!("-n {name} addr add {v4}/24 dev {DEVICE}"))?;
        // Deprecated addresses are the last choice of a connection that does not ask for one.
        ip(&format!("-n {name} addr add {v6}/64 dev {DEVICE} nodad preferred_lft 0"))?;
        for (family, source, to) in
            [("-4", IpAddr::V4(v4), IpAddr::V4(to.v4)), ("-6", v6.into(), to.v6.into())]
        {
            ip(&format!("-n {name} route add {to} dev {DEVICE} src {source} table {TABLE}"))?;
            ip(&format!("{family} -n {name} rule add pref 1 ipproto udp lookup {TABLE}"))?;
        }
        Ok([v4.into(), v6.into()])
    }

    /// Has packets wait for the cable in a queue of that kind, as tc understands it.
    pub fn queue(&self, kind: &str) -> Checked {
        let mut command = Command::new("tc");
        command.args(["-n", &self.name, "qdisc", "add", "dev", DEVICE, "root"]).args(kind.split_whitespace());
        run(command)?.succeeded()
    }

    /// Puts the cable in again, and waits until it works.
    pub fn plug(&self) -> Checked {
        ip(&format!("-n {} link set {DEVICE} up", self.name))?;
        self.wait_until_up()
    }

    /// Loses all that this end sends on one TCP connection from now on, of which nobody is told.
    pub fn swallow(&self, local_port: u16, remote_port: u16) -> Checked {
        let connection = format!("ipproto tcp sport {local_port} dport {remote_port}");
        ip(&format!("-n {} rule add pref 1 {connection} blackhole", self.name))
    }

    /// Pulls the cable out of this end.
    pub fn unplug(&self) -> Checked {
        ip(&format!("-n {} link set {DEVICE} down", self.name))
    }

    /// What `ip link add` needs to know of the device.
    fn device(&self) -> String {
        format!("name {DEVICE} netns {} address {}", self.name, self.mac)
    }

    /// The hardware address of a router's device at the side of its end.
    fn near_mac(&self) -> String {
        self.mac.replacen("02:00", "02:01", 1)
    }

    /// Makes a router of it, between an end and another router, beyond which the other end is. Its devices
    /// have no addresses of their own, since the ends take each other for neighbours.
    fn route(&self, end: &Self, other: &Self, beyond: &Self) -> Checked {
        let Self { name, v4, v6, .. } = self;
        self.within(|| {
            for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                fs::write(format!("/proc/sys/net/{switch}"), "1")?;
            }
            Ok(())
        })?;
        // Where its ICMP messages come from.
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} addr add {v4}/32 dev lo"))?;
        ip(&format!("-n {name} addr add {v6}/128 dev lo nodad"))?;
        for (device, to, mac) in [("near", end, &end.mac), ("far", beyond, &other.mac)] {
            ip(&format!("-n {name} link set {device} up"))?;
            for address in [IpAddr::V4(to.v4), IpAddr::V6(to.v6)] {
                ip(&format!("-n {name} route add {address} dev {device}"))?;
                ip(&format!("-n {name} neigh replace {address} lladdr {mac} dev {device} nud permanent"))?;
            }
        }
        Ok(())
    }

    fn configure(&self, mtu: u32, single_segments: bool, peer: &Self, next_mac: &str) -> Checked {
        let Self { name, v4, v6, .. } = self;
        let segments = if single_segments { "gso_max_segs 1" } else { "" };
        ip(&format!("-n {name} link set lo up"))?;
        ip(&format!("-n {name} addr add {v4}/24 dev {DEVICE}"))?;
        // Without `nodad` the address could not be used before the kernel has looked for others that have it.
        ip(&format!("-n {name} addr add {v6}/64 dev {DEVICE} nodad"))?;
        ip(&format!("-n {name} link set {DEVICE} mtu {mtu} {segments} up"))?;
        // While the kernel asked for the hardware address of a neighbour it would keep only a few datagrams.
        for address in [IpAddr::V4(peer.v4), IpAddr::V6(peer.v6)] {
            ip(&format!("-n {name} neigh replace {address} lladdr {next_mac} dev {DEVICE} nud permanent"))?;
        }
        Ok(())
    }

    /// The kernel makes a device work a moment after it has said that the cable is plugged in.
    fn wait_until_up(&self) -> Checked {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut command = Command::new("ip");
            command.args(["-n", &self.name, "-br", "link", "show", DEVICE]);
            let shown = run(command)?;
            if shown.stdout.split_whitespace().nth(1) == Some("UP") {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the device did not come up\n{shown}");
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The device goes with it. There is nobody to tell if it fails, and a panic may be under way.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// Runs `ip` with these arguments, separated by white space.
fn ip(arguments: &str) -> Checked {
    let mut command = Command::new("ip");
    command.args(arguments.split_whitespace());
    run(command)?.succeeded()
}
