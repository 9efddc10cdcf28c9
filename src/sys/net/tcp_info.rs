//! TCP_INFO as the kernel lays it out.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::stats::{TcpLimits, TcpSample};

/// `struct tcp_info` of include/uapi/linux/tcp.h up to `tcpi_snd_wnd` (Linux 5.4). The kernel fills as much
/// as it knows; the rest stays zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct RawTcpInfo {
    state: u8,
    ca_state: u8,
    retransmits: u8,
    probes: u8,
    backoff: u8,
    options: u8,
    window_scales: u8,
    flags: u8,
    rto: u32,
    ato: u32,
    snd_mss: u32,
    rcv_mss: u32,
    unacked: u32,
    sacked: u32,
    lost: u32,
    retrans: u32,
    fackets: u32,
    last_data_sent: u32,
    last_ack_sent: u32,
    last_data_recv: u32,
    last_ack_recv: u32,
    pmtu: u32,
    rcv_ssthresh: u32,
    rtt: u32,
    rttvar: u32,
    snd_ssthresh: u32,
    snd_cwnd: u32,
    advmss: u32,
    reordering: u32,
    rcv_rtt: u32,
    rcv_space: u32,
    total_retrans: u32,
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
    busy_time: u64,
    rwnd_limited: u64,
    sndbuf_limited: u64,
    delivered: u32,
    delivered_ce: u32,
    bytes_sent: u64,
    bytes_retrans: u64,
    dsack_dups: u32,
    reord_seen: u32,
    rcv_ooopack: u32,
    snd_wnd: u32,
}

/// Reads TCP_INFO of a socket.
pub(super) fn read(socket: &impl AsFd) -> io::Result<TcpSample> {
    let info = read_raw(socket)?;
    Ok(TcpSample {
        retransmits: u64::from(info.total_retrans),
        snd_cwnd_bytes: u64::from(info.snd_cwnd) * u64::from(info.snd_mss),
        snd_wnd_bytes: u64::from(info.snd_wnd),
        rtt_us: info.rtt,
        rttvar_us: info.rttvar,
        pmtu_bytes: info.pmtu,
        reordering: info.reordering,
        limits: TcpLimits {
            busy: Duration::from_micros(info.busy_time),
            rwnd_limited: Duration::from_micros(info.rwnd_limited),
            sndbuf_limited: Duration::from_micros(info.sndbuf_limited),
        },
    })
}

/// Time since the peer's host has acknowledged anything, be it a probe.
pub(super) fn silence(socket: &impl AsFd) -> io::Result<Duration> {
    read_raw(socket).map(|info| Duration::from_millis(info.last_ack_recv.into()))
}

fn read_raw(socket: &impl AsFd) -> io::Result<RawTcpInfo> {
    let mut info = RawTcpInfo::default();
    let mut length = libc::socklen_t::try_from(size_of::<RawTcpInfo>()).expect("a few hundred bytes");
    // SAFETY: the kernel writes at most `length` bytes, all of them inside `info`, whose every bit pattern is
    // valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn offsets_are_those_of_the_kernel_header() {
        assert_eq!(std::mem::offset_of!(RawTcpInfo, last_ack_recv), 56);
        assert_eq!(std::mem::offset_of!(RawTcpInfo, rtt), 68);
        assert_eq!(std::mem::offset_of!(RawTcpInfo, total_retrans), 100);
        assert_eq!(std::mem::offset_of!(RawTcpInfo, busy_time), 168);
        assert_eq!(std::mem::offset_of!(RawTcpInfo, snd_wnd), 228);
    }

    #[test]
    fn a_loopback_connection_has_a_window_and_a_path() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let sample = read(&stream).unwrap();
        assert!(sample.snd_cwnd_bytes > 0 && sample.snd_wnd_bytes > 0 && sample.pmtu_bytes > 0);
        assert_eq!(sample.retransmits, 0);
    }
}
