//! What the messages say: their number, and what only their sender would write behind it.

use super::record::Topic;

/// What is between the number and the rest.
const END: u8 = b'|';

/// Whether this message of a topic whose messages are retained is one that clears it.
pub(super) fn is_clear(number: u32) -> bool {
    number % 4 == 3
}

/// The payload of a message.
pub(super) fn write(topic: &Topic, number: u32) -> Vec<u8> {
    let mut payload = number.to_string().into_bytes();
    payload.push(END);
    let seed = number as usize + topic.name.len() * 31;
    let len = if number.is_multiple_of(64) {
        5000
    } else {
        seed * 7 % 200
    };
    payload.resize(payload.len() + len, b'a' + (seed % 26) as u8);
    payload
}

/// The number of a message of this topic; nothing if its sender never wrote that.
pub(super) fn read(topic: &Topic, payload: &[u8]) -> Option<u32> {
    let end = payload.iter().position(|byte| *byte == END)?;
    let number = str::from_utf8(&payload[..end]).ok()?.parse().ok()?;
    (number < topic.next() && write(topic, number) == payload).then_some(number)
}
