//! Writing the data types of section 1.5.
//!
//! Every packet is described once, to a [`Sink`]: one that counts bytes, then one that keeps them.
//! So a length can never disagree with what follows it, and what cannot be encoded is known
//! before the first byte is written.

use alloc::vec::Vec;

use super::EncodeError;

/// The largest variable byte integer (section 1.5.5).
pub(super) const MAX_VARIABLE_BYTE_INTEGER: u32 = 268_435_455;

/// Takes the bytes of a packet.
pub(crate) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    #[inline]
    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    #[inline]
    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn variable_byte_integer(&mut self, value: u32) -> Result<(), EncodeError> {
        if value > MAX_VARIABLE_BYTE_INTEGER {
            return Err(EncodeError::OutOfRange);
        }
        let mut rest = value;
        while rest > 0x7f {
            self.u8(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.u8(rest.to_le_bytes()[0]);
        Ok(())
    }

    #[inline]
    fn length(&mut self, length: usize) -> Result<(), EncodeError> {
        self.variable_byte_integer(u32::try_from(length).map_err(|_| EncodeError::OutOfRange)?)
    }

    #[inline]
    fn binary(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.u16(u16::try_from(bytes.len()).map_err(|_| EncodeError::FieldTooLong)?);
        self.bytes(bytes);
        Ok(())
    }

    #[inline]
    fn string(&mut self, string: &str) -> Result<(), EncodeError> {
        self.binary(string.as_bytes())
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts what it is given.
#[derive(Default)]
pub(super) struct Counter {
    pub(super) count: usize,
}

impl Sink for Counter {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.count += bytes.len();
    }
}
