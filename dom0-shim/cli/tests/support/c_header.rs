// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks the C compiler what it sees in a header, and compares that with what Rust believes. The tests of
//! both uAPI headers include this file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What Rust believes: a C expression and its value.
pub type Beliefs = BTreeMap<String, u64>;

macro_rules! believe_struct {
    ($beliefs:ident, $rust:ty, $c:literal, [$($field:ident $(as $c_field:literal)?),+ $(,)?]) => {
        $beliefs.insert(format!("sizeof(struct {})", $c), size_of::<$rust>() as u64);
        $beliefs.insert(format!("_Alignof(struct {})", $c), align_of::<$rust>() as u64);
        $(
            #[allow(unused_mut, unused_assignments)]
            let mut name = stringify!($field);
            $(name = $c_field;)?
            $beliefs.insert(format!("offsetof(struct {}, {name})", $c), offset_of!($rust, $field) as u64);
        )+
    };
}

/// The values that the C compiler gives to these expressions.
pub fn ask_the_c_compiler(header: &Path, name: &str, beliefs: &Beliefs) -> Beliefs {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (directory.join(format!("{name}.c")), directory.join(name));
    let mut text = format!(
        "#include <stddef.h>\n#include <stdio.h>\n#include \"{}\"\nint main(void) {{\n",
        header.display()
    );
    for expression in beliefs.keys() {
        writeln!(text, "printf(\"{expression}\\t%llu\\n\", (unsigned long long)({expression}));").unwrap();
    }
    text.push_str("return 0; }\n");
    std::fs::write(&source, text).unwrap();
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", "-o"])
        .args([&program, &source])
        .status()
        .expect("a C compiler (cc) is needed for this test");
    assert!(compiled.success(), "the header does not compile or lacks a name");
    let output = Command::new(&program).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// The words of a header that begin so and that Rust has no belief about.
pub fn forgotten(header: &Path, prefix: &str, known: &Beliefs) -> Vec<String> {
    let text = std::fs::read_to_string(header).unwrap();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names = words.filter(|word| word.starts_with(prefix) && !word.ends_with('_'));
    names.filter(|word| !known.contains_key(*word)).map(str::to_owned).collect()
}
