//! The processors that a thread was seen on.

use crate::units::to_f64;

/// Number of times that a thread was found on each processor, by samples that are far apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processors {
    /// Numbers of processors, each with the number of samples that found the thread there.
    found: Vec<(u32, u64)>,
    last: Option<u32>,
    moves: u64,
}

impl Processors {
    /// Counts a sample that has found the thread on the processor with this number.
    pub fn found_on(&mut self, cpu: u32) {
        if self.last.replace(cpu).is_some_and(|last| last != cpu) {
            self.moves += 1;
        }
        match self.found.iter_mut().find(|(number, _)| *number == cpu) {
            Some((_, looks)) => *looks += 1,
            None => self.found.push((cpu, 1)),
        }
    }

    /// Number of samples.
    #[must_use]
    pub fn looks(&self) -> u64 {
        self.found.iter().map(|(_, looks)| looks).sum()
    }

    /// Number of samples that found the thread on another processor than the sample before.
    #[must_use]
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// The numbers of the processors with their share of the samples in percent, the most frequent one first.
    #[must_use]
    pub fn shares(&self) -> Vec<(u32, f64)> {
        let mut found = self.found.clone();
        found.sort_by_key(|&(cpu, looks)| (std::cmp::Reverse(looks), cpu));
        let all = to_f64(self.looks());
        found.into_iter().map(|(cpu, looks)| (cpu, 100.0 * to_f64(looks) / all)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_moves() {
        let mut processors = Processors::default();
        assert_eq!((processors.looks(), processors.moves(), processors.shares()), (0, 0, vec![]));
        for cpu in [3, 0, 0, 7, 0, 0, 3, 0] {
            processors.found_on(cpu);
        }
        assert_eq!((processors.looks(), processors.moves()), (8, 5));
        assert_eq!(processors.shares(), [(0, 62.5), (3, 25.0), (7, 12.5)]);
        processors.found_on(7);
        assert_eq!(processors.shares()[1].0, 3, "of two with the same share the lower number comes first");
    }
}
