//! One connection, seen from both ends: what the broker wants of its socket, and what its client
//! reads.

use std::collections::{BTreeMap, BTreeSet};

use wherry_core::Broker;
use wherry_core::connection::ConnectionId;

use super::model::{Arrival, Model, Source};
use crate::wire::{Publish, Received, Value, Version, first_packet, id, kind};

/// How far a connection is, as far as its socket knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// [`Action::Close`](wherry_core::Action::Close) came.
    Closing,
    /// The program has reported its end; actions that were raised before may still name it.
    Reported,
    /// Nothing may name it any more.
    Gone,
}

/// A message of QoS 1 or 2 that the client has and has not acknowledged to the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unanswered {
    pub(super) packet_id: u16,
    pub(super) qos: u8,
    /// Whether PUBREC was sent.
    pub(super) received: bool,
}

/// What a client has told of itself in its first CONNECT.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) receive_maximum: usize,
    pub(super) packet_size: usize,
    pub(super) topic_aliases: u16,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) version: Version,
    pub(super) source: Source,
    pub(super) stage: Stage,
    pub(super) paused: bool,
    /// Whether [`Action::Send`](wherry_core::Action::Send) was raised since bytes were last taken.
    pub(super) send_raised: bool,
    /// Whether bytes were taken while the action for them may have been under way: there may be one
    /// more.
    pub(super) is_early: bool,
    /// Whether the socket has left something of the outbox: no action will ask for it.
    pub(super) offered: bool,
    /// Whether credentials are to be checked.
    pub(super) asked: bool,
    /// Whether bytes were sent that are no packets.
    pub(super) is_wild: bool,
    /// Whether an acknowledgement was sent that answers nothing.
    pub(super) is_lax: bool,
    pub(super) told: Option<Told>,
    /// The number of its will, unless that was taken back.
    pub(super) will: Option<usize>,
    /// What its client has sent and the program has not read.
    pub(super) unread: Vec<u8>,
    /// What its client has read and is not a whole packet yet.
    pub(super) read: Vec<u8>,
    pub(super) unanswered: Vec<Unanswered>,
    /// PUBRELs of messages that came on an earlier connection.
    pub(super) released: Vec<u16>,
    /// How many filters each request had, with the type of its answer.
    pub(super) requests: BTreeMap<u16, Vec<(u8, usize)>>,
    /// The last message that was published, to be repeated: its bytes, its number, whether it may
    /// count again.
    pub(super) last: Option<Last>,
    /// The topic aliases that the client has set.
    pub(super) sent_aliases: BTreeMap<u16, String>,
    /// Those that the broker has set.
    aliases: BTreeMap<u16, String>,
    connack: Option<u8>,
    is_over: bool,
}

/// A PUBLISH that may be repeated.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) bytes: Vec<u8>,
    pub(super) number: usize,
    pub(super) packet_id: u16,
    /// Whether the broker knows a repetition for one.
    pub(super) is_held: bool,
}

impl Link {
    pub(super) fn new(id: ConnectionId, version: Version, source: Source) -> Self {
        Self {
            id,
            version,
            source,
            stage: Stage::Open,
            paused: false,
            send_raised: false,
            is_early: false,
            offered: false,
            asked: false,
            is_wild: false,
            is_lax: false,
            told: None,
            will: None,
            unread: Vec::new(),
            read: Vec::new(),
            unanswered: Vec::new(),
            released: Vec::new(),
            requests: BTreeMap::new(),
            last: None,
            sent_aliases: BTreeMap::new(),
            aliases: BTreeMap::new(),
            connack: None,
            is_over: false,
        }
    }

    /// Whether the socket is there.
    pub(super) fn is_there(&self) -> bool {
        matches!(self.stage, Stage::Open | Stage::Closing)
    }

    /// Whether its client is in, for all that can be known, and what it sends is read at once.
    pub(super) fn is_plainly_in(&self) -> bool {
        self.stage == Stage::Open
            && self.connack == Some(0)
            && !(self.is_wild || self.asked || self.paused)
            && self.unread.is_empty()
    }

    /// The client takes so many bytes, and reads what is complete.
    pub(super) fn take(&mut self, broker: &mut Broker, most: usize, model: &mut Model) {
        self.is_early |= !self.send_raised;
        let waiting = broker.outbox_len(self.id);
        let taken = waiting.min(most);
        let before = self.read.len();
        let bytes = broker.outbox(self.id).flatten().take(taken);
        self.read.extend(bytes);
        assert_eq!(self.read.len(), before + taken, "as much as it says");
        broker.sent(self.id, taken);
        self.send_raised = false;
        self.offered = taken < waiting;
        while let Some((packet, len)) = first_packet(&self.read) {
            self.read.drain(..len);
            let is_known = self.told.is_some() && !self.is_wild;
            if is_known {
                self.packet(&packet, len, model);
            } else {
                model.arrived += usize::from(packet.kind() == kind::PUBLISH);
            }
        }
    }

    fn packet(&mut self, packet: &Received, len: usize, model: &mut Model) {
        let version = self.version;
        let told = self.told.as_ref().expect("it has said who it is");
        assert!(len <= told.packet_size, "{packet:?} to {told:?}");
        assert!(!self.is_over, "after its last words: {packet:?}");
        match (packet.kind(), self.connack) {
            (kind::CONNACK, None) => {
                let connack = packet.connack(version);
                assert!(!connack.session_present || connack.code == 0);
                self.connack = Some(connack.code);
                self.is_over = connack.code != 0;
            }
            (kind::AUTH, _) if version.is_v5() => drop(packet.auth()),
            (_, None) => panic!("before CONNACK: {packet:?}"),
            (kind::PUBLISH, Some(_)) => {
                let publish = packet.publish(version);
                self.publish(publish, model);
            }
            (kind::PUBREL, _) => {
                let packet_id = packet.ack(kind::PUBREL, version).packet_id;
                let mut unanswered = self.unanswered.iter();
                if unanswered.all(|it| it.packet_id != packet_id) {
                    self.released.push(packet_id);
                }
            }
            (ack @ (kind::PUBACK | kind::PUBREC | kind::PUBCOMP), _) => {
                drop(packet.ack(ack, version));
            }
            (kind::SUBACK, _) => self.answer(packet, packet.suback(version).packet_id),
            (kind::UNSUBACK, _) => self.answer(packet, packet.unsuback(version).packet_id),
            (kind::PINGRESP, _) => assert!(packet.body.is_empty(), "{packet:?}"),
            (kind::DISCONNECT, _) if version.is_v5() => {
                let reason = packet.disconnect().reason;
                assert!(reason >= 0x80, "{packet:?}");
                self.is_over = true;
            }
            _ => panic!("no broker sends it in {version:?}: {packet:?}"),
        }
    }

    /// [MQTT-3.8.4-6], [MQTT-3.11.3-1]: as many codes as there were filters.
    fn answer(&mut self, packet: &Received, packet_id: u16) {
        let kind = packet.kind();
        let answered = match kind {
            kind::SUBACK => packet.suback(self.version),
            _ => packet.unsuback(self.version),
        };
        let requests = self.requests.entry(packet_id).or_default();
        let request = requests.iter().position(|(asked, _)| *asked == kind);
        let request = request.map(|at| requests.remove(at));
        let (_, filters) = request.unwrap_or_else(|| panic!("nobody asked: {packet:?}"));
        let codes = match (kind, self.version) {
            (kind::UNSUBACK, Version::V3_1 | Version::V3_1_1) => 0,
            _ => filters,
        };
        assert_eq!(answered.codes.len(), codes, "{packet:?}");
    }

    fn publish(&mut self, mut publish: Publish, model: &mut Model) {
        let told = self.told.as_ref().expect("it has said who it is");
        if let Some(Value::Two(alias)) = publish.property(id::TOPIC_ALIAS) {
            // [MQTT-3.1.2-26]
            assert!(*alias > 0 && *alias <= told.topic_aliases, "{publish:?}");
            if publish.topic.is_empty() {
                let known = self.aliases.get(alias);
                publish.topic = known.unwrap_or_else(|| panic!("{publish:?}")).clone();
            } else {
                self.aliases.insert(*alias, publish.topic.clone());
            }
        }
        if let Some(packet_id) = publish.packet_id {
            self.unanswered(packet_id, &publish);
        }
        let told = self.told.as_ref().expect("it has said who it is");
        let expiry = match publish.property(id::MESSAGE_EXPIRY_INTERVAL) {
            Some(Value::Four(seconds)) => Some(*seconds),
            _ => None,
        };
        let arrival = Arrival {
            topic: &publish.topic,
            payload: &publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            expiry,
            identifiers: publish.subscription_identifiers(),
            is_v5: self.version.is_v5(),
        };
        model.judge(&told.name, self.source, &arrival);
    }

    /// A message is to be acknowledged.
    fn unanswered(&mut self, packet_id: u16, publish: &Publish) {
        let place = self
            .unanswered
            .iter()
            .position(|it| it.packet_id == packet_id);
        let mut received = false;
        if let Some(place) = place {
            let before = self.unanswered.remove(place);
            // It may have left before PUBREC came.
            received = before.received;
            let is_repeated = publish.dup && before.qos == publish.qos;
            assert!(is_repeated || self.is_lax, "{before:?} {publish:?}");
            // MQTT 5 forbids to repeat it on the same connection [MQTT-4.4.0-1].
            assert!(!self.version.is_v5() || self.is_lax, "{publish:?}");
        }
        self.unanswered.push(Unanswered {
            packet_id,
            qos: publish.qos,
            received,
        });
        // [MQTT-3.3.4-9]
        let told = self.told.as_ref().expect("it has said who it is");
        let is_within = self.unanswered.len() <= told.receive_maximum;
        assert!(
            is_within || self.is_lax,
            "{publish:?} {:?}",
            self.unanswered
        );
        let ids: BTreeSet<u16> = self.unanswered.iter().map(|it| it.packet_id).collect();
        assert_eq!(ids.len(), self.unanswered.len());
    }
}
