//! What is asked for. The bytes are read by httparse; nothing here looks into them before it has.

use httparse::{EMPTY_HEADER, Error, Request};

/// How long a request may be up to the empty line; what follows is not looked at.
pub(super) const LONGEST_HEAD: usize = 8 << 10;

/// How many headers it may have. Browsers send about twenty.
const MOST_HEADERS: usize = 64;

/// What there is to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    Health,
    Readiness,
    Metrics,
}

/// Why something is not answered as it was asked: status codes of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TimeOut,
    HeadTooLarge,
    Version,
}

/// What the bytes that have come so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The beginning of a request, as far as one can tell.
    NotYet,
    /// A request for a topic; not for its text if it is a HEAD.
    For(Topic, Text),
    /// Something else.
    Refused(Refusal, Text),
}

/// Whether the text is wanted, or only what the headers say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Wanted,
    LeftOut,
}

/// Reads a request that begins with `bytes`.
pub(super) fn read(bytes: &[u8]) -> Asked {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(status) if status.is_partial() => {
            if bytes.len() < LONGEST_HEAD {
                Asked::NotYet
            } else {
                Asked::Refused(Refusal::HeadTooLarge, Text::Wanted)
            }
        }
        Ok(_) => whole(&request),
        Err(error) => {
            let refusal = match error {
                Error::TooManyHeaders => Refusal::HeadTooLarge,
                Error::Version => Refusal::Version,
                _ => Refusal::BadRequest,
            };
            Asked::Refused(refusal, Text::Wanted)
        }
    }
}

fn whole(request: &Request<'_, '_>) -> Asked {
    let (method, target) = (
        request.method.unwrap_or_default(),
        request.path.unwrap_or_default(),
    );
    let text = if method == "HEAD" {
        Text::LeftOut
    } else {
        Text::Wanted
    };
    let headers = request.headers.iter();
    let hosts = headers.filter(|header| header.name.eq_ignore_ascii_case("host"));
    // RFC 9112, 3.2: from HTTP/1.1 on there is exactly one.
    if request.version == Some(1) && hosts.count() != 1 {
        return Asked::Refused(Refusal::BadRequest, text);
    }
    if method != "GET" && method != "HEAD" {
        return Asked::Refused(Refusal::MethodNotAllowed, text);
    }
    match path(target) {
        "/healthz" => Asked::For(Topic::Health, text),
        "/readyz" => Asked::For(Topic::Readiness, text),
        "/metrics" => Asked::For(Topic::Metrics, text),
        _ => Asked::Refused(Refusal::NotFound, text),
    }
}

/// The path of a target, which may name the host too, as it does for a proxy (RFC 9112, 3.2.2).
fn path(target: &str) -> &str {
    let local = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').and_then(|at| rest.get(at..)),
        None => Some(target),
    };
    let local = local.unwrap_or_default();
    local.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn refused(refusal: Refusal) -> Asked {
        Asked::Refused(refusal, Text::Wanted)
    }

    #[test]
    fn each_topic_has_a_path() {
        for (target, topic) in [
            ("/healthz", Topic::Health),
            ("/readyz", Topic::Readiness),
            ("/metrics", Topic::Metrics),
            ("/metrics?name=a/b", Topic::Metrics),
            ("http://a:1/metrics?", Topic::Metrics),
        ] {
            for end in [" HTTP/1.0\r\n\r\n", " HTTP/1.1\r\nhost: a\r\n\r\nmore"] {
                let asked = format!("GET {target}{end}");
                assert_eq!(read(asked.as_bytes()), Asked::For(topic, Text::Wanted));
                let asked = format!("HEAD {target}{end}");
                assert_eq!(read(asked.as_bytes()), Asked::For(topic, Text::LeftOut));
            }
        }
    }

    #[test]
    fn what_is_not_asked_for_well_is_refused() {
        for (bytes, refusal) in [
            ("POST /metrics HTTP/1.0\r\n\r\n", Refusal::MethodNotAllowed),
            ("get /metrics HTTP/1.0\r\n\r\n", Refusal::MethodNotAllowed),
            ("OPTIONS * HTTP/1.0\r\n\r\n", Refusal::MethodNotAllowed),
            ("GET / HTTP/1.0\r\n\r\n", Refusal::NotFound),
            ("GET /metrics/ HTTP/1.0\r\n\r\n", Refusal::NotFound),
            ("GET /METRICS HTTP/1.0\r\n\r\n", Refusal::NotFound),
            ("GET metrics HTTP/1.0\r\n\r\n", Refusal::NotFound),
            ("GET http://metrics HTTP/1.0\r\n\r\n", Refusal::NotFound),
            ("GET /metrics HTTP/1.1\r\n\r\n", Refusal::BadRequest),
            (
                "GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                Refusal::BadRequest,
            ),
            ("GET /metrics HTTP/2.0\r\n\r\n", Refusal::Version),
            ("GET /metrics\r\n\r\n", Refusal::BadRequest),
            ("\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0", Refusal::BadRequest),
            ("\x16\x03\x01\x02\0\x01", Refusal::BadRequest),
        ] {
            assert_eq!(read(bytes.as_bytes()), refused(refusal), "{bytes:?}");
        }
        let asked = Asked::Refused(Refusal::NotFound, Text::LeftOut);
        assert_eq!(read(b"HEAD / HTTP/1.0\r\n\r\n"), asked);
    }

    #[test]
    fn a_request_has_a_longest_length() {
        let begin = "GET /metrics HTTP/1.0\r\na: ";
        let long = format!("{begin}{}", "x".repeat(LONGEST_HEAD - begin.len()));
        assert_eq!(read(&long.as_bytes()[..LONGEST_HEAD - 1]), Asked::NotYet);
        assert_eq!(read(long.as_bytes()), refused(Refusal::HeadTooLarge));
        let headers = |count| format!("GET / HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(count));
        let most = headers(MOST_HEADERS);
        assert_eq!(read(most.as_bytes()), refused(Refusal::NotFound));
        let many = headers(MOST_HEADERS + 1);
        assert_eq!(read(many.as_bytes()), refused(Refusal::HeadTooLarge));
    }

    proptest! {
        /// Whatever comes, what follows a request changes nothing, and what is refused before it
        /// is whole stays refused.
        #[test]
        fn any_bytes_are_a_request_or_none(
            begin in prop_oneof![Just(""), Just("GET "), Just("GET /metrics HTTP/1.1\r\n")],
            bytes in vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), any::<u8>()], 0..200),
            more in vec(any::<u8>(), 0..20),
        ) {
            let mut all = [begin.as_bytes(), &bytes[..]].concat();
            let asked = read(&all);
            all.extend(more);
            prop_assert!(asked == Asked::NotYet || read(&all) == asked);
        }
    }
}
