//! What comes from peers.

use alloc::vec::Vec;

use super::Broker;
use super::deliver::Post;
use super::reply::Asker;
use super::route::Routing;
use super::routed::Routed;
use crate::connection::NEVER;
use crate::known::Looked;
use crate::message::Message;
use crate::peer::{Forwarded, Found, PackedMessage, PeerMessage, Returned, Stored};
use crate::session::SessionId;
use crate::share::Standing;

impl Broker {
    /// What a peer has said: any number of messages, in the order in which they were taken there.
    /// All of them are processed at once. Those of a peer that is down are ignored.
    pub fn peer_received(&mut self, from: u8, messages: Vec<PeerMessage>) {
        if !self.peers.is_peer(from) {
            self.out.counters.stale_handles += 1;
            return;
        }
        self.work = 0;
        for message in messages {
            if !self.peers.hears(from, &message) {
                self.out.counters.stale_handles += 1;
                continue;
            }
            let cost = message.cost();
            self.peer_said(from, message);
            if let Some(link) = self.peers.link_mut(from) {
                link.arrived(cost);
            }
        }
        if self.peers.have_news_for(from) {
            self.peers.raise(from);
        }
    }

    fn peer_said(&mut self, from: u8, message: PeerMessage) {
        match message {
            PeerMessage::Interest(interest) => self.peer_wants(from, interest.wanted),
            PeerMessage::Publish(forwarded) => self.arrived(from, forwarded),
            PeerMessage::Packed(packed) => {
                for message in packed.iter() {
                    self.packed_arrived(from, &message);
                }
            }
            PeerMessage::Returned(returned) => self.returned(from, returned),
            PeerMessage::Stored(Stored { upto, exceptions }) => {
                self.peer_stored(from, upto, &exceptions);
            }
            PeerMessage::Hello(hello) => self.greeted(from, hello),
            PeerMessage::Cleared(cleared) => self.peer_cleared(&cleared),
            PeerMessage::Clock(clock) => self.peer_clock(from, clock),
            PeerMessage::Processed(bytes) => {
                let slowed = self.peers.processed(from, bytes);
                self.speed_up(slowed);
                if self.peers.link(from).is_some_and(|it| it.resync.is_some()) {
                    self.peers.raise(from);
                }
            }
            PeerMessage::Barrier(number) => {
                self.peers.push(from, PeerMessage::Passed(number));
            }
            PeerMessage::Farewell => self.peer_parted(from),
            PeerMessage::Figures(figures) => self.peer_figures(from, *figures),
            PeerMessage::Passed(number) => self.barrier_passed(number, from),
        }
    }

    /// A small message that was published at a peer.
    fn packed_arrived(&mut self, from: u8, packed: &PackedMessage<'_>) {
        match self.known.look_for(packed.topic) {
            Looked::Found(known) => self.with_known(known, |broker, known| {
                let message = Message {
                    topic: known.name(),
                    known: Some(known),
                    ..packed.message
                };
                broker.hand_out_packed(from, packed, &message);
            }),
            looked => {
                let Ok(topic) = core::str::from_utf8(packed.topic) else {
                    return;
                };
                if matches!(looked, Looked::Again) {
                    self.known.learn(topic);
                }
                let message = Message {
                    topic,
                    ..packed.message
                };
                self.hand_out_packed(from, packed, &message);
            }
        }
    }

    fn hand_out_packed(&mut self, from: u8, packed: &PackedMessage<'_>, message: &Message<'_>) {
        let number = packed.number;
        self.out.retained_change = 0;
        self.begin_answer(from, number);
        if let Some(change) = packed.change {
            self.apply_change(message, NEVER, change, packed.plain);
        }
        let outcome = match packed.plain {
            true => self.hand_out_plain(message),
            false => Routed::taken(), // That it is retained here is all that was asked for.
        };
        self.work += outcome.matched;
        if number > 0 {
            self.reply_to_peer(from, number, outcome);
        }
    }

    fn hand_out_plain(&mut self, message: &Message<'_>) -> Routed {
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
        let post = Post {
            connections,
            out,
            config,
        };
        let mut routing = Routing::new(message, &mut scratch.encoded, sessions, post);
        // Its publisher is not here, so that No Local concerns nobody.
        let nobody = SessionId::default();
        *work += routing.hand_to_subscribers(filters, &mut scratch.matches, nobody);
        routing.finish()
    }

    /// The answer to a peer's message relies on what is noted from now on, if there is to be one.
    fn begin_answer(&mut self, from: u8, number: u64) {
        if number > 0 && self.out.journal.is_on() {
            let link = self.peers.link(from);
            let next = link.map_or(0, |link| link.next_reply());
            let waiter = Some((Asker::Peer(from), next));
            self.out.journal.begin(waiter);
        }
    }

    /// A message that was published at a peer.
    fn arrived(&mut self, from: u8, forwarded: Forwarded) {
        let (number, owed, plain) = (forwarded.number, forwarded.owed, forwarded.plain);
        if owed > 0 && !self.is_owed_anew(from, owed) {
            return self.reply_to_peer(from, number, Routed::taken());
        }
        self.out.retained_change = 0;
        self.begin_answer(from, number);
        if let Some(change) = forwarded.change {
            let kept = &forwarded.message;
            self.apply_change(&kept.message(self.now), kept.expires(), change, plain);
        }
        let outcome = if forwarded.message.is_expired(self.now) {
            // [MQTT-3.3.2-5] That is not the publisher's affair.
            self.out.counters.dropped_expired += 1;
            Routed::taken()
        } else if !plain && forwarded.calls.is_empty() {
            Routed::taken() // That it is retained here is all that was asked for.
        } else {
            self.hand_out(from, forwarded)
        };
        self.work += outcome.matched;
        if number > 0 {
            self.reply_to_peer(from, number, outcome);
        }
    }

    /// Hands a peer's message to all here whom it is for.
    fn hand_out(&mut self, from: u8, forwarded: Forwarded) -> Routed {
        let Forwarded {
            message: kept,
            plain,
            calls,
            number,
            owed,
            ..
        } = forwarded;
        let mut passed_on = Vec::new();
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
            ..
        } = self;
        let message = kept.message(out.now);
        let post = Post {
            connections,
            out,
            config,
        };
        let mut routing = Routing::new(&message, &mut scratch.encoded, sessions, post);
        if plain {
            // Its publisher is not here, so that No Local concerns nobody.
            let nobody = SessionId::default();
            *work += routing.hand_to_subscribers(filters, &mut scratch.matches, nobody);
        }
        for mut call in calls {
            let mut outcome = Err(Found::Nobody);
            if let Some(group) = shares.named(&call.name) {
                let looked;
                (outcome, looked) = routing.hand_to_member(shares, group, Standing::Absent);
                *work += looked;
            }
            if let Err(found) = outcome {
                call.found = call.found.max(found);
                call.tried.insert(peers.me());
                if owed > 0 {
                    passed_on.push(call);
                    continue;
                }
                let returned = Returned {
                    message: kept.clone(),
                    call,
                    number,
                };
                peers.push(from, PeerMessage::Returned(returned));
            }
        }
        let outcome = routing.finish();
        for call in passed_on {
            self.pass_owed(&kept, &call);
        }
        outcome
    }
}
