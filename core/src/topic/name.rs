//! What a topic name is.

use super::{TopicError, check_size};

/// Checks that `topic` is a topic name of at most `max_levels` levels (and at most
/// [`MAX_LEVELS`](super::MAX_LEVELS)).
///
/// ```
/// use wherry_core::topic::{TopicError, check_name};
/// assert_eq!(check_name("a/b", 8), Ok(()));
/// assert_eq!(check_name("a/+", 8), Err(TopicError::WildcardInName));
/// ```
pub fn check_name(topic: &str, max_levels: usize) -> Result<(), TopicError> {
    check_size(topic, max_levels)?;
    // A fold without an early end compiles to vector instructions; a name with wildcards is rare.
    let wild = topic
        .bytes()
        .fold(false, |wild, byte| wild | (byte == b'+') | (byte == b'#'));
    if wild {
        Err(TopicError::WildcardInName)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{MAX_BYTES, MAX_LEVELS};

    #[test]
    fn a_name_has_at_least_one_character() {
        // [MQTT-4.7.3-1]
        assert_eq!(check_name("", 8), Err(TopicError::Empty));
        for name in ["/", "//", "a", "a b", "$SYS/x", "é/ü", "a/"] {
            assert_eq!(check_name(name, 8), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_name_has_no_wildcards() {
        // [MQTT-4.7.1-1] in 3.1.1, [MQTT-4.7.0-1] in 5.0
        for name in ["+", "#", "a/+", "a/#", "a+", "#a", "+/a"] {
            assert_eq!(
                check_name(name, 8),
                Err(TopicError::WildcardInName),
                "{name}"
            );
        }
    }

    #[test]
    fn a_name_has_at_most_65_535_bytes() {
        // [MQTT-4.7.3-3]
        assert_eq!(check_name(&"a".repeat(MAX_BYTES), 8), Ok(()));
        assert_eq!(
            check_name(&"a".repeat(MAX_BYTES + 1), 8),
            Err(TopicError::TooLong)
        );
    }

    #[test]
    fn a_name_has_at_most_as_many_levels_as_allowed() {
        assert_eq!(check_name("a/b/c", 3), Ok(()));
        assert_eq!(check_name("a/b/c/", 3), Err(TopicError::TooManyLevels));
        assert_eq!(
            check_name(&"/".repeat(65_000), usize::MAX),
            Err(TopicError::TooManyLevels)
        );
        assert_eq!(check_name(&"/".repeat(MAX_LEVELS - 1), usize::MAX), Ok(()));
    }
}
