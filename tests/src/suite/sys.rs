//! `$SYS`: what the broker tells of itself, as dashboards made for Mosquitto read it.

use std::time::{Duration, Instant};

use super::versions;
use crate::PATIENCE;
use crate::broker::BinaryUnderTest;
use crate::client::Client;
use crate::wire::Version;

/// How many seconds the broker says that it has been up.
fn uptime(client: &mut Client, retain: bool) -> u64 {
    let message = client.expect_message();
    assert_eq!(message.topic, "$SYS/broker/uptime");
    assert_eq!(message.retain, retain);
    let payload = String::from_utf8(message.payload).unwrap();
    payload.strip_suffix(" seconds").unwrap().parse().unwrap()
}

/// Who subscribes gets the broker's figures as retained messages, in every version; who subscribes
/// to everything does not [MQTT-4.7.2-1].
pub fn the_broker_tells_of_itself(binary: &BinaryUnderTest) {
    let broker = binary.start_with_variables(&[("WHERRY_SYS_INTERVAL", "1day")]);
    for version in versions() {
        let mut client = Client::connect(&broker, version, "curious");
        client.subscribe("#");
        client.ping();
        client.subscribe("$SYS/broker/uptime");
        uptime(&mut client, true);
        client.subscribe("$SYS/broker/version");
        let told = format!("wherry version {}", env!("CARGO_PKG_VERSION"));
        client.expect_publish("$SYS/broker/version", told, true);
        client.subscribe("$SYS/broker/load/+/received/15min");
        let mut loads: Vec<_> = std::iter::repeat_with(|| client.expect_message())
            .take(3)
            .map(|message| {
                let payload = String::from_utf8(message.payload).unwrap();
                let (_, decimals) = payload.split_once('.').unwrap();
                assert_eq!(decimals.len(), 2, "{payload}");
                message.topic.split('/').nth(3).unwrap().to_owned()
            })
            .collect();
        loads.sort();
        assert_eq!(loads, ["bytes", "messages", "publish"]);
        client.disconnect();
    }
}

/// At every interval, those who have subscribed get what has changed since.
pub fn what_it_tells_keeps_up_with_what_happens(binary: &BinaryUnderTest) {
    let broker = binary.start_with_variables(&[("WHERRY_SYS_INTERVAL", "1s")]);
    let start = Instant::now();
    let mut watcher = Client::connect(&broker, Version::V5, "watcher");
    watcher.subscribe("$SYS/broker/uptime");
    let first = uptime(&mut watcher, true);
    let second = uptime(&mut watcher, false);
    let third = uptime(&mut watcher, false);
    assert!(first < second && second < third, "{first} {second} {third}");
    assert!(start.elapsed() >= Duration::from_millis(1000));

    let mut client = Client::connect(&broker, Version::V5, "counter");
    client.subscribe("$SYS/broker/clients/connected");
    let mut others = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    for wanted in ["2", "3"] {
        // What was true at the last interval comes first.
        while client.expect_message().payload != wanted.as_bytes() {
            assert!(Instant::now() < deadline, "it is never {wanted}");
        }
        others.push(Client::connect(&broker, Version::V3_1_1, "other"));
    }
}

/// Without an interval there is nothing under `$SYS`.
pub fn it_says_nothing_if_it_is_told_so(binary: &BinaryUnderTest) {
    let broker = binary.start_with_variables(&[("WHERRY_SYS_INTERVAL", "none")]);
    for version in versions() {
        let mut client = Client::connect(&broker, version, "curious");
        client.subscribe("$SYS/#");
        client.ping();
    }
}
