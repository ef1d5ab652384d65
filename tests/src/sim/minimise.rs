//! A smaller world that fails in the same way.

use std::process::Command;

use super::plan::Plan;
use super::runs::{arguments, command};
use super::skip::{Part, Skip};

/// What a world fails by; worlds run in processes of their own, for a panic ends one.
fn kind_of_failure(seed: u64, off: &[String], skip: &Skip) -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new(program)
        .args(arguments(seed, off, skip).split(' '))
        .env("WHERRY_SIMULATE_AGAIN", "1")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("FAILED"))?;
    // `FAILED seed 7: kind`, or `FAILED: panic at file:line`.
    line.split_once(": ").map(|(_, kind)| kind.to_owned())
}

/// Leaves out all that a failure does not need, and says what is left.
pub(super) fn minimise(seed: u64, off: &[String], skip: &Skip, say: impl Fn(&str)) {
    let Some(kind) = kind_of_failure(seed, off, skip) else {
        return say(&format!("seed {seed} does not fail"));
    };
    say(&format!("it fails by: {kind}"));
    let fails =
        |off: &[String], skip: &Skip| kind_of_failure(seed, off, skip).as_ref() == Some(&kind);
    let plan = Plan::draw(seed, off);
    let (mut off, mut skip) = (off.to_vec(), skip.clone());
    let clients: Vec<Part> = (0..plan.clients + plan.hostile).map(Part::Client).collect();
    let faults: Vec<Part> = (0..plan.faults.len()).map(Part::Fault).collect();
    loop {
        let before = (off.clone(), skip.clone());
        skip = without(&clients, &skip, |skip| fails(&off, skip));
        skip = without(&faults, &skip, |skip| fails(&off, skip));
        for client in 0..plan.clients + plan.hostile {
            if !skip.has_client(client) {
                let steps: Vec<Part> = (0..plan.steps)
                    .map(|step| Part::Step(client, step))
                    .collect();
                skip = without(&steps, &skip, |skip| fails(&off, skip));
            }
        }
        for name in plan.features.names() {
            if !off.iter().any(|off| off == name) {
                let more: Vec<String> = off.iter().cloned().chain([name.into()]).collect();
                if fails(&more, &skip) {
                    off = more;
                }
            }
        }
        say(&format!("so far: {}", arguments(seed, &off, &skip)));
        if before == (off.clone(), skip.clone()) {
            break;
        }
    }
    say(&command(seed, &off, &skip));
}

/// Leaves out as many of `parts` as can be: all, halves, quarters, single ones.
fn without(parts: &[Part], skip: &Skip, fails: impl Fn(&Skip) -> bool) -> Skip {
    let mut skip = skip.clone();
    let mut size = parts.len();
    while size > 0 {
        for chunk in parts.chunks(size) {
            if chunk.iter().all(|part| skip.has(*part)) {
                continue;
            }
            let more = skip.with(chunk);
            if fails(&more) {
                skip = more;
            }
        }
        size /= 2;
    }
    skip
}
