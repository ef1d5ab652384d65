//! Settings, names, topics and properties as a script chooses them.

use std::num::NonZeroU16;
use std::time::Duration;

use wherry_core::packet::QoS;
use wherry_core::permission::{Access, Effect, Grant, Rule};
use wherry_core::{Config, QueuePolicy, RetainedPolicy, ShareStrategy, Strictness};

use super::super::input::Input;
use super::super::topic::naive;

/// However long a session is to last, it ends then.
pub(super) const LONGEST_SESSION: Duration = Duration::from_secs(100);

/// How many bytes settings take.
pub(super) const CONFIG: usize = 32;

/// Client identifiers. The first is none.
pub(super) const NAMES: [&str; 5] = ["", "a", "b", "c", "an identifier of some length"];

/// Topics, and what is none.
pub(super) const TOPICS: [&str; 9] = [
    "a",
    "a/b",
    "a/c",
    "b",
    "a/secret",
    "a/b/c/d/e/f/g/h/i/j",
    "$other/a",
    "a level that is longer than any other/b",
    "a/+",
];

/// Filters, and what is none.
pub(super) const FILTERS: [&str; 12] = [
    "a",
    "a/b",
    "#",
    "a/#",
    "+/b",
    "+",
    "$share/g/a/b",
    "$share/g/a/#",
    "$share/h/+/b",
    "$other/#",
    "$SYS/#",
    "a/#/b",
];

fn window(input: &mut Input<'_>) -> NonZeroU16 {
    let number = input.one_of(&[1, 2, 3, 10, 1000]);
    NonZeroU16::new(number).expect("none of them is zero")
}

/// Settings: small enough that scripts get to every limit, or the usual ones.
pub(super) fn config(input: &mut Input<'_>) -> Config {
    let mut config = Config {
        max_session_expiry: Some(LONGEST_SESSION),
        sys_interval: None,
        ..Config::default()
    };
    let ways = input.byte();
    if ways & 1 != 0 {
        config.outbox_limit = input.one_of(&[100, 300, 2000]);
        config.outbox_total_limit = input.one_of(&[200, 1000, 4000]);
        config.max_events = input.one_of(&[1, 3, 50]);
    }
    if ways & 2 != 0 {
        config.max_queued_messages = input.one_of(&[1, 3, 10]);
        config.max_queued_bytes = input.one_of(&[50, 300, 2000]);
        config.max_queued_bytes_total = input.one_of(&[50, 300, 3000]);
        config.queue_policy = input.one_of(&[
            QueuePolicy::Reject,
            QueuePolicy::DropNewest,
            QueuePolicy::DropOldest,
        ]);
        config.queue_qos0 = input.flag();
        config.send_window = window(input);
    }
    if ways & 4 != 0 {
        config.max_retained = input.one_of(&[0, 1, 3]);
        config.max_retained_bytes = input.one_of(&[0, 100, 1000]);
        config.retained_policy =
            input.one_of(&[RetainedPolicy::Reject, RetainedPolicy::DropOldest]);
    }
    if ways & 8 != 0 {
        config.max_connections = input.one_of(&[1, 3, 6]);
        config.max_sessions = input.one_of(&[1, 2, 4]);
        config.max_subscriptions = input.one_of(&[1, 3]);
        config.max_subscription_bytes = input.one_of(&[5, 40]);
        config.max_packet_size = input.one_of(&[60, 300]);
        config.max_connect_size = input.one_of(&[64, 200]);
        config.max_topic_levels = input.one_of(&[1, 4]);
        config.max_client_id_len = 23;
    }
    if ways & 16 != 0 {
        config.receive_window = window(input);
        config.receive_maximum = input.one_of(&[Strictness::Strict, Strictness::Warn]);
        config.max_topic_aliases = input.one_of(&[0, 1, 3]);
        config.max_topic_aliases_to_client = input.one_of(&[0, 1, 3]);
        config.max_auth_rounds = input.one_of(&[0, 1, 2]);
        config.response_information = Some("answers/".into());
        config.server_reference = Some("other.example:1883".into());
    }
    if ways & 32 != 0 {
        config.share_strategy = input.one_of(&[
            ShareStrategy::Random,
            ShareStrategy::Sticky,
            ShareStrategy::LeastInFlight,
        ]);
        config.max_qos = input.one_of(&[QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::AtMostOnce]);
        config.retain_available = input.flag();
        config.wildcard_subscriptions_available = input.flag();
        config.subscription_identifiers_available = input.flag();
        config.shared_subscriptions_available = input.flag();
    }
    if ways & 64 != 0 {
        config.retransmit_interval = Some(Duration::from_secs(1));
        config.retransmit_limit = 2;
        config.max_keep_alive = NonZeroU16::new(20);
        config.authenticate_timeout = Duration::from_secs(2);
        config.write_timeout = Duration::from_secs(3);
    }
    if ways & 128 != 0 {
        config.sys_interval = Some(Duration::from_secs(5));
    }
    config
}

/// A grant, and its rules as the model reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    /// Everything.
    All,
    /// Everything but receiving what is secret.
    NoSecrets,
    /// What lies beneath `a`.
    OnlyA,
}

impl Granted {
    pub(super) const ALL: [Self; 3] = [Self::All, Self::NoSecrets, Self::OnlyA];

    pub(super) fn grant(self) -> Grant {
        let rule = |effect, access, filter: &str| Rule {
            effect,
            access,
            filter: filter.into(),
        };
        match self {
            Self::All => Grant::unrestricted(),
            Self::NoSecrets => Grant::from_rules(
                vec![rule(Effect::Deny, Access::Receive, "a/secret")],
                Effect::Allow,
            ),
            Self::OnlyA => {
                Grant::from_rules(vec![rule(Effect::Allow, Access::Both, "a/#")], Effect::Deny)
            }
        }
    }

    pub(super) fn may_receive(self, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::NoSecrets => topic != "a/secret",
            Self::OnlyA => naive("a/#", topic),
        }
    }

    pub(super) fn may_publish(self, topic: &str) -> bool {
        match self {
            Self::All | Self::NoSecrets => true,
            Self::OnlyA => naive("a/#", topic),
        }
    }
}
