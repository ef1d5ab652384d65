//! What shards owed each other when the process stopped, settled among the sessions as they were.
//!
//! A message of QoS 2 that goes to other shards is committed where it came from before it is sent
//! on, and deleted once all of them have committed what it does there. What is left of such a
//! message after a crash has taken effect at some of them, as the rows of links say; the others'
//! sessions get it here, before sessions are placed anew: there may be another number of shards
//! now.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::restore::Gathered;
use super::{Record, Restore, StoredDebt, StoredDelivery, StoredMessage, StoredOwed};
use crate::packet::QoS;
use crate::topic;

/// The last place and the last message that there are.
type Last = (u64, u64);

impl Restore {
    pub(super) fn settle_owed(&mut self, last: &mut Last, fixes: &mut Vec<Record>) {
        for ((shard, number), owed) in core::mem::take(&mut self.owed) {
            let StoredOwed { message, to } = owed;
            let has_taken_effect = |debt: &StoredDebt| {
                let upto = self.links.get(&(shard, debt.shard));
                upto.is_some_and(|upto| number <= *upto)
            };
            let left: Vec<_> = to.into_iter().filter(|it| !has_taken_effect(it)).collect();
            let mut settling = Settling {
                message: &message,
                number: None,
                last,
                fixes,
            };
            for debt in &left {
                self.pay(debt, &mut settling);
            }
            if let Some(number) = settling.number {
                self.messages.insert(number, message);
            }
            fixes.push(Record::DeleteOwed { shard, number });
        }
        for (from, to) in core::mem::take(&mut self.links).into_keys() {
            fixes.push(Record::DeleteLink { from, to });
        }
    }

    /// Gives the sessions of one shard what they are owed of a message.
    fn pay(&mut self, debt: &StoredDebt, settling: &mut Settling<'_>) {
        if debt.subscribed {
            for (client_id, it) in &mut self.sessions {
                let is_there = it.session.as_ref().is_some_and(|it| it.shard == debt.shard);
                if is_there && let Some(delivery) = plain(it, settling.message) {
                    settling.give(client_id, it, delivery);
                }
            }
        }
        for group in &debt.groups {
            // Whoever is a member there; if nobody is left, any other.
            let is_member = |it: &Gathered| it.subscriptions.contains_key(group);
            let is_there = |it: &Gathered| {
                let session = it.session.as_ref();
                is_member(it) && session.is_some_and(|it| it.shard == debt.shard)
            };
            let there = self.sessions.iter().find(|(_, it)| is_there(it));
            let member = there.or_else(|| self.sessions.iter().find(|(_, it)| is_member(it)));
            let Some(client_id) = member.map(|(client_id, _)| Arc::clone(client_id)) else {
                continue;
            };
            if let Some(it) = self.sessions.get_mut(&client_id)
                && let Some(delivery) = shared(it, group, settling.message)
            {
                settling.give(&client_id, it, delivery);
            }
        }
    }
}

/// One message on its way to those who are owed it.
struct Settling<'a> {
    message: &'a StoredMessage,
    /// Its number, once somebody has it.
    number: Option<u64>,
    last: &'a mut Last,
    fixes: &'a mut Vec<Record>,
}

impl Settling<'_> {
    fn give(&mut self, client_id: &Arc<str>, to: &mut Gathered, mut delivery: StoredDelivery) {
        let number = match self.number {
            Some(number) => number,
            None => {
                self.last.1 += 1;
                let (number, message) = (self.last.1, self.message.clone());
                self.fixes.push(Record::PutMessage { number, message });
                *self.number.insert(number)
            }
        };
        self.last.0 += 1;
        let place = self.last.0;
        delivery.message = Some(number);
        to.deliveries.insert(place, delivery.clone());
        self.fixes.push(Record::PutDelivery {
            client_id: Arc::clone(client_id),
            place,
            delivery,
        });
    }
}

/// What a session gets of a message by its own subscriptions: one copy, with the highest QoS and
/// all identifiers ([MQTT-3.3.4-2], [MQTT-3.3.4-4]); nothing that would not be stored.
fn plain(it: &Gathered, message: &StoredMessage) -> Option<StoredDelivery> {
    let mut matching = it
        .subscriptions
        .iter()
        .filter(|(filter, _)| !is_shared(filter) && topic::matches(filter, &message.topic))
        .map(|(_, subscription)| subscription);
    let first = matching.clone().next()?;
    let qos = matching.clone().map(|it| it.qos).max().unwrap_or(first.qos);
    let identifiers = matching.clone().map(|it| it.identifier);
    let delivery = StoredDelivery {
        message: None,
        qos: qos.min(message.qos),
        retain: message.retain && matching.any(|it| it.retain_as_published),
        replayed: false,
        identifiers: identifiers.filter(|it| *it != 0).collect(),
        group: None,
        packet_id: None,
    };
    is_stored(it, &delivery).then_some(delivery)
}

/// What a member gets of a message by a shared subscription.
fn shared(it: &Gathered, group: &str, message: &StoredMessage) -> Option<StoredDelivery> {
    let subscription = it.subscriptions.get(group)?;
    let identifier = Some(subscription.identifier).filter(|it| *it != 0);
    let delivery = StoredDelivery {
        message: None,
        qos: subscription.qos.min(message.qos),
        retain: message.retain && subscription.retain_as_published,
        replayed: false,
        identifiers: identifier.into_iter().collect(),
        group: Some(Box::from(group)),
        packet_id: None,
    };
    is_stored(it, &delivery).then_some(delivery)
}

fn is_stored(it: &Gathered, delivery: &StoredDelivery) -> bool {
    let outlives = it.session.as_ref().is_some_and(|it| it.expiry > 0);
    outlives && delivery.qos > QoS::AtMostOnce
}

fn is_shared(filter: &str) -> bool {
    matches!(topic::parse_shared(filter), Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::super::{StoredSession, StoredSubscription};
    use super::*;
    use bytes::Bytes;

    fn message() -> StoredMessage {
        StoredMessage {
            topic: "a/b".into(),
            properties: Bytes::new(),
            payload: Bytes::from_static(b"x"),
            qos: QoS::ExactlyOnce,
            retain: false,
            expires: None,
        }
    }

    fn session(restore: &mut Restore, name: &str, shard: u8, filters: &[&str]) {
        let client_id: Arc<str> = name.into();
        restore.add(Record::PutSession {
            client_id: Arc::clone(&client_id),
            session: StoredSession {
                shard,
                expiry: 60,
                ends: None,
                connected: true,
                sent: 0,
                will: None,
            },
        });
        for filter in filters {
            restore.add(Record::PutSubscription {
                client_id: Arc::clone(&client_id),
                filter: (*filter).into(),
                subscription: StoredSubscription {
                    identifier: 7,
                    qos: QoS::ExactlyOnce,
                    no_local: false,
                    retain_as_published: false,
                    replaying: false,
                },
            });
        }
    }

    fn owed(number: u64, to: &[(u8, bool, &[&str])]) -> Record {
        let to = to.iter().map(|(shard, subscribed, groups)| StoredDebt {
            shard: *shard,
            subscribed: *subscribed,
            groups: groups.iter().map(|it| (*it).into()).collect(),
        });
        Record::PutOwed {
            shard: 0,
            number,
            owed: StoredOwed {
                message: message(),
                to: to.collect(),
            },
        }
    }

    /// How many deliveries each session has after a restart with two shards.
    fn deliveries(restore: Restore) -> Vec<(Arc<str>, usize)> {
        let (fixes, parts) = restore.finish(2, |name| name.len() % 2);
        let put = |it: &&Record| matches!(it, Record::PutDelivery { .. });
        let count = fixes.records.iter().filter(put).count();
        let sessions = parts.iter().flat_map(|part| &part.sessions);
        let all: Vec<_> = sessions
            .map(|it| (Arc::clone(&it.client_id), it.deliveries.len()))
            .collect();
        assert_eq!(count, all.iter().map(|(_, count)| count).sum::<usize>());
        for part in &parts {
            for it in part.sessions.iter().flat_map(|it| &it.deliveries) {
                let number = it.delivery.message.expect("there is a message");
                assert_eq!(part.messages.get(&number), Some(&message()));
            }
        }
        all
    }

    #[test]
    fn what_is_owed_reaches_the_sessions_of_the_shard_that_did_not_have_it() {
        let mut restore = Restore::new();
        session(&mut restore, "here", 0, &["a/b"]);
        session(&mut restore, "one", 1, &["a/+", "a/b", "c"]);
        session(&mut restore, "other", 1, &["c"]);
        session(&mut restore, "three", 3, &["#"]);
        restore.add(owed(4, &[(1, true, &[]), (3, true, &[])]));
        restore.add(Record::PutLink {
            from: 0,
            to: 1,
            number: 3,
        });
        restore.add(Record::PutLink {
            from: 0,
            to: 3,
            number: 4,
        });
        let mut got = deliveries(restore);
        got.sort();
        let expected = [("here", 0), ("one", 1), ("other", 0), ("three", 0)];
        assert_eq!(got, expected.map(|(name, count)| (name.into(), count)));
    }

    #[test]
    fn a_shared_message_that_is_owed_goes_to_one_member() {
        let mut restore = Restore::new();
        session(&mut restore, "a", 1, &["$share/g/a/#"]);
        session(&mut restore, "b", 2, &["$share/g/a/#", "$share/h/+/b"]);
        session(&mut restore, "c", 2, &["$share/g/a/#"]);
        restore.add(owed(1, &[(2, false, &["$share/g/a/#"])]));
        restore.add(owed(2, &[(3, false, &["$share/h/+/b", "$share/gone/#"])]));
        let mut got = deliveries(restore);
        got.sort();
        assert_eq!(
            got,
            [("a", 0), ("b", 2), ("c", 0)].map(|(name, n)| (name.into(), n))
        );
    }
}
