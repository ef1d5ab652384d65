//! Reading the data types of section 1.5 from a slice, front to back.

use core::str;

use super::{PacketId, ProtocolError};

/// What is left of a packet, or of a block inside one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read yet.
    #[inline]
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Ends the reading of a packet: nothing may be left.
    #[inline]
    pub(super) fn finish(self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ProtocolError::malformed(
                "2.1.4",
                "bytes are left after the last field of the packet",
            ))
        }
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, ProtocolError> {
        let (&value, rest) = self.rest.split_first().ok_or(ProtocolError::malformed(
            "2.1.4",
            "the packet ends before a byte that it must have",
        ))?;
        self.rest = rest;
        Ok(value)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, ProtocolError> {
        let (value, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(ProtocolError::malformed(
                "1.5.2",
                "the packet ends inside a two byte integer",
            ))?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*value))
    }

    pub(super) fn u32(&mut self) -> Result<u32, ProtocolError> {
        let (value, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(ProtocolError::malformed(
                "1.5.3",
                "the packet ends inside a four byte integer",
            ))?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*value))
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, ProtocolError> {
        PacketId::new(self.u16()?).ok_or(ProtocolError::violation(
            "MQTT-2.2.1-3",
            "the packet identifier is zero",
        ))
    }

    #[inline]
    pub(super) fn variable_byte_integer(&mut self) -> Result<u32, ProtocolError> {
        let (value, length) = variable_byte_integer(self.rest)?.ok_or(ProtocolError::malformed(
            "1.5.5",
            "the packet ends inside a variable byte integer",
        ))?;
        self.rest = self.rest.get(length..).unwrap_or_default();
        Ok(value)
    }

    /// Takes a part whose length was given before.
    #[inline]
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], ProtocolError> {
        let length = self.u16()?;
        self.take(usize::from(length))
            .ok_or(ProtocolError::malformed(
                "1.5.6",
                "binary data ends after the packet",
            ))
    }

    /// The bytes of a string, which are not yet known to be UTF-8.
    #[inline]
    pub(super) fn string_bytes(&mut self) -> Result<&'a [u8], ProtocolError> {
        let length = self.u16()?;
        self.take(usize::from(length))
            .ok_or(ProtocolError::malformed(
                "1.5.4",
                "a string ends after the packet",
            ))
    }

    /// A UTF-8 encoded string.
    ///
    /// Control characters and non-characters are accepted: section 1.5.4 leaves that to the
    /// receiver, and a broker that passes strings on has no use for refusing them. U+FEFF is a
    /// character like others and is kept, as [MQTT-1.5.4-3] asks.
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a str, ProtocolError> {
        let string = utf8(self.string_bytes()?)?;
        if string.as_bytes().contains(&0) {
            return Err(NULL_CHARACTER);
        }
        Ok(string)
    }

    /// A topic name, which may be empty: whether that is allowed depends on where it stands.
    /// `Err(None)` says that it contains a wildcard, for which there are several reason codes.
    #[inline]
    pub(super) fn topic_name(&mut self) -> Result<&'a str, Option<ProtocolError>> {
        let name = utf8(self.string_bytes()?)?;
        if !has_null_or_wildcard(name.as_bytes()) {
            Ok(name)
        } else if name.as_bytes().contains(&0) {
            Err(Some(NULL_CHARACTER))
        } else {
            Err(None)
        }
    }

    /// A topic filter. Where its wildcards stand is for the topic module to judge.
    pub(super) fn topic_filter(&mut self) -> Result<&'a str, ProtocolError> {
        let filter = self.string()?;
        if filter.is_empty() {
            return Err(ProtocolError::violation(
                "MQTT-4.7.3-1",
                "a topic filter is empty",
            ));
        }
        Ok(filter)
    }
}

const NULL_CHARACTER: ProtocolError =
    ProtocolError::malformed("MQTT-1.5.4-2", "a string contains a null character");

#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, ProtocolError> {
    // Rust's definition is that of the clause: no surrogates, nothing overlong.
    str::from_utf8(bytes)
        .map_err(|_| ProtocolError::malformed("MQTT-1.5.4-1", "a string is not well-formed UTF-8"))
}

/// Whether there is a null character, a `+` or a `#`. Every topic name that is published passes
/// here, so eight bytes are looked at together.
#[inline]
fn has_null_or_wildcard(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
    // `+` and `#` differ in this bit only.
    const BIT: u8 = b'+' ^ b'#';
    const EITHER: u8 = b'+' | b'#';

    let find = |chunk: &[u8; 8]| {
        let word = u64::from_ne_bytes(*chunk);
        let wildcard = (word | u64::from_ne_bytes([BIT; 8])) ^ u64::from_ne_bytes([EITHER; 8]);
        // Each gets a high bit if, and only if, a byte of its word is zero.
        let null = word.wrapping_sub(ONES) & !word;
        let wildcard = wildcard.wrapping_sub(ONES) & !wildcard;
        (null | wildcard) & HIGH_BITS
    };
    // The last eight bytes overlap those before them, which spares a loop over what is left.
    if let Some(last) = bytes.last_chunk() {
        let (chunks, _) = bytes.as_chunks();
        chunks.iter().fold(find(last), |found, c| found | find(c)) != 0
    } else {
        bytes
            .iter()
            .fold(false, |found, &b| found | (b == 0) | (b | BIT == EITHER))
    }
}

/// Reads a variable byte integer from the start of `bytes`: its value and its length, or nothing
/// if it goes on after their end.
#[inline]
pub(super) fn variable_byte_integer(bytes: &[u8]) -> Result<Option<(u32, usize)>, ProtocolError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(ProtocolError::malformed(
                    "MQTT-1.5.5-1",
                    "a variable byte integer has more bytes than it needs",
                ));
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 {
        return Err(ProtocolError::malformed(
            "1.5.5",
            "a variable byte integer has more than four bytes",
        ));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::has_null_or_wildcard;

    #[test]
    fn a_null_or_a_wildcard_is_found_at_every_place_of_every_length() {
        for length in 0..40 {
            let mut name = std::vec![b'a'; length];
            assert!(!has_null_or_wildcard(&name));
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    name[place] = byte;
                    let expected = matches!(byte, 0 | b'+' | b'#');
                    assert_eq!(
                        has_null_or_wildcard(&name),
                        expected,
                        "{byte:#04x} at {place}"
                    );
                }
                name[place] = b'a';
            }
        }
    }
}
