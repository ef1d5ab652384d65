//! The codec against the one of another house, `mqtt-proto`, on the same bytes.
//!
//! Both are asked whether they accept a packet and what it says, and have to agree. Where they do
//! not, it is because of one of the clauses in [`DIFFERENCES`], of which each comes with the one
//! input that shows it. A row is no licence for a kind of input: it asks for the evidence that this
//! packet is really such a case, and takes it from the packet as the other codec has read it
//! wherever that one accepts more. Exactly one row has to explain a disagreement.

mod content;
mod other;
mod ours;
mod table;

use wherry_core::packet::{ProtocolError, ProtocolVersion, Sender};
use wherry_core::topic::TopicError;

use content::Content;
use other::OtherError;

pub use ours::values;
pub use table::{DIFFERENCES, Difference};

/// What both codecs make of one packet.
#[derive(Debug)]
pub struct Case<'a> {
    /// The version that is spoken. A CONNECT says its own.
    pub version: ProtocolVersion,
    /// Who sent it.
    pub sender: Sender,
    /// The packet, with its header.
    bytes: &'a [u8],
    ours: Result<Content, OurError>,
    /// With the fewest bytes that it takes to say it.
    other: Result<(Content, usize), OtherError>,
}

/// Why our codec, or what stands behind it, does not take a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OurError {
    Packet(ProtocolError),
    Filter(TopicError),
}

/// What came of a comparison.
#[derive(Debug)]
pub enum Verdict {
    /// They agree: on what it says, or that it is none.
    Same,
    /// They do not, for these reasons.
    Different(Vec<&'static Difference>),
}

/// What both codecs make of the packet at the start of `bytes`, and how long it is; `None` if it is
/// not complete, or neither can tell where it ends.
pub fn case(bytes: &[u8], version: ProtocolVersion, sender: Sender) -> Option<(Case<'_>, usize)> {
    let len = match (ours::frame(bytes), other::frame(bytes)) {
        (Some(ours), Some(other)) => {
            assert_eq!(ours, other, "where the packet ends: {bytes:02x?}");
            ours
        }
        (Some(len), None) | (None, Some(len)) => len,
        (None, None) => return None,
    };
    let bytes = bytes.get(..len)?;
    let case = Case {
        version,
        sender,
        bytes,
        ours: ours::read(bytes, version, sender),
        other: other::read(bytes, version),
    };
    Some((case, len))
}

impl Case<'_> {
    /// Whether both say the same of it, and if not, which rows explain that.
    pub fn verdict(&self) -> Verdict {
        let agree = match (&self.ours, &self.other) {
            (Ok(ours), Ok((other, _))) => ours == other,
            (Err(_), Err(_)) => true,
            _ => false,
        };
        if agree {
            return Verdict::Same;
        }
        let explained = DIFFERENCES.iter().filter(|it| (it.explains)(self));
        Verdict::Different(explained.collect())
    }

    /// Asserts that they agree or that exactly one row says why not.
    pub fn check(&self) {
        if let Verdict::Different(rows) = self.verdict() {
            let rows: Vec<_> = rows.iter().map(|row| (row.clause, row.what)).collect();
            assert_eq!(rows.len(), 1, "explained by {rows:#?}: {self:#02x?}");
        }
    }

    /// Whether we accept it.
    pub fn is_accepted(&self) -> bool {
        self.ours.is_ok()
    }
}
