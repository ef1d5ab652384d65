//! The few packets of MQTT 3.1.1 that load consists of.

use std::io;

pub(super) const CONNACK: u8 = 0x20;
pub(super) const PUBACK: u8 = 0x40;
pub(super) const PUBREC: u8 = 0x50;
pub(super) const PUBREL: u8 = 0x62;
pub(super) const PUBCOMP: u8 = 0x70;
pub(super) const SUBACK: u8 = 0x90;
pub(super) const DISCONNECT: [u8; 2] = [0xE0, 0];

/// A packet without anything that is optional.
pub(super) fn connect(client_id: &str, is_clean: bool) -> Vec<u8> {
    let mut body = vec![
        0,
        4,
        b'M',
        b'Q',
        b'T',
        b'T',
        4,
        u8::from(is_clean) << 1,
        0,
        0,
    ];
    string(&mut body, client_id);
    packet(0x10, &body)
}

pub(super) fn subscribe(filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    string(&mut body, filter);
    body.push(qos);
    packet(0x82, &body)
}

/// What all messages of a topic begin with: up to the packet identifier, or the payload.
pub(super) fn publish_head(topic: &str, qos: u8, payload: usize) -> Vec<u8> {
    let id = if qos > 0 { 2 } else { 0 };
    let mut head = vec![0x30 | qos << 1];
    remaining_length(&mut head, 2 + topic.len() + id + payload);
    string(&mut head, topic);
    head
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
