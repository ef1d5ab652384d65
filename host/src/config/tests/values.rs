//! What each key takes, at the ends of its range and beyond.

use std::num::NonZeroU16;
use std::time::Duration;

use wherry_core::{QueuePolicy, RetainedPolicy, ShareStrategy, Strictness};

use super::super::keys;
use super::*;
use crate::address::{ListenAddr, Place};
use crate::config::Backend;
use crate::logging::{Format, Level};
use crate::store::sqlite::Durability;

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

/// What `none` becomes where 0 means something.
const NONE: u128 = u128::MAX;

/// In milliseconds.
fn optional(time: Option<Duration>) -> u128 {
    time.map_or(NONE, |time| time.as_millis())
}

/// The port, and `None` as [`NONE`].
fn http_port(address: Option<&ListenAddr>) -> u128 {
    address.map_or(NONE, |address| match &address.place {
        Place::Address(address) => address.port().into(),
        Place::Name(_, port) => (*port).into(),
    })
}

/// The bytes of a short text, as one number, and `None` as 0.
fn text(text: Option<&str>) -> u128 {
    let bytes = text.unwrap_or_default().bytes();
    bytes.fold(0, |number, byte| number << 8 | u128::from(byte))
}

const SWITCH: &[(&str, u128)] = &[("true", 1), ("false", 0)];
const NO_SWITCH: &[&str] = &["1", "0", "\"true\"", "\"yes\"", "\"\"", "[true]"];

const TEXTS: &[(&str, u128)] = &[
    ("\"none\"", 0),
    ("\"a/b\"", 0x61_2f_62),
    ("'é \"'", 0xc3_a9_20_22),
];
const NO_TEXTS: &[&str] = &["\"\"", "1", "true", "[\"a\"]", "\"a\\u0000\"", "\"a\\n\""];

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
        "shards",
        |settings| settings.shards.map_or(NONE, |shards| shards.get().into()),
        &[("1", 1), ("64", 64), ("\"auto\"", NONE)],
        &["0", "65", "\"none\"", "\"4\"", "true"],
    ),
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
        "limits.max_auth_rounds",
        |settings| settings.broker.max_auth_rounds.into(),
        &[("1", 1), ("1000", 1000)],
        &["0", "1001", "-1", "\"none\""],
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
        &[("1", 1), ("256", 256)],
        &["0", "257", "\"5\""],
    ),
    (
        "limits.max_known_topics",
        |settings| settings.broker.max_known_topics as u128,
        &[("0", 0), ("1048576", 1_048_576)],
        &["1048577"],
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
        "limits.max_sessions",
        |settings| settings.broker.max_sessions as u128,
        &[("1", 1), ("100_000_000", 100_000_000)],
        &["0", "100_000_001", "\"none\""],
    ),
    (
        "limits.max_session_expiry",
        |settings| optional(settings.broker.max_session_expiry),
        &[
            ("\"none\"", NONE),
            ("0", 0),
            ("\"1h\"", 3_600_000),
            ("3_155_760_000", 36_525 * DAY),
        ],
        &["-1", "3_155_760_001", "\"for ever\"", "\"1us\"", "false"],
    ),
    (
        "limits.max_queued_messages",
        |settings| settings.broker.max_queued_messages as u128,
        &[("1", 1), ("1_000_000_000", 1_000_000_000)],
        &["0", "1_000_000_001", "\"10\""],
    ),
    (
        "limits.max_queued_bytes",
        |settings| settings.broker.max_queued_bytes as u128,
        &[("1024", KIB), ("\"1 TiB\"", 1024 * GIB)],
        &["1023", "\"2 TiB\""],
    ),
    (
        "limits.max_total_queued_bytes",
        |settings| settings.broker.max_queued_bytes_total as u128,
        &[("1024", KIB), ("\"1 TiB\"", 1024 * GIB)],
        &["1023", "\"2 TiB\""],
    ),
    (
        "limits.queue_policy",
        |settings| settings.broker.queue_policy as u128,
        &[
            ("\"reject\"", QueuePolicy::Reject as u128),
            ("\"drop-newest\"", QueuePolicy::DropNewest as u128),
            ("\"drop-oldest\"", QueuePolicy::DropOldest as u128),
        ],
        &[
            "\"drop\"",
            "\"drop_oldest\"",
            "\"Reject\"",
            "\"\"",
            "1",
            "true",
        ],
    ),
    (
        "limits.queue_qos0",
        |settings| settings.broker.queue_qos0.into(),
        SWITCH,
        NO_SWITCH,
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
        "limits.retained_policy",
        |settings| settings.broker.retained_policy as u128,
        &[
            ("\"reject\"", RetainedPolicy::Reject as u128),
            ("\"drop-oldest\"", RetainedPolicy::DropOldest as u128),
        ],
        &["\"drop-newest\"", "0"],
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
        "mqtt.max_qos",
        |settings| settings.broker.max_qos as u128,
        &[("0", 0), ("1", 1), ("2", 2)],
        &["3", "-1", "256", "\"1\"", "true"],
    ),
    (
        "mqtt.retain_available",
        |settings| settings.broker.retain_available.into(),
        SWITCH,
        NO_SWITCH,
    ),
    (
        "mqtt.wildcard_subscriptions_available",
        |settings| settings.broker.wildcard_subscriptions_available.into(),
        SWITCH,
        NO_SWITCH,
    ),
    (
        "mqtt.subscription_identifiers_available",
        |settings| settings.broker.subscription_identifiers_available.into(),
        SWITCH,
        NO_SWITCH,
    ),
    (
        "mqtt.shared_subscriptions_available",
        |settings| settings.broker.shared_subscriptions_available.into(),
        SWITCH,
        NO_SWITCH,
    ),
    (
        "mqtt.share_strategy",
        |settings| settings.broker.share_strategy as u128,
        &[
            ("\"round-robin\"", ShareStrategy::RoundRobin as u128),
            ("\"random\"", ShareStrategy::Random as u128),
            ("\"sticky\"", ShareStrategy::Sticky as u128),
            ("\"least-in-flight\"", ShareStrategy::LeastInFlight as u128),
        ],
        &["\"least\"", "\"round robin\"", "2"],
    ),
    (
        "mqtt.receive_window",
        |settings| settings.broker.receive_window.get().into(),
        &[("1", 1), ("65535", 65_535)],
        &["0", "65536", "\"none\""],
    ),
    (
        "mqtt.receive_maximum",
        |settings| settings.broker.receive_maximum as u128,
        &[
            ("\"strict\"", Strictness::Strict as u128),
            ("\"warn\"", Strictness::Warn as u128),
        ],
        &["\"lenient\"", "20", "true"],
    ),
    (
        "mqtt.send_window",
        |settings| settings.broker.send_window.get().into(),
        &[("1", 1), ("65535", 65_535)],
        &["0", "65536"],
    ),
    (
        "mqtt.retransmit_interval",
        |settings| optional(settings.broker.retransmit_interval),
        &[("\"none\"", NONE), ("1", 1000), ("\"1day\"", DAY)],
        &["0", "\"999ms\"", "86401", "\"never\""],
    ),
    (
        "mqtt.retransmit_limit",
        |settings| settings.broker.retransmit_limit.into(),
        &[("1", 1), ("1000", 1000)],
        &["0", "1001", "\"none\""],
    ),
    (
        "mqtt.max_topic_aliases",
        |settings| settings.broker.max_topic_aliases.into(),
        &[("0", 0), ("65535", 65_535)],
        &["-1", "65536"],
    ),
    (
        "mqtt.max_topic_aliases_to_client",
        |settings| settings.broker.max_topic_aliases_to_client.into(),
        &[("0", 0), ("65535", 65_535)],
        &["-1", "65536"],
    ),
    (
        "mqtt.response_information",
        |settings| text(settings.broker.response_information.as_deref()),
        TEXTS,
        NO_TEXTS,
    ),
    (
        "mqtt.server_reference",
        |settings| text(settings.broker.server_reference.as_deref()),
        TEXTS,
        NO_TEXTS,
    ),
    (
        "persistence.backend",
        |settings| settings.persistence.backend as u128,
        &[
            ("\"memory\"", Backend::Memory as u128),
            ("\"sqlite\"", Backend::Sqlite as u128),
        ],
        &["\"redis\"", "true"],
    ),
    (
        "persistence.path",
        |settings| {
            text(
                settings
                    .persistence
                    .path
                    .as_ref()
                    .and_then(|path| path.to_str()),
            )
        },
        TEXTS,
        NO_TEXTS,
    ),
    (
        "persistence.durability",
        |settings| settings.persistence.durability as u128,
        &[
            ("\"power\"", Durability::Power as u128),
            ("\"process\"", Durability::Process as u128),
        ],
        &["\"none\"", "0"],
    ),
    (
        "persistence.commit_linger",
        |settings| settings.broker.commit_linger.as_millis(),
        &[("0", 0), ("\"5ms\"", 5), ("1", 1000)],
        &["\"1001ms\"", "2", "\"none\""],
    ),
    (
        "persistence.max_uncommitted_bytes",
        |settings| settings.broker.max_uncommitted_bytes as u128,
        &[("\"64 KiB\"", 64 * KIB), ("\"1 GiB\"", GIB)],
        &["\"63 KiB\"", "0", "\"none\""],
    ),
    (
        "sys.interval",
        |settings| optional(settings.broker.sys_interval),
        &[("\"none\"", NONE), ("1", 1000), ("\"1day\"", DAY)],
        &["0", "\"500ms\"", "86401", "\"off\"", "false"],
    ),
    (
        "http.listen",
        |settings| http_port(settings.http.as_ref()),
        &[
            ("\"none\"", NONE),
            ("\"127.0.0.1:9883\"", 9883),
            ("\"http://[::]:0\"", 0),
            ("\"http://localhost:9883/\"", 9883),
        ],
        &[
            "\"\"",
            "9883",
            "\"9883\"",
            "\"localhost\"",
            "\"tcp://127.0.0.1:9883\"",
            "\"https://127.0.0.1:9883\"",
            "\"http://tcp://127.0.0.1:9883\"",
            "\"127.0.0.1:9883/metrics\"",
            "[\"127.0.0.1:9883\"]",
            "false",
        ],
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
    let all: Vec<_> = keys::all().map(keys::Key::path).collect();
    assert_eq!(tested, all);
}

#[test]
fn messages_say_the_range_and_give_an_example() {
    for (line, message) in [
        (
            "limits.max_topic_levels = 257",
            "257 is out of range. It takes a whole number from 1 to 256.",
        ),
        (
            "limits.max_topic_levels = \"12\"",
            "\"12\" is text; leave out the quotes. It takes a whole number from 1 to 256.",
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
            "limits.queue_policy = \"drop\"",
            "\"drop\" is not possible. It takes \"reject\", \"drop-newest\" or \"drop-oldest\".",
        ),
        (
            "limits.max_session_expiry = 3_155_760_001",
            "3_155_760_001 is out of range. It takes a time from 0s to 100years, such as 90 or \
             \"1m 30s\", or \"none\".",
        ),
        (
            "mqtt.retain_available = \"true\"",
            "\"true\" is text; leave out the quotes. It takes true or false.",
        ),
        (
            "mqtt.retain_available = 1",
            "1 is neither true nor false. It takes true or false.",
        ),
        (
            "mqtt.server_reference = \"\"",
            "\"\" is empty. It takes text of at most 1 KiB, or \"none\".",
        ),
        (
            "http.listen = \"localhost\"",
            "\"localhost\" is not an address with a port. It takes an address such as \
             \"127.0.0.1:9883\", or \"none\".",
        ),
        (
            "http.listen = 9883",
            "9883 is not an address. It takes an address such as \"127.0.0.1:9883\", or \
             \"none\".",
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
fn texts_have_a_longest_length() {
    let set = |len: usize| format!("mqtt.response_information = \"{}\"", "é".repeat(len / 2));
    let text = settings(&set(1024)).broker.response_information;
    assert_eq!(text.map(|text| text.len()), Some(1024));
    assert!(error(&set(1026)).contains(" is too long. "));
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
