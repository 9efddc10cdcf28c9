//! What is known of one direction of a run: plain numbers, as both ends have counted them.
//!
//! `None` means that a number is not known, which is never the same as zero. All of it concerns the counted
//! part of the run alone, the omitted part left out, and may come from a peer: nothing here is checked, and
//! a number that cannot be true counts as unknown when the verdict is made.

use serde::{Deserialize, Serialize};

use crate::config::Protocol;

/// Which way the bytes of a direction went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectionName {
    /// From the client to the server.
    #[default]
    Forward,
    /// From the server to the client.
    Reverse,
}

/// Everything that is known of one direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirectionEvidence {
    /// Which direction it is.
    pub direction: DirectionName,
    /// What carried the payload.
    pub protocol: Protocol,
    /// The sender's congestion control, as the kernel names it.
    pub congestion: Option<String>,
    /// Parallel streams of the direction.
    pub streams: Option<u32>,
    /// Length of the counted part in seconds.
    pub seconds: Option<f64>,
    /// Payload that arrived, in bits per second, all streams together.
    pub goodput_bits_per_second: Option<f64>,
    /// Payload that was sent, in bits per second, all streams together. It differs from the goodput where
    /// datagrams are lost.
    pub sent_bits_per_second: Option<f64>,
    /// The rate that somebody asked for; `None` if nobody did.
    pub asked: Option<AskedRate>,
    /// The amount of bytes that was asked for (`-n`, `-k`); `None` for a test of a certain time.
    pub asked_bytes: Option<u64>,
    /// The sender's view of TCP.
    pub tcp: TcpEvidence,
    /// The account of the datagrams of a UDP test.
    pub datagrams: DatagramEvidence,
    /// What the sending end says of itself; `None` if it says nothing, as an iperf3.
    pub sender: Option<EndEvidence>,
    /// What the receiving end says of itself; `None` if it says nothing, as an iperf3.
    pub receiver: Option<EndEvidence>,
}

/// A rate that a direction was held to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AskedRate {
    /// Bits per second, all streams together.
    pub bits_per_second: f64,
    /// Who asked for it.
    pub by: AskedBy,
}

/// Who has asked for a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// The user, with `-b`.
    Bitrate,
    /// Nobody: it is the rate of a UDP test without `-b`.
    UdpDefault,
    /// The user, with `--fq-rate`.
    FqRate,
    /// The server, which lets nobody have more.
    ServerLimit,
}

/// What TCP_INFO of the sender's sockets says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TcpEvidence {
    /// Seconds in which data was in flight or waiting, added over the streams (`tcpi_busy_time`).
    pub busy_seconds: Option<f64>,
    /// Of these, seconds in which the receiver's window stopped it (`tcpi_rwnd_limited`).
    pub rwnd_limited_seconds: Option<f64>,
    /// Of these, seconds in which the send buffer stopped it (`tcpi_sndbuf_limited`).
    pub sndbuf_limited_seconds: Option<f64>,
    /// Smoothed round-trip time in microseconds, the mean over the streams and the run (`tcpi_rtt`).
    pub rtt_us: Option<f64>,
    /// Smallest round-trip time in microseconds of all streams (`tcpi_min_rtt`).
    pub min_rtt_us: Option<f64>,
    /// Bytes sent, those that were sent again included (`tcpi_bytes_sent`).
    pub bytes_sent: Option<u64>,
    /// Bytes sent again (`tcpi_bytes_retrans`).
    pub bytes_retransmitted: Option<u64>,
    /// Segments sent again, all streams added (`tcpi_total_retrans`).
    pub segments_retransmitted: Option<u64>,
    /// Delivery rate in bits per second, all streams added (`tcpi_delivery_rate`).
    pub delivery_bits_per_second: Option<f64>,
    /// Pacing rate in bits per second, all streams added (`tcpi_pacing_rate`).
    pub pacing_bits_per_second: Option<f64>,
    /// Largest window in bytes that the receiver has advertised to one stream (`tcpi_snd_wnd`).
    pub advertised_window_bytes: Option<u64>,
}

/// What became of the datagrams of a UDP test, all streams together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatagramEvidence {
    /// Datagrams that the sender has handed to its kernel.
    pub sent: Option<u64>,
    /// Datagrams that the receiver has taken.
    pub received: Option<u64>,
    /// Datagrams lost before the receiver's socket.
    pub lost_in_network: Option<u64>,
    /// Datagrams lost because the buffer of the receiver's socket was full.
    pub lost_in_socket: Option<u64>,
}

/// What one end says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndEvidence {
    /// The time of its stream threads.
    pub threads: ThreadEvidence,
    /// The buffer of its data sockets: the send buffer at the sender, the receive buffer at the receiver.
    pub buffer: BufferEvidence,
    /// Whether its stream threads write what comes to a file (`-F`), and so sleep on a disk.
    pub writes_file: Option<bool>,
    /// What its kernel has received and then dropped at a TCP socket, in packets as the kernel counts them
    /// (TCPBacklogDrop, TCPRcvQDrop and TCPZeroWindowDrop of /proc/net/netstat). One of them can hold many
    /// segments, and other sockets of the host count as well.
    pub socket_dropped_packets: Option<u64>,
    /// The queue in front of its network device.
    pub qdisc: QdiscEvidence,
    /// Its network device, and the soft interrupts that serve it.
    pub device: DeviceEvidence,
}

/// Where the time of the stream threads of one direction went at one end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ThreadEvidence {
    /// How many threads these are.
    pub threads: Option<u32>,
    /// Nanoseconds on a processor, all threads added (first number of schedstat).
    pub on_processor_ns: Option<u64>,
    /// Nanoseconds ready to run and not running, all threads added (second number of schedstat). It contains
    /// the time in which a quota stopped them.
    pub waiting_ns: Option<u64>,
    /// Nanoseconds in which a quota stopped their control group, added over the processors (cpu.stat of the
    /// group whose quota it is). Zero where there is no quota, `None` where that cannot be read: then a quota
    /// and other work on the processors look the same.
    pub throttled_ns: Option<u64>,
    /// Processors that the threads may use.
    pub processors: Option<u32>,
    /// Processors' worth of time that the quota leaves to the group (quota over period).
    pub quota_processors: Option<f64>,
    /// Whether the threads poll where others would sleep (`--busy-poll`), so that they are on a processor
    /// whether there is work or not.
    pub polls: Option<bool>,
}

/// The buffer of the data sockets of one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferEvidence {
    /// Bytes of one socket's buffer at the end of the run (`SO_SNDBUF` or `SO_RCVBUF`).
    pub bytes: Option<u64>,
    /// Bytes up to which the kernel lets it grow (third number of tcp_wmem or tcp_rmem).
    pub bytes_max: Option<u64>,
    /// Whether the user has fixed it with `-w`, which ends its growth.
    pub is_fixed: Option<bool>,
}

/// The queue in front of a network device, while the test ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QdiscEvidence {
    /// Its kind, as tc(8) names it.
    pub kind: Option<String>,
    /// Packets that went through.
    pub sent_packets: Option<u64>,
    /// Packets that it has dropped.
    pub dropped_packets: Option<u64>,
    /// How often it held a packet back because its rate was used up.
    pub overlimits: Option<u64>,
}

/// A network device and what serves it, while the test ran.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceEvidence {
    /// Its name.
    pub name: Option<String>,
    /// Speed of the link in bits per second; `None` for a device that only pretends to have one, as veth.
    pub link_bits_per_second: Option<f64>,
    /// Bits per second on the wire in the test's direction, headers, preamble and gap included.
    pub wire_bits_per_second: Option<f64>,
    /// Packets received.
    pub rx_packets: Option<u64>,
    /// Packets that the card dropped because its ring had no free buffer (missed, out of buffer).
    pub rx_missed_packets: Option<u64>,
    /// Seconds in which pause frames kept the port from sending.
    pub paused_seconds: Option<f64>,
    /// Pause frames received.
    pub pause_frames: Option<u64>,
    /// Seconds in which the card waited for PCIe during more than 30 % of the second.
    pub pcie_stalled_seconds: Option<f64>,
    /// Packets that went through soft interrupts, all processors (first number of softnet_stat).
    pub softnet_packets: Option<u64>,
    /// Packets that found the backlog of their processor full (second number of softnet_stat).
    pub softnet_dropped_packets: Option<u64>,
    /// How often a soft interrupt had to stop with work left (third number of softnet_stat).
    pub softnet_squeezed: Option<u64>,
    /// Share of the time, in percent, that the processor busiest with interrupts spent on them (soft ones
    /// included); processors of stream threads are left out.
    pub interrupt_percent: Option<f64>,
    /// The number of that processor.
    pub interrupt_processor: Option<u32>,
}
