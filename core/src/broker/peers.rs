//! The links with other shards, as whoever runs the broker sees them.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::Broker;
use crate::peer::{Hello, Interest, PeerMessage, Resync, Wanted};
use crate::store::RestoredFilters;
use crate::topic::{self, FilterId, has_wildcard};

impl Broker {
    /// What there is to say to a peer, in order; to be given to its [`Broker::peer_received`]. To
    /// be called when [`Action::Route`](super::Action::Route) says so, best once at the end of a
    /// turn: what is told once a turn is told then.
    pub fn take_routed(&mut self, peer: u8) -> Vec<PeerMessage> {
        if !self.peers.is_peer(peer) {
            self.out.counters.stale_handles += 1;
            return Vec::new();
        }
        if !self.peers.up().contains(peer) {
            return self.peers.take(peer); // Nothing.
        }
        self.tell_groups();
        self.send_barrier();
        self.tell_clock(peer);
        if let Some(link) = self.peers.link_mut(peer) {
            link.tell_news();
        }
        self.go_on_with_resync(peer);
        self.peers.take(peer)
    }

    /// A peer does not take part any more: what it has told is forgotten, and nothing waits for it.
    /// What comes from it is ignored until [`Broker::peer_up`] and an answer to that.
    ///
    /// The shards of a process are up from the start, and never go down while it runs.
    pub fn peer_down(&mut self, peer: u8) {
        if !self.peers.up().contains(peer) {
            return;
        }
        self.peers.set_up(peer, false);
        self.peers.interests.forget(peer);
        self.shares.forget_shard(peer);
        self.give_up_waiting_for(peer);
        let slowed = self.peers.restart(peer);
        self.give_up_barriers_of(peer);
        self.part();
        self.drop_tombstones();
        self.speed_up(slowed);
    }

    /// A peer takes part, again or with nothing of what it was told before: it hears what there are
    /// subscribers for, and with [`Resync::Everything`] what is retained as well, as the link has
    /// room.
    ///
    /// A peer that comes back is taken to have lost what it held: what it still holds is taken for
    /// new, even if it was cleared elsewhere in the meantime.
    pub fn peer_up(&mut self, peer: u8, resync: Resync) {
        if !self.peers.is_peer(peer) {
            self.out.counters.stale_handles += 1;
            return;
        }
        self.peer_down(peer);
        self.peers.set_up(peer, true);
        if let Some(link) = self.peers.link_mut(peer) {
            link.epoch += 1;
            link.awaits_hello = true;
            link.wants_resync = resync == Resync::Everything;
        }
        self.greet(peer);
    }

    /// The beginning of a link: all that there are subscribers for.
    fn greet(&mut self, peer: u8) {
        let clock = self.clock_to_tell();
        let cursor = self.retained.tree().cursor_of_all();
        let Some(link) = self.peers.link_mut(peer) else {
            return;
        };
        link.begin();
        // What it is told of what is retained is older; so the clock counts once that is done.
        link.told_clock = if link.wants_resync { 0 } else { clock };
        link.resync = link.wants_resync.then_some(cursor);
        let hello = Hello {
            epoch: link.epoch,
            heard: link.peer_epoch,
            clock,
            resync: link.wants_resync,
        };
        self.peers.push(peer, PeerMessage::Hello(hello));
        self.tell_interests(peer);
    }

    /// At the start it is known what peers have subscribers for, and peers know it of this shard: a
    /// message that had to wait until they were told would be taken for one that nobody wants.
    pub(super) fn hear_restored(&mut self, wanted: &RestoredFilters) {
        let up = self.peers.up();
        for (name, shards) in wanted {
            let is_shared = matches!(topic::parse_shared(name), Ok(Some(_)));
            for (peer, members) in shards.iter().filter(|(peer, _)| up.contains(**peer)) {
                let wanted = match is_shared {
                    true => Wanted::Group {
                        name: (&**name).into(),
                        members: *members,
                        present: 0,
                    },
                    false => self.wanted(name),
                };
                self.peer_wants(*peer, wanted);
            }
        }
    }

    fn tell_interests(&mut self, peer: u8) {
        let filters: Vec<FilterId> = self.filters.ids().collect();
        let mut filter = String::new();
        for id in filters {
            filter.clear();
            self.filters.write_filter(id, &mut filter);
            let wanted = self.wanted(&filter);
            let interest = Interest { wanted };
            self.peers.push(peer, PeerMessage::Interest(interest));
        }
        self.shares.tell_all();
    }

    /// That there are subscribers for a filter which is not shared.
    fn wanted(&self, filter: &str) -> Wanted {
        let on = true;
        if has_wildcard(filter) {
            let filter = filter.into();
            Wanted::Wildcard { filter, on }
        } else {
            let hashes = vec![self.peers.interests.hash(filter)];
            Wanted::Exact { hashes, on }
        }
    }

    /// A peer says that the link begins anew.
    pub(super) fn greeted(&mut self, from: u8, hello: Hello) {
        self.peers.interests.forget(from);
        self.shares.forget_shard(from);
        let Some(link) = self.peers.link_mut(from) else {
            return;
        };
        link.peer_restarted();
        link.peer_epoch = hello.epoch;
        let has_heard = hello.heard == link.epoch;
        if has_heard {
            link.awaits_hello = false;
        }
        let clock = if hello.resync { 0 } else { hello.clock };
        self.retained.versions().saw_clock(hello.clock);
        self.peer_clock(from, clock);
        if !has_heard {
            self.greet(from);
        }
    }
}
