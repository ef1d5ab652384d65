//! The grammar of filters and the relations between filters, against their definitions, on every
//! small case there is.

use std::collections::BTreeSet;

use wherry_core::topic::{check_filter, check_name, covers, matches};

/// Every string of up to `len` parts, each part one of `parts`, with `glue` between them.
fn all(parts: &[&str], len: usize, glue: &str) -> Vec<String> {
    let mut strings: Vec<String> = parts.iter().map(ToString::to_string).collect();
    let mut longest = strings.clone();
    for _ in 1..len {
        longest = longest
            .iter()
            .flat_map(|start| parts.iter().map(move |part| format!("{start}{glue}{part}")))
            .collect();
        strings.extend_from_slice(&longest);
    }
    strings.retain(|string| !string.is_empty());
    strings
}

#[test]
fn a_filter_is_accepted_exactly_if_its_wildcards_stand_alone() {
    // 3.1.1 [MQTT-4.7.1-2], [MQTT-4.7.1-3]; 5.0 [MQTT-4.7.1-1], [MQTT-4.7.1-2]
    for filter in all(&["a", "/", "+", "#", "$"], 6, "") {
        let chars: Vec<char> = filter.chars().collect();
        let well_formed = chars.iter().enumerate().all(|(at, char)| {
            let begins = at == 0 || chars[at - 1] == '/';
            let is_last = at + 1 == chars.len();
            match char {
                '#' => begins && is_last,
                '+' => begins && (is_last || chars[at + 1] == '/'),
                _ => true,
            }
        });
        assert_eq!(check_filter(&filter, 128).is_ok(), well_formed, "{filter}");
    }
}

#[test]
fn a_name_is_a_filter_without_wildcards_that_matches_itself() {
    for text in all(&["a", "/", "+", "#", "$"], 5, "") {
        let is_name = check_name(&text, 128).is_ok();
        assert_eq!(is_name, !text.contains(['+', '#']), "{text}");
        if is_name {
            assert!(
                check_filter(&text, 128).is_ok() && matches(&text, &text),
                "{text}"
            );
        }
    }
}

#[test]
fn a_filter_covers_another_exactly_if_it_matches_all_its_topics() {
    let mut filters = all(&["a", "$s", "", "+"], 3, "/");
    let with_tail: Vec<String> = filters.iter().map(|filter| format!("{filter}/#")).collect();
    filters.extend(with_tail);
    filters.push("#".into());
    filters.push("/#".into());
    // Levels that no filter names stand for all the others; one level more than any filter has,
    // for any number.
    let topics = all(&["a", "$s", "", "z", "$z"], 5, "/");
    let matched: Vec<BTreeSet<usize>> = filters
        .iter()
        .map(|filter| {
            (0..topics.len())
                .filter(|&at| matches(filter, &topics[at]))
                .collect()
        })
        .collect();
    for (outer, of_outer) in filters.iter().zip(&matched) {
        for (inner, of_inner) in filters.iter().zip(&matched) {
            assert_eq!(
                covers(outer, inner),
                of_inner.is_subset(of_outer),
                "{outer} {inner}"
            );
        }
    }
}
