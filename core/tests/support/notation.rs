//! Packets as people write them, and what is expected of them.

use wherry_core::packet::*;

/// Bytes from a readable notation: hexadecimal numbers, texts in single quotes, and perhaps one
/// `|` after the first byte, which stands for the length of what follows.
pub(crate) fn bytes(notation: &str) -> Vec<u8> {
    if let Some((first_byte, body)) = notation.split_once('|') {
        let body = bytes(body);
        let mut packet = bytes(first_byte);
        let mut length = body.len();
        while length > 0x7f {
            packet.push(u8::try_from(length % 0x80).unwrap_or_default() | 0x80);
            length /= 0x80;
        }
        packet.push(u8::try_from(length).unwrap_or_default());
        return [packet, body].concat();
    }
    let mut all = Vec::new();
    for (index, part) in notation.split('\'').enumerate() {
        if index % 2 == 1 {
            all.extend(part.as_bytes());
        } else {
            let number = |hex| u8::from_str_radix(hex, 16).expect("a hexadecimal byte");
            all.extend(part.split_whitespace().map(number));
        }
    }
    all
}

/// Whether a complete packet is there.
pub(crate) fn decode(
    wire: &[u8],
    version: ProtocolVersion,
    sender: Sender,
) -> Result<bool, ProtocolError> {
    Packet::decode_one(wire, version, sender).map(|found| found.is_some())
}

/// The packet is refused with this answer, naming this clause.
#[track_caller]
pub(crate) fn refused(
    what: &str,
    from: (ProtocolVersion, Sender),
    wire: &[u8],
    why: (ReasonCode, &str),
) {
    let error = decode(wire, from.0, from.1).expect_err(what);
    assert_eq!((error.reason, error.clause), why, "{what}: {error}");
}

/// The packet is complete and right.
#[track_caller]
pub(crate) fn accepted(what: &str, from: (ProtocolVersion, Sender), wire: &[u8]) {
    assert_eq!(decode(wire, from.0, from.1), Ok(true), "twin of: {what}");
}
