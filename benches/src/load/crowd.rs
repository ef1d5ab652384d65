//! Clients that are many.

use std::io;
use std::net::SocketAddr;

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
        ..Load::default()
    }
}

/// So many clients connect, fifty at once, subscribe to a topic of their own, publish on it, wait
/// until that has come, and disconnect.
///
/// # Errors
///
/// If the broker does not let one in, or its message does not come.
pub fn churn(address: SocketAddr, count: usize) -> io::Result<()> {
    let load = load(count);
    side_by_side(AT_ONCE, count, |n| {
        let mut client = Client::connect(address, &format!("churn-{n}"), &load)?;
        client.subscribe(&load.shape.filters("churn", n), &load)?;
        client.echo(&load.shape.topic("churn", n), &load)?;
        client.disconnect()
    })
}
