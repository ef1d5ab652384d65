//! What each key takes, at the ends of its range and beyond.

use std::num::NonZeroU16;
use std::time::Duration;

use super::super::keys::KEYS;
use super::*;
use crate::logging::{Format, Level};

/// A key, the field it must set, and values with what they mean there.
type Row<'a> = (
    &'a str,
    fn(&Settings) -> u128,
    &'a [(&'a str, u128)],
    &'a [&'a str],
);

const KIB: u128 = 1 << 10;
const GIB: u128 = 1 << 30;
const DAY: u128 = 86_400_000;

/// In milliseconds, and `None` as 0.
fn keep_alive(seconds: Option<NonZeroU16>) -> u128 {
    seconds.map_or(0, |seconds| u128::from(seconds.get()) * 1000)
}

const TIMES: &[(&str, u128)] = &[
    ("1", 1000),
    ("86400", DAY),
    ("\"100ms\"", 100),
    ("\"1500 ms\"", 1500),
    ("\"1m 30s\"", 90_000),
    ("\"1.5s\"", 1500),
    ("\"1day\"", DAY),
];
const NO_TIMES: &[&str] = &[
    "0",
    "-1",
    "86401",
    "1.0",
    "true",
    "[1]",
    "{ s = 1 }",
    "1979-05-27",
    "\"\"",
    "\"30\"",
    "\"99ms\"",
    "\"1s 1us\"",
    "\"1.5\"",
    "\"-1s\"",
    "\"2 days\"",
    "\"1 fortnight\"",
    "\"none\"",
    "\"18446744073709551615s 1000ms\"",
    "\"584542046090y 19768751615s 1000ms\"",
    "99999999999999999999",
];

const ROWS: &[Row<'static>] = &[
    (
        "limits.max_connections",
        |settings| settings.broker.max_connections as u128,
        &[("1", 1), ("100_000_000", 100_000_000), ("0x10", 16)],
        &["0", "-5", "100_000_001", "1e3", "\"5\"", "\"many\"", "[5]"],
    ),
    (
        "limits.connect_timeout",
        |settings| settings.broker.connect_timeout.as_millis(),
        TIMES,
        NO_TIMES,
    ),
    (
        "limits.authenticate_timeout",
        |settings| settings.broker.authenticate_timeout.as_millis(),
        TIMES,
        NO_TIMES,
    ),
    (
        "limits.write_timeout",
        |settings| settings.broker.write_timeout.as_millis(),
        TIMES,
        NO_TIMES,
    ),
    (
        "limits.close_timeout",
        |settings| settings.broker.close_timeout.as_millis(),
        TIMES,
        NO_TIMES,
    ),
    (
        "limits.shutdown_timeout",
        |settings| settings.shutdown_timeout.as_millis(),
        &[("0", 0), ("\"0s\"", 0), ("\"1h\"", 3_600_000)],
        &["-1", "86401", "\"1day 1ms\"", "\"soon\""],
    ),
    (
        "limits.max_keep_alive",
        |settings| keep_alive(settings.broker.max_keep_alive),
        &[
            ("\"none\"", 0),
            ("1", 1000),
            ("65535", 65_535_000),
            ("\"18h 12m 15s\"", 65_535_000),
        ],
        &["0", "65536", "\"1500ms\"", "\"None\"", "false"],
    ),
    (
        "limits.max_packet_size",
        |settings| settings.broker.max_packet_size.into(),
        &[
            ("2", 2),
            ("268_435_460", 268_435_460),
            ("\"256 MiB\"", 256 << 20),
            ("\"1KiB\"", KIB),
            ("\"1.5 kB\"", 1500),
            ("\"70\"", 70),
        ],
        &[
            "1",
            "268_435_461",
            "\"1 GiB\"",
            "\"99999999999999999999 TB\"",
            "\"8 apples\"",
            "\"MiB\"",
            "\"-1 MiB\"",
            "\" 1 MiB\"",
            "\"\"",
            "1.0",
            "18446744073709551616",
        ],
    ),
    (
        "limits.max_connect_size",
        |settings| settings.broker.max_connect_size.into(),
        &[("64", 64), ("\"1 KiB\"", KIB), ("268435460", 268_435_460)],
        &["63", "268435461"],
    ),
    (
        "limits.max_client_id_size",
        |settings| settings.broker.max_client_id_len as u128,
        &[("23", 23), ("\"1 KiB\"", KIB), ("65535", 65_535)],
        &["22", "\"64 KiB\""],
    ),
    (
        "limits.max_topic_levels",
        |settings| settings.broker.max_topic_levels as u128,
        &[("1", 1), ("128", 128)],
        &["0", "129", "\"5\""],
    ),
    (
        "limits.max_subscriptions",
        |settings| settings.broker.max_subscriptions as u128,
        &[("1", 1), ("1_000_000_000", 1_000_000_000)],
        &["0", "1_000_000_001"],
    ),
    (
        "limits.max_subscription_bytes",
        |settings| settings.broker.max_subscription_bytes as u128,
        &[("1", 1), ("\"1 TiB\"", 1024 * GIB)],
        &["0", "\"2 TiB\""],
    ),
    (
        "limits.max_retained_messages",
        |settings| settings.broker.max_retained as u128,
        &[("0", 0), ("1_000_000_000", 1_000_000_000)],
        &["-1", "1_000_000_001"],
    ),
    (
        "limits.max_retained_bytes",
        |settings| settings.broker.max_retained_bytes as u128,
        &[("0", 0), ("\"2 GiB\"", 2 * GIB), ("\"1TiB\"", 1024 * GIB)],
        &["-1", "\"1025 GiB\""],
    ),
    (
        "limits.max_outbox_bytes",
        |settings| settings.broker.outbox_limit as u128,
        &[("1024", KIB), ("\"1 TiB\"", 1024 * GIB)],
        &["1023", "\"2 TiB\""],
    ),
    (
        "limits.max_total_outbox_bytes",
        |settings| settings.broker.outbox_total_limit as u128,
        &[("1024", KIB), ("\"1 TiB\"", 1024 * GIB)],
        &["1023", "\"2 TiB\""],
    ),
    (
        "limits.max_events",
        |settings| settings.broker.max_events as u128,
        &[("1", 1), ("1_000_000", 1_000_000)],
        &["0", "1_000_001"],
    ),
    (
        "log.level",
        |settings| settings.log.level as u128,
        &[
            ("\"error\"", Level::Error as u128),
            ("\"warn\"", Level::Warn as u128),
            ("\"info\"", Level::Info as u128),
            ("\"debug\"", Level::Debug as u128),
            ("\"trace\"", Level::Trace as u128),
        ],
        &["\"loud\"", "\"Info\"", "\"\"", "1", "false", "[\"info\"]"],
    ),
    (
        "log.format",
        |settings| settings.log.format as u128,
        &[
            ("\"text\"", Format::Text as u128),
            ("\"json\"", Format::Json as u128),
        ],
        &["\"xml\"", "2"],
    ),
];

#[test]
fn every_key_takes_what_makes_sense_and_nothing_else() {
    for (path, field, good, bad) in ROWS {
        for (value, meaning) in *good {
            let text = format!("{path} = {value}");
            assert_eq!(field(&settings(&text)), *meaning, "{text}");
        }
        for value in *bad {
            let message = error(&format!("{path} = {value}"));
            let start = format!("a.toml:1: {path}: {value} ");
            assert!(message.starts_with(&start), "{message}");
            assert!(message.contains(". It takes "), "{message}");
        }
    }
}

#[test]
fn a_key_sets_its_own_field_and_no_other() {
    for (path, field, good, _) in ROWS {
        let default = field(&Settings::default());
        let differs = good.iter().find(|(_, meaning)| *meaning != default);
        let (value, _) = differs.expect("there is a row for this");
        let set = settings(&format!("{path} = {value}"));
        for (other, field_of_other, ..) in ROWS {
            let before = field_of_other(&Settings::default());
            assert!(
                path == other || field_of_other(&set) == before,
                "{path} sets {other}"
            );
        }
    }
}

#[test]
fn every_key_is_in_this_test() {
    let mut tested: Vec<_> = ROWS.iter().map(|(path, ..)| (*path).to_owned()).collect();
    tested.insert(0, "listen".to_owned());
    let all: Vec<_> = KEYS.iter().map(|key| key.path()).collect();
    assert_eq!(tested, all);
}

#[test]
fn messages_say_the_range_and_give_an_example() {
    for (line, message) in [
        (
            "limits.max_topic_levels = 129",
            "129 is out of range. It takes a whole number from 1 to 128.",
        ),
        (
            "limits.max_topic_levels = \"12\"",
            "\"12\" is text; leave out the quotes. It takes a whole number from 1 to 128.",
        ),
        (
            "limits.max_packet_size = 1",
            "1 is out of range. It takes a size from 2 bytes to 268_435_460 bytes, such as 4096 \
             or \"4 KiB\".",
        ),
        (
            "limits.max_outbox_bytes = \"8 megs\"",
            "\"8 megs\" is not a size. It takes a size from 1 KiB to 1 TiB, such as 4096 or \
             \"4 KiB\".",
        ),
        (
            "limits.write_timeout = \"1s 1us\"",
            "\"1s 1us\" is finer than a millisecond. It takes a time from 100ms to 1day, such as \
             90 or \"1m 30s\".",
        ),
        (
            "limits.max_keep_alive = \"1500ms\"",
            "\"1500ms\" is not a whole number of seconds. It takes a time from 1s to 18h 12m 15s, \
             such as 90 or \"1m 30s\", or \"none\".",
        ),
        (
            "log.level = \"loud\"",
            "\"loud\" is not possible. It takes \"error\", \"warn\", \"info\", \"debug\" or \
             \"trace\".",
        ),
        (
            "listen = 1883",
            "1883 is not an address. It takes an address such as \"tcp://127.0.0.1:1883\", or a \
             list of them.",
        ),
    ] {
        let (path, _) = line.split_once(" =").unwrap();
        assert_eq!(error(line), format!("a.toml:1: {path}: {message}"));
    }
}

#[test]
fn one_address_or_several_are_listened_on() {
    for (value, all) in [
        ("\"0.0.0.0:1\"", vec!["tcp://0.0.0.0:1"]),
        ("[\"0.0.0.0:1\"]", vec!["tcp://0.0.0.0:1"]),
        (
            "[\n\"[::]:1\", # all\n\"mqtt://localhost:0\",\n]",
            vec!["tcp://[::]:1", "tcp://localhost:0"],
        ),
    ] {
        assert_eq!(listeners(&settings(&format!("listen = {value}"))), all);
    }
}

#[test]
fn each_wrong_address_of_a_list_is_told_with_its_line() {
    assert_eq!(
        errors("listen = [\n\"localhost\",\n5, \"1.2.3.4:5\",\n[],\n\"tcp://1.2.3.4:5\",\n]"),
        [
            "a.toml:2: listen: \"localhost\": the port is missing; for example: 127.0.0.1:1883, \
             [::1]:1883 or localhost:1883",
            "a.toml:3: listen: 5 is not an address. It takes an address such as \
             \"tcp://127.0.0.1:1883\", or a list of them.",
            "a.toml:4: listen: [] is not an address. It takes an address such as \
             \"tcp://127.0.0.1:1883\", or a list of them.",
            "a.toml:5: listen: this address is in the list twice. Remove one of them.",
        ]
    );
    assert_eq!(
        error("listen = []"),
        "a.toml:1: listen: the list is empty. It takes an address such as \
         \"tcp://127.0.0.1:1883\", or a list of them."
    );
}

#[test]
fn times_are_kept_to_the_millisecond() {
    let text = "limits.connect_timeout = \"1s 5ms\"";
    let timeout = settings(text).broker.connect_timeout;
    assert_eq!(timeout, Duration::from_millis(1005));
}
