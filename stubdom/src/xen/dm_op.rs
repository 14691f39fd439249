// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device model operations on the borrower.

use xenlend_xen_abi::dm_op::{
    arguments, CreateIoreqServer, DestroyIoreqServer, DmOp, DmOpBuffer, IoreqServerId, IoreqServerRange,
    NrVcpus, SetIoreqServerState, BUFIOREQ_OFF, CREATE_IOREQ_SERVER, DESTROY_IOREQ_SERVER, MAP_IO_RANGE,
    NR_VCPUS, SET_IOREQ_SERVER_STATE,
};
use xenlend_xen_abi::lend::{self, Change, Entry, Query};
use xenlend_xen_abi::{errno, hypercall, DomainId};

use super::hypercall::call;

/// Creates an ioreq server for synchronous requests only.
///
/// # Errors
/// Xen's error number.
pub fn create_ioreq_server(borrower: DomainId) -> Result<IoreqServerId, u16> {
    let server = CreateIoreqServer { handle_bufioreq: BUFIOREQ_OFF, ..Default::default() };
    Ok(perform(borrower, CREATE_IOREQ_SERVER, server)?.id)
}

/// Registers a span of guest-physical addresses, `end` inclusive, of a kind `IO_RANGE_*`.
///
/// # Errors
/// Xen's error number.
pub fn map_range(borrower: DomainId, id: IoreqServerId, kind: u32, start: u64, end: u64) -> Result<(), u16> {
    let range = IoreqServerRange { id, kind, start, end, ..Default::default() };
    perform(borrower, MAP_IO_RANGE, range).map(|_| ())
}

/// Lets the server have requests, or no new ones. Xen pauses the borrower meanwhile, so afterwards no vCPU
/// stands between choosing this server and writing its request.
///
/// # Errors
/// Xen's error number.
pub fn set_state(borrower: DomainId, id: IoreqServerId, enabled: bool) -> Result<(), u16> {
    let state = SetIoreqServerState { id, enabled: enabled.into(), pad: 0 };
    perform(borrower, SET_IOREQ_SERVER_STATE, state).map(|_| ())
}

/// Takes the server off the borrower. A vCPU that waits for it would wait for ever.
///
/// # Errors
/// Xen's error number.
pub fn destroy_ioreq_server(borrower: DomainId, id: IoreqServerId) -> Result<(), u16> {
    perform(borrower, DESTROY_IOREQ_SERVER, DestroyIoreqServer { id, pad: 0 }).map(|_| ())
}

/// The borrower's vCPUs, fixed when it was created.
///
/// # Errors
/// Xen's error number.
pub fn vcpu_count(borrower: DomainId) -> Result<u32, u16> {
    Ok(perform(borrower, NR_VCPUS, NrVcpus::default())?.vcpus)
}

/// What Xen can do about lending to this borrower, if it is lend-aware.
///
/// # Errors
/// Xen's error number: `EOPNOTSUPP` from stock Xen.
pub fn lend_query(borrower: DomainId) -> Result<Query, u16> {
    perform(borrower, lend::QUERY, Query::default())
}

/// Lends and revokes what the entries say, with one flush.
///
/// # Errors
/// The pages that were handled before the one that failed, in order, and Xen's error number.
pub fn lend_change(borrower: DomainId, entries: &mut [Entry]) -> Result<(), (u64, u16)> {
    let nr = entries.len() as u32;
    let mut asked = DmOp::new(lend::CHANGE, Change { nr, ..Default::default() });
    let buffers = [
        DmOpBuffer { handle: (&raw mut asked) as u64, size: size_of::<DmOp<Change>>() as u64 },
        DmOpBuffer { handle: entries.as_mut_ptr() as u64, size: size_of_val(entries) as u64 },
    ];
    let registers = [u64::from(borrower), buffers.len() as u64, buffers.as_ptr() as u64, 0, 0];
    // SAFETY: the two buffers announced hold the operation and its entries; Xen writes nothing else.
    let result = errno::check(unsafe { call(hypercall::DM_OP, registers) });
    // SAFETY: Xen wrote it during the call, through an address that the compiler saw as a number only.
    let done = unsafe { (&raw const asked.payload.done).read_volatile() };
    result.map(|_| ()).map_err(|errno| (done, errno))
}

fn perform<P: Copy>(borrower: DomainId, operation: u32, payload: P) -> Result<P, u16> {
    let mut asked = DmOp::new(operation, payload);
    let buffer = DmOpBuffer { handle: (&raw mut asked) as u64, size: size_of::<DmOp<P>>() as u64 };
    let registers = arguments(borrower, (&raw const buffer) as u64);
    let [first, second, third] = registers;
    // SAFETY: the one buffer announced holds the operation and its payload; Xen writes nothing else.
    errno::check(unsafe { call(hypercall::DM_OP, [first, second, third, 0, 0]) })?;
    // SAFETY: Xen wrote it during the call, through an address that the compiler saw as a number only.
    Ok(unsafe { (&raw const asked.payload).read_volatile() })
}
