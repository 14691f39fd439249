// SPDX-License-Identifier: MIT OR Apache-2.0
//! The domain's page tables, in use: where they and the image lie. What they map is decided in
//! `xenlend_broker_domain::page_tables`.

pub use xenlend_broker_domain::page_tables::Access;
use xenlend_broker_domain::page_tables::{Image, Table, TABLES};

use crate::start_error::StartError;

/// The tables that are in use.
pub type PageTables = xenlend_broker_domain::page_tables::PageTables<'static>;

static POOL: [Table; TABLES] = [const { Table::new() }; TABLES];

extern "C" {
    static image_start: u8;
    static text_end: u8;
    static constants_end: u8;
    static stack_guard: u8;
    static image_end: u8;
}

/// One past the image's last byte, page-aligned.
pub fn image_limit() -> u64 {
    &raw const image_end as u64
}

/// The image's first byte.
pub fn image_base() -> u64 {
    &raw const image_start as u64
}

/// Maps the image and the RAM around it, with no rights more than needed, and switches to these tables.
///
/// # Safety
/// Called once, with the RAM that holds the image; `no_execute` says that EFER.NXE is set.
///
/// # Errors
/// If the tables do not suffice.
pub unsafe fn install(ram: (u64, u64), no_execute: bool) -> Result<PageTables, StartError> {
    let image = Image {
        base: image_base(),
        text_end: &raw const text_end as u64,
        constants_end: &raw const constants_end as u64,
        stack_guard: &raw const stack_guard as u64,
        limit: image_limit(),
    };
    let mut tables = PageTables::new(&POOL, (&raw const POOL) as u64, no_execute);
    tables.map_image(&image, ram)?;
    // SAFETY: the tables map the running code, its stack and its data where they are.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) tables.root(), options(nostack, preserves_flags)) };
    Ok(tables)
}
