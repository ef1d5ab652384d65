//! Single filters compared with topics and with each other, level by level.

/// Whether the topic filter `filter` matches the topic name `topic`.
///
/// Filters without end are compared this way where no collection holds them, such as in
/// permissions; it allocates nothing and takes time in proportion to both lengths.
///
/// ```
/// use wherry_core::topic::matches;
/// assert!(matches("a/+/#", "a/b"));
/// assert!(!matches("#", "$SYS/uptime"));
/// ```
pub fn matches(filter: &str, topic: &str) -> bool {
    if is_reserved(topic) && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            // It includes the parent level (4.7.1.2), so it does not matter whether one is left.
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether every topic that the filter `inner` can match is also matched by the filter `outer`.
///
/// ```
/// use wherry_core::topic::covers;
/// assert!(covers("a/#", "a/+/c"));
/// assert!(!covers("a/+", "a/#"));
/// ```
pub fn covers(outer: &str, inner: &str) -> bool {
    if is_reserved(inner) && outer.starts_with(['+', '#']) {
        return false;
    }
    // A final `#` also stands for no level at all, and only `#` covers that.
    let mut levels = without_empty(inner).split('/');
    for wanted in outer.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            None | Some("#") => return false,
            Some(level) if wanted == "+" || wanted == level => {}
            Some(_) => return false,
        }
    }
    levels.next().is_none()
}

/// Whether some topic is matched by both filters.
///
/// ```
/// use wherry_core::topic::overlap;
/// assert!(overlap("a/+", "+/b"));
/// assert!(!overlap("a/+", "b/#"));
/// ```
pub fn overlap(one: &str, other: &str) -> bool {
    if (is_reserved(one) && other.starts_with(['+', '#']))
        || (is_reserved(other) && one.starts_with(['+', '#']))
    {
        return false; // [MQTT-4.7.2-1]
    }
    let (mut one, mut other) = (
        without_empty(one).split('/'),
        without_empty(other).split('/'),
    );
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

/// The same filter, written so that it does not seem to match the empty topic, which there is not
/// ([MQTT-4.7.3-1]): where nothing else is left, `#` stands for one level at least.
fn without_empty(filter: &str) -> &str {
    match filter {
        "#" => "+/#",
        "/#" => "/+/#",
        _ => filter,
    }
}

/// Topics that begin with `$` are for the server's own use: a filter that begins with a wildcard
/// does not match them ([MQTT-4.7.2-1]).
#[inline]
pub(super) fn is_reserved(topic: &str) -> bool {
    topic.as_bytes().first() == Some(&b'$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_without_wildcards_matches_its_own_topic_only() {
        // [MQTT-4.7.3-4]: no normalisation, no case folding
        assert!(matches("a/b", "a/b"));
        for topic in ["a", "a/b/", "/a/b", "A/b", "a//b", "a/b/c", "ab"] {
            assert!(!matches("a/b", topic), "{topic}");
        }
    }

    #[test]
    fn a_multi_level_wildcard_matches_the_parent_and_all_below() {
        // 4.7.1.2
        for topic in ["sport/tennis", "sport/tennis/", "sport/tennis/a/b"] {
            assert!(matches("sport/tennis/#", topic), "{topic}");
        }
        for topic in ["sport", "sport/tenni", "sport/tennist", "sport/"] {
            assert!(!matches("sport/tennis/#", topic), "{topic}");
        }
        assert!(matches("#", "a") && matches("#", "/") && matches("#", "a/b/c"));
    }

    #[test]
    fn a_single_level_wildcard_matches_exactly_one_level() {
        // 4.7.1.3
        assert!(matches("sport/+", "sport/"));
        assert!(!matches("sport/+", "sport"));
        assert!(!matches("sport/+", "sport/a/b"));
        assert!(matches("+/+", "/finance") && matches("/+", "/finance"));
        assert!(!matches("+", "/finance"));
    }

    #[test]
    fn a_leading_wildcard_does_not_match_reserved_topics() {
        // [MQTT-4.7.2-1]
        for filter in ["#", "+", "+/#", "+/a"] {
            assert!(
                !matches(filter, "$SYS/a") && !matches(filter, "$SYS"),
                "{filter}"
            );
        }
        assert!(matches("$SYS/#", "$SYS/a") && matches("$SYS/+", "$SYS/a"));
        assert!(matches("$SYS/#", "$SYS"));
        assert!(matches("+/$SYS", "a/$SYS") && matches("a/#", "a/$SYS"));
    }

    #[test]
    fn covering_follows_the_wildcards() {
        for (outer, inner) in [
            ("#", "+/#"),
            ("+/#", "#"),
            ("a/#", "a"),
            ("a/#", "a/#"),
            ("+/b", "a/b"),
            ("+", "+"),
        ] {
            assert!(covers(outer, inner), "{outer} {inner}");
        }
        for (outer, inner) in [
            ("+", "#"),
            ("a", "+"),
            ("a/+/#", "a/#"),
            ("+/+/#", "#"),
            ("a/b", "a"),
            ("a", "a/#"),
        ] {
            assert!(!covers(outer, inner), "{outer} {inner}");
        }
    }

    #[test]
    fn filters_overlap_if_a_topic_matches_both() {
        for (one, other) in [
            ("a/+", "+/b"),
            ("a/#", "a"),
            ("#", "+/b/c"),
            ("a/b/#", "a/+"),
            ("+/+", "a/#"),
        ] {
            assert!(overlap(one, other) && overlap(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("a/+", "b/+"),
            ("a", "a/b"),
            ("#", "$SYS/a"),
            ("+/a/#", "b/c/a"),
            // [MQTT-4.7.3-1]: only the empty topic would match both.
            ("/#", "+"),
        ] {
            assert!(
                !overlap(one, other) && !overlap(other, one),
                "{one} {other}"
            );
        }
        assert!(overlap("$SYS/#", "$SYS/+"));
        assert!(overlap("/#", "+/+") && overlap("/#", "#") && overlap("#", "#"));
    }

    #[test]
    fn a_leading_wildcard_does_not_cover_reserved_filters() {
        // [MQTT-4.7.2-1]
        assert!(!covers("#", "$SYS/#") && !covers("+/a", "$SYS/a") && !covers("#", "$x"));
        assert!(covers("$SYS/#", "$SYS/+") && !covers("$SYS/#", "#"));
    }
}
