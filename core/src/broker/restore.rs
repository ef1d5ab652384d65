//! A broker that goes on where another one stopped.
//!
//! Clients that were connected then count as disconnected now: their sessions expire, and their
//! wills are due, as long after the start as they would have been after the end of the connection.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::journal::Journal;
use super::{Broker, Config};
use crate::connection::NEVER;
use crate::map::HashKey;
use crate::message::{Kept, Message};
use crate::packet::PacketId;
use crate::peer::Place;
use crate::permission::{Access, Effect, Grant, Rule};
use crate::session::{
    Delivery, Expiry, Identifiers, InFlight, Phase, Row, Rows, Session, SessionId, Subscription,
    Will,
};
use crate::share::GroupId;
use crate::store::{
    Restored, RestoredDelivery, RestoredSession, StoredDelivery, StoredMessage, StoredSubscription,
    StoredWill,
};
use crate::time::{Instant, WallClock};
use crate::topic;

/// The messages of a store, each with how it is referred to now.
type Messages = BTreeMap<u64, Arc<Kept>>;

impl Broker {
    /// A broker with a store, of which `restored` is this shard's part; nothing of it counts
    /// towards the limits of `config`. `place`, `now` and `wall_clock` are as in
    /// [`Broker::in_place`].
    pub fn restored(
        config: Config,
        place: Place,
        now: Instant,
        wall_clock: WallClock,
        restored: Restored,
    ) -> Self {
        let mut broker = Self::in_place(config, place, now, wall_clock);
        broker.out.journal = Journal::new(
            restored.next_place.max(1),
            restored.next_message.max(1),
            restored.step.max(1),
        );
        let key = HashKey::from_seed(place.own_seed());
        broker.retained.begin_store(&place, key, restored.version);
        for it in restored.retained.iter() {
            let message = message(&it.message);
            let expires = it.message.expires.map(|at| broker.epoch.at_unix(at));
            let expires = expires.unwrap_or(NEVER);
            broker.retained.restore(&message, expires, it.version);
        }
        let mut messages = Messages::new();
        for (number, stored) in &restored.messages {
            messages.insert(*number, broker.restore_message(*number, stored));
        }
        // All subscriptions first: deliveries name groups.
        let mut sessions = Vec::new();
        for it in restored.sessions {
            let id = broker.restore_session(&it);
            sessions.push((id, it.session.sent, it.deliveries));
        }
        for (id, sent, deliveries) in sessions {
            broker.restore_deliveries(id, sent, deliveries, &messages);
            broker.set_session_timer(id);
        }
        broker.restore_left_over(restored.left_over, &messages);
        for message in messages.into_values() {
            broker.out.release_kept(message);
        }
        broker.hear_restored(&restored.wanted);
        broker
    }

    fn restore_message(&mut self, number: u64, stored: &StoredMessage) -> Arc<Kept> {
        let expires = stored.expires.map(|at| self.epoch.at_unix(at));
        let kept = Kept::restored(&message(stored), number, expires.unwrap_or(NEVER));
        self.out.hold(kept)
    }

    /// A session, its subscriptions and identifiers; what it is owed comes later.
    fn restore_session(&mut self, it: &RestoredSession) -> SessionId {
        let now = self.now;
        let stored = &it.session;
        let will = stored.will.as_ref();
        // What it may do is known again when its client is back; until then, whether it may publish
        // its will is what was known when it came in. Deliveries are checked when they are sent.
        let grant = match will.filter(|will| !will.permitted) {
            Some(will) => {
                let rule = Rule {
                    effect: Effect::Deny,
                    access: Access::Publish,
                    filter: will.message.topic.clone(),
                };
                Grant::from_rules(alloc::vec![rule], Effect::Allow)
            }
            None => Grant::unrestricted(),
        };
        let mut session = Session::new(Arc::clone(&it.client_id), grant);
        session.expiry = Expiry(stored.expiry);
        session.asked_expiry = session.expiry;
        session.rows = Rows {
            durable: session.expiry > Expiry::AT_ONCE,
            on_disk: true,
            ..Rows::default()
        };
        session.ends = match stored.ends {
            Some(at) => self.epoch.at_unix(at),
            None => session.expiry.after(now),
        };
        if let Some(will) = will {
            session.will_due = match will.due {
                Some(at) => self.epoch.at_unix(at),
                None => Expiry(will.delay).after(now),
            };
            session.will = Some(Box::new(restored_will(will)));
        }
        for id in it.incoming.iter().copied().filter_map(PacketId::new) {
            session.incoming.hold(id);
        }
        // From when on its time counts is known now, and the next start has to know it.
        let begins = stored.ends.is_none() && session.ends != NEVER;
        let is_due = will.is_some_and(|will| will.due.is_none()) && session.will_due != NEVER;
        let id = self.begin_session(session);
        self.absent += 1;
        if (begins || is_due)
            && let Some(session) = self.sessions.get_mut(id)
        {
            self.out.journal.session(id, &mut session.rows, now);
        }
        for (filter, subscription) in &it.subscriptions {
            self.restore_subscription(id, filter, *subscription);
        }
        id
    }

    fn restore_subscription(&mut self, id: SessionId, name: &str, stored: StoredSubscription) {
        let subscription = Subscription {
            identifier: stored.identifier,
            qos: stored.qos,
            no_local: stored.no_local,
            retain_as_published: stored.retain_as_published,
            live: true,
        };
        let bytes = topic::counted_bytes(name);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match topic::parse_shared(name) {
            Ok(Some(shared)) => {
                let members = self.shares.join(name, shared, id, subscription, false);
                session.memberships.insert(members, bytes);
            }
            Ok(None) => {
                let filter = self.filters.insert(name, id, subscription).filter;
                session.subscriptions.insert(filter, bytes);
                if stored.replaying {
                    let mut replay = self.retained.replay(name, subscription);
                    replay.is_stored = true;
                    session.replays.insert(filter, replay);
                }
            }
            Err(_) => {}
        }
    }

    /// What a session is owed, in order. All up to the last one that had an identifier of QoS 2 was
    /// in flight; the rest waits.
    fn restore_deliveries(
        &mut self,
        id: SessionId,
        sent: u64,
        deliveries: Vec<RestoredDelivery>,
        messages: &Messages,
    ) {
        let had_id = |it: &RestoredDelivery| it.delivery.packet_id.is_some();
        let in_flight = deliveries.iter().rposition(had_id).map_or(0, |at| at + 1);
        for (at, it) in deliveries.into_iter().enumerate() {
            let packet_id = it.delivery.packet_id.and_then(PacketId::new);
            let delivery = self.restored_delivery(&it, it.place <= sent, messages);
            let Some(session) = self.sessions.get_mut(id) else {
                return;
            };
            session.rows.deliveries += 1;
            self.out.warm(id, session);
            if it.place <= sent {
                session.outgoing.was_sent(it.place); // The next start has to know that too.
            }
            if at >= in_flight {
                if let Some(delivery) = delivery {
                    self.out.owed += 1;
                    session.outgoing.enqueue(delivery);
                }
                continue;
            }
            let mut entry = InFlight {
                phase: Phase::Publish,
                delivery,
                row: Row::default(),
                is_new: false,
                sent: self.now,
                repeats: 0,
            };
            match &mut entry.delivery {
                Some(delivery) => {
                    self.out.owed += 1;
                    entry.row = core::mem::take(&mut delivery.row);
                }
                None => {
                    entry.phase = Phase::Release;
                    entry.row = row(it.place, false);
                }
            }
            self.out.in_flight += 1;
            session.outgoing.restore(entry, packet_id);
        }
    }

    fn restored_delivery(
        &self,
        it: &RestoredDelivery,
        was_sent: bool,
        messages: &Messages,
    ) -> Option<Delivery> {
        let StoredDelivery {
            message,
            qos,
            retain,
            replayed,
            identifiers,
            group,
            packet_id: _,
        } = &it.delivery;
        let message = Arc::clone(messages.get(&(*message)?)?);
        message.refer();
        let group = group.as_deref().and_then(|name| self.shares.named(name));
        Some(Delivery {
            message,
            identifiers: Identifiers::collect(identifiers.iter().copied()),
            group: group.unwrap_or_else(GroupId::default),
            qos: *qos,
            retain: *retain,
            replayed: *replayed,
            dup: was_sent,
            row: row(it.place, true),
        })
    }

    fn restore_left_over(&mut self, left_over: Vec<RestoredDelivery>, messages: &Messages) {
        for it in left_over {
            if let Some(delivery) = self.restored_delivery(&it, true, messages) {
                self.out.owed += 1;
                self.left_over.push_back(delivery);
            }
        }
    }
}

/// The row of a delivery that is in the store.
fn row(place: u64, refers: bool) -> Row {
    Row {
        place,
        on_disk: true,
        refers,
        ..Row::default()
    }
}

fn restored_will(stored: &StoredWill) -> Will {
    Will {
        topic: stored.message.topic.clone(),
        payload: (&*stored.message.payload).into(),
        qos: stored.message.qos,
        retain: stored.message.retain,
        properties: stored.message.properties.to_vec(),
        expiry: stored.expiry,
        delay: stored.delay,
    }
}

fn message(stored: &StoredMessage) -> Message<'_> {
    Message {
        topic: &stored.topic,
        payload: &stored.payload,
        qos: stored.qos,
        retain: stored.retain,
        properties: &stored.properties,
        expiry: None,
        packet: None,
        known: None,
        shared: None,
    }
}
