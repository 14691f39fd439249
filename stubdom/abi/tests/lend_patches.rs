// SPDX-License-Identifier: MIT OR Apache-2.0
//! The numbers of `lend.rs` are those that the patches of `boot/xen` add to Xen's public headers, and those of
//! the test module in C that makes such calls from a guest's kernel.

use std::path::Path;

use xenlend_xen_abi::lend;

/// Lines of the texts, in their order.
fn lines(paths: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = |path: &&str| std::fs::read_to_string(root.join(path)).expect(path);
    paths.iter().flat_map(|path| text(path).lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The value that a name is defined as, in the last definition: later patches may change earlier ones.
fn defined(lines: &[String], name: &str) -> u64 {
    let value = |line: &String| {
        let line = line.strip_prefix('+').unwrap_or(line).strip_prefix('#')?.trim_start();
        let rest = line.strip_prefix("define ")?.trim_start().strip_prefix(name)?;
        rest.starts_with(char::is_whitespace)
            .then(|| rest.split("/*").next().unwrap_or_default().trim().to_owned())
    };
    let text = lines.iter().filter_map(value).next_back().unwrap_or_else(|| panic!("{name} is not defined"));
    let text = text.trim_matches(|edge| edge == '(' || edge == ')').to_owned();
    match text.as_str() {
        "~(uint64_t)0" | "~0ULL" => u64::MAX,
        "~(uint64_t)1" | "~1ULL" => u64::MAX - 1,
        text => match text.split_once("<<") {
            Some((one, shift)) => number(one) << number(shift),
            None => number(text),
        },
    }
}

fn number(text: &str) -> u64 {
    text.trim()
        .trim_end_matches(['u', 'U', 'l', 'L'])
        .parse()
        .unwrap_or_else(|_| panic!("{text} is no number"))
}

#[test]
fn the_patches_define_the_same_numbers() {
    let series = lines(&["boot/xen/series"]);
    let patches: Vec<String> =
        series.iter().filter(|line| !line.starts_with('#')).map(|name| format!("boot/xen/{name}")).collect();
    let patches = lines(&patches.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, ours) in [
        ("XEN_DMOP_lend_query", u64::from(lend::QUERY)),
        ("XEN_DMOP_lend_parties", lend::PARTIES.into()),
        ("XEN_DMOP_lend_release", lend::RELEASE.into()),
        ("XEN_DMOP_lend_change", lend::CHANGE.into()),
        ("XEN_LEND_FEAT_retry", lend::RETRIES.into()),
        ("XEN_LEND_FEAT_loss", lend::PRECISE_LOSS.into()),
        ("XEN_LEND_FEAT_readonly", lend::READ_ONLY.into()),
        ("XEN_LEND_FEAT_writeback", lend::WRITE_BACK.into()),
        ("XEN_LEND_ABSENT", lend::ABSENT),
        ("XEN_LEND_ANY", lend::ANY),
        ("XEN_LEND_ENTRY_readonly", lend::ENTRY_READ_ONLY.into()),
        ("XEN_LEND_RELEASE_withdraw", lend::RELEASE_WITHDRAW.into()),
        ("XEN_LEND_RELEASE_readonly", lend::RELEASE_READ_ONLY.into()),
        ("XEN_LEND_PARTIES_remove", lend::PARTIES_REMOVE_LENDER.into()),
        ("XEN_DMOP_IO_RANGE_LENT", lend::IO_RANGE_LENT.into()),
        ("IOREQ_TYPE_LEND_FAULT", lend::IOREQ_TYPE_FAULT.into()),
    ] {
        assert_eq!(defined(&patches, name), ours, "{name}");
    }
}

#[test]
fn so_does_the_test_module_in_c() {
    let module = lines(&["boot/scenarios/modules/ownpages/ownpages.c"]);
    for (name, ours) in [
        ("LEND_RELEASE", u64::from(lend::RELEASE)),
        ("LEND_CHANGE", lend::CHANGE.into()),
        ("LEND_ABSENT", lend::ABSENT),
        ("LEND_ANY", lend::ANY),
    ] {
        assert_eq!(defined(&module, name), ours, "{name}");
    }
}
