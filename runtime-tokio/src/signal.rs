//! Signals that end the process.

use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

/// Resolves at the first SIGINT or SIGTERM. From then on, a second one ends the process at once,
/// with the exit code that a shell would report for it.
pub async fn stop_requested() {
    let (mut interrupt, mut terminate) = match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
        (Err(error), _) | (_, Err(error)) => {
            error!("cannot handle signals: {error}; they will end the broker at once");
            return std::future::pending().await;
        }
    };
    let first = next(&mut interrupt, &mut terminate).await;
    info!(
        "{} received; a second one ends the broker at once",
        name(first)
    );
    tokio::spawn(async move {
        let second = next(&mut interrupt, &mut terminate).await;
        warn!("{} received again: ending at once", name(second));
        process::exit(128 + second.as_raw_value());
    });
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> SignalKind {
    std::future::poll_fn(|context| {
        if interrupt.poll_recv(context).is_ready() {
            return std::task::Poll::Ready(SignalKind::interrupt());
        }
        terminate
            .poll_recv(context)
            .map(|_| SignalKind::terminate())
    })
    .await
}

fn name(kind: SignalKind) -> &'static str {
    if kind == SignalKind::interrupt() {
        "SIGINT"
    } else {
        "SIGTERM"
    }
}
