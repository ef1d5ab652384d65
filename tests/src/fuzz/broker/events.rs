//! What can happen to a broker.

use std::time::Duration;

use wherry_core::connection::Closed;
use wherry_core::packet::ReasonCode;

use super::super::input::Input;
use super::choices::{CONFIG, FILTERS, Granted, NAMES, TOPICS, config};
use super::link::{Last, Stage, Told};
use super::local;
use super::model::{Asked, Message};
use super::world::World;
use crate::wire::{self, Properties, Value, Version, Will, id, kind};

/// Something that can happen, and how many bytes it has for its choices, whether it needs them or
/// not: so what follows stays what it is.
pub(super) struct Event {
    pub(super) call: fn(&mut World, &mut Input<'_>),
    pub(super) choices: usize,
}

const fn event(call: fn(&mut World, &mut Input<'_>), choices: usize) -> Event {
    Event { call, choices }
}

/// All of them, by number. A number keeps its meaning, or scripts would lose theirs.
pub(super) const EVENTS: &[Event] = &[
    event(open, 2),
    event(connect, 16),
    event(join, 20),
    event(subscribe, 10),
    event(unsubscribe, 6),
    event(publish, 10),
    event(repeat, 1),
    event(answer, 3),
    event(acknowledge, 3),
    event(ping, 1),
    event(disconnect, 3),
    event(auth, 3),
    event(noise, 12),
    event(damage, 2),
    event(pieces, 1),
    event(closed, 2),
    event(take, 2),
    event(take_all, 1),
    event(admit, 3),
    event(refuse, 2),
    event(challenge, 2),
    event(advance, 1),
    event(next_deadline, 0),
    event(settle, 0),
    event(configure, CONFIG),
    event(kick, 1),
    event(shut_down, 0),
    event(idle, 1),
    event(stale, 1),
    event(everyone, 0),
    event(local::open, 2),
    event(local::subscribe, 4),
    event(local::unsubscribe, 2),
    event(local::publish, 6),
    event(local::take, 2),
    event(local::acknowledge, 2),
    event(local::close, 1),
];

/// Message Expiry Intervals.
pub(super) const EXPIRIES: [Option<u32>; 4] = [None, Some(0), Some(1), Some(30)];

/// Subscription Identifiers.
pub(super) const IDENTIFIERS: [Option<u32>; 4] = [None, Some(1), Some(2), Some(268_435_455)];

/// How long payloads are beyond their number; `None` is empty.
pub(super) const MORE: [Option<usize>; 6] =
    [Some(0), Some(1), Some(40), Some(300), Some(3000), None];

fn open(world: &mut World, input: &mut Input<'_>) {
    let slot = input.below(super::world::SLOTS);
    let version = input.one_of(&[Version::V5, Version::V3_1_1, Version::V3_1]);
    world.open(slot, version);
}

fn connect(world: &mut World, input: &mut Input<'_>) {
    if let Some(at) = world.link(input) {
        send_connect(world, input, at);
    }
}

/// A connection is opened, and its client is let in.
fn join(world: &mut World, input: &mut Input<'_>) {
    let slot = input.below(super::world::SLOTS);
    let version = input.one_of(&[Version::V5, Version::V3_1_1, Version::V3_1]);
    let before = world.links.len();
    world.open(slot, version);
    if world.links.len() > before {
        world.act();
        send_connect(world, input, before);
        world.act();
        world.admit(before, input.one_of(&Granted::ALL), None);
        world.act();
    }
}

fn send_connect(world: &mut World, input: &mut Input<'_>, at: usize) {
    let version = world.links[at].version;
    let name = input.one_of(&NAMES);
    let known_as = match name {
        "" => format!("assigned to {at}"),
        name => name.to_owned(),
    };
    let receive_maximum = input.one_of(&[None, Some(1), Some(2), Some(10)]);
    let packet_size = input.one_of(&[None, Some(40), Some(200), Some(1000)]);
    let topic_aliases = input.one_of(&[None, Some(1), Some(3)]);
    let session_expiry = input.one_of(&[None, Some(0), Some(10), Some(50), Some(u32::MAX)]);
    let mut connect = wire::connect(version)
        .client_id(name)
        .clean(input.flag())
        .keep_alive(input.one_of(&[0, 3, 60]));
    let ways = input.byte();
    if version.is_v5() {
        let mut properties = Properties::new();
        let mut add = |id, value: Option<Value>| {
            if let Some(value) = value {
                properties = std::mem::take(&mut properties).with(id, value);
            }
        };
        add(id::RECEIVE_MAXIMUM, receive_maximum.map(Value::Two));
        add(id::MAXIMUM_PACKET_SIZE, packet_size.map(Value::Four));
        add(id::TOPIC_ALIAS_MAXIMUM, topic_aliases.map(Value::Two));
        add(id::SESSION_EXPIRY_INTERVAL, session_expiry.map(Value::Four));
        let method = Value::Text("m".into());
        add(id::AUTHENTICATION_METHOD, (ways & 1 != 0).then_some(method));
        let flag = |mask, value| (ways & mask != 0).then_some(Value::Byte(value));
        add(id::REQUEST_RESPONSE_INFORMATION, flag(2, 1));
        add(id::REQUEST_PROBLEM_INFORMATION, flag(4, 0));
        connect = connect.properties(properties);
    }
    if ways & 8 != 0 {
        connect = connect.username("user").password("secret");
    }
    if ways & 16 != 0 {
        connect = connect.will(will(world, input, at, &known_as));
    }
    let link = &mut world.links[at];
    if link.told.is_none() {
        let v5 = version.is_v5();
        link.told = Some(Told {
            name: known_as.clone(),
            receive_maximum: receive_maximum.filter(|_| v5).unwrap_or(u16::MAX).into(),
            packet_size: packet_size.filter(|_| v5).unwrap_or(u32::MAX) as usize,
            topic_aliases: topic_aliases.filter(|_| v5).unwrap_or(0),
        });
    }
    world.model.connected(&known_as);
    world.send(at, connect.bytes());
}

fn will(world: &mut World, input: &mut Input<'_>, at: usize, name: &str) -> Will {
    let (topic, qos, retain) = (input.one_of(&TOPICS), input.byte() % 3, input.flag());
    let more = input.one_of(&[0, 30]);
    let delay = input.one_of(&[None, Some(0), Some(5), Some(60)]);
    let expiry = input.one_of(&EXPIRIES);
    let payload = world.model.payload(more);
    let mut properties = Properties::new();
    if let Some(delay) = delay {
        properties = properties.with(id::WILL_DELAY_INTERVAL, Value::Four(delay));
    }
    if let Some(expiry) = expiry {
        properties = properties.with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(expiry));
    }
    let link = &mut world.links[at];
    let number = world.model.published(Message {
        topic: topic.to_owned(),
        payload: payload.clone(),
        qos,
        retain,
        expiry: expiry.filter(|_| link.version.is_v5()),
        publisher: name.to_owned(),
        times: 1,
        source: link.source,
        is_will: true,
        is_withdrawn: false,
    });
    // It is that of the first CONNECT, or of none.
    link.will = link.told.is_none().then_some(number);
    Will {
        topic: topic.into(),
        payload,
        qos,
        retain,
        properties,
    }
}

fn subscribe(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    let version = world.links[at].version;
    let packet_id = 1 + u16::from(input.byte() % 4);
    let identifier = input.one_of(&IDENTIFIERS).filter(|_| version.is_v5());
    let count = 1 + input.below(3);
    let name = world.links[at].told.as_ref().map(|told| told.name.clone());
    let mut filters = Vec::new();
    for _ in 0..count {
        let filter = input.one_of(&FILTERS);
        let mask = if version.is_v5() { 0x3f } else { 0x03 };
        let options = input.byte() & mask;
        if let Some(name) = &name {
            let asked = Asked::new(filter, options, identifier.unwrap_or(0));
            world.model.subscribed(name, asked);
        }
        filters.push((filter, options));
    }
    let properties = match identifier {
        Some(it) => Properties::new().with(id::SUBSCRIPTION_IDENTIFIER, Value::Variable(it)),
        None => Properties::new(),
    };
    let requests = world.links[at].requests.entry(packet_id).or_default();
    requests.push((kind::SUBACK, count));
    let bytes = wire::subscribe_with(version, packet_id, &properties, &filters);
    world.send(at, bytes);
}

fn unsubscribe(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    let packet_id = 1 + u16::from(input.byte() % 4);
    let filters: Vec<&str> = (0..1 + input.below(3))
        .map(|_| input.one_of(&FILTERS))
        .collect();
    let requests = world.links[at].requests.entry(packet_id).or_default();
    requests.push((kind::UNSUBACK, filters.len()));
    let bytes = wire::unsubscribe(world.links[at].version, packet_id, &filters);
    world.send(at, bytes);
}

fn publish(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    let link = &world.links[at];
    let version = link.version;
    let (topic, qos, retain) = (input.one_of(&TOPICS), input.byte() % 3, input.flag());
    let packet_id = 1 + u16::from(input.byte() % 4);
    let more = input.one_of(&MORE);
    let ways = input.byte();
    let expiry = input.one_of(&EXPIRIES).filter(|_| version.is_v5());
    let alias = (ways & 1 != 0 && version.is_v5()).then(|| 1 + u16::from(input.byte() % 4));
    // An alias that the client has set stands for its topic.
    let known = alias.and_then(|alias| link.sent_aliases.get(&alias).cloned());
    let (written, topic) = match known {
        Some(known) if ways & 2 != 0 => ("", known),
        _ => (topic, topic.to_owned()),
    };
    let payload = more.map_or(Vec::new(), |more| world.model.payload(more));
    let mut publish = wire::publish(version, written, &payload);
    if qos > 0 {
        publish = publish.qos(qos, packet_id);
    }
    if retain {
        publish = publish.retain();
    }
    if qos > 0 && ways & 4 != 0 {
        publish = publish.dup();
    }
    if let Some(expiry) = expiry {
        publish = publish.with(id::MESSAGE_EXPIRY_INTERVAL, Value::Four(expiry));
    }
    if let Some(alias) = alias {
        publish = publish.with(id::TOPIC_ALIAS, Value::Two(alias));
    }
    let link = &mut world.links[at];
    if let Some(alias) = alias {
        link.sent_aliases.insert(alias, topic.clone());
    }
    let publisher = link.told.as_ref().map(|told| told.name.clone());
    let number = world.model.published(Message {
        topic,
        payload,
        qos,
        retain,
        expiry,
        publisher: publisher.unwrap_or_default(),
        times: 1,
        source: link.source,
        is_will: false,
        is_withdrawn: false,
    });
    let bytes = publish.bytes();
    link.last = (qos > 0).then(|| Last {
        bytes: bytes.clone(),
        number,
        packet_id,
        // What cannot be retained is delivered and refused nevertheless, and so not held.
        is_held: qos == 2 && !retain,
    });
    world.send(at, bytes);
}

/// A client sends its last message once more, as if it had not been acknowledged.
fn repeat(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    let Some(mut last) = world.links[at].last.clone() else {
        return;
    };
    last.bytes[0] |= 8;
    if !last.is_held {
        world.model.published_again(last.number);
    }
    world.send(at, last.bytes);
}

/// A client does the next step for one of the messages that it has.
fn answer(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    let which = usize::from(input.byte());
    let ways = input.byte();
    let link = &mut world.links[at];
    let Some(which) = which.checked_rem(link.unanswered.len()) else {
        return;
    };
    let message = &mut link.unanswered[which];
    let packet_id = message.packet_id;
    let is_error = ways.is_multiple_of(8) && link.version.is_v5();
    let kind = match (message.qos, message.received) {
        (1, _) => kind::PUBACK,
        (_, false) => kind::PUBREC,
        (_, true) => kind::PUBCOMP,
    };
    message.received = true;
    if kind != kind::PUBREC || is_error {
        link.unanswered.swap_remove(which);
    }
    let bytes = match is_error && kind != kind::PUBCOMP {
        true => wire::ack_with(kind, packet_id, 0x80, &Properties::new()),
        false => wire::ack(kind, packet_id),
    };
    world.send(at, bytes);
}

/// Any acknowledgement.
fn acknowledge(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    let kind = input.one_of(&[kind::PUBREL, kind::PUBACK, kind::PUBREC, kind::PUBCOMP]);
    let packet_id = 1 + u16::from(input.byte() % 4);
    let link = &mut world.links[at];
    if kind == kind::PUBREL {
        if let Some(last) = &mut link.last
            && last.packet_id == packet_id
        {
            last.is_held = false;
        }
    } else {
        link.is_lax = true;
    }
    world.send(at, wire::ack(kind, packet_id));
}

fn ping(world: &mut World, input: &mut Input<'_>) {
    if let Some(at) = world.link(input) {
        world.send(at, wire::PINGREQ.to_vec());
    }
}

fn disconnect(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    let reason = input.one_of(&[0x00, 0x04, 0x82]);
    let expiry = input.one_of(&[None, Some(0), Some(20)]);
    let version = world.links[at].version;
    let bytes = match expiry {
        Some(seconds) if version.is_v5() => {
            let interval = Value::Four(seconds);
            let properties = Properties::new().with(id::SESSION_EXPIRY_INTERVAL, interval);
            wire::disconnect_with(reason, &properties)
        }
        _ => wire::disconnect(version, reason),
    };
    // Only if nothing can have come before it.
    let is_alone = world.is_done && world.damage.is_none() && world.links[at].is_plainly_in();
    world.send(at, bytes);
    let is_normal = expiry.is_none() && (reason == 0 || !version.is_v5());
    let link = &mut world.links[at];
    if is_alone
        && is_normal
        && link.unread.is_empty()
        && let Some(number) = link.will.take()
    {
        world.model.withdrawn(number);
    }
}

fn auth(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    let (reason, method) = (input.one_of(&[0x18, 0x19]), input.one_of(&["m", "other"]));
    let properties = Properties::new()
        .with(id::AUTHENTICATION_METHOD, Value::Text(method.into()))
        .with(id::AUTHENTICATION_DATA, Value::Binary(vec![1, 2, 3]));
    world.send(at, wire::auth(reason, &properties));
}

/// Bytes that are likely no packet.
fn noise(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    world.links[at].is_wild = true;
    world.model.is_wild = true;
    let bytes = input.rest().to_vec();
    world.send(at, bytes);
}

/// The next packet that a client sends has an error.
fn damage(world: &mut World, input: &mut Input<'_>) {
    world.damage = Some((input.byte().into(), input.byte()));
}

/// From now on, what clients send comes in pieces.
fn pieces(world: &mut World, input: &mut Input<'_>) {
    world.piece = input.byte().into();
}

fn closed(world: &mut World, input: &mut Input<'_>) {
    if let Some(at) = world.link(input) {
        world.closed(at, input.one_of(&[Closed::EndOfStream, Closed::Failed]));
    }
}

fn take(world: &mut World, input: &mut Input<'_>) {
    if let Some(at) = world.link(input) {
        let most = usize::from(input.byte());
        world.links[at].take(&mut world.broker, most, &mut world.model);
    }
}

fn take_all(world: &mut World, input: &mut Input<'_>) {
    if let Some(at) = world.link(input) {
        world.links[at].take(&mut world.broker, usize::MAX, &mut world.model);
    }
}

/// Every client reads all there is and acknowledges in order.
fn everyone(world: &mut World, _: &mut Input<'_>) {
    for at in 0..world.links.len() {
        world.catch_up(at);
    }
}

fn admit(world: &mut World, input: &mut Input<'_>) {
    if let Some(at) = world.link(input) {
        let data = input.flag().then_some(&b"proof"[..]);
        world.admit(at, input.one_of(&Granted::ALL), data);
    }
}

fn refuse(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    let reason = input.one_of(&[
        ReasonCode::BadUserNameOrPassword,
        ReasonCode::ServerUnavailable,
        ReasonCode::UseAnotherServer,
        ReasonCode::Success,
    ]);
    if std::mem::take(&mut world.links[at].asked) {
        world.broker.refuse(world.links[at].id, reason);
    }
}

fn challenge(world: &mut World, input: &mut Input<'_>) {
    let Some(at) = world.link(input) else { return };
    if std::mem::take(&mut world.links[at].asked) {
        let data = input.flag().then_some(&b"challenge"[..]);
        world.broker.challenge(world.links[at].id, data);
    }
}

fn advance(world: &mut World, input: &mut Input<'_>) {
    let time = u64::from(input.byte());
    world.advance(world.now.after(Duration::from_millis(time * time * 2)));
}

fn next_deadline(world: &mut World, _: &mut Input<'_>) {
    if let Some(next) = world.broker.next_deadline() {
        world.advance(next);
    }
}

fn settle(world: &mut World, _: &mut Input<'_>) {
    let idle = std::mem::take(&mut world.idle);
    world.settle();
    world.idle = idle;
}

fn configure(world: &mut World, input: &mut Input<'_>) {
    world.config = config(input);
    world.limits.include(&world.config);
    world.broker.configure(world.config.clone());
}

fn kick(world: &mut World, input: &mut Input<'_>) {
    if let Some(at) = world.link(input) {
        world.broker.kick(world.links[at].id);
    }
}

fn shut_down(world: &mut World, _: &mut Input<'_>) {
    world.broker.shut_down();
}

/// Actions wait until a few more events have happened.
fn idle(world: &mut World, input: &mut Input<'_>) {
    world.idle = 1 + input.below(8);
}

/// A call with the handle of a connection that is gone changes nothing but a counter.
fn stale(world: &mut World, input: &mut Input<'_>) {
    let mut gone = world.links.iter().filter(|link| link.stage == Stage::Gone);
    let Some(link) = gone.next() else { return };
    let (id, broker) = (link.id, &mut world.broker);
    let before = broker.counters().stale_handles;
    match input.below(6) {
        0 => broker.received(id, b"\xc0\0"),
        1 => broker.sent(id, 1),
        2 => broker.closed(id, Closed::Failed),
        3 => broker.kick(id),
        4 => broker.refuse(id, ReasonCode::NotAuthorized),
        _ => broker.challenge(id, None),
    }
    assert_eq!(broker.counters().stale_handles, before + 1);
    assert!(broker.credentials(id).is_none() && broker.outbox_len(id) == 0);
}
