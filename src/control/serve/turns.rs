//! What set-ups cannot do side by side, while other tests go on.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::sync::Notify;

/// The key of a lock: what a set-up needs, and on which other set-ups of the same host may have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matter {
    /// UDP connects of this host that carry no cookie, so that only their order tells whose stream they open.
    Words(IpAddr),
    /// Data connections of this host without a window of a fixed size. Any number of set-ups may wait for
    /// such connections at the same time.
    Connections(IpAddr),
    /// All data connections of this host: they go to a socket whose window has the size that the test wants,
    /// and only their host tells which they are.
    ConnectionsOfTheirOwn(IpAddr),
}

impl Matter {
    /// Whether no set-up may hold the other key meanwhile.
    fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Words(host), Self::Words(other))
            | (
                Self::ConnectionsOfTheirOwn(host),
                Self::Connections(other) | Self::ConnectionsOfTheirOwn(other),
            )
            | (Self::Connections(host), Self::ConnectionsOfTheirOwn(other)) => host == other,
            _ => false,
        }
    }
}

/// The keys that set-ups hold. All copies are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    taken: RefCell<Vec<Matter>>,
    given_back: Notify,
}

/// A key that a set-up holds until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    matter: Matter,
}

impl Turns {
    /// Waits until no set-up holds a key that excludes this one, and takes it.
    pub(crate) async fn take(&self, matter: Matter) -> Turn {
        loop {
            let given_back = self.0.given_back.notified();
            if let Some(turn) = self.try_take(matter) {
                return turn;
            }
            given_back.await;
        }
    }

    fn try_take(&self, matter: Matter) -> Option<Turn> {
        let mut taken = self.0.taken.borrow_mut();
        if taken.iter().any(|other| matter.excludes(*other)) {
            return None;
        }
        taken.push(matter);
        Some(Turn { turns: self.clone(), matter })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Shared { taken, given_back } = &*self.turns.0;
        let mut taken = taken.borrow_mut();
        if let Some(index) = taken.iter().position(|matter| *matter == self.matter) {
            taken.swap_remove(index);
        }
        given_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Which of these keys can be taken at once, when they are asked for in this order.
    fn at_once(matters: &[Matter]) -> Vec<bool> {
        let turns = Turns::default();
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = matters.iter().map(|&matter| Box::pin(turns.take(matter))).collect();
        let mut taken = Vec::new();
        let had = waiting.iter_mut().map(|turn| match turn.as_mut().poll(&mut context) {
            Poll::Ready(turn) => {
                taken.push(turn);
                true
            }
            Poll::Pending => false,
        });
        had.collect()
    }

    #[test]
    fn one_has_a_turn_and_the_next_waits_for_it() {
        let turns = Turns::default();
        let words = Matter::Words([192, 0, 2, 1].into());
        let mut context = Context::from_waker(Waker::noop());
        let mut first = pin!(turns.take(words));
        let Poll::Ready(first) = first.as_mut().poll(&mut context) else { panic!("nobody else has it") };
        let mut second = pin!(turns.take(words));
        assert!(second.as_mut().poll(&mut context).is_pending());
        drop(first);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn only_what_could_be_mixed_up_is_one_after_the_other() {
        let hosts: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let [words, any, own] = [Matter::Words, Matter::Connections, Matter::ConnectionsOfTheirOwn];
        let [here, there] = hosts;
        assert_eq!(at_once(&[words(here), words(here), words(there)]), [true, false, true]);
        assert_eq!(at_once(&[any(here), any(here), own(here), own(there)]), [true, true, false, true]);
        assert_eq!(at_once(&[own(here), own(here), any(here), any(there)]), [true, false, false, true]);
        assert_eq!(at_once(&[own(here), words(here)]), [true, true]);
    }

    #[test]
    fn the_last_of_several_gives_the_turn_back() {
        let turns = Turns::default();
        let host = [192, 0, 2, 1].into();
        let mut context = Context::from_waker(Waker::noop());
        let mut take = |matter| match pin!(turns.take(matter)).poll(&mut context) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        };
        let (first, second) = (take(Matter::Connections(host)), take(Matter::Connections(host)));
        drop(first);
        assert!(take(Matter::ConnectionsOfTheirOwn(host)).is_none());
        drop(second);
        assert!(take(Matter::ConnectionsOfTheirOwn(host)).is_some());
    }
}
