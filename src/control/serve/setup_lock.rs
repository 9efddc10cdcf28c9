//! What set-ups cannot do side by side, while other tests go on.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::sync::Notify;

/// The key of a lock: what a set-up needs, and on which other set-ups of the same host may have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockKey {
    /// UDP connects of this host that carry no cookie, so that only their order tells whose stream they open.
    UdpHandshakes(IpAddr),
    /// Data connections of this host without a window of a fixed size. Any number of set-ups may wait for
    /// such connections at the same time.
    Connections(IpAddr),
    /// All data connections of this host: they go to a socket whose window has the size that the test wants,
    /// and only their host tells which they are.
    ExclusiveConnections(IpAddr),
}

impl LockKey {
    /// Whether no set-up may hold the other key meanwhile.
    fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::UdpHandshakes(host), Self::UdpHandshakes(other))
            | (
                Self::ExclusiveConnections(host),
                Self::Connections(other) | Self::ExclusiveConnections(other),
            )
            | (Self::Connections(host), Self::ExclusiveConnections(other)) => host == other,
            _ => false,
        }
    }
}

/// The keys that set-ups hold. All copies are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct SetupLock(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    held: RefCell<Vec<LockKey>>,
    released: Notify,
}

/// A key that a set-up holds until this is dropped.
#[derive(Debug)]
pub(crate) struct SetupGuard {
    lock: SetupLock,
    key: LockKey,
}

impl SetupLock {
    /// Waits until no set-up holds a key that excludes this one, and takes it.
    pub(crate) async fn take(&self, key: LockKey) -> SetupGuard {
        loop {
            let released = self.0.released.notified();
            if let Some(guard) = self.try_take(key) {
                return guard;
            }
            released.await;
        }
    }

    fn try_take(&self, key: LockKey) -> Option<SetupGuard> {
        let mut held = self.0.held.borrow_mut();
        if held.iter().any(|other| key.excludes(*other)) {
            return None;
        }
        held.push(key);
        Some(SetupGuard { lock: self.clone(), key })
    }
}

impl Drop for SetupGuard {
    fn drop(&mut self) {
        let Shared { held, released } = &*self.lock.0;
        let mut held = held.borrow_mut();
        if let Some(index) = held.iter().position(|key| *key == self.key) {
            held.swap_remove(index);
        }
        released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Which of these keys can be taken at once, when they are asked for in this order.
    fn at_once(keys: &[LockKey]) -> Vec<bool> {
        let lock = SetupLock::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = keys.iter().map(|&key| Box::pin(lock.take(key))).collect();
        let mut held = Vec::new();
        let had = waiting.iter_mut().map(|guard| match guard.as_mut().poll(&mut context) {
            Poll::Ready(guard) => {
                held.push(guard);
                true
            }
            Poll::Pending => false,
        });
        had.collect()
    }

    #[test]
    fn one_has_a_turn_and_the_next_waits_for_it() {
        let lock = SetupLock::default();
        let words = LockKey::UdpHandshakes([192, 0, 2, 1].into());
        let mut context = Context::from_waker(Waker::noop());
        let mut first = pin!(lock.take(words));
        let Poll::Ready(first) = first.as_mut().poll(&mut context) else { panic!("nobody else has it") };
        let mut second = pin!(lock.take(words));
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn only_what_could_be_mixed_up_is_one_after_the_other() {
        let hosts: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let [words, any, own] = [LockKey::UdpHandshakes, LockKey::Connections, LockKey::ExclusiveConnections];
        let [here, there] = hosts;
        assert_eq!(at_once(&[words(here), words(here), words(there)]), [true, false, true]);
        assert_eq!(at_once(&[any(here), any(here), own(here), own(there)]), [true, true, false, true]);
        assert_eq!(at_once(&[own(here), own(here), any(here), any(there)]), [true, false, false, true]);
        assert_eq!(at_once(&[own(here), words(here)]), [true, true]);
    }

    #[test]
    fn the_last_of_several_gives_the_turn_back() {
        let lock = SetupLock::default();
        let host = [192, 0, 2, 1].into();
        let mut context = Context::from_waker(Waker::noop());
        let mut take = |key| match pin!(lock.take(key)).poll(&mut context) {
            Poll::Ready(guard) => Some(guard),
            Poll::Pending => None,
        };
        let (first, second) = (take(LockKey::Connections(host)), take(LockKey::Connections(host)));
        drop(first);
        assert!(take(LockKey::ExclusiveConnections(host)).is_none());
        drop(second);
        assert!(take(LockKey::ExclusiveConnections(host)).is_some());
    }
}
