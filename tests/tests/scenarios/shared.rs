//! Shared subscriptions: one member of a group gets each message.

use std::time::Duration;

use wherry_core::permission::{Access, Effect, Grant, Rule};
use wherry_core::{Config, ShareStrategy};
use wherry_tests::scenario::{Admission, Client, World, numbers};
use wherry_tests::wire::{self, Properties, Publish, Value, Version, id, kind};

const STRATEGIES: [ShareStrategy; 4] = [
    ShareStrategy::RoundRobin,
    ShareStrategy::Random,
    ShareStrategy::Sticky,
    ShareStrategy::LeastInFlight,
];

fn config(share_strategy: ShareStrategy) -> Config {
    Config {
        share_strategy,
        sys_interval: None,
        ..Config::default()
    }
}

/// A publisher, and so many members of the group `g` for the filter `t/#`, whose sessions last.
fn group(config: Config, qos: u8, members: usize) -> (World, Client, Vec<Client>) {
    let mut world = World::new(config);
    let publisher = world.connect(Version::V5, "publisher");
    let members = (0..members)
        .map(|n| {
            let client = world.connect_with(&member(n));
            world.subscribe(client, "$share/g/t/#", qos);
            client
        })
        .collect();
    (world, publisher, members)
}

fn member(n: usize) -> wire::Connect {
    wire::lasting(Version::V5, &format!("m{n}"))
}

/// The end of a session, not only of its connection.
fn end_session(world: &mut World, client: Client) {
    let expiry = Properties::new().with(id::SESSION_EXPIRY_INTERVAL, Value::Four(0));
    world.send(client, wire::disconnect_with(0, &expiry));
    assert!(world.is_closed(client));
}

/// All that the members get, sorted.
#[track_caller]
fn all(world: &mut World, members: &[Client]) -> Vec<String> {
    let mut texts: Vec<String> = members
        .iter()
        .flat_map(|member| world.drain_texts(*member))
        .collect();
    texts.sort_by_key(|text| text.parse::<u32>().unwrap());
    texts
}

#[test]
fn each_message_reaches_one_member_of_each_group_and_everyone_else() {
    // Section 4.8.2
    for version in Version::ALL {
        for strategy in STRATEGIES {
            for qos in 0..=2 {
                let mut world = World::new(config(strategy));
                let publisher = world.connect(version, "publisher");
                let mut connect = |filter: &str, name: &str| {
                    let client = world.connect(version, name);
                    world.subscribe(client, filter, qos);
                    client
                };
                let first = [1, 2, 3].map(|n| connect("$share/g/t/+", &format!("g{n}")));
                let second = [1, 2].map(|n| connect("$share/h/t/+", &format!("h{n}")));
                let third = [1, 2].map(|n| connect("$share/g/t/#", &format!("i{n}")));
                let plain = [1, 2].map(|n| connect("t/+", &format!("p{n}")));
                for n in 0..30 {
                    world.publish_released(publisher, &format!("t/{}", n % 3), &n.to_string());
                }
                for group in [&first[..], &second, &third] {
                    assert_eq!(all(&mut world, group), numbers(0..30));
                }
                for client in plain {
                    assert_eq!(world.drain_texts(client), numbers(0..30));
                }
            }
        }
    }
}

#[test]
fn members_may_speak_different_versions_and_have_their_own_qos() {
    // [MQTT-4.8.2-3]
    let mut world = World::new(config(ShareStrategy::RoundRobin));
    let publisher = world.connect(Version::V5, "publisher");
    let members = [0, 0, 1, 1, 2, 2].map(|qos| {
        let n = world.broker.sessions();
        let client = world.connect(Version::ALL[n % 3], &format!("m{n}"));
        world.subscribe(client, "$share/g/t", qos);
        (client, qos)
    });
    for n in 0..12 {
        world.publish_released(publisher, "t", &n.to_string());
    }
    for (client, qos) in members {
        let got = world.drain(client);
        assert!(got.iter().all(|message| message.qos == qos));
        assert_eq!(got.len(), 2, "each in turn");
    }
}

#[test]
fn strategies_choose_as_their_names_say() {
    let (mut world, publisher, members) = group(config(ShareStrategy::Random), 1, 4);
    for n in 0..400 {
        world.publish_acked(publisher, "t/1", &n.to_string());
    }
    for member in &members {
        let got = world.drain(*member).len();
        assert!((50..150).contains(&got), "{got} of 400 for each of 4");
    }

    let (mut world, publisher, members) = group(config(ShareStrategy::Sticky), 1, 4);
    for n in 0..20 {
        world.publish_acked(publisher, "t/1", &n.to_string());
    }
    let got: Vec<usize> = members.iter().map(|m| world.drain(*m).len()).collect();
    let chosen = got
        .iter()
        .position(|count| *count == 20)
        .expect("one gets all");
    end_session(&mut world, members[chosen]);
    for n in 0..20 {
        world.publish_acked(publisher, "t/1", &n.to_string());
    }
    let rest: Vec<Client> = members
        .iter()
        .copied()
        .filter(|m| *m != members[chosen])
        .collect();
    let got: Vec<usize> = rest.iter().map(|m| world.drain(*m).len()).collect();
    assert!(got.contains(&20), "then another one: {got:?}");

    let (mut world, publisher, members) = group(config(ShareStrategy::LeastInFlight), 1, 3);
    for n in 0..9 {
        world.publish_acked(publisher, "t/1", &n.to_string());
    }
    // All have three. The one that acknowledges gets what comes next.
    for member in [1, 2, 0] {
        assert_eq!(world.drain(members[member]).len(), 3);
        for n in 0..3 {
            world.publish_acked(publisher, "t/1", &n.to_string());
        }
    }
    for member in members {
        assert_eq!(world.drain(member).len(), 3);
    }
}

#[test]
fn connected_members_come_first_and_absent_ones_before_nobody() {
    for strategy in STRATEGIES {
        let (mut world, publisher, members) = group(config(strategy), 1, 3);
        world.hang_up(members[0]);
        world.hang_up(members[2]);
        for n in 0..6 {
            assert_eq!(world.publish_acked(publisher, "t/1", &n.to_string()), 0);
        }
        assert_eq!(world.drain_texts(members[1]), numbers(0..6), "{strategy:?}");
        world.hang_up(members[1]);
        for n in 0..6 {
            assert_eq!(world.publish_acked(publisher, "t/1", &n.to_string()), 0);
        }
        let back: Vec<Client> = (0..3).map(|n| world.resume(&member(n))).collect();
        assert_eq!(all(&mut world, &back), numbers(0..6), "{strategy:?}");
    }
}

#[test]
fn when_a_session_ends_its_qos_1_messages_go_to_another_member() {
    // Section 4.8.2: sent and unacknowledged as well as unsent.
    for unsent in [false, true] {
        let narrow = Config {
            send_window: if unsent { 2 } else { 100 }.try_into().unwrap(),
            ..config(ShareStrategy::RoundRobin)
        };
        let (mut world, publisher, members) = group(narrow, 1, 2);
        for n in 0..20 {
            world.publish_acked(publisher, "t/1", &n.to_string());
        }
        let first = world.messages(members[0]);
        assert_eq!(first.len(), if unsent { 2 } else { 10 });
        world.acknowledge(members[0], &first[0]);
        world.messages(members[0]);
        end_session(&mut world, members[0]);
        let got = world.drain(members[1]);
        // On its way to another client for the first time.
        assert!(got.iter().all(|message| !message.dup));
        let mut texts: Vec<u32> = got
            .iter()
            .map(|message| {
                std::str::from_utf8(&message.payload)
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        texts.sort_unstable();
        let acknowledged: u32 = std::str::from_utf8(&first[0].payload)
            .unwrap()
            .parse()
            .unwrap();
        let wanted: Vec<u32> = (0..20).filter(|n| *n != acknowledged).collect();
        assert_eq!(texts, wanted);
    }
}

#[test]
fn an_absent_member_keeps_its_messages_until_its_session_ends() {
    let (mut world, publisher, members) = group(config(ShareStrategy::RoundRobin), 1, 2);
    for n in 0..10 {
        world.publish_acked(publisher, "t/1", &n.to_string());
    }
    let own = world.messages(members[0]);
    world.hang_up(members[0]);
    assert_eq!(world.drain(members[1]).len(), 10 - own.len());
    world.pass(Duration::from_secs(3599));
    let back = world.resume(&member(0));
    let again = world.messages(back);
    assert_eq!(again.len(), own.len());
    assert!(again.iter().all(|message| message.dup));
    world.hang_up(back);
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.drain(members[1]).len(), own.len(), "it is gone now");
}

#[test]
fn a_takeover_is_not_the_end_of_a_session() {
    let (mut world, publisher, members) = group(config(ShareStrategy::RoundRobin), 1, 2);
    for n in 0..10 {
        world.publish_acked(publisher, "t/1", &n.to_string());
    }
    let own = world.messages(members[0]).len();
    world.drain(members[1]);
    let new = world.resume(&member(0));
    assert_eq!(world.drain(new).len(), own);
    world.expect_nothing(members[1]);
}

#[test]
fn a_clean_start_ends_the_session_and_hands_its_messages_on() {
    let (mut world, publisher, members) = group(config(ShareStrategy::RoundRobin), 1, 2);
    for n in 0..10 {
        world.publish_acked(publisher, "t/1", &n.to_string());
    }
    world.messages(members[0]);
    let fresh = world.connect_with(&member(0).clean(true));
    world.expect_nothing(fresh);
    assert_eq!(all(&mut world, &members[1..]), numbers(0..10));
}

#[test]
fn a_qos_2_message_in_flight_waits_for_its_client_and_dies_with_its_session() {
    // [MQTT-4.8.2-4], [MQTT-4.8.2-5]; what was not yet sent goes to another member.
    let narrow = Config {
        send_window: 2.try_into().unwrap(),
        ..config(ShareStrategy::RoundRobin)
    };
    let (mut world, publisher, members) = group(narrow, 2, 2);
    for n in 0..10 {
        world.publish_released(publisher, "t/1", &n.to_string());
    }
    let sent = world.messages(members[0]);
    assert_eq!(sent.len(), 2);
    let id = sent[1].packet_id.unwrap();
    world.ack(members[0], kind::PUBREC, id);
    world.expect_ack(members[0], kind::PUBREL);
    world.hang_up(members[0]);
    let other = world.drain_texts(members[1]);
    assert_eq!(other.len(), 5, "only its own");
    let back = world.resume(&member(0));
    assert_eq!(world.expect_message(back).packet_id, sent[0].packet_id);
    assert_eq!(world.expect_reason(back, kind::PUBREL, id), 0);
    world.expect_nothing(back);
    end_session(&mut world, back);
    let more = world.drain_texts(members[1]);
    assert_eq!(more.len(), 3, "those that were never sent: {more:?}");
    let dead = sent
        .iter()
        .map(|m| String::from_utf8(m.payload.clone()).unwrap());
    for text in dead {
        assert!(!more.contains(&text) && !other.contains(&text));
    }
}

#[test]
fn a_message_that_a_member_refuses_is_discarded() {
    // [MQTT-4.8.2-6]
    for (qos, kind) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        let (mut world, publisher, members) = group(config(ShareStrategy::Sticky), qos, 2);
        world.publish_released(publisher, "t/1", "0");
        for member in &members {
            for message in world.messages(*member) {
                let id = message.packet_id.unwrap();
                world.send(*member, wire::ack_with(kind, id, 0x80, &Properties::new()));
            }
        }
        end_session(&mut world, members[0]);
        world.expect_nothing(members[1]);
        assert_eq!(world.publish_released(publisher, "t/1", "1"), 0);
        assert_eq!(world.drain_texts(members[1]), ["1"]);
    }
}

#[test]
fn a_member_whose_queue_is_full_is_passed_over() {
    let full = Config {
        max_queued_messages: 3,
        ..config(ShareStrategy::RoundRobin)
    };
    for strategy in STRATEGIES {
        let (mut world, publisher, members) = group(
            Config {
                share_strategy: strategy,
                ..full.clone()
            },
            1,
            2,
        );
        for n in 0..7 {
            let reason = world.publish_acked(publisher, "t/1", &n.to_string());
            assert_eq!(reason, if n < 6 { 0 } else { 0x97 }, "{strategy:?} {n}");
        }
        assert_eq!(all(&mut world, &members), numbers(0..6));
    }
}

#[test]
fn a_group_that_is_full_does_what_the_policy_says() {
    use wherry_core::QueuePolicy;
    for (queue_policy, reason, kept) in [
        (QueuePolicy::Reject, 0x97, 0..4),
        (QueuePolicy::DropNewest, 0, 0..4),
        (QueuePolicy::DropOldest, 0, 2..6),
    ] {
        let config = Config {
            queue_policy,
            max_queued_messages: 2,
            ..config(ShareStrategy::RoundRobin)
        };
        let (mut world, publisher, members) = group(config, 1, 2);
        for member in &members {
            world.hang_up(*member);
        }
        for n in 0..6 {
            let said = world.publish_acked(publisher, "t/1", &n.to_string());
            assert_eq!(said, if n < 4 { 0 } else { reason }, "{queue_policy:?} {n}");
        }
        let back: Vec<Client> = (0..2).map(|n| world.resume(&member(n))).collect();
        assert_eq!(all(&mut world, &back), numbers(kept), "{queue_policy:?}");
    }
}

#[test]
fn a_group_that_may_not_see_a_topic_is_somebody_all_the_same() {
    // As with a subscription of one's own: 0x10 says that nobody has subscribed.
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let rule = Rule {
        effect: Effect::Deny,
        access: Access::Receive,
        filter: "secret/#".into(),
    };
    world.admission = Admission::Everyone(Grant::from_rules(vec![rule], Effect::Allow));
    let plain = world.connect(Version::V5, "plain");
    world.subscribe(plain, "#", 1);
    assert_eq!(world.publish_acked(publisher, "secret/x", "x"), 0);
    world.unsubscribe(plain, "#");
    world.subscribe(plain, "$share/g/#", 1);
    assert_eq!(world.publish_acked(publisher, "secret/x", "x"), 0);
    world.expect_nothing(plain);
}

#[test]
fn a_member_that_may_not_see_a_topic_is_passed_over() {
    // A14
    for strategy in STRATEGIES {
        let mut world = World::new(config(strategy));
        let publisher = world.connect(Version::V5, "publisher");
        let free = world.connect(Version::V5, "free");
        world.subscribe(free, "$share/g/#", 1);
        let rule = Rule {
            effect: Effect::Deny,
            access: Access::Receive,
            filter: "secret/#".into(),
        };
        world.admission = Admission::Everyone(Grant::from_rules(vec![rule], Effect::Allow));
        let bound = world.connect(Version::V5, "bound");
        world.subscribe(bound, "$share/g/#", 1);
        assert_eq!(world.subscribe_code(bound, "$share/g/secret/+", 1), 0x87);
        for n in 0..10 {
            world.publish_acked(publisher, "secret/x", &n.to_string());
        }
        world.expect_nothing(bound);
        assert_eq!(world.drain_texts(free), numbers(0..10), "{strategy:?}");
        // Nor does what a member leaves behind reach one that may not see it.
        world.publish_acked(publisher, "secret/x", "0");
        world.hang_up(free);
        world.expect_nothing(bound);
    }
}

#[test]
fn no_retained_messages_are_sent_whatever_retain_handling_says() {
    // Section 4.8.2
    for retain_handling in [0x00, 0x10, 0x20] {
        let mut world = World::default();
        let client = world.connect(Version::V5, "a");
        world.publish_retained(client, "t", "kept");
        world.subscribe(client, "$share/g/t", retain_handling | 1);
        world.subscribe(client, "$share/g/#", retain_handling | 1);
        world.subscribe(client, "$share/g/t", retain_handling | 1);
        world.expect_nothing(client);
        // But what is published now comes, retained or not.
        world.unsubscribe(client, "$share/g/#");
        world.publish_retained(client, "t", "live");
        assert_eq!(world.drain_texts(client), ["live"]);
    }
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error() {
    // [MQTT-3.8.3-4], and its repaired twin
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    world.subscribe(client, "t", 0x04);
    world.subscribe(client, "$share/g/t", 0x08);
    let filters = [("t", 0), ("$share/g/t", 0x04)];
    world.send(client, wire::subscribe(Version::V5, 1, &filters));
    world.expect_end(client, 0x82);
}

#[test]
fn the_shared_form_of_a_filter_is_another_subscription() {
    // A10; section 3.10.3: filters are compared character by character.
    for version in Version::ALL {
        let mut world = World::default();
        let publisher = world.connect(version, "publisher");
        let client = world.connect(version, "a");
        let none = if version.is_v5() { 0x11 } else { 0 };
        world.subscribe(client, "t", 1);
        assert_eq!(world.unsubscribe(client, "$share/g/t"), none);
        world.publish_acked(publisher, "t", "plain");
        assert_eq!(world.drain_texts(client), ["plain"]);
        assert_eq!(world.unsubscribe(client, "t"), 0);

        world.subscribe(client, "$share/g/t", 1);
        for other in [
            "t",
            "$share/h/t",
            "$share/G/t",
            "$share/g/t/#",
            "$share/g/+",
        ] {
            assert_eq!(world.unsubscribe(client, other), none, "{other}");
        }
        world.publish_acked(publisher, "t", "shared");
        assert_eq!(world.drain_texts(client), ["shared"]);
        assert_eq!(world.unsubscribe(client, "$share/g/t"), 0);
        assert_eq!(world.unsubscribe(client, "$share/g/t"), none);
        world.publish_acked(publisher, "t", "nobody");
        world.expect_nothing(client);
        assert_eq!(world.broker.subscriptions(), 0);
    }
}

/// How often a subscription identifier is named.
fn count(messages: &[Publish], number: u32) -> usize {
    let ids = messages.iter().flat_map(Publish::subscription_identifiers);
    ids.filter(|id| *id == number).count()
}

#[test]
fn a_member_may_have_a_subscription_of_its_own_beside() {
    let mut world = World::new(config(ShareStrategy::RoundRobin));
    let publisher = world.connect(Version::V5, "publisher");
    let clients = ["a", "b"].map(|name| {
        let client = world.connect(Version::V5, name);
        for (number, filter) in [(1, "t"), (2, "$share/g/t"), (3, "$share/h/+")] {
            let number =
                Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(number));
            let subscribe = wire::subscribe_with(Version::V5, 1, &number, &[(filter, 1)]);
            world.send(client, subscribe);
            world.expect(client, kind::SUBACK);
        }
        client
    });
    for n in 0..10 {
        world.publish_acked(publisher, "t", &n.to_string());
    }
    let [a, b] = clients.map(|client| world.drain(client));
    assert_eq!((count(&a, 1), count(&b, 1)), (10, 10));
    for group in [2, 3] {
        assert_eq!(
            count(&a, group) + count(&b, group),
            10,
            "once for the group"
        );
    }
}

#[test]
fn a_group_for_everything_does_not_see_dollar_topics() {
    // [MQTT-4.7.2-1]
    let mut world = World::default();
    let client = world.connect(Version::V5, "a");
    for filter in ["$share/g/#", "$share/g/+/x"] {
        world.subscribe(client, filter, 0);
    }
    world.publish(client, "$dollar/x", "hidden");
    world.expect_nothing(client);
    world.subscribe(client, "$share/g/$dollar/#", 0);
    world.publish(client, "$dollar/x", "seen");
    assert_eq!(world.drain_texts(client), ["seen"]);
}

#[test]
fn share_names_that_are_none_are_refused() {
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    for version in [Version::V3_1_1, Version::V5] {
        let mut world = World::default();
        let client = world.connect(version, "a");
        let refused = if version.is_v5() { 0x8f } else { 0x80 };
        for filter in [
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//t",
            "$share/+/t",
            "$share/#/t",
            "$share/g+/t",
            "$share/a#b/t",
            "$share/g/a#",
            "$share/g/#/a",
        ] {
            assert_eq!(world.subscribe_code(client, filter, 1), refused, "{filter}");
        }
        // A share name may look like anything else.
        for filter in [
            "$share/$share/$share",
            "$share/ /t",
            "$share/g//",
            "$share/$SYS/t",
        ] {
            world.subscribe(client, filter, 1);
        }
        world.publish_at(client, 1, 1, "/", "x");
        while let Some(packet) = world.next(client) {
            assert!([kind::PUBACK, kind::PUBLISH].contains(&packet.kind()));
        }
    }
}

#[test]
fn shares_that_are_not_offered_are_refused_and_connack_says_so() {
    // Section 3.2.2.3.13
    for available in [true, false] {
        let mut world = World::new(Config {
            shared_subscriptions_available: available,
            ..Config::default()
        });
        let connect = wire::connect(Version::V5).client_id("a");
        let (client, connack) = world.connack(&connect);
        let told = connack.property(id::SHARED_SUBSCRIPTION_AVAILABLE);
        let told = told.unwrap_or(&Value::Byte(1));
        assert_eq!(told, &Value::Byte(available.into()));
        if available {
            world.subscribe(client, "$share/g/t", 1);
        } else {
            let subscribe = wire::subscribe(Version::V5, 1, &[("$share/g/t", 1)]);
            world.send(client, subscribe);
            world.expect_end(client, 0x9e);
        }
        let old = world.connect(Version::V3_1_1, "old");
        let code = world.subscribe_code(old, "$share/g/t", 1);
        assert_eq!(code, if available { 1 } else { 0x80 });
    }
}

#[test]
fn subscribing_again_is_no_second_membership() {
    let (mut world, publisher, members) = group(config(ShareStrategy::RoundRobin), 1, 2);
    for qos in [2, 0, 1] {
        world.subscribe(members[0], "$share/g/t/#", qos);
    }
    for n in 0..10 {
        world.publish_acked(publisher, "t/1", &n.to_string());
    }
    for member in members {
        assert_eq!(world.drain(member).len(), 5);
    }
}

#[test]
fn a_group_without_members_is_nobody() {
    let (mut world, publisher, members) = group(config(ShareStrategy::Sticky), 1, 3);
    for member in members {
        assert_eq!(world.publish_acked(publisher, "t/1", "1"), 0);
        world.drain(member);
        end_session(&mut world, member);
    }
    assert_eq!(world.publish_acked(publisher, "t/1", "1"), 0x10);
    assert_eq!(world.broker.subscriptions(), 0);
    let late = world.connect(Version::V5, "late");
    world.subscribe(late, "$share/g/t/#", 1);
    world.expect_nothing(late);
}
