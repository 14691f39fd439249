// SPDX-License-Identifier: MIT OR Apache-2.0
//! Device model operations on the borrower.

use xenlend_xen_abi::dm_op::{
    arguments, CreateIoreqServer, DestroyIoreqServer, DmOp, DmOpBuffer, IoreqServerId, IoreqServerRange,
    NrVcpus, SetIoreqServerState, BUFIOREQ_OFF, CREATE_IOREQ_SERVER, DESTROY_IOREQ_SERVER, IO_RANGE_MEMORY,
    MAP_IO_RANGE, NR_VCPUS, SET_IOREQ_SERVER_STATE,
};
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

/// Registers a span of guest-physical addresses, `end` inclusive.
///
/// # Errors
/// Xen's error number.
pub fn map_memory_range(borrower: DomainId, id: IoreqServerId, start: u64, end: u64) -> Result<(), u16> {
    let range = IoreqServerRange { id, kind: IO_RANGE_MEMORY, start, end, ..Default::default() };
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
