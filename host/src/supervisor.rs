//! What a supervisor is told: that the broker is ready, and that it stops.
//!
//! This is the protocol of systemd (`Type=notify`), which others speak too. Without a supervisor
//! that asks for it nothing is sent.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use sd_notify::NotifyState;
use tracing::warn;

/// Resolves when `stop` does, and tells the supervisor at both ends.
///
/// The listeners must be open before this is polled. It is for a broker's own process only: a
/// program that has a broker inside knows itself when it is ready.
pub async fn told(stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    // What `stop` sets up when it is first polled, handlers of signals for one, is there before
    // anybody may rely on it.
    let is_stopping = poll_fn(|context| Poll::Ready(stop.as_mut().poll(context).is_ready())).await;
    tell(NotifyState::Ready);
    if !is_stopping {
        stop.await;
    }
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    let text = state.to_string();
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!("cannot tell the supervisor {text}: {error}");
    }
}
