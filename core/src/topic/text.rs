//! Short strings without an allocation.

use alloc::boxed::Box;
use core::ops::Deref;

/// How many bytes lie within a [`Text`] itself: with length and tag it is as large as a `String`.
const INLINE: usize = 22;

/// A string that never changes. Nearly every topic level is short enough to need no memory of its
/// own, and is compared without following a pointer.
#[derive(Debug)]
pub(super) enum Text {
    Inline(heapless::String<INLINE, u8>),
    Boxed(Box<str>),
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        match heapless::String::try_from(text) {
            Ok(text) => Self::Inline(text),
            Err(_) => Self::Boxed(text.into()),
        }
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            Self::Inline(text) => text,
            Self::Boxed(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_three_words_long() {
        assert_eq!(size_of::<Text>(), 24);
        assert_eq!(size_of::<Option<Text>>(), 24);
    }

    #[test]
    fn short_and_long_texts_read_the_same() {
        for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 65_535] {
            let string = "x".repeat(len);
            let text = Text::from(string.as_str());
            assert_eq!(&*text, string);
            assert_eq!(matches!(text, Text::Inline(_)), len <= INLINE);
        }
    }
}
