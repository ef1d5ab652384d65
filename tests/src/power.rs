//! A disk that loses power: what of a broker's files is left if not all was synced.
//!
//! The broker runs with `power/power.c` preloaded, which notes every write and every sync below a
//! directory. After the process is gone, [`lose`] makes the files what they would be if the machine
//! had lost power at that moment: of what was not synced, any part may be there, in any order, for
//! a disk promises nothing else.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, io};

use crate::random::Random;

/// The smallest piece that a disk writes as a whole.
const SECTOR: usize = 512;

/// The bytes of the header of a record: two numbers of four bytes and four of eight.
const HEADER: usize = 40;

const WRITE: u32 = 1;
const TRUNCATE: u32 = 2;
const SYNC: u32 = 3;
const FAILED_SYNC: u32 = 4;
const DELETE: u32 = 5;

/// The library to be preloaded, built when it is first asked for.
///
/// # Panics
///
/// If there is no C compiler, or it does not like what it gets.
pub fn library() -> PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(build).clone()
}

fn build() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("power/power.c");
    // Beside the program, so that it goes when that does; under its name only once it is whole, for
    // others may want it too.
    let program = env::current_exe().expect("a program has a path");
    let target = program.with_file_name("wherry-power.so");
    let unfinished = program.with_file_name(format!("wherry-power-{}", std::process::id()));
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(compiler)
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .args([&unfinished, &source])
        .status();
    let is_built = status.is_ok_and(|status| status.success());
    assert!(is_built, "no C compiler has built {}", source.display());
    fs::rename(unfinished, &target).expect("a file can be given its name");
    target
}

/// A change of a file that was noted.
#[derive(Clone, Debug)]
struct Change {
    kind: u32,
    offset: u64,
    size_before: u64,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// How much of what was not synced is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of it.
    Everything,
    /// Any sectors, chosen by this seed.
    Some(u64),
}

/// Whether a change is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not for sure; a sync makes it so.
    Unsynced,
    /// For sure.
    Synced,
    /// Not for sure, and no sync can help: one has failed, and the system takes what it was about
    /// for written since.
    Forgotten,
}

/// Makes the files of which `log` tells what a loss of power would leave. Returns how many writes
/// were not synced.
///
/// # Errors
///
/// If a file cannot be read or written.
pub fn lose(log: &Path, loss: Loss) -> io::Result<usize> {
    let mut files = BTreeMap::<PathBuf, Vec<(Change, State)>>::new();
    for (path, change) in records(&fs::read(log)?) {
        let changes = files.entry(path).or_default();
        let state = match change.kind {
            // That it is gone is taken for sure.
            DELETE => {
                changes.clear();
                continue;
            }
            SYNC => State::Synced,
            FAILED_SYNC => State::Forgotten,
            _ => {
                changes.push((change, State::Unsynced));
                continue;
            }
        };
        for (_, it) in changes.iter_mut().rev() {
            if *it != State::Unsynced {
                break;
            }
            *it = state;
        }
    }
    let mut count = 0;
    for (path, changes) in files {
        let is_lost = |(_, state): &(Change, State)| *state != State::Synced;
        let Some(first) = changes.iter().position(is_lost) else {
            continue;
        };
        let changes = &changes[first..];
        count += changes.iter().filter(|it| is_lost(it)).count();
        let file = OpenOptions::new().write(true).open(path)?;
        for (change, _) in changes.iter().rev() {
            file.set_len(change.size_before)?;
            file.write_all_at(&change.before, change.offset)?;
        }
        let mut random = match loss {
            Loss::Some(seed) => Some(Random::new(seed)),
            Loss::Everything => None,
        };
        for (change, state) in changes {
            match (state, &mut random) {
                (State::Synced, _) => redo(&file, change)?,
                (_, Some(random)) => redo_some(&file, change, random)?,
                (_, None) => {}
            }
        }
    }
    Ok(count)
}

/// A change is on the disk.
fn redo(file: &fs::File, change: &Change) -> io::Result<()> {
    match change.kind {
        TRUNCATE => file.set_len(change.offset),
        _ => file.write_all_at(&change.after, change.offset),
    }
}

/// A part of a change is on the disk all the same.
fn redo_some(file: &fs::File, change: &Change, random: &mut Random) -> io::Result<()> {
    if change.kind == TRUNCATE {
        return match random.below(2) {
            0 => file.set_len(change.offset),
            _ => Ok(()),
        };
    }
    for (number, sector) in change.after.chunks(SECTOR).enumerate() {
        if random.below(2) == 0 {
            let offset = change.offset + (number * SECTOR) as u64;
            file.write_all_at(sector, offset)?;
        }
    }
    Ok(())
}

/// The records of a log, in order; one that was cut off by the end of the process is left out.
fn records(log: &[u8]) -> Vec<(PathBuf, Change)> {
    let mut records = Vec::new();
    let mut rest = log;
    while let Some((header, body)) = rest.split_at_checked(HEADER) {
        let small = |at: usize| header[at..at + 4].try_into().map(u32::from_ne_bytes);
        let large = |at: usize| header[at..at + 8].try_into().map(u64::from_ne_bytes);
        let (Ok(kind), Ok(path), Ok(offset)) = (small(0), small(4), large(8)) else {
            break;
        };
        let (Ok(size_before), Ok(before), Ok(after)) = (large(16), large(24), large(32)) else {
            break;
        };
        let [path, before, after] = [u64::from(path), before, after].map(|it| it as usize);
        let Some((body, next)) = body.split_at_checked(path + before + after) else {
            break;
        };
        let (path, body) = body.split_at(path);
        let (before, after) = body.split_at(before);
        let change = Change {
            kind,
            offset,
            size_before,
            before: before.into(),
            after: after.into(),
        };
        debug_assert!((WRITE..=DELETE).contains(&kind));
        records.push((
            PathBuf::from(String::from_utf8_lossy(path).as_ref()),
            change,
        ));
        rest = next;
    }
    records
}
