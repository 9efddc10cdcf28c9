//! A path that takes time: each packet that one device sends is held before the other receives it.
//!
//! Linux has netem for this, but not every kernel is built with it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;

/// MTU of the devices, in bytes: the largest, since a relay of few packets takes little from the programs
/// that are measured on the same processors.
pub const MTU: u32 = 65_535;
/// Packets that may be on their way in one direction, which take 32 MiB. What comes beyond is lost, as beyond
/// the limit of netem.
const HELD_MAX: usize = 512;

/// Carries packets between two devices, until it is dropped.
pub struct Relay {
    /// Closed to end the threads.
    running: Option<PipeWriter>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Between these devices (see [`tun`](super::tun::tun)), with a delay in each direction.
    pub fn start(devices: [File; 2], delay: Duration) -> io::Result<Self> {
        let (stopped, running) = pipe()?;
        let shared = Arc::new((devices, stopped));
        let mut relay = Self { running: Some(running), threads: Vec::new() };
        for (from, to) in [(0, 1), (1, 0)] {
            let shared = Arc::clone(&shared);
            let carrying = move || {
                let (devices, stopped) = &*shared;
                carry(&devices[from], &devices[to], delay, stopped)
                    .expect("a device can be read until the relay is dropped, before the device is removed");
            };
            relay.threads.push(thread::Builder::new().name("relay".to_owned()).spawn(carrying)?);
        }
        Ok(relay)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.running = None;
        for thread in self.threads.drain(..) {
            // A panic has been told on standard error already.
            let _ = thread.join();
        }
    }
}

/// A packet on its way.
struct Held {
    due: Instant,
    memory: Box<[u8]>,
    bytes: usize,
}

/// One direction, until the other end of `stopped` is closed.
fn carry(mut from: &File, mut to: &File, delay: Duration, stopped: &PipeReader) -> io::Result<()> {
    // Without it, the kernel may wake this thread 50 us late, to do so together with others.
    set_timerslack(1)?;
    let mut held: VecDeque<Held> = VecDeque::new();
    // Used again, since fresh memory costs page faults for each packet.
    let mut spare: Vec<Box<[u8]>> = Vec::new();
    loop {
        let wait = held.front().map(|packet| packet.due.saturating_duration_since(Instant::now()));
        let mut watched = [
            PollFd::new(from.as_fd(), PollFlags::POLLIN),
            // That it was closed is told without being asked for.
            PollFd::new(stopped.as_fd(), PollFlags::empty()),
        ];
        match ppoll(&mut watched, wait.map(TimeSpec::from), None) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let [has_packet, is_stopped] = watched.map(|watched| watched.any().unwrap_or(false));
        if is_stopped {
            return Ok(());
        }
        let now = Instant::now();
        // One at a time, so that what is due does not wait for the end of a burst.
        if has_packet {
            let mut memory = spare.pop().unwrap_or_else(|| vec![0; MTU as usize].into());
            let bytes = from.read(&mut memory)?;
            if held.len() < HELD_MAX {
                held.push_back(Held { due: now + delay, memory, bytes });
            } else {
                spare.push(memory);
            }
        }
        while held.front().is_some_and(|packet| packet.due <= now)
            && let Some(packet) = held.pop_front()
        {
            // What the other end has no memory for is lost, as on any path.
            let _ = to.write(&packet.memory[..packet.bytes]);
            spare.push(packet.memory);
        }
    }
}
