// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accesses to absent pages, with dom0 as the broker that is asked.

use anyhow::{ensure, Result};

use crate::frames::Frames;
use crate::lend::{Borrower, Entry, NOBODY, SELF};
use crate::refusals::expect;
use crate::server::{Fault, Server};
use crate::window::{hex, End, Window};

const KIND: u8 = 9;
/// The answers of a broker.
pub const RETRY: u64 = 0;
/// Never again.
pub const LOST: u64 = 1;
const REFUSED: u64 = 2;
/// The access reads.
pub const READ: u64 = 1;
const WRITE: u64 = 2;
const READ_ONLY: u64 = 16;
const COUNTED: u64 = 200_000_000;
const REVOCATIONS: u64 = 500;

/// The fault of eight bytes in a page, as those of the window's programs.
pub fn fault(window: &Window, page: u64, bits: u64) -> Fault {
    Fault { kind: KIND, address: (window.gfn(page) << 12) + 8, bits, is_read: bits & WRITE == 0 }
}

/// All of it.
pub fn all(b: &Borrower, window: &Window, page: &Frames, run: &Frames) -> Result<()> {
    let (first, last) = window.span();
    let lend = |at, frame| Entry::lend(window.gfn(at), 1, frame);
    expect("release", b.release(0, &[(page.mfn, 1)]), (0, 1))?;
    let server = Server::create(b, first, last)?;

    page.write(8, 4711);
    let program = window.start_peek(5)?;
    expect("a read faults", server.next(&program)?, fault(window, 5, READ))?;
    expect("lend", b.change(&[lend(5, page.mfn)]), (0, 1))?;
    server.answer(RETRY)?;
    expect("the guest has read", program.end()?, End::Said(hex(4711)))?;

    let program = window.start_poke(6, 4712)?;
    // The processor does not say that a write does not read.
    expect("a write faults", server.next(&program)?, fault(window, 6, READ | WRITE))?;
    expect("lend", b.change(&[lend(6, run.mfn)]), (0, 1))?;
    server.answer(RETRY)?;
    expect("the guest has written", program.end()?, End::Said(String::new()))?;
    expect("it is there", run.read(8), 4712)?;

    let program = window.start_peek(7)?;
    expect("another read faults", server.next(&program)?, fault(window, 7, READ))?;
    server.answer(LOST)?;
    // Rust's own handler of the signal looks at the address and has the instruction run once more.
    expect("and once more", server.next(&program)?, fault(window, 7, READ))?;
    server.answer(LOST)?;
    expect("a loss kills the program", program.end()?, End::Killed)?;

    let entry = Entry { flags: 1, ..lend(8, run.mfn + 1) };
    expect("lend read-only", b.change(&[entry]), (0, 1))?;
    let program = window.start_poke(8, 1)?;
    expect("a write to it faults", server.next(&program)?, fault(window, 8, READ | WRITE | READ_ONLY))?;
    server.answer(REFUSED)?;
    expect("and once more", server.next(&program)?, fault(window, 8, READ | WRITE | READ_ONLY))?;
    server.answer(REFUSED)?;
    expect("a refusal kills the program", program.end()?, End::Killed)?;

    counted(b, window, run, &server)?;

    let program = window.start_peek(9)?;
    expect("a read waits", server.next(&program)?, fault(window, 9, READ))?;
    expect("the broker goes", b.parties(NOBODY, NOBODY, 0), 0)?;
    expect("which wakes and kills the program", program.end()?, End::Killed)?;
    expect("its server has gone", b.server(6, &[server.id]).0, libc::ENOENT)?;
    expect("what is lent stays", window.peek(5, 8)?, End::Said(hex(4711)))?;
    expect("the lender goes", b.parties(NOBODY, SELF, 1), 0)?;
    expect("nothing is left", b.query().1.present, 0)?;
    expect("and nobody to ask", window.peek(5, 8)?, End::Killed)
}

/// Locked increments of a counter in a page that is revoked again and again.
fn counted(b: &Borrower, window: &Window, run: &Frames, server: &Server) -> Result<()> {
    let here = Entry::lend(window.gfn(10), 1, run.mfn + 2);
    let program = window.start_count(10, COUNTED)?;
    let (mut revocations, mut amid) = (0, 0);
    // How far it gets between two revocations is Xen's scheduler's business.
    while let Some(fault) = server.next_unless_over(&program)? {
        ensure!(fault.kind == KIND, "no fault");
        ensure!(b.change(&[here]) == (0, 1), "lend");
        server.answer(RETRY)?;
        if revocations < REVOCATIONS {
            ensure!(b.change(&[Entry::revoke(here.gfn, 1)]) == (0, 1), "revoke");
            revocations += 1;
            amid += u64::from((1..COUNTED).contains(&run.read(2 * 4096)));
        }
    }
    expect("every increment counts", program.end()?, End::Said(format!("sum={COUNTED} expected={COUNTED}")))?;
    ensure!(amid > 0, "no revocation fell among the increments");
    println!(
        "     {revocations} revocations meanwhile, {amid} of them with some increments done and some to do"
    );
    expect("revoke", b.change(&[Entry::revoke(here.gfn, 1)]), (0, 1))
}
