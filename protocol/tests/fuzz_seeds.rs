// SPDX-License-Identifier: MIT OR Apache-2.0
//! What fuzzing starts from are messages of this version: a changed encoding must not leave it with bytes
//! that no decoder takes.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use xenlend_protocol::codec::decode;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::message::{FromBroker, ToBroker};

/// All seeds of a target, with their names.
fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let seeds: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(&path).unwrap()))
        .collect();
    assert!(!seeds.is_empty());
    seeds
}

#[track_caller]
fn assert_message<T: DeserializeOwned + Debug>(name: &Path, bytes: &[u8]) {
    assert!(decode::<T>(bytes).is_ok(), "{}", name.display());
}

#[test]
fn every_seed_of_a_decoder_is_a_message() {
    for (name, bytes) in seeds("to_broker") {
        assert_message::<ToBroker>(&name, &bytes);
    }
    for (name, bytes) in seeds("from_broker") {
        assert_message::<FromBroker>(&name, &bytes);
    }
    for (name, bytes) in seeds("borrower_link") {
        match bytes.split_first().unwrap() {
            (0, message) => assert_message::<FromBorrower>(&name, message),
            (_, message) => assert_message::<ToBorrower>(&name, message),
        }
    }
}
