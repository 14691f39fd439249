// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen, one facility a file. Raw calls are in `hypercall`; everything else is typed.

pub mod borrower_link;
pub mod console;
pub mod dm_op;
pub mod domctl;
pub mod event_channel;
pub mod foreign_memory;
pub mod grant_table;
pub mod hvm_param;
pub mod hypercall;
pub mod hypervisor;
pub mod ioreq_server;
pub mod lend_aware_hypervisor;
pub mod lender_link;
pub mod physmap;
pub mod sched;
pub mod shared_info;
pub mod stock_hypervisor;
pub mod time;
pub mod xenstore;
