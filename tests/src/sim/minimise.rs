//! A smaller world that fails in the same way.

use std::process::Command;

use super::plan::Plan;
use super::runs::{Terms, arguments, command};
use super::skip::Part;

/// What a world fails by; worlds run in processes of their own, for a panic ends one.
fn kind_of_failure(seed: u64, terms: &Terms) -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new(program)
        .args(arguments(seed, terms).split(' '))
        .env("WHERRY_SIMULATE_AGAIN", "1")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("FAILED"))?;
    // `FAILED seed 7: kind`, or `FAILED: panic at file:line`.
    line.split_once(": ").map(|(_, kind)| kind.to_owned())
}

/// Leaves out all that a failure does not need, and says what is left.
pub(super) fn minimise(seed: u64, terms: &Terms, say: impl Fn(&str)) {
    let Some(kind) = kind_of_failure(seed, terms) else {
        return say(&format!("seed {seed} does not fail"));
    };
    say(&format!("it fails by: {kind}"));
    let fails = |terms: &Terms| kind_of_failure(seed, terms).as_ref() == Some(&kind);
    let plan = Plan::draw(seed, &terms.off);
    let mut terms = terms.clone();
    let clients: Vec<Part> = (0..plan.clients + plan.hostile).map(Part::Client).collect();
    let faults: Vec<Part> = (0..plan.faults.len()).map(Part::Fault).collect();
    loop {
        let before = terms.clone();
        terms = without(&clients, &terms, fails);
        terms = without(&faults, &terms, fails);
        for client in 0..plan.clients + plan.hostile {
            if !terms.skip.has_client(client) {
                let steps: Vec<Part> = (0..plan.steps)
                    .map(|step| Part::Step(client, step))
                    .collect();
                terms = without(&steps, &terms, fails);
            }
        }
        for name in plan.features.names() {
            if !terms.off.iter().any(|off| off == name) {
                let mut more = terms.clone();
                more.off.push(name.into());
                if fails(&more) {
                    terms = more;
                }
            }
        }
        say(&format!("so far: {}", arguments(seed, &terms)));
        if before == terms {
            break;
        }
    }
    say(&command(seed, &terms));
}

/// Leaves out as many of `parts` as can be: all, halves, quarters, single ones.
fn without(parts: &[Part], terms: &Terms, fails: impl Fn(&Terms) -> bool) -> Terms {
    let mut terms = terms.clone();
    let mut size = parts.len();
    while size > 0 {
        for chunk in parts.chunks(size) {
            if chunk.iter().all(|part| terms.skip.has(*part)) {
                continue;
            }
            let mut more = terms.clone();
            more.skip = terms.skip.with(chunk);
            if fails(&more) {
                terms = more;
            }
        }
        size /= 2;
    }
    terms
}
