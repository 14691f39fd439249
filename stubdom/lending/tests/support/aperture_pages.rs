// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of an aperture to choose from: most often where something of interest happens.

use proptest::prelude::*;

pub const PAGES: u32 = 1536;
/// Pages on both sides of a 2 MiB border, where everything of interest happens.
const BORDER: u32 = 512;

pub fn page() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![0_u32..8, BORDER - 4..BORDER + 4, 2 * BORDER - 4..2 * BORDER + 4, 0_u32..PAGES]
}

pub fn count() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![4 => 1_u32..10, 1 => Just(512_u32), 1 => Just(1024_u32), 1 => 0_u32..PAGES]
}
