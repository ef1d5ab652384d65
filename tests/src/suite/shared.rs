//! Shared subscriptions over sockets.

use crate::broker::BinaryUnderTest;
use crate::client::{Client, Next};
use crate::suite::{NO_LOCAL, retain_handling, versions};
use crate::wire::{self, Properties, Publish, Value, Version, id, kind};

/// What comes until the answer to a PINGREQ; messages are acknowledged.
fn drain(client: &mut Client) -> Vec<Publish> {
    client.send(wire::PINGREQ);
    let mut messages = Vec::new();
    loop {
        let packet = client.expect_any();
        match packet.kind() {
            kind::PINGRESP => return messages,
            kind::PUBREL => {
                let id = packet.ack(kind::PUBREL, client.version()).packet_id;
                client.ack(kind::PUBCOMP, id);
            }
            _ => {
                let message = packet.publish(client.version());
                if let Some(id) = message.packet_id {
                    client.ack(
                        [kind::PUBACK, kind::PUBREC][usize::from(message.qos) - 1],
                        id,
                    );
                }
                messages.push(message);
            }
        }
    }
}

fn sorted(messages: &[Publish]) -> Vec<u32> {
    let number = |m: &Publish| std::str::from_utf8(&m.payload).unwrap().parse().unwrap();
    let mut numbers: Vec<u32> = messages.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// One member of each group gets a message, members take turns, and everyone else gets their own
/// copy: at every version and every QoS.
pub fn one_member_gets_each_message(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        for qos in 0..=2 {
            let connect = |filter: &str, n: usize| {
                let mut client = Client::connect(&broker, version, &format!("{filter} {n}"));
                client.subscribe_at(filter, qos);
                client
            };
            let mut groups = ["$share/g/s/+", "$share/h/s/+", "$share/g/s/#"]
                .map(|filter| [1, 2, 3].map(|n| connect(filter, n)));
            let mut plain = connect("s/+", 1);
            for n in 0..30 {
                publisher.publish_at(qos, &format!("s/{}", n % 4), n.to_string());
            }
            publisher.fence();
            let all: Vec<u32> = (0..30).collect();
            for group in &mut groups {
                let got: Vec<_> = group.iter_mut().map(drain).collect();
                assert!(got.iter().all(|messages| messages.len() == 10), "in turn");
                assert_eq!(sorted(&got.concat()), all);
            }
            assert_eq!(sorted(&drain(&mut plain)), all);
        }
    }
}

/// The shared form of a filter and its plain form are two subscriptions: each ends with its own
/// UNSUBSCRIBE only.
pub fn shared_and_plain_filters_are_two(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "two");
        let none = if version.is_v5() { 0x11 } else { 0 };
        for (own, other) in [("t/+", "$share/g/t/+"), ("$share/g/t/+", "t/+")] {
            client.subscribe(own);
            assert_eq!(client.unsubscribe(other), none);
            client.publish("t/1", "x");
            client.expect_publish("t/1", "x", false);
            assert_eq!(client.unsubscribe(own), 0);
            client.publish("t/1", "gone");
            client.ping();
        }
        client.disconnect();
    }
}

/// No retained messages come with a shared subscription, whatever Retain Handling says.
pub fn shared_subscriptions_bring_nothing_retained(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut client = Client::connect(&broker, version, "retained");
        client.publish_retained("kept", "old");
        let handlings: &[u8] = if version.is_v5() { &[0, 1, 2] } else { &[0] };
        for handling in handlings {
            client.subscribe_at("$share/g/kept", retain_handling(*handling));
            client.ping();
        }
        client.publish_retained("kept", "new");
        client.expect_publish("kept", "new", false);
        client.disconnect();
    }
}

/// MQTT 5: No Local and a shared subscription do not go together [MQTT-3.8.3-4].
pub fn no_local_on_a_share_is_a_protocol_error(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let version = Version::V5;
    let mut client = Client::connect(&broker, version, "local");
    client.send(wire::subscribe(version, 1, &[("$share/g/t", NO_LOCAL)]));
    client.expect_end(0x82);
    let mut client = Client::connect(&broker, version, "local");
    client.subscribe_at("$share/g/t", 0);
    client.subscribe_at("t", NO_LOCAL);
}

/// What a member of the group has not acknowledged at QoS 1 goes to another one when its session
/// ends; a QoS 2 message that was sent dies with it [MQTT-4.8.2-5].
pub fn members_that_leave_hand_on(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        for qos in [1, 2] {
            let mut members = ["one", "two"].map(|name| {
                let mut client = Client::connect(&broker, version, name);
                client.subscribe_at("$share/g/handed", qos);
                client
            });
            for n in 0..10 {
                publisher.publish_at(qos, "handed", n.to_string());
            }
            let [leaving, staying] = &mut members;
            let seen: Vec<Publish> = (0..5)
                .map(|_| leaving.expect_any().publish(version))
                .collect();
            leaving.ping();
            assert_eq!(drain(staying).len(), 5);
            // Its end is seen by what comes after: its socket may be closed later.
            let [leaving, mut staying] = members;
            leaving.disconnect();
            let left = if qos == 1 { seen.len() } else { 0 };
            // It may come from another shard.
            let got: Vec<Publish> = (0..left)
                .map(|_| staying.expect_any().publish(version))
                .collect();
            for message in &got {
                staying.acknowledge(message);
            }
            if qos == 1 {
                assert_eq!(sorted(&got), sorted(&seen));
                assert!(got.iter().all(|message| !message.dup));
            }
            assert_eq!(drain(&mut staying), []);
            staying.disconnect();
        }
    }
}

/// A member that is not there gets nothing while another one is; when nobody is, messages wait.
pub fn absent_members_come_last(binary: &BinaryUnderTest) {
    let broker = binary.start();
    for version in versions() {
        let mut publisher = Client::connect(&broker, version, "publisher");
        let connects = ["one", "two"].map(|name| wire::lasting(version, name));
        let [mut one, mut two] = connects.clone().map(|connect| {
            let (mut client, _) = Client::connect_with(&broker, &connect);
            client.subscribe_at("$share/g/absent", 1);
            client
        });
        one.ping();
        one.disconnect();
        publisher.fence();
        for n in 0..10 {
            assert_eq!(publisher.publish_at(1, "absent", n.to_string()), 0);
        }
        assert_eq!(sorted(&drain(&mut two)), (0..10).collect::<Vec<u32>>());
        two.disconnect();
        publisher.fence();
        for n in 0..10 {
            assert_eq!(publisher.publish_at(1, "absent", n.to_string()), 0);
        }
        let mut got = Vec::new();
        for connect in &connects {
            let mut client = Client::resume(&broker, connect);
            got.extend(drain(&mut client));
            client.ping();
            drop(client);
        }
        assert_eq!(sorted(&got), (0..10).collect::<Vec<u32>>());
        for name in ["one", "two"] {
            Client::connect(&broker, version, name).disconnect();
        }
    }
}

/// MQTT 5: messages name the subscription of the member that gets them.
pub fn shares_have_subscription_identifiers(binary: &BinaryUnderTest) {
    let broker = binary.start();
    let mut client = Client::connect(&broker, Version::V5, "numbered");
    let number = Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(321));
    assert_eq!(client.subscribe_with(&number, &[("$share/g/n", 1)]), [1]);
    client.publish("n", "x");
    let got = client.expect_publish("n", "x", false);
    assert_eq!(got.subscription_identifiers(), [321]);
    // Another group of the same client is another copy or another number, never a third.
    let number = Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(322));
    assert_eq!(client.subscribe_with(&number, &[("$share/h/n", 1)]), [1]);
    client.publish("n", "x");
    client.send(wire::PINGREQ);
    let mut numbers = Vec::new();
    while let Next::Packet(packet) = client.receive() {
        if packet.kind() == kind::PINGRESP {
            break;
        }
        numbers.extend(packet.publish(Version::V5).subscription_identifiers());
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [321, 322]);
}
