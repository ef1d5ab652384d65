//! What a client may do.
//!
//! A [`Grant`] is compiled once, when a client is admitted, and evaluated in core on one path for
//! live and retained messages and for wills, so that no way of delivery leads past it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::topic;

/// What a client may publish and receive.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// `None` allows everything, at no cost per message.
    rules: Option<Arc<Rules>>,
}

#[derive(Debug)]
struct Rules {
    rules: Vec<Rule>,
    otherwise: Effect,
}

/// Whether a rule allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows.
    Allow,
    /// It denies.
    Deny,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Publishing to a topic.
    Publish,
    /// Subscribing to filters and receiving messages.
    Receive,
    /// Both.
    Both,
}

impl Access {
    fn includes(self, asked: Self) -> bool {
        self == Self::Both || self == asked
    }
}

/// One rule. The first one that concerns an access and matches the topic decides.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it does.
    pub effect: Effect,
    /// What it is about.
    pub access: Access,
    /// The topics it is for.
    pub filter: Box<str>,
}

impl Grant {
    /// Everything is allowed.
    pub const fn unrestricted() -> Self {
        Self { rules: None }
    }

    /// What `rules` say, and `otherwise` where none of them matches.
    pub fn from_rules(rules: Vec<Rule>, otherwise: Effect) -> Self {
        Self {
            rules: Some(Arc::new(Rules { rules, otherwise })),
        }
    }

    /// Whether messages may be published to this topic.
    #[inline]
    pub fn may_publish(&self, topic: &str) -> bool {
        self.rules
            .as_ref()
            .is_none_or(|rules| rules.allow(Access::Publish, topic))
    }

    /// Whether messages of this topic may be received.
    #[inline]
    pub fn may_receive(&self, topic: &str) -> bool {
        self.rules
            .as_ref()
            .is_none_or(|rules| rules.allow(Access::Receive, topic))
    }

    /// Whether it makes sense to subscribe to this filter: false if no topic that it matches could
    /// be received. Every delivery is checked again, so a filter wider than the permission is
    /// granted and brings what is permitted.
    pub fn may_subscribe(&self, filter: &str) -> bool {
        let Some(rules) = &self.rules else {
            return true;
        };
        for rule in rules
            .rules
            .iter()
            .filter(|rule| rule.access.includes(Access::Receive))
        {
            match rule.effect {
                Effect::Allow if topic::overlap(&rule.filter, filter) => return true,
                Effect::Deny if topic::covers(&rule.filter, filter) => return false,
                _ => {}
            }
        }
        rules.otherwise == Effect::Allow
    }
}

impl Rules {
    fn allow(&self, access: Access, topic: &str) -> bool {
        self.rules
            .iter()
            .find(|rule| rule.access.includes(access) && topic::matches(&rule.filter, topic))
            .map_or(self.otherwise, |rule| rule.effect)
            == Effect::Allow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(effect: Effect, access: Access, filter: &str) -> Rule {
        Rule {
            effect,
            access,
            filter: filter.into(),
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let grant = Grant::from_rules(
            [
                rule(Effect::Deny, Access::Receive, "a/secret"),
                rule(Effect::Allow, Access::Both, "a/#"),
                rule(Effect::Allow, Access::Publish, "b"),
            ]
            .into(),
            Effect::Deny,
        );
        assert!(!grant.may_receive("a/secret"));
        assert!(grant.may_publish("a/secret"));
        assert!(grant.may_receive("a/x"));
        assert!(grant.may_publish("b"));
        assert!(!grant.may_receive("b"));
        assert!(!grant.may_publish("c"));
    }

    #[test]
    fn a_filter_is_refused_only_if_nothing_of_it_could_be_received() {
        let grant = Grant::from_rules(
            [
                rule(Effect::Deny, Access::Receive, "a/secret/#"),
                rule(Effect::Allow, Access::Receive, "a/+"),
            ]
            .into(),
            Effect::Deny,
        );
        assert!(!grant.may_subscribe("a/secret/x"));
        assert!(!grant.may_subscribe("b"));
        assert!(grant.may_subscribe("a/b"));
        assert!(grant.may_subscribe("#"));
        assert!(grant.may_subscribe("+/b"));
    }
}
