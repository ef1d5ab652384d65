//! What a client may say of its session before it connects again.

/// Whether the broker has a session of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Present,
    Absent,
    /// The answer that would have told was lost.
    Unknown,
}

/// A session as its client knows it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    known: Known,
    /// What the next CONNACK must say.
    expected: Known,
    /// What is known after it.
    then: Known,
}

impl Session {
    /// There was never one.
    pub(super) fn none() -> Self {
        Self {
            known: Known::Absent,
            expected: Known::Absent,
            then: Known::Absent,
        }
    }

    /// A CONNECT is sent: does it ask for a clean start, and does the session outlive
    /// the connection?
    pub(super) fn ask(&mut self, is_clean: bool, is_lasting: bool) {
        self.expected = if is_clean { Known::Absent } else { self.known };
        self.then = if is_lasting {
            Known::Present
        } else {
            Known::Absent
        };
        // Until the answer comes, the broker may have heard of it or not.
        if self.known != self.then {
            self.known = Known::Unknown;
        }
    }

    /// CONNACK tells. Comes back with what is wrong with it [MQTT-3.2.2-2, MQTT-3.2.2-3].
    pub(super) fn answer(&mut self, is_present: bool) -> Result<(), &'static str> {
        self.known = self.then;
        match self.expected {
            Known::Present if !is_present => Err("its session is gone"),
            Known::Absent if is_present => Err("there is a session that has ended"),
            _ => Ok(()),
        }
    }
}
