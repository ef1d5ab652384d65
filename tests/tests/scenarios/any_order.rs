//! Any order of calls is legal.

use std::time::Duration;

use proptest::prelude::*;
use wherry_core::connection::{Closed, ConnectionId, Origin, Transport};
use wherry_core::packet::{PacketId, QoS, ReasonCode, SubscriptionOptions};
use wherry_core::permission::Grant;
use wherry_core::time::{Instant, WallClock};
use wherry_core::{Broker, Config, LocalClient, LocalPublish};
use wherry_tests::wire::{self, Properties, Value, Version, Will, id};

#[derive(Clone, Debug)]
enum Call {
    Open,
    Send { to: usize, what: usize, cut: usize },
    Noise { to: usize, bytes: Vec<u8> },
    Sent { to: usize, bytes: usize },
    Closed(usize),
    Admit(usize),
    Refuse(usize),
    Kick(usize),
    OpenLocal(usize),
    Local { to: usize, what: u8 },
    Advance(u64),
    Actions(usize),
    Events,
    Configure(usize),
    ShutDown,
}

fn call() -> impl Strategy<Value = Call> {
    let to = 0usize..8;
    prop_oneof![
        6 => Just(Call::Open),
        30 => (to.clone(), 0usize..24, 1usize..80)
            .prop_map(|(to, what, cut)| Call::Send { to, what, cut }),
        2 => (to.clone(), prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(to, bytes)| Call::Noise { to, bytes }),
        10 => (to.clone(), 0usize..500).prop_map(|(to, bytes)| Call::Sent { to, bytes }),
        2 => to.clone().prop_map(Call::Closed),
        10 => to.clone().prop_map(Call::Admit),
        1 => to.clone().prop_map(Call::Refuse),
        1 => to.clone().prop_map(Call::Kick),
        2 => to.clone().prop_map(Call::OpenLocal),
        20 => (to, 0u8..24).prop_map(|(to, what)| Call::Local { to, what }),
        4 => (0u64..20_000).prop_map(Call::Advance),
        8 => (0usize..10).prop_map(Call::Actions),
        1 => Just(Call::Events),
        1 => (0usize..2000).prop_map(Call::Configure),
        1 => Just(Call::ShutDown),
    ]
}

pub(crate) fn packet(version: Version, what: usize) -> Vec<u8> {
    match what {
        0..=3 => wire::connect(version)
            .client_id(["a", "b", ""][what % 3])
            .keep_alive(5)
            .will(Will::new("a/will", "gone"))
            .bytes(),
        4 => wire::subscribe(version, 1, &[("a/#", 0), ("+/b", 0), ("a/b", 0)]),
        5 => wire::unsubscribe(version, 1, &["a/#"]),
        6 => wire::publish(version, "a/b", "x").bytes(),
        7 => wire::publish(version, "a/b", vec![1; 300]).retain().bytes(),
        8 => wire::publish(version, "a/b", "").retain().bytes(),
        9 => wire::publish(version, "a/c", vec![1; 9000]).bytes(),
        10 => wire::disconnect(version, 0),
        11 => wire::publish(version, "a", "x").qos(1, 1).bytes(),
        12 => wire::subscribe(version, 1, &[("#", 0)]),
        13 => wire::publish(version, "a/d", vec![3; 50]).retain().bytes(),
        14 => wire::lasting(version, "a").keep_alive(5).bytes(),
        15 => wire::lasting(version, "c").will(delayed()).bytes(),
        16 => wire::publish(version, "a/b", "y").qos(2, 1).bytes(),
        17 => wire::publish(version, "a/d", vec![4; 90])
            .qos(2, 2)
            .retain()
            .bytes(),
        18 => wire::subscribe(version, 3, &[("a/+", 2), ("$share/g/a/#", 2)]),
        19 => [4, 5, 6, 7].map(|kind| wire::ack(kind, 1)).concat(),
        20 => [5, 7, 4].map(|kind| wire::ack(kind, 2)).concat(),
        21 => wire::unsubscribe(version, 4, &["$share/g/a/#", "a/+"]),
        _ => wire::PINGREQ.to_vec(),
    }
}

/// How long sessions live on at most, whatever they ask for and whatever is configured meanwhile.
const EXPIRY: Duration = Duration::from_secs(60);

fn delayed() -> Will {
    Will {
        qos: 1,
        properties: Properties::new().with(id::WILL_DELAY_INTERVAL, Value::Four(3)),
        ..Will::new("a/will", "gone")
    }
}

/// A call of a local client, which may be gone; returns what came of it.
fn local(broker: &mut Broker, client: LocalClient, what: u8) -> String {
    let at = usize::from(what);
    let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][at % 3];
    let filter = ["a/#", "a/b", "$share/g/a/b", "a/+"][at % 4];
    let options = SubscriptionOptions {
        qos,
        ..SubscriptionOptions::default()
    };
    let publish = LocalPublish {
        topic: ["a/b", "a/c"][at % 2],
        payload: &[what],
        qos,
        retain: what.is_multiple_of(5),
        properties: wherry_core::packet::Properties::EMPTY,
    };
    let id = PacketId::new(u16::from(what % 8 + 1)).unwrap();
    match what {
        0..=4 => format!("{:?}", broker.subscribe_local(client, filter, options, 0)),
        5..=10 => format!("{:?}", broker.publish_local(client, &publish)),
        11..=15 => format!("{:?}", broker.next_message(client)),
        16..=20 => format!("{:?}", broker.acknowledge_local(client, id)),
        21..=22 => format!("{:?}", broker.unsubscribe_local(client, filter)),
        _ => format!("{:?}", broker.close_local(client)),
    }
}

/// Makes the calls and returns all that came out.
fn run(calls: &[Call], seed: u64) -> Vec<u8> {
    let mut now = Instant::from_millis(0);
    let config = Config {
        outbox_limit: 1000,
        max_events: 20,
        max_session_expiry: Some(EXPIRY),
        max_queued_messages: 5,
        send_window: 4.try_into().unwrap(),
        ..Config::default()
    };
    let mut broker = Broker::new(config, seed, now, WallClock::from_unix_millis(0));
    let mut ids: Vec<ConnectionId> = vec![ConnectionId::default()];
    let mut locals: Vec<LocalClient> = Vec::new();
    let mut out = Vec::new();
    for call in calls {
        let id = |to: usize| ids[to % ids.len()];
        match call {
            Call::Open => {
                let origin = Origin {
                    listener: 0,
                    transport: Transport::Tcp,
                    remote: None,
                    local: None,
                };
                if let Ok(id) = broker.open(origin) {
                    ids.push(id);
                }
            }
            Call::Send { to, what, cut } => {
                let version = if to % 2 == 0 {
                    Version::V5
                } else {
                    Version::V3_1_1
                };
                for piece in packet(version, *what).chunks(*cut) {
                    broker.received(id(*to), piece);
                }
            }
            Call::Noise { to, bytes } => broker.received(id(*to), bytes),
            Call::Sent { to, bytes } => {
                let taken = broker.outbox(id(*to)).flatten().copied().take(*bytes);
                out.extend(taken);
                broker.sent(id(*to), *bytes);
            }
            Call::Closed(to) => broker.closed(id(*to), Closed::EndOfStream),
            Call::Admit(to) => broker.admit(id(*to), Grant::unrestricted()),
            Call::Refuse(to) => broker.refuse(id(*to), ReasonCode::Banned),
            Call::Kick(to) => broker.kick(id(*to)),
            Call::OpenLocal(name) => {
                let name = ["a", "c", "d"][name % 3];
                locals.extend(broker.open_local(name, Grant::unrestricted()));
            }
            Call::Local { to, what } => {
                if let Some(client) = locals.get(to % locals.len().max(1)) {
                    out.extend(local(&mut broker, *client, *what).bytes());
                }
            }
            Call::Advance(millis) => {
                now = now.after(Duration::from_millis(*millis));
                broker.advance(now);
                assert!(
                    broker.next_deadline().is_none_or(|next| next >= now),
                    "no time is missed"
                );
            }
            Call::Actions(n) => {
                for _ in 0..*n {
                    out.extend(format!("{:?}", broker.poll_action()).bytes());
                }
            }
            Call::Events => while broker.poll_event().is_some() {},
            Call::Configure(limit) => {
                broker.configure(Config {
                    outbox_limit: *limit,
                    max_session_expiry: Some(EXPIRY),
                    ..Config::default()
                });
            }
            Call::ShutDown => broker.shut_down(),
        }
        let waiting: usize = ids.iter().map(|id| broker.outbox_len(*id)).sum();
        assert_eq!(
            waiting,
            broker.waiting_bytes(),
            "every waiting byte belongs to someone"
        );
        // Three clients have sessions that may outlive their connections.
        assert!(broker.sessions() <= broker.connections() + locals.len() + 3);
        for id in &ids {
            let slices: usize = broker.outbox(*id).map(<[u8]>::len).sum();
            assert_eq!(slices, broker.outbox_len(*id));
            assert!(broker.outbox(*id).all(|slice| !slice.is_empty()));
        }
    }
    for id in ids {
        broker.closed(id, Closed::EndOfStream);
    }
    // The wills of those that end may go to those that do not yet.
    broker.advance(now.after(EXPIRY));
    for client in locals {
        broker.close_local(client);
    }
    assert_eq!(
        (
            broker.connections(),
            broker.sessions(),
            broker.subscriptions()
        ),
        (0, 0, 0)
    );
    assert_eq!((broker.waiting_bytes(), broker.unparsed_bytes()), (0, 0));
    assert_eq!((broker.queued_messages(), broker.queued_bytes()), (0, 0));
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_calls_breaks_the_broker(calls in prop::collection::vec(call(), 0..200)) {
        run(&calls, 1);
    }

    #[test]
    fn the_same_calls_have_the_same_results(calls in prop::collection::vec(call(), 0..100)) {
        prop_assert_eq!(run(&calls, 1), run(&calls, 1));
    }
}
