//! From a message to the outboxes of its receivers.

use alloc::vec::Vec;

use slotmap::SlotMap;

use super::outlet::Outlet;
use super::{Broker, Config, Event, EventKind};
use crate::connection::{Connection, ConnectionId};
use crate::message::{Encoder, Message};
use crate::session::{Session, SessionId, Subscription};

/// Working memory of routing, kept so that a message allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    encoded: Vec<u8>,
    targets: Vec<Target>,
    /// Subscription identifiers beyond the first of a target, with the target's place.
    identifiers: Vec<(u32, u32)>,
    /// Counts messages that matched several filters.
    merges: u64,
}

/// A session that a message matched, by one filter or more.
#[derive(Clone, Copy, Debug)]
struct Target {
    session: SessionId,
    subscription: Subscription,
}

impl Broker {
    /// Puts a message into the outboxes of all who subscribed to its topic.
    pub(super) fn route(&mut self, from: SessionId, message: &Message<'_>) {
        let Self {
            filters,
            sessions,
            connections,
            out,
            config,
            scratch,
            work,
            ..
        } = self;
        let Scratch {
            encoded,
            targets,
            identifiers,
            merges,
        } = scratch;
        let mut only: Option<&[(SessionId, Subscription)]> = None;
        let mut several = false;
        *work += filters.for_each_match(message.topic, |_, subscribers| {
            if several {
                merge(sessions, targets, identifiers, *merges, subscribers, from);
            } else if let Some(first) = only {
                several = true;
                *merges += 1;
                targets.clear();
                identifiers.clear();
                merge(sessions, targets, identifiers, *merges, first, from);
                merge(sessions, targets, identifiers, *merges, subscribers, from);
            } else {
                only = Some(subscribers);
            }
        });
        let Some(only) = only else {
            out.counters.publish_without_subscriber += 1;
            return;
        };
        let mut delivery = Delivery {
            message,
            encoder: Encoder::new(message, encoded),
            sessions,
            connections,
            out,
            config,
        };
        if several {
            identifiers.sort_unstable();
            let mut rest = identifiers.as_slice();
            for (place, target) in (0u32..).zip(targets.iter()) {
                let mine = rest.iter().take_while(|(of, _)| *of == place).count();
                let (more, others) = rest.split_at(mine);
                rest = others;
                delivery.to(target.session, target.subscription, more);
            }
        } else {
            for &(session, subscription) in only {
                // [MQTT-3.8.3-3]
                if !(subscription.no_local && session == from) {
                    delivery.to(session, subscription, &[]);
                }
            }
        }
    }
}

/// Adds the subscribers of one filter to the targets, each session once: with the highest QoS
/// ([MQTT-3.3.4-2]), and all its subscription identifiers ([MQTT-3.3.4-4]).
fn merge(
    sessions: &mut SlotMap<SessionId, Session>,
    targets: &mut Vec<Target>,
    identifiers: &mut Vec<(u32, u32)>,
    number: u64,
    subscribers: &[(SessionId, Subscription)],
    from: SessionId,
) {
    for &(id, subscription) in subscribers {
        if subscription.no_local && id == from {
            continue;
        }
        let Some(session) = sessions.get_mut(id) else {
            continue;
        };
        if session.merged.0 != number {
            session.merged = (number, u32::try_from(targets.len()).unwrap_or(u32::MAX));
            targets.push(Target {
                session: id,
                subscription,
            });
            continue;
        }
        let place = session.merged.1;
        let Some(target) = targets.get_mut(place as usize) else {
            continue;
        };
        target.subscription.qos = target.subscription.qos.max(subscription.qos);
        target.subscription.retain_as_published |= subscription.retain_as_published;
        if target.subscription.identifier == 0 {
            target.subscription.identifier = subscription.identifier;
        } else if subscription.identifier != 0 {
            identifiers.push((place, subscription.identifier));
        }
    }
}

/// One message on its way to several receivers.
struct Delivery<'m, 'b> {
    message: &'m Message<'m>,
    encoder: Encoder<'m, 'b>,
    sessions: &'b SlotMap<SessionId, Session>,
    connections: &'b mut SlotMap<ConnectionId, Connection>,
    out: &'b mut Outlet,
    config: &'b Config,
}

impl Delivery<'_, '_> {
    #[inline]
    fn to(&mut self, session: SessionId, subscription: Subscription, more: &[(u32, u32)]) {
        let Some(session) = self.sessions.get(session) else {
            return;
        };
        if !session.grant.may_receive(self.message.topic) {
            self.out.counters.dropped_not_permitted += 1;
            return;
        }
        let id = session.connection;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        let retain = self.message.retain && subscription.retain_as_published;
        let first = Some(subscription.identifier).filter(|identifier| *identifier != 0);
        let identifiers = first
            .into_iter()
            .chain(more.iter().map(|(_, identifier)| *identifier));
        let Some(encoded) = self.encoder.encode(connection.version, retain, identifiers) else {
            self.out.counters.dropped_too_large += 1;
            return;
        };
        let len = encoded.len();
        if !fits(connection, self.out, self.config, len) {
            // Only who has something to take is slow, and `sent` says when it has caught up.
            let too_large = len > connection.max_packet_size as usize;
            if !connection.slow && !too_large && !connection.outbox.is_empty() {
                connection.slow = true;
                self.out.tell(Event {
                    connection: id,
                    origin: connection.origin.clone(),
                    client_id: Some(session.client_id.clone()),
                    kind: EventKind::SlowConsumer,
                });
            }
            return;
        }
        self.out.counters.publish_sent += 1;
        self.out.send(id, connection, encoded.bytes);
        if let Some(payload) = encoded.payload {
            self.out.send_shared(id, connection, payload);
        }
    }
}

/// Whether a QoS 0 message may go into an outbox; if not, it is counted as dropped.
#[inline]
fn fits(connection: &Connection, out: &mut Outlet, config: &Config, len: usize) -> bool {
    let counters = &mut out.counters;
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    if len > connection.max_packet_size as usize {
        counters.dropped_too_large += 1;
        return false;
    }
    if connection.outbox.len() + len > config.outbox_limit && !connection.outbox.is_empty() {
        counters.dropped_outbox_full += 1;
        return false;
    }
    if out.pool.waiting + len > config.outbox_total_limit {
        counters.dropped_outbox_total_full += 1;
        return false;
    }
    true
}
