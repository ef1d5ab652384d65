//! From a message to its receivers: into their outboxes, or into the queues of their sessions.

use alloc::sync::Arc;
use alloc::vec::Vec;

use slotmap::SlotMap;

use super::Broker;
use super::config::QueuePolicy;
use super::deliver::{Post, Put};
use super::outlet::Outlet;
use super::owing::Promise;
use super::room::{has_room, make_room};
use super::routed::Routed;
use crate::known::KnownTopic;
use crate::message::{Encoder, Head, Kept, Message};
use crate::packet::QoS;
use crate::peer::Shards;
use crate::session::{Delivery, Identifiers, Row, Session, SessionId, Subscription};
use crate::share::GroupId;
use crate::topic::FilterTree;

/// How many messages may get packet identifiers because another one comes.
const STAGED_AT_ONCE: usize = 16;

/// Working memory of routing, kept so that a message allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) encoded: Vec<u8>,
    pub(super) matches: Matches,
    groups: Vec<GroupId>,
    /// What the publisher itself is to get of its message, once it has its acknowledgement.
    own: Vec<Own>,
}

/// Working memory of a message that matches several filters.
#[derive(Debug, Default)]
pub(super) struct Matches {
    targets: Vec<Target>,
    /// Subscription identifiers beyond the first of a target, with the target's place.
    identifiers: Vec<(u32, u32)>,
    /// Counts messages that matched several filters.
    merges: u64,
}

impl Scratch {
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.encoded
    }
}

/// A session that a message matched, by one filter or more.
#[derive(Clone, Copy, Debug)]
struct Target {
    session: SessionId,
    subscription: Subscription,
}

/// A way by which a message comes back to its publisher.
#[derive(Debug)]
pub(super) struct Own {
    subscription: Subscription,
    /// Subscription identifiers beyond the first, each with a number of no meaning here.
    more: Vec<(u32, u32)>,
    group: GroupId,
}

impl Broker {
    /// Hands a message to all who subscribed to its topic.
    pub(super) fn route(&mut self, from: SessionId, message: &Message<'_>) -> Routed {
        self.route_to_others(from, SessionId::default(), message, Promise::NONE)
    }

    /// Hands a message to all who subscribed to its topic, here and at peers, but for the session
    /// `after`: it waits for an acknowledgement, and gets the message by
    /// [`Broker::route_to_publisher`] afterwards.
    pub(super) fn route_to_others(
        &mut self,
        from: SessionId,
        after: SessionId,
        message: &Message<'_>,
        promise: Promise,
    ) -> Routed {
        let Self {
            filters,
            shares,
            sessions,
            connections,
            out,
            config,
            scratch,
            work,
            peers,
            tickets,
            ..
        } = self;
        let Scratch {
            encoded,
            matches,
            groups,
            own,
        } = scratch;
        own.clear();
        peers.overfull = Shards::NONE;
        let post = Post {
            connections,
            out,
            config,
        };
        let mut routing = Routing {
            after,
            own: Some(own),
            ..Routing::new(message, encoded, sessions, post)
        };
        *work += routing.hand_to_subscribers(filters, matches, from);
        groups.clear();
        if !shares.is_empty() {
            *work += shares.for_each_match(message.topic, |group| groups.push(group));
        }
        for group in groups.iter() {
            *work += routing.hand_to_group(shares, *group, peers);
        }
        // What it changes is told with it, or to nobody.
        let change = peers.change.take();
        if peers.are_there() {
            *work += routing.forward(peers, tickets, change, promise);
        }
        let routed = routing.finish();
        *work += routed.matched;
        if routed.matched == 0 && routed.ticket == 0 {
            out.counters.publish_without_subscriber += 1;
        }
        routed
    }

    /// Hands a message that [`Broker::route_to_others`] held back to the session that published it.
    pub(super) fn route_to_publisher(&mut self, session: SessionId, message: &Message<'_>) {
        if self.scratch.own.is_empty() {
            return;
        }
        let mut own = core::mem::take(&mut self.scratch.own);
        let post = Post {
            connections: &mut self.connections,
            out: &mut self.out,
            config: &self.config,
        };
        let encoded = &mut self.scratch.encoded;
        let mut routing = Routing::new(message, encoded, &mut self.sessions, post);
        for own in own.drain(..) {
            routing.hand_to(session, own.subscription, &own.more, own.group);
        }
        routing.finish();
        self.scratch.own = own;
    }
}

/// Adds the subscribers of one filter to the targets, each session once: with the highest QoS
/// ([MQTT-3.3.4-2]), and all its subscription identifiers ([MQTT-3.3.4-4]). Returns how many do not
/// want what they publish themselves.
fn merge(
    sessions: &mut SlotMap<SessionId, Session>,
    matches: &mut Matches,
    subscribers: &[(SessionId, Subscription)],
    from: SessionId,
) -> usize {
    let Matches {
        targets,
        identifiers,
        merges: number,
    } = matches;
    let mut not_local = 0;
    for &(id, subscription) in subscribers {
        if !subscription.live {
            continue;
        }
        // [MQTT-3.8.3-3]
        if subscription.no_local && id == from {
            not_local += 1;
            continue;
        }
        let Some(session) = sessions.get_mut(id) else {
            continue;
        };
        if session.merged.0 != *number {
            session.merged = (*number, u32::try_from(targets.len()).unwrap_or(u32::MAX));
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
    not_local
}

/// One message on its way to several receivers.
pub(super) struct Routing<'m, 'b> {
    pub(super) message: &'m Message<'m>,
    pub(super) encoder: Encoder<'m, 'b>,
    /// The message, once somebody has to hold it.
    pub(super) kept: Option<Arc<Kept>>,
    pub(super) sessions: &'b mut SlotMap<SessionId, Session>,
    pub(super) post: Post<'b>,
    /// The session that gets the message later, and what it gets then.
    pub(super) after: SessionId,
    pub(super) own: Option<&'b mut Vec<Own>>,
    pub(super) routed: Routed,
}

impl<'m, 'b> Routing<'m, 'b> {
    /// For a message that nobody has got yet, encoded in `scratch`.
    #[inline]
    pub(super) fn new(
        message: &'m Message<'m>,
        scratch: &'b mut Vec<u8>,
        sessions: &'b mut SlotMap<SessionId, Session>,
        post: Post<'b>,
    ) -> Self {
        Self {
            message,
            encoder: Encoder::new(message, scratch),
            kept: None,
            sessions,
            post,
            after: SessionId::default(),
            own: None,
            routed: Routed::default(),
        }
    }
}

/// How a message goes to one of its receivers.
#[derive(Clone, Copy)]
struct Terms<'a> {
    qos: QoS,
    retain: bool,
    /// The first subscription identifier; 0 is none.
    identifier: u32,
    /// The others, each with a number of no meaning here.
    more: &'a [(u32, u32)],
    group: GroupId,
}

impl<'a> Terms<'a> {
    #[inline]
    fn identifiers(self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        let first = Some(self.identifier).filter(|identifier| *identifier != 0);
        let more = self.more.iter().map(|(_, identifier)| *identifier);
        first.into_iter().chain(more)
    }
}

impl Routing<'_, '_> {
    /// Hands the message to all here who have subscribed by themselves; returns how many places
    /// were looked at.
    #[inline]
    pub(super) fn hand_to_subscribers(
        &mut self,
        filters: &FilterTree<SessionId, Subscription>,
        matches: &mut Matches,
        from: SessionId,
    ) -> usize {
        let sessions = &mut *self.sessions;
        let mut own_filters = 0;
        let mut only: Option<&[(SessionId, Subscription)]> = None;
        let mut several = false;
        let mut add = |subscribers| {
            if let Some(first) = only.take() {
                several = true;
                matches.merges += 1;
                matches.targets.clear();
                matches.identifiers.clear();
                own_filters += merge(sessions, matches, first, from);
            }
            if several {
                own_filters += merge(sessions, matches, subscribers, from);
            } else {
                only = Some(subscribers);
            }
        };
        let known = self.message.known.and_then(KnownTopic::filters);
        let visited = match known {
            Some(known) => {
                known
                    .iter()
                    .for_each(|filter| add(filters.subscribers(*filter)));
                known.len()
            }
            None => filters.for_each_match(self.message.topic, |_, subscribers| add(subscribers)),
        };
        if several {
            matches.identifiers.sort_unstable();
            let mut rest = matches.identifiers.as_slice();
            for (place, target) in (0u32..).zip(matches.targets.iter()) {
                let mine = rest.iter().take_while(|(of, _)| *of == place).count();
                let (more, others) = rest.split_at(mine);
                rest = others;
                let subscription = target.subscription;
                self.hand_to(target.session, subscription, more, GroupId::default());
            }
        } else {
            for &(session, subscription) in only.unwrap_or_default() {
                // [MQTT-3.8.3-3]
                if subscription.no_local && session == from {
                    own_filters += usize::from(subscription.live);
                } else if subscription.live {
                    self.hand_to(session, subscription, &[], GroupId::default());
                }
            }
        }
        // Its publisher has subscribed, and does not want it.
        self.routed.matched += own_filters;
        visited
    }

    /// Hands the message to one session: into the outbox of its client, or to be held.
    #[inline]
    pub(super) fn hand_to(
        &mut self,
        id: SessionId,
        subscription: Subscription,
        more: &[(u32, u32)],
        group: GroupId,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        self.routed.matched += 1;
        if id == self.after
            && let Some(own) = &mut self.own
            && has_room(session, &self.post, self.message.len(), self.kept.is_none())
        {
            own.push(Own {
                subscription,
                more: more.into(),
                group,
            });
            return;
        }
        if !session.grant.may_receive(self.message.topic) {
            self.post.out.counters.dropped_not_permitted += 1;
            return;
        }
        let terms = Terms {
            // [MQTT-3.8.4-8]
            qos: self.message.qos.min(subscription.qos),
            // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
            retain: self.message.retain && subscription.retain_as_published,
            identifier: subscription.identifier,
            more,
            group,
        };
        if terms.qos == QoS::AtMostOnce && !session.local && !session.outgoing.has_waiting_qos0() {
            let connection = session.connection;
            let head = Head::at_most_once(terms.retain);
            let identifiers = terms.identifiers();
            match self
                .post
                .put_if_space(connection, &mut self.encoder, head, identifiers)
            {
                Put::Done | Put::TooLarge => return,
                Put::Full => {
                    self.message
                        .missed_by(session, self.post.out.retained_change);
                    return self.post.tell_slow(connection, session);
                }
                Put::Gone if self.post.config.queue_qos0 => {}
                Put::Gone => {
                    self.message
                        .missed_by(session, self.post.out.retained_change);
                    self.post.out.counters.dropped_absent += 1;
                    return;
                }
            }
        }
        self.hold_for(id, terms);
    }

    /// Lets a session hold the message: in flight if it can be sent at once, else in its queue, if
    /// there is room.
    fn hold_for(&mut self, id: SessionId, terms: Terms<'_>) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let len = self.message.len();
        let is_new = self.kept.is_none();
        if !make_room(session, &mut self.post, len, is_new) {
            self.message
                .missed_by(session, self.post.out.retained_change);
            match self.post.config.queue_policy {
                QueuePolicy::Reject if terms.qos > QoS::AtMostOnce => self.routed.refused += 1,
                _ => {}
            }
            self.post.out.counters.dropped_queue_full += 1;
            return;
        }
        let delivery = Delivery {
            message: keep(
                &mut self.kept,
                self.message,
                &mut self.encoder,
                self.post.out,
            ),
            identifiers: Identifiers::collect(terms.identifiers()),
            group: terms.group,
            qos: terms.qos,
            retain: terms.retain,
            replayed: false,
            dup: false,
            row: Row::default(),
        };
        let delivery = self.post.out.owe(id, session, delivery);
        let connection = session.connection;
        let is_staged = session.rows.durable && terms.qos == QoS::ExactlyOnce;
        if terms.qos > QoS::AtMostOnce
            && !is_staged
            && session.outgoing.is_idle()
            && self.post.has_room(connection)
            && session.outgoing.has_window(self.post.window(connection))
        {
            self.post.send_first(session, delivery, &mut self.encoder);
            return;
        }
        session.outgoing.enqueue(delivery);
        self.post.out.counters.queued += 1;
        self.post.out.raise_deliver(id, session);
        if session.rows.durable && terms.qos > QoS::AtMostOnce {
            let mut budget = STAGED_AT_ONCE;
            self.post.out.journal.hurry();
            self.post.stage(id, session, &mut budget);
        }
    }

    pub(super) fn finish(self) -> Routed {
        if let Some(kept) = self.kept {
            self.post.out.release_kept(kept);
        }
        self.routed
    }
}

/// The message, kept from the first time on that somebody has to hold it.
fn keep(
    kept: &mut Option<Arc<Kept>>,
    message: &Message<'_>,
    encoder: &mut Encoder<'_, '_>,
    out: &mut Outlet,
) -> Arc<Kept> {
    let kept = kept.get_or_insert_with(|| {
        let kept = out.keep(message);
        encoder.share(&kept);
        kept
    });
    Arc::clone(kept)
}
