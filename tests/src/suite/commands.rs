//! What the program does besides being a broker, and the configuration as a person meets it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::{env, fs, process};

use crate::broker::BinaryUnderTest;

fn program(binary: &BinaryUnderTest, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary.path);
    command.args(arguments);
    command
}

/// Exit code, standard output and standard error.
fn outcome(mut command: Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Writes a file for one test of one program.
fn file(binary: &BinaryUnderTest, name: &str, text: &str) -> String {
    let program = binary.path.rsplit('/').next().unwrap_or_default();
    let path = env::temp_dir().join(format!("{program}-{}-{name}", process::id()));
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// `check` says that a configuration is good, and what it comes to: flags beat the environment, and
/// that the file.
pub fn a_check_tells_what_would_be_listened_on(binary: &BinaryUnderTest) {
    let path = file(
        binary,
        "good.toml",
        "listen = [\"0.0.0.0:1883\", \"[::1]:1\"]\n",
    );
    let good = |end: &str| {
        let line = format!("{path} is good; the broker would listen on {end}\n");
        (Some(0), line, String::new())
    };
    let check = program(binary, &["check", "-c", &path]);
    assert_eq!(outcome(check), good("tcp://0.0.0.0:1883, tcp://[::1]:1"));
    let mut check = program(binary, &["check", "--config", &path]);
    check.env("WHERRY_LISTEN", "localhost:2");
    assert_eq!(outcome(check), good("tcp://localhost:2"));
    let mut check = program(binary, &["check", "--config", &path, "-p", "3"]);
    check.env("WHERRY_LISTEN", "localhost:2");
    assert_eq!(outcome(check), good("tcp://127.0.0.1:3"));
    let check = program(
        binary,
        &["check", "-c", &path, "-p", "3", "--http", "[::1]:4"],
    );
    let end = "tcp://127.0.0.1:3; health and metrics at http://[::1]:4";
    assert_eq!(outcome(check), good(end));
}

/// No file is looked for unless it is asked for.
pub fn without_a_file_there_are_the_defaults(binary: &BinaryUnderTest) {
    assert_eq!(
        outcome(program(binary, &["check"])),
        (
            Some(0),
            "the configuration is good; the broker would listen on tcp://127.0.0.1:1883\n"
                .to_owned(),
            String::new()
        )
    );
}

/// Every mistake is told with file, line and key, and the broker does not start.
pub fn mistakes_are_told_and_nothing_is_started(binary: &BinaryUnderTest) {
    let path = file(
        binary,
        "bad.toml",
        "[limits]\n\nmax_conections = 5\nmax_topic_levels = 257\n",
    );
    let told = format!(
        "{path}:3: limits.max_conections: unknown key. Did you mean `max_connections`?\n\
         {path}:4: limits.max_topic_levels: 257 is out of range. It takes a whole number from 1 \
         to 256.\n\
         WHERRY_LOG_LEVLE: unknown variable. Did you mean WHERRY_LOG_LEVEL?\n"
    );
    for arguments in [vec!["check", "-c", &path], vec!["-c", &path, "-p", "0"]] {
        let mut command = program(binary, &arguments);
        command.env("WHERRY_LOG_LEVLE", "debug");
        let expected = (Some(1), String::new(), told.clone());
        assert_eq!(outcome(command), expected, "{arguments:?}");
    }
}

/// Of many mistakes the first ones are told.
pub fn a_file_full_of_mistakes_does_not_fill_the_screen(binary: &BinaryUnderTest) {
    let path = file(binary, "endless.toml", &"?\n".repeat(1000));
    let (code, _, told) = outcome(program(binary, &["check", "-c", &path]));
    assert_eq!(code, Some(1));
    assert_eq!(told.lines().count(), 21, "{told}");
    let last = told.lines().last().unwrap();
    assert!(
        last.starts_with("… and ") && last.ends_with(" more"),
        "{last}"
    );
}

/// A file that is not there is told, with what to do.
pub fn a_missing_file_is_told(binary: &BinaryUnderTest) {
    let (code, _, told) = outcome(program(binary, &["--config", "no/such.toml"]));
    assert_eq!(code, Some(1));
    assert_eq!(
        told,
        "no/such.toml: there is no such file. Give its path with --config FILE.\n"
    );
}

/// The log names the file that was read; as JSON, a line is an object.
pub fn the_log_says_which_file_was_read_and_may_be_json(binary: &BinaryUnderTest) {
    let path = file(
        binary,
        "json.toml",
        "listen = \"127.0.0.1:0\"\nlog.format = \"json\"\n",
    );
    let mut broker = program(binary, &["-c", &path])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(broker.stderr.take().unwrap()).lines();
    let lines: Vec<_> = lines.take(3).map(Result::unwrap).collect();
    broker.kill().unwrap();
    broker.wait().unwrap();
    for line in &lines {
        assert!(line.starts_with("{\"timestamp\":\""), "{line}");
        assert!(line.contains("\",\"level\":\"INFO\",\"message\":\""));
        assert!(line.ends_with("\"}"), "{line}");
    }
    let read = format!("\"configuration read from {path}\"");
    assert!(lines[0].contains(&read), "{lines:?}");
    assert!(lines[1].contains("--data DIR"), "{lines:?}");
    assert!(lines[2].contains("\"listening on tcp://127.0.0.1:"));
}

/// `health` says by its exit code whether a broker is there and answers.
pub fn the_health_of_a_broker_is_told(binary: &BinaryUnderTest) {
    let mut broker = program(binary, &["-p", "0"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(broker.stderr.take().unwrap()).lines();
    let address = lines.find_map(|line| {
        let line = line.unwrap();
        let (_, address) = line.split_once("listening on tcp://")?;
        Some(address.to_owned())
    });
    let address = address.unwrap();
    let address = address.as_str();
    let well = outcome(program(binary, &["health", address]));
    broker.kill().unwrap();
    broker.wait().unwrap();
    let told = format!("the broker at tcp://{address} is well\n");
    assert_eq!(well, (Some(0), told, String::new()));

    let (code, said, told) = outcome(program(binary, &["health", address]));
    assert_eq!((code, said.as_str()), (Some(1), ""));
    let start = format!("cannot connect to tcp://{address}: ");
    assert!(told.starts_with(&start), "{told}");
}
