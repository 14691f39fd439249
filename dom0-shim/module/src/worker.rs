// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page-in worker: one thread for each link, which may wait for a page as long as it takes.
//!
//! Nobody waits for it: neither a notifier, nor the end of a region, nor detach.

use heapless::Vec;
use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::{AccessOperation, AccessOutcome, MAX_ACCESS_BYTES};
use xenlend_shim_core::link::{Completion, NotSent};
use xenlend_shim_core::regions::Phase;
use xenlend_shim_core::request_queue::{Request, Work};

use crate::kernel_api::address_space::AddressSpace;
use crate::kernel_api::region::RegionObject;
use crate::kernel_api::wait::Mode;
use crate::kernel_api::worker::resume;
use crate::link::Link;
use crate::lookup::Scratch;
use crate::page_in::{complete, Job};
use crate::{force, log_error};

/// The thread's main function.
pub fn work(link: &Link) {
    let Some(mut scratch) = Scratch::new() else {
        log_error!("dom{}: no memory for the page-in worker", link.borrower);
        return;
    };
    loop {
        let (stopping, reason, request, seen) = link.locked(|state| {
            Link::drain(state);
            let reason = state.core.needs_force();
            let request = if reason.is_none() { state.core.pop_request() } else { None };
            (state.stopping, reason, request, link.seen())
        });
        if stopping {
            return;
        }
        if let Some(reason) = reason {
            force::revoke_all(link, reason);
        } else if let Some(request) = request {
            serve(link, request, &mut scratch);
            // A region's end may have interrupted a fault; the next one is another matter.
            resume();
        } else {
            link.wait(seen, 0, Mode::Idle);
        }
    }
}

fn serve(link: &Link, request: Request, scratch: &mut Scratch) {
    let Request { lease, page, work } = request;
    let Some((object, address)) = enter(link, lease, page) else {
        return answer(link, lost(&work));
    };
    if let Some(space) = AddressSpace::enter(&object) {
        let (completion, wants_page, laters) = match work {
            Work::Again { tries } => (None, true, tries),
            Work::Access { id, offset, operation, wants_page } => {
                let outcome = access(&space, address.saturating_add(u64::from(offset)), &operation);
                (Some(Completion { id, outcome }), wants_page, 0)
            }
        };
        if wants_page {
            Job { link, lease, page, laters, completion }.run(&object, &space, scratch);
        } else {
            answer(link, completion);
        }
    } else {
        lose(link, lease);
        answer(link, lost(&work));
    }
    link.locked(|state| state.worker_in = None);
}

/// The answer to an access whose page is not there for good.
fn lost(work: &Work) -> Option<Completion> {
    match *work {
        Work::Access { id, .. } => Some(Completion { id, outcome: AccessOutcome::Lost }),
        Work::Again { .. } => None,
    }
}

fn answer(link: &Link, completion: Option<Completion>) {
    if let Some(completion) = completion {
        complete(link, &completion);
    }
}

/// The region's object and the byte of the process behind the page, if the lease is active.
fn enter(link: &Link, lease: LeaseId, page: AperturePage) -> Option<(RegionObject, u64)> {
    link.locked(|state| {
        let region = state.core.region(lease)?;
        if region.phase != Phase::Active || region.is_lost {
            return None;
        }
        let address = region.user_address_of(page)?;
        let object = state.objects.get(usize::from(lease.index))?.clone()?;
        state.worker_in = Some(lease);
        Some((object, address))
    })
}

/// Does an access on the page, where it is now. The processor's own translation is the sequence
/// rule: it hits the page's present home or faults it in.
fn access(space: &AddressSpace<'_>, address: u64, operation: &AccessOperation) -> AccessOutcome {
    match operation {
        AccessOperation::Read { length } => {
            let mut bytes = Vec::<u8, MAX_ACCESS_BYTES>::new();
            let sized = bytes.resize_default(usize::from(*length));
            match sized.map(|()| space.read(address, &mut bytes)) {
                Ok(Ok(())) => AccessOutcome::Read { bytes },
                _ => AccessOutcome::Lost,
            }
        }
        AccessOperation::Write { bytes } => match space.write(address, bytes) {
            Ok(()) => AccessOutcome::Written,
            Err(_) => AccessOutcome::Lost,
        },
    }
}

/// The process is gone for good: so are the pages of its region.
fn lose(link: &Link, lease: LeaseId) {
    let told = link.wait_for_broker(Mode::Uninterruptible, |state| match state.core.declare_lost(lease) {
        Err(NotSent::Full) if !state.stopping => None,
        _ => Some(()),
    });
    if let Err(end) = told {
        force::revoke_all(link, force::reason_of(end));
    }
}
