//! The shards of a process, which are peers of each other.
//!
//! A session lives in the shard that its client's identifier names, and nothing about it is shared.
//! What shards have to say to each other goes through links: queues that keep their order.
//!
//! | message | says | answer |
//! | --- | --- | --- |
//! | `Interest` | I have subscribers for this filter, or none any more | – |
//! | `Publish` | a message that concerns you | `Stored`, if it has a number |
//! | `Packed` | small messages of that kind | as above |
//! | `Returned` | no member here could have it: choose another shard | – |
//! | `Cleared` | nothing is retained of this topic any more | – |
//! | `Stored` | what became of all messages up to this number | – |
//! | `Processed` | so much of what you sent is behind me | – |
//! | `Clock` | no older change of what is retained comes from me | – |
//! | `Barrier` | do you know all interests that I have sent? | `Passed` |
//! | `Hello` | the link begins anew | `Hello`, unless it is one |
//!
//! Whoever runs the brokers carries what they say. Here is all that takes, with a client inside the
//! process at each of two shards:
//!
//! ```
//! use wherry_core::packet::{Properties, QoS, ReasonCode, SubscriptionOptions};
//! use wherry_core::permission::Grant;
//! use wherry_core::time::{Instant, WallClock};
//! use wherry_core::{Action, Broker, Config, LocalPublish, Place};
//!
//! /// Carries what the shards say to each other until they have nothing more to say.
//! fn run(shards: &mut [Broker]) {
//!     let mut idle = false;
//!     while !idle {
//!         idle = true;
//!         for from in 0..shards.len() {
//!             while let Some(action) = shards[from].poll_action() {
//!                 if let Action::Route(to) = action {
//!                     let messages = shards[from].take_routed(to);
//!                     shards[usize::from(to)].peer_received(from as u8, messages);
//!                     idle = false;
//!                 }
//!             }
//!         }
//!     }
//! }
//!
//! let mut shards = [0, 1].map(|index| {
//!     let place = Place::new(index, 2, 7).expect("it is one of two");
//!     let (start, time) = (Instant::from_millis(0), WallClock::from_unix_millis(0));
//!     Broker::in_place(Config::default(), place, start, time)
//! });
//! let names = [0, 1].map(|shard| {
//!     let mut names = ["a", "b", "c", "d"].into_iter();
//!     names.find(|name| shards[0].shard_of(name) == shard).expect("each owns one of them")
//! });
//! let sensor = shards[0].open_local(names[0], Grant::unrestricted())?;
//! let store = shards[1].open_local(names[1], Grant::unrestricted())?;
//! let granted = shards[1].subscribe_local(store, "room/+", SubscriptionOptions::default(), 0);
//! assert_eq!(granted, Ok(QoS::AtMostOnce));
//! run(&mut shards); // Now both know of the subscription.
//!
//! let publish = LocalPublish {
//!     topic: "room/1",
//!     payload: b"21.5",
//!     qos: QoS::AtLeastOnce,
//!     retain: false,
//!     properties: Properties::EMPTY,
//! };
//! assert_eq!(shards[0].publish_local(sensor, &publish), ReasonCode::Success);
//! run(&mut shards);
//! let message = shards[1].next_message(store).expect("it came");
//! assert_eq!(message.payload(), b"21.5");
//! # Ok::<(), wherry_core::OpenLocalError>(())
//! ```
//!
//! An answer never waits for another shard, only for what its own shard has to store: so no circle
//! of shards can wait for each other.

mod interests;
mod link;
mod message;
mod packed;
mod place;
mod set;

use alloc::vec::Vec;

use crate::connection::ConnectionId;
use crate::map::HashKey;

pub(crate) use interests::Interests;
pub(crate) use link::Link;
pub(crate) use message::{Call, Change, Exception, Found, Wanted};
pub use message::{Cleared, Forwarded, Hello, Interest, PeerMessage, Returned, Stored};
pub use packed::Packed;
pub(crate) use packed::{Packable, PackedMessage};
pub use place::Place;
pub(crate) use set::Shards;

/// How many times its limit a link may hold: who is slowed has put a last message into it, and
/// their number is bounded only if no others come in.
const OVERWHELMED: u64 = 8;

/// What a peer that takes part anew is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    /// What there are subscribers for.
    Interests,
    /// All that is retained, too.
    Everything,
}

/// All peers of a shard, and the links to them.
#[derive(Debug)]
pub(crate) struct Peers {
    place: Place,
    /// Those that take part.
    up: Shards,
    /// One for each shard, its own included, which is not used; none if there is one shard.
    links: Vec<Link>,
    /// To whom there may be something to say.
    ready: Shards,
    /// For whom it was said that there is.
    raised: Shards,
    /// How many bytes may be on their way to one peer before publishers are slowed.
    limit: u64,
    /// The links that hold more.
    full: Shards,
    pub(crate) interests: Interests,
    /// What the message that is routed does to what is retained of its topic.
    pub(crate) change: Option<Change>,
    /// The peers that are to choose members for the message that is routed.
    pub(crate) calls: Vec<(u8, Call)>,
    /// The links that the message went into that was routed last, as far as they are above their
    /// limit and cannot but take it.
    pub(crate) overfull: Shards,
}

impl Peers {
    /// All shards but this one, and all are up.
    pub(crate) fn new(place: Place, key: HashKey, limit: usize) -> Self {
        let count = place.count();
        let mut links = Vec::new();
        if count > 1 {
            links.resize_with(count.into(), Link::new);
        }
        Self {
            place,
            up: Shards::first(count).without(Shards::one(place.index())),
            links,
            ready: Shards::NONE,
            raised: Shards::NONE,
            limit: limit as u64,
            full: Shards::NONE,
            interests: Interests::new(key),
            change: None,
            calls: Vec::new(),
            overfull: Shards::NONE,
        }
    }

    /// This shard's place.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Its number.
    pub(crate) fn me(&self) -> u8 {
        self.place.index()
    }

    /// Whether this is one of several shards, whether or not the others are up.
    pub(crate) fn are_several(&self) -> bool {
        !self.links.is_empty()
    }

    /// Whether any peer is up.
    #[inline]
    pub(crate) fn are_there(&self) -> bool {
        !self.up.is_empty()
    }

    /// Those that are up.
    pub(crate) fn up(&self) -> Shards {
        self.up
    }

    pub(crate) fn set_up(&mut self, peer: u8, is_up: bool) {
        if is_up {
            self.up.insert(peer);
        } else {
            self.up.remove(peer);
        }
    }

    /// Whether there is such a peer.
    pub(crate) fn is_peer(&self, peer: u8) -> bool {
        usize::from(peer) < self.links.len() && peer != self.me()
    }

    pub(crate) fn link(&self, peer: u8) -> Option<&Link> {
        self.links.get(usize::from(peer))
    }

    pub(crate) fn link_mut(&mut self, peer: u8) -> Option<&mut Link> {
        self.links.get_mut(usize::from(peer))
    }

    /// Puts a message into a link.
    pub(crate) fn push(&mut self, peer: u8, message: PeerMessage) {
        if let Some(link) = self.links.get_mut(usize::from(peer)) {
            link.push(message);
            self.ready.insert(peer);
            if link.load() > self.limit {
                self.full.insert(peer);
            }
        }
    }

    /// Puts a small message into a link, behind others of its kind if these are the last there.
    pub(crate) fn pack(&mut self, peer: u8, message: &Packable<'_>, number: u64, plain: bool) {
        if let Some(link) = self.links.get_mut(usize::from(peer)) {
            link.pack(message, number, plain);
            self.ready.insert(peer);
            if link.load() > self.limit {
                self.full.insert(peer);
            }
        }
    }

    /// Puts a message into the links with all peers.
    pub(crate) fn push_to_all(&mut self, mut message: impl FnMut() -> PeerMessage) {
        for peer in self.up.iter() {
            self.push(peer, message());
        }
    }

    /// Whether there is something to be told of what came from a peer.
    pub(crate) fn have_news_for(&self, peer: u8) -> bool {
        self.link(peer).is_some_and(|it| it.has_news(self.limit))
    }

    /// The links that are above their limit.
    pub(crate) fn full(&self) -> Shards {
        self.full
    }

    /// Whether there is so much in any link that nobody may come in who could add to it: each of
    /// those who are in has been slowed.
    pub(crate) fn are_overwhelmed(&self) -> bool {
        let limit = self.limit.saturating_mul(OVERWHELMED);
        let mut links = self.full.iter().filter_map(|peer| self.link(peer));
        links.any(|link| link.load() > limit)
    }

    /// A peer has processed so many bytes. Returns the connections that go on, now that there is
    /// much less in the link.
    pub(crate) fn processed(&mut self, peer: u8, bytes: u64) -> Vec<ConnectionId> {
        let Some(link) = self.links.get_mut(usize::from(peer)) else {
            return Vec::new();
        };
        link.processed(bytes);
        self.relieved(peer)
    }

    /// The connections that go on if there is much less in a link than there may be.
    fn relieved(&mut self, peer: u8) -> Vec<ConnectionId> {
        let Some(link) = self.links.get_mut(usize::from(peer)) else {
            return Vec::new();
        };
        if link.load() <= self.limit {
            self.full.remove(peer);
        }
        match link.load() <= self.limit / 2 {
            true => core::mem::take(&mut link.slowed),
            false => Vec::new(),
        }
    }

    /// The limit is another one. What waits because of the old one goes on with what is processed
    /// next.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit as u64;
        for peer in self.up.iter() {
            if self.link(peer).is_some_and(|link| link.load() > self.limit) {
                self.full.insert(peer);
            } else {
                self.full.remove(peer);
            }
        }
    }

    /// There may be something to say to a peer.
    pub(crate) fn raise(&mut self, peer: u8) {
        self.ready.insert(peer);
    }

    /// There may be something to say to all peers.
    pub(crate) fn raise_all(&mut self) {
        self.ready = self.ready.or(self.up);
    }

    /// The next peer that there is something to say to, and of which it was not said yet.
    #[inline]
    pub(crate) fn next_raised(&mut self) -> Option<u8> {
        let peer = self.ready.without(self.raised).lowest()?;
        self.raised.insert(peer);
        Some(peer)
    }

    /// Whether what a peer says counts: it does if the peer is up, and if it has heard that the
    /// link began anew here.
    pub(crate) fn hears(&self, peer: u8, message: &PeerMessage) -> bool {
        let link = self.link(peer).filter(|_| self.up.contains(peer));
        link.is_some_and(|link| !link.awaits_hello || matches!(message, PeerMessage::Hello(_)))
    }

    /// Forgets all that is on its way to a peer and that it has told. Returns the connections that
    /// are slowed because of it.
    pub(crate) fn restart(&mut self, peer: u8) -> Vec<ConnectionId> {
        self.full.remove(peer);
        self.ready.remove(peer);
        let Some(link) = self.links.get_mut(usize::from(peer)) else {
            return Vec::new();
        };
        let slowed = core::mem::take(&mut link.slowed);
        link.restart();
        slowed
    }

    /// Takes what there is to say to a peer.
    pub(crate) fn take(&mut self, peer: u8) -> Vec<PeerMessage> {
        self.ready.remove(peer);
        self.raised.remove(peer);
        match self.links.get_mut(usize::from(peer)) {
            Some(link) => core::mem::take(&mut link.outgoing),
            None => Vec::new(),
        }
    }
}
