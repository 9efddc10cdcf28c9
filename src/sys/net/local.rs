//! The addresses of this machine, and the processes that listen at its ports.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};

use nix::ifaddrs::getifaddrs;

/// Every local address and the name of its network device; none where the system does not tell.
#[must_use]
pub fn local_addresses() -> Vec<(IpAddr, String)> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let address = |device: nix::ifaddrs::InterfaceAddress| {
        let storage = device.address?;
        let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        let v6 = || storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
        Some((v4.or_else(v6)?, device.interface_name))
    };
    all.filter_map(address).collect()
}

/// The network devices with a link-local address of IPv6 (RFC 4291, 2.5.6), each once.
#[must_use]
pub fn link_local_devices() -> Vec<String> {
    let is_link_local =
        |address: &IpAddr| matches!(address, IpAddr::V6(address) if Ipv6Addr::is_unicast_link_local(address));
    let addresses = local_addresses().into_iter().filter(|(address, _)| is_link_local(address));
    let mut devices: Vec<String> = addresses.map(|(_, device)| device).collect();
    devices.sort_unstable();
    devices.dedup();
    devices
}

/// The process that listens at this TCP port, as its name and number; `None` if it is another user's, which
/// only root may know, or if there is none.
#[must_use]
pub fn listener_at(port: u16) -> Option<(String, u32)> {
    const LISTEN: &str = "0A";
    holder(["/proc/self/net/tcp", "/proc/self/net/tcp6"], port, LISTEN)
}

/// The process that receives from everybody at this UDP port, as its name and number; `None` as with
/// [`listener_at`].
#[must_use]
pub fn udp_listener_at(port: u16) -> Option<(String, u32)> {
    // `TCP_CLOSE`: a UDP socket that is connected to nobody.
    const UNCONNECTED: &str = "07";
    holder(["/proc/self/net/udp", "/proc/self/net/udp6"], port, UNCONNECTED)
}

/// Name and number of the process that has a socket at a port, in this state of one of the tables.
fn holder(tables: [&str; 2], port: u16, state: &str) -> Option<(String, u32)> {
    let sockets: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes_at(&table, port, state))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes =
        fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let holder = processes.into_iter().find(|process: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
        let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        targets.any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
    })?;
    let name = fs::read_to_string(format!("/proc/{holder}/comm")).ok()?;
    Some((name.trim_end().escape_debug().to_string(), holder))
}

/// The sockets at a port in this state, of a table as proc_net_tcp.rst of the kernel's documentation has it.
fn inodes_at(table: &str, port: u16, state: &str) -> Vec<String> {
    let end = format!(":{port:04X}");
    let inode = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_wanted = words.get(1)?.ends_with(&end) && *words.get(3)? == state;
        words.get(9).filter(|_| is_wanted).map(|inode| (*inode).to_owned())
    };
    table.lines().filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn who_listens_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (name, process) = listener_at(port).unwrap();
        assert_eq!(process, std::process::id());
        assert!(!name.is_empty());
        drop(listener);
        assert_eq!(listener_at(port), None);

        let hears = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = hears.local_addr().unwrap().port();
        assert_eq!(udp_listener_at(port).map(|(_, process)| process), Some(std::process::id()));
        hears.connect("127.0.0.1:9").unwrap();
        assert_eq!(udp_listener_at(port), None);
    }

    #[test]
    fn sockets_of_a_table() {
        let line = |local: &str, state: &str| {
            format!(
                "  0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0  0 4711 1 0 100"
            )
        };
        for (local, state, found) in [
            ("0100007F:1451", "0A", true),
            ("0100007F:1451", "01", false),
            ("0100007F:1452", "0A", false),
            ("00000000000000000000000000000000:1451", "0A", true),
        ] {
            let inodes = inodes_at(&line(local, state), 5201, "0A");
            assert_eq!(inodes, if found { vec!["4711"] } else { vec![] }, "{local} {state}");
        }
        assert!(inodes_at("  sl  local_address rem_address   st\nnonsense\n\n", 5201, "0A").is_empty());
    }

    #[test]
    fn the_loopback_address_is_one() {
        let addresses = local_addresses();
        assert!(addresses.iter().any(|(address, _)| address.is_loopback()), "{addresses:?}");
    }
}
