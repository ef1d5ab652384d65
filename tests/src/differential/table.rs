//! Where the two codecs differ, and why ours is right or free to.

use mqtt_proto::Error;
use mqtt_proto::v5::ErrorV5;
use wherry_core::packet::{ProtocolVersion, Sender};
use wherry_core::topic::{MAX_LEVELS, TopicError};

use super::other::OtherError;
use super::{Case, Content, OurError};
use crate::wire::{Value, id, kind};

/// One accepted difference.
pub struct Difference {
    /// The clause, or the section where there is none: of MQTT 5, or of 3.1.1 or 3.1 if only that
    /// has it.
    pub clause: &'static str,
    /// What the clause says of the input.
    pub what: &'static str,
    /// The version in which the input is read.
    pub version: ProtocolVersion,
    /// Who sent it.
    pub sender: Sender,
    /// A packet on which the two differ for this reason and no other.
    pub input: &'static [u8],
    /// Whether a disagreement is a case of this.
    pub(super) explains: fn(&Case<'_>) -> bool,
}

impl std::fmt::Debug for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.clause, self.what)
    }
}

const V3_1: ProtocolVersion = ProtocolVersion::V3_1;
const V3_1_1: ProtocolVersion = ProtocolVersion::V3_1_1;
const V5: ProtocolVersion = ProtocolVersion::V5;

const CLIENT: Sender = Sender::Client;
const SERVER: Sender = Sender::Server;

/// All of them.
pub static DIFFERENCES: &[Difference] = &[
    // We refuse what the other accepts.
    Difference {
        clause: "MQTT-1.5.4-2",
        what: "a string has no null character",
        version: V3_1_1,
        sender: CLIENT,
        input: b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01\0",
        explains: |case| {
            let mut strings = case
                .refused_for("MQTT-1.5.4-2")
                .into_iter()
                .flat_map(Content::strings);
            strings.any(|text| text.contains('\0'))
        },
    },
    Difference {
        clause: "MQTT-1.5.5-1",
        what: "a variable byte integer has as few bytes as it can",
        version: V5,
        sender: CLIENT,
        input: b"\xc0\x80\0",
        explains: |case| case.refused_for("MQTT-1.5.5-1").is_some() && case.is_too_long(),
    },
    Difference {
        clause: "2.1.4",
        what: "a packet has nothing after its last field",
        version: V5,
        sender: CLIENT,
        input: b"\xc0\x01\0",
        explains: |case| case.refused_for("2.1.4").is_some() && case.is_too_long(),
    },
    Difference {
        clause: "2.1.2",
        what: "some packets come from one side only",
        version: V5,
        sender: CLIENT,
        input: b"\xd0\0",
        explains: |case| {
            case.refused_for("2.1.2").is_some_and(|other| {
                let only_from = match other.kind {
                    kind::CONNECT | kind::SUBSCRIBE | kind::UNSUBSCRIBE | kind::PINGREQ => CLIENT,
                    kind::CONNACK | kind::SUBACK | kind::UNSUBACK | kind::PINGRESP => SERVER,
                    kind::DISCONNECT if case.version != V5 => CLIENT,
                    _ => case.sender,
                };
                only_from != case.sender
            })
        },
    },
    Difference {
        clause: "MQTT-3.1.2-13",
        what: "without a will, it is not retained",
        version: V3_1_1,
        sender: CLIENT,
        input: b"\x10\x0c\0\x04MQTT\x04\x22\0\0\0\0",
        explains: |case| {
            case.refused_for("MQTT-3.1.2-13").is_some() && case.connect_flags() & 0x24 == 0x20
        },
    },
    Difference {
        clause: "MQTT-3.1.2-22",
        what: "before MQTT 5, there is no password without a user name",
        version: V3_1_1,
        sender: CLIENT,
        input: b"\x10\x0e\0\x04MQTT\x04\x42\0\0\0\0\0\0",
        explains: |case| {
            case.refused_for("MQTT-3.1.2-22").is_some_and(|other| {
                other.field("password").is_some() && other.field("user name").is_none()
            })
        },
    },
    Difference {
        clause: "3.1.2.11.3",
        what: "the Receive Maximum is not 0",
        version: V5,
        sender: CLIENT,
        input: b"\x10\x10\0\x04MQTT\x05\x02\0\0\x03\x21\0\0\0\0",
        explains: |case| case.refused_with("3.1.2.11.3", id::RECEIVE_MAXIMUM, &Value::Two(0)),
    },
    Difference {
        clause: "3.1.2.11.4",
        what: "the Maximum Packet Size is not 0",
        version: V5,
        sender: CLIENT,
        input: b"\x10\x12\0\x04MQTT\x05\x02\0\0\x05\x27\0\0\0\0\0\0",
        explains: |case| case.refused_with("3.1.2.11.4", id::MAXIMUM_PACKET_SIZE, &Value::Four(0)),
    },
    Difference {
        clause: "3.1.2.11.10",
        what: "there is no Authentication Data without a method",
        version: V5,
        sender: CLIENT,
        input: b"\x10\x10\0\x04MQTT\x05\x02\0\0\x03\x16\0\0\0\0",
        explains: |case| {
            case.refused_for("3.1.2.11.10").is_some_and(|other| {
                other.property(id::AUTHENTICATION_DATA).is_some()
                    && other.property(id::AUTHENTICATION_METHOD).is_none()
            })
        },
    },
    Difference {
        clause: "MQTT-4.7.3-1",
        what: "the topic of a will has a character",
        version: V3_1_1,
        sender: CLIENT,
        input: b"\x10\x10\0\x04MQTT\x04\x06\0\0\0\0\0\0\0\0",
        explains: |case| {
            case.refused_for("MQTT-4.7.3-1")
                .is_some_and(|other| other.field("will topic") == Some(&Value::Text(String::new())))
        },
    },
    Difference {
        clause: "MQTT-4.7.3-1",
        what: "a topic has a character, unless an alias stands for it",
        version: V3_1_1,
        sender: CLIENT,
        input: b"\x30\x02\0\0",
        explains: |case| {
            case.refused_for("MQTT-4.7.3-1").is_some_and(|other| {
                other.field("topic") == Some(&Value::Text(String::new()))
                    && other.property(id::TOPIC_ALIAS).is_none()
                    && !has_empty_response_topic(other)
            })
        },
    },
    Difference {
        clause: "MQTT-4.7.3-1",
        what: "the topic for responses has a character",
        version: V5,
        sender: CLIENT,
        input: b"\x30\x07\0\x01a\x03\x08\0\0",
        explains: |case| {
            case.refused_for("MQTT-4.7.3-1").is_some_and(|other| {
                has_empty_response_topic(other)
                    && other.field("will topic") != Some(&Value::Text(String::new()))
            })
        },
    },
    Difference {
        clause: "MQTT-3.2.2-1",
        what: "in MQTT 3.1, the first byte of CONNACK is reserved",
        version: V3_1,
        sender: SERVER,
        input: b"\x20\x02\x01\0",
        explains: |case| {
            case.version == V3_1
                && case
                    .refused_for("MQTT-3.2.2-1")
                    .is_some_and(|other| other.field("session present") == Some(&Value::Byte(1)))
        },
    },
    Difference {
        clause: "MQTT-3.2.2-6",
        what: "a CONNACK that refuses does not speak of a session",
        version: V3_1_1,
        sender: SERVER,
        input: b"\x20\x02\x01\x05",
        explains: |case| {
            case.refused_for("MQTT-3.2.2-6").is_some_and(|other| {
                other.field("session present") == Some(&Value::Byte(1))
                    && other.field("reason") != Some(&Value::Byte(0))
            })
        },
    },
    Difference {
        clause: "MQTT-3.3.1-2",
        what: "a message of QoS 0 is no duplicate",
        version: V3_1_1,
        sender: CLIENT,
        input: b"\x38\x03\0\x01a",
        explains: |case| {
            case.refused_for("MQTT-3.3.1-2").is_some_and(|other| {
                other.field("dup") == Some(&Value::Byte(1))
                    && other.field("QoS") == Some(&Value::Byte(0))
            })
        },
    },
    Difference {
        clause: "MQTT-3.3.2-8",
        what: "a topic alias is not 0",
        version: V5,
        sender: CLIENT,
        input: b"\x30\x07\0\x01a\x03\x23\0\0",
        explains: |case| case.refused_with("MQTT-3.3.2-8", id::TOPIC_ALIAS, &Value::Two(0)),
    },
    Difference {
        clause: "MQTT-3.3.4-6",
        what: "a client does not publish with a subscription identifier",
        version: V5,
        sender: CLIENT,
        input: b"\x30\x06\0\x01a\x02\x0b\x01",
        explains: |case| {
            case.sender == CLIENT
                && case
                    .refused_for("MQTT-3.3.4-6")
                    .is_some_and(|other| other.property(id::SUBSCRIPTION_IDENTIFIER).is_some())
        },
    },
    Difference {
        clause: "3.8.2.1.2",
        what: "a subscription identifier is not 0",
        version: V5,
        sender: CLIENT,
        input: b"\x82\x09\0\x01\x02\x0b\0\0\x01a\0",
        explains: |case| {
            case.refused_with(
                "3.8.2.1.2",
                id::SUBSCRIPTION_IDENTIFIER,
                &Value::Variable(0),
            )
        },
    },
    Difference {
        clause: "MQTT-3.8.3-4",
        what: "a shared subscription has no No Local",
        version: V5,
        sender: CLIENT,
        input: b"\x82\x10\0\x01\0\0\x0a$share/g/a\x04",
        explains: |case| {
            case.refused_for("MQTT-3.8.3-4").is_some_and(|other| {
                other.fields.windows(2).any(|pair| match pair {
                    [(_, Value::Text(filter)), (_, Value::Byte(options))] => {
                        filter.starts_with("$share/") && options & 4 != 0
                    }
                    _ => false,
                })
            })
        },
    },
    Difference {
        clause: "MQTT-4.7.1-2",
        what: "a plus sign fills its level, the last one as well",
        version: V5,
        sender: CLIENT,
        input: b"\xa2\x07\0\x01\0\0\x02+a",
        explains: |case| {
            let is_misplaced = |filter: &str| {
                let last = filter.rsplit('/').next().unwrap_or_default();
                last.len() > 1 && last.starts_with('+')
            };
            matches!(
                case.ours,
                Err(OurError::Filter(TopicError::MisplacedWildcard))
            ) && case
                .other()
                .is_some_and(|other| other.filters().any(is_misplaced))
        },
    },
    Difference {
        clause: "MQTT-4.8.2-1",
        what: "a shared subscription has a group and a filter",
        version: V5,
        sender: CLIENT,
        input: b"\xa2\x0b\0\x01\0\0\x06$share",
        explains: |case| {
            matches!(case.ours, Err(OurError::Filter(TopicError::MalformedShare)))
                && case
                    .other()
                    .is_some_and(|other| other.filters().any(|it| it == "$share"))
        },
    },
    Difference {
        clause: "4.7.1.1",
        what: "nothing is said of how many levels a filter may have; here they have an end",
        version: V5,
        sender: CLIENT,
        input: DEEP_FILTER,
        explains: |case| {
            let is_deep = |filter: &str| filter.split('/').count() > MAX_LEVELS;
            matches!(case.ours, Err(OurError::Filter(TopicError::TooManyLevels)))
                && case
                    .other()
                    .is_some_and(|other| other.filters().any(is_deep))
        },
    },
    Difference {
        clause: "MQTT-3.9.3-2",
        what: "a SUBACK answers for at least one filter",
        version: V3_1_1,
        sender: SERVER,
        input: b"\x90\x02\0\x01",
        explains: |case| {
            case.refused_for("MQTT-3.9.3-2")
                .is_some_and(|other| other.field("reasons") == Some(&Value::Binary(Vec::new())))
        },
    },
    Difference {
        clause: "MQTT-3.9.3-2",
        what: "in MQTT 3.1, a SUBACK cannot refuse",
        version: V3_1,
        sender: SERVER,
        input: b"\x90\x03\0\x01\x80",
        explains: |case| {
            case.version == V3_1
                && case
                    .refused_for("MQTT-3.9.3-2")
                    .and_then(|other| other.field("reasons"))
                    .is_some_and(|it| matches!(it, Value::Binary(it) if it.contains(&0x80)))
        },
    },
    Difference {
        clause: "MQTT-3.11.3-2",
        what: "an UNSUBACK of MQTT 5 answers for at least one filter",
        version: V5,
        sender: SERVER,
        input: b"\xb0\x03\0\x01\0",
        explains: |case| {
            case.refused_for("MQTT-3.11.3-2")
                .is_some_and(|other| other.field("reasons") == Some(&Value::Binary(Vec::new())))
        },
    },
    Difference {
        clause: "MQTT-3.14.2-1",
        what: "some reasons of DISCONNECT come from one side only",
        version: V5,
        sender: SERVER,
        input: b"\xe0\x01\x04",
        explains: |case| {
            case.refused_for("MQTT-3.14.2-1").is_some_and(|other| {
                // Table 3-13.
                let only_from = match other.field("reason") {
                    Some(Value::Byte(0x04)) => CLIENT,
                    Some(Value::Byte(0x00 | 0x80..=0x83 | 0x90 | 0x93..=0x99)) => case.sender,
                    _ => SERVER,
                };
                only_from != case.sender
            })
        },
    },
    Difference {
        clause: "MQTT-3.14.2-2",
        what: "a server does not change the Session Expiry Interval",
        version: V5,
        sender: SERVER,
        input: b"\xe0\x07\0\x05\x11\0\0\0\0",
        explains: |case| {
            case.sender == SERVER
                && case
                    .refused_for("MQTT-3.14.2-2")
                    .is_some_and(|other| other.property(id::SESSION_EXPIRY_INTERVAL).is_some())
        },
    },
    Difference {
        clause: "MQTT-3.15.2-1",
        what: "a client does not say that it is authenticated, a server does not ask for it again",
        version: V5,
        sender: CLIENT,
        input: b"\xf0\0",
        explains: |case| {
            case.refused_for("MQTT-3.15.2-1").is_some_and(|other| {
                let reason = other.field("reason");
                let not_from_here = if case.sender == CLIENT { 0x00 } else { 0x19 };
                reason == Some(&Value::Byte(not_from_here))
            })
        },
    },
    Difference {
        clause: "3.15.2.2.2",
        what: "an AUTH names its method",
        version: V5,
        sender: CLIENT,
        input: b"\xf0\x02\x18\0",
        explains: |case| {
            case.refused_for("3.15.2.2.2")
                .is_some_and(|other| other.property(id::AUTHENTICATION_METHOD).is_none())
        },
    },
    // We accept what the other refuses.
    Difference {
        clause: "3.1.2.2",
        what: "a bridge says that it is one by the highest bit of the protocol level",
        version: V3_1_1,
        sender: CLIENT,
        input: b"\x10\x0c\0\x04MQTT\x84\x02\0\0\0\0",
        explains: |case| {
            case.accepted()
                .is_some_and(|ours| ours.field("bridge") == Some(&Value::Byte(1)))
                && case
                    .is_refused_by_other(|it| matches!(it, Error::InvalidProtocol(_, 0x83 | 0x84)))
        },
    },
    Difference {
        clause: "3.1, 2.1",
        what: "MQTT 3.1 does not use the flags of CONNECT's fixed header",
        version: V3_1,
        sender: CLIENT,
        input: b"\x1f\x0e\0\x06MQIsdp\x03\x02\0\0\0\0",
        explains: |case| {
            case.accepted_connect_of_3_1()
                && case.is_refused_by_other(|it| *it == Error::InvalidHeader)
        },
    },
    Difference {
        clause: "3.1, 2.1",
        what: "in MQTT 3.1, more packets than PUBLISH may be duplicates",
        version: V3_1,
        sender: CLIENT,
        input: b"\x6a\x02\0\x01",
        explains: |case| {
            case.version == V3_1
                && case.bytes[0] & 0x0f == 0b1010
                && case
                    .accepted()
                    .is_some_and(|ours| ![kind::CONNECT, kind::PUBLISH].contains(&ours.kind))
                && case.is_refused_by_other(|it| *it == Error::InvalidHeader)
        },
    },
    Difference {
        clause: "3.1, 3.1",
        what: "MQTT 3.1 does not use the lowest connect flag, nor, without a will, the will's",
        version: V3_1,
        sender: CLIENT,
        input: b"\x10\x0e\0\x06MQIsdp\x03\x03\0\0\0\0",
        explains: |case| {
            let flags = case.connect_flags();
            case.accepted_connect_of_3_1()
                && (flags & 1 != 0 || flags & 4 == 0 && flags & 0x38 != 0)
                && case.is_refused_by_other(|it| *it == Error::InvalidConnectFlags(flags))
        },
    },
    Difference {
        clause: "3.1, 3.1",
        what: "in MQTT 3.1, the length of CONNECT counts more than its flags",
        version: V3_1,
        sender: CLIENT,
        input: b"\x10\x0e\0\x06MQIsdp\x03\xc2\0\0\0\0",
        explains: |case| {
            let flags = case.connect_flags();
            let lacks = |flag, name| {
                let ours = case.accepted();
                flags & flag != 0 && ours.is_some_and(|ours| ours.field(name).is_none())
            };
            case.accepted_connect_of_3_1()
                && (lacks(0x80, "user name") || lacks(0x40, "password"))
                && matches!(case.other, Err(OtherError::TooShort))
        },
    },
    Difference {
        clause: "MQTT-3.3.2-13",
        what: "the receiver of a message need not check the format of its payload",
        version: V5,
        sender: CLIENT,
        input: b"\x30\x07\0\x01a\x02\x01\x01\xff",
        explains: |case| {
            let is_no_text = |payload: Option<&Value>| match payload {
                Some(Value::Binary(it)) => str::from_utf8(it).is_err(),
                _ => false,
            };
            case.accepted().is_some_and(|ours| {
                is_no_text(ours.field("payload")) || is_no_text(ours.field("will payload"))
            }) && matches!(
                case.other,
                Err(OtherError::V5(ErrorV5::InvalidPayloadFormat))
            )
        },
    },
    Difference {
        clause: "3.3.2.3.8",
        what: "a message that matches several subscriptions may have all their identifiers",
        version: V5,
        sender: SERVER,
        input: b"\x30\x08\0\x01a\x04\x0b\x01\x0b\x02",
        explains: |case| {
            let is_identifier = |(id, _): &&(u8, Value)| *id == id::SUBSCRIPTION_IDENTIFIER;
            case.accepted().is_some_and(|ours| {
                ours.kind == kind::PUBLISH
                    && case.sender == SERVER
                    && ours.properties.iter().filter(is_identifier).count() > 1
            }) && matches!(
                case.other,
                Err(OtherError::V5(ErrorV5::DuplicatedProperty(_)))
            )
        },
    },
    Difference {
        clause: "2.4",
        what: "0x8C stands in a DISCONNECT in the list of all reason codes",
        version: V5,
        sender: SERVER,
        input: b"\xe0\x01\x8c",
        explains: |case| {
            case.accepted()
                .is_some_and(|ours| ours.kind == kind::DISCONNECT)
                && matches!(
                    case.other,
                    Err(OtherError::V5(ErrorV5::InvalidReasonCode(_, 0x8c)))
                )
        },
    },
];

/// An UNSUBSCRIBE of a filter of 257 levels, all but the last of them empty.
const DEEP_FILTER: &[u8] = &{
    let mut bytes = [b'/'; 8 + 256];
    let header = [0xa2, 0x85, 0x02, 0, 1, 0, 1, 0];
    let mut at = 0;
    while at < header.len() {
        bytes[at] = header[at];
        at += 1;
    }
    bytes
};

fn has_empty_response_topic(content: &Content) -> bool {
    let mut all = content.properties.iter().chain(&content.will_properties);
    all.any(|it| *it == (id::RESPONSE_TOPIC, Value::Text(String::new())))
}

impl Case<'_> {
    /// What the other codec makes of it, if it accepts it.
    fn other(&self) -> Option<&Content> {
        self.other.as_ref().ok().map(|(content, _)| content)
    }

    /// What we make of it, if we accept it.
    fn accepted(&self) -> Option<&Content> {
        self.ours.as_ref().ok()
    }

    /// What the other codec makes of it, if it accepts it and ours refuses it for this clause.
    fn refused_for(&self, clause: &str) -> Option<&Content> {
        match &self.ours {
            Err(OurError::Packet(error)) if error.clause == clause => self.other(),
            _ => None,
        }
    }

    /// Whether ours refuses it for this clause, and the other codec reads this property of it.
    fn refused_with(&self, clause: &str, id: u8, value: &Value) -> bool {
        self.refused_for(clause)
            .is_some_and(|other| other.property(id) == Some(value))
    }

    /// Whether what the other codec makes of it can be said in fewer bytes.
    fn is_too_long(&self) -> bool {
        matches!(self.other, Ok((_, len)) if len < self.bytes.len())
    }

    fn is_refused_by_other(&self, is_it: impl Fn(&Error) -> bool) -> bool {
        matches!(&self.other, Err(OtherError::Common(error)) if is_it(error))
    }

    fn accepted_connect_of_3_1(&self) -> bool {
        self.accepted()
            .is_some_and(|ours| ours.field("level") == Some(&Value::Byte(3)))
    }

    /// The connect flags of a CONNECT.
    fn connect_flags(&self) -> u8 {
        let header = 1
            + self
                .bytes
                .iter()
                .skip(1)
                .take_while(|byte| **byte > 0x7f)
                .count()
            + 1;
        let body = self.bytes.get(header..).unwrap_or_default();
        let name = match body {
            [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => 0,
        };
        body.get(2 + name + 1).copied().unwrap_or(0)
    }
}
