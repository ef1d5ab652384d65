//! Drivers with a store.

use wherry_core::store::Restore;

use super::*;

/// A driver whose store is empty, and has to catch up before a client is read again.
fn durable() -> World {
    let config = Config {
        sys_interval: None,
        max_uncommitted_bytes: 0,
        ..Config::default()
    };
    let (_, mut parts) = Restore::new().finish(1, |_| 0);
    let (now, wall_clock) = (Instant::from_millis(0), WallClock::from_unix_millis(0));
    let place = Place::alone(1);
    let broker = Broker::restored(config, place, now, wall_clock, parts.remove(0));
    World::of(broker, Arc::new(AllowAll), now)
}

/// The store has what there is for it.
fn commit(world: &mut World) {
    let batch = world.driver.take_batch().expect("a batch is there");
    world.driver.batch_committed(world.now, batch.number);
    world.turn_until_quiet();
}

#[test]
fn a_commit_long_after_the_last_turn_counts_from_the_time_it_is_known() {
    let mut world = durable();
    let (id, wire) = world.open();
    let mut connect = connect(b'a');
    connect[9] = 0; // The session outlives the connection.
    world.receive(id, &wire, &connect);
    assert!(wire.got().is_empty());
    commit(&mut world);
    assert_eq!(wire.got(), CONNACK);
    // Until the store has caught up, nobody is read, or thrown out.
    world.receive(id, &wire, &[0x34, 6, 0, 1, b't', 0, 7, b'x']);
    assert!(wire.got().is_empty());
    world.now = Instant::from_millis(5000);
    commit(&mut world);
    assert_eq!(wire.got(), [0x50, 2, 0, 7]);
    // [MQTT-3.1.2-22] The keep-alive of 60 s counts from then.
    for (millis, is_there) in [(94_999, true), (95_000, false)] {
        world.now = Instant::from_millis(millis);
        world.turn_until_quiet();
        assert_eq!(!wire.0.borrow().is_shut, is_there, "after {millis} ms");
    }
}
