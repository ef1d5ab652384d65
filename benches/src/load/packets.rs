//! The few packets of MQTT 3.1.1 and 5 that load consists of.

use std::io;

pub(super) const CONNACK: u8 = 0x20;
pub(super) const PUBACK: u8 = 0x40;
pub(super) const PUBREC: u8 = 0x50;
pub(super) const PUBREL: u8 = 0x62;
pub(super) const PUBCOMP: u8 = 0x70;
pub(super) const SUBACK: u8 = 0x90;
pub(super) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// The versions, as CONNECT has them.
pub(super) const V5: u8 = 5;

/// Longer than anything takes. Not all brokers let a client in that has none.
const KEEP_ALIVE: [u8; 2] = 600_u16.to_be_bytes();

/// A packet without anything that is optional.
pub(super) fn connect(version: u8, client_id: &str, is_clean: bool) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    body.extend_from_slice(&[version, u8::from(is_clean) << 1]);
    body.extend_from_slice(&KEEP_ALIVE);
    match (version, is_clean) {
        (V5, true) => body.push(0),
        // A Session Expiry Interval that never ends.
        (V5, false) => body.extend_from_slice(&[5, 0x11, 0xFF, 0xFF, 0xFF, 0xFF]),
        _ => {}
    }
    string(&mut body, client_id);
    packet(0x10, &body)
}

pub(super) fn subscribe(version: u8, filters: &[String], qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    if version == V5 {
        body.push(0);
    }
    for filter in filters {
        string(&mut body, filter);
        body.push(qos);
    }
    packet(0x82, &body)
}

/// Whether a broker lets a client in with this CONNACK, or agrees to all of `count` filters with
/// this SUBACK.
pub(super) fn agrees(kind: u8, body: &[u8], count: usize) -> bool {
    if kind == CONNACK {
        return body.get(1) == Some(&0);
    }
    let codes = body.len().checked_sub(count).map(|begin| &body[begin..]);
    codes.is_some_and(|codes| codes.iter().all(|&code| code <= 2))
}

/// What all messages of a topic begin with: up to the packet identifier, or what comes after it.
pub(super) fn publish_head(
    version: u8,
    topic: &str,
    qos: u8,
    is_retained: bool,
    payload: usize,
) -> Vec<u8> {
    let id = if qos > 0 { 2 } else { 0 };
    let properties = usize::from(version == V5);
    let mut head = vec![0x30 | qos << 1 | u8::from(is_retained)];
    remaining_length(&mut head, 2 + topic.len() + id + properties + payload);
    string(&mut head, topic);
    head
}

/// The packet identifier of a message, 0 if it has none, and its payload.
pub(super) fn message(version: u8, qos: u8, body: &[u8]) -> Option<(u16, &[u8])> {
    let (length, rest) = body.split_first_chunk()?;
    let mut rest = rest.get(usize::from(u16::from_be_bytes(*length))..)?;
    let mut packet_id = 0;
    if qos > 0 {
        let (id, after) = rest.split_first_chunk()?;
        packet_id = u16::from_be_bytes(*id);
        rest = after;
    }
    if version == V5 {
        // Nobody sends as many as would take a second byte.
        let (&length, after) = rest.split_first()?;
        rest = after.get(usize::from(length)..)?;
    }
    Some((packet_id, rest))
}
pub(super) fn answer(kind: u8, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [kind, 2, high, low]
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    remaining_length(&mut packet, body.len());
    packet.extend_from_slice(body);
    packet
}

fn string(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&(text.len() as u16).to_be_bytes());
    to.extend_from_slice(text.as_bytes());
}

fn remaining_length(to: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        to.push(length as u8 | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
}

/// The first packet of `bytes`, as its first byte and its body, and how long it is; none if it is
/// not whole.
pub(super) fn first(bytes: &[u8]) -> io::Result<Option<(u8, &[u8], usize)>> {
    let Some(&kind) = bytes.first() else {
        return Ok(None);
    };
    let mut length = 0;
    for n in 0..4 {
        let Some(&byte) = bytes.get(1 + n) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7F) << (7 * n);
        if byte < 0x80 {
            let begin = 2 + n;
            let body = bytes.get(begin..begin + length);
            return Ok(body.map(|body| (kind, body, begin + length)));
        }
    }
    Err(unexpected("a length of more than four bytes"))
}

pub(super) fn unexpected(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_whatever_comes_before_its_payload() {
        for version in [4, V5] {
            for qos in 0..=2 {
                let mut bytes = publish_head(version, "a/b", qos, true, 3);
                if qos > 0 {
                    bytes.extend_from_slice(&[1, 2]);
                }
                if version == V5 {
                    bytes.push(0);
                }
                bytes.extend_from_slice(b"xyz");
                let (kind, body, length) = first(&bytes).unwrap().unwrap();
                assert_eq!((kind, length), (0x31 | qos << 1, bytes.len()));
                let id = if qos > 0 { 0x0102 } else { 0 };
                assert_eq!(message(version, qos, body), Some((id, &b"xyz"[..])));
            }
        }
    }

    #[test]
    fn properties_are_passed_over() {
        assert_eq!(
            message(V5, 0, b"\0\x01t\x02\x01\x01p"),
            Some((0, &b"p"[..]))
        );
    }

    #[test]
    fn what_is_cut_short_is_no_message() {
        let whole = b"\0\x01t\0\x07\x02\x01\x01";
        assert_eq!(message(V5, 1, whole), Some((7, &b""[..])));
        for length in 0..whole.len() {
            assert_eq!(message(V5, 1, &whole[..length]), None);
        }
    }

    #[test]
    fn a_refusal_is_told_from_agreement() {
        assert!(agrees(CONNACK, &[0, 0, 3, 0x21, 0, 9], 0));
        assert!(!agrees(CONNACK, &[0, 0x87, 0], 0));
        assert!(agrees(SUBACK, &[0, 1, 0, 2, 1], 2));
        assert!(!agrees(SUBACK, &[0, 1, 0x80, 1], 2));
        assert!(!agrees(SUBACK, &[], 1));
    }
}
