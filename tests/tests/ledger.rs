//! The ledger: every normative statement of the specifications, and the test that shows it.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

type Sections = &'static [(&'static str, RangeInclusive<u32>)];

/// The numbered statements of each section of MQTT 5.0, 251 in all.
const V5: Sections = &[
    ("1.5.4", 1..=3),
    ("1.5.5", 1..=1),
    ("1.5.7", 1..=1),
    ("2.1.3", 1..=1),
    ("2.2.1", 2..=6), // There is no first one.
    ("2.2.2", 1..=1),
    ("3.1.0", 1..=2),
    ("3.1.2", 1..=30),
    ("3.1.3", 1..=12),
    ("3.1.4", 1..=6),
    ("3.2.0", 1..=2),
    ("3.2.2", 1..=22),
    ("3.3.1", 1..=13),
    ("3.3.2", 1..=20),
    ("3.3.4", 1..=10),
    ("3.4.2", 1..=3),
    ("3.5.2", 1..=3),
    ("3.6.1", 1..=1),
    ("3.6.2", 1..=3),
    ("3.7.2", 1..=3),
    ("3.8.1", 1..=1),
    ("3.8.3", 1..=5),
    ("3.8.4", 1..=8),
    ("3.9.2", 1..=2),
    ("3.9.3", 1..=2),
    ("3.10.1", 1..=1),
    ("3.10.3", 1..=2),
    ("3.10.4", 1..=6),
    ("3.11.2", 1..=2),
    ("3.11.3", 1..=2),
    ("3.12.4", 1..=1),
    ("3.14.0", 1..=1),
    ("3.14.1", 1..=1),
    ("3.14.2", 1..=4),
    ("3.14.4", 1..=3),
    ("3.15.1", 1..=1),
    ("3.15.2", 1..=3),
    ("4.1.0", 1..=2),
    ("4.2.0", 1..=1),
    ("4.3.1", 1..=1),
    ("4.3.2", 1..=5),
    ("4.3.3", 1..=13),
    ("4.4.0", 1..=2),
    ("4.5.0", 1..=2),
    ("4.6.0", 1..=6),
    ("4.7.0", 1..=1),
    ("4.7.1", 1..=2),
    ("4.7.2", 1..=1),
    ("4.7.3", 1..=4),
    ("4.8.2", 1..=6),
    ("4.9.0", 1..=3),
    ("4.12.0", 1..=7),
    ("4.12.1", 1..=2),
    ("4.13.1", 1..=1),
    ("4.13.2", 1..=1),
    ("6.0.0", 1..=4),
];

/// The numbered statements of each section of MQTT 3.1.1, 141 in all.
const V3_1_1: Sections = &[
    ("1.5.3", 1..=3),
    ("2.2.2", 1..=2),
    ("2.3.1", 1..=7),
    ("3.1.0", 1..=2),
    ("3.1.2", 1..=24),
    ("3.1.3", 1..=11),
    ("3.1.4", 1..=5),
    ("3.2.0", 1..=1),
    ("3.2.2", 1..=6),
    ("3.3.1", 1..=12),
    ("3.3.2", 1..=3),
    ("3.3.4", 1..=1),
    ("3.3.5", 1..=2),
    ("3.6.1", 1..=1),
    ("3.8.1", 1..=1),
    ("3.8.3", 1..=4),
    ("3.8.4", 1..=6),
    ("3.9.3", 1..=2),
    ("3.10.1", 1..=1),
    ("3.10.3", 1..=2),
    ("3.10.4", 1..=6),
    ("3.12.4", 1..=1),
    ("3.14.1", 1..=1),
    ("3.14.4", 1..=3),
    ("4.1.0", 1..=2),
    ("4.3.1", 1..=1),
    ("4.3.2", 1..=2),
    ("4.3.3", 1..=2),
    ("4.4.0", 1..=1),
    ("4.5.0", 1..=2),
    ("4.6.0", 1..=6),
    ("4.7.1", 1..=3),
    ("4.7.2", 1..=1),
    ("4.7.3", 1..=4),
    ("4.8.0", 1..=2),
    ("6.0.0", 1..=4),
    ("7.0.0", 1..=2),
    ("7.1.1", 1..=1),
    ("7.1.2", 1..=1),
];

/// The tables, and what must stand in them.
const TABLES: [(&str, Sections); 2] = [("mqtt-5.0.md", V5), ("mqtt-3.1.1.md", V3_1_1)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn table(name: &str) -> String {
    let path = root().join("tests/ledger").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Fails with all that was found wrong, a line each.
fn expect_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What shows a statement.
#[derive(Debug, PartialEq, Eq)]
enum Shown<'a> {
    /// These tests.
    By(Vec<&'a str>),
    /// None, for this reason.
    None(&'a str),
    /// Nothing yet, or, with a word about it, not all; these tests show the rest.
    Open(&'a str, Vec<&'a str>),
}

/// One line of a table.
#[derive(Debug)]
struct Row<'a> {
    id: &'a str,
    words: &'a str,
    shown: &'a str,
}

impl<'a> Row<'a> {
    /// What stands in the last column, or what is wrong with it.
    fn shown(&self) -> Result<Shown<'a>, String> {
        let names: Vec<&str> = self.shown.split('`').skip(1).step_by(2).collect();
        let words: Vec<&str> = self.shown.split('`').step_by(2).collect();
        if let Some(reason) = self.shown.strip_prefix("none:") {
            return if reason.trim().is_empty() {
                Err(format!("{}: no reason after `none:`", self.id))
            } else {
                Ok(Shown::None(reason.trim()))
            };
        }
        if let Some(what) = self.shown.strip_prefix("open") {
            return if what.is_empty() || what.starts_with(": ") {
                Ok(Shown::Open(what, names))
            } else {
                Err(format!("{}: `{}` is not understood", self.id, self.shown))
            };
        }
        let is_list = words.iter().all(|word| ["", ", "].contains(word));
        if names.is_empty() || !is_list {
            return Err(format!(
                "{}: neither tests nor a reason: `{}`",
                self.id, self.shown
            ));
        }
        Ok(Shown::By(names))
    }
}

/// The rows of a table.
fn rows(table: &str) -> Vec<Row<'_>> {
    table
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            match cells[..] {
                ["", id, words, shown, ""] if !words.is_empty() => Row { id, words, shown },
                _ => panic!("not a row of three cells: {line}"),
            }
        })
        .collect()
}

/// What is wrong with the statements of a table: one is missing, stands twice or in another place.
fn wrong_ids(table: &str, sections: Sections) -> Vec<String> {
    let expected: Vec<String> = sections
        .iter()
        .flat_map(|(section, numbers)| {
            let id = move |number| format!("[MQTT-{section}-{number}]");
            numbers.clone().map(id)
        })
        .collect();
    let rows = rows(table);
    let found: Vec<&str> = rows.iter().map(|row| row.id).collect();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for &id in &found {
        if !expected.iter().any(|expected| expected == id) {
            wrong.push(format!("{id}: the specification has no such statement"));
        }
        if !seen.insert(id) {
            wrong.push(format!("{id}: stands twice"));
        }
    }
    for id in &expected {
        if !seen.contains(&id[..]) {
            wrong.push(format!("{id}: is missing"));
        }
    }
    if wrong.is_empty()
        && let Some((id, _)) = found.iter().zip(&expected).find(|(a, b)| *a != b)
    {
        wrong.push(format!("{id}: not in the order of the specification"));
    }
    wrong
}

/// A function that may be a test.
#[derive(Debug)]
struct Function {
    /// Modules and name, as `a::b::name`.
    path: String,
    /// Why it shows nothing, if so.
    idle: Option<&'static str>,
}

/// The files in a folder and in the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}

/// The modules that a file stands for, below a folder.
fn modules(folder: &Path, file: &Path) -> String {
    let below = file.strip_prefix(folder).unwrap().with_extension("");
    let names: Vec<_> = below
        .iter()
        .map(|part| part.to_str().unwrap())
        .filter(|part| !["mod", "main", "lib"].contains(part))
        .collect();
    names.join("::")
}

/// The functions in a text, and whether `#[test]` and `#[ignore]` stand above them.
fn functions(text: &str) -> Vec<(&str, Option<&'static str>)> {
    let mut found = Vec::new();
    let (mut is_test, mut ignored) = (false, false);
    for line in text.lines().map(str::trim) {
        let function = line.strip_prefix("pub fn ").or(line.strip_prefix("fn "));
        if let Some((name, _)) = function.and_then(|rest| rest.split_once(['(', '<'])) {
            let idle = match (is_test, ignored) {
                (false, _) => Some("is no test"),
                (true, true) => Some("is ignored"),
                (true, false) => None,
            };
            found.push((name, idle));
        }
        // A list of tests: `name "table.txt";`.
        if let Some((name, rest)) = line.split_once(" \"")
            && rest.ends_with(".txt\";")
            && !name.contains(' ')
        {
            found.push((name, None));
        }
        if line.starts_with("#[") {
            is_test |= line == "#[test]";
            ignored |= line.starts_with("#[ignore");
        } else if !line.starts_with("//") {
            (is_test, ignored) = (false, false);
        }
    }
    found
}

/// The names in the list of the suite, as `module::name`.
fn listed_in_suite() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("tests/src/suite/mod.rs")).unwrap();
    let (_, list) = text
        .split_once("$path, $shards;")
        .expect("the list of the suite");
    let (list, _) = list.split_once('}').expect("its end");
    let mut module = "";
    let mut names = BTreeSet::new();
    for line in list.lines().map(str::trim) {
        match line.strip_suffix(':') {
            Some(name) => module = name,
            None => {
                names.insert(format!("{module}::{}", line.trim_end_matches(';')));
            }
        }
    }
    assert!(names.len() > 90, "only {} are in the list", names.len());
    names
}

/// All functions of the suite. They are tests of every binary if they are in the list.
fn functions_of_suite() -> Vec<Function> {
    for runtime in ["tokio", "smol"] {
        let path = format!("runtime-{runtime}/tests/suite.rs");
        let text = fs::read_to_string(root().join(&path)).unwrap();
        assert!(text.contains("suite!("), "{path} runs no suite");
    }
    let folder = root().join("tests/src/suite");
    let listed = listed_in_suite();
    let mut found = Vec::new();
    for file in files(&folder) {
        let modules = modules(&folder, &file);
        // What stands in the files of a folder is known by the folder's name.
        let module = modules.split("::").next().unwrap_or_default();
        for (name, _) in functions(&fs::read_to_string(&file).unwrap()) {
            let path = format!("{module}::{name}");
            let idle = (!listed.contains(&path)).then_some("is not in the list of the suite");
            let path = format!("suite::{path}");
            found.push(Function { path, idle });
        }
    }
    found
}

/// All functions among the tests of the workspace.
fn all_functions() -> Vec<Function> {
    let mut found = functions_of_suite();
    for (name, folder) in [
        ("core::", "core/src"),
        ("core::", "core/tests"),
        ("host::", "host/src"),
        ("", "tests/tests"),
    ] {
        let folder = root().join(folder);
        for file in files(&folder) {
            let modules = modules(&folder, &file);
            for (function, idle) in functions(&fs::read_to_string(&file).unwrap()) {
                let path = format!("{name}{modules}::{function}");
                found.push(Function { path, idle });
            }
        }
    }
    let main = fs::read_to_string(root().join("tests/tests/scenarios/main.rs")).unwrap();
    for function in &mut found {
        if let Some(rest) = function.path.strip_prefix("scenarios::")
            && let Some((module, _)) = rest.split_once("::")
            && !main.contains(&format!("mod {module};"))
        {
            function.idle = Some("is in no module of the scenarios");
        }
    }
    found
}

/// Whether a test with this path has that name: as much of the path as it takes.
fn is_meant(path: &str, name: &str) -> bool {
    let before = path.strip_suffix(name);
    before.is_some_and(|before| before.is_empty() || before.ends_with("::"))
}

/// What is wrong with a test's name.
fn wrong_name(name: &str, functions: &[Function]) -> Option<String> {
    let is_meant = |function: &&Function| is_meant(&function.path, name);
    let meant: Vec<&Function> = functions.iter().filter(is_meant).collect();
    match meant[..] {
        [] => Some(format!("there is no test `{name}`")),
        [Function { idle, .. }] => idle.map(|why| format!("`{name}` {why}")),
        [first, second, ..] => Some(format!(
            "`{name}` may be `{}` or `{}`",
            first.path, second.path
        )),
    }
}

/// What is wrong with the last column of a table.
fn wrong_names(table: &str, functions: &[Function]) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in rows(table) {
        let names = match row.shown() {
            Ok(Shown::By(names) | Shown::Open(_, names)) => names,
            Ok(Shown::None(_)) => Vec::new(),
            Err(error) => {
                wrong.push(error);
                continue;
            }
        };
        let mistakes = names.iter().filter_map(|name| wrong_name(name, functions));
        wrong.extend(mistakes.map(|mistake| format!("{}: {mistake}", row.id)));
    }
    wrong
}

#[test]
fn every_statement_stands_in_its_place() {
    let mut wrong = Vec::new();
    for (name, sections) in TABLES {
        let mistakes = wrong_ids(&table(name), sections);
        wrong.extend(mistakes.iter().map(|mistake| format!("{name}: {mistake}")));
    }
    expect_none(&wrong);
}

#[test]
fn every_row_names_tests_that_are_run_or_says_why_there_is_none() {
    let functions = all_functions();
    let mut wrong = Vec::new();
    for (name, _) in TABLES {
        let mistakes = wrong_names(&table(name), &functions);
        wrong.extend(mistakes.iter().map(|mistake| format!("{name}: {mistake}")));
    }
    expect_none(&wrong);
}

#[test]
fn no_statement_is_left_open() {
    let mut open = Vec::new();
    for (name, _) in TABLES {
        let table = table(name);
        let (mut shown, mut none) = (0, 0);
        for row in rows(&table) {
            match row.shown() {
                Ok(Shown::By(_)) => shown += 1,
                Ok(Shown::None(_)) => none += 1,
                Ok(Shown::Open(what, _)) => {
                    open.push(format!("{name}: {} {} (open{what})", row.id, row.words));
                }
                Err(error) => open.push(error),
            }
        }
        eprintln!("{name}: {shown} shown by tests, {none} by none");
    }
    expect_none(&open);
}

/// The statements in a text, as `1.2.3-4`.
fn cited(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == '-';
    text.split("MQTT-")
        .skip(1)
        .map(|rest| &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())])
        .filter(|id| id.starts_with(|c: char| c.is_ascii_digit()) && id.contains('-'))
        .collect()
}

#[test]
fn only_statements_that_exist_are_cited() {
    let tables = TABLES.map(|(name, _)| table(name)).concat();
    let known = cited(&tables);
    let mut wrong = Vec::new();
    for folder in [
        "core",
        "host",
        "tests/src",
        "tests/tests",
        "fuzz/fuzz_targets",
    ] {
        for file in files(&root().join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            // Here stand some that do not exist.
            if !file.ends_with("ledger.rs") {
                let unknown = cited(&text).into_iter().filter(|id| !known.contains(id));
                wrong.extend(unknown.map(|id| format!("{}: MQTT-{id}", file.display())));
            }
        }
    }
    expect_none(&wrong);
}

/// What is wrong with the mutant that breaks a statement: it has to be caught by all that the row
/// of the statement names.
fn wrong_mutant(patch: &str, tables: &[(&str, String)]) -> Option<String> {
    let said = |word| {
        patch
            .lines()
            .filter_map(move |line| line.strip_prefix(word))
    };
    let Some((name, id)) = said("Row: ").find_map(|row| row.split_once(' ')) else {
        return Some("names no row".into());
    };
    let Some((_, table)) = tables.iter().find(|(known, _)| *known == name) else {
        return Some(format!("there is no table {name}"));
    };
    let rows = rows(table);
    let Some(row) = rows.iter().find(|row| row.id == id) else {
        return Some(format!("{name} has no row {id}"));
    };
    let Ok(Shown::By(wanted)) = row.shown() else {
        return Some(format!("{id} is shown by no test"));
    };
    let catchers: Vec<&str> = said("Caught by: ").collect();
    let catches = |test: &&str| catchers.iter().any(|path| is_meant(path, test));
    let missing: Vec<&str> = wanted.iter().filter(|it| !catches(it)).copied().collect();
    if !missing.is_empty() {
        return Some(format!("is not to be caught by {}", missing.join(", ")));
    }
    (wanted.len() != catchers.len()).then(|| format!("is to be caught by more than {id} names"))
}

#[test]
fn the_mutant_of_a_statement_is_to_be_caught_by_all_that_its_row_names() {
    let tables = TABLES.map(|(name, _)| (name, table(name)));
    let (mut wrong, mut mutants) = (Vec::new(), 0);
    for entry in fs::read_dir(root().join("tests/mutants/ledger")).unwrap() {
        let path = entry.unwrap().path();
        let patch = fs::read_to_string(&path).unwrap();
        mutants += 1;
        let mistake = wrong_mutant(&patch, &tables);
        wrong.extend(mistake.map(|mistake| format!("{} {mistake}", path.display())));
    }
    expect_none(&wrong);
    assert!(mutants >= 30, "only {mutants}");
}

#[test]
fn mistakes_in_the_mutant_of_a_statement_are_found() {
    let rows = "| statement | in our words | shown by |\n|---|---|---|\n\
        | [MQTT-1.5.4-1] | a | `a::runs`, `b::runs` |\n| [MQTT-1.5.4-2] | b | none: why |\n";
    let tables = [("table.md", rows.to_owned())];
    let wrong = |patch: &str| wrong_mutant(patch, &tables).unwrap_or_default();
    let all = "Row: table.md [MQTT-1.5.4-1]\nCaught by: x::a::runs\nCaught by: x::b::runs\n";
    assert_eq!(wrong(all), "");
    assert_eq!(wrong("Broken: all\n"), "names no row");
    assert_eq!(
        wrong("Row: other.md [MQTT-1.5.4-1]"),
        "there is no table other.md"
    );
    assert_eq!(
        wrong("Row: table.md [MQTT-1.5.4-3]"),
        "table.md has no row [MQTT-1.5.4-3]"
    );
    assert_eq!(
        wrong("Row: table.md [MQTT-1.5.4-2]"),
        "[MQTT-1.5.4-2] is shown by no test"
    );
    let one = all.trim_end().trim_end_matches("Caught by: x::b::runs");
    assert_eq!(wrong(one), "is not to be caught by b::runs");
    let more = format!("{all}Caught by: x::c::runs\n");
    assert_eq!(
        wrong(&more),
        "is to be caught by more than [MQTT-1.5.4-1] names"
    );
}

#[test]
fn mistakes_in_a_table_are_found() {
    let table = "| statement | in our words | shown by |\n|---|---|---|\n\
        | [MQTT-1.5.4-1] | a | `a::runs`, `a::stands_still` |\n\
        | [MQTT-1.5.4-1] | b | `b::runs`, `gone` |\n\
        | [MQTT-1.5.4-2] | c | `runs` and more |\n\
        | [MQTT-9.9.9-1] | d | none: |\n\
        | [MQTT-1.5.5-1] | e | `runs` |\n\
        | [MQTT-1.5.4-4] | f |  |\n";
    let function = |path: &str, idle| Function {
        path: path.into(),
        idle,
    };
    let functions = [
        function("x::a::runs", None),
        function("x::b::runs", None),
        function("x::a::stands_still", Some("is ignored")),
    ];
    assert_eq!(
        wrong_names(table, &functions),
        [
            "[MQTT-1.5.4-1]: `a::stands_still` is ignored",
            "[MQTT-1.5.4-1]: there is no test `gone`",
            "[MQTT-1.5.4-2]: neither tests nor a reason: ``runs` and more`",
            "[MQTT-9.9.9-1]: no reason after `none:`",
            "[MQTT-1.5.5-1]: `runs` may be `x::a::runs` or `x::b::runs`",
            "[MQTT-1.5.4-4]: neither tests nor a reason: ``",
        ]
    );
    assert_eq!(
        wrong_ids(table, &[("1.5.4", 1..=4), ("1.5.5", 1..=1)]),
        [
            "[MQTT-1.5.4-1]: stands twice",
            "[MQTT-9.9.9-1]: the specification has no such statement",
            "[MQTT-1.5.4-3]: is missing",
        ]
    );
    let text = "#[test]\nfn a() {\n}\n#[test]\n#[ignore]\nfn b() {}\nfn c() {}\n    d \"e.txt\";\n";
    assert_eq!(
        functions_of(text),
        ["a", "b is ignored", "c is no test", "d"]
    );
}

/// The functions in a text, in words.
fn functions_of(text: &str) -> Vec<String> {
    functions(text)
        .into_iter()
        .map(|(name, idle)| idle.map_or(name.into(), |why| format!("{name} {why}")))
        .collect()
}
