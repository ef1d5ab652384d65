//! What the configuration bounds, looked at after every event.

use wherry_core::{Broker, Config};

use super::link::Link;

/// More than the largest packet that a script can make or the broker makes of it.
const LARGEST: usize = 4500;

/// How many retained messages a local client has waiting at most.
const ENOUGH_WAITING: usize = 64;

/// The bounds of all configurations so far: what was accepted under one is kept under the next.
#[derive(Debug, Default)]
pub(super) struct Limits {
    connections: usize,
    sessions: usize,
    subscriptions: usize,
    queued_messages: usize,
    queued_bytes: usize,
    retained: usize,
    retained_bytes: usize,
    outbox: usize,
    outboxes: usize,
    window: usize,
    packet: usize,
    pub(super) events: usize,
    /// The most bytes that a client has sent at once.
    piece: usize,
}

impl Limits {
    /// This configuration counts from now on.
    pub(super) fn include(&mut self, config: &Config) {
        let raise = |limit: &mut usize, value| *limit = (*limit).max(value);
        raise(&mut self.connections, config.max_connections);
        raise(&mut self.sessions, config.max_sessions);
        raise(&mut self.subscriptions, config.max_subscriptions);
        raise(&mut self.queued_messages, config.max_queued_messages);
        raise(&mut self.queued_bytes, config.max_queued_bytes_total);
        raise(&mut self.retained, config.max_retained);
        raise(&mut self.retained_bytes, config.max_retained_bytes);
        raise(&mut self.outbox, config.outbox_limit);
        raise(&mut self.outboxes, config.outbox_total_limit);
        raise(&mut self.window, usize::from(config.send_window.get()));
        raise(&mut self.packet, config.max_packet_size as usize);
        raise(&mut self.events, config.max_events);
    }

    /// A client has sent so many bytes at once.
    pub(super) fn sent(&mut self, len: usize) {
        self.piece = self.piece.max(len);
    }

    pub(super) fn assert_kept(&self, broker: &Broker, links: &[Link], locals: usize) {
        let within = |what: &str, value: usize, limit: usize| {
            assert!(value <= limit, "{value} {what}, at most {limit}");
        };
        let (connections, sessions) = (broker.connections(), broker.sessions());
        within("connections", connections, self.connections);
        within("sessions", sessions, self.sessions);
        let here = sessions - broker.absent_sessions();
        within("sessions with a client", here, connections + locals);
        within(
            "subscriptions",
            broker.subscriptions(),
            sessions * self.subscriptions,
        );
        within(
            "retained messages",
            broker.retained_messages(),
            self.retained,
        );
        within(
            "retained bytes",
            broker.retained_bytes(),
            self.retained_bytes,
        );
        // Retained messages follow a subscription as far as the window holds them, or, to a local
        // client, as far as it has few waiting.
        let waiting = if locals > 0 { ENOUGH_WAITING } else { 0 };
        let each = self.queued_messages + self.window + waiting;
        within("queued messages", broker.queued_messages(), sessions * each);
        // A session that is owed nothing gets one message in any case.
        let most = self.queued_bytes + sessions * LARGEST;
        within("queued bytes", broker.queued_bytes(), most);
        let mut waiting = 0;
        for link in links {
            let len = broker.outbox_len(link.id);
            // What is beyond the limit was begun below it: one message, one answer, the last words.
            within("bytes in an outbox", len, self.outbox + 3 * LARGEST);
            let mut slices = 0;
            for slice in broker.outbox(link.id) {
                assert!(!slice.is_empty());
                slices += slice.len();
            }
            assert_eq!(slices, len);
            waiting += len;
        }
        assert_eq!(waiting, broker.waiting_bytes(), "every byte is someone's");
        let most = self.outboxes + connections * 3 * LARGEST;
        within("bytes in all outboxes", waiting, most);
        // A packet that is not complete, and what came until reading stopped.
        let most = connections * (self.packet + 16 * self.piece);
        within("bytes of input", broker.unparsed_bytes(), most);
    }
}
