//! The fuzz corpus, replayed by an ordinary build.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// What lies in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A target whose corpus is forgotten here would be replayed by nobody.
#[test]
fn every_corpus_has_its_replay() {
    let targets = [
        "broker",
        "config",
        "decode",
        "differential",
        "settings",
        "stream",
        "topic",
    ];
    assert_eq!(names(&folder()), targets);
}

#[test]
fn decode_corpus_replays_without_panic() {
    let folder = folder().join("decode");
    for name in names(&folder) {
        eprintln!("{name}");
        let left = wherry_tests::fuzz::decode(&fs::read(folder.join(&name)).unwrap());
        // The files written by hand say in their names what they are; the fuzzer names its own by
        // a hash.
        if let Some((_, what)) = name.split_once('-') {
            let complete = !what.starts_with("bad") && !what.starts_with("cut");
            assert_eq!(left == 0, complete, "{left} bytes were not accepted");
        }
    }
}

#[test]
fn config_corpus_replays_without_panic() {
    let folder = folder().join("config");
    for name in names(&folder) {
        eprintln!("{name}");
        let accepted = wherry_tests::fuzz::config(&fs::read(folder.join(&name)).unwrap());
        // Names of 40 characters are the fuzzer's hashes.
        if name.len() != 40 {
            assert_eq!(accepted, !name.starts_with("bad"));
        }
    }
}

#[test]
fn stream_corpus_replays_without_panic() {
    let folder = folder().join("stream");
    for name in names(&folder) {
        eprintln!("{name}");
        let compared = wherry_tests::fuzz::stream(&fs::read(folder.join(&name)).unwrap());
        // Those written from conversations are named by their version and what they are about.
        // Which messages a slow client loses depends on the pieces.
        if name.starts_with('v') {
            assert_eq!(compared, !name.ends_with("-slow"));
        }
    }
}

#[test]
fn settings_corpus_replays_without_panic() {
    let folder = folder().join("settings");
    for name in names(&folder) {
        eprintln!("{name}");
        let accepted = wherry_tests::fuzz::settings(&fs::read(folder.join(&name)).unwrap());
        if name.len() != 40 {
            assert_eq!(accepted, !name.starts_with("bad"));
        }
    }
}

#[test]
fn topic_corpus_replays_without_panic() {
    let folder = folder().join("topic");
    for name in names(&folder) {
        eprintln!("{name}");
        wherry_tests::fuzz::topic(&fs::read(folder.join(&name)).unwrap());
    }
}

#[test]
fn differential_corpus_replays_without_panic() {
    let folder = folder().join("differential");
    for name in names(&folder) {
        eprintln!("{name}");
        wherry_tests::fuzz::differential(&fs::read(folder.join(&name)).unwrap());
    }
}

#[test]
fn broker_corpus_replays_without_panic() {
    let folder = folder().join("broker");
    for name in names(&folder) {
        eprintln!("{name}");
        wherry_tests::fuzz::broker(&fs::read(folder.join(&name)).unwrap());
    }
}
