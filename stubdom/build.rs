// SPDX-License-Identifier: MIT OR Apache-2.0
//! Links the image by its own script, without the host's start files and libraries.
//!
//! The compiler's one flag that a build script cannot set is `-Crelocation-model=static`: whoever builds
//! the image (`cargo xtask`) passes it in RUSTFLAGS together with `--target`.

use std::path::PathBuf;

fn main() {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../boot/stubdom.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    println!("cargo:rerun-if-changed=src/entry.s");
    for argument in [
        "-nostartfiles".to_owned(),
        "-nostdlib".to_owned(),
        "-static".to_owned(),
        "-no-pie".to_owned(),
        format!("-Wl,-T,{}", script.display()),
        "-Wl,--build-id=none".to_owned(),
        "-Wl,-z,max-page-size=4096".to_owned(),
        "-Wl,-z,noexecstack".to_owned(),
        "-Wl,-z,norelro".to_owned(),
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
