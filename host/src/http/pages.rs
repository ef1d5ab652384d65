//! What is answered.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use super::metrics;
use super::request::{Refusal, Text, Topic};
use super::status::{Phase, Status};
use super::survey::{Reply, Survey};

const PLAIN: &str = "text/plain; charset=utf-8";

/// All that it takes to answer.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) status: Arc<Status>,
    pub(super) survey: Survey,
    pub(super) started: SystemTime,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Page {
    code: &'static str,
    content_type: &'static str,
    text: String,
}

impl Pages {
    pub(super) fn page(&self, topic: Topic) -> Page {
        // Shards that do not run yet cannot answer, and it is no fault of theirs.
        let is_starting = self.status.phase() == Phase::Starting;
        let replies = if is_starting {
            Vec::new()
        } else {
            self.survey.ask()
        };
        match topic {
            Topic::Health => judged(silence(&replies)),
            Topic::Readiness if is_starting => judged(Some("the broker is starting\n".to_owned())),
            Topic::Readiness => judged(self.hindrance(&replies)),
            Topic::Metrics => Page {
                code: "200 OK",
                content_type: metrics::CONTENT_TYPE,
                text: metrics::text(&replies, self.status.store_writes(), self.started),
            },
        }
    }

    /// Why clients are not served, if they are not.
    fn hindrance(&self, replies: &[Reply]) -> Option<String> {
        let any = |is: fn(&super::survey::Answer) -> bool| {
            let latest = replies.iter().filter_map(|reply| reply.latest.as_deref());
            latest.into_iter().any(is)
        };
        if any(|answer| answer.is_stopping) {
            return Some("the broker is stopping\n".to_owned());
        }
        silence(replies).or_else(|| match self.status.store_failure() {
            Some(why) => Some(format!("the store fails: {why}\n")),
            None => any(|answer| answer.store_fails).then(|| "the store fails\n".to_owned()),
        })
    }
}

/// A line for each shard that hangs, if any does.
fn silence(replies: &[Reply]) -> Option<String> {
    let mut lines = String::new();
    for (shard, reply) in replies.iter().enumerate() {
        if let Some(since) = reply.silent_since {
            let since = humantime::format_rfc3339_seconds(since);
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "shard {shard} has not answered since {since}");
        }
    }
    (!lines.is_empty()).then_some(lines)
}

fn judged(wrong: Option<String>) -> Page {
    let code = match wrong {
        None => "200 OK",
        Some(_) => "503 Service Unavailable",
    };
    Page {
        code,
        content_type: PLAIN,
        text: wrong.unwrap_or_else(|| "ok\n".to_owned()),
    }
}

impl From<Refusal> for Page {
    fn from(refusal: Refusal) -> Self {
        let (code, text) = match refusal {
            Refusal::BadRequest => ("400 Bad Request", "this is no HTTP request\n"),
            Refusal::NotFound => (
                "404 Not Found",
                "there are /healthz, /readyz and /metrics\n",
            ),
            Refusal::MethodNotAllowed => {
                ("405 Method Not Allowed", "only GET and HEAD are offered\n")
            }
            Refusal::TimeOut => ("408 Request Timeout", "the request took too long\n"),
            Refusal::HeadTooLarge => (
                "431 Request Header Fields Too Large",
                "the request is too long\n",
            ),
            Refusal::Version => (
                "505 HTTP Version Not Supported",
                "this is HTTP/1.1 and 1.0\n",
            ),
        };
        Self {
            code,
            content_type: PLAIN,
            text: text.to_owned(),
        }
    }
}

impl Page {
    /// As it is sent. Each connection has one: a scraper that comes every few seconds gains nothing
    /// by staying, and nobody stays by neglect.
    pub(super) fn to_bytes(&self, wanted: Text) -> Vec<u8> {
        let Self {
            code,
            content_type,
            text,
        } = self;
        let allow = if code.starts_with("405") {
            "Allow: GET, HEAD\r\n"
        } else {
            ""
        };
        let body = match wanted {
            Text::Wanted => text.as_str(),
            Text::LeftOut => "",
        };
        format!(
            "HTTP/1.1 {code}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             {allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
            text.len()
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::super::survey::Answer;
    use super::*;
    use crate::mailbox::{Mail, Mailbox};

    /// Pages about one shard whose mailbox is the other thing returned.
    fn pages(timeout: Duration) -> (Arc<Pages>, Arc<Mailbox<Mail>>) {
        let mailbox = Arc::new(Mailbox::new());
        let pages = Pages {
            status: Arc::default(),
            survey: Survey::new(vec![mailbox.clone()], timeout),
            started: SystemTime::UNIX_EPOCH,
        };
        (Arc::new(pages), mailbox)
    }

    /// What is said of a topic while a shard answers like this.
    fn told(topic: Topic, prepare: impl Fn(&Status), answer: &Answer) -> (&'static str, String) {
        let (pages, mailbox) = pages(Duration::from_secs(30));
        pages.status.broker_runs();
        prepare(&pages.status);
        let asking = thread::spawn(move || pages.page(topic));
        let mut mail = Vec::new();
        while !asking.is_finished() {
            mailbox.take(&mut mail);
            for mail in mail.drain(..) {
                if let Mail::Asked(question) = mail {
                    question.answer(|| answer.clone());
                }
            }
            thread::yield_now();
        }
        let page = asking.join().unwrap();
        (page.code, page.text)
    }

    const OK: &str = "200 OK";
    const UNAVAILABLE: &str = "503 Service Unavailable";

    #[test]
    fn a_broker_that_starts_is_well_and_not_ready_and_nobody_is_asked() {
        let (pages, mailbox) = pages(Duration::from_secs(30));
        let page = pages.page(Topic::Health);
        assert_eq!((page.code, &*page.text), (OK, "ok\n"));
        let page = pages.page(Topic::Readiness);
        let starting = (UNAVAILABLE, "the broker is starting\n");
        assert_eq!((page.code, &*page.text), starting);
        let page = pages.page(Topic::Metrics);
        assert_eq!(page.code, OK);
        assert!(page.text.contains("\nwherry_build_info{"), "{}", page.text);
        let mut mail = Vec::new();
        mailbox.take(&mut mail);
        assert!(mail.is_empty(), "{mail:?}");
    }

    #[test]
    fn a_broker_whose_shards_answer_is_well_and_ready() {
        for topic in [Topic::Health, Topic::Readiness] {
            let said = told(topic, |_| {}, &Answer::default());
            assert_eq!(said, (OK, "ok\n".to_owned()));
        }
    }

    #[test]
    fn a_shard_that_hangs_makes_the_broker_unwell() {
        let (pages, _) = pages(Duration::from_millis(10));
        pages.status.broker_runs();
        for topic in [Topic::Health, Topic::Readiness] {
            let page = pages.page(topic);
            assert_eq!(page.code, UNAVAILABLE);
            let since = page.text.strip_prefix("shard 0 has not answered since ");
            let since = since.unwrap().trim_end();
            assert!(humantime::parse_rfc3339(since).is_ok(), "{since}");
        }
        // There is something to be seen all the same.
        let page = pages.page(Topic::Metrics);
        assert_eq!(page.code, OK);
        assert!(page.text.contains("wherry_shard_up{shard=\"0\"} 0\n"));
    }

    #[test]
    fn a_broker_that_stops_is_well_and_not_ready() {
        let answer = Answer {
            is_stopping: true,
            ..Answer::default()
        };
        let said = told(Topic::Readiness, |_| {}, &answer);
        assert_eq!(said, (UNAVAILABLE, "the broker is stopping\n".to_owned()));
        assert_eq!(told(Topic::Health, |_| {}, &answer).0, OK);
    }

    #[test]
    fn a_broker_whose_store_fails_is_well_and_not_ready_until_it_recovers() {
        let fails = |status: &Status| status.store_fails("disk\nfull");
        let answer = Answer::default();
        let said = told(Topic::Readiness, fails, &answer);
        let because = "the store fails: disk\\nfull\n".to_owned();
        assert_eq!(said, (UNAVAILABLE, because));
        assert_eq!(told(Topic::Health, fails, &answer).0, OK);
        let recovers = |status: &Status| {
            fails(status);
            status.store_wrote(1);
        };
        assert_eq!(told(Topic::Readiness, recovers, &answer).0, OK);

        // The broker itself knows of it too, though not why.
        let answer = Answer {
            store_fails: true,
            ..answer
        };
        let said = told(Topic::Readiness, |_| {}, &answer);
        assert_eq!(said, (UNAVAILABLE, "the store fails\n".to_owned()));
    }

    #[test]
    fn a_page_says_how_long_it_is_even_where_it_is_left_out() {
        let page = Page::from(Refusal::MethodNotAllowed);
        let whole = String::from_utf8(page.to_bytes(Text::Wanted)).unwrap();
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
        assert!(head.contains("\r\nAllow: GET, HEAD\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert!(head.ends_with("\r\nConnection: close"), "{head}");
        let left_out = String::from_utf8(page.to_bytes(Text::LeftOut)).unwrap();
        assert_eq!(left_out, format!("{head}\r\n\r\n"));
    }
}
