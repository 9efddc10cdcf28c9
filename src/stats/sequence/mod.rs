//! A receiver's account of one UDP stream: which datagrams came, in which order, and where the others were
//! lost.

mod jitter;
mod window;

use std::time::Duration;

use super::DatagramCounters;
use jitter::Jitter;
use window::{WINDOW, Window};

/// Counts the datagrams of one UDP stream that were received, lost, duplicated and reordered.
///
/// Datagrams are [taken](Self::take) one by one, and before those of each message from the kernel stands a
/// call of [`message`](Self::message). Everything may be hostile: numbers, times and order.
///
/// A number within the last 65,536 is known to be late or to have come twice. Of an older one that cannot be
/// told. If all older ones have come it is a duplicate. If some are missing it counts as one of them, which
/// was delayed: networks that copy datagrams deliver both within moments. So never more datagrams are
/// received than numbers were passed.
#[derive(Clone, Debug)]
pub struct DatagramTracker {
    counters_64bit: bool,
    counters: DatagramCounters,
    window: Window,
    jitter: Jitter,
    socket: SocketDrops,
}

impl DatagramTracker {
    /// A tracker before the first datagram. `counters_64bit` says whether sequence numbers have 64 bits on
    /// the wire, or 32.
    #[must_use]
    pub fn new(counters_64bit: bool) -> Self {
        Self::starting_at(0, counters_64bit)
    }

    /// A tracker as it is after all datagrams up to number `highest` have come.
    #[must_use]
    pub fn starting_at(highest: u64, counters_64bit: bool) -> Self {
        Self {
            counters_64bit,
            counters: DatagramCounters { packets: highest, received: highest, ..DatagramCounters::default() },
            window: Window::all_came(),
            jitter: Jitter::default(),
            socket: SocketDrops::default(),
        }
    }

    /// Begins a message from the kernel that holds `datagrams` datagrams.
    ///
    /// `socket_drops` is the SO_RXQ_OVFL counter that came with it: *messages* that the full socket buffer
    /// had dropped when this one was queued. The kernel leaves it out while it is 0. What is missing between
    /// the last message and this one was lost there, as far as the new drops can explain it.
    pub fn message(&mut self, socket_drops: Option<u32>, datagrams: u64) {
        self.socket.message(socket_drops, datagrams);
    }

    /// Counts a datagram by its sequence number as on the wire, with the times at which it was sent and
    /// arrived. The clocks of the two times need not be related.
    pub fn take(&mut self, sequence: u64, sent: Duration, arrived: Duration) {
        let Some(number) = self.number(sequence) else {
            return self.foreign();
        };
        self.jitter.take(sent, arrived);
        let passed = number.saturating_sub(self.counters.packets);
        if passed == 0 {
            return self.take_late(number);
        }
        if passed > 1 {
            self.skip(passed - 1);
        }
        self.window.mark(number);
        self.socket.budget = 0;
        self.counters.packets = number;
        self.counters.received += 1;
    }

    /// Sets the socket's drop counter as it was before the stream began: earlier drops were not of this
    /// stream.
    pub fn begin_after(&mut self, socket_drops: u32) {
        self.socket.counter = socket_drops;
    }

    /// Counts a datagram that is not of this stream.
    pub fn foreign(&mut self) {
        self.counters.foreign += 1;
    }

    /// Ends the account; `socket_drops_total` is the socket's drop counter now.
    pub fn finish(&mut self, socket_drops_total: u32) {
        self.counters.dropped_after_last = self.socket.datagrams(self.socket.new_drops(socket_drops_total));
    }

    /// The totals so far.
    #[must_use]
    pub fn counters(&self) -> DatagramCounters {
        DatagramCounters {
            out_of_order: self.counters.reordered + self.counters.duplicates,
            jitter_seconds: self.jitter.seconds(),
            ..self.counters
        }
    }

    /// The whole number of a datagram, for 32 bits the one nearest to the highest; `None` if none was sent
    /// with that number, since the first has 1.
    fn number(&self, sequence: u64) -> Option<u64> {
        const WRAP: u64 = 1 << 32;
        if self.counters_64bit {
            return (sequence > 0).then_some(sequence);
        }
        let highest = self.counters.packets;
        let ahead = sequence.wrapping_sub(highest) % WRAP;
        if ahead < WRAP / 2 {
            highest.checked_add(ahead).filter(|&number| number > 0)
        } else {
            highest.checked_sub(WRAP - ahead).filter(|&number| number > 0)
        }
    }

    /// Counts `gap` numbers above the highest that did not come, or not yet.
    #[cold]
    fn skip(&mut self, gap: u64) {
        self.window.clear(self.counters.packets + 1, gap);
        self.counters.errors += gap;
        self.counters.lost_in_socket += gap.min(self.socket.budget);
    }

    /// Counts a datagram whose number is not above the highest.
    #[cold]
    fn take_late(&mut self, number: u64) {
        let counters = &mut self.counters;
        counters.errors = counters.errors.saturating_sub(1);
        let is_new = if counters.packets - number < WINDOW {
            !self.window.came(number)
        } else {
            counters.packets - counters.received > self.window.missing()
        };
        if !is_new {
            counters.duplicates += 1;
            return;
        }
        if counters.packets - number < WINDOW {
            self.window.mark(number);
        }
        counters.received += 1;
        counters.reordered += 1;
        // It was not lost in the socket after all, if all that is missing was thought to be.
        counters.lost_in_socket = counters.lost_in_socket.min(counters.packets - counters.received);
    }
}

/// The losses that the socket's drop counter explains.
#[derive(Clone, Copy, Debug, Default)]
struct SocketDrops {
    /// The counter with the last message, in messages; it wraps.
    counter: u32,
    /// Most datagrams of one message so far: a dropped one held at most as many.
    largest_message: u64,
    /// Datagrams that were dropped between the last message and this one, at most. The first datagram of this
    /// message that passes the highest number shows them; a gap behind it is the network's.
    budget: u64,
}

impl SocketDrops {
    fn message(&mut self, counter: Option<u32>, datagrams: u64) {
        self.largest_message = self.largest_message.max(datagrams);
        self.budget = 0;
        if let Some(counter) = counter {
            let drops = self.new_drops(counter);
            self.budget = self.datagrams(drops);
            self.counter = self.counter.wrapping_add(drops);
        }
    }

    /// Messages dropped since the last one came. A counter that seems to run backwards counts as unchanged:
    /// two processors of the kernel have read it in one order and used it in the other.
    fn new_drops(&self, counter: u32) -> u32 {
        let drops = counter.wrapping_sub(self.counter);
        if drops <= u32::MAX / 2 { drops } else { 0 }
    }

    /// Most datagrams that `messages` dropped messages held.
    fn datagrams(&self, messages: u32) -> u64 {
        u64::from(messages).saturating_mul(self.largest_message.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    /// Takes one message for each number, without drops.
    fn take_all(tracker: &mut DatagramTracker, sequences: impl IntoIterator<Item = u64>) {
        for sequence in sequences {
            tracker.message(None, 1);
            tracker.take(sequence, AT_ONCE, AT_ONCE);
        }
    }

    fn after(sequences: &[u64]) -> DatagramCounters {
        let mut tracker = DatagramTracker::new(false);
        take_all(&mut tracker, sequences.iter().copied());
        tracker.counters()
    }

    #[test]
    fn late_and_repeated_datagrams_are_told_apart() {
        let seen = after(&[1, 2, 3, 4, 5, 6, 9, 8, 8]);
        assert_eq!((seen.packets, seen.errors, seen.out_of_order), (9, 0, 2));
        assert_eq!((seen.received, seen.duplicates, seen.reordered), (8, 1, 1));
        let seen = after(&[3, 5, 5]);
        assert_eq!((seen.packets, seen.errors, seen.out_of_order), (5, 2, 1));
        assert_eq!((seen.received, seen.duplicates, seen.reordered), (2, 1, 0));
    }

    #[test]
    fn numbers_that_nobody_sent_are_foreign() {
        let seen = after(&[0, 1, 0, u64::from(u32::MAX), 2]);
        assert_eq!((seen.foreign, seen.packets, seen.received, seen.out_of_order), (3, 2, 2, 0));
        let mut wide = DatagramTracker::new(true);
        take_all(&mut wide, [0, 1, 0]);
        wide.foreign();
        assert_eq!((wide.counters().foreign, wide.counters().packets), (3, 1));
    }

    #[test]
    fn counters_of_32_bits_go_over_the_wrap_and_back() {
        let wrap = 1_u64 << 32;
        let mut tracker = DatagramTracker::starting_at(wrap - 2, false);
        take_all(&mut tracker, [1, wrap - 1, 0, 2]);
        let seen = tracker.counters();
        assert_eq!((seen.packets, seen.received, seen.reordered), (wrap + 2, wrap + 2, 2));
        assert_eq!((seen.errors, seen.duplicates, seen.foreign), (0, 0, 0));
    }

    #[test]
    fn numbers_before_the_window_fill_what_is_missing_there_and_no_more() {
        let mut tracker = DatagramTracker::new(true);
        take_all(&mut tracker, (1..10).filter(|number| ![4, 5].contains(number)));
        take_all(&mut tracker, 10..10 + WINDOW);
        take_all(&mut tracker, [11 + WINDOW, 4, 4, 4]);
        let seen = tracker.counters();
        assert_eq!((seen.reordered, seen.duplicates), (2, 1));
        assert_eq!(seen.packets - seen.received, 1, "the one in the window is still missing");
    }

    #[test]
    fn hostile_jumps_are_survived() {
        let mut tracker = DatagramTracker::new(true);
        take_all(&mut tracker, [1, u64::MAX, u64::MAX, 2, u64::MAX - 1, 0, u64::MAX / 2]);
        let seen = tracker.counters();
        assert_eq!((seen.packets, seen.received), (u64::MAX, 5));
        assert_eq!((seen.duplicates, seen.reordered, seen.foreign), (1, 3, 1));
        let mut narrow = DatagramTracker::starting_at(u64::MAX - 1, false);
        take_all(&mut narrow, [5, u64::from(u32::MAX), 5]);
        assert_eq!((narrow.counters().packets, narrow.counters().foreign), (u64::MAX, 2));
    }

    /// Messages: the drop counter, and the numbers in it.
    fn after_messages(messages: &[(Option<u32>, &[u64])]) -> DatagramTracker {
        let mut tracker = DatagramTracker::new(false);
        for &(drops, sequences) in messages {
            tracker.message(drops, u64::try_from(sequences.len()).unwrap());
            sequences.iter().for_each(|&sequence| tracker.take(sequence, AT_ONCE, AT_ONCE));
        }
        tracker
    }

    #[test]
    fn a_gap_is_the_sockets_as_far_as_its_drops_explain_it() {
        for (messages, lost, in_socket) in [
            (&[(None, &[1, 2][..]), (Some(1), &[5, 6])][..], 2, 2),
            (&[(None, &[1, 2]), (Some(1), &[7, 8])], 4, 2),
            (&[(None, &[1, 2]), (Some(3), &[4, 5])], 1, 1),
            // The same counter again, and none, explain nothing.
            (&[(None, &[1, 2]), (Some(1), &[5, 6]), (Some(1), &[8]), (None, &[10])], 4, 2),
            // What a message does not use is gone with it, and so it is for a gap within the message.
            (&[(None, &[1, 2]), (Some(1), &[3, 4]), (Some(1), &[7])], 2, 0),
            (&[(None, &[1, 2]), (Some(1), &[3, 6])], 2, 0),
            // A late datagram in front does not hide the gap, and one of the lost that comes is not lost.
            (&[(None, &[1, 3]), (Some(1), &[2, 6])], 2, 2),
            (&[(None, &[1, 2]), (Some(1), &[5, 6]), (Some(1), &[3])], 1, 1),
            // The counter wraps, and never runs backwards.
            (&[(Some(7), &[1, 2]), (Some(6), &[4]), (Some(7), &[6]), (Some(8), &[8])], 3, 1),
        ] {
            let seen = after_messages(messages).counters();
            assert_eq!(
                (seen.packets - seen.received, seen.lost_in_socket),
                (lost, in_socket),
                "{messages:?}"
            );
        }
    }

    #[test]
    fn the_drop_counter_wraps() {
        let mut tracker = DatagramTracker::new(false);
        for (counter, sequence) in [(u32::MAX / 2, 1), (u32::MAX - 1, 2), (1, 6)] {
            tracker.message(Some(counter), 1);
            tracker.take(sequence, AT_ONCE, AT_ONCE);
        }
        assert_eq!(tracker.counters().lost_in_socket, 3);
    }

    #[test]
    fn drops_before_the_stream_explain_nothing() {
        let mut tracker = DatagramTracker::new(false);
        tracker.begin_after(700);
        for (counter, sequence) in [(700, 3), (701, 6)] {
            tracker.message(Some(counter), 1);
            tracker.take(sequence, AT_ONCE, AT_ONCE);
        }
        tracker.finish(701);
        let seen = tracker.counters();
        assert_eq!((seen.lost_in_socket, seen.dropped_after_last), (1, 0));
        let mut nothing_came = DatagramTracker::new(false);
        nothing_came.begin_after(700);
        nothing_came.finish(700);
        assert_eq!(nothing_came.counters().dropped_after_last, 0);
    }

    #[test]
    fn drops_behind_the_last_message_are_told_apart() {
        let mut tracker = after_messages(&[(None, &[1, 2, 3]), (Some(2), &[10])]);
        tracker.finish(4);
        let seen = tracker.counters();
        assert_eq!((seen.lost_in_socket, seen.dropped_after_last), (6, 6));
        let mut nothing_came = DatagramTracker::new(false);
        nothing_came.finish(5);
        assert_eq!(nothing_came.counters().dropped_after_last, 5);
    }

    /// The next datagram, relative to the highest number.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Ahead(u64),
        Back(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => Just(Step::Ahead(1)),
            3 => (2_u64..40).prop_map(Step::Ahead),
            1 => (2_u64..200_000).prop_map(Step::Ahead),
            4 => (0_u64..50).prop_map(Step::Back),
            1 => (0..WINDOW).prop_map(Step::Back),
        ]
    }

    /// A start and whether numbers have 64 bits on the wire.
    fn start() -> impl Strategy<Value = (u64, bool)> {
        prop_oneof![
            (0_u64..100, any::<bool>()),
            ((1_u64 << 32) - 100_000..(1 << 32) + 100, any::<bool>()),
            (1_u64 << 40..1 << 62, Just(true)),
        ]
    }

    /// What came, as a set, and iperf3's arithmetic in plain words.
    #[derive(Default)]
    struct Model {
        start: u64,
        came: HashSet<u64>,
        duplicates: u64,
        reordered: u64,
        foreign: u64,
        highest: u64,
        errors: i64,
        out_of_order: u64,
        last_transit: Option<f64>,
        jitter: f64,
    }

    impl Model {
        fn take(&mut self, number: u64, transit: f64) {
            if number < 1 {
                self.foreign += 1;
                return;
            }
            if number <= self.start || !self.came.insert(number) {
                self.duplicates += 1;
            } else if number < self.highest {
                self.reordered += 1;
            }
            if number > self.highest {
                self.errors += i64::try_from(number - 1 - self.highest).unwrap();
                self.highest = number;
            } else {
                self.out_of_order += 1;
                self.errors = 0.max(self.errors - 1);
            }
            let step = (transit - self.last_transit.unwrap_or(transit)).abs();
            self.last_transit = Some(transit);
            self.jitter += (step - self.jitter) / 16.0;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn every_datagram_is_accounted_for(
            (start, wide) in start(),
            steps in proptest::collection::vec((step(), 0_u32..50_000_000), 1..60),
        ) {
            let mut tracker = DatagramTracker::starting_at(start, wide);
            let mut model = Model { start, highest: start, ..Model::default() };
            let mut sent = Duration::from_secs(4_000_000);
            for (step, delay_ns) in steps {
                let number = match step {
                    Step::Ahead(distance) => model.highest + distance,
                    Step::Back(distance) => model.highest.saturating_sub(distance),
                };
                sent += Duration::from_micros(10);
                let transit = Duration::from_nanos(delay_ns.into());
                model.take(number, transit.as_secs_f64());
                tracker.message(None, 1);
                // The receiver's clock is far behind the sender's.
                let sequence = if wide { number } else { number % (1 << 32) };
                tracker.take(sequence, sent, sent - Duration::from_secs(3_999_000) + transit);
            }
            let seen = tracker.counters();
            prop_assert_eq!(seen.received, start + u64::try_from(model.came.len()).unwrap());
            prop_assert_eq!((seen.duplicates, seen.reordered), (model.duplicates, model.reordered));
            prop_assert_eq!((seen.foreign, seen.lost_in_socket), (model.foreign, 0));
            prop_assert_eq!((seen.packets, seen.out_of_order), (model.highest, model.out_of_order));
            prop_assert_eq!(seen.errors, u64::try_from(model.errors).unwrap());
            prop_assert!((seen.jitter_seconds - model.jitter).abs() < 2e-9, "{seen:?} {}", model.jitter);
        }
    }
}
