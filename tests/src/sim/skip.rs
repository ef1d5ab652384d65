//! What is left out of a world, to see whether it fails without it.

use std::collections::BTreeSet;
use std::fmt;

/// Something that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// A whole client.
    Client(usize),
    /// A step of a client.
    Step(usize, usize),
    /// Something that happens to the broker.
    Fault(usize),
}

/// What is left out: `c3` is client 3, `c3.5` its step 5, `c3.5-9` those up to 9, `f2` a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skip(BTreeSet<Part>);

impl Skip {
    /// Reads what [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut skip = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            if let Some(fault) = part.strip_prefix('f') {
                skip.0.insert(Part::Fault(fault.parse().ok()?));
                continue;
            }
            let client = part.strip_prefix('c')?;
            let Some((client, steps)) = client.split_once('.') else {
                skip.0.insert(Part::Client(client.parse().ok()?));
                continue;
            };
            let client = client.parse().ok()?;
            let (from, to) = steps.split_once('-').unwrap_or((steps, steps));
            for step in from.parse().ok()?..=to.parse().ok()? {
                skip.0.insert(Part::Step(client, step));
            }
        }
        Some(skip)
    }

    /// The same without these as well.
    pub(crate) fn with(&self, parts: &[Part]) -> Self {
        let mut more = self.clone();
        more.0.extend(parts);
        more
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.0.contains(&part)
    }

    pub(crate) fn has_client(&self, client: usize) -> bool {
        self.has(Part::Client(client))
    }

    pub(crate) fn has_step(&self, client: usize, step: usize) -> bool {
        self.has(Part::Step(client, step))
    }

    pub(crate) fn has_fault(&self, fault: usize) -> bool {
        self.has(Part::Fault(fault))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        let mut run: Option<(usize, usize, usize)> = None;
        let close = |run: &mut Option<(usize, usize, usize)>, parts: &mut Vec<String>| {
            if let Some((client, from, to)) = run.take() {
                parts.push(match from == to {
                    true => format!("c{client}.{from}"),
                    false => format!("c{client}.{from}-{to}"),
                });
            }
        };
        for part in &self.0 {
            match *part {
                Part::Client(client) => parts.push(format!("c{client}")),
                Part::Fault(fault) => {
                    close(&mut run, &mut parts);
                    parts.push(format!("f{fault}"));
                }
                // Steps of a client that is left out anyway say nothing.
                Part::Step(client, _) if self.has_client(client) => {}
                Part::Step(client, step) => match &mut run {
                    Some((of, _, to)) if *of == client && *to + 1 == step => *to = step,
                    _ => {
                        close(&mut run, &mut parts);
                        run = Some((client, step, step));
                    }
                },
            }
        }
        close(&mut run, &mut parts);
        f.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for text in ["", "c3", "c1,c0.0-4,c0.6,c2.1,f0,f7"] {
            let skip = Skip::parse(text).expect("it is well-formed");
            assert_eq!(Skip::parse(&skip.to_string()), Some(skip.clone()));
            assert_eq!(skip.to_string(), text);
        }
        assert_eq!(Skip::parse("c1.x"), None);
        assert_eq!(Skip::parse("e1"), None);
    }
}
