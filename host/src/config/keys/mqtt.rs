//! `[mqtt]`: what is offered to clients, and how they are served.

use super::super::value::{Kind, Switch, Unit};
use super::{DAY, Field, Key, SECOND, number};

const fn count(name: &'static str, range: (u64, u64), field: Field, about: &'static str) -> Key {
    number("mqtt", name, Unit::Count, range, field, about)
}

const fn switch(name: &'static str, field: Switch, about: &'static str) -> Key {
    Key {
        table: "mqtt",
        name,
        about,
        kind: Kind::Switch(field),
    }
}

pub(super) static KEYS: &[Key] = &[
    count(
        "max_qos",
        (0, 2),
        |settings| &mut settings.broker.max_qos,
        "The highest QoS that clients may publish and subscribe with.",
    ),
    switch(
        "retain_available",
        |settings| &mut settings.broker.retain_available,
        "Whether messages may be retained.",
    ),
    switch(
        "wildcard_subscriptions_available",
        |settings| &mut settings.broker.wildcard_subscriptions_available,
        "Whether topic filters may have wildcards.",
    ),
    switch(
        "subscription_identifiers_available",
        |settings| &mut settings.broker.subscription_identifiers_available,
        "Whether subscriptions may have identifiers.",
    ),
    switch(
        "shared_subscriptions_available",
        |settings| &mut settings.broker.shared_subscriptions_available,
        "Whether clients may share a subscription: $share/GROUP/FILTER.",
    ),
    Key {
        table: "mqtt",
        name: "share_strategy",
        about: "Which member of a shared subscription gets a message: each in turn, any, always \
                the same one as long as it takes messages, or the one with the fewest messages \
                waiting.",
        kind: Kind::Word(|settings| &mut settings.broker.share_strategy),
    },
    count(
        "receive_window",
        (1, 65_535),
        |settings| &mut settings.broker.receive_window,
        "How many messages of QoS 1 and 2 a client may have in flight to the broker. Those of \
         MQTT 5 are told: it is their Receive Maximum.",
    ),
    Key {
        table: "mqtt",
        name: "receive_maximum",
        about: "What happens to a client with more in flight. \"strict\": it is disconnected. \
                \"warn\": it is let pass, counted and logged.",
        kind: Kind::Word(|settings| &mut settings.broker.receive_maximum),
    },
    count(
        "send_window",
        (1, 65_535),
        |settings| &mut settings.broker.send_window,
        "How many messages of QoS 1 and 2 may be in flight to a client; fewer if the client says \
         so.",
    ),
    number(
        "mqtt",
        "retransmit_interval",
        Unit::Time,
        (SECOND, DAY),
        |settings| &mut settings.broker.retransmit_interval,
        "How long a client of MQTT 3.1 or 3.1.1 may leave a message unacknowledged before it gets \
         it once more on the same connection. MQTT 5 forbids that.",
    ),
    count(
        "retransmit_limit",
        (1, 1000),
        |settings| &mut settings.broker.retransmit_limit,
        "How often a client gets one message once more before its connection is closed.",
    ),
    count(
        "max_topic_aliases",
        (0, 65_535),
        |settings| &mut settings.broker.max_topic_aliases,
        "How many topic aliases a client may use.",
    ),
    count(
        "max_topic_aliases_to_client",
        (0, 65_535),
        |settings| &mut settings.broker.max_topic_aliases_to_client,
        "How many topic aliases the broker uses towards a client; fewer if the client says so.",
    ),
    Key {
        table: "mqtt",
        name: "response_information",
        about: "What clients that ask for Response Information get: the beginning of the topics \
                on which they want answers.",
        kind: Kind::Text(|settings| &mut settings.broker.response_information),
    },
    Key {
        table: "mqtt",
        name: "server_reference",
        about: "Where clients are sent when the broker stops or has too many: the Server Reference \
                of MQTT 5, such as \"other.example:1883\".",
        kind: Kind::Text(|settings| &mut settings.broker.server_reference),
    },
];
