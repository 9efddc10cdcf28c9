//! The intervals of a run for those who want them when it is over. There may be any number of them, so they
//! are kept as bytes, and beyond a few MiB in a file.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::spool::{Record, Spool, Values};
use super::{Interval, IntervalStream, Reporter, RunEvent};
use crate::config::Flow;
use crate::stats::{TcpInterval, UdpInterval};

/// A handle to the intervals of one run. Copies lead to the same intervals.
///
/// An observer fills it: [`super::Observer::keeping`]. Without one nothing is kept. What the report had no
/// room for because its other observers were too slow is not there; a warning of the report tells how much
/// that was.
#[derive(Clone, Debug, Default)]
pub struct Intervals {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    spool: Spool<Interval>,
    warning: Option<String>,
}

impl Intervals {
    /// All intervals that the report has taken so far, in their order. These are all of a run when its report
    /// is finished.
    #[must_use]
    pub fn read(&self) -> IntervalReader {
        IntervalReader { values: self.kept().spool.values() }
    }

    /// Why the intervals of a long run are in memory all the same; `None` if they are not.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.kept().warning.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads intervals back. The first error is the end of what can be had.
#[derive(Debug)]
pub struct IntervalReader {
    values: Values<Interval>,
}

impl Iterator for IntervalReader {
    type Item = io::Result<Interval>;

    fn next(&mut self) -> Option<io::Result<Interval>> {
        self.values.next()
    }
}

/// Keeps the intervals that it hears of and writes nothing.
pub(super) struct Keeper(pub(super) Intervals);

impl Reporter for Keeper {
    fn event(&mut self, event: &RunEvent, _: &mut dyn Write) -> io::Result<()> {
        if let RunEvent::Interval(interval) = event {
            let mut kept = self.0.kept();
            let warning = kept.spool.push(interval);
            kept.warning = kept.warning.take().or(warning);
        }
        Ok(())
    }
}

/// What a stream has besides its bytes and times, as bits of one byte.
const RECEIVES: u8 = 1;
const HAS_TCP: u8 = 2;
const HAS_UDP: u8 = 4;

/// One byte for the whole interval, then the streams up to the end. All numbers are little-endian.
impl Record for Interval {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.omitted.into());
        self.streams.iter().for_each(|stream| encode_stream(stream, bytes));
    }

    fn decode(bytes: Vec<u8>) -> Option<Self> {
        let (&omitted, mut rest) = bytes.split_first()?;
        let mut streams = Vec::new();
        while !rest.is_empty() {
            streams.push(decode_stream(&mut rest)?);
        }
        Some(Self { omitted: omitted != 0, streams })
    }
}

fn encode_stream(stream: &IntervalStream, bytes: &mut Vec<u8>) {
    let IntervalStream { socket, flow, start, end, bytes: moved, tcp, udp } = *stream;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    bytes.push(
        flag(flow == Flow::Receive, RECEIVES) | flag(tcp.is_some(), HAS_TCP) | flag(udp.is_some(), HAS_UDP),
    );
    bytes.extend(socket.to_le_bytes());
    for moment in [start, end] {
        bytes.extend(moment.as_secs().to_le_bytes());
        bytes.extend(moment.subsec_nanos().to_le_bytes());
    }
    bytes.extend(moved.to_le_bytes());
    if let Some(tcp) = tcp {
        let large = [tcp.retransmits, tcp.snd_cwnd_bytes, tcp.snd_wnd_bytes];
        bytes.extend(large.into_iter().flat_map(u64::to_le_bytes));
        let small = [tcp.rtt_us, tcp.rttvar_us, tcp.pmtu_bytes, tcp.reordering];
        bytes.extend(small.into_iter().flat_map(u32::to_le_bytes));
    }
    if let Some(udp) = udp {
        let numbers = [udp.packets, udp.lost, udp.out_of_order, udp.jitter_seconds.to_bits()];
        bytes.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
    }
}

fn decode_stream(bytes: &mut &[u8]) -> Option<IntervalStream> {
    let [flags] = take(bytes)?;
    Some(IntervalStream {
        flow: if flags & RECEIVES == 0 { Flow::Send } else { Flow::Receive },
        socket: i32::from_le_bytes(take(bytes)?),
        start: decode_duration(bytes)?,
        end: decode_duration(bytes)?,
        bytes: decode_u64(bytes)?,
        tcp: if flags & HAS_TCP == 0 { None } else { Some(decode_tcp(bytes)?) },
        udp: if flags & HAS_UDP == 0 { None } else { Some(decode_udp(bytes)?) },
    })
}

fn decode_tcp(bytes: &mut &[u8]) -> Option<TcpInterval> {
    Some(TcpInterval {
        retransmits: decode_u64(bytes)?,
        snd_cwnd_bytes: decode_u64(bytes)?,
        snd_wnd_bytes: decode_u64(bytes)?,
        rtt_us: decode_u32(bytes)?,
        rttvar_us: decode_u32(bytes)?,
        pmtu_bytes: decode_u32(bytes)?,
        reordering: decode_u32(bytes)?,
    })
}

fn decode_udp(bytes: &mut &[u8]) -> Option<UdpInterval> {
    Some(UdpInterval {
        packets: decode_u64(bytes)?,
        lost: decode_u64(bytes)?,
        out_of_order: decode_u64(bytes)?,
        jitter_seconds: f64::from_bits(decode_u64(bytes)?),
    })
}

fn decode_duration(bytes: &mut &[u8]) -> Option<Duration> {
    let (secs, nanos) = (decode_u64(bytes)?, decode_u32(bytes)?);
    // Others would be made whole seconds, and of these there may be too many for a duration.
    (nanos < 1_000_000_000).then(|| Duration::new(secs, nanos))
}

fn decode_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

fn decode_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

/// The first bytes, which are taken off.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Direction, Role};
    use crate::report::testing::fixtures;

    const MIB: usize = 1024 * 1024;

    /// Intervals of four streams that differ in every one.
    fn interval(number: u64) -> Interval {
        let interval = match number % 2 {
            0 => fixtures::interval(Role::Client, Direction::Bidir, 2, number),
            _ => fixtures::udp_interval(Role::Client, Direction::Bidir, 2, number),
        };
        Interval { omitted: number < 5, ..interval }
    }

    fn hear(keeper: &mut Keeper, event: &RunEvent) {
        let mut written = Vec::new();
        keeper.event(event, &mut written).unwrap();
        assert!(written.is_empty());
    }

    #[test]
    fn a_hundred_thousand_intervals_take_no_more_memory_than_a_few_and_are_read_back() {
        const COUNT: u64 = 100_000;
        let intervals = Intervals::default();
        let mut keeper = Keeper(intervals.clone());
        (0..COUNT).for_each(|number| hear(&mut keeper, &RunEvent::Interval(interval(number))));
        hear(&mut keeper, &RunEvent::Done);
        let memory = intervals.kept().spool.memory_bytes();
        assert!(memory <= 8 * MIB, "{memory}");
        assert_eq!(intervals.warning(), None);
        // Often, and by copies as well.
        for handle in [intervals.clone(), intervals] {
            let mut read = 0;
            for (number, kept) in (0..).zip(handle.read()) {
                assert_eq!(kept.unwrap(), interval(number));
                read += 1;
            }
            assert_eq!(read, COUNT);
        }
    }

    #[test]
    fn what_is_read_while_others_come_is_what_was_there() {
        let intervals = Intervals::default();
        let mut keeper = Keeper(intervals.clone());
        assert_eq!(intervals.read().count(), 0);
        (0..3).for_each(|number| hear(&mut keeper, &RunEvent::Interval(interval(number))));
        let reader = intervals.read();
        (3..5).for_each(|number| hear(&mut keeper, &RunEvent::Interval(interval(number))));
        assert_eq!(reader.map(Result::unwrap).collect::<Vec<_>>(), [interval(0), interval(1), interval(2)]);
        assert_eq!(intervals.read().count(), 5);
    }

    fn any_stream() -> impl Strategy<Value = IntervalStream> {
        let moment =
            || (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos));
        let tcp = any::<([u64; 3], [u32; 4])>().prop_map(|(large, small)| TcpInterval {
            retransmits: large[0],
            snd_cwnd_bytes: large[1],
            snd_wnd_bytes: large[2],
            rtt_us: small[0],
            rttvar_us: small[1],
            pmtu_bytes: small[2],
            reordering: small[3],
        });
        let udp = (any::<[u64; 3]>(), -1e300..1e300).prop_map(|(counts, jitter_seconds)| UdpInterval {
            packets: counts[0],
            lost: counts[1],
            out_of_order: counts[2],
            jitter_seconds,
        });
        let flow = any::<bool>().prop_map(|sends| if sends { Flow::Send } else { Flow::Receive });
        let details = (prop::option::of(tcp), prop::option::of(udp));
        (any::<i32>(), flow, moment(), moment(), any::<u64>(), details).prop_map(
            |(socket, flow, start, end, bytes, (tcp, udp))| IntervalStream {
                socket,
                flow,
                start,
                end,
                bytes,
                tcp,
                udp,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_decoded_is_what_was_encoded(
            omitted: bool,
            streams in prop::collection::vec(any_stream(), 0..5),
        ) {
            let interval = Interval { omitted, streams };
            let mut bytes = Vec::new();
            interval.encode(&mut bytes);
            prop_assert_eq!(Interval::decode(bytes.clone()), Some(interval));
            // Nothing that was cut off is taken for the whole, but at the end of a stream.
            if let Some(shorter) = bytes.len().checked_sub(1).filter(|&shorter| shorter > 0) {
                bytes.truncate(shorter);
                prop_assert_eq!(Interval::decode(bytes), None);
            }
        }

        #[test]
        fn no_bytes_are_too_much_for_the_decoder(bytes: Vec<u8>) {
            let _ = Interval::decode(bytes);
        }
    }
}
