// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XEN_DMOP_*` (`public/hvm/dm_op.h`): emulating devices for one domain. A stable interface.

use crate::DomainId;

/// `XEN_DMOP_create_ioreq_server`.
pub const CREATE_IOREQ_SERVER: u32 = 1;
/// `XEN_DMOP_get_ioreq_server_info`.
pub const GET_IOREQ_SERVER_INFO: u32 = 2;
/// `XEN_DMOP_map_io_range_to_ioreq_server`.
pub const MAP_IO_RANGE: u32 = 3;
/// `XEN_DMOP_set_ioreq_server_state`.
pub const SET_IOREQ_SERVER_STATE: u32 = 5;
/// `XEN_DMOP_destroy_ioreq_server`.
pub const DESTROY_IOREQ_SERVER: u32 = 6;
/// `XEN_DMOP_remote_shutdown`.
pub const REMOTE_SHUTDOWN: u32 = 16;
/// `XEN_DMOP_nr_vcpus`.
pub const NR_VCPUS: u32 = 20;
/// `XEN_DMOP_IO_RANGE_MEMORY`.
pub const IO_RANGE_MEMORY: u32 = 1;
/// `HVM_IOREQSRV_BUFIOREQ_OFF`: every request is synchronous.
pub const BUFIOREQ_OFF: u8 = 0;
/// `XEN_DMOP_no_gfns`: no frames of the borrower are used up for the request page.
pub const NO_GFNS: u16 = 1;

/// `ioservid_t`.
pub type IoreqServerId = u16;

/// `struct xen_dm_op` with one member of its union. Xen copies as many bytes as that member has.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DmOp<P> {
    /// One of the operations above.
    pub op: u32,
    /// Zero.
    pub pad: u32,
    /// The union member.
    pub payload: P,
}

/// `struct xen_dm_op_buf`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct DmOpBuffer {
    /// Address in the caller's memory.
    pub handle: u64,
    /// Bytes there.
    pub size: u64,
}

/// `struct xen_dm_op_create_ioreq_server`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CreateIoreqServer {
    /// In: [`BUFIOREQ_OFF`].
    pub handle_bufioreq: u8,
    /// Zero.
    pub pad: [u8; 3],
    /// Out.
    pub id: IoreqServerId,
}

/// `struct xen_dm_op_get_ioreq_server_info`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct GetIoreqServerInfo {
    /// In.
    pub id: IoreqServerId,
    /// In: [`NO_GFNS`].
    pub flags: u16,
    /// Out: port of buffered requests.
    pub bufioreq_port: u32,
    /// Out, unless [`NO_GFNS`].
    pub ioreq_gfn: u64,
    /// Out, unless [`NO_GFNS`].
    pub bufioreq_gfn: u64,
}

/// `struct xen_dm_op_ioreq_server_range`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct IoreqServerRange {
    /// The server.
    pub id: IoreqServerId,
    /// Zero.
    pub pad: u16,
    /// [`IO_RANGE_MEMORY`].
    pub kind: u32,
    /// First byte.
    pub start: u64,
    /// Last byte, inclusive.
    pub end: u64,
}

/// `struct xen_dm_op_set_ioreq_server_state`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SetIoreqServerState {
    /// The server.
    pub id: IoreqServerId,
    /// 1 enables it.
    pub enabled: u8,
    /// Zero.
    pub pad: u8,
}

/// `struct xen_dm_op_destroy_ioreq_server`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct DestroyIoreqServer {
    /// The server.
    pub id: IoreqServerId,
    /// Zero.
    pub pad: u16,
}

/// `struct xen_dm_op_remote_shutdown`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct RemoteShutdown {
    /// One of `sched::SHUTDOWN_*`.
    pub reason: u32,
}

/// `struct xen_dm_op_nr_vcpus`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NrVcpus {
    /// Out: vCPU objects of the domain, fixed when it was created.
    pub vcpus: u32,
}

impl<P> DmOp<P> {
    /// The call.
    pub const fn new(op: u32, payload: P) -> Self {
        Self { op, pad: 0, payload }
    }
}

/// The registers of `HYPERVISOR_dm_op`: domain, number of buffers, their array.
pub const fn arguments(domain: DomainId, buffers: u64) -> [u64; 3] {
    [domain as u64, 1, buffers]
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(offset_of!(DmOp<IoreqServerRange>, payload) == 8);
    assert!(offset_of!(DmOp<SetIoreqServerState>, payload) == 8);
    assert!(size_of::<CreateIoreqServer>() == 6 || size_of::<CreateIoreqServer>() == 8);
    assert!(size_of::<GetIoreqServerInfo>() == 24 && size_of::<IoreqServerRange>() == 24);
    assert!(size_of::<SetIoreqServerState>() == 4 && size_of::<DmOpBuffer>() == 16);
};
