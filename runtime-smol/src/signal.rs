//! Signals that end the process.

use std::{process, thread};

use async_signal::{Signal, Signals};
use smol::stream::StreamExt;
use tracing::{error, info, warn};

/// Resolves at the first SIGINT or SIGTERM. From then on, a second one ends the process at once,
/// with the exit code that a shell would report for it.
pub async fn stop_requested() {
    let mut signals = match Signals::new([Signal::Int, Signal::Term]) {
        Ok(signals) => signals,
        Err(error) => {
            error!("cannot handle signals: {error}; they will end the broker at once");
            return std::future::pending().await;
        }
    };
    let first = next(&mut signals).await;
    info!(
        "{} received; a second one ends the broker at once",
        name(first)
    );
    // A thread, since there is no executor; and it is there even if the broker should hang.
    thread::spawn(move || {
        let second = smol::block_on(next(&mut signals));
        warn!("{} received again: ending at once", name(second));
        process::exit(128 + second as i32);
    });
}

async fn next(signals: &mut Signals) -> Signal {
    loop {
        if let Some(Ok(signal)) = signals.next().await {
            return signal;
        }
    }
}

fn name(signal: Signal) -> &'static str {
    if signal == Signal::Int {
        "SIGINT"
    } else {
        "SIGTERM"
    }
}
