//! Drops datagrams on a device exactly as told, and counts them: a small eBPF program.
//!
//! It is assembled here by hand, since a compiler for it would be one more thing to install. It needs root
//! and Linux 6.6, which can attach programs to a device without tc (BPF_TCX_INGRESS, BPF_TCX_EGRESS).

mod assembler;
mod kernel;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::net::if_::if_nametoindex;

use crate::harness::net::netns::{DEVICE, Namespace};
use crate::harness::{Checked, Failure};
use assembler::{Assembler, Instruction, Operation as Op, Register as R};

/// Which datagrams are dropped, counted from 1 in the order in which they pass.
///
/// A super-packet of several datagrams passes in one piece, and is dropped in one piece if the rule asks for
/// any of its datagrams.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// None: they are only counted.
    Nothing,
    /// Every n-th.
    Every(u16),
    /// The one with this number.
    Number(u32),
}

/// Where the program sits on its device.
#[derive(Clone, Copy, Debug)]
pub enum Hook {
    /// What comes from the other end.
    Ingress,
    /// What goes to the other end, before it is cut into datagrams.
    Egress,
}

/// What has passed the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Datagrams that came to it.
    pub seen: u64,
    /// Those of them that went no further.
    pub dropped: u64,
}

/// A program on the device of a namespace, until it is dropped.
pub struct Dropper {
    counters: OwnedFd,
    link: OwnedFd,
}

impl Dropper {
    /// Counts, and drops by `rule`, the UDP datagrams to or from `port` whose payload is larger than 49
    /// bytes: the payload of a test, and not its handshake.
    pub fn attach(namespace: &Namespace, hook: Hook, port: u16, rule: Rule) -> Checked<Self> {
        Self::attach_for(libc::IPPROTO_UDP, namespace, hook, port, rule)
    }

    /// The same for the long TCP segments to or from `port`: those of the streams, not what is acknowledged.
    pub fn attach_to_segments(namespace: &Namespace, hook: Hook, port: u16, rule: Rule) -> Checked<Self> {
        Self::attach_for(libc::IPPROTO_TCP, namespace, hook, port, rule)
    }

    /// Drops every packet, whatever is in it, that has more than so many bytes without its Ethernet header.
    pub fn attach_to_large(namespace: &Namespace, hook: Hook, bytes: u16) -> Checked<Self> {
        Self::attach_program(namespace, hook, |counters| assemble_for_large(counters, bytes.into()))
    }

    fn attach_for(protocol: i32, namespace: &Namespace, hook: Hook, port: u16, rule: Rule) -> Checked<Self> {
        Self::attach_program(namespace, hook, |counters| assemble(counters, protocol, port, rule))
    }

    fn attach_program(
        namespace: &Namespace,
        hook: Hook,
        assemble: impl Fn(i32) -> Vec<Instruction>,
    ) -> Checked<Self> {
        let counters = kernel::create_counters().map_err(failure("cannot make the counters"))?;
        let program = kernel::load(&assemble(counters.as_raw_fd()))?;
        let link = namespace.within(|| {
            let device = if_nametoindex(DEVICE).map_err(|error| failure("no such device")(error.into()))?;
            kernel::attach(&program, device, hook).map_err(failure("cannot attach the program"))
        })?;
        Ok(Self { counters, link })
    }

    /// The counters now.
    pub fn passed(&self) -> Checked<Passed> {
        let read = |index| kernel::read(&self.counters, index).map_err(failure("cannot read the counters"));
        Ok(Passed { seen: read(SEEN)?, dropped: read(DROPPED)? })
    }
}

impl Drop for Dropper {
    fn drop(&mut self) {
        // It fails if the namespace and its device are gone already.
        let _ = kernel::detach(&self.link);
    }
}

fn failure(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure(format!("{what}: {error}"))
}

/// The two counters, by their place in the map.
const SEEN: u32 = 0;
const DROPPED: u32 = 1;

/// The frame as the program sees it: an Ethernet header, then IP.
const IP: i32 = 14;
/// The longest word of the UDP handshake: that of a ringperf, with the cookie and the answer to a challenge.
const WORD_BYTES: i32 = 4 + 37 + 8;
/// Scratch memory on the program's stack.
const SCRATCH: i16 = -48;

/// The program. Its context stays in `Six`, the offset of the UDP or TCP header in `Eight`, the datagrams of
/// this packet in `Nine`; the calls overwrite `Zero` to `Five`.
fn assemble(counters: i32, protocol: i32, port: u16, rule: Rule) -> Vec<Instruction> {
    let mut asm = Assembler::default();
    asm.copy(R::Six, R::One);
    find_transport(&mut asm, protocol);
    recognise(&mut asm, port);
    has_payload(&mut asm, protocol);
    count_segments(&mut asm);
    count(&mut asm, counters, SEEN);
    decide(&mut asm, rule);
    count(&mut asm, counters, DROPPED);
    asm.leave(2); // TCX_DROP
    asm.label("pass");
    asm.leave(-1); // TCX_NEXT
    asm.finish()
}

/// The program for large packets, which counts packets.
fn assemble_for_large(counters: i32, bytes: i32) -> Vec<Instruction> {
    const LENGTH: i16 = 0; // offset in struct __sk_buff
    let mut asm = Assembler::default();
    asm.load(Op::LoadWord, R::Eight, R::One, LENGTH);
    asm.set(R::Nine, 1);
    count(&mut asm, counters, SEEN);
    asm.jump(Op::JumpIfAtMost, R::Eight, IP + bytes, "pass");
    count(&mut asm, counters, DROPPED);
    asm.leave(2); // TCX_DROP
    asm.label("pass");
    asm.leave(-1); // TCX_NEXT
    asm.finish()
}

/// Puts the offset of the UDP or TCP header into `Eight`. Later fragments have none, and extension headers of
/// IPv6 are not looked through.
fn find_transport(asm: &mut Assembler, protocol: i32) {
    const PROTOCOL: i16 = 16; // offset in struct __sk_buff
    asm.load(Op::LoadWord, R::Seven, R::Six, PROTOCOL);
    asm.jump(Op::JumpIfEqual, R::Seven, network_order(0x86dd), "IPv6");
    asm.jump(Op::JumpIfNotEqual, R::Seven, network_order(0x0800), "pass");

    load_packet(asm, |asm| asm.set(R::Two, IP), 20);
    asm.load(Op::LoadByte, R::One, R::Ten, SCRATCH + 9); // protocol
    asm.jump(Op::JumpIfNotEqual, R::One, protocol, "pass");
    asm.load(Op::LoadHalf, R::One, R::Ten, SCRATCH + 6); // fragment offset
    asm.with(Op::And, R::One, network_order(0x1fff));
    asm.jump(Op::JumpIfNotEqual, R::One, 0, "pass");
    asm.load(Op::LoadByte, R::Eight, R::Ten, SCRATCH); // header length in words
    asm.with(Op::And, R::Eight, 15);
    asm.with(Op::ShiftLeft, R::Eight, 2);
    asm.with(Op::Add, R::Eight, IP);
    asm.jump(Op::Jump, R::Zero, 0, "transport");

    asm.label("IPv6");
    load_packet(asm, |asm| asm.set(R::Two, IP), 40);
    asm.load(Op::LoadByte, R::One, R::Ten, SCRATCH + 6); // next header
    asm.jump(Op::JumpIfNotEqual, R::One, protocol, "pass");
    asm.set(R::Eight, IP + 40);
    asm.label("transport");
}

/// Lets everything pass that does not belong to `port`.
fn recognise(asm: &mut Assembler, port: u16) {
    load_packet(asm, |asm| asm.copy(R::Two, R::Eight), 8);
    asm.load(Op::LoadHalf, R::One, R::Ten, SCRATCH);
    asm.jump(Op::JumpIfEqual, R::One, network_order(port), "ours");
    asm.load(Op::LoadHalf, R::One, R::Ten, SCRATCH + 2);
    asm.jump(Op::JumpIfNotEqual, R::One, network_order(port), "pass");
    asm.label("ours");
}

/// Lets everything pass that is no longer than a word of the UDP handshake, or than what is said on a control
/// connection.
fn has_payload(asm: &mut Assembler, protocol: i32) {
    const LENGTH: i16 = 0; // offset in struct __sk_buff
    if protocol == libc::IPPROTO_TCP {
        asm.load(Op::LoadWord, R::One, R::Six, LENGTH);
        asm.jump(Op::JumpIfAtMost, R::One, 1400, "pass");
        return;
    }
    asm.load(Op::LoadHalf, R::One, R::Ten, SCRATCH + 4); // length with the header
    asm.with(Op::FromNetworkOrder, R::One, 16);
    asm.jump(Op::JumpIfAtMost, R::One, 8 + WORD_BYTES, "pass");
}

/// Puts the datagrams of this packet into `Nine`.
fn count_segments(asm: &mut Assembler) {
    const GSO_SEGMENTS: i16 = 164; // offset in struct __sk_buff; 0 for an ordinary packet
    asm.load(Op::LoadWord, R::Nine, R::Six, GSO_SEGMENTS);
    asm.jump(Op::JumpIfNotEqual, R::Nine, 0, "counted");
    asm.set(R::Nine, 1);
    asm.label("counted");
}

/// Adds the datagrams of this packet to a counter, whose former value is in `Seven` then.
fn count(asm: &mut Assembler, counters: i32, index: u32) {
    const MAP_LOOKUP: i32 = 1; // BPF_FUNC_map_lookup_elem
    asm.load_map(R::One, counters);
    asm.store_word(R::Ten, -4, i32::try_from(index).expect("there are two counters"));
    asm.copy(R::Two, R::Ten);
    asm.with(Op::Add, R::Two, -4);
    asm.call(MAP_LOOKUP);
    asm.jump(Op::JumpIfEqual, R::Zero, 0, "pass");
    asm.copy(R::Seven, R::Nine);
    asm.fetch_add(R::Zero, R::Seven);
}

/// Lets this packet pass unless the rule asks for a number above `Seven` and up to `Seven` + `Nine`.
fn decide(asm: &mut Assembler, rule: Rule) {
    match rule {
        // No datagram has the number 0. The kernel refuses a program with instructions that are never
        // reached.
        Rule::Nothing => decide(asm, Rule::Number(0)),
        Rule::Every(n) => {
            let n = i32::from(n.max(1));
            asm.copy(R::Eight, R::Seven);
            asm.add(R::Eight, R::Nine);
            asm.with(Op::Divide, R::Seven, n);
            asm.with(Op::Divide, R::Eight, n);
            asm.jump_if_same(R::Seven, R::Eight, "pass");
        }
        Rule::Number(number) => {
            let number = i32::try_from(number).expect("no test sends that many");
            asm.jump(Op::JumpIfAtLeast, R::Seven, number, "pass");
            asm.add(R::Seven, R::Nine);
            asm.jump(Op::JumpIfLess, R::Seven, number, "pass");
        }
    }
}

/// Copies bytes of the packet into the scratch memory, from the offset that `offset` puts into `Two`.
fn load_packet(asm: &mut Assembler, offset: impl Fn(&mut Assembler), bytes: i32) {
    const LOAD_BYTES: i32 = 26; // BPF_FUNC_skb_load_bytes
    asm.copy(R::One, R::Six);
    offset(asm);
    asm.copy(R::Three, R::Ten);
    asm.with(Op::Add, R::Three, SCRATCH.into());
    asm.set(R::Four, bytes);
    asm.call(LOAD_BYTES);
    asm.jump(Op::JumpIfNotEqual, R::Zero, 0, "pass");
}

/// What a half word that came from the network is when the program has loaded it as it is.
fn network_order(value: u16) -> i32 {
    value.to_be().into()
}
