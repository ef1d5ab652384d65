//! What a packet says, in a form that is neither codec's.

use crate::wire::Value;

/// A packet's fields by their names, and its properties by their identifiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The packet type.
    pub(super) kind: u8,
    pub(super) fields: Vec<(&'static str, Value)>,
    /// Sorted by identifier; those of one kind in their order.
    pub(super) properties: Vec<(u8, Value)>,
    pub(super) will_properties: Vec<(u8, Value)>,
}

impl Content {
    pub(super) fn new(kind: u8) -> Self {
        Self {
            kind,
            fields: Vec::new(),
            properties: Vec::new(),
            will_properties: Vec::new(),
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: Value) -> Self {
        self.fields.push((name, value));
        self
    }

    pub(super) fn flag(self, name: &'static str, flag: bool) -> Self {
        self.with(name, Value::Byte(flag.into()))
    }

    pub(super) fn byte(self, name: &'static str, byte: u8) -> Self {
        self.with(name, Value::Byte(byte))
    }

    pub(super) fn two(self, name: &'static str, number: u16) -> Self {
        self.with(name, Value::Two(number))
    }

    pub(super) fn text(self, name: &'static str, text: &str) -> Self {
        self.with(name, Value::Text(text.to_owned()))
    }

    pub(super) fn binary(self, name: &'static str, bytes: &[u8]) -> Self {
        self.with(name, Value::Binary(bytes.to_vec()))
    }

    pub(super) fn properties(mut self, mut properties: Vec<(u8, Value)>) -> Self {
        properties.sort_by_key(|(id, _)| *id);
        self.properties = properties;
        self
    }

    pub(super) fn will_properties(mut self, mut properties: Vec<(u8, Value)>) -> Self {
        properties.sort_by_key(|(id, _)| *id);
        self.will_properties = properties;
        self
    }

    /// The field of that name, the first if there are several.
    pub(super) fn field(&self, name: &str) -> Option<&Value> {
        let mut named = self.fields.iter().filter(|(other, _)| *other == name);
        named.next().map(|(_, value)| value)
    }

    /// All topic filters.
    pub(super) fn filters(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter_map(|field| match field {
            ("filter", Value::Text(filter)) => Some(&**filter),
            _ => None,
        })
    }

    /// The value of a property.
    pub(super) fn property(&self, id: u8) -> Option<&Value> {
        let mut all = self.properties.iter().filter(|(other, _)| *other == id);
        all.next().map(|(_, value)| value)
    }

    /// Every string of the packet.
    pub(super) fn strings(&self) -> impl Iterator<Item = &str> {
        let fields = self.fields.iter().map(|(_, value)| value);
        let properties = self.properties.iter().chain(&self.will_properties);
        let values = fields.chain(properties.map(|(_, value)| value));
        values.flat_map(|value| match value {
            Value::Text(text) => vec![&**text],
            Value::Pair(name, value) => vec![&**name, &**value],
            _ => Vec::new(),
        })
    }
}
