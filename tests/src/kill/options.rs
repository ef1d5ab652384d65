//! What is to be tried, as a command line says it.

use std::path::PathBuf;
use std::time::Duration;

pub(super) const USAGE: &str = "\
Kills a broker at random moments, and compares what its clients were told with what they get.

kill --broker PATH [--cycles N] [--seed N] [--power] [--sync-us N] ...

--broker PATH      the program, of which processes are started
--cycles N         how many times it is killed under load (20)
--seconds N        begins no cycle after so long
--seed N           chooses what happens (1); when it does, no seed can choose
--shards N         how many shards the broker has, or any: another number at each start (any)
--power            each kill takes what was not synced, as a loss of power would
--sync-us N        how long a sync takes, in microseconds (5000)
--write-us N       how long the first write of a batch takes (2000)
--acknowledged N   so many publishes at least are acknowledged in a cycle (1000)
--drain-every N    after so many cycles all must have come (10)
--every N          prints figures after so many cycles (100)
--durability WORD  what the broker is told to promise: power or process (power)
--data DIR         where its data is, emptied first (a temporary directory, which stays if
                   something is wrong)
";

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program.
    pub broker: PathBuf,
    /// How many cycles there are.
    pub cycles: u32,
    /// No cycle begins after so long.
    pub time: Duration,
    /// Chooses what happens.
    pub seed: u64,
    /// How many shards the broker has; without a number, another number at each start.
    pub shards: Option<u8>,
    /// Whether a kill takes what was not synced.
    pub power: bool,
    /// How long a sync takes, in microseconds.
    pub sync_us: u32,
    /// How long the first write of a batch takes, in microseconds.
    pub write_us: u32,
    /// So many publishes are acknowledged before a kill.
    pub acknowledged: u64,
    /// After so many cycles all must have come.
    pub drain_every: u32,
    /// After so many cycles there are figures.
    pub every: u32,
    /// What the broker is told to promise.
    pub durability: String,
    /// Where its data is.
    pub data: Option<PathBuf>,
}

impl Options {
    /// What is tried of a program unless something else is said.
    pub fn new(broker: impl Into<PathBuf>) -> Self {
        Self {
            broker: broker.into(),
            cycles: 20,
            time: Duration::MAX,
            seed: 1,
            shards: None,
            power: false,
            sync_us: 5000,
            write_us: 2000,
            acknowledged: 1000,
            drain_every: 10,
            every: 100,
            durability: "power".into(),
            data: None,
        }
    }

    /// Reads a command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
            text.parse().map_err(|_| format!("{text} is no number"))
        }
        let mut options = Self::new("");
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
            match &*argument {
                "--broker" => options.broker = value()?.into(),
                "--cycles" => options.cycles = number(&value()?)?,
                "--seconds" => options.time = Duration::from_secs(number(&value()?)?),
                "--seed" => options.seed = number(&value()?)?,
                "--shards" => {
                    options.shards = match &*value()? {
                        "any" => None,
                        text => Some(number(text)?),
                    };
                }
                "--power" => options.power = true,
                "--sync-us" => options.sync_us = number(&value()?)?,
                "--write-us" => options.write_us = number(&value()?)?,
                "--acknowledged" => options.acknowledged = number(&value()?)?,
                "--drain-every" => options.drain_every = number::<u32>(&value()?)?.max(1),
                "--every" => options.every = number::<u32>(&value()?)?.max(1),
                "--durability" => options.durability = value()?,
                "--data" => options.data = Some(value()?.into()),
                _ => return Err(format!("what is {argument}?")),
            }
        }
        if options.broker.as_os_str().is_empty() {
            return Err("--broker is missing".into());
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn a_command_line_is_understood_or_refused() {
        let options = parse("--broker b --cycles 7 --power --sync-us 9 --data d").unwrap();
        assert_eq!((options.cycles, options.sync_us), (7, 9));
        assert!(options.power && options.data.is_some());
        for wrong in ["", "--broker", "--broker b --cycles x", "--broker b --what"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
