//! From a message to its receivers: into their outboxes, or into the queues of their sessions.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use slotmap::SlotMap;

use super::Broker;
use super::config::QueuePolicy;
use super::deliver::{Post, Put};
use super::outlet::Outlet;
use super::room::{has_room, make_room, standing};
use crate::message::{Encoder, Head, Kept, Message};
use crate::packet::{QoS, ReasonCode};
use crate::session::{Delivery, Identifiers, Row, Session, SessionId, Subscription};
use crate::share::{Choice, GroupId, Standing};

/// How many steps the messages of sessions that have ended may take to go to others in one go.
const PASS_ON_BUDGET: usize = 16 * 1024;

/// How many messages may get packet identifiers because another one comes.
const STAGED_AT_ONCE: usize = 16;

/// Working memory of routing, kept so that a message allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    encoded: Vec<u8>,
    targets: Vec<Target>,
    /// Subscription identifiers beyond the first of a target, with the target's place.
    identifiers: Vec<(u32, u32)>,
    groups: Vec<GroupId>,
    /// What the publisher itself is to get of its message, once it has its acknowledgement.
    own: Vec<Own>,
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
struct Own {
    subscription: Subscription,
    /// Subscription identifiers beyond the first, each with a number of no meaning here.
    more: Vec<(u32, u32)>,
    group: GroupId,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Routed {
    /// How many subscribers it matched.
    pub(super) matched: usize,
    /// How many of them have not taken it because their queue is full.
    pub(super) refused: usize,
    /// Why it went nowhere at all, or was not retained.
    pub(super) refusal: Option<ReasonCode>,
}

impl Routed {
    /// It was taken, and not by nobody.
    pub(super) fn taken() -> Self {
        Self {
            matched: 1,
            ..Self::default()
        }
    }

    /// It was not taken.
    pub(super) fn refused(reason: ReasonCode) -> Self {
        Self {
            refusal: Some(reason),
            ..Self::default()
        }
    }

    /// What its publisher is told.
    pub(super) fn reason(self) -> ReasonCode {
        if let Some(reason) = self.refusal {
            reason
        } else if self.matched == 0 {
            ReasonCode::NoMatchingSubscribers
        } else if self.refused == self.matched {
            ReasonCode::QuotaExceeded
        } else {
            ReasonCode::Success
        }
    }
}

impl Broker {
    /// Hands a message to all who subscribed to its topic.
    pub(super) fn route(&mut self, from: SessionId, message: &Message<'_>) -> Routed {
        self.route_to_others(from, SessionId::default(), message)
    }

    /// Hands a message to all who subscribed to its topic, but for the session `after`, which gets it
    /// by [`Broker::route_to_publisher`] afterwards.
    pub(super) fn route_to_others(
        &mut self,
        from: SessionId,
        after: SessionId,
        message: &Message<'_>,
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
            ..
        } = self;
        let Scratch {
            encoded,
            targets,
            identifiers,
            groups,
            own,
            merges,
        } = scratch;
        own.clear();
        let mut own_filters = 0;
        let mut only: Option<&[(SessionId, Subscription)]> = None;
        let mut several = false;
        *work += filters.for_each_match(message.topic, |_, subscribers| {
            if let Some(first) = only.take() {
                several = true;
                *merges += 1;
                targets.clear();
                identifiers.clear();
                own_filters += merge(sessions, targets, identifiers, *merges, first, from);
            }
            if several {
                own_filters += merge(sessions, targets, identifiers, *merges, subscribers, from);
            } else {
                only = Some(subscribers);
            }
        });
        groups.clear();
        if !shares.is_empty() {
            *work += shares.for_each_match(message.topic, |group| groups.push(group));
        }
        let mut routing = Routing {
            message,
            encoder: Encoder::new(message, encoded),
            kept: None,
            sessions,
            post: Post {
                connections,
                out,
                config,
            },
            after,
            own: Some(own),
            routed: Routed::default(),
        };
        if several {
            identifiers.sort_unstable();
            let mut rest = identifiers.as_slice();
            for (place, target) in (0u32..).zip(targets.iter()) {
                let mine = rest.iter().take_while(|(of, _)| *of == place).count();
                let (more, others) = rest.split_at(mine);
                rest = others;
                routing.hand_to(
                    target.session,
                    target.subscription,
                    more,
                    GroupId::default(),
                );
            }
        } else {
            for &(session, subscription) in only.unwrap_or_default() {
                // [MQTT-3.8.3-3]
                if subscription.no_local && session == from {
                    own_filters += 1;
                } else {
                    routing.hand_to(session, subscription, &[], GroupId::default());
                }
            }
        }
        for group in groups.iter() {
            *work += routing.hand_to_group(shares, *group);
        }
        let mut routed = routing.finish();
        // Its publisher has subscribed, and does not want it.
        routed.matched += own_filters;
        *work += routed.matched;
        if routed.matched == 0 {
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
        let mut routing = Routing {
            message,
            encoder: Encoder::new(message, &mut self.scratch.encoded),
            kept: None,
            sessions: &mut self.sessions,
            post: Post {
                connections: &mut self.connections,
                out: &mut self.out,
                config: &self.config,
            },
            after: SessionId::default(),
            own: None,
            routed: Routed::default(),
        };
        for own in own.drain(..) {
            routing.hand_to(session, own.subscription, &own.more, own.group);
        }
        routing.finish();
        self.scratch.own = own;
    }

    /// Hands on what members of shared subscriptions had whose sessions have ended, as much of it as
    /// one turn may take.
    pub(super) fn pass_on_left_over(&mut self) {
        let end = self.work.saturating_add(PASS_ON_BUDGET);
        while self.work < end
            && let Some(delivery) = self.left_over.pop_front()
        {
            self.work += 1;
            self.pass_on(delivery);
        }
        if self.left_over.is_empty() {
            self.left_over = VecDeque::new();
        }
    }

    /// Hands a message of a member of a shared subscription whose session has ended to another one
    /// ([MQTT-4.8.2-5] and the text before it).
    fn pass_on(&mut self, delivery: Delivery) {
        // [MQTT-3.3.2-5]
        if delivery.message.is_expired(self.now) {
            self.out.counters.dropped_expired += 1;
            return self.out.release_orphan(delivery);
        }
        let group = delivery.group;
        let kept = Arc::clone(&delivery.message);
        let Self {
            shares,
            sessions,
            connections,
            out,
            config,
            scratch,
            work,
            ..
        } = self;
        let message = kept.message(out.now);
        let mut routing = Routing {
            message: &message,
            encoder: Encoder::new(&message, &mut scratch.encoded),
            kept: Some(Arc::clone(&kept)),
            sessions,
            post: Post {
                connections,
                out,
                config,
            },
            after: SessionId::default(),
            own: None,
            routed: Routed::default(),
        };
        *work += routing.hand_to_group(shares, group);
        if routing.finish().matched == 0 {
            out.counters.dropped_session_ended += 1;
        }
        out.release_kept(kept);
        out.release_orphan(delivery);
    }
}

/// Adds the subscribers of one filter to the targets, each session once: with the highest QoS
/// ([MQTT-3.3.4-2]), and all its subscription identifiers ([MQTT-3.3.4-4]). Returns how many do not
/// want what they publish themselves.
fn merge(
    sessions: &mut SlotMap<SessionId, Session>,
    targets: &mut Vec<Target>,
    identifiers: &mut Vec<(u32, u32)>,
    number: u64,
    subscribers: &[(SessionId, Subscription)],
    from: SessionId,
) -> usize {
    let mut not_local = 0;
    for &(id, subscription) in subscribers {
        // [MQTT-3.8.3-3]
        if subscription.no_local && id == from {
            not_local += 1;
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
    not_local
}

/// One message on its way to several receivers.
struct Routing<'m, 'b> {
    message: &'m Message<'m>,
    encoder: Encoder<'m, 'b>,
    /// The message, once somebody has to hold it.
    kept: Option<Arc<Kept>>,
    sessions: &'b mut SlotMap<SessionId, Session>,
    post: Post<'b>,
    /// The session that gets the message later, and what it gets then.
    after: SessionId,
    own: Option<&'b mut Vec<Own>>,
    routed: Routed,
}

impl Routing<'_, '_> {
    #[inline]
    fn hand_to(
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
        // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
        let retain = self.message.retain && subscription.retain_as_published;
        let first = Some(subscription.identifier).filter(|identifier| *identifier != 0);
        let identifiers = first
            .into_iter()
            .chain(more.iter().map(|(_, identifier)| *identifier));
        // [MQTT-3.8.4-8]
        let qos = self.message.qos.min(subscription.qos);
        if qos == QoS::AtMostOnce && !session.local && !session.outgoing.has_waiting_qos0() {
            let connection = session.connection;
            let head = Head::at_most_once(retain);
            let identifiers = identifiers.clone();
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
        let len = self.message.len();
        let is_new = self.kept.is_none();
        if !make_room(session, &mut self.post, len, is_new) {
            self.message
                .missed_by(session, self.post.out.retained_change);
            match self.post.config.queue_policy {
                QueuePolicy::Reject if qos > QoS::AtMostOnce => self.routed.refused += 1,
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
            identifiers: Identifiers::collect(identifiers),
            group,
            qos,
            retain,
            replayed: false,
            dup: false,
            row: Row::default(),
        };
        let delivery = self.post.out.owe(id, session, delivery);
        let connection = session.connection;
        let is_staged = session.rows.durable && qos == QoS::ExactlyOnce;
        if qos > QoS::AtMostOnce
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
        if session.rows.durable && qos > QoS::AtMostOnce {
            let mut budget = STAGED_AT_ONCE;
            self.post.out.journal.hurry();
            self.post.stage(id, session, &mut budget);
        }
    }

    /// Hands the message to one member of a group; returns how many were looked at.
    fn hand_to_group(&mut self, shares: &mut crate::share::Shares, group: GroupId) -> usize {
        let Self {
            message,
            sessions,
            post,
            kept,
            ..
        } = self;
        let is_new = kept.is_none();
        let len = message.len();
        let strategy = post.config.share_strategy;
        let (choice, looked) = shares.choose(group, strategy, |id, subscription| {
            let Some(session) = sessions.get(id) else {
                return (Standing::Unable, 0);
            };
            let qos = message.qos.min(subscription.qos);
            let standing = standing(session, post, message.topic, qos, (len, is_new));
            (standing, session.outgoing.len())
        });
        match choice {
            Choice::Member(id, subscription) => self.hand_to(id, subscription, &[], group),
            Choice::Full => {
                self.routed.matched += 1;
                if self.post.config.queue_policy == QueuePolicy::Reject {
                    self.routed.refused += 1;
                }
                self.post.out.counters.dropped_queue_full += 1;
            }
            // As with a single subscriber who may not have it: that is not to be told.
            Choice::Nobody if looked > 0 => {
                self.routed.matched += 1;
                self.post.out.counters.dropped_no_member += 1;
            }
            Choice::Nobody => {}
        }
        looked
    }

    fn finish(self) -> Routed {
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
