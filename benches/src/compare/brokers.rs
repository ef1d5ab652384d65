//! What is compared.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{Directory, MOSQUITTO, Process, installed};

/// What is started, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This house's broker, of either runtime, with so many shards. Everything else is as it is by
    /// default.
    Wherry(u8),
    /// See the program `floor`.
    Floor,
    /// As Debian packages it.
    Mosquitto,
    /// From crates.io.
    Rumqttd,
    /// From crates.io.
    Rmqttd,
}

/// A broker that can be started as often as one likes.
#[derive(Clone, Debug)]
pub struct Broker {
    kind: Kind,
    name: String,
    program: PathBuf,
    version: Option<String>,
}

/// A broker that runs.
#[derive(Debug)]
pub struct Running {
    /// It.
    pub process: Process,
    _directory: Directory,
}

impl Broker {
    /// A broker of which this is the program.
    pub fn new(kind: Kind, name: &str, program: PathBuf) -> Self {
        let version = match kind {
            Kind::Floor => None,
            // It has no option for it, but tells it when it tells its options.
            Kind::Mosquitto => version(&program, "-h"),
            Kind::Wherry(_) | Kind::Rumqttd | Kind::Rmqttd => version(&program, "--version"),
        };
        Self {
            kind,
            name: name.to_owned(),
            program,
            version,
        }
    }

    /// Debian's Mosquitto, if it is installed.
    pub fn mosquitto() -> Option<Self> {
        let broker = Self::new(Kind::Mosquitto, "Mosquitto", installed().into());
        broker.version.is_some().then_some(broker)
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name and version.
    pub fn full_name(&self) -> String {
        match &self.version {
            Some(version) => format!("{} {version}", self.name),
            None => self.name.clone(),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// See [`Process::start`].
    pub fn start(&self) -> io::Result<Running> {
        let directory = Directory::new("compare")?;
        let (program, path) = (&self.program, directory.path());
        let process = match self.kind {
            Kind::Wherry(shards) => {
                let shards = ("WHERRY_SHARDS", shards.to_string());
                Process::wherry(program, &[], &[shards])
            }
            Kind::Floor => Process::floor(program),
            Kind::Mosquitto => Process::mosquitto(path, MOSQUITTO),
            Kind::Rumqttd => Process::rumqttd(program, path),
            Kind::Rmqttd => Process::rmqttd(program, path),
        };
        Ok(Running {
            process: process?,
            _directory: directory,
        })
    }
}

/// The version that a program tells when it is asked so.
fn version(program: &Path, option: &str) -> Option<String> {
    let mut command = Command::new(program);
    let output = command.arg(option).stdin(Stdio::null()).output().ok()?;
    version_in(&String::from_utf8_lossy(&output.stdout))
}

/// The first word that looks like a version.
fn version_in(text: &str) -> Option<String> {
    let is_part = |it: char| it.is_ascii_digit() || it == '.';
    let words = text.split(|it: char| it.is_whitespace() || it == '/');
    let mut words = words.map(|it| it.trim_start_matches('v'));
    let word = words.find(|it| it.starts_with(|it: char| it.is_ascii_digit()) && it.contains('.'));
    word?.split(|it| !is_part(it)).next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let texts = [
            "mosquitto version 2.0.11\n\nmosquitto is an MQTT v5.0/v3.1.1/v3.1 broker.",
            "rumqttd 2.0.11\n",
            "rmqttd v2.0.11 (abc)",
            "rmqtt/2.0.11-20260131120000 rustc/1.95.0",
        ];
        for text in texts {
            assert_eq!(version_in(text).as_deref(), Some("2.0.11"), "{text}");
        }
        assert_eq!(version_in("usage: x 7 [OPTION]"), None);
    }
}
