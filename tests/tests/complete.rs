//! The list of the suite against its functions: one that is not in the list would never run.
#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_test_of_the_suite_is_in_its_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/suite");
    let list = fs::read_to_string(folder.join("mod.rs")).unwrap();
    let listed: Vec<&str> = list
        .lines()
        .map(|line| line.trim().trim_end_matches(';'))
        .collect();
    let mut count = 0;
    for path in files(&folder) {
        let text = fs::read_to_string(path).unwrap();
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("pub fn ") else {
                continue;
            };
            let (name, arguments) = rest.split_once('(').unwrap();
            if arguments.starts_with("binary: &BinaryUnderTest") {
                assert!(listed.contains(&name), "{name} is in no list");
                count += 1;
            }
        }
    }
    assert!(count > 90, "only {count} tests were found");
}

/// The files in a folder and in the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}
