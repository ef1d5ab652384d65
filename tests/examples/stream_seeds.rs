//! Writes the seeds of the fuzz target `stream`: conversations as they happen, as scripts.
//!
//! ```text
//! cargo run -p wherry-tests --example stream_seeds
//! ```

use std::fs;
use std::path::Path;

use wherry_tests::fuzz::Script;
use wherry_tests::wire::{
    self, PINGREQ, Properties, Value, Version, Will, ack, connect, disconnect, id, kind, publish,
    subscribe, unsubscribe,
};

const OUTBOX: u8 = 1;
const LIMITS: u8 = 2;
const STOP: u8 = 4;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/stream");
    fs::create_dir_all(&folder).expect("the folder is ours");
    for version in Version::ALL {
        let mut name = format!("{version:?}-").to_lowercase();
        name.retain(|c| c != '_');
        for (what, script) in conversations(version).into_iter().chain(exchanges(version)) {
            let path = folder.join(format!("{name}{what}"));
            fs::write(path, script.bytes()).expect("the folder is ours");
        }
    }
}

/// Two clients, of which the first has subscribed to `a/#`.
fn pair(version: Version, ways: u8) -> Script {
    let filters = [("a/#", 0), ("+/b", 0)];
    Script::new(ways)
        .send(0, connect(version).client_id("s").bytes())
        .send(0, subscribe(version, 1, &filters))
        .send(1, connect(version).client_id("p").bytes())
}

/// CONNECT of a session that goes on.
fn lasting(version: Version, name: &str) -> Vec<u8> {
    let expiry = Value::Four(1000);
    let connect = connect(version).client_id(name).clean(false);
    match version {
        Version::V5 => connect.with(id::SESSION_EXPIRY_INTERVAL, expiry),
        _ => connect,
    }
    .bytes()
}

/// These packets, for the first three identifiers each.
fn acks(kinds: &[u8]) -> Vec<u8> {
    let acks = |kind: &u8| (1..=3).flat_map(|id| ack(*kind, id)).collect::<Vec<_>>();
    kinds.iter().flat_map(acks).collect()
}

/// A message with a topic alias.
fn aliased(version: Version, topic: &str, alias: u16) -> Vec<u8> {
    publish(version, topic, "x")
        .qos(1, 9)
        .with(id::TOPIC_ALIAS, Value::Two(alias))
        .bytes()
}

/// Conversations at QoS 1 and 2, and sessions that go on.
fn exchanges(version: Version) -> Vec<(&'static str, Script)> {
    let to = |qos, id| publish(version, "a/b", "x").qos(qos, id).bytes();
    let filters = [("a/#", 2), ("$share/g/a/b", 1)];
    let begin = |ways| {
        Script::new(ways)
            .send(0, lasting(version, "s"))
            .send(0, subscribe(version, 1, &filters))
            .send(1, connect(version).client_id("p").bytes())
    };
    let waiting = |ways| {
        (1..=3).fold(begin(ways).hang_up(0), |script, id| {
            script
                .send(1, to(1, id))
                .send(1, to(2, id + 3))
                .send(1, ack(kind::PUBREL, id + 3))
        })
    };
    let all = [kind::PUBACK, kind::PUBREC, kind::PUBCOMP];
    vec![
        (
            "qos-1",
            begin(0).send(1, to(1, 5)).send(0, acks(&[kind::PUBACK])),
        ),
        (
            "qos-2",
            begin(0)
                .send(
                    1,
                    [
                        to(2, 5),
                        to(2, 5),
                        ack(kind::PUBREL, 5),
                        ack(kind::PUBREL, 5),
                    ]
                    .concat(),
                )
                .send(0, acks(&all)),
        ),
        (
            "out-of-step",
            begin(0).send(1, to(2, 5)).send(0, acks(&[kind::PUBCOMP])),
        ),
        (
            "waiting",
            waiting(0)
                .dial(0)
                .send(0, lasting(version, "s"))
                .send(0, acks(&all)),
        ),
        (
            "redelivery",
            waiting(0)
                .dial(0)
                .send(0, lasting(version, "s"))
                .dial(0)
                .send(0, lasting(version, "s"))
                .pass(30),
        ),
        (
            "expiry",
            waiting(STOP)
                .pass(255)
                .dial(0)
                .send(0, lasting(version, "s")),
        ),
        (
            "discarded",
            waiting(0)
                .dial(0)
                .send(0, connect(version).client_id("s").bytes()),
        ),
        (
            "full",
            waiting(LIMITS)
                .dial(0)
                .send(0, lasting(version, "s"))
                .pass(15)
                .pass(15)
                .pass(15),
        ),
        (
            "window",
            begin(LIMITS)
                .send(1, [to(2, 1), to(2, 2), to(2, 3)].concat())
                .send(0, acks(&all)),
        ),
        (
            "alias",
            begin(0).send(
                1,
                [("a/b", 1), ("", 1), ("", 2)]
                    .map(|(topic, alias)| aliased(version, topic, alias))
                    .concat(),
            ),
        ),
        (
            "share",
            begin(0)
                .send(2, connect(version).client_id("t").bytes())
                .send(2, subscribe(version, 1, &[("$share/g/a/b", 2)]))
                .send(1, [to(1, 1), to(2, 2), to(1, 3)].concat())
                .hang_up(2)
                .send(0, unsubscribe(version, 2, &["$share/g/a/b", "a/b"])),
        ),
    ]
}

fn conversations(version: Version) -> Vec<(&'static str, Script)> {
    let to = |topic: &str, payload: &str| publish(version, topic, payload);
    let will = Will::new("a/will", "gone");
    let mortal = connect(version).client_id("m").keep_alive(5).will(will);
    let talk = [
        subscribe(version, 7, &[("t", 0)]),
        to("t", "1").bytes(),
        PINGREQ.to_vec(),
        unsubscribe(version, 8, &["t", "u"]),
        to("t", "2").bytes(),
        disconnect(version, 0),
    ];
    let kept = (0..6).fold(pair(version, 0), |script, n| {
        script.send(1, to(&format!("a/{n}"), "kept").retain().bytes())
    });
    let flood = (0..20).fold(pair(version, OUTBOX).take(0, 2), |script, _| {
        script.send(1, to("a/b", &"x".repeat(50)).bytes())
    });
    vec![
        ("pair", pair(version, 0).send(1, to("a/b", "x").bytes())),
        (
            "alone",
            Script::new(STOP).send(
                2,
                [connect(version).client_id("c").bytes(), talk.concat()].concat(),
            ),
        ),
        (
            "retained",
            kept.clone()
                .send(2, connect(version).client_id("late").bytes())
                .send(2, subscribe(version, 1, &[("a/+", 0), ("#", 0)]))
                .send(1, to("a/3", "").retain().bytes())
                .send(0, subscribe(version, 2, &[("#", 0)])),
        ),
        (
            "limits",
            (0..6).fold(pair(version, LIMITS), |script, n| {
                let topic = format!("a/b/c/d{n}");
                let retained = to(&format!("a/{n}"), "kept").retain().bytes();
                script
                    .send(1, retained)
                    .send(0, subscribe(version, n, &[(&topic, 0)]))
            }),
        ),
        (
            "too-large",
            pair(version, LIMITS).send(1, to("a", &"x".repeat(300)).bytes()),
        ),
        (
            "will-cut",
            pair(version, 0)
                .send(3, mortal.bytes())
                .hang_up(3)
                .pass(200),
        ),
        (
            "will-keep-alive",
            pair(version, STOP).send(3, mortal.bytes()).pass(30),
        ),
        (
            "takeover",
            pair(version, 0)
                .send(3, mortal.bytes())
                .send(3, subscribe(version, 1, &[("a/b", 0)]))
                .dial(3)
                .send(3, mortal.bytes())
                .send(1, to("a/b", "x").bytes()),
        ),
        ("slow", flood.take_all(0).pass(10)),
        (
            "slow-cut",
            kept.take(0, 1).send(1, to("a/b", "x").bytes()).pass(60),
        ),
        (
            "no-connect",
            Script::new(0).send(0, PINGREQ).dial(1).pass(40),
        ),
        (
            "noise",
            pair(version, 0)
                .send(1, wire::packet(0xf3, "what is this"))
                .hang_up(0),
        ),
        (
            "properties",
            pair(version, 0).send(1, {
                let expiry = Value::Four(1);
                let properties = Properties::new().user("n", "v");
                let properties = properties.with(id::MESSAGE_EXPIRY_INTERVAL, expiry);
                to("a/b", "x").retain().properties(properties).bytes()
            }),
        ),
    ]
}
