//! Values as people write them: whole numbers, sizes, times, words, switches and texts.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use super::Settings;
use super::field::{Number, OUT_OF_RANGE, Text, Word};
use crate::address::ListenAddr;
use crate::shown::Shown;

/// A value as a source gives it.
pub(super) struct Given<'a> {
    /// As it was written, for messages.
    shown: String,
    form: Form<'a>,
}

/// What a source knows of the type of a value.
pub(super) enum Form<'a> {
    /// An integer; `None` if it is negative or larger than anything here can be.
    Integer(Option<u64>),
    /// A string.
    Text(&'a str),
    /// Text from a source without types.
    Bare(&'a str),
    /// A boolean.
    Boolean(bool),
    /// A type that nothing here is of.
    Other,
}

impl<'a> Given<'a> {
    pub(super) fn new(written: &str, form: Form<'a>) -> Self {
        Self {
            shown: Shown(written).to_string(),
            form,
        }
    }

    /// Text from a source without types.
    pub(super) fn bare(text: &'a str) -> Self {
        Self {
            shown: format!("\"{}\"", Shown(text)),
            form: Form::Bare(text),
        }
    }

    fn text(&self) -> Option<&'a str> {
        match self.form {
            Form::Text(text) | Form::Bare(text) => Some(text),
            Form::Integer(_) | Form::Boolean(_) | Form::Other => None,
        }
    }
}

/// What a key takes, and which field it sets.
pub(super) enum Kind {
    /// An address, or several.
    Listen,
    /// An address to be asked at over HTTP, or none.
    Http(fn(&mut Settings) -> &mut Option<ListenAddr>),
    /// A number within a range.
    Number {
        unit: Unit,
        /// In bytes, or in milliseconds.
        range: RangeInclusive<u64>,
        field: fn(&mut Settings) -> &mut dyn Number,
    },
    /// One of a few words.
    Word(fn(&mut Settings) -> &mut dyn Word),
    /// Yes or no.
    Switch(Switch),
    /// Any text that MQTT can carry.
    Text(fn(&mut Settings) -> &mut dyn Text),
}

/// A field that holds yes or no.
pub(super) type Switch = fn(&mut Settings) -> &mut bool;

/// How long a text may be: no topic or address that anybody uses is longer.
const LONGEST_TEXT: usize = 1024;

/// What a number counts.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    /// Things.
    Count,
    /// Bytes: an integer, or a size such as `8 MiB`.
    Bytes,
    /// Milliseconds: written as an integer of seconds, or a time such as `1m 30s`.
    Time,
}

impl Kind {
    /// Sets the field to `given`, or says what is wrong with it and what would be right.
    pub(super) fn set(&self, settings: &mut Settings, given: &Given<'_>) -> Result<(), String> {
        let shown = &given.shown;
        let outcome = match self {
            Self::Listen => {
                let Some(text) = given.text() else {
                    return Err(format!("{shown} is not an address. {}", self.takes()));
                };
                // The error has an example of its own.
                let address = text.parse().map_err(|error| format!("{shown}: {error}"))?;
                settings.listen = vec![address];
                return Ok(());
            }
            Self::Http(field) => read_http(given).map(|address| *field(settings) = address),
            Self::Number { unit, range, field } => {
                let field = field(settings);
                match given.text() {
                    Some(text) if field.none() == Some(text) => field.set(None),
                    _ => unit
                        .read(given)
                        .and_then(|number| match range.contains(&number) {
                            true => field.set(Some(number)),
                            false => Err(OUT_OF_RANGE),
                        }),
                }
            }
            Self::Word(field) => match given.text() {
                Some(word) if field(settings).set(word) => Ok(()),
                _ => Err("not possible"),
            },
            Self::Switch(field) => match (&given.form, given.text()) {
                (Form::Boolean(yes), _) => {
                    *field(settings) = *yes;
                    Ok(())
                }
                (Form::Bare(_), Some(text @ ("true" | "false"))) => {
                    *field(settings) = text == "true";
                    Ok(())
                }
                (_, Some("true" | "false")) => Err("text; leave out the quotes"),
                _ => Err("neither true nor false"),
            },
            Self::Text(field) => read_text(given).map(|text| field(settings).set(text)),
        };
        outcome.map_err(|reason| format!("{shown} is {reason}. {}", self.takes()))
    }

    /// A sentence about the values that are right.
    pub(super) fn takes(&self) -> String {
        let mut defaults = Settings::default();
        match self {
            Self::Listen => {
                let example = self.default_value();
                format!("It takes an address such as {example}, or a list of them.")
            }
            Self::Http(_) => {
                "It takes an address such as \"127.0.0.1:9883\", or \"none\".".to_owned()
            }
            Self::Number { unit, range, field } => {
                let (what, example) = match unit {
                    Unit::Count => ("a whole number", String::new()),
                    Unit::Bytes => ("a size", ", such as 4096 or \"4 KiB\"".to_owned()),
                    Unit::Time => ("a time", ", such as 90 or \"1m 30s\"".to_owned()),
                };
                let none = match field(&mut defaults).none() {
                    Some(none) => format!(", or \"{none}\""),
                    None => String::new(),
                };
                let (least, most) = (unit.show(*range.start()), unit.show(*range.end()));
                format!("It takes {what} from {least} to {most}{example}{none}.")
            }
            Self::Word(field) => {
                let mut words: Vec<_> = field(&mut defaults)
                    .words()
                    .iter()
                    .map(|word| format!("\"{word}\""))
                    .collect();
                let last = words.pop().unwrap_or_default();
                format!("It takes {} or {last}.", words.join(", "))
            }
            Self::Switch(_) => "It takes true or false.".to_owned(),
            Self::Text(_) => {
                let most = Unit::Bytes.show(LONGEST_TEXT as u64);
                format!("It takes text of at most {most}, or \"none\".")
            }
        }
    }

    /// The default, as TOML.
    pub(super) fn default_value(&self) -> String {
        let mut defaults = Settings::default();
        match self {
            Self::Listen => match defaults.listen.first() {
                Some(address) => format!("\"{address}\""),
                None => "[]".to_owned(),
            },
            Self::Http(field) => match field(&mut defaults) {
                Some(address) => format!("\"{}\"", address.place),
                None => "\"none\"".to_owned(),
            },
            Self::Number { unit, field, .. } => {
                let field = field(&mut defaults);
                match field.get() {
                    Some(number) => unit.to_toml(number),
                    None => format!("\"{}\"", field.none().unwrap_or_default()),
                }
            }
            Self::Word(field) => format!("\"{}\"", field(&mut defaults).get()),
            Self::Switch(field) => field(&mut defaults).to_string(),
            Self::Text(field) => {
                let text = field(&mut defaults).get();
                format!("\"{}\"", text.as_deref().unwrap_or("none"))
            }
        }
    }
}

/// In words that go after 'is', why `given` is no address for HTTP.
fn read_http(given: &Given<'_>) -> Result<Option<ListenAddr>, &'static str> {
    match given.text() {
        Some("none") => Ok(None),
        Some(text) => {
            let text = text.strip_prefix("http://").unwrap_or(text);
            let is_other = text.contains("://");
            let address = text.parse().ok().filter(|_| !is_other);
            address.map(Some).ok_or("not an address with a port")
        }
        None => Err("not an address"),
    }
}

/// In words that go after 'is', why `given` is no text for a client.
fn read_text<'a>(given: &Given<'a>) -> Result<Option<&'a str>, &'static str> {
    match given.text().ok_or("not text")? {
        "none" => Ok(None),
        "" => Err("empty"),
        text if text.len() > LONGEST_TEXT => Err("too long"),
        text if text.contains(char::is_control) => Err("text with control characters"),
        text => Ok(Some(text)),
    }
}

impl Unit {
    /// In words that go after 'is', why `given` is no such number.
    fn read(self, given: &Given<'_>) -> Result<u64, &'static str> {
        if let Form::Integer(number) = given.form {
            let number = number.ok_or(OUT_OF_RANGE)?;
            return match self {
                Self::Count | Self::Bytes => Ok(number),
                Self::Time => number.checked_mul(1000).ok_or(OUT_OF_RANGE),
            };
        }
        let not_one = match self {
            Self::Count => "not a whole number",
            Self::Bytes => "not a size",
            Self::Time => "not a time",
        };
        let text = given.text().ok_or(not_one)?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        match (self, &given.form) {
            (_, Form::Bare(_)) if is_integer => {
                let integer = Form::Integer(text.parse().ok());
                self.read(&Given::new("", integer))
            }
            (Self::Count | Self::Time, _) if is_integer => Err("text; leave out the quotes"),
            (Self::Count, _) => Err(not_one),
            (Self::Bytes, _) => text
                .parse()
                .map(|ByteSize(bytes)| bytes)
                .map_err(|_| not_one),
            (Self::Time, _) => {
                if !is_bounded(text) {
                    return Err(OUT_OF_RANGE);
                }
                let time = humantime::parse_duration(text).map_err(|_| not_one)?;
                let millis = u64::try_from(time.as_millis()).map_err(|_| OUT_OF_RANGE)?;
                if Duration::from_millis(millis) == time {
                    Ok(millis)
                } else {
                    Err("finer than a millisecond")
                }
            }
        }
    }

    /// `number` for people: exact, and short where that is possible.
    pub(super) fn show(self, number: u64) -> String {
        match self {
            Self::Count => grouped(number),
            Self::Bytes => match binary(number) {
                (count, "") => format!("{} bytes", grouped(count)),
                (count, unit) => format!("{count} {unit}"),
            },
            Self::Time => humantime::format_duration(Duration::from_millis(number)).to_string(),
        }
    }

    fn to_toml(self, number: u64) -> String {
        match (self, binary(number)) {
            (Self::Count, _) | (Self::Bytes, (_, "")) => grouped(number),
            _ => format!("\"{}\"", self.show(number)),
        }
    }
}

/// Whether the sum of the times in `text` stays far from what a `Duration` can hold. `humantime`
/// (2.4) panics where the nanoseconds carry over into a number of seconds that is at its end.
fn is_bounded(text: &str) -> bool {
    let digits = |part: &str| part.bytes().filter(u8::is_ascii_digit).count();
    text.len() <= 60
        && text
            .split(char::is_alphabetic)
            .all(|part| digits(part) <= 9)
}

/// `bytes` in the largest binary unit that divides it.
fn binary(bytes: u64) -> (u64, &'static str) {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return (bytes >> shift, unit);
        }
    }
    (bytes, "")
}

/// As TOML lets one write it: `1_000_000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}
