//! `/metrics`: Prometheus' text format 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::{Duration, SystemTime};

use wherry_core::Counters;

use super::figures::{Across, FAMILIES, GAUGES, Members};
use super::status::StoreWrites;
use super::survey::{Answer, Reply};

/// What the text is, as a header says it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All figures: what `replies` say, shards taken together, of a broker that started at `started`.
/// Of a shard that hangs counts what it said last, so that no total goes back.
pub(super) fn text(replies: &[Reply], writes: StoreWrites, started: SystemTime) -> String {
    let mut page = Page(String::new());
    page.head("wherry_build_info", "Which Wherry this is.", "gauge");
    let version = Some(("version", env!("CARGO_PKG_VERSION")));
    page.sample("wherry_build_info", version, 1);
    page.head(
        "process_start_time_seconds",
        "When the broker started, in seconds since 1970.",
        "gauge",
    );
    let started = started.duration_since(SystemTime::UNIX_EPOCH);
    let started = Seconds(started.unwrap_or_default());
    page.sample("process_start_time_seconds", None, started);
    if !replies.is_empty() {
        page.head(
            "wherry_shard_up",
            "Whether the shard answers: 1 if it does.",
            "gauge",
        );
    }
    for (shard, reply) in replies.iter().enumerate() {
        let answers = u64::from(reply.silent_since.is_none());
        let shard = shard.to_string();
        page.sample("wherry_shard_up", Some(("shard", &shard)), answers);
    }
    let answers: Vec<&Answer> = replies
        .iter()
        .filter_map(|reply| reply.latest.as_deref())
        .collect();
    if !answers.is_empty() {
        page.gauges(&answers);
        page.counters(&answers);
    }
    page.store(writes);
    page.0
}

/// A time with milliseconds.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}

struct Page(String);

impl Page {
    // Writing to a string cannot fail, here and below. No name, help or label that there is has
    // anything in it that would have to be escaped.
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, label: Option<(&str, &str)>, value: impl Display) {
        let _ = match label {
            Some((label, is)) => writeln!(self.0, "{name}{{{label}=\"{is}\"}} {value}"),
            None => writeln!(self.0, "{name} {value}"),
        };
    }

    fn store(&mut self, writes: StoreWrites) {
        let StoreWrites {
            commits,
            records,
            failures,
        } = writes;
        for (name, help, value) in [
            (
                "commits",
                "Times that the store wrote all that waited.",
                commits,
            ),
            ("records", "Records that the store wrote.", records),
            (
                "write_failures",
                "Times that the store failed to write.",
                failures,
            ),
        ] {
            let name = format!("wherry_store_{name}_total");
            self.head(&name, help, "counter");
            self.sample(&name, None, value);
        }
    }

    fn gauges(&mut self, answers: &[&Answer]) {
        for (at, gauge) in GAUGES.iter().enumerate() {
            let all = answers.iter().filter_map(|answer| answer.gauges.get(at));
            let value: u64 = match gauge.across {
                Across::Sum => all.sum(),
                Across::Most => all.copied().max().unwrap_or_default(),
            };
            self.head(gauge.name, gauge.help, "gauge");
            self.sample(gauge.name, None, value);
        }
    }

    fn counters(&mut self, answers: &[&Answer]) {
        let mut totals = BTreeMap::<&str, u64>::new();
        for (name, value) in answers.iter().flat_map(|answer| answer.counters.iter()) {
            *totals.entry(name).or_default() += value;
        }
        let total = |name| totals.get(name).copied().unwrap_or_default();
        for family in FAMILIES {
            let name = family.name;
            self.head(name, family.help, "counter");
            match family.members {
                Members::One(counter) => self.sample(name, None, total(counter)),
                Members::Labelled(label, counters) => {
                    for (is, counter) in counters {
                        self.sample(name, Some((label, is)), total(counter));
                    }
                }
                Members::Reasons(prefix) => {
                    for (counter, _) in Counters::default().iter() {
                        if let Some(reason) = counter.strip_prefix(prefix) {
                            self.sample(name, Some(("reason", reason)), total(counter));
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use wherry_core::time::{Instant, WallClock};
    use wherry_core::{Broker, Config};

    use super::*;

    /// It does not only grow by what happens: it is a gauge.
    const MAXIMUM: &str = "clients_most";

    fn reply(answer: Answer) -> Reply {
        Reply {
            latest: Some(Arc::new(answer)),
            silent_since: None,
        }
    }

    fn fresh() -> Answer {
        let (now, wall) = (Instant::default(), WallClock::from_unix_millis(0));
        Answer::of(&Broker::new(Config::default(), 0, now, wall), false)
    }

    /// Name with label, and value, of every sample.
    fn samples(text: &str) -> Vec<(&str, &str)> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap())
            .collect()
    }

    fn value<'a>(text: &'a str, name: &str) -> &'a str {
        let samples = samples(text);
        let found: Vec<_> = samples.iter().filter(|sample| sample.0 == name).collect();
        assert_eq!(found.len(), 1, "{name} in:\n{text}");
        found[0].1
    }

    #[test]
    fn every_counter_is_told_exactly_once() {
        let mut told: Vec<&str> = vec![MAXIMUM];
        for family in FAMILIES {
            match family.members {
                Members::One(counter) => told.push(counter),
                Members::Labelled(_, counters) => {
                    told.extend(counters.iter().map(|(_, counter)| *counter));
                }
                Members::Reasons(prefix) => {
                    let counters = Counters::default();
                    let names = counters.iter().map(|(name, _)| name);
                    let before = told.len();
                    told.extend(names.filter(|name| name.starts_with(prefix)));
                    assert!(told.len() > before, "{prefix}");
                }
            }
        }
        told.sort_unstable();
        let counters = Counters::default();
        let mut all: Vec<_> = counters.iter().map(|(name, _)| name).collect();
        all.sort_unstable();
        assert_eq!(told, all);
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let text = text(
            &[reply(fresh())],
            StoreWrites::default(),
            SystemTime::UNIX_EPOCH,
        );
        assert!(text.ends_with('\n'));
        let is_name = |name: &str| {
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        let (mut families, mut series) = (BTreeSet::new(), BTreeSet::new());
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let rest = line.strip_prefix("# HELP ").unwrap();
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && families.insert(name), "{name}");
            assert!(help.ends_with('.') && !help.contains('\\'), "{help}");
            let kind = lines.next().unwrap();
            let kind = kind.strip_prefix(&format!("# TYPE {name} ")).unwrap();
            // By convention only what grows is a total.
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(matches!(kind, "counter" | "gauge"));
            let begin = families.len();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                assert!(series.insert(sample), "{sample} is there twice");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let labels = sample.strip_prefix(name).unwrap();
                if !labels.is_empty() {
                    let label = labels.strip_prefix('{').unwrap();
                    let label = label.strip_suffix("\"}").unwrap();
                    let (label, is) = label.split_once("=\"").unwrap();
                    assert!(is_name(label) && !is.is_empty() && !is.contains('"'));
                }
            }
            assert!(begin <= series.len(), "{name} has no sample");
        }
        let own = |name: &&&str| !name.starts_with("wherry_");
        let foreign: Vec<_> = families.iter().filter(own).collect();
        assert_eq!(foreign, [&"process_start_time_seconds"]);
    }

    #[test]
    fn nothing_is_there_of_a_broker_that_has_just_begun() {
        let text = text(
            &[reply(fresh())],
            StoreWrites::default(),
            SystemTime::UNIX_EPOCH,
        );
        for (sample, value) in samples(&text) {
            let is_one = sample.starts_with("wherry_build_info{")
                || sample == "wherry_shard_up{shard=\"0\"}";
            let expected = if is_one { 1.0 } else { 0.0 };
            assert_eq!(value.parse(), Ok(expected), "{sample}");
        }
    }

    #[test]
    fn shards_are_taken_together() {
        let (mut one, mut other) = (fresh(), fresh());
        one.counters.ended_keep_alive_timeout = 2;
        other.counters.ended_keep_alive_timeout = 3;
        one.counters.bytes_received = u64::MAX >> 1;
        one.counters.dropped_queue_full = 7;
        other.counters.publish_refused_store_failing = 8;
        for (at, gauge) in GAUGES.iter().enumerate() {
            match gauge.name {
                "wherry_sessions" => (one.gauges[at], other.gauges[at]) = (10, 20),
                "wherry_retained_messages" => (one.gauges[at], other.gauges[at]) = (5, 4),
                _ => {}
            }
        }
        let mut silent = reply(other);
        silent.silent_since = Some(SystemTime::UNIX_EPOCH);
        let started = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_050);
        let text = text(&[reply(one), silent], StoreWrites::default(), started);
        for (name, expected) in [
            (
                "wherry_connections_ended_total{reason=\"keep_alive_timeout\"}",
                "5",
            ),
            ("wherry_received_bytes_total", "9223372036854775807"),
            ("wherry_messages_dropped_total{reason=\"queue_full\"}", "7"),
            (
                "wherry_publish_refused_total{reason=\"store_failing\"}",
                "8",
            ),
            ("wherry_sessions", "30"),
            // Each shard has all of them.
            ("wherry_retained_messages", "5"),
            ("wherry_shard_up{shard=\"0\"}", "1"),
            ("wherry_shard_up{shard=\"1\"}", "0"),
            ("process_start_time_seconds", "1700000000.050"),
        ] {
            assert_eq!(value(&text, name), expected, "{name}");
        }
    }

    #[test]
    fn what_no_shard_has_told_is_left_out() {
        let silent = Reply {
            latest: None,
            silent_since: Some(SystemTime::UNIX_EPOCH),
        };
        let text = text(&[silent], StoreWrites::default(), SystemTime::UNIX_EPOCH);
        assert_eq!(value(&text, "wherry_shard_up{shard=\"0\"}"), "0");
        assert_eq!(samples(&text).len(), 6, "{text}");
    }
}
