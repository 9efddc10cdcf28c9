//! What is this machine's own matter, whichever role it has: addresses, devices, processors, timeouts.

use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs};
use std::time::Duration;

use super::ParameterError;
use super::number::{c_number, millis, out_of_range, whole};
use crate::config::options::{BothOptions, EngineOptions};
use crate::config::ranges::{
    BUSY_POLL_US, DEVICE_BYTES, KEEPALIVE_PROBES, KEEPALIVE_SECS, PROCESSOR, RECEIVE_TIMEOUT_MS, Range,
    SEND_TIMEOUT_MS,
};
use crate::config::{DEFAULT_RECEIVE_TIMEOUT, Family, Keepalive, LocalConfig, Placement, Role};

/// What is this machine's own matter. `server_device` is the device that a client has named with its server.
pub(super) fn local(
    role: Role,
    both: &BothOptions,
    engine: &EngineOptions,
    server_device: Option<&str>,
) -> Result<LocalConfig, ParameterError> {
    let family = match (both.version4, both.version6) {
        (true, _) => Family::V4,
        (false, true) => Family::V6,
        (false, false) => Family::Any,
    };
    let (host, bind_device) = both.bind.as_deref().map_or((None, None), |bind| {
        let (host, device) = split_device(bind);
        (Some(host), device)
    });
    let busy_poll = engine.busy_poll.as_deref();
    if let Some(bind) = both.bind.as_deref() {
        let port_option = match role {
            Role::Client => "--cport",
            Role::Server => "-p",
        };
        check_host("-B", bind, port_option)?;
    }
    Ok(LocalConfig {
        family,
        bind: host.map(|host| address("-B", host, family)).transpose()?,
        bind_device: one_device([both.bind_dev.as_deref(), bind_device, server_device])?,
        cpu: affinity(both)?.map(|(cpu, _)| cpu),
        cpus: placement("--cpus", engine.cpus.as_deref(), both.affinity.is_some())?,
        file: both.file.clone(),
        receive_timeout: receive_timeout(both)?,
        send_timeout: send_timeout(both)?,
        keepalive: both.cntl_ka.as_deref().map(keepalive).transpose()?,
        pid_file: both.pidfile.clone(),
        engine: engine.engine.unwrap_or_default(),
        offload: !engine.no_offload,
        adapt: !engine.no_adapt,
        tuning: engine.tune.unwrap_or_default(),
        busy_poll: busy_poll.map(|given| whole("--busy-poll", given, &BUSY_POLL_US)).transpose()?,
    })
}

/// The host and the device of `HOST%DEV`.
pub(super) fn split_device(text: &str) -> (&str, Option<&str>) {
    text.rsplit_once('%').map_or((text, None), |(host, device)| (host, Some(device)))
}

/// The host that a client connects to, and the device. The name resolution needs the device of a link-local
/// address, so it stays with it.
pub(super) fn server_host(text: &str) -> (&str, Option<&str>) {
    let (host, device) = split_device(text);
    let is_link_local = host.parse().is_ok_and(|address: Ipv6Addr| address.is_unicast_link_local());
    if is_link_local { (text, None) } else { (host, device) }
}

/// Whether the port stands with its own option and not behind the host, and no brackets or scheme around it.
pub(super) fn check_host(option: &str, given: &str, port_option: &str) -> Result<(), ParameterError> {
    let is_address = |text: &str| split_device(text).0.parse::<IpAddr>().is_ok();
    let rest = given.split_once("://").map_or(given, |(_, rest)| rest).trim_end_matches('/');
    let bracketed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
        None if is_address(rest) => (rest, ""),
        None => rest.rsplit_once(':').unwrap_or((rest, "")),
    };
    if host == given || host.is_empty() || !port.bytes().all(|digit| digit.is_ascii_digit()) {
        return Ok(());
    }
    let mut right = format!("{option} {host}");
    if !port.is_empty() {
        right += &format!(" {port_option} {port}");
    }
    Err(ParameterError::Host { given: given.to_owned(), right })
}

/// The address of that name; the first one of the IP version asked for.
pub(super) fn address(option: &'static str, host: &str, family: Family) -> Result<IpAddr, ParameterError> {
    let fits = |address: &IpAddr| match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    };
    if let Ok(address) = host.parse() {
        let error = ParameterError::AddressFamily(option, address);
        return if fits(&address) { Ok(address) } else { Err(error) };
    }
    let unknown = |reason: String| ParameterError::Address { option, host: host.to_owned(), reason };
    let mut addresses = (host, 0).to_socket_addrs().map_err(|error| {
        // Without the number of the system's error, which stands there if it is not the resolver's.
        let words = error.to_string();
        unknown(words.split_once(" (os error").map_or(words.as_str(), |(words, _)| words).to_owned())
    })?;
    addresses
        .find_map(|address| Some(address.ip()).filter(fits))
        .ok_or_else(|| unknown("the name has none of the IP version asked for".to_owned()))
}

/// The device that all of these name, if any does.
fn one_device(given: [Option<&str>; 3]) -> Result<Option<String>, ParameterError> {
    let mut devices = given.into_iter().flatten();
    let Some(device) = devices.next() else { return Ok(None) };
    if let Some(other) = devices.find(|other| *other != device) {
        return Err(ParameterError::Devices(device.to_owned(), other.to_owned()));
    }
    let is_name = DEVICE_BYTES.contains(device.len()) && !device.contains(['/', ' ', '\0']);
    if is_name {
        Ok(Some(device.to_owned()))
    } else {
        Err(out_of_range(DEVICE_BYTES.rule, "--bind-dev", device))
    }
}

/// The processor of this end, and the one that a client wishes for its server. As in iperf3, nothing behind
/// the comma is processor 0, and what stands behind a slash is left out; a warning says so.
pub(super) fn affinity(options: &BothOptions) -> Result<Option<(u32, Option<u32>)>, ParameterError> {
    let Some(given) = options.affinity.as_deref() else { return Ok(None) };
    let cpu = |text: &str| c_number("-A", text, &PROCESSOR).map_err(|error| error.of_whole(given));
    let (own, server) = given.split_once(',').map_or((given, None), |(own, server)| (own, Some(server)));
    let own = own.split_once('/').map_or(own, |(own, _)| own);
    Ok(Some(match server {
        None => (cpu(own)?, None),
        Some("") => (cpu(own)?, Some(0)),
        Some(server) => (cpu(own)?, Some(cpu(server)?)),
    }))
}

/// Where the streams of one end run. `pinned` says that -A has a processor for that end.
pub(super) fn placement(
    option: &'static str,
    given: Option<&str>,
    pinned: bool,
) -> Result<Option<Placement>, ParameterError> {
    let Some(given) = given else { return Ok(None) };
    if pinned {
        return Err(ParameterError::PlacementConflict(option));
    }
    let wrong = |source| ParameterError::Placement { option, given: given.to_owned(), source };
    given.parse().map(Some).map_err(wrong)
}

fn receive_timeout(options: &BothOptions) -> Result<Duration, ParameterError> {
    match options.rcv_timeout.as_deref() {
        None => Ok(DEFAULT_RECEIVE_TIMEOUT),
        Some(given) => millis("--rcv-timeout", given, &RECEIVE_TIMEOUT_MS),
    }
}

/// As in iperf3, 0 leaves it to the system.
fn send_timeout(options: &BothOptions) -> Result<Option<Duration>, ParameterError> {
    let Some(given) = options.snd_timeout.as_deref() else { return Ok(None) };
    let timeout = millis("--snd-timeout", given, &SEND_TIMEOUT_MS)?;
    Ok((!timeout.is_zero()).then_some(timeout))
}

/// Three numbers, each of which may be left out or 0 to leave it to the system.
fn keepalive(given: &str) -> Result<Keepalive, ParameterError> {
    let mut parts = given.split('/');
    let mut part = |range: &Range| match parts.next() {
        None | Some("") => Ok(None),
        Some(part) => match whole("--cntl-ka", part, range) {
            Ok(number) => Ok((number != 0).then_some(number)),
            Err(error) => Err(error.of_whole(given)),
        },
    };
    let keepalive = Keepalive {
        idle_secs: part(&KEEPALIVE_SECS)?,
        interval_secs: part(&KEEPALIVE_SECS)?,
        count: part(&KEEPALIVE_PROBES)?,
    };
    if parts.next().is_some() {
        return Err(out_of_range(KEEPALIVE_SECS.rule, "--cntl-ka", given));
    }
    match (keepalive.idle_secs, keepalive.interval_secs, keepalive.count) {
        (Some(idle), Some(interval), Some(count)) if idle <= interval * count => {
            Err(ParameterError::Keepalive(given.to_owned()))
        }
        _ => Ok(keepalive),
    }
}
