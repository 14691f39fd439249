// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the lender removes entries itself: Xen does a part of what it is asked for, or says no, and nothing
//! counts as removed that was not looked at.

use xenlend_protocol::frame::{AperturePage, Mfn};

use crate::mirror::Run;

/// What one call to Xen came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed<E> {
    /// So many pages from the first on were mapped and are not any more.
    Pages(u32),
    /// The first page was not mapped.
    Absent,
    /// The borrower's domain is gone, and its second stage with it.
    DomainGone,
    /// The first page may still be mapped.
    Refused(E),
}

/// What the removal of a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<E> {
    /// So many pages of the run were still mapped.
    Mapped(u32),
    /// The borrower is gone.
    DomainGone,
    /// Xen would not remove them.
    Stuck(E),
}

/// Removes the entries of a run, whatever is left of them. `call` asks Xen for so many pages from one on;
/// `permit` gives the borrower the permission for all frames of the run, which Xen before 4.22 wants for
/// a removal too.
pub fn remove<E>(
    run: &Run,
    mut call: impl FnMut(AperturePage, Mfn, u32) -> Removed<E>,
    mut permit: impl FnMut(),
) -> Found<E> {
    let (mut done, mut mapped, mut permitted) = (0u32, 0u32, false);
    while done < run.count {
        let page = AperturePage(run.page.0.saturating_add(done));
        let mfn = Mfn(run.mfn.0.saturating_add(u64::from(done)));
        let left = run.count.saturating_sub(done);
        match call(page, mfn, left) {
            Removed::Pages(pages) => {
                let pages = pages.clamp(1, left);
                done = done.saturating_add(pages);
                mapped = mapped.saturating_add(pages);
            }
            // One absent page says nothing of its neighbours: what was one large entry may by now be several
            // small ones, some of them removed.
            Removed::Absent => done = done.saturating_add(1),
            Removed::DomainGone => return Found::DomainGone,
            Removed::Refused(error) if permitted => return Found::Stuck(error),
            Removed::Refused(_) => {
                permitted = true;
                permit();
            }
        }
    }
    Found::Mapped(mapped)
}
