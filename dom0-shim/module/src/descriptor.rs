// SPDX-License-Identifier: MIT OR Apache-2.0
//! An open descriptor of `/dev/xen/xenlend`.

use core::ffi::c_ulong;

use xenlend_shim_core::call::{capability, Call, API_VERSION, OLDEST_API_VERSION};
use xenlend_shim_core::events::{Cursor, Event};
use xenlend_shim_core::link::State as LinkState;
use xenlend_shim_core::uapi::{self, AllowBar, Attach, AttachFrontend, RegionRequest, Resolve};

use crate::errno::{Errno, EAGAIN, EBUSY, EILSEQ, EINTR, EINVAL, ENOENT, ENOTCONN, ENOTTY, EPERM, EREMOTEIO};
use crate::hypervisor::Hypervisor;
use crate::kernel_api::lock::Mutex;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::{Mode, PollTable, Woken};
use crate::kernel_api::{user, Core as Module};
use crate::link::Link;
use crate::structure::Structure;
use crate::{attach, bars, frontend, leases};

/// `XENLEND_POLL_EVENT`
const POLL_EVENT: u32 = 1;
/// `XENLEND_POLL_END`
const POLL_END: u32 = 2;

/// What a descriptor is bound to.
struct Binding {
    link: Shared<Link>,
    cursor: Cursor,
    greeting: Option<Event>,
}

/// A descriptor.
pub struct Descriptor {
    number: u32,
    binding: Mutex<Option<Binding>>,
}

fn administrator() -> Result<(), Errno> {
    if user::is_administrator() {
        Ok(())
    } else {
        Err(EPERM)
    }
}

impl Descriptor {
    /// A new one, unbound; `None` if memory is short.
    pub fn new() -> Option<Shared<Self>> {
        let number = Module::links().number_descriptor();
        Shared::new(Self { number, binding: Mutex::new(None)? })
    }

    /// Closed: its regions end. Whatever their pages wait for, this returns.
    pub fn close(&self) {
        let Ok(link) = self.link() else { return };
        // Nobody makes a call on this descriptor any more.
        if link.locked(|state| state.core.lease_from(Some(self.number), 0)).is_none() {
            return;
        }
        let ending = link.begin_ending();
        let running = link.running.lock();
        leases::end_regions(&link, &running, Some(self.number), &mut ending.patience());
        drop(running);
        drop(ending);
    }

    /// `ioctl()`
    pub fn ioctl(&self, request: u32, argument: c_ulong) -> Result<(), Errno> {
        let (call, bytes) = Call::of(request).ok_or(ENOTTY)?;
        let structure = Structure { address: argument, bytes };
        match call {
            Call::Version => {
                let mut bytes = structure.read()?;
                uapi::encode_version(&mut bytes, API_VERSION, OLDEST_API_VERSION);
                structure.write(&bytes)
            }
            Call::Capability => {
                let mut bytes = structure.read()?;
                let number = uapi::decode_capability(&bytes).ok_or(EINVAL)?;
                let kind = self.link().ok().map(|link| link.kind);
                uapi::encode_capability(&mut bytes, capability(number, kind));
                structure.write(&bytes)
            }
            Call::Attach => {
                administrator()?;
                let mut bytes = structure.read()?;
                let mut call = Attach::decode(&bytes);
                attach::attach(&mut call)?;
                call.encode_answer(&mut bytes);
                structure.write(&bytes).inspect_err(|_| {
                    let _ = attach::detach(call.borrower);
                })
            }
            Call::Xen => {
                administrator()?;
                let mut bytes = structure.read()?;
                let borrower = uapi::decode_domain(&bytes).ok_or(EINVAL)?;
                let hypervisor = Hypervisor::probe()?;
                hypervisor.info(borrower)?;
                uapi::encode_xen(&mut bytes, hypervisor.kind(borrower)?.status_flags());
                structure.write(&bytes)
            }
            Call::Detach => {
                administrator()?;
                attach::detach(uapi::decode_domain(&structure.read()?).ok_or(EINVAL)?)
            }
            Call::AllowBar => {
                administrator()?;
                let mut bytes = structure.read()?;
                let mut call = AllowBar::decode(&bytes);
                bars::allow(&mut call)?;
                call.encode_answer(&mut bytes);
                structure.write(&bytes)
            }
            Call::Bind => {
                administrator()?;
                self.bind(uapi::decode_domain(&structure.read()?).ok_or(EINVAL)?)
            }
            Call::AttachFrontend => {
                administrator()?;
                let mut bytes = structure.read()?;
                let mut call = AttachFrontend::decode(&bytes);
                let attached = frontend::attach(&mut call);
                if attached.is_ok() || attached == Err(EREMOTEIO) {
                    call.encode_answer(&mut bytes);
                    structure.write(&bytes)?;
                }
                attached
            }
            Call::DetachFrontend => {
                administrator()?;
                frontend::detach(uapi::decode_domain(&structure.read()?).ok_or(EINVAL)?)
            }
            Call::Status => self.status(structure),
            Call::Region => {
                let call = RegionRequest::decode(&structure.read()?);
                leases::set_region(&self.link()?, &call, self.number)
            }
            Call::Region2 => {
                let call = RegionRequest::decode2(&structure.read()?).ok_or(EILSEQ)?;
                leases::set_region(&self.link()?, &call, self.number)
            }
            Call::Resolve => {
                let call = Resolve::decode(&structure.read()?).ok_or(EINVAL)?;
                Ok(self.link()?.locked(|state| state.core.resolve(&call, self.number))?)
            }
            Call::GetRegion => self.region(structure),
        }
    }

    fn link(&self) -> Result<Shared<Link>, Errno> {
        self.binding.lock().as_ref().map(|binding| binding.link.clone()).ok_or(ENOTCONN)
    }

    fn bind(&self, borrower: u16) -> Result<(), Errno> {
        let mut binding = self.binding.lock();
        if binding.is_some() {
            return Err(EBUSY);
        }
        let link = Module::links().find(borrower).ok_or(ENOENT)?;
        let (cursor, greeting) = link.locked(|state| state.core.greeting());
        *binding = Some(Binding { link, cursor, greeting });
        Ok(())
    }

    /// The link that this descriptor is bound to; an administrator's may ask for any other.
    fn link_of(&self, borrower: u16, next: bool) -> Result<Shared<Link>, Errno> {
        if let Ok(link) = self.link() {
            return Ok(link);
        }
        administrator()?;
        let links = Module::links();
        let found = if next { links.find_from(borrower) } else { links.find(borrower) };
        found.ok_or(ENOENT)
    }

    #[inline(never)]
    fn region(&self, structure: Structure) -> Result<(), Errno> {
        let mut bytes = structure.read()?;
        let (borrower, from) = uapi::decode_region_info(&bytes).ok_or(EINVAL)?;
        let info = self.link_of(borrower, false)?.locked(|state| state.core.region_info(from));
        info.ok_or(ENOENT)?.encode_answer(&mut bytes);
        structure.write(&bytes)
    }

    #[inline(never)]
    fn status(&self, structure: Structure) -> Result<(), Errno> {
        let (borrower, next) = uapi::decode_status(&structure.read()?);
        let link = self.link_of(borrower, next)?;
        let status = link.locked(|state| state.core.status());
        structure.write(&status.encode())
    }

    /// `read()`: whole events; nothing when the link is over and there are no more.
    pub fn read(&self, buffer: c_ulong, size: usize, may_wait: bool) -> Result<usize, Errno> {
        let link = self.link()?;
        let room = size / uapi::EVENT_BYTES;
        if room == 0 {
            return Err(EINVAL);
        }
        loop {
            let seen = link.seen();
            let mut written = 0;
            while written < room {
                let Some((event, place)) = self.next_event(&link) else { break };
                let at = buffer + (written * uapi::EVENT_BYTES) as c_ulong;
                user::write(at, &uapi::encode_event(&event))?;
                // One that another reader was given first is his; the next takes its place in the buffer.
                written += usize::from(self.advance(place));
            }
            if written > 0 {
                return Ok(written * uapi::EVENT_BYTES);
            }
            if Self::is_over(&link) {
                return Ok(0);
            }
            if !may_wait {
                return Err(EAGAIN);
            }
            if link.wait(seen, 0, Mode::Interruptible) == Woken::Signal {
                return Err(EINTR);
            }
        }
    }

    /// The next event, where it stands and the place behind it; `None` for the place of the greeting.
    fn next_event(&self, link: &Link) -> Option<(Event, Option<(Cursor, Cursor)>)> {
        let binding = self.binding.lock();
        let binding = binding.as_ref()?;
        if let Some(greeting) = binding.greeting {
            return Some((greeting, None));
        }
        let before = binding.cursor;
        let (event, behind) = link.locked(|state| state.core.events().next(before))?;
        Some((event, Some((before, behind))))
    }

    /// False if another reader of this descriptor has taken the event.
    fn advance(&self, place: Option<(Cursor, Cursor)>) -> bool {
        let mut binding = self.binding.lock();
        let Some(binding) = binding.as_mut() else { return false };
        let Some((before, behind)) = place else { return binding.greeting.take().is_some() };
        let is_first = binding.cursor == before;
        if is_first {
            binding.cursor = behind;
        }
        is_first
    }

    /// `poll()`: whether there is an event, or the end.
    pub fn poll(&self, table: &PollTable) -> u32 {
        let Ok(link) = self.link() else { return 0 };
        link.wait_queue().poll(table);
        match (Self::is_over(&link), self.next_event(&link).is_some()) {
            (true, _) => POLL_EVENT | POLL_END,
            (false, true) => POLL_EVENT,
            (false, false) => 0,
        }
    }

    /// Whether no event can come any more.
    fn is_over(link: &Link) -> bool {
        link.locked(|state| state.core.state() == LinkState::Detached)
    }
}
