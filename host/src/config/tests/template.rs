//! `deploy/wherry.toml` is what the table of keys says.

use std::fs;
use std::path::Path;

use super::super::keys::{self, TABLES};
use super::*;
use crate::config::template;

#[test]
fn the_file_to_start_from_is_complete_and_holds_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/wherry.toml");
    if std::env::var_os("UPDATE_TEMPLATE").is_some() {
        fs::write(&path, template()).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(settings(&text), Settings::default());
    for key in keys::all() {
        let line = format!("\n{} = {}\n", key.name, key.kind.default_value());
        assert_eq!(text.matches(&line).count(), 1, "{line}");
    }
    assert!(
        text == template(),
        "the table of keys has changed: run this test with UPDATE_TEMPLATE=1"
    );
    assert!(text.lines().all(|line| line.len() <= 100));
}

#[test]
fn the_table_of_keys_is_sound() {
    for (at, key) in keys::all().enumerate() {
        // File, variables and suggestions find a key by any one of these.
        for other in keys::all().skip(at + 1) {
            assert_ne!(key.path(), other.path());
            assert_ne!(key.variable(), other.variable());
        }
        assert!(key.table.is_empty() || TABLES.iter().any(|(table, _)| *table == key.table));
        assert!(TABLES.iter().all(|(table, _)| *table != key.name));
        assert!(key.about.ends_with('.'), "{}", key.about);
        // The default stands by its own rules.
        let text = format!("{} = {}", key.path(), key.kind.default_value());
        assert_eq!(settings(&text), Settings::default(), "{text}");
    }
}
