//! The block of properties of a packet: checked once, then read where it lies.

use core::fmt;
use core::num::{NonZeroU16, NonZeroU32};

use super::place::{CLIENT_PUBLISH, Places};
use super::property::{
    AUTHENTICATION_DATA, AUTHENTICATION_METHOD, SUBSCRIPTION_IDENTIFIER, USER_PROPERTY,
};
use super::reader::Reader;
use super::writer::{Counter, Sink};
use super::{EncodeError, PayloadFormat, Property, ProtocolError, ProtocolVersion, QoS};

/// The properties of a packet, in their order.
///
/// Either the bytes of a decoded packet or a list of the caller's; they are equal if they say the
/// same in the same order.
#[derive(Clone, Copy)]
pub struct Properties<'a>(Repr<'a>);

#[derive(Clone, Copy)]
enum Repr<'a> {
    /// A block that was checked, without its length.
    Wire(&'a [u8]),
    List(&'a [Property<'a>]),
}

impl<'a> Properties<'a> {
    /// None at all, as in every packet before MQTT 5.
    pub const EMPTY: Self = Self(Repr::Wire(&[]));

    /// These ones.
    #[inline]
    pub const fn from_slice(properties: &'a [Property<'a>]) -> Self {
        if properties.is_empty() {
            Self::EMPTY
        } else {
            Self(Repr::List(properties))
        }
    }

    /// The block that [`as_wire`](Self::as_wire) gave earlier and the caller has kept. It is not
    /// checked again: bytes from anywhere else give properties that are wrong or missing.
    #[inline]
    pub const fn from_kept_wire(block: &'a [u8]) -> Self {
        Self(Repr::Wire(block))
    }

    /// The block as it came, without its length, if these properties were decoded.
    #[inline]
    pub const fn as_wire(&self) -> Option<&'a [u8]> {
        match self.0 {
            Repr::Wire(block) => Some(block),
            Repr::List(_) => None,
        }
    }

    /// How many bytes they have on the wire, without the length that stands before them; a
    /// property that cannot be encoded counts nothing.
    pub fn wire_len(&self) -> usize {
        match self.0 {
            Repr::Wire(block) => block.len(),
            Repr::List(list) => list.iter().map(Property::wire_len).sum(),
        }
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        match self.0 {
            Repr::Wire(block) => block.is_empty(),
            Repr::List(list) => list.is_empty(),
        }
    }

    /// All of them in their order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + Clone + use<'a> {
        let (mut wire, list) = match self.0 {
            Repr::Wire(block) => (Reader::new(block), [].as_slice()),
            Repr::List(list) => (Reader::new(&[]), list),
        };
        core::iter::from_fn(move || Property::read_checked(&mut wire)).chain(list.iter().copied())
    }

    /// All with this identifier. Those on the wire between them are stepped over unread.
    fn all(&self, id: u8) -> impl Iterator<Item = Property<'a>> + Clone + use<'a> {
        let (mut wire, list) = match self.0 {
            Repr::Wire(block) => (Reader::new(block), [].as_slice()),
            Repr::List(list) => (Reader::new(&[]), list),
        };
        let on_wire = core::iter::from_fn(move || {
            loop {
                let mut ahead = wire;
                let found = ahead.u8().ok()?;
                if found == id {
                    return Property::read_checked(&mut wire);
                }
                Property::skip_value(found, &mut ahead).ok()?;
                wire = ahead;
            }
        });
        on_wire.chain(
            list.iter()
                .filter(move |property| property.id() == id)
                .copied(),
        )
    }

    /// The user properties, names and values, in their order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        self.all(USER_PROPERTY)
            .filter_map(|property| match property {
                Property::UserProperty(name, value) => Some((name, value)),
                _ => None,
            })
    }

    /// The subscription identifiers: at most one, except in a PUBLISH from a server.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        self.all(SUBSCRIPTION_IDENTIFIER)
            .filter_map(|property| match property {
                Property::SubscriptionIdentifier(id) => Some(id),
                _ => None,
            })
    }

    /// Checks a block that was not decoded: whether a client could publish with it.
    pub(crate) fn check_of_message(block: &[u8]) -> Result<(), ProtocolError> {
        check(block, CLIENT_PUBLISH)
    }

    /// Reads the block of a packet, its length first; before MQTT 5 there is none.
    #[inline]
    pub(super) fn decode(
        reader: &mut Reader<'a>,
        version: ProtocolVersion,
        place: Places,
    ) -> Result<Self, ProtocolError> {
        if version != ProtocolVersion::V5 {
            return Ok(Self::EMPTY);
        }
        let length = reader.variable_byte_integer()?;
        let block = usize::try_from(length)
            .ok()
            .and_then(|length| reader.take(length))
            .ok_or(ProtocolError::malformed(
                "2.2.2.1",
                "the properties end after the packet",
            ))?;
        if !block.is_empty() {
            check(block, place)?;
        }
        Ok(Self(Repr::Wire(block)))
    }

    /// Writes the block and its length; before MQTT 5 nothing.
    #[inline]
    pub(super) fn write<S: Sink>(
        &self,
        version: ProtocolVersion,
        sink: &mut S,
    ) -> Result<(), EncodeError> {
        if version != ProtocolVersion::V5 {
            return Ok(());
        }
        match self.0 {
            Repr::Wire(block) => {
                sink.length(block.len())?;
                sink.bytes(block);
            }
            Repr::List(list) => {
                let mut counter = Counter::default();
                list.iter().try_for_each(|p| p.write(&mut counter))?;
                sink.length(counter.count)?;
                list.iter().try_for_each(|p| p.write(sink))?;
            }
        }
        Ok(())
    }
}

/// Checks a whole block in one pass.
fn check(block: &[u8], place: Places) -> Result<(), ProtocolError> {
    let mut reader = Reader::new(block);
    // Bit n stands for identifier n; the highest is 0x2A.
    let mut seen = 0_u64;
    while !reader.is_empty() {
        let property = Property::read(&mut reader, place)?;
        let bit = 1 << property.id();
        if seen & bit != 0 && !property.repeats(place) {
            return Err(property.duplicate());
        }
        seen |= bit;
    }
    if seen & (1 << AUTHENTICATION_DATA) != 0 && seen & (1 << AUTHENTICATION_METHOD) == 0 {
        return Err(ProtocolError::violation(
            "3.1.2.11.10",
            "there is authentication data without an authentication method",
        ));
    }
    Ok(())
}

impl Default for Properties<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq<Properties<'_>> for Properties<'_> {
    fn eq(&self, other: &Properties<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Properties<'_> {}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for property in self.iter() {
            match property {
                // As secret as a password.
                Property::AuthenticationData(_) => {
                    list.entry(&format_args!("AuthenticationData(…)"))
                }
                shown => list.entry(&shown),
            };
        }
        list.finish()
    }
}

/// Writes the getters of the properties that stand at most once.
macro_rules! getters {
    ($( $id:literal $getter:ident $name:ident -> $value:ty; )+) => {
        /// One property each: `None` if it is not there.
        impl<'a> Properties<'a> {
            $(
                #[doc = concat!("The value of [`Property::", stringify!($name), "`].")]
                #[inline]
                pub fn $getter(&self) -> Option<$value> {
                    if self.is_empty() {
                        return None;
                    }
                    match self.all($id).next() {
                        Some(Property::$name(value)) => Some(value),
                        _ => None,
                    }
                }
            )+
        }
    };
}

getters! {
    0x01 payload_format_indicator PayloadFormatIndicator -> PayloadFormat;
    0x02 message_expiry_interval MessageExpiryInterval -> u32;
    0x03 content_type ContentType -> &'a str;
    0x08 response_topic ResponseTopic -> &'a str;
    0x09 correlation_data CorrelationData -> &'a [u8];
    0x0B subscription_identifier SubscriptionIdentifier -> u32;
    0x11 session_expiry_interval SessionExpiryInterval -> u32;
    0x12 assigned_client_identifier AssignedClientIdentifier -> &'a str;
    0x13 server_keep_alive ServerKeepAlive -> u16;
    0x15 authentication_method AuthenticationMethod -> &'a str;
    0x16 authentication_data AuthenticationData -> &'a [u8];
    0x17 request_problem_information RequestProblemInformation -> bool;
    0x18 will_delay_interval WillDelayInterval -> u32;
    0x19 request_response_information RequestResponseInformation -> bool;
    0x1A response_information ResponseInformation -> &'a str;
    0x1C server_reference ServerReference -> &'a str;
    0x1F reason_string ReasonString -> &'a str;
    0x21 receive_maximum ReceiveMaximum -> NonZeroU16;
    0x22 topic_alias_maximum TopicAliasMaximum -> u16;
    0x23 topic_alias TopicAlias -> NonZeroU16;
    0x24 maximum_qos MaximumQoS -> QoS;
    0x25 retain_available RetainAvailable -> bool;
    0x27 maximum_packet_size MaximumPacketSize -> NonZeroU32;
    0x28 wildcard_subscription_available WildcardSubscriptionAvailable -> bool;
    0x29 subscription_identifier_available SubscriptionIdentifierAvailable -> bool;
    0x2A shared_subscription_available SharedSubscriptionAvailable -> bool;
}
