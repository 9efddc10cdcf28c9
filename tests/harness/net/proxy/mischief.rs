//! What becomes of the datagrams of one direction of one stream.

/// What a ringperf says to a ringperf first: four bytes, a cookie, and eight more.
const NAMED_WORD_BYTES: usize = 4 + 37 + 8;

/// How datagrams are mistreated; by default not at all. The percentages together are at most 100.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mischief {
    /// The same seed makes the same choices for the same datagrams.
    pub seed: u64,
    /// How many words of the handshake are dropped, the first ones of each stream.
    pub lost_words: u32,
    /// How many of a hundred are dropped.
    pub drop_percent: u64,
    /// How many of a hundred come twice, the copy later than the original.
    pub duplicate_percent: u64,
    /// How many of a hundred come later than they should.
    pub reorder_percent: u64,
    /// How many datagrams may overtake a late one, at most; at least 1.
    pub span: u64,
}

/// The sequence numbers that passed in one direction of one stream, as they stood in the datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// In the order in which they came from their sender.
    pub sent: Vec<u64>,
    /// In the order in which they were handed to the kernel for their receiver.
    pub delivered: Vec<u64>,
}

/// One direction of one stream. What it delivers goes through a function that says whether the kernel took
/// it.
pub struct Lane {
    mischief: Mischief,
    counters_64bit: bool,
    words: u32,
    random: u64,
    /// Datagrams that are held back, and how many must have been sent until they go.
    held: Vec<(usize, Vec<u8>)>,
    passage: Passage,
}

impl Lane {
    pub fn new(mischief: Mischief, counters_64bit: bool, stream: u64) -> Self {
        let random = mischief.seed.wrapping_add(stream << 32);
        Self { mischief, counters_64bit, words: 0, random, held: Vec::new(), passage: Passage::default() }
    }

    /// A datagram has come; it and those whose time has come are delivered, as the plan has it. The words of
    /// the handshake pass as they are, but for those that are to be lost.
    pub fn take(&mut self, datagram: &[u8], send: impl Fn(&[u8]) -> bool) {
        let Some(number) = self.number(datagram) else {
            self.words += 1;
            if self.words > self.mischief.lost_words {
                send(datagram);
            }
            return;
        };
        self.passage.sent.push(number);
        let Mischief { drop_percent, duplicate_percent, reorder_percent, .. } = self.mischief;
        let dice = self.random_below(100);
        if dice < drop_percent {
            // It is gone.
        } else if dice < drop_percent + duplicate_percent {
            self.deliver(datagram, &send);
            self.hold(datagram);
        } else if dice < drop_percent + duplicate_percent + reorder_percent {
            self.hold(datagram);
        } else {
            self.deliver(datagram, &send);
        }
        let sent = self.passage.sent.len();
        self.release(|due| due <= sent, send);
    }

    /// Delivers all that is held back.
    pub fn release_all(&mut self, send: impl Fn(&[u8]) -> bool) {
        self.release(|_| true, send);
    }

    pub fn into_passage(self) -> Passage {
        self.passage
    }

    fn hold(&mut self, datagram: &[u8]) {
        let overtaking = 1 + self.random_below(self.mischief.span.max(1));
        let due = self.passage.sent.len() + usize::try_from(overtaking).expect("a span is short");
        self.held.push((due, datagram.to_vec()));
    }

    fn release(&mut self, is_due: impl Fn(usize) -> bool, send: impl Fn(&[u8]) -> bool) {
        let (due, held): (Vec<_>, Vec<_>) = self.held.drain(..).partition(|(due, _)| is_due(*due));
        self.held = held;
        for (_, datagram) in due {
            self.deliver(&datagram, &send);
        }
    }

    fn deliver(&mut self, datagram: &[u8], send: impl Fn(&[u8]) -> bool) {
        let number = self.number(datagram).expect("only those with a number get here");
        if send(datagram) {
            self.passage.delivered.push(number);
        }
    }

    /// The sequence number behind the time of sending; `None` of a word of the handshake, which is too
    /// short for one, or has a cookie.
    fn number(&self, datagram: &[u8]) -> Option<u64> {
        if datagram.len() == NAMED_WORD_BYTES && datagram.starts_with(b"9876") {
            return None;
        }
        let bytes = datagram.get(8..if self.counters_64bit { 16 } else { 12 })?;
        Some(bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// SplitMix64 by Sebastiano Vigna.
    fn random_below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit
    }
}
