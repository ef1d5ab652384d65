//! How a client receives: QoS 2 messages are known again by their identifiers.

use std::collections::BTreeMap;

use super::payload;
use super::record::{Record, TopicId};
use crate::wire::{self, Publish, Received, Version, kind};

/// Messages of QoS 2 that were taken and not released yet; they outlive a connection.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    held: BTreeMap<u16, (TopicId, u32)>,
}

/// A message that has come for the first time, as far as the exchange tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) topic: TopicId,
    pub(super) number: u32,
    pub(super) qos: u8,
}

impl Inbox {
    /// The session is gone, and the identifiers with it.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }

    /// A PUBLISH has come. The answer to it, and what has come with it, if it is new
    /// [MQTT-4.3.2-4, MQTT-4.3.3-8, MQTT-4.3.3-10].
    pub(super) fn publish(
        &mut self,
        name: &str,
        publish: &Publish,
        record: &mut Record,
    ) -> (Option<Vec<u8>>, Option<Arrival>) {
        let packet_id = publish.packet_id.unwrap_or(0);
        let answer = match publish.qos {
            0 => None,
            1 => Some(wire::ack(kind::PUBACK, packet_id)),
            _ => Some(wire::ack(kind::PUBREC, packet_id)),
        };
        let topic = record.topic_named(&publish.topic);
        let number = topic.and_then(|it| payload::read(record.topic(it), &publish.payload));
        let (Some(topic), Some(number)) = (topic, number) else {
            let start = &publish.payload[..publish.payload.len().min(40)];
            let text = start.escape_ascii();
            let topic = &publish.topic;
            record.violated(&format!("NEVER SENT: {name} got {text} on {topic}"));
            return (answer, None);
        };
        if publish.qos == 2 {
            match self.held.get(&packet_id) {
                None => drop(self.held.insert(packet_id, (topic, number))),
                Some(held) if *held == (topic, number) => return (answer, None),
                Some((held, of)) => {
                    let held = record.tell(*held, *of);
                    let message = record.tell(topic, number);
                    record.violated(&format!(
                        "LOST: {name} got {message} under identifier {packet_id}, which it holds \
                         for {held}"
                    ));
                    return (answer, None);
                }
            }
        }
        let qos = publish.qos;
        (answer, Some(Arrival { topic, number, qos }))
    }

    /// A PUBREL has come; the answer to it [MQTT-4.3.3-11].
    pub(super) fn release(&mut self, packet: &Received, version: Version) -> Vec<u8> {
        let packet_id = packet.ack(kind::PUBREL, version).packet_id;
        self.held.remove(&packet_id);
        wire::ack(kind::PUBCOMP, packet_id)
    }
}
