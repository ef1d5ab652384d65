//! What shards say to each other.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Packable, Packed, Shards};
use crate::broker::Figures;
use crate::message::Kept;

/// What one message counts for in a link, beside its text and content.
const OVERHEAD: usize = 128;

/// How many hashes of filters go into one message, about. A session that ends may have had a
/// hundred thousand filters: each in a message of its own would be tens of megabytes.
const MAX_HASHES: usize = 512;

/// One message from a shard to a peer.
///
/// What is in it is for brokers alone. Whoever runs them carries what
/// [`Broker::take_routed`](crate::Broker::take_routed) of one gives to
/// [`Broker::peer_received`](crate::Broker::peer_received) of the other, all of it and in order.
#[derive(Debug)]
pub enum PeerMessage {
    /// The link begins anew: what the sender has told before counts for nothing.
    Hello(Hello),
    /// What the sender has subscribers for, or none any more.
    Interest(Interest),
    /// A message that the receiver has subscribers for, or that is retained, or both.
    Publish(Forwarded),
    /// Small messages that the receiver has subscribers for.
    Packed(Packed),
    /// A message for a shared subscription of which the sender has no member any more that could
    /// have it.
    Returned(Returned),
    /// What is retained of a topic is gone.
    Cleared(Cleared),
    /// What became of messages.
    Stored(Stored),
    /// So many bytes of what the receiver has sent are processed.
    Processed(u64),
    /// No change of what is retained comes from the sender any more that is older than this.
    Clock(u64),
    /// All interests that come before it are known once it is answered.
    Barrier(u64),
    /// The answer.
    Passed(u64),
    /// The sender stops, and all wills of its clients have been published.
    Farewell,
    /// How the sender is: the first shard tells everybody of all.
    Figures(Box<Figures>),
}

impl PeerMessage {
    /// How many bytes it counts for until it is known to be processed. Answers count for nothing:
    /// else they would have to be answered too.
    pub(crate) fn cost(&self) -> u64 {
        let len = match self {
            Self::Interest(interest) => match &interest.wanted {
                Wanted::Exact { hashes, .. } => hashes.len() * 16,
                Wanted::Wildcard { filter, .. } => OVERHEAD + filter.len(),
                Wanted::Group { name, .. } => OVERHEAD + name.len(),
            },
            Self::Publish(forwarded) => OVERHEAD + forwarded.message.len(),
            Self::Packed(packed) => packed.count() * OVERHEAD + packed.len(),
            Self::Cleared(cleared) => OVERHEAD + cleared.topic.len(),
            Self::Barrier(_) => OVERHEAD,
            Self::Hello(_)
            | Self::Returned(_)
            | Self::Stored(_)
            | Self::Processed(_)
            | Self::Clock(_)
            | Self::Farewell
            | Self::Figures(_)
            | Self::Passed(_) => 0,
        };
        len as u64
    }

    /// Takes what another message says as well, if it can be said in one. They count for the same
    /// together as each by itself.
    pub(crate) fn join(&mut self, next: &Self) -> bool {
        if let Self::Interest(Interest {
            wanted: Wanted::Exact { hashes, on },
        }) = self
            && let Self::Interest(Interest {
                wanted:
                    Wanted::Exact {
                        hashes: more,
                        on: too,
                    },
            }) = next
            && on == too
            && hashes.len() < MAX_HASHES
        {
            hashes.extend_from_slice(more);
            return true;
        }
        false
    }
}

/// How many bytes a message counts for that is packed.
pub(crate) fn packed_cost(message: &Packable<'_>) -> u64 {
    (OVERHEAD + Packed::len_of(message)) as u64
}

/// The beginning of a link.
#[derive(Clone, Copy, Debug)]
pub struct Hello {
    /// The number of this beginning at its sender.
    pub(crate) epoch: u64,
    /// The last beginning that the sender has heard of from the receiver; 0 is none.
    pub(crate) heard: u64,
    /// The clock of the sender.
    pub(crate) clock: u64,
    /// Whether retained messages follow that are older than it.
    pub(crate) resync: bool,
}

/// What a shard has subscribers for.
#[derive(Debug)]
pub struct Interest {
    pub(crate) wanted: Wanted,
}

#[derive(Debug)]
pub(crate) enum Wanted {
    /// Filters without wildcards, by their hashes under the key that all shards have in common.
    Exact { hashes: Vec<u64>, on: bool },
    /// A filter with wildcards.
    Wildcard { filter: Arc<str>, on: bool },
    /// A shared subscription, written out, with how many members there are and how many of these
    /// are connected.
    Group {
        name: Arc<str>,
        members: u32,
        present: u32,
    },
}

/// A message that goes to a peer.
#[derive(Debug)]
pub struct Forwarded {
    pub(crate) message: Kept,
    /// Whether it is for those who have subscribed by themselves.
    pub(crate) plain: bool,
    /// The shared subscriptions of which this peer is to choose a member.
    pub(crate) calls: Vec<Call>,
    /// What it does to what is retained of its topic.
    pub(crate) change: Option<Change>,
    /// Its number in the link, if its sender wants to know what became of it; else 0.
    pub(crate) number: u64,
    /// Its number among what the sender owes, if it does; else 0.
    pub(crate) owed: u64,
}

/// A shared subscription that a message is for.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// As it is written, `$share` included.
    pub(crate) name: Arc<str>,
    /// The shards that were tried.
    pub(crate) tried: Shards,
    /// What was found there.
    pub(crate) found: Found,
}

/// The best that was found where a message for a shared subscription was not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Found {
    /// No member.
    #[default]
    Nobody,
    /// Members that may not or cannot have it.
    Unable,
    /// Members whose queues are full.
    Full,
}

/// What a message does to what is retained of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) version: u64,
    /// Whether it is kept; if not, what was kept is gone.
    pub(crate) keeps: bool,
}

/// A message that comes back because no member could have it.
#[derive(Debug)]
pub struct Returned {
    pub(crate) message: Kept,
    pub(crate) call: Call,
    /// The number that it came under.
    pub(crate) number: u64,
}

/// A topic of which nothing is retained any more.
#[derive(Debug)]
pub struct Cleared {
    pub(crate) topic: Box<str>,
    pub(crate) version: u64,
}

/// What became of the messages up to a number.
#[derive(Debug)]
pub struct Stored {
    pub(crate) upto: u64,
    /// Those that were not simply taken, in order.
    pub(crate) exceptions: Vec<Exception>,
}

/// A message that was not simply taken by one subscriber or more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exception {
    pub(crate) number: u64,
    pub(crate) matched: u32,
    pub(crate) refused: u32,
}
