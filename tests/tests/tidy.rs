//! The style that CONTRIBUTING.md asks for, as far as a machine can tell.

#![allow(
    clippy::unwrap_used,
    reason = "what supports tests is not marked as a test"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// A file should hold one idea and fit in a head.
const MOST_LINES_OF_A_FILE: usize = 500;
/// Tables of tests and of what tests send may be longer.
const MOST_LINES_OF_A_TEST_FILE: usize = 700;
const MOST_LINES_OF_A_FUNCTION: usize = 80;
const MOST_LINES_OF_A_TEST: usize = 120;
const MOST_CHARS_OF_A_LINE: usize = 100;

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap().to_path_buf()
}

/// All files of the project with this ending, with their texts.
fn files(ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let foreign = ["target", "node_modules", "corpus", "artifacts"];
                if !name.starts_with('.') && !foreign.contains(&&*name) {
                    folders.push(path);
                }
            } else if name.ends_with(ending) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty());
    found.sort();
    found
}

/// Whether a file is there to test or measure. Where the project lies does not matter.
fn is_test(path: &Path) -> bool {
    is_below(path, &["tests", "benches", "tests.rs"])
}

/// Whether a file belongs to one of these.
fn is_below(path: &Path, names: &[&str]) -> bool {
    let path = path.strip_prefix(root()).unwrap();
    path.components()
        .any(|part| names.iter().any(|name| part.as_os_str() == *name))
}

/// Fails with all that was found wrong, a line each.
fn expect_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Whether a function begins here: rustfmt puts `fn` on the first line of its signature.
fn begins_function(line: &str) -> bool {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub(in ") {
        Some(rest) => rest.split_once(") ").map_or(line, |(_, rest)| rest),
        None => line,
    };
    let words = ["pub", "pub(crate)", "pub(super)", "const", "async"];
    let mut rest = line.split(' ').skip_while(|word| words.contains(word));
    rest.next() == Some("fn")
}

#[test]
fn what_tests_is_told_from_what_is_tested() {
    let is_test = |path| is_test(&root().join(path));
    assert!(is_test("tests/src/client.rs"));
    assert!(is_test("host/src/driver/tests.rs"));
    assert!(is_test("benches/benches/publish.rs"));
    assert!(!is_test("core/src/broker/mod.rs"));
    assert!(
        files(".rs")
            .iter()
            .any(|(path, _)| *path == root().join("core/src/lib.rs"))
    );
}

#[test]
fn files_hold_one_idea() {
    let mut wrong = Vec::new();
    for (path, text) in files(".rs") {
        let most = if is_test(&path) {
            MOST_LINES_OF_A_TEST_FILE
        } else {
            MOST_LINES_OF_A_FILE
        };
        let lines = text.lines().count();
        if lines > most {
            wrong.push(format!("{}: {lines} lines, at most {most}", path.display()));
        }
    }
    expect_none(&wrong);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut wrong = Vec::new();
    for (path, text) in files(".rs") {
        let most = if is_test(&path) {
            MOST_LINES_OF_A_TEST
        } else {
            MOST_LINES_OF_A_FUNCTION
        };
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| begins_function(line))
        {
            let end = format!("{}}}", " ".repeat(indentation(line)));
            // A trait may say what there is, without a body.
            let of_signature = |line: &&&str| line.ends_with('{') || line.ends_with(';');
            if lines[start..]
                .iter()
                .find(of_signature)
                .is_some_and(|line| line.ends_with(';'))
            {
                continue;
            }
            let len = lines[start..]
                .iter()
                .position(|line| *line == end)
                .unwrap_or(0)
                + 1;
            if len > most {
                wrong.push(format!(
                    "{}:{}: a function of {len} lines",
                    path.display(),
                    start + 1
                ));
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn lines_are_not_too_long() {
    let mut wrong = Vec::new();
    for (path, text) in files(".rs") {
        for (at, line) in text.lines().enumerate() {
            let chars = line.chars().count();
            if chars > MOST_CHARS_OF_A_LINE && !line.contains("http") {
                wrong.push(format!("{}:{}: {chars} characters", path.display(), at + 1));
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn tests_do_not_sleep_and_nothing_is_left_unfinished() {
    let mut wrong = Vec::new();
    // Put together here, so that this file does not find itself.
    let unfinished = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let sleep = concat!("thread::", "sleep(");
    for (path, text) in files(".rs") {
        for (at, line) in text.lines().enumerate() {
            if unfinished.iter().any(|mark| line.contains(mark))
                || (is_below(&path, &["tests", "tests.rs"]) && line.contains(sleep))
            {
                wrong.push(format!("{}:{}: {}", path.display(), at + 1, line.trim()));
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn clauses_are_written_so_that_a_search_finds_them() {
    let mut wrong = Vec::new();
    for (path, text) in files(".rs") {
        for (at, line) in text.lines().enumerate() {
            for clause in line.split("MQTT-").skip(1) {
                let len = clause
                    .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-')
                    .unwrap_or(clause.len());
                let clause = &clause[..len];
                let Some((section, number)) = clause.rsplit_once('-') else {
                    if clause.starts_with(|c: char| c.is_ascii_digit()) {
                        wrong.push(format!("{}:{}: MQTT-{clause}", path.display(), at + 1));
                    }
                    continue;
                };
                let numbers = section.split('.').chain([number]);
                if section.split('.').count() != 3 || numbers.into_iter().any(str::is_empty) {
                    wrong.push(format!("{}:{}: MQTT-{clause}", path.display(), at + 1));
                }
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for (path, text) in files(".md") {
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = link.split('#').next().unwrap_or_default();
            let is_elsewhere = link.contains("://") || file.is_empty();
            if !is_elsewhere && !path.parent().unwrap().join(file).exists() {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    expect_none(&wrong);
}

#[test]
fn folders_and_commands_that_documents_name_exist() {
    let mut wrong = Vec::new();
    for (path, text) in files(".md") {
        // Names in backquotes with a slash and a known beginning are paths.
        for name in text.split('`').skip(1).step_by(2) {
            let name = name.split(['<', '*', ' ']).next().unwrap_or_default();
            let begins = [
                "core/",
                "host/",
                "runtime-tokio/",
                "runtime-smol/",
                "tests/",
                "fuzz/",
            ];
            let generated = ["fuzz/artifacts/"];
            if begins.iter().any(|begin| name.starts_with(begin))
                && !generated.iter().any(|begin| name.starts_with(begin))
                && !root().join(name).exists()
            {
                wrong.push(format!("{}: `{name}`", path.display()));
            }
        }
    }
    expect_none(&wrong);
}
