//! What the broker counts. Counters are plain fields, read when somebody wants to know.

use super::event::Cause;
use crate::packet::ReasonCode;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts since the start. Each only grows, but for those that say 'now'.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// All counters by name, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }

            /// Adds what another shard has counted.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Connections opened.
    connections_opened,
    /// Connections refused because there were too many.
    connections_over_limit,
    /// Connections that went to the shard that owns their client.
    moved_away,
    /// Connections that came from the shard at which they were opened.
    moved_in,
    /// CONNECT packets received.
    connect_received,
    /// Clients admitted.
    clients_admitted,
    /// Clients that were admitted and whose connection has ended.
    clients_left,
    /// The most clients that were connected at once.
    clients_most,
    /// Clients refused at or before CONNACK, for whatever reason.
    clients_refused,
    /// Bytes received.
    bytes_received,
    /// Bytes that sockets took.
    bytes_sent,
    /// Complete packets received.
    packets_received,
    /// Packets put into outboxes.
    packets_sent,
    /// PUBLISH packets received.
    publish_received,
    /// PUBLISH packets of QoS 2 that had come before, and were not passed on again.
    publish_repeated,
    /// Bytes of their payloads.
    publish_bytes_received,
    /// PUBLISH packets put into outboxes.
    publish_sent,
    /// Bytes of their payloads.
    publish_bytes_sent,
    /// Messages received that nobody had subscribed to.
    publish_without_subscriber,
    /// Messages refused because their publisher may not publish to the topic.
    publish_refused_not_authorized,
    /// Messages refused because their topic is invalid or reserved.
    publish_refused_topic_invalid,
    /// Messages refused because their packet identifier is in use.
    publish_refused_packet_id_in_use,
    /// Messages refused for other reasons.
    publish_refused_other,
    /// Messages not taken because the store fails.
    publish_refused_store_failing,
    /// Batches that the store has committed.
    batches_committed,
    /// How often the store began to fail.
    store_failures,
    /// Rows of deliveries written to the store.
    deliveries_written,
    /// Deliveries dropped because the receiver's outbox was full.
    dropped_outbox_full,
    /// Deliveries dropped because all outboxes together were full.
    dropped_outbox_total_full,
    /// Messages of QoS 0 not sent to another shard because too much was on its way there.
    dropped_link_full,
    /// Deliveries dropped because the client does not take packets that large.
    dropped_too_large,
    /// Deliveries dropped because the receiver may not see the topic.
    dropped_not_permitted,
    /// Messages dropped because they had expired.
    dropped_expired,
    /// Deliveries of QoS 0 dropped because the receiver was absent.
    dropped_absent,
    /// Messages that no member of a matching shared subscription could have.
    dropped_no_member,
    /// Deliveries dropped or refused because the receiver's queue, or all together, were full.
    dropped_queue_full,
    /// Messages that waited for a session or were in flight to it when it ended.
    dropped_session_ended,
    /// Messages put into queues.
    queued,
    /// Messages and releases sent again on a new connection.
    redeliveries,
    /// Messages and releases sent again on the same connection.
    retransmissions,
    /// Messages that receivers refused by an error in PUBACK or PUBREC.
    refused_by_receiver,
    /// Acknowledgements of packet identifiers that are not in use.
    unknown_packet_ids,
    /// Messages let pass although the client had more in flight than its Receive Maximum.
    receive_maximum_exceeded,
    /// Sessions that went on over a new connection.
    sessions_resumed,
    /// Sessions that ended because their client wanted a clean start.
    sessions_discarded,
    /// Sessions whose expiry interval was over.
    sessions_expired,
    /// Sessions refused because there were too many.
    sessions_over_limit,
    /// Retained messages not kept because a limit was reached.
    retained_over_limit,
    /// Retained messages dropped to make room for newer ones.
    retained_dropped,
    /// Retained messages forgotten, or not kept to begin with, because they had expired.
    retained_expired,
    /// Filters refused because the client may not subscribe to them.
    subscriptions_refused_not_authorized,
    /// Filters refused because they are none.
    subscriptions_refused_filter_invalid,
    /// Filters refused because the client, or all together, have too many.
    subscriptions_refused_quota_exceeded,
    /// Filters refused because what they ask for is not offered.
    subscriptions_refused_not_supported,
    /// Filters refused for other reasons.
    subscriptions_refused_other,
    /// Wills published.
    wills_published,
    /// Wills that were due but not permitted.
    wills_refused,
    /// Events dropped because nobody fetched them.
    events_dropped,
    /// Calls with the handle of a connection that is gone.
    stale_handles,
    /// Ends by the client's DISCONNECT.
    ended_client_disconnect,
    /// Ends of the stream without a DISCONNECT.
    ended_end_of_stream,
    /// Ends by a failing socket.
    ended_socket_error,
    /// Ends because the peer sent a malformed packet or broke the protocol.
    ended_protocol_error,
    /// Ends because of a packet above the limit, the client's or ours.
    ended_packet_too_large,
    /// Ends because of a bad topic name.
    ended_topic_invalid,
    /// Ends because CONNECT did not come in time.
    ended_connect_timeout,
    /// Ends because a challenge was not answered in time.
    ended_challenge_timeout,
    /// Ends by the keep-alive.
    ended_keep_alive_timeout,
    /// Ends because the peer took none of the bytes that waited for it.
    ended_write_timeout,
    /// Ends because messages stayed unacknowledged however often they were sent again.
    ended_unacknowledged,
    /// Ends by takeover.
    ended_taken_over,
    /// Ends because credentials were refused.
    ended_refused,
    /// Ends because of something that is not offered.
    ended_not_supported,
    /// Ends by the broker's stop.
    ended_shutdown,
    /// Ends by an administrator.
    ended_kicked,
}

impl Counters {
    /// How many clients are connected now.
    pub fn clients_connected(&self) -> u64 {
        self.clients_admitted.saturating_sub(self.clients_left)
    }

    /// How many deliveries were dropped because there was no room for them.
    pub fn dropped_for_want_of_room(&self) -> u64 {
        self.dropped_outbox_full
            + self.dropped_outbox_total_full
            + self.dropped_link_full
            + self.dropped_absent
            + self.dropped_queue_full
    }

    /// Counts a message that is refused.
    pub(crate) fn refused_publish(&mut self, reason: ReasonCode) {
        let counter = match reason {
            ReasonCode::NotAuthorized => &mut self.publish_refused_not_authorized,
            ReasonCode::TopicNameInvalid => &mut self.publish_refused_topic_invalid,
            ReasonCode::PacketIdentifierInUse => &mut self.publish_refused_packet_id_in_use,
            _ => &mut self.publish_refused_other,
        };
        *counter += 1;
    }

    /// Counts a filter that is refused.
    pub(crate) fn refused_subscription(&mut self, reason: ReasonCode) {
        let counter = match reason {
            ReasonCode::NotAuthorized => &mut self.subscriptions_refused_not_authorized,
            ReasonCode::TopicFilterInvalid => &mut self.subscriptions_refused_filter_invalid,
            ReasonCode::QuotaExceeded => &mut self.subscriptions_refused_quota_exceeded,
            ReasonCode::SharedSubscriptionsNotSupported
            | ReasonCode::SubscriptionIdentifiersNotSupported
            | ReasonCode::WildcardSubscriptionsNotSupported => {
                &mut self.subscriptions_refused_not_supported
            }
            _ => &mut self.subscriptions_refused_other,
        };
        *counter += 1;
    }

    /// Counts a client that is let in.
    pub(crate) fn admitted(&mut self) {
        self.clients_admitted += 1;
        self.clients_most = self.clients_most.max(self.clients_connected());
    }

    /// Counts the end of a connection.
    pub(crate) fn ended(&mut self, cause: &Cause) {
        let counter = match cause {
            Cause::ClientDisconnect(_) => &mut self.ended_client_disconnect,
            Cause::EndOfStream => &mut self.ended_end_of_stream,
            Cause::SocketError => &mut self.ended_socket_error,
            Cause::Protocol(_) => &mut self.ended_protocol_error,
            Cause::PacketTooLarge { .. } | Cause::AnswerTooLarge => {
                &mut self.ended_packet_too_large
            }
            Cause::Topic(_) => &mut self.ended_topic_invalid,
            Cause::ConnectTimeout => &mut self.ended_connect_timeout,
            Cause::ChallengeTimeout => &mut self.ended_challenge_timeout,
            Cause::KeepAliveTimeout => &mut self.ended_keep_alive_timeout,
            Cause::WriteTimeout => &mut self.ended_write_timeout,
            Cause::Unacknowledged => &mut self.ended_unacknowledged,
            Cause::TakenOver => &mut self.ended_taken_over,
            Cause::Refused(_) => &mut self.ended_refused,
            Cause::NotSupported(_) => &mut self.ended_not_supported,
            Cause::Shutdown => &mut self.ended_shutdown,
            Cause::Kicked => &mut self.ended_kicked,
        };
        *counter += 1;
    }
}
