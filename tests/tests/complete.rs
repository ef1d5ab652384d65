//! The list of the suite against its functions: one that is not in the list would never run.

use std::fs;
use std::path::Path;

#[test]
fn every_test_of_the_suite_is_in_its_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/suite");
    let list = fs::read_to_string(folder.join("mod.rs")).unwrap();
    let listed: Vec<&str> = list
        .lines()
        .map(|line| line.trim().trim_end_matches(';'))
        .collect();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
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
