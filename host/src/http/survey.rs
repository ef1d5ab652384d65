//! What shards say of themselves when they are asked.
//!
//! A shard publishes nothing by itself, so being observed costs a turn nothing. A question is a
//! message to its mailbox, and the shard writes the answer where the question says.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use wherry_core::{Broker, Counters};

use super::figures::{GAUGES, Gauges};
use crate::mailbox::{Mail, Mailbox};

/// What a shard says of itself.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub(super) counters: Counters,
    pub(super) gauges: Gauges,
    pub(super) is_stopping: bool,
    pub(super) store_fails: bool,
}

impl Answer {
    /// What is to be said of `broker`.
    pub fn of(broker: &Broker, is_stopping: bool) -> Self {
        Self {
            counters: broker.counters().clone(),
            gauges: GAUGES.map(|gauge| (gauge.of)(broker)),
            is_stopping,
            store_fails: broker.is_store_failing(),
        }
    }
}

/// The place where one shard is asked, and where it answers.
///
/// Whoever asks while a question waits shares its answer: a shard that hangs has one question in
/// its mailbox, however often it is asked.
#[derive(Debug, Default)]
pub struct Question {
    inner: Mutex<Inner>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    /// Since when a question waits for its answer, if one does.
    waits_since: Option<SystemTime>,
    /// How many answers there were.
    answers: u64,
    latest: Option<Arc<Answer>>,
}

/// How a shard has answered.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// What it said last, this time or another.
    pub(super) latest: Option<Arc<Answer>>,
    /// Since when it has left the question without an answer, if it has.
    pub(super) silent_since: Option<SystemTime>,
}

impl Question {
    /// For the shard that was asked: answers everybody who waits.
    pub fn answer(&self, answer: impl FnOnce() -> Answer) {
        let mut inner = self.lock();
        // Made under the lock: so whoever asks before has an answer from after the question.
        inner.latest = Some(Arc::new(answer()));
        inner.waits_since = None;
        inner.answers += 1;
        drop(inner);
        self.answered.notify_all();
    }

    /// Asks the shard that reads `mailbox`. Returns how many answers there were before its own.
    fn ask(self: &Arc<Self>, mailbox: &Mailbox<Mail>) -> u64 {
        let mut inner = self.lock();
        let is_new = inner.waits_since.is_none();
        inner.waits_since.get_or_insert_with(SystemTime::now);
        let before = inner.answers;
        drop(inner);
        if is_new {
            mailbox.push(Mail::Asked(self.clone()));
        }
        before
    }

    /// Waits for an answer after the first `before` ones, until `deadline`.
    fn wait(&self, before: u64, deadline: Instant) -> Reply {
        let left = deadline.saturating_duration_since(Instant::now());
        let (inner, _) = self
            .answered
            .wait_timeout_while(self.lock(), left, |inner| inner.answers == before)
            .unwrap_or_else(PoisonError::into_inner);
        Reply {
            latest: inner.latest.clone(),
            silent_since: inner.waits_since.filter(|_| inner.answers == before),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What is behind the lock is whole between any two statements.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All shards of a process, to be asked.
#[derive(Debug)]
pub(super) struct Survey {
    shards: Vec<(Arc<Mailbox<Mail>>, Arc<Question>)>,
    timeout: Duration,
}

impl Survey {
    /// The shards that read `mailboxes`, each of which may take `timeout` for an answer.
    pub(super) fn new(mailboxes: Vec<Arc<Mailbox<Mail>>>, timeout: Duration) -> Self {
        let with_question = |mailbox| (mailbox, Arc::default());
        Self {
            shards: mailboxes.into_iter().map(with_question).collect(),
            timeout,
        }
    }

    /// Asks all at once, and returns what each has to say, in their order.
    pub(super) fn ask(&self) -> Vec<Reply> {
        let deadline = Instant::now() + self.timeout;
        let asked: Vec<u64> = self
            .shards
            .iter()
            .map(|(mailbox, question)| question.ask(mailbox))
            .collect();
        self.shards
            .iter()
            .zip(asked)
            .map(|((_, question), before)| question.wait(before, deadline))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn questions(mailbox: &Mailbox<Mail>) -> Vec<Arc<Question>> {
        let mut mail = Vec::new();
        mailbox.take(&mut mail);
        mail.into_iter()
            .map(|mail| match mail {
                Mail::Asked(question) => question,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn answer(sessions: u64) -> Answer {
        let mut answer = Answer::default();
        answer.counters.clients_admitted = sessions;
        answer
    }

    #[test]
    fn a_shard_that_hangs_is_told_from_those_that_answer_and_has_one_question() {
        let mailboxes = [(); 2].map(|()| Arc::new(Mailbox::new()));
        let survey = Survey::new(mailboxes.to_vec(), Duration::from_millis(20));
        let start = SystemTime::now();
        let first = survey.ask();
        assert!(first.iter().all(|reply| reply.latest.is_none()));
        let since = first[1].silent_since.unwrap();
        assert!(since >= start);
        for _ in 0..3 {
            assert_eq!(survey.ask()[1].silent_since, Some(since));
        }
        let [question] = &questions(&mailboxes[1])[..] else {
            panic!("one question waits");
        };
        question.answer(|| answer(5));
        assert_eq!(questions(&mailboxes[0]).len(), 1);

        // What it has said stands until there is something newer.
        let then = survey.ask();
        assert!(then[0].latest.is_none() && then[0].silent_since.is_some());
        let latest = then[1].latest.as_ref().unwrap();
        assert_eq!(latest.counters.clients_admitted, 5);
        assert!(then[1].silent_since.is_some_and(|then| then != since));
        assert_eq!(questions(&mailboxes[1]).len(), 1);
    }

    #[test]
    fn everybody_who_asks_has_an_answer_that_is_newer_than_the_question() {
        let mailbox = Arc::new(Mailbox::new());
        let survey = Arc::new(Survey::new(vec![mailbox.clone()], PATIENCE));
        let stale = Arc::new(Question::default());
        stale.answer(|| answer(1));
        assert_eq!(stale.ask(&mailbox), 1);
        assert_eq!(stale.ask(&mailbox), 1);
        let [question] = &questions(&mailbox)[..] else {
            panic!("one question waits");
        };
        question.answer(|| answer(2));
        let reply = stale.wait(1, Instant::now());
        assert_eq!(reply.latest.unwrap().counters.clients_admitted, 2);
        assert_eq!(reply.silent_since, None);

        let asking: Vec<_> = (0..4)
            .map(|_| {
                let survey = survey.clone();
                thread::spawn(move || survey.ask())
            })
            .collect();
        // As a shard does: it answers as long as somebody asks.
        while !asking.iter().all(thread::JoinHandle::is_finished) {
            for question in questions(&mailbox) {
                question.answer(|| answer(3));
            }
            thread::yield_now();
        }
        for asked in asking {
            let reply = asked.join().unwrap().remove(0);
            assert_eq!(reply.latest.unwrap().counters.clients_admitted, 3);
            assert_eq!(reply.silent_since, None);
        }
    }
}
