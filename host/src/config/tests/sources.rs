//! Which source counts, and the names that each has for a key.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use wherry_core::QueuePolicy;
use wherry_core::packet::QoS;

use super::super::keys;
use super::super::value::Kind;
use super::*;
use crate::address::ListenAddr;
use crate::logging::{Format, Level, Log};

/// A file with the given text, gone with the value.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("wherry-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is in the directory for such files.
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_later_source_overrides_an_earlier_one() {
    let file = Temporary::new(
        "rising",
        "listen = [\"a:1\", \"b:2\"]\nlimits.max_connections = 1\nlimits.max_events = 1\n\
         limits.shutdown_timeout = 1\nlog.level = \"error\"\nlog.format = \"json\"\n\
         http.listen = \"a:9\"",
    );
    let variables = [
        ("WHERRY_LISTEN", "c:3"),
        ("WHERRY_LIMITS_MAX_EVENTS", "2"),
        ("WHERRY_LIMITS_SHUTDOWN_TIMEOUT", "2s"),
        ("WHERRY_LOG_LEVEL", "warn"),
        ("WHERRY_HTTP_LISTEN", "b:9"),
        ("PATH", "unknown"),
    ]
    .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let mut flags = Flags {
        config: Some(file.0.clone()),
        ..Flags::default()
    };
    let none = Vec::<(OsString, OsString)>::new();

    let read = load(&flags, none).unwrap();
    assert_eq!(listeners(&read), ["tcp://a:1", "tcp://b:2"]);
    assert_eq!(read.http, "a:9".parse().ok());
    assert_eq!(read.broker.max_events, 1);

    let read = load(&flags, variables.clone()).unwrap();
    assert_eq!(listeners(&read), ["tcp://c:3"]);
    assert_eq!(read.http, "b:9".parse().ok());
    assert_eq!(read.broker.max_connections, 1);
    assert_eq!(read.broker.max_events, 2);
    assert_eq!(read.shutdown_timeout, Duration::from_secs(2));
    let log = Log {
        level: Level::Warn,
        format: Format::Json,
    };
    assert_eq!(read.log, log);

    flags.listen = vec!["d:4".parse().unwrap()];
    flags.port = Some(5);
    flags.http = Some(None);
    flags.log_level = Some(Level::Trace);
    flags.log_format = Some(Format::Text);
    flags.shutdown_timeout = Some(Duration::ZERO);
    let read = load(&flags, variables).unwrap();
    assert_eq!(listeners(&read), ["tcp://d:4", "tcp://127.0.0.1:5"]);
    assert_eq!(read.http, None);
    assert_eq!(read.broker.max_events, 2);
    assert_eq!(read.shutdown_timeout, Duration::ZERO);
    let log = Log {
        level: Level::Trace,
        format: Format::Text,
    };
    assert_eq!(read.log, log);
}

#[test]
fn every_key_has_a_variable() {
    for key in keys::all() {
        let name = key.variable();
        let value = key.kind.default_value().replace(['"', '_'], "");
        let read = environment(&[(&name, &value)]);
        assert_eq!(read, Ok(Settings::default()), "{name}={value}");
        let (bad, shown) = match key.kind {
            Kind::Text(_) => ("\u{7}", "\\u{7}"),
            _ => ("?", "?"),
        };
        let Err(errors) = environment(&[(&name, bad)]) else {
            panic!("{name}");
        };
        assert!(errors[0].starts_with(&format!("{name}: \"{shown}\"")));
    }
}

#[test]
fn variables_have_values_without_types() {
    let read = environment(&[
        ("WHERRY_LISTEN", "0.0.0.0:1883, tcp://[::1]:0"),
        ("WHERRY_LIMITS_MAX_CONNECTIONS", "5"),
        ("WHERRY_LIMITS_MAX_PACKET_SIZE", "1 MiB"),
        ("WHERRY_LIMITS_MAX_CONNECT_SIZE", "512"),
        ("WHERRY_LIMITS_CONNECT_TIMEOUT", "5"),
        ("WHERRY_LIMITS_WRITE_TIMEOUT", "1m30s"),
        ("WHERRY_LIMITS_MAX_KEEP_ALIVE", "none"),
        ("WHERRY_LIMITS_QUEUE_POLICY", "drop-newest"),
        ("WHERRY_LIMITS_QUEUE_QOS0", "true"),
        ("WHERRY_MQTT_MAX_QOS", "1"),
        ("WHERRY_MQTT_RETAIN_AVAILABLE", "false"),
        ("WHERRY_MQTT_SERVER_REFERENCE", "other:1883"),
        ("WHERRY_SYS_INTERVAL", "none"),
        ("WHERRY_HTTP_LISTEN", "[::1]:9883"),
        ("WHERRY_LOG_FORMAT", "json"),
    ])
    .unwrap();
    assert_eq!(listeners(&read), ["tcp://0.0.0.0:1883", "tcp://[::1]:0"]);
    assert_eq!(read.broker.max_connections, 5);
    assert_eq!(read.broker.max_packet_size, 1 << 20);
    assert_eq!(read.broker.max_connect_size, 512);
    assert_eq!(read.broker.connect_timeout, Duration::from_secs(5));
    assert_eq!(read.broker.write_timeout, Duration::from_secs(90));
    assert_eq!(read.broker.max_keep_alive, None);
    assert_eq!(read.broker.queue_policy, QueuePolicy::DropNewest);
    assert!(read.broker.queue_qos0 && !read.broker.retain_available);
    assert_eq!(read.broker.max_qos, QoS::AtLeastOnce);
    assert_eq!(read.broker.server_reference.as_deref(), Some("other:1883"));
    assert_eq!(read.broker.sys_interval, None);
    assert_eq!(read.http, "[::1]:9883".parse().ok());
    assert_eq!(read.log.format, Format::Json);
}

#[test]
fn what_is_wrong_with_a_variable_is_told() {
    for (name, value, message) in [
        (
            "WHERRY_LIMITS_MAX_CONECTIONS",
            "5",
            "unknown variable. Did you mean WHERRY_LIMITS_MAX_CONNECTIONS?",
        ),
        (
            "WHERRY_MAX_CONNECTIONS",
            "5",
            "unknown variable. Did you mean WHERRY_LIMITS_MAX_CONNECTIONS?",
        ),
        (
            "WHERRY_PORT",
            "1884",
            "unknown variable. Did you mean WHERRY_LISTEN?",
        ),
        (
            "WHERRY_LIMITS_MAX_TOPIC_LEVELS",
            "0",
            "\"0\" is out of range. It takes a whole number from 1 to 256.",
        ),
        (
            "WHERRY_LIMITS_MAX_TOPIC_LEVELS",
            "-1",
            "\"-1\" is out of range. It takes a whole number from 1 to 256.",
        ),
        (
            "WHERRY_LIMITS_MAX_TOPIC_LEVELS",
            "+1",
            "\"+1\" is not a whole number. It takes a whole number from 1 to 256.",
        ),
        (
            "WHERRY_LIMITS_QUEUE_QOS0",
            "yes",
            "\"yes\" is neither true nor false. It takes true or false.",
        ),
        (
            "WHERRY_LOG_FORMAT",
            "",
            "it is empty: unset it. It takes \"text\" or \"json\".",
        ),
        (
            "WHERRY_LISTEN",
            "a:1,localhost",
            "\"localhost\": the port is missing; for example: 127.0.0.1:1883, [::1]:1883 or \
             localhost:1883",
        ),
    ] {
        let errors = environment(&[(name, value)]).unwrap_err();
        assert_eq!(errors, [format!("{name}: {message}")]);
    }
    let errors = environment(&[("WHERRY_X", "1")]).unwrap_err();
    assert!(
        errors[0].contains("it knows: WHERRY_LISTEN, WHERRY_SHARDS, WHERRY_LIMITS_…, "),
        "{errors:?}"
    );
    assert!(errors[0].len() < 500, "{errors:?}");
}

#[cfg(unix)]
#[test]
fn variables_that_are_not_text_are_told_if_they_are_ours() {
    use std::os::unix::ffi::OsStringExt;

    let bad = || OsString::from_vec(b"\xff".to_vec());
    let read =
        |name: OsString| load(&Flags::default(), [(name, bad())]).map_err(|errors| shown(&errors));
    assert_eq!(read(bad()), Ok(Settings::default()));
    assert_eq!(
        read("WHERRY_LOG_FORMAT".into()),
        Err(vec![
            "WHERRY_LOG_FORMAT: its value is not UTF-8. It takes \"text\" or \"json\".".to_owned()
        ])
    );
}

#[test]
fn the_variables_of_a_service_called_like_the_broker_are_no_mistake() {
    let read = environment(&[
        ("WHERRY_SERVICE_HOST", "10.0.0.1"),
        ("WHERRY_SERVICE_PORT", "1883"),
        ("WHERRY_SERVICE_PORT_MQTT", "1883"),
        ("WHERRY_PORT", "tcp://10.0.0.1:1883"),
        ("WHERRY_PORT_1883_TCP", "tcp://10.0.0.1:1883"),
        ("WHERRY_PORT_1883_TCP_PROTO", "tcp"),
        ("WHERRY_PORT_1883_TCP_ADDR", "10.0.0.1"),
        ("WHERRY_MQTT_SERVICE_HOST", "10.0.0.1"),
        ("WHERRY_MQTT_PORT", "tcp://10.0.0.1:1883"),
        ("WHERRY_MQTT_PORT_1883_TCP_PORT", "1883"),
    ]);
    assert_eq!(read, Ok(Settings::default()));
}

#[test]
fn all_sources_are_told_of_at_once() {
    let file = Temporary::new("wrong", "a = 1");
    let flags = Flags {
        config: Some(file.0.clone()),
        listen: vec![ListenAddr::loopback(0)],
        ..Flags::default()
    };
    let variables = [("WHERRY_LOG", "x"), ("WHERRY_LOG_LEVEL", "x")]
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let errors = load(&flags, variables).unwrap_err();
    let places = [
        format!("{}:1: a: ", file.0.display()),
        "WHERRY_LOG: ".to_owned(),
        "WHERRY_LOG_LEVEL: ".to_owned(),
    ];
    assert_eq!(errors.len(), places.len());
    for (error, place) in errors.iter().zip(places) {
        assert!(error.to_string().starts_with(&place), "{error}");
    }
}
