//! The fields that keys set: what each type of them can hold.

use std::num::{NonZeroU8, NonZeroU16};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use wherry_core::packet::QoS;
use wherry_core::{QueuePolicy, RetainedPolicy, ShareStrategy, Strictness};

use super::persistence::Backend;
use crate::logging::{Format, Level};
use crate::store::sqlite::Durability;

/// A field that holds a number, or `None`, which mostly stands for no bound.
pub(super) trait Number {
    fn get(&self) -> Option<u64>;

    /// What people write for `None`, if it can be that.
    fn none(&self) -> Option<&'static str> {
        None
    }

    /// In words that go after 'is', why the field cannot hold `number`.
    fn set(&mut self, number: Option<u64>) -> Result<(), &'static str>;
}

// Reasons, in words that go after 'is'.
pub(super) const OUT_OF_RANGE: &str = "out of range";
const NO_BOUND: &str = "not possible here";
const TOO_LARGE: &str = "too large for this machine";

macro_rules! whole_numbers {
    ($($type:ty),*) => {
        $(impl Number for $type {
            fn get(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }

            fn set(&mut self, number: Option<u64>) -> Result<(), &'static str> {
                *self = number.ok_or(NO_BOUND)?.try_into().map_err(|_| TOO_LARGE)?;
                Ok(())
            }
        })*
    };
}

whole_numbers!(usize, u32, u16);

impl Number for NonZeroU16 {
    fn get(&self) -> Option<u64> {
        Some(Self::get(*self).into())
    }

    fn set(&mut self, number: Option<u64>) -> Result<(), &'static str> {
        let number = u16::try_from(number.ok_or(NO_BOUND)?).map_err(|_| TOO_LARGE)?;
        *self = Self::new(number).ok_or(OUT_OF_RANGE)?;
        Ok(())
    }
}

impl Number for QoS {
    fn get(&self) -> Option<u64> {
        Some(*self as u64)
    }

    fn set(&mut self, number: Option<u64>) -> Result<(), &'static str> {
        let number = u8::try_from(number.ok_or(NO_BOUND)?).map_err(|_| OUT_OF_RANGE)?;
        *self = Self::from_u8(number).ok_or(OUT_OF_RANGE)?;
        Ok(())
    }
}

impl Number for Duration {
    fn get(&self) -> Option<u64> {
        self.as_millis().try_into().ok()
    }

    fn set(&mut self, number: Option<u64>) -> Result<(), &'static str> {
        *self = Self::from_millis(number.ok_or(NO_BOUND)?);
        Ok(())
    }
}

impl Number for Option<Duration> {
    fn get(&self) -> Option<u64> {
        self.as_ref().and_then(Number::get)
    }

    fn none(&self) -> Option<&'static str> {
        Some("none")
    }

    fn set(&mut self, number: Option<u64>) -> Result<(), &'static str> {
        *self = number.map(Duration::from_millis);
        Ok(())
    }
}

/// A time that is kept in seconds.
impl Number for Option<NonZeroU16> {
    fn get(&self) -> Option<u64> {
        self.map(|seconds| u64::from(seconds.get()) * 1000)
    }

    fn none(&self) -> Option<&'static str> {
        Some("none")
    }

    fn set(&mut self, number: Option<u64>) -> Result<(), &'static str> {
        *self = match number {
            None => None,
            Some(millis) if millis % 1000 != 0 => return Err("not a whole number of seconds"),
            Some(millis) => {
                let seconds = u16::try_from(millis / 1000).map_err(|_| TOO_LARGE)?;
                Some(NonZeroU16::new(seconds).ok_or(NO_BOUND)?)
            }
        };
        Ok(())
    }
}

/// How many of something that the machine has; as many as there are if nobody says.
impl Number for Option<NonZeroU8> {
    fn get(&self) -> Option<u64> {
        self.map(|number| number.get().into())
    }

    fn none(&self) -> Option<&'static str> {
        Some("auto")
    }

    fn set(&mut self, number: Option<u64>) -> Result<(), &'static str> {
        *self = match number {
            None => None,
            Some(number) => {
                let number = u8::try_from(number).map_err(|_| OUT_OF_RANGE)?;
                Some(NonZeroU8::new(number).ok_or(OUT_OF_RANGE)?)
            }
        };
        Ok(())
    }
}

/// A field that holds one of a few words.
pub(super) trait Word {
    fn get(&self) -> String;
    fn words(&self) -> Vec<String>;
    /// Returns whether `word` is one of them.
    fn set(&mut self, word: &str) -> bool;
}

/// The words of enums that the core knows and that have no words there.
macro_rules! words {
    ($($type:ident { $($variant:ident: $word:literal),* $(,)? })*) => {
        $(impl Word for $type {
            fn get(&self) -> String {
                match self {
                    $(Self::$variant => $word.to_owned(),)*
                }
            }

            fn words(&self) -> Vec<String> {
                vec![$($word.to_owned()),*]
            }

            fn set(&mut self, word: &str) -> bool {
                *self = match word {
                    $($word => Self::$variant,)*
                    _ => return false,
                };
                true
            }
        })*
    };
}

words! {
    QueuePolicy { Reject: "reject", DropNewest: "drop-newest", DropOldest: "drop-oldest" }
    RetainedPolicy { Reject: "reject", DropOldest: "drop-oldest" }
    ShareStrategy {
        RoundRobin: "round-robin",
        Random: "random",
        Sticky: "sticky",
        LeastInFlight: "least-in-flight",
    }
    Strictness { Strict: "strict", Warn: "warn" }
}

/// Enums that the command line knows too have their words from there.
macro_rules! words_of_flags {
    ($($type:ident),*) => {
        $(impl Word for $type {
            fn get(&self) -> String {
                self.to_possible_value()
                    .map(|value| value.get_name().to_owned())
                    .unwrap_or_default()
            }

            fn words(&self) -> Vec<String> {
                Self::value_variants().iter().map(Word::get).collect()
            }

            fn set(&mut self, word: &str) -> bool {
                Self::from_str(word, false).map(|value| *self = value).is_ok()
            }
        })*
    };
}

words_of_flags!(Level, Format, Backend, Durability);

/// A field that holds a text, or none.
pub(super) trait Text {
    fn get(&self) -> Option<String>;
    fn set(&mut self, text: Option<&str>);
}

impl Text for Option<Box<str>> {
    fn get(&self) -> Option<String> {
        self.as_deref().map(str::to_owned)
    }

    fn set(&mut self, text: Option<&str>) {
        *self = text.map(Box::from);
    }
}

impl Text for Option<PathBuf> {
    fn get(&self) -> Option<String> {
        self.as_ref()
            .map(|path| path.to_string_lossy().into_owned())
    }

    fn set(&mut self, text: Option<&str>) {
        *self = text.map(PathBuf::from);
    }
}
