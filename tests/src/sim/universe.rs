//! The topics, filters and permissions of a world, and what matches what: naively.

use wherry_core::permission::{Access, Effect, Grant, Rule};

pub(crate) use crate::naive::matches;

/// Topics of ordinary messages.
pub(crate) const TOPICS: [&str; 11] = [
    "a/0", "a/1", "b/0", "b/1", "a/deep/0", "a/deep/1", "c", "p/0", "p/1", "$d/0", "a",
];

/// Topics whose messages go to shared subscriptions, and to nobody else: so that a copy says by
/// which group it came.
pub(crate) const SHARED_TOPICS: [&str; 3] = ["s/x/0", "s/x/1", "s/y/0"];

/// Filters that match none of [`SHARED_TOPICS`].
pub(crate) const FILTERS: [&str; 14] = [
    "a/0", "a/+", "a/#", "+/1", "b/#", "b/1", "+/deep/+", "a/deep/0", "c", "c/#", "$d/#", "p/#",
    "p/+", "a",
];

/// Filters that match everything; only where there are no shared subscriptions.
pub(crate) const WIDE_FILTERS: [&str; 3] = ["#", "+/#", "+/+/#"];

/// Groups. A client is a member of one of them at most.
pub(crate) const GROUPS: [&str; 3] = ["$share/g/s/x/+", "$share/h/s/#", "$share/g/s/y/0"];

/// Where hostile clients may publish, and nobody else does.
pub(crate) const HOSTILE_TOPIC: &str = "x/0";

/// Whether hostile clients may publish to a topic.
pub(crate) fn is_hostile(topic: &str) -> bool {
    topic == "x" || topic.starts_with("x/")
}

/// The group and the filter of what stands in a SUBSCRIBE.
pub(crate) fn split(name: &str) -> (Option<&str>, &str) {
    match name.strip_prefix("$share/") {
        Some(rest) => {
            let (_, filter) = rest.split_once('/').expect("a group has a filter");
            (Some(name), filter)
        }
        None => (None, name),
    }
}

/// What a client may do, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right(pub(crate) usize);

struct Denial {
    publish: bool,
    receive: bool,
    filter: &'static str,
}

/// What is denied by each right; the rest is allowed.
const DENIALS: [&[Denial]; 5] = [
    &[],
    &[Denial {
        publish: true,
        receive: false,
        filter: "p/#",
    }],
    &[Denial {
        publish: false,
        receive: true,
        filter: "p/#",
    }],
    &[Denial {
        publish: true,
        receive: true,
        filter: "p/0",
    }],
    &[Denial {
        publish: false,
        receive: true,
        filter: "a/deep/+",
    }],
];

impl Right {
    /// Everything.
    pub(crate) const ALL: Self = Self(0);

    /// What hostile clients may do: little.
    pub(crate) const HOSTILE: Self = Self(DENIALS.len());

    /// How many rights there are, without that of hostile clients.
    pub(crate) const COUNT: usize = DENIALS.len();

    /// Whether messages of a topic may be published.
    pub(crate) fn may_publish(self, topic: &str) -> bool {
        match DENIALS.get(self.0) {
            Some(denials) => !denials
                .iter()
                .any(|denial| denial.publish && matches(denial.filter, topic)),
            None => is_hostile(topic),
        }
    }

    /// Whether messages of a topic may be received.
    pub(crate) fn may_receive(self, topic: &str) -> bool {
        match DENIALS.get(self.0) {
            Some(denials) => !denials
                .iter()
                .any(|denial| denial.receive && matches(denial.filter, topic)),
            None => is_hostile(topic),
        }
    }

    /// Whether some topic of the world that the filter matches may be received.
    pub(crate) fn may_receive_some(self, filter: &str) -> bool {
        let topics = TOPICS.iter().chain(&SHARED_TOPICS);
        topics
            .filter(|topic| matches(filter, topic))
            .any(|topic| self.may_receive(topic))
    }

    /// The same for the broker.
    pub(crate) fn grant(self) -> Grant {
        let rule = |effect, access, filter: &str| Rule {
            effect,
            access,
            filter: filter.into(),
        };
        match DENIALS.get(self.0) {
            Some([]) => Grant::unrestricted(),
            Some(denials) => {
                let rules = denials.iter().map(|denial| {
                    let access = match (denial.publish, denial.receive) {
                        (true, true) => Access::Both,
                        (true, false) => Access::Publish,
                        _ => Access::Receive,
                    };
                    rule(Effect::Deny, access, denial.filter)
                });
                Grant::from_rules(rules.collect(), Effect::Allow)
            }
            None => Grant::from_rules(vec![rule(Effect::Allow, Access::Both, "x/#")], Effect::Deny),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_specification_says() {
        assert!(matches("a/#", "a"));
        assert!(matches("a/#", "a/deep/0"));
        assert!(matches("+/1", "a/1"));
        assert!(!matches("+/1", "a"));
        assert!(!matches("#", "$d/0"));
        assert!(!matches("+/0", "$d/0"));
        assert!(matches("$d/#", "$d/0"));
    }

    #[test]
    fn a_copy_says_by_which_group_it_came() {
        for topic in SHARED_TOPICS {
            assert!(FILTERS.iter().all(|filter| !matches(filter, topic)));
        }
        for topic in TOPICS {
            assert!(GROUPS.iter().all(|name| !matches(split(name).1, topic)));
        }
    }
}
