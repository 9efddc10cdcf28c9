//! ringperf against itself: exact to the byte, what two of them tell each other, what must not grow.

mod endurance;
mod tcp;
mod two_ringperfs;
mod udp;
