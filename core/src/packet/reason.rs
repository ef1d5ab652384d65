//! Reason codes: one byte that says how something ended.

use core::fmt;

use super::ProtocolError;
use super::place::*;
use super::reader::Reader;

/// Writes the enumeration, its names and its rules from one table.
macro_rules! reason_codes {
    ($( $code:literal $name:ident $text:literal in [$($place:ident),+]; )+) => {
        /// A reason code of MQTT 5. The older versions' return codes are mapped to these.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(
                #[doc = concat!("`", stringify!($code), "`: ", $text, ".")]
                $name = $code,
            )+
        }

        impl ReasonCode {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$( Self::$name ),+];

            /// The code with this number, if the specification names one.
            #[inline]
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $( $code => Some(Self::$name), )+
                    _ => None,
                }
            }

            /// Which packets may carry it, from which side.
            const fn places(self) -> Places {
                match self {
                    $( Self::$name => const { Places::of(&[$($place),+]) }, )+
                }
            }
        }

        impl fmt::Display for ReasonCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $( Self::$name => $text, )+
                })
            }
        }
    };
}

// Section 2.4 for the codes, the sections 3.x.2.1 (3.9.3, 3.11.3) for who may send them where.
// 0x8C in a DISCONNECT stands in the first of these and not in the second: it is accepted.
reason_codes! {
    0x00 Success "success" in [
        CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, SERVER_AUTH];
    0x01 GrantedQoS1 "granted QoS 1" in [SUBACK];
    0x02 GrantedQoS2 "granted QoS 2" in [SUBACK];
    0x04 DisconnectWithWillMessage "disconnect with will message" in [CLIENT_DISCONNECT];
    0x10 NoMatchingSubscribers "no matching subscribers" in [PUBACK, PUBREC];
    0x11 NoSubscriptionExisted "no subscription existed" in [UNSUBACK];
    0x18 ContinueAuthentication "continue authentication" in [AUTH];
    0x19 ReAuthenticate "re-authenticate" in [CLIENT_AUTH];
    0x80 UnspecifiedError "unspecified error" in [
        CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT];
    0x81 MalformedPacket "malformed packet" in [CONNACK, DISCONNECT];
    0x82 ProtocolError "protocol error" in [CONNACK, DISCONNECT];
    0x83 ImplementationSpecificError "implementation specific error" in [
        CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT];
    0x84 UnsupportedProtocolVersion "unsupported protocol version" in [CONNACK];
    0x85 ClientIdentifierNotValid "client identifier not valid" in [CONNACK];
    0x86 BadUserNameOrPassword "bad user name or password" in [CONNACK];
    0x87 NotAuthorized "not authorized" in [
        CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, SERVER_DISCONNECT];
    0x88 ServerUnavailable "server unavailable" in [CONNACK];
    0x89 ServerBusy "server busy" in [CONNACK, SERVER_DISCONNECT];
    0x8A Banned "banned" in [CONNACK];
    0x8B ServerShuttingDown "server shutting down" in [SERVER_DISCONNECT];
    0x8C BadAuthenticationMethod "bad authentication method" in [CONNACK, SERVER_DISCONNECT];
    0x8D KeepAliveTimeout "keep alive timeout" in [SERVER_DISCONNECT];
    0x8E SessionTakenOver "session taken over" in [SERVER_DISCONNECT];
    0x8F TopicFilterInvalid "topic filter invalid" in [SUBACK, UNSUBACK, SERVER_DISCONNECT];
    0x90 TopicNameInvalid "topic name invalid" in [CONNACK, PUBACK, PUBREC, DISCONNECT];
    0x91 PacketIdentifierInUse "packet identifier in use" in [PUBACK, PUBREC, SUBACK, UNSUBACK];
    0x92 PacketIdentifierNotFound "packet identifier not found" in [PUBREL, PUBCOMP];
    0x93 ReceiveMaximumExceeded "receive maximum exceeded" in [DISCONNECT];
    0x94 TopicAliasInvalid "topic alias invalid" in [DISCONNECT];
    0x95 PacketTooLarge "packet too large" in [CONNACK, DISCONNECT];
    0x96 MessageRateTooHigh "message rate too high" in [DISCONNECT];
    0x97 QuotaExceeded "quota exceeded" in [CONNACK, PUBACK, PUBREC, SUBACK, DISCONNECT];
    0x98 AdministrativeAction "administrative action" in [DISCONNECT];
    0x99 PayloadFormatInvalid "payload format invalid" in [CONNACK, PUBACK, PUBREC, DISCONNECT];
    0x9A RetainNotSupported "retain not supported" in [CONNACK, SERVER_DISCONNECT];
    0x9B QoSNotSupported "QoS not supported" in [CONNACK, SERVER_DISCONNECT];
    0x9C UseAnotherServer "use another server" in [CONNACK, SERVER_DISCONNECT];
    0x9D ServerMoved "server moved" in [CONNACK, SERVER_DISCONNECT];
    0x9E SharedSubscriptionsNotSupported "shared subscriptions not supported" in [
        SUBACK, SERVER_DISCONNECT];
    0x9F ConnectionRateExceeded "connection rate exceeded" in [CONNACK, SERVER_DISCONNECT];
    0xA0 MaximumConnectTime "maximum connect time" in [SERVER_DISCONNECT];
    0xA1 SubscriptionIdentifiersNotSupported "subscription identifiers not supported" in [
        SUBACK, SERVER_DISCONNECT];
    0xA2 WildcardSubscriptionsNotSupported "wildcard subscriptions not supported" in [
        SUBACK, SERVER_DISCONNECT];
}

impl ReasonCode {
    /// What 0x00 is called in a DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// What 0x00 is called in a SUBACK.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// Whether it says that something failed.
    #[inline]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// Whether a CONNACK may refuse a client with it ([MQTT-3.2.2-8]).
    pub(crate) const fn may_refuse(self) -> bool {
        self.is_error() && self.places().contains(CONNACK)
    }

    /// Whether a server may end a connection with it ([MQTT-3.14.2-1]).
    pub(crate) const fn may_end(self) -> bool {
        self.is_error() && self.places().contains(SERVER_DISCONNECT)
    }

    /// The return code with which a CONNACK of MQTT 3.1 and 3.1.1 says this, as well as it can.
    pub const fn connack_v3(self) -> u8 {
        match self {
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized | Self::Banned | Self::BadAuthenticationMethod => 5,
            other if other.is_error() => 3,
            _ => 0,
        }
    }

    /// What a return code of such a CONNACK says.
    pub(super) const fn from_connack_v3(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// The code of this number if `place` may carry it.
    #[inline]
    pub(super) fn at(code: u8, place: Places) -> Option<Self> {
        Self::from_u8(code).filter(|reason| reason.places().contains(place))
    }

    /// Reads a code that `place` may carry; `clause` is the rule that says so.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        place: Places,
        clause: &'static str,
    ) -> Result<Self, ProtocolError> {
        Self::at(reader.u8()?, place).ok_or(ProtocolError::violation(
            clause,
            "this packet may not carry this reason code",
        ))
    }
}
