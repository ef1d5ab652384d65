//! Arbitrary bytes for two decoders.

use wherry_core::packet::{ProtocolVersion, Sender};

use crate::differential::case;

/// Compares our decoder with another one on a stream of packets. The first byte chooses the version
/// and the sender, as in [`decode`](super::decode()).
///
/// They agree on each packet, or exactly one row of the table of differences says why not. Returns
/// how many packets both were asked about.
pub fn differential(data: &[u8]) -> usize {
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
    let mut packets = 0;
    while let Some((case, len)) = case(rest, version, sender) {
        case.check();
        packets += 1;
        rest = &rest[len..];
    }
    packets
}
