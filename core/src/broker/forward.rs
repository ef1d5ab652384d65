//! From a message to the peers that have subscribers for it.

use alloc::vec::Vec;

use super::Broker;
use super::owing::Promise;
use super::reply::Reliance;
use super::route::Routing;
use super::routed::Routed;
use super::tickets::{Publisher, Tickets};
use crate::connection::{ConnectionId, Paused};
use crate::message::Kept;
use crate::packet::{PacketId, ProtocolVersion, QoS};
use crate::peer::{Change, Forwarded, Packable, PeerMessage, Peers, Shards};

impl Routing<'_, '_> {
    /// Puts the message into the links with the peers that have subscribers for it, or have been
    /// chosen for a shared subscription, or, if it changes what is retained, with all of them: once
    /// each. If somebody waits for its acknowledgement, it takes a ticket. Returns how many places
    /// were looked at.
    pub(super) fn forward(
        &mut self,
        peers: &mut Peers,
        tickets: &mut Tickets,
        change: Option<Change>,
        promise: Promise,
    ) -> usize {
        let (wanting, visited) = match self.message.known {
            Some(known) => (known.peers(), 1),
            None => peers.interests.of(self.message.topic),
        };
        let wanting = wanting.and(peers.up());
        let closed = self.closed(peers, change.is_some());
        let dropped = wanting.and(closed).len();
        self.post.out.counters.dropped_link_full += u64::from(dropped);
        let subscribed = wanting.without(closed);
        let mut to = match change {
            Some(_) => peers.up(),
            None => subscribed,
        };
        peers.calls.iter().for_each(|(peer, _)| to.insert(*peer));
        if to.is_empty() {
            return visited;
        }
        let ticket = match promise.is_awaited {
            true => tickets.take(to.len(), self.message.len()),
            false => 0,
        };
        let load = Load {
            subscribed,
            change,
            ticket,
            promise,
        };
        self.send(peers, to, &load);
        self.routed.ticket = ticket;
        visited
    }

    /// Puts the message into the links with the peers that have been chosen for it, under a ticket
    /// that is taken already; 0 is none.
    pub(super) fn send_calls(
        &mut self,
        peers: &mut Peers,
        tickets: &mut Tickets,
        ticket: u64,
        promise: Promise,
    ) {
        let mut to = Shards::NONE;
        peers.calls.iter().for_each(|(peer, _)| to.insert(*peer));
        if ticket > 0 {
            to.iter().for_each(|_| tickets.extend(ticket));
        }
        let load = Load {
            subscribed: Shards::NONE,
            change: None,
            ticket,
            promise,
        };
        self.send(peers, to, &load);
    }

    fn send(&mut self, peers: &mut Peers, to: Shards, load: &Load) {
        let is_later = load.promise.is_owed || load.promise.is_late;
        if !is_later
            && peers.calls.is_empty()
            && let Some(packable) = Packable::new(self.message, load.change)
        {
            return self.pack(peers, to, load, &packable);
        }
        let out = &self.post.out;
        let kept = match &self.kept {
            Some(kept) => Kept::clone(kept),
            None if to.is_empty() => return,
            None => Kept::of(self.message, out.retained_change, out.now),
        };
        let calls = core::mem::take(&mut peers.calls);
        let mut later = Vec::new();
        for peer in to.iter() {
            let mine = calls.iter().filter(|(of, _)| *of == peer);
            let mine: Vec<_> = mine.map(|(_, call)| call.clone()).collect();
            let plain = load.subscribed.contains(peer);
            let delivered = plain || !mine.is_empty();
            // Whom nobody waits for is taken to have it.
            self.routed.matched += usize::from(delivered && load.ticket == 0);
            let Some(link) = peers.link_mut(peer) else {
                continue;
            };
            let number = match load.ticket {
                ticket if ticket > 0 && !is_later => link.number(ticket, 0, delivered),
                _ => 0,
            };
            let forwarded = Forwarded {
                message: kept.clone(),
                plain,
                calls: mine,
                change: load.change,
                number,
                owed: 0,
            };
            match is_later {
                true => later.push((peer, forwarded)),
                false => peers.push(peer, PeerMessage::Publish(forwarded)),
            }
        }
        if !later.is_empty() {
            let (journal, now) = (&mut self.post.out.journal, self.post.out.now);
            journal.owe_peers(load.ticket, load.promise.is_owed, later, now);
        }
        peers.calls = calls;
        peers.calls.clear();
        if self.message.qos > QoS::AtMostOnce || load.change.is_some() {
            peers.overfull = to.and(peers.full());
        }
    }
}

impl Routing<'_, '_> {
    /// Sends a message that is small and needs nothing but to be handed out.
    fn pack(&mut self, peers: &mut Peers, to: Shards, load: &Load, message: &Packable<'_>) {
        for peer in to.iter() {
            let plain = load.subscribed.contains(peer);
            let number = match load.ticket {
                0 => 0,
                ticket => {
                    let link = peers.link_mut(peer);
                    link.map_or(0, |link| link.number(ticket, 0, plain))
                }
            };
            // Whom nobody waits for is taken to have it.
            self.routed.matched += usize::from(plain && load.ticket == 0);
            peers.pack(peer, message, number, plain);
        }
        if self.message.qos > QoS::AtMostOnce || load.change.is_some() {
            peers.overfull = to.and(peers.full());
        }
    }
}

/// What goes with a message into links.
struct Load {
    /// The peers with subscribers.
    subscribed: Shards,
    change: Option<Change>,
    /// The ticket that waits for it; 0 is none.
    ticket: u64,
    promise: Promise,
}

impl Broker {
    /// The answer to a message has to wait until peers have said what became of it. To be called
    /// just before [`Broker::reply`].
    pub(super) fn await_peers(
        &mut self,
        id: ConnectionId,
        version: ProtocolVersion,
        (packet_id, qos): (PacketId, QoS),
        outcome: Routed,
    ) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let publisher = Publisher {
            session: connection.session,
            connection: id,
            version,
            reply: connection.next_reply(),
            packet_id,
            qos,
        };
        let ticket = outcome.ticket;
        self.tickets.assign(ticket, publisher, outcome);
        if let Some(session) = self.sessions.get_mut(publisher.session) {
            let relies = Reliance { batch: 0, ticket };
            session.relies = session.relies.and(relies);
        }
    }

    /// The client of this connection has published into links that are above their limit: it is not
    /// read until there is less in the first of them.
    #[cold]
    pub(super) fn slow_down(&mut self, id: ConnectionId) {
        let overfull = core::mem::replace(&mut self.peers.overfull, Shards::NONE);
        let connection = self.connections.get(id);
        let is_slowed = connection.is_none_or(|it| it.paused.contains(Paused::LINK));
        let link = overfull.lowest().and_then(|peer| self.peers.link_mut(peer));
        let Some(link) = link.filter(|_| !is_slowed) else {
            return;
        };
        link.slowed.push(id);
        if link.slowed.len() > 2 * self.connections.len() {
            link.slowed.retain(|id| self.connections.contains_key(*id));
        }
        self.pause(id, Paused::LINK);
    }

    /// Those who were slowed go on.
    pub(super) fn speed_up(&mut self, slowed: Vec<ConnectionId>) {
        for id in slowed {
            self.go_on(id, Paused::LINK);
        }
    }
}
