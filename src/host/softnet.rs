//! What soft interrupts made of received packets, processor by processor, as `/proc/net/softnet_stat` has it
//! (softnet_seq_show of net/core/net-procfs.c). It is of the whole machine, not of a network namespace.

use std::collections::BTreeMap;

use super::reading::{Absence, Reading, growth_of_32_bits};
use super::source::Source;

/// Columns of the oldest form; later kernels have up to fifteen.
const COLUMNS_MIN: usize = 9;
/// The column with the number of the processor, where there is one, as since Linux 5.10.
const CPU_COLUMN: usize = 12;

/// What a processor counts, in 32 bits that may wrap. `T` is a count, or a count that may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softnet<T> {
    /// Packets taken out of its queues.
    pub processed: T,
    /// Packets dropped because its backlog was full: of receive packet steering, veth and loopback, not of a
    /// card.
    pub dropped: T,
    /// How often it stopped with work left, because its budget of packets or time was used up.
    pub time_squeeze: T,
}

impl Softnet<u32> {
    /// The growth since `earlier`, count by count.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Softnet<Reading<u32>> {
        Softnet {
            processed: growth_of_32_bits(earlier.processed, self.processed),
            dropped: growth_of_32_bits(earlier.dropped, self.dropped),
            time_squeeze: growth_of_32_bits(earlier.time_squeeze, self.time_squeeze),
        }
    }
}

impl Softnet<Reading<u32>> {
    /// Counts that are all absent for this reason.
    pub(super) fn absent(why: Absence) -> Self {
        Self { processed: Err(why), dropped: Err(why), time_squeeze: Err(why) }
    }
}

/// The counts of all processors that are on-line, by their numbers. Where the kernel does not tell these,
/// they are those of `online`, in order.
pub(super) fn read_softnet(source: &dyn Source, online: &[u32]) -> Reading<BTreeMap<u32, Softnet<u32>>> {
    softnet(&source.read("/proc/net/softnet_stat")?, online)
}

fn softnet(text: &str, online: &[u32]) -> Reading<BTreeMap<u32, Softnet<u32>>> {
    let mut found = BTreeMap::new();
    let lines = text.lines().count();
    for (index, line) in text.lines().enumerate() {
        let columns: Vec<u32> = line.split_ascii_whitespace().map(hexadecimal).collect::<Reading<_>>()?;
        if columns.len() < COLUMNS_MIN {
            return Err(Absence::NotUnderstood);
        }
        let by_place = || online.get(index).copied().filter(|_| online.len() == lines);
        let cpu = columns.get(CPU_COLUMN).copied().or_else(by_place).ok_or(Absence::NotUnderstood)?;
        let counts = Softnet { processed: columns[0], dropped: columns[1], time_squeeze: columns[2] };
        if found.insert(cpu, counts).is_some() {
            return Err(Absence::NotUnderstood);
        }
    }
    if found.is_empty() { Err(Absence::NotUnderstood) } else { Ok(found) }
}

fn hexadecimal(word: &str) -> Reading<u32> {
    u32::from_str_radix(word, 16).map_err(|_| Absence::NotUnderstood)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::processors::read_processors;
    use crate::host::source::Machine;
    use crate::host::testing::{Recorded, spoilt};
    use crate::sys::clock_ticks_per_second;

    /// Linux 6.18, two processors, 15 columns.
    const NEWEST: &str = include_str!("recorded/softnet-6.18.txt");
    /// Four of the five lines that the tests of insights-core (RedHatInsights, test_softnet_stat.py) have of
    /// RHEL 9: 13 columns, 2 of them since Linux 5.10.
    const THIRTEEN: &str = "\
00358fe3 00006283 00000000 00000000 00000000 00000000 00000000 00000000 00000000 000855fc 00000076 00000000 00000000
00953d1a 00000446 000000b1 00000000 00000000 00000000 00000000 00000000 00000000 008eeb9a 0000002b 000000dc 00000001
02600138 00004bc7 00000000 00000000 00000000 00000000 00000000 00000000 00000000 02328493 00000000 0000000a 00000002
02883c47 00007e2e 0000007b 00000000 00000000 00000000 00000000 00000000 00000000 02280d49 000000bd 00000000 00000003
";
    /// What node_exporter (prometheus, collector/fixtures/proc/net/softnet_stat) has: 11 columns.
    const ELEVEN: &str = "\
00049279 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
000dfb82 00000029 0000000a 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
00551c3f 00000000 00000055 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
002f8339 00000000 00000032 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000
";
    /// Of RHEL 7 and RHEL 5, from the same tests of insights-core: 10 and 9 columns.
    const TEN: &str = "\
00008e78 00000001 00000011 00000000 00000000 00000000 00000000 00000000 00000020 00000010
000040ee 000000ee f003eca7 00000000 00000000 00000000 00000000 00000000 00000010 00000001
";
    const NINE: &str = "6dcad223 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000005\n";

    fn counts(processed: u32, dropped: u32, time_squeeze: u32) -> Softnet<u32> {
        Softnet { processed, dropped, time_squeeze }
    }

    #[test]
    fn every_form_is_read() {
        for (text, online, cpu, expected) in [
            (NEWEST, &[][..], 1, counts(0x03ba_7c38, 0, 0)),
            (THIRTEEN, &[][..], 3, counts(0x0288_3c47, 0x7e2e, 0x7b)),
            (ELEVEN, &[0, 1, 2, 3][..], 1, counts(0x000d_fb82, 0x29, 0xa)),
            (TEN, &[0, 1][..], 1, counts(0x40ee, 0xee, 0xf003_eca7)),
            (NINE, &[0][..], 0, counts(0x6dca_d223, 0, 1)),
        ] {
            let tree = Recorded::new(&[("/proc/net/softnet_stat", text)]);
            let found = read_softnet(&tree, online).unwrap();
            assert_eq!(found.len(), text.lines().count());
            assert_eq!(found[&cpu], expected, "{text}");
        }
    }

    /// Processors that are off-line have no line, so the place of a line says nothing by itself.
    #[test]
    fn a_line_belongs_to_its_processor() {
        let found = softnet(ELEVEN, &[0, 2, 4, 6]).unwrap();
        assert_eq!(found[&6], counts(0x002f_8339, 0, 0x32));
        for online in [&[][..], &[0, 1, 2], &[0, 1, 2, 3, 4]] {
            assert_eq!(softnet(ELEVEN, online), Err(Absence::NotUnderstood), "{online:?}");
        }
        let numbered = THIRTEEN.replace(" 00000003\n", " 00000009\n");
        assert_eq!(softnet(&numbered, &[0]).unwrap()[&9], counts(0x0288_3c47, 0x7e2e, 0x7b));
    }

    #[test]
    fn what_is_no_account_of_packets_is_not_understood() {
        let twice = format!("{THIRTEEN}{THIRTEEN}");
        for wrong in ["", "\n", "1 2 3\n", "x 0 0 0 0 0 0 0 0\n", "100000000 0 0 0 0 0 0 0 0\n", &twice] {
            assert_eq!(softnet(wrong, &[0]), Err(Absence::NotUnderstood), "{wrong}");
        }
        assert_eq!(read_softnet(&Recorded::default(), &[0]), Err(Absence::NotHere));
    }

    #[test]
    fn counts_may_wrap() {
        let grown = counts(5, 0, 7).since(&counts(u32::MAX - 4, 9, 6));
        assert_eq!(grown, Softnet { processed: Ok(10), dropped: Err(Absence::Reset), time_squeeze: Ok(1) });
    }

    #[test]
    fn this_machine_counts_for_all_its_processors() {
        let online: Vec<u32> =
            read_processors(&Machine, clock_ticks_per_second()).unwrap().into_keys().collect();
        let found = read_softnet(&Machine, &online).unwrap();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), online);
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_is_read_without_a_panic(
            text in prop_oneof![spoilt(NEWEST), spoilt(THIRTEEN), spoilt(TEN)],
            online in prop::collection::vec(any::<u32>(), 0..4),
        ) {
            if let Ok(found) = softnet(&text, &online) {
                prop_assert_eq!(found.len(), text.lines().count());
            }
        }
    }
}
