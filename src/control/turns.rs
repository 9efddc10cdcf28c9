//! What only one set-up at a time may do, while other tests go on.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::sys::Transport;

/// What there are turns for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matter {
    /// The UDP words of this host: they carry no cookie, so only their order tells whose stream they open.
    Words(IpAddr),
    /// The listener that a transport needs for itself.
    Listener(Transport),
}

/// The matters that somebody is busy with. All copies are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    taken: RefCell<Vec<Matter>>,
    given_back: Notify,
}

/// Somebody's turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    matter: Matter,
}

impl Turns {
    /// Waits until nobody else has a turn in this matter.
    pub(super) async fn take(&self, matter: Matter) -> Turn {
        loop {
            let given_back = self.0.given_back.notified();
            if !self.0.taken.borrow().contains(&matter) {
                self.0.taken.borrow_mut().push(matter);
                return Turn { turns: self.clone(), matter };
            }
            given_back.await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Shared { taken, given_back } = &*self.turns.0;
        taken.borrow_mut().retain(|matter| *matter != self.matter);
        given_back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn one_has_a_turn_and_the_next_waits_for_it() {
        let turns = Turns::default();
        let words = |host: [u8; 4]| Matter::Words(host.into());
        let mut context = Context::from_waker(Waker::noop());
        let mut first = pin!(turns.take(words([192, 0, 2, 1])));
        let Poll::Ready(first) = first.as_mut().poll(&mut context) else { panic!("nobody else has it") };
        let mut second = pin!(turns.take(words([192, 0, 2, 1])));
        assert!(second.as_mut().poll(&mut context).is_pending());
        for other in [words([192, 0, 2, 2]), Matter::Listener(Transport::Sctp)] {
            assert!(pin!(turns.take(other)).as_mut().poll(&mut context).is_ready());
        }
        drop(first);
        assert!(second.as_mut().poll(&mut context).is_ready());
    }
}
