//! What holds clients inside the process back.

use super::*;

#[test]
fn messages_that_nobody_takes_are_bounded_and_counted_whatever_their_qos() {
    for qos in QOS {
        for (policy, reason, expected) in [
            (QueuePolicy::Reject, ReasonCode::QuotaExceeded, [0, 1, 2]),
            (QueuePolicy::DropNewest, ReasonCode::Success, [0, 1, 2]),
            (QueuePolicy::DropOldest, ReasonCode::Success, [7, 8, 9]),
        ] {
            let config = Config {
                max_queued_messages: 3,
                queue_policy: policy,
                ..Config::default()
            };
            let mut world = World::new(config);
            let (from, to) = (open(&mut world, "from"), open(&mut world, "to"));
            subscribe(&mut world, to, "t", qos);
            let mut last = ReasonCode::Success;
            for n in 0..10 {
                last = publish(&mut world, from, "t", &[n], qos);
            }
            // At QoS 0 there is nobody to be told.
            let told = match qos {
                QoS::AtMostOnce => ReasonCode::Success,
                _ => reason,
            };
            assert_eq!(last, told, "{policy:?} {qos:?}");
            assert_eq!(world.broker.counters().dropped_queue_full, 7);
            assert_eq!(world.deliveries, [to], "it is told once");
            assert_eq!(take_all(&mut world, to), expected.map(|n| vec![n]));
            assert_eq!(world.broker.queued_messages(), 0);
            // There is room again.
            publish(&mut world, from, "t", b"x", qos);
            assert_eq!(take_all(&mut world, to), [b"x"]);
        }
    }
}

#[test]
fn queues_of_local_clients_are_bounded_in_bytes_too() {
    let payload = [0; 99];
    for (own, total) in [(250, 1 << 20), (1 << 20, 250)] {
        let config = Config {
            max_queued_bytes: own,
            max_queued_bytes_total: total,
            ..Config::default()
        };
        let mut world = World::new(config);
        let local = open(&mut world, "local");
        subscribe(&mut world, local, "t", QoS::AtMostOnce);
        for _ in 0..5 {
            publish(&mut world, local, "t", &payload, QoS::AtMostOnce);
        }
        assert_eq!(world.broker.queued_bytes(), 200);
        assert_eq!(world.broker.counters().dropped_queue_full, 3);
    }
}

#[test]
fn a_local_client_that_acknowledges_nothing_gets_no_more_than_its_window() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let config = Config {
            send_window: 3.try_into().unwrap(),
            ..Config::default()
        };
        let mut world = World::new(config);
        let local = open(&mut world, "local");
        subscribe(&mut world, local, "t", qos);
        for n in 0..10 {
            publish(&mut world, local, "t", &[n], qos);
        }
        let first = take(&mut world, local);
        let ids: Vec<_> = first.iter().filter_map(|it| it.packet_id).collect();
        assert_eq!(ids.len(), 3);
        assert!(take(&mut world, local).is_empty());
        world.deliveries.clear();
        publish(&mut world, local, "t", &[10], qos);
        // Whoever takes what comes needs no answer in order.
        assert!(world.broker.acknowledge_local(local, ids[1]));
        world.settle();
        assert_eq!(world.deliveries, [local], "one more may come");
        let more = take(&mut world, local);
        assert_eq!(more.len(), 1);
        assert_eq!(more[0].payload(), [3]);
        for id in [ids[0], ids[2], more[0].packet_id.unwrap()] {
            assert!(world.broker.acknowledge_local(local, id));
        }
        let rest: Vec<_> = numbers(11).split_off(4);
        assert_eq!(take_all(&mut world, local), rest);
        assert_eq!(world.broker.queued_messages(), 0);
    }
}

#[test]
fn retained_messages_come_in_portions_that_the_limits_allow() {
    for qos in QOS {
        let config = Config {
            max_queued_bytes: 40,
            ..Config::default()
        };
        let mut world = World::new(config);
        let local = open(&mut world, "local");
        for n in 0..200u8 {
            let (topic, payload) = (format!("r/{n:03}"), [n]);
            let retained = LocalPublish {
                retain: true,
                ..message(&topic, &payload, qos)
            };
            world.broker.publish_local(local, &retained);
        }
        subscribe(&mut world, local, "r/#", qos);
        assert!(world.broker.queued_bytes() <= 48);
        let first = world.broker.next_message(local).unwrap();
        assert!(first.retain && first.topic() == "r/000");
        let mut got = vec![first.payload().to_vec()];
        if let Some(id) = first.packet_id {
            world.broker.acknowledge_local(local, id);
        }
        got.extend(take_all(&mut world, local));
        assert_eq!(got, numbers(200), "{qos:?}");
        assert_eq!(world.broker.queued_messages(), 0);
    }
}

#[test]
fn local_clients_are_sessions_and_count_towards_their_limit() {
    let config = Config {
        max_sessions: 2,
        max_client_id_len: 5,
        sys_interval: Some(Duration::from_secs(10)),
        ..Config::default()
    };
    let mut world = World::with_sys(config);
    for wrong in ["", "toolong", "a\0"] {
        let refused = world.broker.open_local(wrong, Grant::unrestricted());
        assert_eq!(refused, Err(OpenLocalError::IdentifierNotValid));
    }
    let local = open(&mut world, "local");
    let client = world.connect(Version::V5, "a");
    let refused = world.broker.open_local("b", Grant::unrestricted());
    assert_eq!(refused, Err(OpenLocalError::TooManySessions));
    assert_eq!(world.broker.counters().sessions_over_limit, 1);
    assert_eq!(
        (world.broker.sessions(), world.broker.absent_sessions()),
        (2, 0)
    );
    // `$SYS` tells of those that connect.
    world.send(
        client,
        wire::subscribe(Version::V5, 1, &[("$SYS/broker/clients/+", 0)]),
    );
    world.expect(client, kind::SUBACK);
    world.pass(Duration::from_secs(10));
    let figures = world.messages(client);
    for (name, value) in [("total", "1"), ("connected", "1"), ("disconnected", "0")] {
        let topic = format!("$SYS/broker/clients/{name}");
        let figure = figures.iter().rfind(|it| it.topic == topic).unwrap();
        assert_eq!(figure.payload, value.as_bytes(), "{name}");
    }
    world.broker.close_local(local);
    assert_eq!(
        (world.broker.sessions(), world.broker.absent_sessions()),
        (1, 0)
    );
    open(&mut world, "b");
}

#[test]
fn new_limits_hold_for_local_clients_that_are_there() {
    let mut world = World::default();
    let local = open(&mut world, "local");
    subscribe(&mut world, local, "t", QoS::AtLeastOnce);
    for n in 0..5 {
        publish(&mut world, local, "t", &[n], QoS::AtLeastOnce);
    }
    world.broker.configure(Config {
        sys_interval: None,
        send_window: 2.try_into().unwrap(),
        max_queued_messages: 1,
        max_sessions: 0,
        ..Config::default()
    });
    publish(&mut world, local, "t", b"x", QoS::AtLeastOnce);
    assert_eq!(world.broker.counters().dropped_queue_full, 1);
    let got = take(&mut world, local);
    assert_eq!(got.len(), 2, "as many as the window holds now");
    for message in got {
        world
            .broker
            .acknowledge_local(local, message.packet_id.unwrap());
    }
    assert_eq!(
        take_all(&mut world, local).len(),
        3,
        "nothing is thrown away"
    );
}
