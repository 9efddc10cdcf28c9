//! Which of the most recent sequence numbers have come.

/// Number of the most recent sequence numbers that are remembered one by one.
pub(super) const WINDOW: u64 = 65_536;
const WORD_BITS: u64 = 64;
const WORDS: usize = 1024;

/// Which of the last [`WINDOW`] numbers up to the highest have come: a bit for each, found by the number
/// modulo the size. Numbers that were never sent, below 1, are marked as come, so that none of them is
/// missing.
#[derive(Clone, Debug)]
pub(super) struct Window(Box<[u64; WORDS]>);

impl Window {
    /// Every number up to the highest has come.
    pub(super) fn all_came() -> Self {
        Self(Box::new([u64::MAX; WORDS]))
    }

    /// Whether a number of the window has come.
    pub(super) fn came(&self, number: u64) -> bool {
        self.0[Self::word(number)] & Self::bit(number) != 0
    }

    /// A number of the window has come, or the one behind it, which moves the window.
    pub(super) fn mark(&mut self, number: u64) {
        self.0[Self::word(number)] |= Self::bit(number);
    }

    /// Takes `count` numbers in, from `first` on, none of which has come.
    pub(super) fn clear(&mut self, first: u64, count: u64) {
        if count >= WINDOW {
            self.0.fill(0);
            return;
        }
        let end = first + count;
        let mut number = first;
        while number < end {
            let offset = number % WORD_BITS;
            let here = (WORD_BITS - offset).min(end - number);
            self.0[Self::word(number)] &= !(u64::MAX >> (WORD_BITS - here) << offset);
            number += here;
        }
    }

    /// Number of sequence numbers of the window that have not come.
    pub(super) fn missing(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_zeros())).sum()
    }

    fn word(number: u64) -> usize {
        usize::try_from(number % WINDOW / WORD_BITS).expect("it is below 1024")
    }

    fn bit(number: u64) -> u64 {
        1 << (number % WORD_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_has_a_bit_for_each_number() {
        assert_eq!(u64::try_from(WORDS).unwrap() * WORD_BITS, WINDOW);
    }

    #[test]
    fn numbers_are_cleared_within_words_over_words_and_around_the_end() {
        for (first, count) in
            [(5, 1), (5, 59), (5, 60), (64, 64), (63, 130), (WINDOW - 3, 70), (1, WINDOW - 1)]
        {
            let mut window = Window::all_came();
            window.clear(first, count);
            assert_eq!(window.missing(), count);
            assert!(!window.came(first) && !window.came(first + count - 1));
            assert!(window.came(first - 1) && window.came(first + count));
            window.mark(first);
            assert_eq!((window.missing(), window.came(first)), (count - 1, true));
        }
    }

    #[test]
    fn any_jump_is_cleared_in_one_round() {
        for count in [WINDOW, u64::MAX - 1] {
            let mut window = Window::all_came();
            window.clear(1, count);
            assert_eq!(window.missing(), WINDOW);
        }
    }
}
