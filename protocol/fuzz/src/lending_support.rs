// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fakes of the lending logic's own tests: Xen, the lender's ring, the borrower.
#![allow(missing_docs, dead_code, clippy::all)]

#[path = "../../../stubdom/lending/tests/support/bench.rs"]
pub mod bench;
#[path = "../../../stubdom/lending/tests/support/fake_borrower.rs"]
pub mod fake_borrower;
#[path = "../../../stubdom/lending/tests/support/fake_hypervisor.rs"]
pub mod fake_hypervisor;
#[path = "../../../stubdom/lending/tests/support/fake_link.rs"]
pub mod fake_link;
#[path = "../../../stubdom/lending/tests/support/fault_injector.rs"]
pub mod fault_injector;
