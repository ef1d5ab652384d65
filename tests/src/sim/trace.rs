//! What happened, as a number and, if somebody wants to read it, as lines.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write as _;

use super::schedule::Millis;

/// How many lines of a long story are kept.
const LINES: usize = 400;

thread_local! {
    /// The story of the world that lives in this thread: a panic can still tell it.
    static STORY: RefCell<Story> = RefCell::default();
}

#[derive(Default)]
struct Story {
    /// What tells it again.
    command: String,
    lines: VecDeque<String>,
}

/// A new story begins, which that command tells again.
pub(crate) fn begin(command: String) {
    STORY.with_borrow_mut(|story| {
        *story = Story {
            command,
            lines: VecDeque::new(),
        }
    });
}

/// What tells the story again.
pub(crate) fn command() -> String {
    STORY.with_borrow(|story| story.command.clone())
}

/// The last lines, if they were kept.
pub(crate) fn tail(count: usize) -> Vec<String> {
    STORY.with_borrow(|story| {
        let skip = story.lines.len().saturating_sub(count);
        story.lines.iter().skip(skip).cloned().collect()
    })
}

/// Everything that happens in a world: bytes both ways, time, decisions.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    /// Lines are kept.
    keeps: bool,
    /// Lines are printed as they come.
    aloud: bool,
    now: Millis,
}

impl Trace {
    /// Nothing has happened. Lines are kept if `keeps`, and printed if `aloud`.
    pub(crate) fn new(keeps: bool, aloud: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            keeps,
            aloud,
            now: 0,
        }
    }

    /// Mixes a number in.
    pub(crate) fn number(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.hash ^= self.hash >> 29;
    }

    /// Mixes bytes in.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    /// Time passes.
    pub(crate) fn time(&mut self, now: Millis) {
        self.now = now;
        self.number(now);
    }

    /// Adds a line, which is made only if somebody wants it.
    pub(crate) fn line(&mut self, make: impl FnOnce() -> String) {
        if !self.keeps && !self.aloud {
            return;
        }
        let line = format!("{:>9} {}", self.now, make());
        if self.aloud {
            // Nobody is left to be told that nobody listens.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
        if self.keeps {
            STORY.with_borrow_mut(|story| {
                if story.lines.len() == LINES {
                    story.lines.pop_front();
                }
                story.lines.push_back(line);
            });
        }
    }

    /// A number that is another one if anything was different.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}
