//! Clients inside the process.

use wherry_core::packet::{PacketId, Properties, Property, QoS, SubscriptionOptions};
use wherry_core::{LocalClient, LocalPublish};

use super::super::input::Input;
use super::choices::{FILTERS, Granted, NAMES, TOPICS};
use super::events::{EXPIRIES, IDENTIFIERS, MORE};
use super::model::{Arrival, Asked, Message, Source};
use super::world::{MOST, World};

/// A local client.
pub(super) struct Local {
    pub(super) client: LocalClient,
    pub(super) name: &'static str,
    pub(super) source: Source,
    pub(super) is_open: bool,
    /// Whether it was said that messages wait.
    pub(super) raised: bool,
    /// Whether all messages were taken while the action for them may have been under way.
    pub(super) is_early: bool,
    /// Whether nothing may name it any more.
    pub(super) is_gone: bool,
    /// What is to be acknowledged.
    unanswered: Vec<PacketId>,
}

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

pub(super) fn open(world: &mut World, input: &mut Input<'_>) {
    let (name, granted) = (input.one_of(&NAMES), input.one_of(&Granted::ALL));
    if world.locals.len() == MOST {
        return;
    }
    if let Ok(client) = world.broker.open_local(name, granted.grant()) {
        let source = world.model.source();
        world.model.granted(source, granted);
        world.model.connected(name);
        world.locals.push(Local {
            client,
            name,
            source,
            is_open: true,
            raised: false,
            is_early: false,
            is_gone: false,
            unanswered: Vec::new(),
        });
    }
}

/// A local client that may be closed already.
fn choose(world: &World, input: &mut Input<'_>) -> Option<usize> {
    usize::from(input.byte()).checked_rem(world.locals.len())
}

pub(super) fn subscribe(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = choose(world, input) else {
        return;
    };
    let (filter, byte) = (input.one_of(&FILTERS), input.byte());
    let identifier = input.one_of(&IDENTIFIERS).unwrap_or(0);
    let Some(options) = SubscriptionOptions::from_u8(byte) else {
        return;
    };
    let local = &world.locals[at];
    let asked = Asked::new(filter, byte, identifier);
    world.model.subscribed(local.name, asked);
    let granted = world
        .broker
        .subscribe_local(local.client, filter, options, identifier);
    assert!(granted.is_err() || local.is_open, "it is gone");
}

pub(super) fn unsubscribe(world: &mut World, input: &mut Input<'_>) {
    if let Some(at) = choose(world, input) {
        let client = world.locals[at].client;
        world
            .broker
            .unsubscribe_local(client, input.one_of(&FILTERS));
    }
}

pub(super) fn publish(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = choose(world, input) else {
        return;
    };
    let (topic, qos, retain) = (input.one_of(&TOPICS), input.one_of(&QOS), input.flag());
    let (expiry, more) = (input.one_of(&EXPIRIES), input.one_of(&MORE));
    let payload = more.map_or(Vec::new(), |more| world.model.payload(more));
    let local = &world.locals[at];
    world.model.published(Message {
        topic: topic.to_owned(),
        payload: payload.clone(),
        qos: qos as u8,
        retain,
        expiry,
        publisher: local.name.to_owned(),
        times: 1,
        source: local.source,
        is_will: false,
        is_withdrawn: false,
    });
    let expiry = expiry.map(Property::MessageExpiryInterval);
    let reason = world.broker.publish_local(
        local.client,
        &LocalPublish {
            topic,
            payload: &payload,
            qos,
            retain,
            properties: Properties::from_slice(expiry.as_slice()),
        },
    );
    assert!(reason.is_error() || local.is_open, "it is gone");
}

pub(super) fn take(world: &mut World, input: &mut Input<'_>) {
    if let Some(at) = choose(world, input) {
        world.take_messages(at, input.below(8));
    }
}

pub(super) fn acknowledge(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = choose(world, input) else {
        return;
    };
    let which = usize::from(input.byte());
    let local = &mut world.locals[at];
    let Some(which) = which.checked_rem(local.unanswered.len()) else {
        let id = PacketId::FIRST;
        assert!(!world.broker.acknowledge_local(local.client, id));
        return;
    };
    let id = local.unanswered.swap_remove(which);
    let is_known = world.broker.acknowledge_local(local.client, id);
    assert_eq!(is_known, local.is_open);
}

pub(super) fn close(world: &mut World, input: &mut Input<'_>) {
    if let Some(at) = choose(world, input) {
        world.close_local(at);
    }
}

impl World {
    /// A local client takes messages: so many, or all there are, and then acknowledges them.
    pub(super) fn take_messages(&mut self, at: usize, most: usize) {
        let local = &mut self.locals[at];
        for taken in 0.. {
            if taken == most {
                return;
            }
            let Some(message) = self.broker.next_message(local.client) else {
                local.is_early |= !local.raised;
                local.raised = false;
                if most < usize::MAX || local.unanswered.is_empty() {
                    return;
                }
                for id in std::mem::take(&mut local.unanswered) {
                    self.broker.acknowledge_local(local.client, id);
                }
                continue;
            };
            assert!(local.is_open, "it is gone");
            assert_eq!(message.packet_id.is_some(), message.qos > QoS::AtMostOnce);
            if let Some(id) = message.packet_id {
                assert!(!local.unanswered.contains(&id), "{id} is in use");
                local.unanswered.push(id);
            }
            let arrival = Arrival {
                topic: message.topic(),
                payload: message.payload(),
                qos: message.qos as u8,
                retain: message.retain,
                dup: false,
                expiry: message.expiry(),
                identifiers: message.subscription_identifiers.clone(),
                is_v5: true,
            };
            self.model.judge(local.name, local.source, &arrival);
        }
    }

    pub(super) fn close_local(&mut self, at: usize) {
        let local = &mut self.locals[at];
        local.is_open = false;
        local.raised = false;
        self.broker.close_local(local.client);
    }
}
