//! Clients that are many.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::client::Client;
use super::{Load, Shape, side_by_side};

/// How many clients come and go at once.
const AT_ONCE: usize = 50;

/// Clients that have a subscription each and do nothing, until they are dropped.
#[derive(Debug)]
pub struct Crowd {
    _clients: Vec<Client>,
}

impl Crowd {
    /// Connects so many and subscribes each to a topic of its own.
    ///
    /// # Errors
    ///
    /// If the broker does not let them in, or the system allows fewer open files.
    pub fn connect(address: SocketAddr, count: usize) -> io::Result<Self> {
        let load = load(count);
        let clients = (0..count).map(|n| {
            let mut client = Client::connect(address, &format!("crowd-{n}"), &load)?;
            client.subscribe(&load.shape.filters("crowd", n), &load)?;
            Ok(client)
        });
        Ok(Self {
            _clients: clients.collect::<io::Result<_>>()?,
        })
    }
}

fn load(count: usize) -> Load {
    Load {
        shape: Shape::Pairs(count),
        qos: 0,
        stall: Duration::from_secs(3),
        ..Load::default()
    }
}

/// So many clients connect, fifty at once, subscribe to a topic of their own, publish on it, wait
/// until that has come, and disconnect. Returns how many could not do all of it.
///
/// # Errors
///
/// If most could not.
pub fn churn(address: SocketAddr, count: usize) -> io::Result<usize> {
    let load = load(count);
    let cycle = |n| {
        let mut client = Client::connect(address, &format!("churn-{n}"), &load)?;
        client.subscribe(&load.shape.filters("churn", n), &load)?;
        client.echo(&load.shape.topic("churn", n), &load)?;
        client.disconnect()
    };
    let failures = AtomicUsize::new(0);
    side_by_side(AT_ONCE, count, |n| match cycle(n) {
        Err(error) if failures.fetch_add(1, Ordering::Relaxed) > count / 2 => Err(error),
        _ => Ok(()),
    })?;
    Ok(failures.into_inner())
}
