//! The processor that each stream thread of this end runs on.

use crate::config::{Placement, Role, processor_list};
use crate::error::SetupError;
use crate::sys::{Card, OutgoingDevice, Topology};

/// The processors of the stream threads of this end, in the order in which they are taken. With none the
/// scheduler chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadPlacement {
    order: Vec<u32>,
    /// Whether the server's streams take the processors behind the client's, so that on one machine no two
    /// threads share one before they must.
    apart: bool,
    /// The processors to choose from when the network card is known; `None` if there is nothing to choose.
    near: Option<Topology>,
    /// Which processors were chosen as near to the card, in one sentence without a full stop.
    near_choice: Option<String>,
}

impl ThreadPlacement {
    /// The placement that `option` asks for, among the processors that the calling thread may use. For `near`
    /// they are chosen by [`Self::resolve_near`].
    ///
    /// # Errors
    /// [`RunError::ProcessorUnavailable`] when a processor of a list is not among these, or
    /// [`RunError::Affinity`].
    pub(crate) fn find(placement: &Placement, option: &'static str) -> Result<Self, SetupError> {
        match placement {
            Placement::Auto => Ok(Self::default()),
            asked => Self::on(&Topology::of_this_thread().map_err(SetupError::Affinity)?, asked, option),
        }
    }

    /// Chooses the processors near to the card of `device`, through which the first stream sends, if the user
    /// has asked for `near` and they are not chosen yet.
    pub(crate) fn resolve_near(&mut self, device: Option<&OutgoingDevice>) {
        if let Some(topology) = self.near.take() {
            let (order, near_choice) = near(&topology, device);
            self.order = order;
            self.near_choice = Some(format!("near: {near_choice}"));
        }
    }

    /// Whether [`Self::resolve_near`] still has to choose the processors.
    pub(super) fn is_unresolved(&self) -> bool {
        self.near.is_some()
    }

    /// Which processors were chosen as near to the card, in one sentence without a full stop; `None` before
    /// [`Self::resolve_near`], and of other placements.
    pub(super) fn near_choice(&self) -> Option<&str> {
        self.near_choice.as_deref()
    }

    /// The processor of stream number `index`, from 0, of the `streams` that this test has in all; `None`
    /// leaves it to the scheduler.
    pub(crate) fn of(&self, role: Role, index: usize, streams: usize) -> Option<u32> {
        let count = self.order.len();
        let first = match role {
            Role::Server if self.apart => streams.checked_rem(count)?.max(1),
            Role::Client | Role::Server => 0,
        };
        self.order.get((first + index).checked_rem(count)?).copied()
    }

    fn on(topology: &Topology, placement: &Placement, option: &'static str) -> Result<Self, SetupError> {
        let order = match placement {
            Placement::Auto | Placement::Near => Vec::new(),
            Placement::Spread => topology.across_cores(),
            Placement::Pack => topology.core_by_core(),
            Placement::List(list) => {
                let allowed = topology.processors();
                if let Some(&cpu) = list.numbers().iter().find(|cpu| !allowed.contains(cpu)) {
                    return Err(SetupError::ProcessorUnavailable {
                        cpu,
                        option,
                        allowed: processor_list(&allowed),
                    });
                }
                list.numbers().to_vec()
            }
        };
        let near = (*placement == Placement::Near).then(|| topology.clone());
        Ok(Self { order, apart: *placement == Placement::Spread, near, near_choice: None })
    }
}

/// The processors of the card's NUMA node that do not serve its interrupts, or else the nearest there are,
/// and a clause that says which. One processor of each core comes before any second one, and cores that serve
/// an interrupt come last. With none the scheduler chooses.
fn near(topology: &Topology, device: Option<&OutgoingDevice>) -> (Vec<u32>, String) {
    const SCHEDULER: &str = "so the scheduler has the choice";
    let Some(OutgoingDevice { name, card }) = device else {
        return (Vec::new(), format!("the device of the test is not known, {SCHEDULER}"));
    };
    let Some(Card { node, interrupts, interrupt_cores }) = card else {
        return (Vec::new(), format!("{name} has no card, {SCHEDULER}"));
    };
    let of_node = node.as_ref().map(|node| topology.only(|cpu| node.contains(&cpu)));
    let of_node = of_node.filter(|of_node| !of_node.processors().is_empty());
    let nearest = of_node.as_ref().unwrap_or(topology);
    let free = interrupts.as_ref().map(|serving| nearest.only(|cpu| !serving.contains(&cpu)));
    let is_known = free.is_some();
    let free = free.filter(|free| !free.processors().is_empty());
    let order = free.clone().unwrap_or_else(|| nearest.clone()).with_last(interrupt_cores).across_cores();
    let count = order.len();
    let near_choice = match (of_node.is_some(), free.is_some(), is_known) {
        (true, true, _) => {
            format!("processors of the NUMA node of {name} that do not serve its interrupts, {count} in all")
        }
        (true, false, true) => {
            format!(
                "processors of the NUMA node of {name}, all of which serve its interrupts, {count} in all"
            )
        }
        (true, false, false) => {
            format!("processors of the NUMA node of {name}, whose interrupts are not known, {count} in all")
        }
        (false, true, _) => format!(
            "processors that do not serve the interrupts of {name}, none of which is known to be of its NUMA \
             node, {count} in all"
        ),
        (false, false, _) => {
            let why = format!("nothing is known that makes a processor nearer to {name} than another");
            return (Vec::new(), format!("{why}, {SCHEDULER}"));
        }
    };
    (order, near_choice)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The processors of all streams at both ends of a test on one machine.
    fn both_ends(cores: &[&[u32]], placement: &str, streams: usize) -> (Vec<u32>, Vec<u32>) {
        let topology = Topology::new(cores.iter().map(|core| core.to_vec()).collect());
        let thread_placement = ThreadPlacement::on(&topology, &placement.parse().unwrap(), "--cpus").unwrap();
        let end =
            |role| (0..streams).map(|index| thread_placement.of(role, index, streams).unwrap()).collect();
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
        let thread_placement =
            |text: &str| ThreadPlacement::on(&topology, &text.parse().unwrap(), "--peer-cpus");
        for (list, cpu) in [("3", 3), ("0-2,4,5", 5), ("1024", 1024)] {
            let error = thread_placement(list).unwrap_err();
            let text = format!(
                "unable to set CPU affinity: processor {cpu} of --peer-cpus does not exist or is not one that this \
                 process may use, which are 0-2,4"
            );
            assert_eq!(error.to_string(), text, "{list}");
        }
        assert!(thread_placement("4,2").is_ok());
        assert_eq!(thread_placement("auto").unwrap().of(Role::Server, 0, 1), None);
        assert_eq!(ThreadPlacement::default().of(Role::Client, 5, 7), None);
    }

    /// Two packages of two cores with two threads each; the second one has the card.
    const TWO_NODES: [&[u32]; 4] = [&[0, 4], &[1, 5], &[2, 6], &[3, 7]];

    /// The processors near to a card with that NUMA node and these interrupts, and the clause that says
    /// which.
    fn near_to(cores: &[&[u32]], node: Option<&[u32]>, interrupts: Option<&[u32]>) -> (Vec<u32>, String) {
        let set = |numbers: &[u32]| numbers.iter().copied().collect::<BTreeSet<u32>>();
        let interrupts = interrupts.map(set);
        let serves = |core: &&&[u32]| {
            core.iter().any(|cpu| interrupts.as_ref().is_some_and(|serving| serving.contains(cpu)))
        };
        let interrupt_cores = TWO_NODES.iter().filter(serves).flat_map(|core| core.iter().copied()).collect();
        let card = Card { node: node.map(set), interrupts: interrupts.clone(), interrupt_cores };
        let device = OutgoingDevice { name: "eth0".to_owned(), card: Some(card) };
        near(&Topology::new(cores.iter().map(|core| core.to_vec()).collect()), Some(&device))
    }

    #[test]
    fn near_is_the_node_of_the_card_off_its_interrupts() {
        let node: Option<&[u32]> = Some(&[2, 3, 6, 7]);
        for (cores, node, interrupts, expected, said) in [
            (&TWO_NODES[..], node, Some(&[0_u32, 4][..]), vec![2, 3, 6, 7], "do not serve its interrupts, 4"),
            // The sibling of one that serves comes behind a core that is free, and before a core gets two.
            (&TWO_NODES, node, Some(&[2]), vec![3, 6, 7], "do not serve its interrupts, 3"),
            (&TWO_NODES, node, Some(&[2, 3]), vec![6, 7], "do not serve its interrupts, 2"),
            (&TWO_NODES, node, Some(&[2, 3, 6, 7]), vec![2, 3, 6, 7], "all of which serve its interrupts, 4"),
            (&TWO_NODES, node, None, vec![2, 3, 6, 7], "whose interrupts are not known, 4"),
            (&TWO_NODES, None, Some(&[0, 1]), vec![2, 3, 4, 5, 6, 7], "none of which is known to be of its"),
            // The mask has a part of the node, or nothing of it.
            (&[&[0, 4], &[7]], node, Some(&[3]), vec![7], "do not serve its interrupts, 1"),
            (&[&[0, 4], &[1]], node, Some(&[0]), vec![1, 4], "none of which is known to be of its NUMA node"),
            (&[&[0, 4], &[1]], node, Some(&[0, 1, 4]), vec![], "so the scheduler has the choice"),
            (&TWO_NODES, None, Some(&[0, 1, 2, 3, 4, 5, 6, 7]), vec![], "so the scheduler has the choice"),
            (&TWO_NODES, None, None, vec![], "so the scheduler has the choice"),
        ] {
            let (order, near_choice) = near_to(cores, node, interrupts);
            assert_eq!(order, expected, "{near_choice}");
            assert!(near_choice.contains(said), "{near_choice}");
        }
    }

    #[test]
    fn near_is_settled_when_the_device_is_known() {
        let topology = Topology::new(vec![vec![0], vec![1]]);
        let thread_placement = || ThreadPlacement::on(&topology, &Placement::Near, "--cpus").unwrap();
        assert_eq!(
            (thread_placement().of(Role::Client, 0, 1), thread_placement().near_choice()),
            (None, None)
        );
        let card = Card { node: Some(BTreeSet::from([1])), ..Card::default() };
        for (device, place, near_choice) in [
            (None, None, "near: the device of the test is not known, so the scheduler has the choice"),
            (Some(("lo", None)), None, "near: lo has no card, so the scheduler has the choice"),
            (
                Some(("eth0", Some(card))),
                Some(1),
                "near: processors of the NUMA node of eth0, whose interrupts are not known, 1 in all",
            ),
        ] {
            let device = device.map(|(name, card)| OutgoingDevice { name: name.to_owned(), card });
            let mut thread_placement = thread_placement();
            thread_placement.resolve_near(device.as_ref());
            assert_eq!(
                (thread_placement.of(Role::Server, 1, 2), thread_placement.near_choice()),
                (place, Some(near_choice))
            );
            // Once and for all.
            thread_placement.resolve_near(None);
            assert_eq!(thread_placement.near_choice(), Some(near_choice));
        }
        let mut spread = ThreadPlacement::on(&topology, &Placement::Spread, "--cpus").unwrap();
        spread.resolve_near(None);
        assert_eq!((spread.of(Role::Client, 1, 2), spread.near_choice()), (Some(1), None));
    }
}
