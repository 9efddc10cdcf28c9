//! How many tests may load the machine at once.
//!
//! Cells that move data as fast as they can take one of a few slots. A test that measures time takes them
//! all, so that it measures ringperf and not its neighbours. UDP without a limit never waits for a receiver,
//! so its cells take half of them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Slots for bulk transfers. Most of them wait for a clock, so there are more slots than cores.
const SLOTS: usize = 4;

static GATE: Gate = Gate { turn: Mutex::new(()), free: Mutex::new(SLOTS), freed: Condvar::new() };

struct Gate {
    /// Held while waiting, so that slots are given in the order in which they were asked for.
    turn: Mutex<()>,
    free: Mutex<usize>,
    freed: Condvar,
}

/// Slots that are given back when this is dropped.
#[must_use]
pub struct Permit {
    slots: usize,
}

/// Waits for one slot.
pub fn shared() -> Permit {
    take(1)
}

/// Waits for half of the slots.
pub fn heavy() -> Permit {
    take(SLOTS / 2)
}

/// Waits for all slots.
pub fn alone() -> Permit {
    take(SLOTS)
}

fn take(slots: usize) -> Permit {
    let _turn = lock(&GATE.turn);
    let mut free = lock(&GATE.free);
    while *free < slots {
        free = GATE.freed.wait(free).unwrap_or_else(PoisonError::into_inner);
    }
    *free -= slots;
    Permit { slots }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *lock(&GATE.free) += self.slots;
        GATE.freed.notify_all();
    }
}

/// A test that panicked leaves nothing half-done here, so its poison does not matter to the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
