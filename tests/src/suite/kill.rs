//! What a broker promises its clients over kills under load, in short: the program `kill` of these
//! tests goes on for as long as you like.

use std::{env, fs, process};

use crate::broker::BinaryUnderTest;
use crate::kill::{Options, run};

fn survives(options: &Options) {
    let figures = run(options, &mut |_| ()).unwrap_or_else(|account| panic!("{account}"));
    assert_eq!(figures.kills, options.cycles);
    assert!(figures.fewest_acknowledged >= Some(options.acknowledged));
    let checked = [
        figures.sessions_checked,
        figures.retained_checked,
        figures.changes,
        figures.wills,
    ];
    assert!(checked.iter().all(|count| *count > 0), "{figures}");
}

/// A broker of several shards has another number of them at each start.
fn options(binary: &BinaryUnderTest) -> Options {
    Options {
        shards: Some(binary.shards).filter(|it| *it == 1),
        ..Options::new(binary.path)
    }
}

/// Killed again and again, also while it recovers, the broker loses nothing that it acknowledged,
/// doubles nothing of QoS 2, keeps the order, and has sessions, subscriptions, retained messages
/// and wills as it said [MQTT-4.3.2-2, MQTT-4.3.3-2, MQTT-4.4.0-1, MQTT-4.6.0-6].
pub fn kills_under_load_lose_and_double_nothing(binary: &BinaryUnderTest) {
    survives(&Options {
        cycles: 8,
        drain_every: 3,
        ..options(binary)
    });
}

/// The same if each kill takes with it what was not synced.
pub fn losses_of_power_under_load_lose_and_double_nothing(binary: &BinaryUnderTest) {
    survives(&Options {
        cycles: 3,
        drain_every: 2,
        power: true,
        ..options(binary)
    });
}

/// The test above would notice a broker that acknowledges what is not synced.
pub fn who_does_not_sync_fails_under_load(binary: &BinaryUnderTest) {
    let program = binary.path.rsplit('/').next().unwrap_or_default();
    let directory = env::temp_dir().join(format!("{program}-{}-unsynced-load", process::id()));
    let options = Options {
        cycles: 3,
        power: true,
        durability: "process".into(),
        data: Some(directory.clone()),
        ..options(binary)
    };
    let account = run(&options, &mut |_| ()).expect_err("it lost nothing");
    let _ = fs::remove_dir_all(directory);
    assert!(
        account.contains("LOST") || account.contains("SESSION"),
        "{account}"
    );
}
