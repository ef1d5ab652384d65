//! How far the enhanced authentication of one client is (section 4.12).
//!
//! | step | entered when | left when |
//! | --- | --- | --- |
//! | `Step::Examined` | CONNECT or AUTH brought data | the program answers, or takes too long |
//! | `Step::Challenged` | AUTH 0x18 is sent | AUTH or DISCONNECT comes, or it takes too long |
//! | `Step::Done` | the client has shown who it is | AUTH comes, or the connection ends |
//!
//! | step | AUTH 0x18 from the client | AUTH 0x19 from the client |
//! | --- | --- | --- |
//! | `Step::Examined` | waits | waits |
//! | `Step::Challenged` | back to `Examined` | protocol error |
//! | `Step::Done` | protocol error | `Examined` once more |
//!
//! The first exchange is `Stage::Authenticating` of the connection, and nothing but AUTH and
//! DISCONNECT may come meanwhile. Later ones, in `Stage::Open`, hold up no other packet.

use alloc::sync::Arc;

use super::Secret;
use crate::broker::Config;
use crate::time::Instant;

/// What there is to know about a client whose CONNECT named an authentication method.
#[derive(Debug)]
pub(crate) struct Authentication {
    /// As CONNECT named it. It holds for as long as the connection.
    pub(crate) method: Arc<str>,
    /// What is under examination.
    pub(crate) data: Option<Secret>,
    pub(crate) step: Step,
    /// How often the client was challenged in this exchange.
    pub(crate) rounds: u32,
    /// When the exchange began.
    began: Instant,
    /// When the step began.
    since: Instant,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The program's: it examines what the client has sent.
    Examined,
    /// The client's: it owes an answer to a challenge.
    Challenged,
    /// Nobody's.
    Done,
}

impl Authentication {
    /// The exchange that a CONNECT begins.
    pub(crate) fn new(method: &str, data: Option<&[u8]>, now: Instant) -> Self {
        Self {
            method: method.into(),
            data: secret(data),
            step: Step::Examined,
            rounds: 0,
            began: now,
            since: now,
        }
    }

    /// Begins another exchange.
    pub(crate) fn begin_again(&mut self, now: Instant) {
        self.rounds = 0;
        self.began = now;
    }

    /// The client has sent something to examine.
    pub(crate) fn examine(&mut self, data: Option<&[u8]>, now: Instant) {
        self.data = secret(data);
        self.step = Step::Examined;
        self.since = now;
    }

    /// What was under examination has been, and this comes next.
    pub(crate) fn answered(&mut self, next: Step, now: Instant) {
        self.data = None;
        self.step = next;
        self.since = now;
    }

    /// When this has taken too long. A step has the time that it would have without an exchange,
    /// and all steps together have that of one of each: however many challenges there are, who
    /// answers each just in time gains nothing by it.
    pub(super) fn deadline(&self, config: &Config) -> Option<Instant> {
        let whole = config
            .authenticate_timeout
            .saturating_add(config.connect_timeout);
        let step = match self.step {
            Step::Examined => config.authenticate_timeout,
            Step::Challenged => config.connect_timeout,
            Step::Done => return None,
        };
        Some(self.since.after(step).min(self.began.after(whole)))
    }
}

fn secret(data: Option<&[u8]>) -> Option<Secret> {
    data.map(|data| Secret(data.into()))
}
