//! How long threads anywhere on this machine waited for a processor, as `/proc/pressure/cpu` has it
//! (Documentation/accounting/psi.rst).

use super::reading::{Absence, Reading, growth_of_readings, number, value_of};
use super::source::Source;

/// Time in which ready threads had no processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    /// Microseconds in which at least one thread waited, whether for others or for its quota.
    pub some_us: Reading<u64>,
    /// Microseconds in which all threads waited. Linux before 5.13 does not tell, and one that shows a zero
    /// does not count it: for a whole machine it has no meaning.
    pub full_us: Reading<u64>,
}

impl Pressure {
    /// The growth since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            some_us: growth_of_readings(earlier.some_us, self.some_us),
            full_us: growth_of_readings(earlier.full_us, self.full_us),
        }
    }
}

/// The pressure since the machine has started.
pub(super) fn read_pressure(source: &dyn Source) -> Reading<Pressure> {
    Ok(pressure(&source.read("/proc/pressure/cpu")?))
}

fn pressure(text: &str) -> Pressure {
    let counted = |total| if total == 0 { Err(Absence::NotCounted) } else { Ok(total) };
    Pressure { some_us: total_us(text, "some "), full_us: total_us(text, "full ").and_then(counted) }
}

fn total_us(text: &str, line: &str) -> Reading<u64> {
    let averages = value_of(text, line).ok_or(Absence::NotHere)?;
    let (_, total) = averages.rsplit_once("total=").ok_or(Absence::NotUnderstood)?;
    number(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::source::Machine;
    use crate::host::testing::{Recorded, spoilt};

    /// Linux 6.18, psi_show of kernel/sched/psi.c.
    const NEWEST: &str = "some avg10=10.29 avg60=6.42 avg300=16.15 total=426083599\n\
                          full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    /// The form of Linux 4.20 to 5.12, from its Documentation/accounting/psi.rst, with a total of some hours.
    const FIRST: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345678901\n";

    #[test]
    fn some_counts_and_full_does_not() {
        for (text, some_us, full_us) in [
            (NEWEST, Ok(426_083_599), Err(Absence::NotCounted)),
            (FIRST, Ok(12_345_678_901), Err(Absence::NotHere)),
            ("full avg10=0.00 total=7\nsome total=0", Ok(0), Ok(7)),
            ("some avg10=0.00\nfull total=x", Err(Absence::NotUnderstood), Err(Absence::NotUnderstood)),
            ("", Err(Absence::NotHere), Err(Absence::NotHere)),
        ] {
            let tree = Recorded::new(&[("/proc/pressure/cpu", text)]);
            assert_eq!(read_pressure(&tree), Ok(Pressure { some_us, full_us }), "{text}");
        }
    }

    /// A kernel without this file, and one that has it and was started with psi=0.
    #[test]
    fn a_kernel_without_it_has_none() {
        assert_eq!(read_pressure(&Recorded::default()), Err(Absence::NotHere));
        let switched_off = std::io::Error::from_raw_os_error(libc::EOPNOTSUPP);
        assert_eq!(Absence::of(&switched_off), Absence::NotHere);
        match read_pressure(&Machine) {
            Ok(pressure) => assert!(pressure.some_us.is_ok(), "{pressure:?}"),
            Err(why) => assert!([Absence::NotHere, Absence::NeedsRoot].contains(&why), "{why}"),
        }
    }

    #[test]
    fn it_grows() {
        let grown = pressure(&NEWEST.replace("426083599", "426083999")).since(&pressure(NEWEST));
        assert_eq!(grown, Pressure { some_us: Ok(400), full_us: Err(Absence::NotCounted) });
    }

    proptest! {
        #[test]
        fn whatever_the_text_it_is_read_without_a_panic(text in prop_oneof![spoilt(NEWEST), spoilt(FIRST)]) {
            let found = pressure(&text);
            prop_assert_eq!(found.since(&found).some_us.is_ok(), found.some_us.is_ok());
        }
    }
}
