//! Who may come in.

use std::fmt;
use std::sync::Arc;

use wherry_core::Credentials;
use wherry_core::connection::ConnectionId;
use wherry_core::packet::ReasonCode;
use wherry_core::permission::Grant;

use crate::mailbox::{Mail, Mailbox};

/// The outcome of a check.
#[derive(Clone)]
pub enum Decision {
    /// Come in, or stay, and do what the grant says.
    Admit {
        /// What the client may do.
        grant: Grant,
        /// The last word of an enhanced authentication to the client, if the method has one.
        data: Option<Box<[u8]>>,
    },
    /// Tell me more: one step of an enhanced authentication. Only for clients whose
    /// [`Credentials::method`] is there; others are refused by it.
    Challenge {
        /// What the client is asked, if the method has words for it.
        data: Option<Box<[u8]>>,
        /// Who examines the answer. What has to be known for that, it keeps; it is dropped if the
        /// client goes without an answer.
        next: Arc<dyn Authenticate>,
    },
    /// Stay out: this is what the client is told.
    Refuse(ReasonCode),
}

impl Decision {
    /// Come in, and do what the grant says.
    pub fn admit(grant: Grant) -> Self {
        Self::Admit { grant, data: None }
    }
}

impl fmt::Debug for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What method and client say to each other is nobody else's business.
        match self {
            Self::Admit { grant, .. } => f.debug_tuple("Admit").field(grant).finish(),
            Self::Challenge { .. } => f.write_str("Challenge"),
            Self::Refuse(reason) => f.debug_tuple("Refuse").field(reason).finish(),
        }
    }
}

/// Checks credentials: those of clients that want to come in, and of clients that are in and
/// authenticate again.
///
/// It is called on the shard's thread and must not block: what takes time is asked for with
/// [`Inquiry::later`] and answered from elsewhere.
///
/// Clients of MQTT 5 may name a method of enhanced authentication. Whoever does not know it refuses
/// with [`ReasonCode::BadAuthenticationMethod`]; there is no method that every broker knows.
pub trait Authenticate: Send + Sync {
    /// Checks `credentials` and answers at once, with [`Answer::now`], or later.
    fn authenticate(&self, credentials: &Credentials<'_>, inquiry: Inquiry<'_>) -> Answer;
}

/// What [`Authenticate::authenticate`] returns.
#[derive(Debug)]
pub struct Answer(Option<Decision>);

impl Answer {
    /// The check is done.
    pub fn now(decision: Decision) -> Self {
        Self(Some(decision))
    }

    pub(crate) fn into_decision(self) -> Option<Decision> {
        self.0
    }
}

/// One question, put to the authenticator.
#[derive(Debug)]
pub struct Inquiry<'a> {
    pub(crate) connection: ConnectionId,
    pub(crate) mailbox: &'a Arc<Mailbox<Mail>>,
}

impl Inquiry<'_> {
    /// Puts the answer off. There is no other way to an [`Answer`] without a decision, so a client
    /// is never left without somebody who owes it one.
    pub fn later(self) -> (Reply, Answer) {
        let reply = Reply {
            connection: self.connection,
            mailbox: Some(self.mailbox.clone()),
        };
        (reply, Answer(None))
    }
}

/// An answer that is owed. Dropping it refuses the client: what fails, fails closed.
#[derive(Debug)]
pub struct Reply {
    connection: ConnectionId,
    mailbox: Option<Arc<Mailbox<Mail>>>,
}

impl Reply {
    /// Answers, from any thread.
    pub fn send(mut self, decision: Decision) {
        self.deliver(decision);
    }

    fn deliver(&mut self, decision: Decision) {
        if let Some(mailbox) = self.mailbox.take() {
            mailbox.push(Mail::Decided(self.connection, decision));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.deliver(Decision::Refuse(ReasonCode::ServerUnavailable));
    }
}

/// Everybody is welcome to everything, but for those who want to be asked for proof by a method.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authenticate for AllowAll {
    fn authenticate(&self, credentials: &Credentials<'_>, _: Inquiry<'_>) -> Answer {
        Answer::now(match credentials.method {
            None => Decision::admit(Grant::unrestricted()),
            Some(_) => Decision::Refuse(ReasonCode::BadAuthenticationMethod), // [MQTT-4.12.0-1]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_forgotten_refuses() {
        let mailbox = Arc::new(Mailbox::new());
        let inquiry = Inquiry {
            connection: ConnectionId::default(),
            mailbox: &mailbox,
        };
        let (reply, answer) = inquiry.later();
        assert!(answer.into_decision().is_none());
        drop(reply);
        let mut mail = Vec::new();
        mailbox.take(&mut mail);
        assert!(matches!(
            mail[..],
            [Mail::Decided(
                _,
                Decision::Refuse(ReasonCode::ServerUnavailable)
            )]
        ));
    }

    #[test]
    fn an_answer_that_is_sent_is_the_only_one() {
        let mailbox = Arc::new(Mailbox::new());
        let inquiry = Inquiry {
            connection: ConnectionId::default(),
            mailbox: &mailbox,
        };
        let (reply, _) = inquiry.later();
        reply.send(Decision::admit(Grant::unrestricted()));
        let mut mail = Vec::new();
        mailbox.take(&mut mail);
        assert!(matches!(
            mail[..],
            [Mail::Decided(_, Decision::Admit { .. })]
        ));
    }
}
