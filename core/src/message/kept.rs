//! A message that outlives the call it came in.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use bytes::Bytes;

use super::Message;
use crate::connection::NEVER;
use crate::packet::{Properties, QoS};
use crate::store::StoredMessage;
use crate::time::{Epoch, Instant};

/// A message that waits for its receivers. It owns exactly its bytes, so that it pins no buffer.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The topic, the properties, encoded, and the payload.
    content: Bytes,
    topic_len: u32,
    properties_len: u32,
    expires: Instant,
    pub(crate) qos: QoS,
    /// The RETAIN flag as published.
    pub(crate) retain: bool,
    /// The change of the retained messages that it was, if it is one.
    pub(crate) change: u64,
    /// What it is called in the store.
    pub(crate) number: u64,
    stored: Stored,
}

/// What of a message is in the store. One broker uses it, so these are plain numbers to it; atomic
/// ones let the broker go from one thread to another.
#[derive(Debug, Default)]
struct Stored {
    /// How many rows refer to it.
    rows: AtomicU32,
    /// Whether it may have a row of its own.
    on_disk: AtomicBool,
}

impl Clone for Stored {
    /// A copy of a message is no message of the store's.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Kept {
    /// `change` is the change of the retained messages that it has made, if it has made one;
    /// `number` is its own in the store.
    pub(crate) fn new(message: &Message<'_>, change: u64, number: u64, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            number,
            ..Self::of(message, change, now)
        })
    }

    /// The same, not shared yet.
    pub(crate) fn of(message: &Message<'_>, change: u64, now: Instant) -> Self {
        if let Some(shared) = message.shared {
            let kept = shared.clone(); // Its bytes are the same.
            return Self { change, ..kept };
        }
        // Most messages have no properties, and most others no expiry among them.
        let properties = Properties::from_kept_wire(message.properties);
        let among = properties.message_expiry_interval();
        let mut content = Vec::with_capacity(message.len());
        content.extend_from_slice(message.topic.as_bytes());
        match among {
            Some(_) => super::write_owned(&properties, &mut content),
            None => content.extend_from_slice(message.properties),
        }
        let properties_len = content.len() - message.topic.len();
        content.extend_from_slice(message.payload);
        content.shrink_to_fit();
        let expires = message.expiry.or(among).map_or(NEVER, |seconds| {
            now.after(core::time::Duration::from_secs(seconds.into()))
        });
        let small = |len| u32::try_from(len).unwrap_or(u32::MAX); // A packet is below 256 MiB.
        Self {
            topic_len: small(message.topic.len()),
            properties_len: small(properties_len),
            content: content.into(),
            expires,
            qos: message.qos,
            retain: message.retain,
            change,
            number: 0,
            stored: Stored::default(),
        }
    }

    /// A message that is in the store already.
    pub(crate) fn restored(message: &Message<'_>, number: u64, expires: Instant) -> Arc<Self> {
        let mut kept = Arc::unwrap_or_clone(Self::new(message, 0, number, Instant::default()));
        kept.expires = expires;
        kept.stored.on_disk = AtomicBool::new(true);
        Arc::new(kept)
    }

    /// One more row refers to it.
    pub(crate) fn refer(&self) {
        let rows = self.stored.rows.load(Relaxed);
        self.stored.rows.store(rows + 1, Relaxed);
    }

    /// One row less refers to it. Returns whether its own row is of no more use.
    pub(crate) fn unrefer(&self) -> bool {
        let rows = self.stored.rows.load(Relaxed).saturating_sub(1);
        self.stored.rows.store(rows, Relaxed);
        let is_over = rows == 0 && self.stored.on_disk.load(Relaxed);
        if is_over {
            self.stored.on_disk.store(false, Relaxed);
        }
        is_over
    }

    /// Its row is written with this batch; returns whether it was there already.
    pub(crate) fn store(&self) -> bool {
        let was_there = self.stored.on_disk.load(Relaxed);
        self.stored.on_disk.store(true, Relaxed);
        was_there
    }

    /// As it is to be stored.
    pub(crate) fn stored(&self, epoch: Epoch) -> StoredMessage {
        let end = self.payload_at().min(self.content.len());
        let properties = (self.topic_len as usize).min(end)..end;
        StoredMessage {
            topic: self.topic().into(),
            properties: self.content.slice(properties),
            payload: self.share_payload(),
            qos: self.qos,
            retain: self.retain,
            expires: (self.expires != NEVER).then(|| epoch.to_unix(self.expires)),
        }
    }

    /// The same, but that it expires then: what is left of an interval is told in whole seconds,
    /// and what is retained expires to the millisecond.
    pub(crate) fn until(
        message: &Message<'_>,
        change: u64,
        number: u64,
        expires: Instant,
        now: Instant,
    ) -> Arc<Self> {
        let mut kept = Self::new(message, change, number, now);
        if let Some(kept) = Arc::get_mut(&mut kept) {
            kept.expires = expires;
        }
        kept
    }

    /// How many bytes of topic, properties and payload there are.
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    pub(crate) fn topic(&self) -> &str {
        let topic = self.content.get(..self.topic_len as usize);
        // It was a string when it was put there.
        topic
            .and_then(|topic| core::str::from_utf8(topic).ok())
            .unwrap_or_default()
    }

    fn payload_at(&self) -> usize {
        self.topic_len as usize + self.properties_len as usize
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.content.get(self.payload_at()..).unwrap_or_default()
    }

    /// The payload, to be referred to.
    pub(crate) fn share_payload(&self) -> Bytes {
        self.content
            .slice(self.payload_at().min(self.content.len())..)
    }

    /// The properties, without the message expiry interval.
    pub(crate) fn properties(&self) -> &[u8] {
        self.content
            .get(self.topic_len as usize..self.payload_at())
            .unwrap_or_default()
    }

    /// What is left of the message expiry interval, in seconds.
    pub(crate) fn expiry_left(&self, now: Instant) -> Option<u32> {
        expiry_left(self.expires, now)
    }

    /// When it expires.
    pub(crate) fn expires(&self) -> Instant {
        self.expires
    }

    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires <= now
    }

    /// The message as it is to be sent now.
    pub(crate) fn message(&self, now: Instant) -> Message<'_> {
        Message {
            topic: self.topic(),
            payload: self.payload(),
            qos: self.qos,
            retain: self.retain,
            properties: self.properties(),
            expiry: self.expiry_left(now),
            packet: None,
            known: None,
            shared: Some(self),
        }
    }
}

/// What is left of a message expiry interval, in seconds ([MQTT-3.3.2-6]); `None` if it never ends.
/// Rounded up: as long as it has not expired, it does not say so.
pub(crate) fn expiry_left(expires: Instant, now: Instant) -> Option<u32> {
    let left = expires.since(now).as_millis().div_ceil(1000);
    (expires != NEVER).then(|| u32::try_from(left).unwrap_or(u32::MAX))
}
