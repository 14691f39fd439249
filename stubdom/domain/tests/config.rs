// SPDX-License-Identifier: MIT OR Apache-2.0
//! The nodes that dom0 writes for a broker: what is missing or nonsense is named.

use std::collections::BTreeMap;

use heapless::Vec;
use xenlend_broker_domain::config::{Config, Nodes, VALUE_BYTES};
use xenlend_broker_domain::start_error::StartError;
use xenlend_xen_abi::errno::ENOENT;

struct Store(BTreeMap<&'static str, String>);

impl Nodes for Store {
    fn read(&mut self, path: &'static str) -> Result<Vec<u8, VALUE_BYTES>, StartError> {
        let value = self.0.get(path).ok_or(StartError::Xenstore { path, errno: ENOENT })?;
        Ok(Vec::from_slice(value.as_bytes()).unwrap())
    }
}

const NODES: [(&str, &str); 10] = [
    ("xenlend/protocol", "1"),
    ("xenlend/lender/domid", "0"),
    ("xenlend/lender/ring-ref-0", "801"),
    ("xenlend/lender/ring-ref-1", "802"),
    ("xenlend/lender/ring-ref-2", "803"),
    ("xenlend/lender/event-channel", "42"),
    ("xenlend/borrower/domid", "7"),
    ("xenlend/borrower/aperture-gfn", "0x1000000"),
    ("xenlend/borrower/aperture-pages", "65536"),
    ("xenlend/borrower/vcpus", "2"),
];

/// All nodes, with another value for one of them; none takes it away.
fn read_with(path: &'static str, value: Option<&str>) -> Result<Config, StartError> {
    let mut nodes: BTreeMap<_, _> = NODES.map(|(path, value)| (path, value.to_owned())).into();
    nodes.remove(path);
    nodes.extend(value.map(|value| (path, value.to_owned())));
    Config::read(&mut Store(nodes))
}

#[test]
fn all_nodes_make_a_configuration() {
    let config = read_with("xenlend/protocol", Some("1")).unwrap();
    let expected = Config {
        lender: 0,
        rings: [801, 802, 803],
        lender_port: 42,
        borrower: 7,
        aperture_gfn: 0x100_0000,
        aperture_pages: 65536,
        vcpus: 2,
    };
    assert_eq!(config, expected);
}

#[test]
fn a_node_that_is_missing_or_no_number_is_named() {
    for (path, _) in NODES {
        assert_eq!(read_with(path, None), Err(StartError::Xenstore { path, errno: ENOENT }));
        for nonsense in ["", "x", "-1", " 1", "1 ", "0x", "0xg", "1\0", "99999999999999999999999"] {
            let error = read_with(path, Some(nonsense));
            assert_eq!(error, Err(StartError::BadNode { path, wanted: "a number" }), "{nonsense:?}");
        }
    }
}

#[test]
fn a_number_out_of_its_range_is_refused_and_not_cut() {
    for (path, largest) in [
        ("xenlend/lender/domid", u64::from(u16::MAX)),
        ("xenlend/borrower/domid", u64::from(u16::MAX)),
        ("xenlend/lender/ring-ref-0", u64::from(u32::MAX)),
        ("xenlend/lender/ring-ref-1", u64::from(u32::MAX)),
        ("xenlend/lender/ring-ref-2", u64::from(u32::MAX)),
        ("xenlend/lender/event-channel", u64::from(u32::MAX)),
        ("xenlend/borrower/aperture-gfn", (1 << 40) - 1),
        ("xenlend/borrower/aperture-pages", u64::from(u32::MAX)),
        ("xenlend/borrower/vcpus", 128),
    ] {
        assert!(read_with(path, Some(&largest.to_string())).is_ok(), "{path}");
        let refused = Err(StartError::BadNode { path, wanted: "in range" });
        assert_eq!(read_with(path, Some(&(largest + 1).to_string())), refused);
    }
    let path = "xenlend/protocol";
    assert_eq!(read_with(path, Some("2")), Err(StartError::BadNode { path, wanted: "1" }));
    let path = "xenlend/borrower/aperture-pages";
    assert_eq!(read_with(path, Some("0")), Err(StartError::BadNode { path, wanted: "above 0" }));
}
