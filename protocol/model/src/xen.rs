// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stock Xen does: entries, pauses, faults, and how it kills a borrower.

use crate::state::{Crash, Frame, Page, RequestState, Server, State, Vcpu, Xen};

/// What a removal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// An entry was there.
    Entry,
    /// `-EINVAL`
    Absent,
    /// `-EPERM`
    Refused,
    /// `-ESRCH`
    NoDomain,
}

impl Xen {
    /// Whether some vCPU is on a processor inside Xen: a pause waits for it.
    pub fn is_on_processor(&self) -> bool {
        self.vcpus.iter().any(|vcpu| matches!(vcpu, Vcpu::Exiting { .. } | Vcpu::Emulating { .. }))
    }

    /// The broker's add. False if Xen refuses.
    pub fn add(&mut self, page: Page, frame: Frame) -> bool {
        if !self.alive {
            return false;
        }
        if self.entries[page].is_some_and(|other| other != frame) {
            self.crash = Some(Crash::Replaced);
            return false;
        }
        self.entries[page] = Some(frame);
        true
    }

    /// A removal, by the broker or by the lender's domain. Xen does not look at the frame.
    pub fn remove(&mut self, page: Page) -> Removed {
        if !self.alive {
            return Removed::NoDomain;
        }
        if !self.permitted[page] {
            return Removed::Refused;
        }
        match self.entries[page].take() {
            Some(_) => Removed::Entry,
            None => Removed::Absent,
        }
    }

    /// The end of the borrower: nothing of it touches anything any more.
    pub fn destroy_borrower(&mut self) {
        self.alive = false;
        self.entries = [None; 2];
        self.vcpus = [Vcpu::InGuest; 2];
    }
}

/// A vCPU in the guest touches a page that is absent, and leaves the guest.
pub fn touch(state: &mut State, vcpu: usize, page: Page, repeats: bool) {
    state.world.touches[vcpu] -= 1;
    state.xen.vcpus[vcpu] = Vcpu::Exiting { page, repeats };
}

/// `hvm_hap_nested_page_fault`: looks at the entry again, under the lock.
pub fn end_exit(state: &mut State, vcpu: usize) {
    let Vcpu::Exiting { page, repeats } = state.xen.vcpus[vcpu] else { return };
    if state.xen.entries[page].is_some() {
        state.xen.crash = Some(Crash::Fault);
        return;
    }
    state.xen.vcpus[vcpu] = match state.xen.server {
        Server::Enabled => Vcpu::Waiting { page, repeats, state: RequestState::Ready },
        // The null handler: ones, and writes go nowhere.
        Server::Disabled | Server::Destroyed => Vcpu::InGuest,
    };
}

/// `wait_for_io`: the vCPU takes its answer; the slot's state becomes NONE before the re-emulation.
pub fn take_answer(state: &mut State, vcpu: usize) {
    if let Vcpu::Waiting { page, repeats, .. } = state.xen.vcpus[vcpu] {
        state.xen.vcpus[vcpu] = Vcpu::Emulating { page, repeats };
    }
}

/// The re-emulation.
pub fn end_emulation(state: &mut State, vcpu: usize) {
    let Vcpu::Emulating { page, repeats } = state.xen.vcpus[vcpu] else { return };
    if repeats && state.xen.entries[page].is_some() {
        state.xen.crash = Some(Crash::RepeatedStore);
        return;
    }
    state.xen.vcpus[vcpu] = Vcpu::InGuest;
}
