//! What this shard has subscribers for, told to its peers, and what they have told.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;

use super::Broker;
use crate::peer::{Interest, PeerMessage, Wanted};
use crate::session::SessionId;
use crate::topic::{FilterId, has_wildcard};

impl Broker {
    /// Tells all peers that there are subscribers for a filter, or none any more.
    pub(super) fn tell_interest(&mut self, filter: &str, on: bool) {
        if !self.peers.are_there() {
            return;
        }
        if has_wildcard(filter) {
            let filter: Arc<str> = filter.into();
            self.peers.push_to_all(|| {
                let filter = Arc::clone(&filter);
                interest(Wanted::Wildcard { filter, on })
            });
        } else {
            let hash = self.peers.interests.hash(filter);
            self.peers.push_to_all(|| {
                let hashes = vec![hash];
                interest(Wanted::Exact { hashes, on })
            });
        }
    }

    /// Tells all peers of the shared subscriptions whose members have changed.
    pub(super) fn tell_groups(&mut self) {
        while let Some((name, members, present)) = self.shares.next_changed() {
            self.peers.push_to_all(|| {
                let name = Arc::clone(&name);
                interest(Wanted::Group {
                    name,
                    members,
                    present,
                })
            });
        }
    }

    /// A peer has told what it has subscribers for.
    pub(super) fn peer_wants(&mut self, peer: u8, wanted: Wanted) {
        match wanted {
            Wanted::Exact { hashes, on } => {
                for hash in hashes {
                    self.peers.interests.set_exact(hash, peer, on);
                }
            }
            Wanted::Wildcard { filter, on } => {
                self.peers.interests.set_wildcard(&filter, peer, on);
            }
            Wanted::Group {
                name,
                members,
                present,
            } => self.shares.set_branch(peer, &name, members, present),
        }
    }

    /// Takes a session out of a filter, and tells peers if it was the last one.
    pub(super) fn drop_subscription(&mut self, filter: FilterId, session: SessionId) -> bool {
        let mut name = String::new();
        if self.peers.are_there() && self.filters.subscribers(filter).len() == 1 {
            self.filters.write_filter(filter, &mut name);
        }
        if self.filters.remove(filter, session).is_none() {
            return false;
        }
        if !name.is_empty() {
            self.tell_interest(&name, false);
        }
        true
    }

    /// The client of a session is connected now, or is no longer: that counts where it is a member
    /// of shared subscriptions.
    pub(super) fn tell_present(&mut self, id: SessionId, is_present: bool) {
        if !self.peers.are_several() {
            return;
        }
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        for members in session.memberships.iter() {
            self.shares.set_present(members, id, is_present);
        }
        self.groups_have_changed();
    }

    /// Members of shared subscriptions may have changed.
    pub(super) fn groups_have_changed(&mut self) {
        if self.shares.have_changed() {
            self.peers.raise_all();
        }
    }
}

fn interest(wanted: Wanted) -> PeerMessage {
    PeerMessage::Interest(Interest { wanted })
}
