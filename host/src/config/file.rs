//! The configuration file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Settings;
use super::error::{ConfigError, nearest};
use super::keys::{self, Key, TABLES, join};
use super::value::{Form, Given, Kind};
use crate::shown::{Shown, ShownWhole};

/// No configuration is larger; a device or a log file given by mistake would be.
const LARGEST: u64 = 1 << 20;

/// The text of the file at `path`.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let name = ShownWhole(&path.to_string_lossy()).to_string();
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    };
    let bytes = read().map_err(|error| {
        let message = match error.kind() {
            ErrorKind::NotFound => {
                "there is no such file. Give its path with --config FILE.".to_owned()
            }
            ErrorKind::PermissionDenied => {
                "this user may not read it. Change its permissions or start as another user."
                    .to_owned()
            }
            ErrorKind::IsADirectory => {
                "this is a directory. Give the path of a file with --config FILE.".to_owned()
            }
            _ => format!("cannot be read: {error}"),
        };
        ConfigError::new(&name, message)
    })?;
    if bytes.len() as u64 > LARGEST {
        let message = "this file is larger than 1 MiB; is it the configuration?";
        return Err(ConfigError::new(name, message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(good);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        let message = "this line is not UTF-8. Save the file as UTF-8.";
        ConfigError::new(format!("{name}:{line}"), message)
    })
}

/// Sets what `text` says, and adds what is wrong with it to `errors`.
pub(super) fn apply(
    text: &str,
    name: &str,
    settings: &mut Settings,
    errors: &mut Vec<ConfigError>,
) {
    let mut reader = Reader::new(text, name, settings);
    let (document, mistakes) = DeTable::parse_recoverable(text);
    if mistakes.is_empty() {
        for (key, value) in document.get_ref() {
            reader.top(key, value);
        }
    } else {
        // What is left of such a file would only bring up errors that are none.
        for mistake in mistakes {
            reader.not_toml(&mistake);
        }
    }
    // The document is sorted by key, not by line.
    reader.errors.sort_by_key(|(at, _)| *at);
    errors.extend(reader.errors.into_iter().map(|(_, error)| error));
}

struct Reader<'a> {
    text: &'a str,
    name: &'a str,
    settings: &'a mut Settings,
    /// Where each line begins.
    lines: Vec<usize>,
    /// With the offset that each is about.
    errors: Vec<(usize, ConfigError)>,
}

/// A key with its place.
type Name<'a> = Spanned<Cow<'a, str>>;
type Value<'a> = Spanned<DeValue<'a>>;

impl<'a> Reader<'a> {
    fn new(text: &'a str, name: &'a str, settings: &'a mut Settings) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            name,
            settings,
            lines: std::iter::once(0).chain(ends).collect(),
            errors: Vec::new(),
        }
    }

    /// A key at the top of the file: a table, or a value of its own.
    fn top(&mut self, key: &Name<'_>, value: &Value<'_>) {
        let name = key.get_ref().as_ref();
        if !TABLES.iter().any(|(table, _)| *table == name) {
            return self.key("", key, value);
        }
        match value.get_ref() {
            DeValue::Table(keys) => {
                for (key, value) in keys {
                    self.key(name, key, value);
                }
            }
            _ => self.wrong(
                key.span().start,
                name,
                &format!("this is a table. Write [{name}] on a line of its own, once."),
            ),
        }
    }

    fn key(&mut self, table: &str, name: &Name<'_>, value: &Value<'_>) {
        let at = name.span().start;
        let Some(key) = Key::find(table, name.get_ref()) else {
            let message = unknown(table, name.get_ref(), value.get_ref());
            let mut shown = Cow::Borrowed(name.get_ref().as_ref());
            if !is_bare(&shown) {
                shown = Cow::Owned(format!("\"{shown}\""));
            }
            return self.wrong(at, &join(table, &shown), &message);
        };
        match (&key.kind, value.get_ref()) {
            (Kind::Listen, DeValue::Array(list)) => self.listen(key, at, list.iter()),
            _ => self.set(key, value),
        }
    }

    /// Several addresses instead of one.
    fn listen<'v>(
        &mut self,
        key: &Key,
        at: usize,
        list: impl ExactSizeIterator<Item = &'v Value<'v>>,
    ) {
        if list.len() == 0 {
            let message = format!("the list is empty. {}", key.kind.takes());
            self.wrong(at, &key.path(), &message);
        }
        let mut all = Vec::new();
        for value in list {
            self.set(key, value);
            let listen = std::mem::take(&mut self.settings.listen);
            if listen.iter().any(|address| all.contains(address)) {
                let message = "this address is in the list twice. Remove one of them.";
                self.wrong(value.span().start, &key.path(), message);
            }
            all.extend(listen);
        }
        self.settings.listen = all;
    }

    fn set(&mut self, key: &Key, value: &Value<'_>) {
        let form = match value.get_ref() {
            DeValue::Integer(integer) => {
                let digits = integer.as_str();
                Form::Integer(u64::from_str_radix(digits, integer.radix()).ok())
            }
            DeValue::String(text) => Form::Text(text),
            DeValue::Boolean(yes) => Form::Boolean(*yes),
            _ => Form::Other,
        };
        let written = self.text.get(value.span()).unwrap_or_default();
        if let Err(message) = key.set(self.settings, &Given::new(written, form)) {
            self.wrong(value.span().start, &key.path(), &message);
        }
    }

    fn wrong(&mut self, at: usize, key: &str, message: &str) {
        let place = format!("{}:{}", self.name, self.line(at));
        let error = ConfigError::about(place, key, message);
        self.errors.push((at, error));
    }

    fn not_toml(&mut self, error: &toml::de::Error) {
        let span = error.span().unwrap_or_default();
        let line = self.line(span.start);
        let name = self.name;
        let place = format!("{name}:{line}");
        let begin = self.lines.get(line - 1).copied().unwrap_or_default();
        let whole_line = self.text.get(begin..).and_then(|rest| rest.lines().next());
        let error = if error.message() == "duplicate key" {
            let key = self.text.get(span.clone()).unwrap_or_default();
            ConfigError::about(place, key, "set a second time. Keep one of them.")
        } else if let Some((key, value)) = whole_line.and_then(|line| unquoted(line, error)) {
            let value = Shown(value);
            let written = Shown(key);
            let message = format!("{value} needs quotes: write {written} = \"{value}\".");
            ConfigError::about(place, key, &message)
        } else {
            let before = self.text.get(begin..span.start).unwrap_or_default();
            let column = before.chars().count() + 1;
            let message = format!("this is not TOML: {}.", error.message());
            ConfigError::new(format!("{place}:{column}"), message)
        };
        self.errors.push((span.start, error));
    }

    /// The number of the line that has the byte at `at`.
    fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|begin| *begin <= at).max(1)
    }
}

/// Key and value of a line in which only quotes are missing, as in `level = info` or
/// `write_timeout = 30s`: the most usual mistake, for which the parser has words that are no help.
fn unquoted<'a>(line: &'a str, error: &toml::de::Error) -> Option<(&'a str, &'a str)> {
    let message = error.message();
    if !message.starts_with("string values must be quoted") && !message.starts_with("invalid ") {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.split('#').next()?.trim());
    let is_plain = !value.is_empty() && !value.contains(['"', '\'', '[', ']', '{', '}', '=']);
    (is_bare(key) && is_plain).then_some((key, value))
}

/// Whether TOML takes this key without quotes.
fn is_bare(key: &str) -> bool {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !key.is_empty() && key.bytes().all(is_bare)
}

/// What to say of a key that does not exist.
fn unknown(table: &str, name: &str, value: &DeValue<'_>) -> String {
    if matches!(value, DeValue::Table(_) | DeValue::Array(_)) && table.is_empty() {
        let tables = TABLES.iter().map(|(table, _)| *table);
        if let Some(table) = nearest(name, tables) {
            return format!("unknown key. Did you mean [{table}]?");
        }
    }
    if let Some(key) = keys::all().find(|key| key.name == name) {
        let place = match key.table {
            "" => "at the top of the file, before the first table".to_owned(),
            table => format!("under [{table}]"),
        };
        return format!("unknown key. It belongs {place}.");
    }
    let mut names: Vec<_> = keys::all()
        .filter(|key| key.table == table)
        .map(|key| key.name)
        .collect();
    if let Some(name) = nearest(name, names.iter().copied()) {
        return format!("unknown key. Did you mean `{name}`?");
    }
    // The names of flags and of variables differ from the paths of keys by less than this.
    let paths: Vec<_> = keys::all().map(Key::path).collect();
    let path = nearest(name, paths.iter().map(String::as_str));
    if let Some((table, name)) = path.and_then(|path| path.split_once('.')) {
        return format!("unknown key. Did you mean `{name}` under [{table}]?");
    }
    if table.is_empty() {
        names.extend(TABLES.iter().map(|(table, _)| *table));
    }
    format!("unknown key. There are: {}.", names.join(", "))
}
