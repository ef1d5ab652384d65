//! The types a property's value can have on the wire, in the words of section 2.2.2.2.
//! The table in `property.rs` names one of these for every value.

use core::num::{NonZeroU16, NonZeroU32};

use super::reader::Reader;
use super::writer::Sink;
use super::{EncodeError, PayloadFormat, ProtocolError, QoS};

/// How one kind of value is read and written.
pub(super) trait Wire<'a> {
    /// What it is in Rust.
    type Value;

    /// Reads it; `None` if it has the right form and is outside the range.
    fn read(reader: &mut Reader<'a>) -> Result<Option<Self::Value>, ProtocolError>;

    fn write<S: Sink>(value: Self::Value, sink: &mut S) -> Result<(), EncodeError>;

    /// Steps over it, without the cost of looking at it where that can be saved.
    #[inline]
    fn skip(reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        Self::read(reader).map(drop)
    }
}

/// A byte that is 0 or 1.
pub(super) enum Flag {}

impl Wire<'_> for Flag {
    type Value = bool;

    fn read(reader: &mut Reader<'_>) -> Result<Option<bool>, ProtocolError> {
        Ok(match reader.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        })
    }

    fn write<S: Sink>(value: bool, sink: &mut S) -> Result<(), EncodeError> {
        sink.u8(value.into());
        Ok(())
    }
}

/// The byte of the Payload Format Indicator.
pub(super) enum Format {}

impl Wire<'_> for Format {
    type Value = PayloadFormat;

    fn read(reader: &mut Reader<'_>) -> Result<Option<PayloadFormat>, ProtocolError> {
        Ok(match reader.u8()? {
            0 => Some(PayloadFormat::Unspecified),
            1 => Some(PayloadFormat::Utf8),
            _ => None,
        })
    }

    fn write<S: Sink>(value: PayloadFormat, sink: &mut S) -> Result<(), EncodeError> {
        sink.u8(value as u8);
        Ok(())
    }
}

/// The byte of the Maximum QoS, which is never 2: that is said by leaving it out.
pub(super) enum BelowQoS2 {}

impl Wire<'_> for BelowQoS2 {
    type Value = QoS;

    fn read(reader: &mut Reader<'_>) -> Result<Option<QoS>, ProtocolError> {
        Ok(QoS::from_u8(reader.u8()?).filter(|&qos| qos < QoS::ExactlyOnce))
    }

    fn write<S: Sink>(value: QoS, sink: &mut S) -> Result<(), EncodeError> {
        if value == QoS::ExactlyOnce {
            return Err(EncodeError::OutOfRange);
        }
        sink.u8(value as u8);
        Ok(())
    }
}

/// A Two Byte Integer.
pub(super) enum TwoBytes {}

impl Wire<'_> for TwoBytes {
    type Value = u16;

    fn read(reader: &mut Reader<'_>) -> Result<Option<u16>, ProtocolError> {
        reader.u16().map(Some)
    }

    fn write<S: Sink>(value: u16, sink: &mut S) -> Result<(), EncodeError> {
        sink.u16(value);
        Ok(())
    }
}

/// A Two Byte Integer that is not zero.
pub(super) enum TwoBytesNotZero {}

impl Wire<'_> for TwoBytesNotZero {
    type Value = NonZeroU16;

    fn read(reader: &mut Reader<'_>) -> Result<Option<NonZeroU16>, ProtocolError> {
        reader.u16().map(NonZeroU16::new)
    }

    fn write<S: Sink>(value: NonZeroU16, sink: &mut S) -> Result<(), EncodeError> {
        sink.u16(value.get());
        Ok(())
    }
}

/// A Four Byte Integer.
pub(super) enum FourBytes {}

impl Wire<'_> for FourBytes {
    type Value = u32;

    fn read(reader: &mut Reader<'_>) -> Result<Option<u32>, ProtocolError> {
        reader.u32().map(Some)
    }

    fn write<S: Sink>(value: u32, sink: &mut S) -> Result<(), EncodeError> {
        sink.u32(value);
        Ok(())
    }
}

/// A Four Byte Integer that is not zero.
pub(super) enum FourBytesNotZero {}

impl Wire<'_> for FourBytesNotZero {
    type Value = NonZeroU32;

    fn read(reader: &mut Reader<'_>) -> Result<Option<NonZeroU32>, ProtocolError> {
        reader.u32().map(NonZeroU32::new)
    }

    fn write<S: Sink>(value: NonZeroU32, sink: &mut S) -> Result<(), EncodeError> {
        sink.u32(value.get());
        Ok(())
    }
}

/// A Variable Byte Integer that is not zero.
pub(super) enum VariableNotZero {}

impl Wire<'_> for VariableNotZero {
    type Value = u32;

    fn read(reader: &mut Reader<'_>) -> Result<Option<u32>, ProtocolError> {
        Ok(Some(reader.variable_byte_integer()?).filter(|&value| value != 0))
    }

    fn write<S: Sink>(value: u32, sink: &mut S) -> Result<(), EncodeError> {
        if value == 0 {
            return Err(EncodeError::OutOfRange);
        }
        sink.variable_byte_integer(value)
    }
}

/// A UTF-8 Encoded String.
pub(super) enum Utf8 {}

impl<'a> Wire<'a> for Utf8 {
    type Value = &'a str;

    fn read(reader: &mut Reader<'a>) -> Result<Option<&'a str>, ProtocolError> {
        reader.string().map(Some)
    }

    fn write<S: Sink>(value: &'a str, sink: &mut S) -> Result<(), EncodeError> {
        sink.string(value)
    }

    #[inline]
    fn skip(reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        reader.string_bytes().map(drop)
    }
}

/// A UTF-8 Encoded String that is a topic name.
pub(super) enum TopicName {}

impl<'a> Wire<'a> for TopicName {
    type Value = &'a str;

    fn read(reader: &mut Reader<'a>) -> Result<Option<&'a str>, ProtocolError> {
        match reader.topic_name() {
            Ok("") => Err(ProtocolError::violation(
                "MQTT-4.7.3-1",
                "the response topic is empty",
            )),
            Ok(name) => Ok(Some(name)),
            Err(Some(error)) => Err(error),
            Err(None) => Err(ProtocolError::violation(
                "MQTT-3.3.2-14",
                "the response topic contains a wildcard",
            )),
        }
    }

    fn write<S: Sink>(value: &'a str, sink: &mut S) -> Result<(), EncodeError> {
        sink.string(value)
    }

    #[inline]
    fn skip(reader: &mut Reader<'a>) -> Result<(), ProtocolError> {
        reader.string_bytes().map(drop)
    }
}

/// Binary Data.
pub(super) enum Binary {}

impl<'a> Wire<'a> for Binary {
    type Value = &'a [u8];

    fn read(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, ProtocolError> {
        reader.binary().map(Some)
    }

    fn write<S: Sink>(value: &'a [u8], sink: &mut S) -> Result<(), EncodeError> {
        sink.binary(value)
    }
}
