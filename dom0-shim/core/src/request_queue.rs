// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests of the broker that wait for the page-in worker.

use core::ops::DerefMut;

use xenlend_protocol::frame::AperturePage;
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::AccessOperation;

/// One thing for the worker to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The lease.
    pub lease: LeaseId,
    /// The page.
    pub page: AperturePage,
    /// What to do there.
    pub work: Work,
}

/// What to do.
// There is no allocator to put the larger variant elsewhere.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Do an access and answer it; page in as well if the broker wants that.
    Access {
        /// Echoed in the answer.
        id: u32,
        /// First byte in the page.
        offset: u16,
        /// The access.
        operation: AccessOperation,
        /// Whether to page in.
        wants_page: bool,
    },
    /// Page in once more, because the broker said Later so many times.
    Again {
        /// Answers of Later so far.
        tries: u8,
    },
}

/// In an offset, which is below 4096: the access is set aside. A mark elsewhere would take memory for each.
const SET_ASIDE: u16 = 1 << 15;

impl Request {
    fn is_set_aside(&self) -> bool {
        matches!(self.work, Work::Access { offset, .. } if offset & SET_ASIDE != 0)
    }
}

/// No place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A queue over memory that the caller supplies.
#[derive(Debug)]
pub struct RequestQueue<S> {
    places: S,
    head: usize,
    length: usize,
}

impl<S: DerefMut<Target = [Option<Request>]>> RequestQueue<S> {
    /// An empty queue over places that hold nothing.
    pub fn new(places: S) -> Self {
        Self { places, head: 0, length: 0 }
    }

    /// Puts a request at the end.
    ///
    /// # Errors
    /// If there is no place.
    pub fn push(&mut self, request: Request) -> Result<(), Full> {
        if self.length >= self.places.len() {
            return Err(Full);
        }
        let place = self.place(self.length);
        *self.places.get_mut(place).ok_or(Full)? = Some(request);
        self.length = self.length.saturating_add(1);
        Ok(())
    }

    /// Puts a page-in back at the end, unless it waits already. It gets no place of the half that is
    /// kept for accesses: those the broker may always send.
    ///
    /// # Errors
    /// If there is no place.
    pub fn push_again(&mut self, request: Request) -> Result<(), Full> {
        let (lease, page) = (request.lease, request.page);
        let is_same = |other: &Request| {
            other.lease == lease && other.page == page && matches!(other.work, Work::Again { .. })
        };
        if self.places.iter().flatten().any(is_same) {
            return Ok(());
        }
        if self.length >= self.places.len() / 2 {
            return Err(Full);
        }
        self.push(request)
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Request> {
        if self.length == 0 {
            return None;
        }
        let request = self.places.get_mut(self.head)?.take();
        self.head = self.place(1);
        self.length = self.length.saturating_sub(1);
        request
    }

    /// Puts an access at the end that is not for the worker before [`Self::take_back`]. Gives back what is
    /// no access, or finds no place.
    ///
    /// # Errors
    /// The request.
    #[allow(clippy::result_large_err, reason = "it is the caller's own")]
    pub fn set_aside(&mut self, mut request: Request) -> Result<(), Request> {
        if self.length >= self.places.len() {
            return Err(request);
        }
        let Work::Access { offset, .. } = &mut request.work else { return Err(request) };
        *offset |= SET_ASIDE;
        // There is a place.
        let _ = self.push(request);
        Ok(())
    }

    /// Takes the oldest that is not set aside, and whose lease may be entered.
    pub fn pop_ready(&mut self, may_enter: impl Fn(LeaseId) -> bool) -> Option<Request> {
        let is_ready = |request: &Request| !request.is_set_aside() && may_enter(request.lease);
        if self.places.get(self.head)?.as_ref().is_some_and(is_ready) {
            return self.pop();
        }
        let mut found = None;
        // Once around, so that the others keep their order.
        for _ in 0..self.length {
            let request = self.pop()?;
            if found.is_none() && is_ready(&request) {
                found = Some(request);
                continue;
            }
            // There is a place: it was taken out.
            let _ = self.push(request);
        }
        found
    }

    /// Whether [`Self::pop_ready`] would find one.
    pub fn has_ready(&self, may_enter: impl Fn(LeaseId) -> bool) -> bool {
        self.places.iter().flatten().any(|request| !request.is_set_aside() && may_enter(request.lease))
    }

    /// Whether an access of a page is set aside.
    pub fn has_set_aside(&self, lease: LeaseId, page: AperturePage) -> bool {
        let here = |request: &Request| request.lease == lease && request.page == page;
        self.places.iter().flatten().any(|request| request.is_set_aside() && here(request))
    }

    /// What is set aside, of a page or of all, is for the worker again. True if anything was.
    pub fn take_back(&mut self, page: Option<(LeaseId, AperturePage)>) -> bool {
        self.take_back_if(|request| page.is_none_or(|page| page == (request.lease, request.page)))
    }

    /// The same of all pages of a lease.
    pub fn take_back_of(&mut self, lease: LeaseId) -> bool {
        self.take_back_if(|request| request.lease == lease)
    }

    fn take_back_if(&mut self, is_meant: impl Fn(&Request) -> bool) -> bool {
        let mut found = false;
        for request in self.places.iter_mut().flatten() {
            if request.is_set_aside() && is_meant(request) {
                found = true;
                if let Work::Access { offset, .. } = &mut request.work {
                    *offset &= !SET_ASIDE;
                }
            }
        }
        found
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn place(&self, ahead: usize) -> usize {
        self.head.saturating_add(ahead).checked_rem(self.places.len()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(page: u32) -> Request {
        let lease = LeaseId { index: 0, generation: 1 };
        Request { lease, page: AperturePage(page), work: Work::Again { tries: 1 } }
    }

    #[test]
    fn page_ins_that_are_put_back_leave_room_for_accesses() {
        let mut queue = RequestQueue::new(vec![None; 6]);
        for _ in 0..10 {
            queue.push_again(request(7)).unwrap();
        }
        assert_eq!(queue.pop(), Some(request(7)));
        assert!(queue.is_empty(), "the same page waits once");
        for page in 0..3 {
            queue.push_again(request(page)).unwrap();
        }
        assert_eq!(queue.push_again(request(3)), Err(Full));
        for page in 10..13 {
            queue.push(request(page)).unwrap();
        }
        assert_eq!(queue.push(request(13)), Err(Full));
    }

    #[test]
    fn first_in_first_out_for_ever_and_never_more_than_fits() {
        let mut queue = RequestQueue::new(vec![None; 3]);
        let (mut pushed, mut popped) = (0, 0);
        for _ in 0..20 {
            while queue.push(request(pushed)).is_ok() {
                pushed += 1;
            }
            assert_eq!(pushed - popped, 3);
            for _ in 0..2 {
                assert_eq!(queue.pop(), Some(request(popped)));
                popped += 1;
            }
        }
        assert!(!queue.is_empty());
        assert_eq!(queue.pop(), Some(request(popped)));
        assert_eq!(queue.pop(), None);
        assert!(queue.is_empty());
    }
}
