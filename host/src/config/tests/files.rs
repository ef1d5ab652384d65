//! What can be wrong with a file as a whole.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::super::file;
use super::*;
use crate::config::template;

#[test]
fn nothing_said_means_the_defaults() {
    for text in [
        "",
        "\n",
        "# nothing\r\n",
        "\u{feff}",
        "[limits]\n[mqtt]\n[sys]\n[log]\n",
    ] {
        assert_eq!(settings(text), Settings::default(), "{text:?}");
    }
}

#[test]
fn an_unknown_key_is_told_with_what_was_probably_meant() {
    for (text, message) in [
        (
            "\n[limits]\nmax_conections = 5",
            "a.toml:3: limits.max_conections: unknown key. Did you mean `max_connections`?",
        ),
        (
            "limits = { connections = 5 }",
            "a.toml:1: limits.connections: unknown key. Did you mean `max_connections`?",
        ),
        (
            "limits.max-connections = 5",
            "a.toml:1: limits.max-connections: unknown key. Did you mean `max_connections`?",
        ),
        (
            "Listen = \"a:1\"",
            "a.toml:1: Listen: unknown key. Did you mean `listen`?",
        ),
        (
            "max_connections = 5",
            "a.toml:1: max_connections: unknown key. It belongs under [limits].",
        ),
        (
            "[log]\nlisten = \"a:1\"",
            "a.toml:2: log.listen: unknown key. It belongs at the top of the file, before the \
             first table.",
        ),
        (
            "log_level = 5",
            "a.toml:1: log_level: unknown key. Did you mean `level` under [log]?",
        ),
        (
            "colour = 1",
            "a.toml:1: colour: unknown key. There are: listen, shards, limits, mqtt, persistence, sys, http, log.",
        ),
        (
            "[log]\ncolour = 1",
            "a.toml:2: log.colour: unknown key. There are: level, format.",
        ),
        (
            "[limit]\nmax_connections = 5",
            "a.toml:1: limit: unknown key. Did you mean [limits]?",
        ),
        (
            "[[logs]]",
            "a.toml:1: logs: unknown key. Did you mean [log]?",
        ),
        (
            "\"limits.max_connections\" = 5",
            "a.toml:1: \"limits.max_connections\": unknown key. Did you mean `max_connections` \
             under [limits]?",
        ),
        (
            "log.\"\\u001b[2J\\n\" = 1",
            "a.toml:1: log.\"\\u{1b}[2J\\n\": unknown key. There are: level, format.",
        ),
        (
            "[log.level]\nx = 1",
            "a.toml:1: log.level: [log.level] is not possible. It takes \"error\", \"warn\", \
             \"info\", \"debug\" or \"trace\".",
        ),
        (
            "log = \"debug\"",
            "a.toml:1: log: this is a table. Write [log] on a line of its own, once.",
        ),
        (
            "[[limits]]",
            "a.toml:1: limits: this is a table. Write [limits] on a line of its own, once.",
        ),
    ] {
        assert_eq!(error(text), message);
    }
}

#[test]
fn what_is_said_twice_is_an_error() {
    for (text, message) in [
        (
            "[log]\nlevel = \"info\"\nlevel = \"warn\"",
            "a.toml:3: level: set a second time. Keep one of them.",
        ),
        (
            "[log]\n[limits]\n[log]",
            "a.toml:3: log: set a second time. Keep one of them.",
        ),
        (
            "listen = \"a:1\"\n\"listen\" = \"b:1\"",
            "a.toml:2: \"listen\": set a second time. Keep one of them.",
        ),
    ] {
        assert_eq!(error(text), message);
    }
}

#[test]
fn what_is_not_toml_is_told_with_line_and_column() {
    for (text, message) in [
        (
            "[log]\nlevel = debug # or not",
            "a.toml:2: level: debug needs quotes: write level = \"debug\".",
        ),
        (
            "level = info",
            "a.toml:1: level: info needs quotes: write level = \"info\".",
        ),
        (
            "format = text",
            "a.toml:1: format: text needs quotes: write format = \"text\".",
        ),
        (
            "listen = 127.0.0.1:1883",
            "a.toml:1: listen: 127.0.0.1:1883 needs quotes: write listen = \"127.0.0.1:1883\".",
        ),
        (
            "max_packet_size = 8 MiB",
            "a.toml:1: max_packet_size: 8 MiB needs quotes: write max_packet_size = \"8 MiB\".",
        ),
        (
            "[log\n",
            "a.toml:1:5: this is not TOML: unclosed table, expected `]`.",
        ),
        (
            "level",
            "a.toml:1:6: this is not TOML: key with no value, expected `=`.",
        ),
        (
            "é = 1",
            "a.toml:1:1: this is not TOML: invalid unquoted key, expected letters, numbers, `-`, \
             `_`.",
        ),
    ] {
        assert_eq!(error(text), message);
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_in_order() {
    assert_eq!(
        errors("x = 1\n[log]\nlevel = 1\nz = 1\n[limits]\nmax_events = 0\na = 1\n").len(),
        5
    );
    let all = errors("[log]\nformat = 1\n[limits]\nmax_events = 0\n[a]");
    let lines: Vec<_> = all.iter().map(|error| &error[..9]).collect();
    assert_eq!(lines, ["a.toml:2:", "a.toml:4:", "a.toml:5:"]);
}

#[test]
fn a_file_that_cannot_be_read_is_told_why() {
    let directory = std::env::temp_dir().join(format!("wherry-config-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("a.toml");
    let name = path.display();
    let read = || file::read(&path).map_err(|error| error.to_string());

    assert_eq!(
        read(),
        Err(format!(
            "{name}: there is no such file. Give its path with --config FILE."
        ))
    );
    fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    assert_eq!(
        read(),
        Err(format!(
            "{name}:2: this line is not UTF-8. Save the file as UTF-8."
        ))
    );
    fs::write(&path, vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert_eq!(
        read(),
        Err(format!(
            "{name}: this file is larger than 1 MiB; is it the configuration?"
        ))
    );
    fs::write(&path, vec![b'\n'; 1 << 20]).unwrap();
    assert!(read().is_ok());
    assert_eq!(
        file::read(&directory).unwrap_err().to_string(),
        format!(
            "{}: this is a directory. Give the path of a file with --config FILE.",
            directory.display()
        )
    );
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn nesting_has_an_end() {
    let deep = format!("listen = {}", "[".repeat(100_000));
    assert!(parse(&deep, "a.toml").is_err());
    let deep = format!("{}a = 1", "a.".repeat(100_000));
    assert!(parse(&deep, "a.toml").is_err());
}

#[test]
fn what_somebody_wrote_cannot_drive_a_terminal_or_fill_a_screen() {
    let hostile = format!("\u{1b}[2J\t{}", "x".repeat(5000));
    let quoted = format!("\"\\u001b[2J\\t{}\"", "x".repeat(5000));
    let long = "x".repeat(5000);
    for text in [
        format!("listen = \"0.0.0.0:\t\t8138{long}\""),
        format!("listen = {quoted}"),
        format!("listen = \"\\u001b:1\"\n{quoted} = 1"),
        format!("limits.{quoted} = 1"),
        format!("limits.max_events = {quoted}"),
        format!("mqtt.server_reference = {quoted}"),
        format!("log.level = {quoted}"),
        format!("{quoted} = 1\n{quoted} = 1"),
        format!("{long} = {hostile}"),
        format!("{long} = {long} s"),
        hostile,
    ] {
        for told in errors(&text) {
            assert!(told.len() < 2000, "{told:?}");
            assert!(!told.contains(char::is_control), "{told:?}");
        }
    }
    let name = "\u{1b}[2J.toml";
    let told = file::read(Path::new(name)).unwrap_err().to_string();
    assert!(told.starts_with("\\u{1b}[2J.toml: "), "{told:?}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*|(.|\n)*") {
        let _ = parse(&text, "a.toml");
    }

    /// Text that is nearly a configuration gets further in than text that is none.
    #[test]
    fn no_damage_to_a_file_makes_it_panic(
        at in any::<prop::sample::Index>(),
        len in 0_usize..40,
        insert in "[\\[\\]{}=\"'#,.0-9a-z_\n -]{0,12}|\\PC{0,4}",
    ) {
        let text = template();
        let mut starts = text.char_indices().map(|(at, _)| at).collect::<Vec<_>>();
        starts.push(text.len());
        let begin = at.index(starts.len());
        let end = (begin + len).min(starts.len() - 1);
        let damaged = format!("{}{insert}{}", &text[..starts[begin]], &text[starts[end]..]);
        let _ = parse(&damaged, "a.toml");
    }

    #[test]
    fn no_value_makes_it_panic(
        key in prop::sample::select(vec![
            "listen", "limits.max_keep_alive", "limits.close_timeout", "limits.max_packet_size",
            "limits.max_events", "log.level", "limits.max_session_expiry", "limits.queue_qos0",
            "mqtt.max_qos", "mqtt.send_window", "mqtt.server_reference",
        ]),
        value in "\"([0-9]{1,20} ?(ns|ms|s|min|h|y|MiB|EB|)[ .]?){0,6}\"|-?[0-9_.e]{1,30}|\\PC*",
    ) {
        let _ = parse(&format!("{key} = {value}"), "a.toml");
    }
}
