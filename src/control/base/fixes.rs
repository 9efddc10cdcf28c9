//! What can be done about an address, a port or a processor that is not to be had.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::config::processor_list;
use crate::error::SetupError;
use crate::protocol::ErrorCode;
use crate::sys::{Pinned, Topology, link_local_devices, local_addresses};

/// Most addresses that are listed.
const ADDRESSES_MAX: usize = 8;

/// The error of a socket that cannot be bound to the address that the user has chosen; `code` names the step
/// that fails by it.
pub(crate) fn bind_error(code: ErrorCode, local: SocketAddr, source: io::Error) -> SetupError {
    let address = local.ip();
    let from = match (address.is_unspecified(), local.port()) {
        (false, 0) => format!("-B {address}"),
        (false, port) => format!("-B {address} --cport {port}"),
        (true, port) => format!("--cport {port}"),
    };
    let fix = match source.raw_os_error() {
        Some(libc::EINVAL) if is_link_local(address) => {
            return SetupError::Zone { option: "-B", address, devices: link_local_devices() };
        }
        Some(libc::EADDRNOTAVAIL) => format!("this machine has {}", addresses_like(address)),
        Some(libc::EADDRINUSE) => "another connection has the port: choose another one".to_owned(),
        Some(libc::EACCES) => "ports below 1024 are for root only".to_owned(),
        _ => String::new(),
    };
    SetupError::From { code, from, source, fix }
}

/// What the user can do where this process cannot listen at `local`; empty if nothing. `holder` finds the
/// name and the number of the process that has a port.
pub(crate) fn of_listening(
    local: SocketAddr,
    source: &io::Error,
    holder: fn(u16) -> Option<(String, u32)>,
) -> String {
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => match holder(local.port()) {
            Some((name, process)) => {
                format!("{name} (process {process}) has the port: end it, or choose another port with -p")
            }
            None => "another process has the port: choose another one with -p".to_owned(),
        },
        Some(libc::EADDRNOTAVAIL) => format!("this machine has {}", addresses_like(local.ip())),
        Some(libc::EACCES) => "ports below 1024 are for root only: choose another one with -p".to_owned(),
        Some(libc::EINVAL) if is_link_local(local.ip()) => {
            format!("a link-local address needs its network device: -B {}%DEVICE", local.ip())
        }
        _ => String::new(),
    }
}

/// The error of an address to which a connection cannot even be tried; `None` of any other.
pub(crate) fn of_connecting(server: SocketAddr, source: &io::Error) -> Option<SetupError> {
    let has_no_device = matches!(server, SocketAddr::V6(address) if address.scope_id() == 0);
    let is_refused = source.raw_os_error() == Some(libc::EINVAL);
    (is_link_local(server.ip()) && has_no_device && is_refused).then(|| SetupError::Zone {
        option: "-c",
        address: server.ip(),
        devices: link_local_devices(),
    })
}

/// Keeps the calling thread on the processor that `option` asks for, if it does.
///
/// # Errors
/// [`SetupError::ProcessorUnavailable`] where this process may not use it, or [`SetupError::Affinity`].
pub(crate) fn pin(cpu: Option<u32>, option: &'static str) -> Result<Option<Pinned>, SetupError> {
    let Some(cpu) = cpu else { return Ok(None) };
    Pinned::to(cpu).map(Some).map_err(|source| match Topology::of_this_thread() {
        Ok(topology) if source.raw_os_error() == Some(libc::EINVAL) => {
            SetupError::ProcessorUnavailable { cpu, option, allowed: processor_list(&topology.processors()) }
        }
        _ => SetupError::Affinity(source),
    })
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The addresses of this machine that are of the same IP version.
fn addresses_like(address: IpAddr) -> String {
    let has = local_addresses().into_iter().map(|(has, _)| has);
    let mut addresses: Vec<String> = has
        .filter(|has| has.is_ipv4() == address.is_ipv4() && !is_link_local(*has))
        .map(|has| has.to_string())
        .collect();
    addresses.dedup();
    let more = if addresses.len() > ADDRESSES_MAX { ", ..." } else { "" };
    addresses.truncate(ADDRESSES_MAX);
    if addresses.is_empty() { "no such address".to_owned() } else { addresses.join(", ") + more }
}
