//! Who may come in.

use std::sync::Arc;

use wherry_core::Credentials;
use wherry_core::connection::ConnectionId;
use wherry_core::packet::ReasonCode;
use wherry_core::permission::Grant;

use crate::mailbox::{Mail, Mailbox};

/// The outcome of a check.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Come in, and do what the grant says.
    Admit(Grant),
    /// Stay out: this is what the client is told.
    Refuse(ReasonCode),
}

/// Checks credentials.
///
/// It is called on the shard's thread and must not block: what takes time is asked for with
/// [`Inquiry::later`] and answered from elsewhere.
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

/// Everybody is welcome to everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authenticate for AllowAll {
    fn authenticate(&self, _: &Credentials<'_>, _: Inquiry<'_>) -> Answer {
        Answer::now(Decision::Admit(Grant::unrestricted()))
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
        reply.send(Decision::Admit(Grant::unrestricted()));
        let mut mail = Vec::new();
        mailbox.take(&mut mail);
        assert!(matches!(mail[..], [Mail::Decided(_, Decision::Admit(_))]));
    }
}
