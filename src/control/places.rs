//! On which processor each stream thread of this end runs.

use crate::config::{Placement, Role, ranges};
use crate::error::RunError;
use crate::sys::Topology;

/// The processors of the stream threads of this end, in the order in which they are taken. Without any, the
/// scheduler has the choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    order: Vec<u32>,
    /// The server's streams go on where the client's end, so that on one machine they do not meet.
    apart: bool,
}

impl Places {
    /// The places that `option` asks for, among the processors that the calling thread may use.
    ///
    /// # Errors
    /// [`RunError::Place`] when one of a list is not among these, or [`RunError::Affinity`].
    pub(super) fn find(placement: &Placement, option: &'static str) -> Result<Self, RunError> {
        match placement {
            Placement::Auto => Ok(Self::default()),
            asked => Self::on(&Topology::of_this_thread().map_err(RunError::Affinity)?, asked, option),
        }
    }

    /// The processor of stream number `index` of the `streams` that this test has in all; `None` leaves it to
    /// the scheduler.
    pub(super) fn of(&self, role: Role, index: usize, streams: usize) -> Option<u32> {
        let count = self.order.len();
        let first = match role {
            Role::Server if self.apart => streams.checked_rem(count)?.max(1),
            Role::Client | Role::Server => 0,
        };
        self.order.get((first + index).checked_rem(count)?).copied()
    }

    fn on(topology: &Topology, placement: &Placement, option: &'static str) -> Result<Self, RunError> {
        let order = match placement {
            Placement::Auto => Vec::new(),
            Placement::Spread => topology.across_cores(),
            Placement::Pack => topology.core_by_core(),
            Placement::List(list) => {
                let allowed = topology.processors();
                if let Some(&cpu) = list.numbers().iter().find(|cpu| !allowed.contains(cpu)) {
                    return Err(RunError::Place { cpu, option, allowed: ranges(&allowed) });
                }
                list.numbers().to_vec()
            }
        };
        Ok(Self { order, apart: *placement == Placement::Spread })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The processors of all streams at both ends of a test on one machine.
    fn both_ends(cores: &[&[u32]], placement: &str, streams: usize) -> (Vec<u32>, Vec<u32>) {
        let topology = Topology::new(cores.iter().map(|core| core.to_vec()).collect());
        let places = Places::on(&topology, &placement.parse().unwrap(), "--cpus").unwrap();
        let end = |role| (0..streams).map(|index| places.of(role, index, streams).unwrap()).collect();
        (end(Role::Client), end(Role::Server))
    }

    const FOUR_CORES: [&[u32]; 4] = [&[0, 4], &[1, 5], &[2, 6], &[3, 7]];

    #[test]
    fn a_list_is_taken_in_its_order_at_both_ends() {
        for (list, streams, expected) in [
            ("1", 3, vec![1, 1, 1]),
            ("6,2-3", 2, vec![6, 2]),
            ("6,2-3", 5, vec![6, 2, 3, 6, 2]),
            ("5,5,0", 4, vec![5, 5, 0, 5]),
        ] {
            assert_eq!(both_ends(&FOUR_CORES, list, streams), (expected.clone(), expected), "{list}");
        }
    }

    #[test]
    fn packed_streams_fill_a_core_before_the_next_and_have_both_ends_on_one_processor() {
        for (cores, streams, expected) in [
            (&FOUR_CORES[..], 1, vec![0]),
            (&FOUR_CORES, 3, vec![0, 4, 1]),
            (&FOUR_CORES, 10, vec![0, 4, 1, 5, 2, 6, 3, 7, 0, 4]),
            (&[&[0], &[1]], 2, vec![0, 1]),
            (&[&[1]], 2, vec![1, 1]),
        ] {
            assert_eq!(both_ends(cores, "pack", streams), (expected.clone(), expected), "{streams}");
        }
    }

    #[test]
    fn spread_streams_take_a_core_each_before_any_takes_two() {
        for (cores, streams, client, server) in [
            (&FOUR_CORES[..], 1, vec![0], vec![1]),
            (&FOUR_CORES, 2, vec![0, 1], vec![2, 3]),
            (&FOUR_CORES, 3, vec![0, 1, 2], vec![3, 4, 5]),
            (&FOUR_CORES, 4, vec![0, 1, 2, 3], vec![4, 5, 6, 7]),
            (&[&[0], &[1]], 1, vec![0], vec![1]),
            (&[&[0], &[1]], 2, vec![0, 1], vec![1, 0]),
            (&[&[0, 1]], 3, vec![0, 1, 0], vec![1, 0, 1]),
            (&[&[6]], 2, vec![6, 6], vec![6, 6]),
        ] {
            assert_eq!(both_ends(cores, "spread", streams), (client, server), "{cores:?} {streams}");
        }
    }

    #[test]
    fn both_ends_of_a_spread_stream_are_apart_where_there_are_two_processors() {
        for count in 2..9_u32 {
            let cores: Vec<[u32; 1]> = (0..count).map(|cpu| [cpu]).collect();
            let cores: Vec<&[u32]> = cores.iter().map(<[u32; 1]>::as_slice).collect();
            for streams in 1..20 {
                let (client, server) = both_ends(&cores, "spread", streams);
                let meet = client.iter().zip(&server).filter(|(client, server)| client == server).count();
                assert_eq!(meet, 0, "{streams} streams on {count} processors: {client:?}, {server:?}");
            }
        }
    }

    #[test]
    fn only_processors_that_may_be_used_are_taken() {
        let topology = Topology::new(vec![vec![0, 4], vec![1], vec![2]]);
        let places = |text: &str| Places::on(&topology, &text.parse().unwrap(), "--peer-cpus");
        for (list, cpu) in [("3", 3), ("0-2,4,5", 5), ("1024", 1024)] {
            let error = places(list).unwrap_err();
            let text = format!(
                "unable to set CPU affinity: processor {cpu} of --peer-cpus does not exist or is not one that this \
                 process may use, which are 0-2,4"
            );
            assert_eq!(error.to_string(), text, "{list}");
        }
        assert!(places("4,2").is_ok());
        assert_eq!(places("auto").unwrap().of(Role::Server, 0, 1), None);
        assert_eq!(Places::default().of(Role::Client, 5, 7), None);
    }
}
