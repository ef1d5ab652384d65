//! The properties of MQTT 5: one table says what each is, where it may stand and what it holds.

use core::num::{NonZeroU16, NonZeroU32};

use super::place::*;
use super::reader::Reader;
use super::value::*;
use super::writer::{Counter, Sink};
use super::{EncodeError, ProtocolError, QoS, ReasonCode};

/// What the Payload Format Indicator says of a payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PayloadFormat {
    /// Bytes of no stated kind.
    Unspecified = 0,
    /// UTF-8 encoded text.
    Utf8 = 1,
}

/// Writes the enumeration and its rules from one table.
macro_rules! properties {
    ($(
        $id:literal $name:ident ( $($field:ident: $value:ty as $wire:ident),+ )
        $section:literal in [$($place:ident),+];
    )+) => {
        /// A property with its value.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Property<'a> {
            $(
                #[doc = concat!("`", stringify!($id), "`, section ", $section, ".")]
                $name($($value),+),
            )+
        }

        /// The rules of each property, at the place of its identifier.
        const RULES: [Rule; 0x2b] = {
            let mut rules = [Rule { section: "", places: Places::NOWHERE }; 0x2b];
            $( rules[$id] = Rule { section: $section, places: Places::of(&[$($place),+]) }; )+
            rules
        };

        impl<'a> Property<'a> {
            /// The identifier on the wire.
            pub const fn id(&self) -> u8 {
                match self {
                    $( Self::$name(..) => $id, )+
                }
            }

            /// Reads the value of property `id`; `None` if it is outside its range.
            fn read_value(
                id: u8,
                reader: &mut Reader<'a>,
            ) -> Result<Option<Self>, ProtocolError> {
                match id {
                    $( $id => {
                        $( let Some($field) = $wire::read(reader)? else { return Ok(None) }; )+
                        Ok(Some(Self::$name($($field),+)))
                    } )+
                    _ => Err(UNKNOWN),
                }
            }

            /// Steps over the value of property `id`.
            pub(super) fn skip_value(
                id: u8,
                reader: &mut Reader<'a>,
            ) -> Result<(), ProtocolError> {
                match id {
                    $( $id => { $( <$wire as Wire<'_>>::skip(reader)?; )+ } )+
                    _ => return Err(UNKNOWN),
                }
                Ok(())
            }

            /// Writes identifier and value.
            pub(crate) fn write<S: Sink>(&self, sink: &mut S) -> Result<(), EncodeError> {
                sink.u8(self.id());
                match *self {
                    $( Self::$name($($field),+) => { $( $wire::write($field, sink)?; )+ } )+
                }
                Ok(())
            }
        }
    };
}

// Table 2-4. The section is the one that describes the property first; it is also the clause of
// its errors, since a property given twice or out of its range has no numbered clause.
properties! {
    0x01 PayloadFormatIndicator(format: PayloadFormat as Format) "3.3.2.3.2" in [PUBLISH, WILL];
    0x02 MessageExpiryInterval(seconds: u32 as FourBytes) "3.3.2.3.3" in [PUBLISH, WILL];
    0x03 ContentType(content_type: &'a str as Utf8) "3.3.2.3.9" in [PUBLISH, WILL];
    0x08 ResponseTopic(topic: &'a str as TopicName) "3.3.2.3.5" in [PUBLISH, WILL];
    0x09 CorrelationData(data: &'a [u8] as Binary) "3.3.2.3.6" in [PUBLISH, WILL];
    0x0B SubscriptionIdentifier(id: u32 as VariableNotZero) "3.8.2.1.2" in [PUBLISH, SUBSCRIBE];
    0x11 SessionExpiryInterval(seconds: u32 as FourBytes) "3.1.2.11.2" in [
        CONNECT, CONNACK, DISCONNECT];
    0x12 AssignedClientIdentifier(client_id: &'a str as Utf8) "3.2.2.3.7" in [CONNACK];
    0x13 ServerKeepAlive(seconds: u16 as TwoBytes) "3.2.2.3.14" in [CONNACK];
    0x15 AuthenticationMethod(method: &'a str as Utf8) "3.1.2.11.9" in [CONNECT, CONNACK, AUTH];
    0x16 AuthenticationData(data: &'a [u8] as Binary) "3.1.2.11.10" in [CONNECT, CONNACK, AUTH];
    0x17 RequestProblemInformation(wanted: bool as Flag) "3.1.2.11.7" in [CONNECT];
    0x18 WillDelayInterval(seconds: u32 as FourBytes) "3.1.3.2.2" in [WILL];
    0x19 RequestResponseInformation(wanted: bool as Flag) "3.1.2.11.6" in [CONNECT];
    0x1A ResponseInformation(information: &'a str as Utf8) "3.2.2.3.15" in [CONNACK];
    0x1C ServerReference(server: &'a str as Utf8) "3.2.2.3.16" in [CONNACK, DISCONNECT];
    0x1F ReasonString(reason: &'a str as Utf8) "3.2.2.3.9" in [
        CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH];
    0x21 ReceiveMaximum(maximum: NonZeroU16 as TwoBytesNotZero) "3.1.2.11.3" in [CONNECT, CONNACK];
    0x22 TopicAliasMaximum(maximum: u16 as TwoBytes) "3.1.2.11.5" in [CONNECT, CONNACK];
    0x23 TopicAlias(alias: NonZeroU16 as TwoBytesNotZero) "3.3.2.3.4" in [PUBLISH];
    0x24 MaximumQoS(maximum: QoS as BelowQoS2) "3.2.2.3.4" in [CONNACK];
    0x25 RetainAvailable(available: bool as Flag) "3.2.2.3.5" in [CONNACK];
    0x26 UserProperty(name: &'a str as Utf8, value: &'a str as Utf8) "3.1.2.11.8" in [
        CONNECT, WILL, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK,
        UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH];
    0x27 MaximumPacketSize(maximum: NonZeroU32 as FourBytesNotZero) "3.1.2.11.4" in [
        CONNECT, CONNACK];
    0x28 WildcardSubscriptionAvailable(available: bool as Flag) "3.2.2.3.11" in [CONNACK];
    0x29 SubscriptionIdentifierAvailable(available: bool as Flag) "3.2.2.3.12" in [CONNACK];
    0x2A SharedSubscriptionAvailable(available: bool as Flag) "3.2.2.3.13" in [CONNACK];
}

pub(super) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
pub(super) const AUTHENTICATION_METHOD: u8 = 0x15;
pub(super) const AUTHENTICATION_DATA: u8 = 0x16;
const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
const TOPIC_ALIAS: u8 = 0x23;
pub(super) const USER_PROPERTY: u8 = 0x26;

const UNKNOWN: ProtocolError =
    ProtocolError::malformed("2.2.2.2", "there is no property with this identifier");

#[derive(Clone, Copy)]
struct Rule {
    section: &'static str,
    places: Places,
}

impl<'a> Property<'a> {
    /// How many bytes identifier and value have; 0 if they cannot be encoded.
    pub fn wire_len(&self) -> usize {
        let mut counter = Counter::default();
        self.write(&mut counter).map_or(0, |()| counter.count)
    }

    /// Reads one property of a block that was checked before.
    pub(super) fn read_checked(reader: &mut Reader<'a>) -> Option<Self> {
        let id = reader.u8().ok()?;
        Self::read_value(id, reader).ok().flatten()
    }

    /// Reads one property and checks all that can be said of it alone.
    pub(super) fn read(reader: &mut Reader<'a>, place: Places) -> Result<Self, ProtocolError> {
        // The identifier is a variable byte integer, and all that exist have one byte: whatever
        // needs a second one is unknown.
        let id = reader.u8()?;
        let rule = match RULES.get(usize::from(id)) {
            Some(rule) if rule.places != Places::NOWHERE => rule,
            _ => return Err(UNKNOWN),
        };
        if !rule.places.contains(place) {
            return Err(ProtocolError::malformed(
                "2.2.2.2",
                "this packet may not carry this property",
            ));
        }
        // Allowed in the packet, though not from this side.
        if id == SUBSCRIPTION_IDENTIFIER && place == CLIENT_PUBLISH {
            return Err(ProtocolError::violation(
                "MQTT-3.3.4-6",
                "a client publishes with a subscription identifier",
            ));
        }
        if id == SESSION_EXPIRY_INTERVAL && place == SERVER_DISCONNECT {
            return Err(ProtocolError::violation(
                "MQTT-3.14.2-2",
                "a server sets the session expiry interval in DISCONNECT",
            ));
        }
        Self::read_value(id, reader)?.ok_or(match id {
            TOPIC_ALIAS => ProtocolError::new(
                ReasonCode::TopicAliasInvalid,
                "MQTT-3.3.2-8",
                "the topic alias is zero",
            ),
            _ => ProtocolError::violation(rule.section, "the value of a property is out of range"),
        })
    }

    /// Whether several of the kind may stand in one packet.
    pub(super) fn repeats(&self, place: Places) -> bool {
        match self {
            Self::UserProperty(..) => true,
            Self::SubscriptionIdentifier(_) => place == SERVER_PUBLISH,
            _ => false,
        }
    }

    /// The error of a property that stands twice where it may stand once.
    pub(super) fn duplicate(&self) -> ProtocolError {
        let section = RULES
            .get(usize::from(self.id()))
            .map_or("2.2.2", |rule| rule.section);
        ProtocolError::violation(section, "a property stands twice")
    }
}
