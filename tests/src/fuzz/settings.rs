//! Arbitrary command lines and environment variables.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use wherry_host::address::ListenAddr;
use wherry_host::config::load;
use wherry_host::options::{Command, Options};

use super::config::{assert_shown, assert_sound};

/// Reads a command line with its environment: arguments with a zero byte after each, those that
/// begin with `WHERRY_` being variables.
///
/// Whatever is accepted is within the bounds of every key that has any. What is refused is told in
/// words that do not drive a terminal or fill a screen. Returns whether it was accepted.
pub fn settings(data: &[u8]) -> bool {
    let (mut variables, mut arguments) = (Vec::new(), vec![OsString::from("wherry")]);
    for text in data.split(|byte| *byte == 0) {
        if let Ok(text) = str::from_utf8(text) {
            address(text);
        }
        match text.iter().position(|byte| *byte == b'=') {
            Some(end) if text.starts_with(b"WHERRY_") => {
                let [name, value] = [&text[..end], &text[end + 1..]].map(<[u8]>::to_vec);
                variables.push((OsString::from_vec(name), OsString::from_vec(value)));
            }
            _ => arguments.push(OsString::from_vec(text.to_vec())),
        }
    }
    let Options { mut flags, command } = match Options::read("wherry", arguments) {
        Ok(options) => options,
        Err(error) => {
            let told = error.to_string();
            let is_control = |char: char| char.is_control() && char != '\n';
            assert!(!told.contains(is_control), "{told:?}");
            // Help is longer than any complaint.
            assert!(told.len() < 8000, "{told}");
            return false;
        }
    };
    match command {
        Some(Command::Check(checked)) => flags = checked,
        Some(Command::Health(health)) => assert_reads_the_same(&health.address),
        // Paths may be anything.
        Some(Command::Store(_)) => {}
        None => {}
    }
    // Which files there are is none of the fuzzer's business.
    flags.config = None;
    match load(&flags, variables) {
        Ok(settings) => {
            assert_sound(&settings);
            let all = settings.listen.iter().chain(&settings.http);
            all.for_each(assert_reads_the_same);
            true
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused, and nobody knows why");
            errors
                .iter()
                .for_each(|error| assert_shown(&error.to_string()));
            false
        }
    }
}

fn address(text: &str) {
    match text.parse::<ListenAddr>() {
        Ok(address) => assert_reads_the_same(&address),
        Err(error) => assert_shown(&error.to_string()),
    }
}

/// An address that is written down reads the same.
fn assert_reads_the_same(address: &ListenAddr) {
    let written = address.to_string();
    assert_shown(&written);
    assert_eq!(written.parse().as_ref(), Ok(address));
}
