//! Arbitrary text for the configuration.

use wherry_host::config::{ConfigError, Settings, parse};

/// What messages are to call the file.
const FILE: &str = "fuzzed.toml";

/// Reads a configuration.
///
/// Whatever is accepted is within the bounds of every key that has any, and a comment after it
/// changes nothing. What is refused is told in lines that name the file, do not fill a screen and
/// do not drive a terminal. Returns whether it was accepted.
pub fn config(data: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(data) else {
        return false;
    };
    let outcome = parse(text, FILE);
    match &outcome {
        Ok(settings) => assert_sound(settings),
        Err(errors) => {
            assert!(!errors.is_empty(), "refused, and nobody knows why");
            errors.iter().for_each(assert_tells);
        }
    }
    let accepted = outcome.is_ok();
    if accepted {
        let commented = parse(&format!("{text}\n# the end"), FILE);
        assert_eq!(commented, outcome, "a comment changes it");
    }
    accepted
}

/// Asserts that settings are within all bounds.
pub(super) fn assert_sound(settings: &Settings) {
    assert!(!settings.listen.is_empty(), "nowhere to listen");
    let broker = &settings.broker;
    assert!((1..=wherry_core::topic::MAX_LEVELS).contains(&broker.max_topic_levels));
    assert!((2..=268_435_460).contains(&broker.max_packet_size));
    assert!((64..=268_435_460).contains(&broker.max_connect_size));
    assert!((23..=65_535).contains(&broker.max_client_id_len));
    assert!(broker.max_connections > 0 && broker.max_subscriptions > 0);
    assert!(broker.outbox_limit >= 1024 && broker.outbox_total_limit >= 1024);
    for time in [
        broker.connect_timeout,
        broker.authenticate_timeout,
        broker.write_timeout,
        broker.close_timeout,
    ] {
        assert!((100..=86_400_000).contains(&time.as_millis()), "{time:?}");
    }
    assert!(settings.shutdown_timeout.as_secs() <= 86_400);
}

fn assert_tells(error: &ConfigError) {
    let told = error.to_string();
    let what = told
        .strip_prefix(FILE)
        .and_then(|rest| rest.split_once(": "));
    let (line, what) = what.unwrap_or_else(|| panic!("it names no file: {told}"));
    // The line, and the column where it is known.
    let numbers = line.split(':').skip(1).map(str::parse::<usize>);
    let all_numbers = numbers.clone().all(|n| matches!(n, Ok(1..)));
    assert!(all_numbers && numbers.count() <= 2, "{told}");
    assert!(!what.is_empty(), "{told}");
    assert_shown(&told);
}

/// Asserts that what is told is one line that does not drive a terminal or fill a screen.
pub(super) fn assert_shown(told: &str) {
    assert!(told.len() < 2000, "{told}");
    assert!(!told.contains(char::is_control), "{told:?}");
}
