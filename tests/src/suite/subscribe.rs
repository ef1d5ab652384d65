//! SUBSCRIBE, UNSUBSCRIBE and what matches.

use crate::broker::BinaryUnderTest;
use crate::client::Client;
use crate::suite::{NO_LOCAL, versions};
use crate::wire::{self, Properties, Value, Version, id, kind};

/// Every filter beside the topics that it matches and those that it does not [MQTT-4.7.1-1 to
/// MQTT-4.7.3-4].
const MATCHES: &[(&str, &[&str], &[&str])] = &[
    (
        "a/b",
        &["a/b"],
        &["a", "a/b/c", "a/B", "/a/b", "a/b/", "a/c"],
    ),
    ("+", &["a", "abc"], &["/a", "a/", "a/b", "/"]),
    ("a/+", &["a/b", "a/"], &["a", "a/b/c", "b/a", "a//"]),
    ("+/b", &["a/b", "/b"], &["b", "a/b/c", "//b"]),
    ("+/+", &["a/b", "/", "/b", "a/"], &["a", "a/b/c", "//"]),
    ("/+", &["/b", "/"], &["b", "a/b", "//"]),
    ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/c/d", "a/b/b/c"]),
    ("a/+/+/d", &["a/b/c/d", "a///d"], &["a/b/d", "a/b/c/d/e"]),
    ("#", &["a", "a/b", "/", "//", "a/b/c/d/e", " "], &[]),
    (
        "a/#",
        &["a", "a/", "a/b", "a/b/c"],
        &["ab", "b/a", "/a", "A/b"],
    ),
    ("a/b/#", &["a/b", "a/b/c", "a/b//"], &["a", "a/c"]),
    ("+/#", &["a", "a/b", "/", "/a"], &[]),
    ("a/+/#", &["a/b", "a/b/c", "a/"], &["a", "b/b"]),
    ("/#", &["/", "/a", "//"], &["a", "a/b"]),
    ("/", &["/"], &["a", "//", "a/"]),
    ("//", &["//"], &["/", "///"]),
    ("a//b", &["a//b"], &["a/b", "a/c/b"]),
    ("a b", &["a b"], &["ab", "a"]),
    (
        "\u{fc}/\u{1f980}",
        &["\u{fc}/\u{1f980}"],
        &["\u{fc}", "u\u{308}/\u{1f980}"],
    ),
    // A byte order mark is a character like any other [MQTT-1.5.4-3].
    ("\u{feff}a", &["\u{feff}a"], &["a"]),
];

/// `+` and `#` match what the specification says, and nothing else.
pub fn wildcards_match_as_specified(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        let mut subscriber = Client::connect(&broker, version, "subscriber");
        for (filter, matching, others) in MATCHES {
            eprintln!("{filter}");
            subscriber.subscribe(filter);
            for topic in others.iter().chain(*matching) {
                publisher.publish(topic, *topic);
            }
            for topic in *matching {
                subscriber.expect_publish(topic, topic, false);
            }
            assert_eq!(subscriber.unsubscribe(filter), 0);
        }
        subscriber.expect_nothing_from(&mut publisher);
    }
}

/// A filter that begins with a wildcard matches no topic that begins with `$` [MQTT-4.7.2-1].
pub fn wildcards_do_not_reach_dollar_topics(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        let mut subscriber = Client::connect(&broker, version, "subscriber");
        for filter in ["#", "+", "+/#", "+/+", "+/x", "+/+/#"] {
            subscriber.subscribe(filter);
        }
        for topic in ["$SYS", "$SYS/x", "$", "$/x", "$other/x", "$other/x/y"] {
            publisher.publish(topic, "hidden");
            publisher.publish_retained(topic, "hidden");
        }
        publisher.fence();
        publisher.publish("x", "seen");
        subscriber.expect_publish("x", "seen", false);
        for filter in ["#", "+", "+/#"] {
            // What is retained does not come out this way either; `x` was not.
            subscriber.subscribe(filter);
        }
        subscriber.ping();
    }
}

/// However many subscriptions of a client match, it gets one copy [MQTT-3.3.5-1].
pub fn overlapping_subscriptions_give_one_copy(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "overlap");
        let filters = ["a/b", "a/+", "+/b", "a/#", "#", "+/+"];
        for filter in filters {
            client.subscribe(filter);
        }
        client.publish("a/b", "once");
        client.expect_publish("a/b", "once", false);
        client.ping();
        // The copy goes with the last of them.
        for filter in filters {
            client.publish("a/b", filter);
            client.expect_publish("a/b", filter, false);
            client.unsubscribe(filter);
        }
        client.publish("a/b", "nobody");
        client.ping();
    }
}

/// SUBACK carries a code for each filter, in order [MQTT-3.8.4-5, MQTT-3.8.4-6], and the identifier
/// of the request [MQTT-3.8.4-2]; every QoS is granted.
pub fn suback_answers_every_filter(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in [Version::V3_1_1, Version::V5] {
        let mut client = Client::connect(&broker, version, "asking");
        for id in [1, 0x0102, 0x8000, 0xffff] {
            let filters = [
                ("a", 0),
                ("b/#", 1),
                ("x#", 0),
                ("+/c", 2),
                ("#/x", 1),
                ("d", 2),
            ];
            client.send(wire::subscribe(version, id, &filters));
            let suback = client.expect_any().suback(version);
            assert_eq!(suback.packet_id, id);
            let refused = if version.is_v5() { 0x8f } else { 0x80 };
            assert_eq!(suback.codes, [0, 1, refused, 2, refused, 2]);
        }
        let mut publisher = Client::connect(&broker, version, "publisher");
        for topic in ["a", "b/x", "x/c", "d"] {
            publisher.publish(topic, "granted");
            client.expect_publish(topic, "granted", false);
        }
    }
}

/// A thousand filters in one packet are a thousand subscriptions.
pub fn many_filters_in_one_subscribe(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "many");
        let names: Vec<String> = (0..1000).map(|n| format!("many/{n}")).collect();
        let filters: Vec<(&str, u8)> = names.iter().map(|name| (name.as_str(), 0)).collect();
        assert_eq!(
            client.subscribe_with(&Properties::new(), &filters),
            [0; 1000]
        );
        for topic in [&names[0], &names[499], &names[999]] {
            client.publish(topic, "");
            client.expect_publish(topic, "", false);
        }
        client.send(wire::unsubscribe(version, 9, &names));
        let unsuback = client.expect_any().unsuback(version);
        assert_eq!(
            unsuback.codes,
            vec![0; if version.is_v5() { 1000 } else { 0 }]
        );
        client.publish("many/499", "");
        client.ping();
    }
}

/// The same filter again replaces the subscription [MQTT-3.8.4-3]: still one copy, new options.
pub fn resubscribing_replaces(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "again");
        for _ in 0..3 {
            client.subscribe("again/+");
        }
        client.publish("again/a", "one copy");
        client.expect_publish("again/a", "one copy", false);
        client.ping();
        if version.is_v5() {
            client.subscribe_with(&Properties::new(), &[("again/+", NO_LOCAL)]);
            client.publish("again/a", "no copy");
            client.ping();
        }
        assert_eq!(client.unsubscribe("again/+"), 0);
        client.publish("again/a", "gone at once");
        client.ping();
    }
}

/// After UNSUBACK nothing more comes of the filter [MQTT-3.10.4-1]; filters are compared character
/// by character; one that was not subscribed to is 0x11 on MQTT 5 [MQTT-3.11.3-2].
pub fn unsubscribe_ends_exactly_that_filter(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "leaving");
        let unknown = if version.is_v5() { 0x11 } else { 0 };
        client.subscribe("u/+");
        for other in ["u/#", "u/a", "u", "u/+/", "U/+", "+/+", "#"] {
            assert_eq!(client.unsubscribe(other), unknown, "{other}");
        }
        client.publish("u/a", "still there");
        client.expect_publish("u/a", "still there", false);
        assert_eq!(client.unsubscribe("u/+"), 0);
        assert_eq!(client.unsubscribe("u/+"), unknown);
        client.publish("u/a", "gone");
        client.ping();
        // What could never have been subscribed to is 0x8F.
        let invalid = if version.is_v5() { 0x8f } else { 0 };
        assert_eq!(client.unsubscribe("u/#/a"), invalid);
        client.send(wire::unsubscribe(version, 0xabcd, &["x", "y", "z"]));
        let unsuback = client.expect_any().unsuback(version);
        assert_eq!(unsuback.packet_id, 0xabcd);
        assert_eq!(
            unsuback.codes,
            vec![0x11; if version.is_v5() { 3 } else { 0 }]
        );
    }
}

/// A filter with a wildcard where none may be is refused, alone [MQTT-4.7.1-1, MQTT-4.7.1-2].
pub fn invalid_filters_are_refused_one_by_one(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in [Version::V3_1_1, Version::V5] {
        let mut client = Client::connect(&broker, version, "invalid");
        let refused = if version.is_v5() { 0x8f } else { 0x80 };
        for filter in [
            "a#", "#a", "a/#/b", "#/", "##", "a+", "+a", "a/+b/c", "++", "a/b+", "+#",
        ] {
            let codes = client.subscribe_with(&Properties::new(), &[("ok", 0), (filter, 0)]);
            assert_eq!(codes, [0, refused], "{filter}");
        }
        client.publish("ok", "the connection lives");
        client.expect_publish("ok", "the connection lives", false);
    }
    assert_eq!(
        broker
            .stop()
            .counter("subscriptions_refused_filter_invalid"),
        22
    );
}

/// MQTT 3.1 has no code for a refused filter: its client would take 0x80 for a QoS. The connection
/// ends instead.
pub fn refused_filters_end_the_connection_v3_1(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let version = Version::V3_1;
    for filter in ["a#", "#/a", "+a", "$share/g"] {
        let mut client = Client::connect(&broker, version, "invalid");
        client.send(wire::subscribe(version, 1, &[("ok", 0), (filter, 0)]));
        client.expect_closed();
    }
    let mut client = Client::connect(&broker, version, "valid");
    client.send(wire::subscribe(version, 1, &[("a", 2), ("b", 0)]));
    assert_eq!(client.expect_any().suback(version).codes, [2, 0]);
    drop(client);
    assert_eq!(
        broker
            .stop()
            .counter("subscriptions_refused_filter_invalid"),
        4
    );
}

/// SUBSCRIBE and UNSUBSCRIBE in every form that is not allowed end the connection.
pub fn malformed_subscribe_ends_the_connection(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let right = kind::SUBSCRIBE << 4 | 2;
    let unsubscribe = kind::UNSUBSCRIBE << 4 | 2;
    for version in versions() {
        let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let body = |id: u16, rest: &[u8]| [&id.to_be_bytes()[..], properties, rest].concat();
        let one = body(1, b"\0\x01a\0");
        let mut cases = vec![
            // Flags other than 2 [MQTT-3.8.1-1, MQTT-3.10.1-1].
            (0x81, kind::SUBSCRIBE << 4, one.clone()),
            (0x81, kind::SUBSCRIBE << 4 | 3, one.clone()),
            (0x81, kind::UNSUBSCRIBE << 4, body(1, b"\0\x01a")),
            // No filter at all [MQTT-3.8.3-2, MQTT-3.10.3-2].
            (0x82, right, body(1, b"")),
            (0x82, unsubscribe, body(1, b"")),
            // Reserved bits in the options [MQTT-3.8.3-5].
            (0x81, right, body(1, b"\0\x01a\x40")),
            (0x81, right, body(1, b"\0\x01a\x80")),
            // QoS 3.
            (0x82, right, body(1, b"\0\x01a\x03")),
            // Packet identifier 0 [MQTT-2.2.1-3, v3.1.1 MQTT-2.3.1-1].
            (0x82, right, body(0, b"\0\x01a\0")),
            (0x82, unsubscribe, body(0, b"\0\x01a")),
            // Options missing.
            (0x81, right, body(1, b"\0\x01a")),
        ];
        if version.is_v5() {
            // Retain handling 3.
            cases.push((0x82, right, body(1, b"\0\x01a\x30")));
            // A subscription identifier of 0, and a property that does not belong here.
            cases.push((0x82, right, b"\0\x01\x02\x0b\0\0\x01a\0".to_vec()));
            cases.push((0x82, right, b"\0\x01\x05\x02\0\0\0\x01\0\x01a\0".to_vec()));
        } else {
            // What became an option in MQTT 5 is reserved here.
            cases.push((0x81, right, body(1, b"\0\x01a\x04")));
        }
        for (reason, first, body) in cases {
            let mut client = Client::connect(&broker, version, "malformed");
            client.send(wire::packet(first, &body));
            if version.is_v5() {
                // The specification calls some of these malformed in one place and a protocol
                // error in another.
                let said = client.expect_any().disconnect().reason;
                let both = [0x81, 0x82];
                assert!(
                    both.contains(&said),
                    "{said:#04x}, expected {reason:#04x}: {body:?}"
                );
            }
            client.expect_closed();
        }
    }
}

/// No Local: a client does not get its own messages, others do [MQTT-3.8.3-3]; a second
/// subscription without it still does.
pub fn no_local(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut own = Client::connect(&broker, Version::V5, "own");
    let mut other = Client::connect(&broker, Version::V5, "other");
    let numbered = |number| Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, number);
    own.subscribe_with(&numbered(Value::Variable(1)), &[("local/+", NO_LOCAL)]);
    other.subscribe("local/#");
    own.publish("local/a", "mine");
    other.expect_publish("local/a", "mine", false);
    own.expect_nothing_from(&mut other);
    other.publish("local/a", "theirs");
    own.expect_publish("local/a", "theirs", false);
    other.expect_publish("local/a", "theirs", false);
    own.subscribe_with(&numbered(Value::Variable(2)), &[("local/a", 0)]);
    own.publish("local/a", "mine again");
    let publish = own.expect_publish("local/a", "mine again", false);
    assert_eq!(publish.subscription_identifiers(), [2]);
    own.ping();
}

/// The identifiers of all subscriptions that match come with the one copy [MQTT-3.3.4-3,
/// MQTT-3.3.4-4]; a subscription without one adds none; a new one replaces the old.
pub fn subscription_identifiers_come_back(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut client = Client::connect(&broker, Version::V5, "numbers");
    let subscribe = |client: &mut Client, number: u32, filter: &str| {
        let number = Value::Variable(number);
        let properties = Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, number);
        assert_eq!(client.subscribe_with(&properties, &[(filter, 0)]), [0]);
    };
    let expect = |client: &mut Client, topic: &str, numbers: &[u32]| {
        client.publish(topic, "x");
        let publish = client.expect_publish(topic, "x", false);
        assert_eq!(publish.subscription_identifiers(), numbers, "{topic}");
    };
    client.subscribe("n/+/none");
    subscribe(&mut client, 1, "n/#");
    subscribe(&mut client, 268_435_455, "n/+/none");
    subscribe(&mut client, 128, "n/a/+");
    expect(&mut client, "n", &[1]);
    expect(&mut client, "n/a/b", &[1, 128]);
    expect(&mut client, "n/a/none", &[1, 128, 268_435_455]);
    subscribe(&mut client, 77, "n/#");
    expect(&mut client, "n/a/b", &[77, 128]);
    client.subscribe("n/#");
    expect(&mut client, "n/a/b", &[128]);
    expect(&mut client, "n", &[]);
    // A client without identifiers of its own sees none of another's.
    let mut other = Client::connect(&broker, Version::V5, "unnumbered");
    other.subscribe("n/#");
    client.publish("n/a/b", "y");
    assert_eq!(other.expect_publish("n/a/b", "y", false).properties, []);
}

/// A publisher must not send subscription identifiers [MQTT-3.3.4-6].
pub fn published_subscription_identifier_is_a_protocol_error(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut client = Client::connect(&broker, Version::V5, "forger");
    let properties = Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(1));
    client.send(
        wire::publish(Version::V5, "forged", "")
            .properties(properties)
            .bytes(),
    );
    client.expect_end(0x82);
}
