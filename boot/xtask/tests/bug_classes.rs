// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of bug classes names tests and scenarios that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// A file of the checkout.
fn text(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between backquotes in a section.
fn quoted(section: &str) -> impl Iterator<Item = &str> {
    section.split('`').skip(1).step_by(2)
}

/// Whether a file has a test of that name: `#[test]`, then at most attributes, then the function.
fn has_test(source: &str, name: &str) -> bool {
    let declaration = format!("fn {name}(");
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.contains(&declaration) {
            return is_test;
        }
        is_test = line == "#[test]" || (is_test && line.starts_with("#["));
    }
    false
}

/// All scenarios as `boot: scenario`.
fn scenarios() -> BTreeSet<String> {
    let source = text("boot/xtask/src/scenarios.rs");
    let mut boot = "";
    let mut found = BTreeSet::new();
    for line in source.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("name: \"").and_then(|rest| rest.strip_suffix("\",")) {
            boot = name;
        }
        for shown in line.split("show(\"").skip(1) {
            if let Some((name, _)) = shown.split_once('"') {
                found.insert(format!("{boot}: {name}"));
            }
        }
    }
    found
}

#[test]
fn every_class_has_tests_and_every_test_exists() {
    let table = text("boot/scenarios/BUGS.md");
    let scenarios = scenarios();
    let mut classes = 0;
    let sections = table.split("\n## ").skip(1).filter(|section| section.starts_with(char::is_numeric));
    for section in sections {
        classes += 1;
        assert!(section.starts_with(&format!("{classes}. ")), "{section}");
        let mut tests = 0;
        for word in quoted(section) {
            if let Some((file, name)) = word.split_once(".rs::") {
                let file = format!("{file}.rs");
                assert!(has_test(&text(&file), name), "class {classes}: {file} has no test {name}");
                tests += 1;
            } else if word.contains(": ") {
                assert!(scenarios.contains(word), "class {classes}: no scenario {word}");
                tests += 1;
            } else if word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_') {
                // The one kind of plain word that these sections quote.
                text(&format!("protocol/fuzz/targets/{word}.rs"));
            }
        }
        assert!(tests > 1, "class {classes} has no test");
    }
    assert_eq!(classes, 12);
}

/// Each row of that section ends with the tests that fail without the mend.
#[test]
fn every_fault_found_by_reading_has_a_test_that_exists() {
    let table = text("boot/scenarios/BUGS.md");
    let scenarios = scenarios();
    let section = table.split("\n## ").find(|section| section.starts_with("Faults found by reading"));
    let rows: Vec<&str> =
        section.into_iter().flat_map(str::lines).filter(|line| line.starts_with("- ")).collect();
    assert!(!rows.is_empty());
    for row in rows {
        let mut tests = 0;
        for word in quoted(row) {
            if let Some((file, name)) = word.split_once(".rs::") {
                assert!(has_test(&text(&format!("{file}.rs")), name), "no test {word}");
                tests += 1;
            } else if scenarios.contains(word) {
                tests += 1;
            }
        }
        assert!(tests > 0, "names no test: {row}");
    }
}

#[test]
fn a_function_that_is_no_test_does_not_count() {
    let source = "#[test]\n#[should_panic]\nfn one() {}\nfn two() {}\n";
    assert!(has_test(source, "one"));
    assert!(!has_test(source, "two"));
    assert!(!has_test(source, "on"));
}
