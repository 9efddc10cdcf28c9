//! eBPF instructions with names. Codes are those of linux/bpf.h and linux/bpf_common.h.

/// One instruction as the kernel takes it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// The source in the upper half, the destination in the lower.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The registers. `Ten` is the end of the stack, `Zero` what a call returns; a call takes `One` to `Five`.
#[derive(Clone, Copy, Debug)]
pub enum Register {
    Zero,
    One,
    Two,
    Three,
    Four,
    Six,
    Seven,
    Eight,
    Nine,
    Ten,
}

impl Register {
    fn number(self) -> u8 {
        match self {
            Self::Zero => 0,
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
            Self::Six => 6,
            Self::Seven => 7,
            Self::Eight => 8,
            Self::Nine => 9,
            Self::Ten => 10,
        }
    }
}

/// What a load, a jump or a calculation with a constant does; numbers have no sign.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    LoadByte,
    LoadHalf,
    LoadWord,
    Add,
    And,
    Divide,
    ShiftLeft,
    /// The constant is the number of bits.
    FromNetworkOrder,
    Jump,
    JumpIfEqual,
    JumpIfNotEqual,
    JumpIfAtLeast,
    JumpIfAtMost,
    JumpIfLess,
}

impl Operation {
    fn code(self) -> u8 {
        match self {
            Self::LoadByte => 0x71,
            Self::LoadHalf => 0x69,
            Self::LoadWord => 0x61,
            Self::Add => 0x07,
            Self::And => 0x57,
            Self::Divide => 0x37,
            Self::ShiftLeft => 0x67,
            Self::FromNetworkOrder => 0xdc,
            Self::Jump => 0x05,
            Self::JumpIfEqual => 0x15,
            Self::JumpIfNotEqual => 0x55,
            Self::JumpIfAtLeast => 0x35,
            Self::JumpIfAtMost => 0xb5,
            Self::JumpIfLess => 0xa5,
        }
    }
}

/// A program that grows, with jumps to names.
#[derive(Default)]
pub struct Assembler {
    code: Vec<Instruction>,
    /// Where a jump stands, and where it goes.
    jumps: Vec<(usize, &'static str)>,
    labels: Vec<(&'static str, usize)>,
}

impl Assembler {
    /// `to` = the memory at `from` + `offset`.
    pub fn load(&mut self, load: Operation, to: Register, from: Register, offset: i16) {
        self.push(load.code(), to, from.number(), (offset, 0));
    }

    /// The memory at `to` + `offset` = a word.
    pub fn store_word(&mut self, to: Register, offset: i16, word: i32) {
        self.push(0x62, to, 0, (offset, word));
    }

    /// `to` = `from`.
    pub fn copy(&mut self, to: Register, from: Register) {
        self.push(0xbf, to, from.number(), (0, 0));
    }

    /// `to` = a constant.
    pub fn set(&mut self, to: Register, constant: i32) {
        self.push(0xb7, to, 0, (0, constant));
    }

    /// `to` = `to` + `other`.
    pub fn add(&mut self, to: Register, other: Register) {
        self.push(0x0f, to, other.number(), (0, 0));
    }

    /// `to` = `to` with a constant.
    pub fn with(&mut self, operation: Operation, to: Register, constant: i32) {
        self.push(operation.code(), to, 0, (0, constant));
    }

    /// Adds `value` to the double word at `address`, at once for all processors; `value` = what was there.
    pub fn fetch_add(&mut self, address: Register, value: Register) {
        const ADD_AND_FETCH: i32 = 1;
        self.push(0xdb, address, value.number(), (0, ADD_AND_FETCH));
    }

    /// `to` = the map with this descriptor.
    pub fn load_map(&mut self, to: Register, descriptor: i32) {
        const MAP_DESCRIPTOR: u8 = 1;
        self.push(0x18, to, MAP_DESCRIPTOR, (0, descriptor));
        self.push(0, Register::Zero, 0, (0, 0));
    }

    /// Calls a function of the kernel by its number.
    pub fn call(&mut self, function: i32) {
        self.push(0x85, Register::Zero, 0, (0, function));
    }

    /// Goes on at `label`, if `one` compares so with a constant.
    pub fn jump(&mut self, jump: Operation, one: Register, constant: i32, label: &'static str) {
        self.jumps.push((self.code.len(), label));
        self.push(jump.code(), one, 0, (0, constant));
    }

    /// Goes on at `label`, if both are equal.
    pub fn jump_if_same(&mut self, one: Register, other: Register, label: &'static str) {
        self.jumps.push((self.code.len(), label));
        self.push(0x1d, one, other.number(), (0, 0));
    }

    /// What comes next has this name.
    pub fn label(&mut self, name: &'static str) {
        self.labels.push((name, self.code.len()));
    }

    /// Ends with a constant.
    pub fn leave(&mut self, result: i32) {
        self.set(Register::Zero, result);
        self.push(0x95, Register::Zero, 0, (0, 0));
    }

    /// The whole program, with all jumps resolved.
    pub fn finish(mut self) -> Vec<Instruction> {
        for (from, name) in self.jumps {
            let (_, to) =
                self.labels.iter().find(|(label, _)| *label == name).expect("each jump has its label");
            // Jumps go forward and count from the instruction behind them.
            self.code[from].offset = i16::try_from(to - from - 1).expect("it is a short program");
        }
        self.code
    }

    fn push(&mut self, code: u8, to: Register, from: u8, (offset, immediate): (i16, i32)) {
        self.code.push(Instruction { code, registers: from << 4 | to.number(), offset, immediate });
    }
}
