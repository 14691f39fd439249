// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processor's exceptions: each is a bug of the broker, named on the console before the domain ends.
//! Without handlers a fault would end it silently, as a triple fault.

use core::arch::asm;

use crate::single::Single;

const VECTORS: usize = 32;
const STUB_BYTES: u64 = 16;
const CODE_SELECTOR: u64 = 8;
const TASK_SELECTOR: u16 = 24;
const STACK_BYTES: usize = 16 << 10;

/// What entry.s and the processor leave on the stack.
#[repr(C)]
pub struct Frame {
    vector: u64,
    error: u64,
    instruction: u64,
    code_segment: u64,
    flags: u64,
    stack: u64,
}

/// The task state: only its first interrupt stack is used.
#[repr(C, packed(4))]
struct TaskState {
    reserved0: u32,
    privilege_stacks: [u64; 3],
    reserved1: u64,
    interrupt_stacks: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map_base: u16,
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

#[repr(C, align(16))]
struct Stack([u8; STACK_BYTES]);

/// A stack of their own: the fault may be an overflow of the other one, and code compiled for a hosted
/// target keeps data below its stack pointer.
static STACK: Single<Stack> = Single::new(Stack([0; STACK_BYTES]));
static TASK: Single<TaskState> = Single::new(TaskState {
    reserved0: 0,
    privilege_stacks: [0; 3],
    reserved1: 0,
    interrupt_stacks: [0; 7],
    reserved2: 0,
    reserved3: 0,
    io_map_base: size_of::<TaskState>() as u16,
});
/// Null, code, data, and the task state's two words.
static SEGMENTS: Single<[u64; 5]> = Single::new([0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0]);
static GATES: Single<[[u64; 2]; VECTORS]> = Single::new([[0; 2]; VECTORS]);

extern "C" {
    static exception_stubs: u8;
}

/// Puts the handlers in place.
///
/// # Panics
/// If it has been called before.
pub fn install() {
    const ONCE: &str = "the exceptions' handlers are put in place once";
    let stack = STACK.take().expect(ONCE);
    let task = TASK.take().expect(ONCE);
    let segments = SEGMENTS.take().expect(ONCE);
    let gates = GATES.take().expect(ONCE);

    task.interrupt_stacks[0] = &raw mut *stack as u64 + STACK_BYTES as u64;
    let task = &raw mut *task as u64;
    let limit = size_of::<TaskState>() as u64 - 1;
    // Available 64-bit task state, present.
    segments[3] = limit | (task & 0xff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56;
    segments[4] = task >> 32;
    for (gate, vector) in gates.iter_mut().zip(0..) {
        let stub = &raw const exception_stubs as u64 + vector * STUB_BYTES;
        // Interrupt gate, present, first interrupt stack.
        *gate = [
            stub & 0xffff | CODE_SELECTOR << 16 | 1 << 32 | 0x8e << 40 | (stub >> 16 & 0xffff) << 48,
            stub >> 32,
        ];
    }
    let (segments, gates) = (&raw mut *segments as u64, &raw mut *gates as u64);
    // SAFETY: the processor alone uses the four statics from here on, since nobody else can get them; the
    // selectors below name the descriptors written here, and the code and data descriptors equal those in use.
    unsafe {
        let pointer = TablePointer { limit: size_of::<[u64; 5]>() as u16 - 1, base: segments };
        asm!("lgdt [{}]", in(reg) &raw const pointer, options(nostack, preserves_flags));
        asm!("ltr {:x}", in(reg) TASK_SELECTOR, options(nostack, preserves_flags));
        let pointer = TablePointer { limit: size_of::<[[u64; 2]; VECTORS]>() as u16 - 1, base: gates };
        asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, preserves_flags));
    }
}

/// Where every stub ends.
#[no_mangle]
extern "C" fn exception_entry(frame: &Frame, fault_address: u64) -> ! {
    panic!(
        "exception {} error {:#x} at {:#x}, stack {:#x}, flags {:#x}, segment {:#x}, cr2 {fault_address:#x}",
        frame.vector, frame.error, frame.instruction, frame.stack, frame.flags, frame.code_segment
    );
}
