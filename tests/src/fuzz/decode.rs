//! Arbitrary bytes for the decoder.

use wherry_core::packet::{Packet, ProtocolVersion, Sender};

/// Reads a stream of packets. The first byte chooses the version and the sender.
///
/// Whatever is accepted must be the same packet after it was written and read again, and must not
/// be accepted before it is complete. Returns how many bytes were not accepted.
pub fn decode(data: &[u8]) -> usize {
    let Some((&choice, mut rest)) = data.split_first() else {
        return 0;
    };
    let version = match choice % 3 {
        0 => ProtocolVersion::V3_1,
        1 => ProtocolVersion::V3_1_1,
        _ => ProtocolVersion::V5,
    };
    let sender = if choice & 0x80 == 0 {
        Sender::Client
    } else {
        Sender::Server
    };
    while let Ok(Some((packet, used))) = Packet::decode_one(rest, version, sender) {
        assert!(
            (2..=rest.len()).contains(&used),
            "{used} of {} bytes",
            rest.len()
        );
        let version = match &packet {
            Packet::Connect(connect) => connect.version,
            _ => version,
        };
        let mut written = Vec::new();
        packet
            .encode(version, &mut written)
            .expect("what was read can be written");
        assert_eq!(written.len(), packet.encoded_len(version), "{packet:?}");
        let again = Packet::decode_one(&written, version, sender);
        assert_eq!(
            again,
            Ok(Some((packet, written.len()))),
            "from {written:02x?}"
        );
        for cut in cuts(used) {
            let part = Packet::decode_one(&rest[..cut], version, sender);
            assert_eq!(part, Ok(None), "complete after {cut} of {used} bytes");
        }
        rest = &rest[used..];
    }
    rest.len()
}

/// Where a packet of `len` bytes is cut: everywhere near its ends, and here and there between.
fn cuts(len: usize) -> impl Iterator<Item = usize> {
    let step = (len / 16).max(1);
    (0..len.min(16))
        .chain((16..len).step_by(step))
        .chain(len.checked_sub(1))
}
