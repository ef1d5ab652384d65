//! What a grant does not allow, on every way a message can take.

use wherry_core::permission::{Access, Effect, Grant, Rule};
use wherry_core::{Config, EventKind};
use wherry_tests::scenario::{Admission, World};
use wherry_tests::wire::{self, Version, Will, kind};

fn rule(effect: Effect, access: Access, filter: &str) -> Rule {
    Rule {
        effect,
        access,
        filter: filter.into(),
    }
}

/// A client with this grant, and one that may do everything.
fn world(
    rules: Vec<Rule>,
    otherwise: Effect,
) -> (
    World,
    wherry_tests::scenario::Client,
    wherry_tests::scenario::Client,
) {
    let mut world = World::new(Config::default());
    let free = world.connect(Version::V5, "free");
    world.admission = Admission::Everyone(Grant::from_rules(rules, otherwise));
    let connect = wire::connect(Version::V5)
        .client_id("bound")
        .will(Will::new("secret/will", "gone"));
    let bound = world.connect_with(&connect);
    (world, free, bound)
}

#[test]
fn a_publish_without_permission_reaches_nobody_and_is_not_retained() {
    let (mut world, free, bound) = world(
        vec![rule(Effect::Deny, Access::Publish, "secret/#")],
        Effect::Allow,
    );
    world.subscribe(free, "#", 0);
    world.publish_retained(bound, "secret/a", "x");
    world.publish(bound, "open", "y");
    let got = world.messages(free);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].topic, "open");
    assert_eq!(world.broker.retained_messages(), 0);
    assert_eq!(world.broker.counters().publish_refused_not_authorized, 1);
    assert!(world.events.iter().any(|event| matches!(&event.kind,
        EventKind::PublishRefused { topic, .. } if &**topic == "secret/a")));
}

#[test]
fn a_wide_subscription_brings_only_what_is_permitted_live_and_retained() {
    // A14: one way of authorisation.
    let (mut world, free, bound) = world(
        vec![rule(Effect::Deny, Access::Receive, "secret/#")],
        Effect::Allow,
    );
    world.publish_retained(free, "secret/a", "1");
    world.publish_retained(free, "open/a", "2");
    world.subscribe(bound, "#", 0);
    world.publish(free, "secret/b", "3");
    world.publish(free, "open/b", "4");
    let topics: Vec<_> = world.messages(bound).into_iter().map(|m| m.topic).collect();
    assert_eq!(topics, ["open/a", "open/b"]);
    assert_eq!(world.broker.counters().dropped_not_permitted, 2);
}

#[test]
fn a_filter_of_which_nothing_may_be_received_is_refused() {
    let (mut world, _, bound) = world(
        vec![rule(Effect::Deny, Access::Receive, "secret/#")],
        Effect::Allow,
    );
    let filters = [("secret/+", 0), ("open", 0), ("#", 0)];
    world.send(bound, wire::subscribe(Version::V5, 1, &filters));
    let codes = world.expect(bound, kind::SUBACK).suback(Version::V5).codes;
    assert_eq!(codes, [0x87, 0, 0]);
    assert_eq!(
        world.broker.counters().subscriptions_refused_not_authorized,
        1
    );
}

#[test]
fn a_will_without_permission_is_not_published() {
    // A29
    let (mut world, free, bound) = world(
        vec![rule(Effect::Deny, Access::Publish, "secret/#")],
        Effect::Allow,
    );
    world.subscribe(free, "#", 0);
    world.hang_up(bound);
    world.expect_nothing(free);
    assert_eq!(world.broker.counters().wills_refused, 1);
}

#[test]
fn what_waited_for_a_client_reaches_it_only_if_it_may_see_it_now() {
    // A13, A14: a grant that is narrower than it was when the message came.
    for send_window in [1, 100] {
        let mut world = World::new(Config {
            send_window: send_window.try_into().unwrap(),
            ..Config::default()
        });
        let publisher = world.connect(Version::V5, "publisher");
        let connect = wire::lasting(Version::V5, "a");
        let client = world.connect_with(&connect);
        world.subscribe(client, "#", 2);
        for topic in ["open/1", "secret/1", "secret/2"] {
            world.publish_released(publisher, topic, topic);
        }
        world.hang_up(client);
        for topic in ["secret/3", "open/2"] {
            world.publish_acked(publisher, topic, topic);
        }
        let rules = vec![rule(Effect::Deny, Access::Receive, "secret/#")];
        world.admission = Admission::Everyone(Grant::from_rules(rules, Effect::Allow));
        let client = world.resume(&connect);
        world.publish_acked(publisher, "secret/4", "live");
        assert_eq!(world.drain_texts(client), ["open/1", "open/2"]);
    }
}

#[test]
fn a_delayed_will_is_published_by_the_grant_of_the_connection_that_left_it() {
    // A29
    let rules = vec![rule(Effect::Deny, Access::Publish, "secret/#")];
    for (grant, published) in [
        (Grant::from_rules(rules, Effect::Allow), 0),
        (Grant::unrestricted(), 1),
    ] {
        let mut world = World::default();
        let free = world.connect(Version::V5, "free");
        world.subscribe(free, "secret/#", 1);
        world.admission = Admission::Everyone(grant);
        let mut will = Will::new("secret/will", "gone");
        will.properties =
            wire::Properties::new().with(wire::id::WILL_DELAY_INTERVAL, wire::Value::Four(10));
        let bound = world.connect_with(&wire::lasting(Version::V5, "bound").will(will));
        world.hang_up(bound);
        world.pass(std::time::Duration::from_secs(10));
        assert_eq!(world.drain(free).len(), published);
        let counters = world.broker.counters();
        assert_eq!(counters.wills_refused, 1 - published as u64);
    }
}
