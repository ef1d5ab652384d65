//! Where a property or a reason code may stand: one bit per packet, two where the sender matters.
//! The tables in `property.rs` and `reason.rs` are written in these words.

use super::Sender;

/// A set of places; a single one is a set of one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Places(u32);

impl Places {
    pub(super) const NOWHERE: Self = Self(0);

    pub(super) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The union of several, for the rows of a table.
    pub(super) const fn of(places: &[Self]) -> Self {
        let mut all = Self::NOWHERE;
        let mut rest = places;
        while let [first, others @ ..] = rest {
            all = all.or(*first);
            rest = others;
        }
        all
    }

    pub(super) const fn publish(sender: Sender) -> Self {
        match sender {
            Sender::Client => CLIENT_PUBLISH,
            Sender::Server => SERVER_PUBLISH,
        }
    }

    pub(super) const fn disconnect(sender: Sender) -> Self {
        match sender {
            Sender::Client => CLIENT_DISCONNECT,
            Sender::Server => SERVER_DISCONNECT,
        }
    }

    pub(super) const fn auth(sender: Sender) -> Self {
        match sender {
            Sender::Client => CLIENT_AUTH,
            Sender::Server => SERVER_AUTH,
        }
    }
}

pub(super) const CONNECT: Places = Places(1);
pub(super) const WILL: Places = Places(1 << 1);
pub(super) const CONNACK: Places = Places(1 << 2);
pub(super) const CLIENT_PUBLISH: Places = Places(1 << 3);
pub(super) const SERVER_PUBLISH: Places = Places(1 << 4);
pub(super) const PUBACK: Places = Places(1 << 5);
pub(super) const PUBREC: Places = Places(1 << 6);
pub(super) const PUBREL: Places = Places(1 << 7);
pub(super) const PUBCOMP: Places = Places(1 << 8);
pub(super) const SUBSCRIBE: Places = Places(1 << 9);
pub(super) const SUBACK: Places = Places(1 << 10);
pub(super) const UNSUBSCRIBE: Places = Places(1 << 11);
pub(super) const UNSUBACK: Places = Places(1 << 12);
pub(super) const CLIENT_DISCONNECT: Places = Places(1 << 13);
pub(super) const SERVER_DISCONNECT: Places = Places(1 << 14);
pub(super) const CLIENT_AUTH: Places = Places(1 << 15);
pub(super) const SERVER_AUTH: Places = Places(1 << 16);

pub(super) const PUBLISH: Places = CLIENT_PUBLISH.or(SERVER_PUBLISH);
pub(super) const DISCONNECT: Places = CLIENT_DISCONNECT.or(SERVER_DISCONNECT);
pub(super) const AUTH: Places = CLIENT_AUTH.or(SERVER_AUTH);
