// SPDX-License-Identifier: MIT OR Apache-2.0
//! The BARs that may be lent from: naming one, and what becomes of it when its device changes
//! hands.
//!
//! A BAR stays named as long as its device has the driver that it had, and the BAR is where it was.
//! Afterwards its frames may be another device's, or its device another domain's. The bus tells
//! before and after each change: of a BAR that is named in between the second word takes care.

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_shim_core::bars::{self, Device as _, FrameRun, Named};
use xenlend_shim_core::counters::add;
use xenlend_shim_core::mirror::Run;
use xenlend_shim_core::patience::{For, Patience};
use xenlend_shim_core::uapi::AllowBar;

use crate::errno::{Errno, EINVAL, ENODEV, ENOENT, ENOSPC};
use crate::kernel_api::pci::Device;
use crate::kernel_api::Core as Module;
use crate::link::Link;
use crate::log_information;
use crate::revoke::{self, Pages};

/// The BARs of one link.
pub type Bars = bars::Bars<Device>;

/// `XENLEND_ALLOW_BAR`; fills in the answer.
#[inline(never)] // keeps its frame off the other calls' stacks
pub fn allow(request: &mut AllowBar) -> Result<(), Errno> {
    if request.reserved != 0 {
        return Err(EINVAL);
    }
    let link = Module::links().find(request.borrower).ok_or(ENOENT)?;
    let running = link.begin_call()?;
    if running.ended {
        return Err(ENOENT);
    }
    let (segment, bus, devfn) = (request.segment, request.bus, request.devfn);
    let find = || Device::find(segment, bus, devfn).ok_or(ENODEV);
    withdraw_moved(&link);
    let device = find()?;
    request.frames = name(&link, find()?, request.bar)?;
    // Of one that has left the bus before it was named there is no word any more.
    if !find().is_ok_and(|now| now == device) {
        withdraw(&link, |bars| bars.take_of(&device));
        return Err(ENODEV);
    }
    drop(running);
    Ok(())
}

/// Names a BAR, unless it is named already. Gives the number of its frames.
fn name(link: &Link, device: Device, number: u8) -> Result<u64, Errno> {
    let naming = link.naming.lock();
    if let Some(bar) = link.bars.lock().find(&device, number) {
        return Ok(bar.frames());
    }
    let place = device.place(number).ok_or(EINVAL)?;
    let msix = device.msix(number)?;
    let run = |offset, bytes| FrameRun::touched(place.address.checked_add(offset)?, bytes);
    let excluded = [run(msix.table_offset, msix.table_bytes), run(msix.pending_offset, msix.pending_bytes)];
    let bar = Named::new(device, number, place, excluded).ok_or(EINVAL)?;
    let frames = bar.frames();
    let mut bars = link.bars.lock();
    if !bars.has_place() {
        return Err(ENOSPC);
    }
    link.frames.lock().give(&bar.allowed)?;
    let _ = bars.allow(bar);
    drop(bars);
    drop(naming);
    Ok(frames)
}

/// A driver comes to a device or leaves it, or the device goes. When this returns nothing of it is
/// lent.
pub fn on_change(device: &Device) {
    let mut from = 0;
    while let Some(link) = Module::links().find_from(from) {
        withdraw(&link, |bars| bars.take_of(device));
        let Some(next) = link.borrower.checked_add(1) else { return };
        from = next;
    }
}

/// Withdraws what is somewhere else now, or larger or smaller: nobody tells of that.
pub fn withdraw_moved(link: &Link) {
    withdraw(link, Bars::take_moved);
}

fn withdraw(link: &Link, mut take: impl FnMut(&mut Bars) -> Option<Named<Device>>) {
    let naming = link.naming.lock();
    let mut patience = link.patience(For::Nobody);
    loop {
        // From here on a lookup finds that its frames may not be lent.
        let taken = take(&mut link.bars.lock());
        let Some(bar) = taken else { break };
        revoke_frames(link, &bar, &mut patience);
        // Last: a removal needs the permission.
        let failures = link.frames.lock().take(&bar.allowed);
        link.locked(|state| add(&mut state.core.counters().deny_failures, failures));
        log_information!(
            "dom{}: BAR {} at {:#x} may be lent no more: its device changes hands, or the BAR has moved",
            link.borrower,
            bar.number,
            bar.place.address
        );
    }
    drop(naming);
}

/// Revokes what is lent of a BAR that is named no more. Mostly there is nothing: a driver that
/// leaves its device takes the processes' mappings away first.
fn revoke_frames(link: &Link, bar: &Named<Device>, patience: &mut Patience) {
    // A page-in that has seen the frames is overtaken here, or is in the mirror already.
    link.locked(|state| state.core.overtake_page_ins());
    let mut index = 0;
    while let Some((lease, mut from, end)) = link.locked(|state| {
        let lease = state.core.lease_from(None, index)?;
        let region = state.core.region(lease)?;
        Some((lease, region.first, region.first.0.saturating_add(region.count)))
    }) {
        index = lease.index.saturating_add(1);
        while let Some(run) = find_present(link, lease, from, end) {
            if bar.overlaps(&run.frames()) {
                revoke::revoke_within(link, &Pages { lease, first: run.page, count: run.count }, patience);
            }
            from = AperturePage(run.page.0.saturating_add(run.count));
        }
    }
}

fn find_present(link: &Link, lease: LeaseId, from: AperturePage, end: u32) -> Option<Run> {
    link.locked(|state| state.core.find_present(lease, from, end.saturating_sub(from.0)))
}
