//! Drivers of several shards, and what goes from one to another.

use super::*;

/// Two shards.
struct Shards([World; 2]);

impl Shards {
    fn new() -> Self {
        Self([0, 1].map(|index| {
            let config = Config {
                sys_interval: None,
                ..Config::default()
            };
            let place = Place::new(index, 2, 1).unwrap();
            World::in_place(Arc::new(AllowAll), config, place)
        }))
    }

    /// A one-letter name that the shard owns.
    fn name(&self, shard: u8) -> u8 {
        let broker = self.0[0].driver.broker();
        let owns = |name: &u8| broker.shard_of(&char::from(*name).to_string()) == shard;
        (b'a'..=b'z').find(owns).unwrap()
    }

    /// Carries what one shard has to say to the other.
    fn carry(&mut self, from: u8, to: u8) {
        let messages = self.0[usize::from(from)].driver.take_routed(to);
        let to = &mut self.0[usize::from(to)];
        to.driver.peer_received(to.now, from, messages);
    }

    /// Carries everything until there is nothing more. Returns how many connections were moved.
    fn run(&mut self) -> usize {
        let mut moved = 0;
        loop {
            let mut idle = true;
            for at in 0..2 {
                self.0[at].turn_until_quiet();
                let now = self.0[at].now;
                for handover in self.0[at].driver.take_handovers() {
                    let to = usize::from(handover.shard);
                    let adopted = self.0[to]
                        .driver
                        .adopt(now, handover, |_, socket| Ok(socket));
                    moved += usize::from(adopted.is_ok());
                    idle = false;
                }
                for peer in self.0[at].driver.routes() {
                    let messages = self.0[at].driver.take_routed(peer);
                    let from = u8::try_from(at).unwrap();
                    let to = &mut self.0[usize::from(peer)];
                    to.driver.peer_received(now, from, messages);
                    idle = false;
                }
            }
            if idle {
                return moved;
            }
        }
    }
}

#[test]
fn a_connection_goes_to_the_driver_of_its_shard_with_its_socket() {
    let mut shards = Shards::new();
    let name = shards.name(1);
    let (_, wire) = shards.0[0].open();
    // What comes behind CONNECT in the same read goes along.
    wire.sends(&[&connect(name)[..], &[0xc0, 0]].concat());
    assert_eq!(shards.run(), 1);
    assert_eq!(wire.got(), [&CONNACK[..], &[0xd0, 0]].concat());
    assert_eq!((shards.0[0].driver.len(), shards.0[1].driver.len()), (0, 1));
    wire.ends();
    let id = shards.0[1].driver.links.keys().next().unwrap();
    shards.0[1].driver.ready(id);
    shards.run();
    assert!(wire.is_dropped());
}

#[test]
fn a_connection_that_ends_on_its_way_ends_at_the_other_driver() {
    let mut shards = Shards::new();
    let (_, wire) = shards.0[0].open();
    wire.sends(&connect(shards.name(1)));
    wire.ends();
    assert_eq!(shards.run(), 1);
    assert!(wire.is_dropped());
    assert_eq!((shards.0[0].driver.len(), shards.0[1].driver.len()), (0, 0));
}

#[test]
fn a_connection_that_the_other_driver_has_no_room_for_is_dropped() {
    let mut shards = Shards::new();
    let (_, wire) = shards.0[0].open();
    wire.sends(&connect(shards.name(1)));
    shards.0[1].driver.shut_down();
    assert_eq!(shards.run(), 0);
    assert!(wire.is_dropped());
}

#[test]
fn messages_go_from_driver_to_driver() {
    let mut shards = Shards::new();
    let clients = [0, 1].map(|shard| {
        let name = shards.name(shard);
        shards.0[usize::from(shard)].client(name)
    });
    let [(publisher, from), (subscriber, to)] = &clients;
    to.sends(&[0x82, 6, 0, 1, 0, 1, b't', 0]);
    shards.0[1].driver.ready(*subscriber);
    shards.run();
    assert_eq!(to.got(), [0x90, 3, 0, 1, 0]);
    // QoS 1: the answer comes once the other shard has the message.
    from.sends(&[0x32, 6, 0, 1, b't', 0, 7, b'x']);
    shards.0[0].driver.ready(*publisher);
    shards.0[0].turn_until_quiet();
    assert!(from.got().is_empty());
    shards.run();
    assert_eq!(from.got(), [0x40, 2, 0, 7]);
    assert_eq!(to.got(), [0x30, 4, 0, 1, b't', b'x']);
}

#[test]
fn what_a_peer_says_long_after_the_last_turn_is_heard_at_the_time_it_arrives() {
    let mut shards = Shards::new();
    let name = shards.name(1);
    let (id, wire) = shards.0[1].client(name);
    shards.run();
    // The other shard has to know of the subscription; until then nobody is read, or thrown out.
    shards.0[1].receive(id, &wire, &[0x82, 6, 0, 1, 0, 1, b't', 0]);
    assert!(wire.got().is_empty());
    shards.carry(1, 0);
    shards.0[0].turn_until_quiet();
    shards.0[1].now = Instant::from_millis(5000);
    shards.carry(0, 1);
    shards.0[1].turn_until_quiet();
    assert_eq!(wire.got(), [0x90, 3, 0, 1, 0]);
    // [MQTT-3.1.2-22] The keep-alive of 60 s counts from then.
    for (millis, is_there) in [(94_999, true), (95_000, false)] {
        shards.0[1].now = Instant::from_millis(millis);
        shards.0[1].turn_until_quiet();
        assert_eq!(!wire.0.borrow().is_shut, is_there, "after {millis} ms");
    }
}

#[test]
fn a_driver_of_one_shard_has_nothing_for_others() {
    let mut world = World::new();
    let (id, wire) = world.client(b'a');
    world.receive(id, &wire, &[0x82, 6, 0, 1, 0, 1, b't', 0]);
    world.receive(id, &wire, &[0x33, 6, 0, 1, b't', 0, 7, b'x']);
    assert!(world.driver.take_handovers().is_empty());
    assert!(world.driver.routes().next().is_none());
    assert!(world.driver.take_routed(0).is_empty());
}
