//! QoS 2 messages from a client that it has not released yet.
//!
//! | identifier is | PUBLISH of QoS 2 | PUBREL | answer to an error |
//! | --- | --- | --- | --- |
//! | free | message goes on, identifier is held, PUBREC | PUBCOMP, 0x92 | PUBREC; it stays free |
//! | held | PUBREC, nothing else | PUBCOMP, identifier is free | – |
//!
//! An identifier that is free, but may have been held before the connection, is released with 0x00.
//!
//! This is method B of figure 4.3: a message is passed on when its PUBLISH comes, and the
//! identifier alone is kept so that it is not passed on twice ([MQTT-4.3.3-10]).

use alloc::vec::Vec;

use crate::packet::PacketId;

/// The identifiers that are held, sorted.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    held: Vec<u16>,
}

impl Incoming {
    pub(crate) fn contains(&self, id: PacketId) -> bool {
        self.held.binary_search(&id.get()).is_ok()
    }

    /// Holds an identifier.
    pub(crate) fn hold(&mut self, id: PacketId) {
        if let Err(place) = self.held.binary_search(&id.get()) {
            self.held.insert(place, id.get());
        }
    }

    /// Frees an identifier; false if it was not held.
    pub(crate) fn release(&mut self, id: PacketId) -> bool {
        let Ok(place) = self.held.binary_search(&id.get()) else {
            return false;
        };
        self.held.remove(place);
        if self.held.is_empty() {
            self.held = Vec::new();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_held_is_a_set(steps in prop::collection::vec((1u16..20, 0..3u8), 0..200)) {
            let (mut incoming, mut model) = (Incoming::default(), BTreeSet::new());
            for (id, what) in steps {
                let id = PacketId::new(id).expect("not zero");
                match what {
                    0 => {
                        incoming.hold(id);
                        model.insert(id);
                    }
                    1 => prop_assert_eq!(incoming.release(id), model.remove(&id)),
                    _ => prop_assert_eq!(incoming.contains(id), model.contains(&id)),
                }
            }
        }
    }
}
