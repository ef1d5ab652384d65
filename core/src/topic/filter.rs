//! What a topic filter is, and what a shared one.

use super::{MAX_LEVELS, TopicError, check_size};

/// Checks that `filter` is a topic filter of at most `max_levels` levels (and at most
/// [`MAX_LEVELS`]). A shared one is checked after [`parse_shared`] took it apart.
///
/// ```
/// use wherry_core::topic::{TopicError, check_filter};
/// assert_eq!(check_filter("a/+/#", 8), Ok(()));
/// assert_eq!(check_filter("a+", 8), Err(TopicError::MisplacedWildcard));
/// ```
pub fn check_filter(filter: &str, max_levels: usize) -> Result<(), TopicError> {
    check_size(filter, max_levels)?;
    let mut levels = filter.split('/');
    while let Some(level) = levels.next() {
        let well_formed = match level {
            // 3.1.1 [MQTT-4.7.1-2], 5.0 [MQTT-4.7.1-1]: `#` is the last character.
            "#" => levels.next().is_none(),
            "+" => true,
            // 3.1.1 [MQTT-4.7.1-2] and [MQTT-4.7.1-3], 5.0 [MQTT-4.7.1-1] and [MQTT-4.7.1-2]:
            // a wildcard fills its level.
            _ => !has_wildcard(level),
        };
        if !well_formed {
            return Err(TopicError::MisplacedWildcard);
        }
    }
    Ok(())
}

/// Whether a filter, or one level of it, contains `+` or `#`.
pub(crate) fn has_wildcard(text: &str) -> bool {
    text.bytes().any(|byte| byte == b'+' || byte == b'#')
}

/// A shared subscription's filter `$share/<group>/<filter>`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedFilter<'a> {
    /// The name of the group whose members share the messages.
    pub group: &'a str,
    /// The filter proper.
    pub filter: &'a str,
}

/// Takes a shared subscription's filter apart; `None` if `filter` is not one.
///
/// The inner filter is checked, except for the configured number of levels: that is for
/// [`check_filter`].
///
/// ```
/// use wherry_core::topic::{SharedFilter, parse_shared};
/// assert_eq!(parse_shared("a/b"), Ok(None));
/// let shared = SharedFilter { group: "g", filter: "a/+" };
/// assert_eq!(parse_shared("$share/g/a/+"), Ok(Some(shared)));
/// ```
pub fn parse_shared(filter: &str) -> Result<Option<SharedFilter<'_>>, TopicError> {
    let Some(rest) = filter.strip_prefix("$share") else {
        return Ok(None);
    };
    let Some(rest) = rest.strip_prefix('/') else {
        return if rest.is_empty() {
            Err(TopicError::MalformedShare)
        } else {
            Ok(None)
        };
    };
    // [MQTT-4.8.2-2]: a filter follows the group.
    let (group, filter) = rest.split_once('/').ok_or(TopicError::MalformedShare)?;
    // [MQTT-4.8.2-1]: the group has a name.
    if group.is_empty() || filter.is_empty() {
        return Err(TopicError::MalformedShare);
    }
    // [MQTT-4.8.2-2]
    if has_wildcard(group) {
        return Err(TopicError::WildcardInGroup);
    }
    check_filter(filter, MAX_LEVELS)?;
    Ok(Some(SharedFilter { group, filter }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::MAX_BYTES;

    #[test]
    fn a_multi_level_wildcard_is_the_whole_last_level() {
        // 3.1.1 [MQTT-4.7.1-2], 5.0 [MQTT-4.7.1-1]
        for filter in ["#", "a/#", "/#", "+/#", "sport/tennis/#"] {
            assert_eq!(check_filter(filter, 8), Ok(()), "{filter}");
        }
        for filter in [
            "a#",
            "#/",
            "#/a",
            "a/#/b",
            "##",
            "a/b#",
            "sport/tennis#",
            "#+",
        ] {
            assert_eq!(
                check_filter(filter, 8),
                Err(TopicError::MisplacedWildcard),
                "{filter}"
            );
        }
    }

    #[test]
    fn a_single_level_wildcard_fills_its_level() {
        // 3.1.1 [MQTT-4.7.1-3], 5.0 [MQTT-4.7.1-2]
        for filter in ["+", "+/tennis/#", "sport/+/player1", "/+", "+/+", "+/"] {
            assert_eq!(check_filter(filter, 8), Ok(()), "{filter}");
        }
        for filter in ["sport+", "+a", "a/b+/c", "++", "+#"] {
            assert_eq!(
                check_filter(filter, 8),
                Err(TopicError::MisplacedWildcard),
                "{filter}"
            );
        }
    }

    #[test]
    fn a_filter_is_bounded_in_bytes_and_levels() {
        // [MQTT-4.7.3-1], [MQTT-4.7.3-3]
        assert_eq!(check_filter("", 8), Err(TopicError::Empty));
        assert_eq!(check_filter(&"a".repeat(MAX_BYTES), 8), Ok(()));
        assert_eq!(
            check_filter(&"a".repeat(MAX_BYTES + 1), 8),
            Err(TopicError::TooLong)
        );
        assert_eq!(check_filter("+/+/#", 3), Ok(()));
        assert_eq!(check_filter("+/+/+/#", 3), Err(TopicError::TooManyLevels));
        let deep = ["+"; MAX_LEVELS + 1].join("/");
        assert_eq!(
            check_filter(&deep, usize::MAX),
            Err(TopicError::TooManyLevels)
        );
        assert_eq!(check_filter(&deep[2..], usize::MAX), Ok(()));
    }

    #[test]
    fn only_what_begins_with_share_is_shared() {
        for filter in [
            "a",
            "$shared/g/a",
            "$sharefoo",
            "$SHARE/g/a",
            "/$share/g/a",
            "",
            "$shar",
        ] {
            assert_eq!(parse_shared(filter), Ok(None), "{filter}");
        }
    }

    #[test]
    fn a_shared_filter_has_a_group_and_a_filter() {
        // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
        for filter in [
            "$share",
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//",
            "$share//a",
        ] {
            assert_eq!(
                parse_shared(filter),
                Err(TopicError::MalformedShare),
                "{filter}"
            );
        }
        let shared = |group, filter| Ok(Some(SharedFilter { group, filter }));
        assert_eq!(parse_shared("$share/g//"), shared("g", "/"));
        assert_eq!(parse_shared("$share/g/#"), shared("g", "#"));
    }

    #[test]
    fn the_group_of_a_shared_filter_has_no_wildcards() {
        // [MQTT-4.8.2-2]
        for filter in ["$share/+/a", "$share/#/a", "$share/g+/a", "$share/g#/a"] {
            assert_eq!(
                parse_shared(filter),
                Err(TopicError::WildcardInGroup),
                "{filter}"
            );
        }
    }

    #[test]
    fn the_filter_within_a_shared_filter_is_checked() {
        assert_eq!(
            parse_shared("$share/g/a#"),
            Err(TopicError::MisplacedWildcard)
        );
        assert_eq!(
            parse_shared("$share/g/#/a"),
            Err(TopicError::MisplacedWildcard)
        );
    }
}
